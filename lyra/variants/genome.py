"""Variants in a genome: from a VCF file and a FASTA file to the two sequences that a model compares.

A variant has many spellings. Before anything is scored, the letters that reference and alternative allele share are
trimmed and an insertion or deletion is moved to the left as far as it goes (Tan et al. 2015), so that all spellings
give the same window.
"""

import gzip
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple

from tqdm.auto import tqdm

from ..errors import InputError, one_line
from .spelling import shorten

_CHUNK_RECORDS = 2048
_BASES = set("ACGTN")


class Genome:
    """The contigs of a FASTA file, plain or compressed by bgzip; its index is made beside it where there is none.

    Raises:
        InputError: if it cannot be read or indexed.
    """

    def __init__(self, path: str):
        pysam = import_pysam()
        if not os.path.exists(path):
            raise InputError(f"{path}: no such file")
        self.path = path
        try:
            with _silent():
                self._file = pysam.FastaFile(path)
        except (OSError, ValueError) as error:
            hint = "; a genome that is compressed must be so by bgzip, not gzip" if path.endswith(".gz") else ""
            raise InputError(f"{path}: not a FASTA file that can be indexed ({one_line(error)}){hint}") from None
        self.lengths = dict(zip(self._file.references, self._file.lengths, strict=True))

    def find(self, contig: str) -> str | None:
        """The name of a contig here, with or without `chr`; None where there is none."""
        other = contig.removeprefix("chr") if contig.startswith("chr") else f"chr{contig}"
        mitochondrion = {"MT": "chrM", "M": "chrM", "chrM": "MT", "chrMT": "chrM"}.get(contig)
        return next((name for name in (contig, other, mitochondrion) if name in self.lengths), None)

    def fetch(self, contig: str, start: int, end: int) -> str:
        """The letters from `start` (from 0) to before `end` in capitals, N outside of the contig."""
        length = self.lengths[contig]
        inside = self._file.fetch(contig, max(0, min(start, length)), max(0, min(end, length))).upper()
        return "N" * min(end - start, max(0, -start)) + inside + "N" * min(end - start, max(0, end - length))


class Allele(NamedTuple):
    """One alternative of a place in a genome.

    Attributes:
        start: from 0.
        reference, alternative: letters, after trimming one of them may be empty.
    """

    contig: str
    start: int
    reference: str
    alternative: str

    def normalize(self, genome: Genome) -> "Allele":
        """The allele trimmed and as far to the left as it goes."""
        contig, start, old, new = self
        return Allele(contig, *shorten(start, old, new, lambda i: genome.fetch(contig, i, i + 1)))

    def windows(self, genome: Genome, length: int) -> tuple[str, str]:
        """The sequences of both alleles, of this length, with the change in the middle of the reference's."""
        first = self.start - (length - len(self.reference)) // 2
        end = self.start + len(self.reference)
        reference = genome.fetch(self.contig, first, first + length)
        before = genome.fetch(self.contig, first, self.start)
        after = genome.fetch(self.contig, end, end + length)
        return reference, (before + self.alternative + after)[:length]


class Record(NamedTuple):
    """A line of a VCF file.

    Attributes:
        fields: its columns, as text.
        alleles: of each alternative; or why it cannot be scored.
    """

    fields: list[str]
    alleles: list[Allele | str]


class RecordChunk(NamedTuple):
    """Some records; `rows` are their alternatives, each with its record."""

    records: list[Record]
    rows: list[tuple[Record, int]]


