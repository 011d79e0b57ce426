"""`lyra scan --vcf` and `--bed`: the effects of variants in a genome, and predictions along its regions."""

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm.auto import tqdm

from ..alphabet_lyra import get_alphabet
from ..data.rows import Row
from ..data.tables import TableWriter, join_tables, output_format
from ..data.writers import join_bytes
from ..errors import InputError
from ..inference.loading import load_on_device
from ..inference.logits import logits_of_texts, to_items
from ..inference.parts import fingerprint_of, write_in_parts
from ..modeling_lyra import LyraClassificationModel
from ..tokenization_lyra import LyraTokenizer
from .effects import EFFECTS, ReadOut, check_effect
from .genome import Allele, Genome, RecordChunk, Region, VcfReader, read_regions

STRANDS = ("both", "forward")
_CHUNK_REGIONS = 4096
_NUCLEOTIDES = 4
_MEANINGS = {
    "PREDICTION": ("Float", "prediction for the alternative allele"),
    "EFFECT": ("Float", "of the alternative allele against the reference"),
    "REASON": ("String", "why an alternative allele was not scored"),
}


class GenomeModel:
    """A model of nucleotides that reads windows of a genome.

    Args:
        window: letters; by default the length of the training sequences, where all have the same.
        strand: `"both"` for the mean of both strands, or `"forward"`.

    Raises:
        InputError: for a model of something else, or a window that is missing or another than the model's.
    """

    def __init__(self, model: LyraClassificationModel, tokenizer: LyraTokenizer, window: int | None, strand: str):
        alphabet = get_alphabet(tokenizer.alphabet)
        if model.per_token or len(alphabet.members) > 1 or len(alphabet.letters) != _NUCLEOTIDES:
            raise InputError("variants in a genome need a model of whole sequences of nucleotides")
        shortest, longest = (model.config.training_data or {}).get("lengths", (None, 0))
        length = model.config.linear_length or (longest if shortest == longest else None)
        if window is None and length is None:
            raise InputError("--window N: the model reads any length; say how many letters around a variant it reads")
        if window is not None and window != (model.config.linear_length or window):
            raise InputError(f"--window {window}: the model's linear term knows positions of sequences of {length}")
        if strand not in STRANDS:
            raise InputError(f"--strand: expected one of {', '.join(STRANDS)}, got {strand!r}")
        self.model, self.tokenizer, self.alphabet = model, tokenizer, alphabet
        self.length, self.both = int(window or length or 0), strand == "both"
        self.read_out = ReadOut(model.config)

    def values(self, windows: Sequence[str]) -> dict[str, np.ndarray]:
        """The values of each distinct window, `(outputs,)`."""
        distinct = list(dict.fromkeys(windows))
        texts = distinct + [self.alphabet.reverse_complement(window) for window in distinct] * self.both
        logits = to_items(logits_of_texts(self.model, self.tokenizer, texts).logits)
        values = self.read_out.values(logits).reshape(-1, len(distinct), len(self.read_out.outputs))
        return dict(zip(distinct, values.mean(axis=0), strict=True))


def scan_genome(
    model_name: str,
    genome: str,
    output: str,
    vcf: str | None = None,
    bed: str | None = None,
    window: int | None = None,
    strand: str = "both",
    effect: str = "difference",
    device: str | None = None,
    revision: str | None = None,
    resume: bool = False,
) -> int:
    """Predicts what the variants of a VCF file do, or a value for each window of the regions of a BED file.

    Of a VCF file, an output that ends in `.vcf` is the file with `LYRA_PREDICTION`, `LYRA_EFFECT` and `LYRA_REASON` in
    INFO, a value for each alternative; any other is a table with a row for each alternative. What cannot be scored is
    there with its reason.

    Args:
        genome: a FASTA file, plain or compressed by bgzip.
        output: a file, not a folder.
        window: letters that the model reads around a variant, or at once; by default its length.
        strand: see [`GenomeModel`].
        effect: a key of `EFFECTS`.

    Returns:
        The number of alternatives, or windows.

    Raises:
        InputError: naming file and record.
    """
    check_effect(effect)
    is_vcf = Path(output).suffix == ".vcf"
    if is_vcf and vcf is None:
        raise InputError(f"{output}: only variants of --vcf can be written as VCF")
    if not is_vcf:
        output_format(output)
    model, tokenizer, state = load_on_device(model_name, revision, device)
    reader_model, contigs = GenomeModel(model, tokenizer, window, strand), Genome(genome)
    settings = {"window": reader_model.length, "strand": strand, "effect": effect, "genome": contigs.path}
    if vcf is None:
        regions = _RegionReader(str(bed), contigs, reader_model.length)
        fingerprint = fingerprint_of(str(bed), model, **settings)

        def write_regions(chunk: "_RegionChunk", path: Path, first: bool) -> None:
            with TableWriter(path, header=first) as writer:
                writer.write(_region_rows(chunk, reader_model, contigs))

        return write_in_parts(output, regions, write_regions, join_tables, fingerprint, resume, state)
    records = VcfReader(vcf, contigs, reader_model.length)
    fingerprint = fingerprint_of(vcf, model, **settings)

    def write(chunk: RecordChunk, path: Path, first: bool) -> None:
        scored = _score(chunk, reader_model, contigs, effect)
        if is_vcf:
            header = _header(records, reader_model.read_out) if first else ""
            path.write_text(header + _lines(chunk, scored, reader_model.read_out), encoding="utf-8")
        else:
            with TableWriter(path, header=first) as writer:
                writer.write(_table_rows(chunk, scored, reader_model.read_out))

    join = _join_lines if is_vcf else join_tables
    return write_in_parts(output, records, write, join, fingerprint, resume, state)