class VcfReader:
    """Reads a VCF file, also gzipped, in chunks.

    Args:
        length: of the windows; a longer reference allele cannot be scored.

    Attributes:
        header: its lines but the last, which names the columns.
        columns: that line.

    Raises:
        InputError: naming file and record, here or while reading.
    """

    def __init__(self, source: str, genome: Genome, length: int):
        self.source, self.genome, self.length = source, genome, length
        *self.header, self.columns = self._read_header()

    def _read_header(self) -> list[str]:
        with _open_vcf(self.source) as file, _readable(self.source, "the header"):
            return str(file.header).rstrip("\n").split("\n")

    def chunks(self, quiet: bool = False) -> Iterator[RecordChunk]:
        with _open_vcf(self.source) as file:
            records = self._records(tqdm(_lines(file), desc="records", unit=" records", delay=1, disable=quiet))
            while chunk := list(islice(records, _CHUNK_RECORDS)):
                yield RecordChunk(chunk, [(record, i) for record in chunk for i in range(len(record.alleles))])

    def _records(self, lines: Any) -> Iterator[Record]:
        iterator, number = iter(lines), 0
        while True:
            number += 1
            with _readable(self.source, f"record {number}"):
                line = next(iterator, None)
                if line is None:
                    return
                fields = str(line).rstrip("\n").split("\t")
            alternatives = fields[4].split(",")
            yield Record(fields, [self._read(fields[0], int(fields[1]), fields[3], each) for each in alternatives])

    def _read(self, contig: str, position: int, reference: str, alternative: str) -> Allele | str:
        name, old, new = self.genome.find(contig), reference.upper(), alternative.upper()
        if name is None:
            return f"the genome has no contig {contig}"
        if not old or not new or set(old + new) - _BASES:
            return "not an allele of letters"
        if position < 1 or position - 1 + len(old) > self.genome.lengths[name]:
            return f"outside of the contig of {self.genome.lengths[name]} letters"
        found = self.genome.fetch(name, position - 1, position - 1 + len(old))
        if found != old:
            return f"the genome has {found[:20]} there"
        if max(len(old), len(new)) > self.length:
            return f"longer than the window of {self.length}"
        return Allele(name, position - 1, old, new).normalize(self.genome)


class Region(NamedTuple):
    """A window of a region of a BED file, from 0, the end not included."""

    contig: str
    start: int
    end: int
    name: str


def read_regions(source: str, genome: Genome, length: int) -> Iterator[Region]:
    """Windows of a length side by side over the regions of a BED file; the last one of a region may reach beyond it.

    Raises:
        InputError: naming file and line.
    """
    try:
        lines = Path(source).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source}: cannot be read ({one_line(error)})") from None
    for number, line in enumerate(lines, 1):
        fields = line.split("\t") if "\t" in line else line.split()
        if not fields or line.startswith(("#", "track", "browser")):
            continue
        where = f"{source}, line {number}"
        if len(fields) < 3 or not (fields[1].isdigit() and fields[2].isdigit()) or int(fields[1]) >= int(fields[2]):
            raise InputError(f"{where}: expected contig, start and end, got {line[:60]!r}")
        contig = genome.find(fields[0])
        if contig is None:
            raise InputError(f"{where}: {genome.path} has no contig {fields[0]}")
        if int(fields[2]) > genome.lengths[contig]:
            raise InputError(
                f"{where}: {fields[0]} has {genome.lengths[contig]} letters, the region ends at {fields[2]}"
            )
        name = fields[3] if len(fields) > 3 else ""
        for start in range(int(fields[1]), int(fields[2]), length):
            yield Region(contig, start, start + length, name)


def import_pysam() -> Any:
    """The package; raises InputError where it is missing."""
    try:
        import pysam
    except ImportError:
        raise InputError("variants in a genome need pysam: pip install 'lyra-bio[genomes]'") from None
    return pysam


@contextmanager
def _open_vcf(source: str) -> Iterator[Any]:
    if not os.path.exists(source):
        raise InputError(f"{source}: no such file")
    pysam = import_pysam()
    with _readable(source, "the header"), ExitStack() as opened:
        try:
            file = pysam.VariantFile(source)
        except NotImplementedError:  # it seeks, which it can in bgzip but not in gzip
            text = opened.enter_context(NamedTemporaryFile(suffix=".vcf"))
            with gzip.open(source) as packed:
                shutil.copyfileobj(packed, text)
            text.flush()
            file = pysam.VariantFile(text.name)
        closing = opened.pop_all()
    with closing, file:
        yield file


def _lines(file: Any) -> Iterator[Any]:
    """The records of an open file; its own iterator would seek, which plain gzip cannot."""
    while True:
        try:
            yield next(file)
        except StopIteration:
            return


@contextmanager
def _readable(source: str, what: str) -> Iterator[None]:
    try:
        with _silent():
            yield
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{source}, {what}: not readable as VCF ({one_line(error)})") from None


@contextmanager
def _silent() -> Iterator[None]:
    """Without htslib's own lines on standard error."""
    pysam = import_pysam()
    before = pysam.set_verbosity(0)
    try:
        yield
    finally:
        pysam.set_verbosity(before)