def _join_lines(parts: list[Path], path: Path) -> None:
    join_bytes(parts, str(path))


class _Scored(NamedTuple):
    """Of an alternative: values `(outputs,)` of reference and alternative and the effects, or why there are none."""

    reference: np.ndarray | None
    prediction: np.ndarray | None
    effect: np.ndarray | None
    reason: str


def _score(chunk: RecordChunk, model: GenomeModel, genome: Genome, effect: str) -> list[_Scored]:
    """Each alternative of a chunk, in order."""
    alleles = [record.alleles[i] for record, i in chunk.rows]
    windows = [each.windows(genome, model.length) for each in alleles if isinstance(each, Allele)]
    values = model.values([window for pair in windows for window in pair]) if windows else {}
    scored, pairs = [], iter(windows)
    for allele in alleles:
        if not isinstance(allele, Allele):
            scored.append(_Scored(None, None, None, allele))
            continue
        before, after = (values[window] for window in next(pairs))
        if effect != "difference" and not (min(before.min(), after.min()) > 0):
            scored.append(_Scored(before, after, None, f"no {effect} of values that are not positive"))
        else:
            scored.append(_Scored(before, after, EFFECTS[effect](after, before), ""))
    return scored


def _table_rows(chunk: RecordChunk, scored: list[_Scored], read_out: ReadOut) -> list[Row]:
    rows = []
    for (record, i), found in zip(chunk.rows, scored, strict=True):
        contig, position, name, reference, alternatives = record.fields[:5]
        row: Row = {"contig": contig, "position": position, "id": name, "reference": reference}
        row["alternative"] = alternatives.split(",")[i]
        for stem, values in (
            ("prediction_reference", found.reference),
            ("prediction", found.prediction),
            ("effect", found.effect),
        ):
            cells = [None] * len(read_out.ends) if values is None else values.astype(np.float32)
            row |= {stem + end: cell for end, cell in zip(read_out.ends, cells, strict=True)}
        rows.append(row | {"reason": found.reason})
    return rows


def _header(reader: VcfReader, read_out: ReadOut) -> str:
    lines = []
    for key, (kind, meaning) in _MEANINGS.items():
        for end in [""] if key == "REASON" else read_out.ends:
            lines.append(f'##INFO=<ID=LYRA_{key}{_safe(end)},Number=A,Type={kind},Description="lyra: {meaning}{end}">')
    return "\n".join([*reader.header, *lines, reader.columns]) + "\n"


def _lines(chunk: RecordChunk, scored: list[_Scored], read_out: ReadOut) -> str:
    """The records with what is new at the end of their INFO."""
    found, lines = iter(scored), []
    for record in chunk.records:
        alternatives = list(islice(found, len(record.alleles)))
        added = []
        for key, values in (
            ("PREDICTION", [each.prediction for each in alternatives]),
            ("EFFECT", [each.effect for each in alternatives]),
        ):
            for i, end in enumerate(read_out.ends):
                cells = ",".join("." if value is None else f"{value[i]:.6g}" for value in values)
                added.append(f"LYRA_{key}{_safe(end)}={cells}")
        if any(each.reason for each in alternatives):
            added.append("LYRA_REASON=" + ",".join(_safe(each.reason) or "." for each in alternatives))
        fields = list(record.fields)
        fields[7] = ";".join([*([] if fields[7] == "." else [fields[7]]), *added])
        lines.append("\t".join(fields))
    return "".join(line + "\n" for line in lines)


def _safe(text: str) -> str:
    """Without what has a meaning in INFO."""
    return re.sub(r"[^\w.<>-]+", "_", text)


class _RegionChunk(NamedTuple):
    rows: list[Region]


class _RegionReader:
    """The windows of a BED file in chunks."""

    def __init__(self, source: str, genome: Genome, length: int):
        self.source, self.genome, self.length = source, genome, length

    def chunks(self, quiet: bool = False) -> Iterator[_RegionChunk]:
        regions = read_regions(self.source, self.genome, self.length)
        windows = iter(tqdm(regions, desc="windows", unit=" windows", delay=1, disable=quiet))
        while chunk := list(islice(windows, _CHUNK_REGIONS)):
            yield _RegionChunk(chunk)


def _region_rows(chunk: _RegionChunk, model: GenomeModel, genome: Genome) -> list[Row]:
    windows = [genome.fetch(region.contig, region.start, region.end) for region in chunk.rows]
    values, ends = model.values(windows), model.read_out.ends
    return [
        region._asdict()
        | {f"prediction{end}": np.float32(value) for end, value in zip(ends, values[window], strict=True)}
        for region, window in zip(chunk.rows, windows, strict=True)
    ]
