"""`lyra explain`: what a model has learned, as tables and plots."""

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from ..alphabet_lyra import get_alphabet
from ..errors import InputError
from ..files import made_folder
from ..inference.loading import load_on_device
from ..inference.parts import fingerprint_of, write_in_parts
from ..inference.reading import ChunkReader
from ..linear_lyra import AlignedTerm, WordsTerm
from ..modeling_lyra import LyraClassificationModel
from ..strands_lyra import MODES, has_complements
from ..tokenization_lyra import LyraTokenizer
from .attribution import METHODS, Attribution, Target
from .memory import memory_lengths, responses
from .motifs import Database, Motif, compare_motifs, find_motifs, read_meme, write_meme
from .plots import plot_logos, plot_memory, plot_motifs

ATTRIBUTIONS = "attributions.npz"
_STAGING = "files"  # in the folder of the parts: what is made of them, until all of it is there
_PART = 32  # sequences
_UNALIGNED = 0.4  # share of letters that are not the most common one of their position, from which on words are sought
_INCOMPLETE = 0.01
_LOGOS = 5
_LOGO_LETTERS, _MEAN_LETTERS = 300, 1000  # longer sequences are not drawn
_SEED = 0
_WEIGHTS = ("linear_weights.csv", "linear_pairs.csv", "linear_words.csv")
_WRITTEN = (
    *(ATTRIBUTIONS, "sequences.csv", "sequences.png", "mean.csv", "logo.png", "memory.csv", "memory.png"),
    *("motifs.meme", "motif_hits.csv", "motifs.png", "tomtom.csv"),
    *_WEIGHTS,
)


def explain(
    model_name: str,
    source: str,
    output: str,
    method: str = "gradients",
    label: str | None = None,
    sequences: int = 1000,
    motifs: str | None = None,
    sequence_column: str | None = None,
    unknown: str = "error",
    device: str | None = None,
    revision: str | None = None,
    resume: bool = False,
) -> int:
    """Writes what a model has learned to a folder: contributions of letters, logos, motifs, weights, memory.

    Contributions are on the scale on which the model adds up, see [`lyra.explanation.attribution`].

    Args:
        model_name: a checkpoint folder or Hub id, of a sequence head.
        source: table of sequences; `output`: a folder, made if there is none.
        method: a key of `METHODS`.
        label: which output, where there are several.
        sequences: at most so many, drawn at random.
        motifs: a file in MEME's format to compare the motifs with that are found.
        sequence_column, unknown, device, revision, resume: as in [`lyra.inference.predict`].

    Returns:
        The number of sequences.

    Raises:
        InputError: naming file, row and column.
    """
    if method not in METHODS:
        raise InputError(f"--method: expected one of {', '.join(METHODS)}, got {method!r}")
    if sequences < 1:
        raise InputError(f"--sequences: expected at least 1, got {sequences}")
    folder = Path(output)
    _check_folder(folder, source, motifs)
    database = None if motifs is None else read_meme(motifs)
    model, tokenizer, state = load_on_device(model_name, revision, device)
    target, alphabet = Target(model, label), get_alphabet(tokenizer.alphabet)
    if database is not None and database.letters != alphabet.letters:
        raise InputError(f"{motifs}: expected motifs of the letters {alphabet.letters}, got {database.letters}")
    columns: dict[str, Any] = {"sequence_column": sequence_column, "unknown": unknown}
    length = model.config.linear_length
    table = ChunkReader(source, tokenizer, model.config.training_data, **columns, length=length)
    reader = _Sample(table, sequences)
    fingerprint = fingerprint_of(source, model, **columns, method=method, label=target.name, sequences=sequences)

    def write(chunk: _Part, path: Path, first: bool) -> None:
        _save(path, chunk.rows, METHODS[method](target, tokenizer.encode_bulk(chunk.texts)))

    def join(parts: list[Path], path: Path) -> None:
        """Makes everything beside the parts and moves it only then, so that `--resume` finds them till the end."""
        _join(parts, path)
        staging = path.parent / _STAGING
        staging.mkdir(exist_ok=True)
        files = _summarise(staging, path, model, tokenizer, target, database)
        for name in set(_WRITTEN) - {ATTRIBUTIONS, *files}:  # of an earlier call
            (folder / name).unlink(missing_ok=True)
        for name in files:
            (staging / name).replace(folder / name)
        print(f"written: {folder}: {', '.join([ATTRIBUTIONS, *files])}; {len(np.load(path)['rows'])} sequences")

    with made_folder(folder):
        return write_in_parts(str(folder / ATTRIBUTIONS), reader, write, join, fingerprint, resume, state)


def _check_folder(folder: Path, source: str, motifs: str | None) -> None:
    """Raises InputError if a file that is read would be replaced, or a file cannot be written."""
    for name in _WRITTEN:
        file = folder / name
        if file.is_dir():
            raise InputError(f"{file}: expected a file to write, got a directory")
        for read in (source, motifs):
            if read and Path(read).exists() and file.exists() and file.samefile(read):
                raise InputError(f"{file}: the output would replace the input")


# ── Sequences ────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Part(NamedTuple):
    """Some sequences; `rows` are their numbers in the table, from 1."""

    rows: list[int]
    texts: list[str]


class _Sample:
    """A random sample of the rows of a table, in its order, in parts."""

    def __init__(self, table: ChunkReader, count: int):
        self.table, self.count = table, count

    def chunks(self, quiet: bool = False) -> Iterator[_Part]:
        drawn = self._draw(quiet)
        for start in tqdm(range(0, len(drawn), _PART), desc="explaining", unit=" parts", delay=1, disable=quiet):
            rows, texts = zip(*drawn[start : start + _PART], strict=True)
            yield _Part(list(rows), list(texts))

    def _draw(self, quiet: bool) -> list[tuple[int, str]]:
        """Row and sequence of each; of a table of any length no more are ever kept (Vitter 1985)."""
        kept: list[tuple[int, str]] = []
        rng, seen = np.random.default_rng(_SEED), 0
        for chunk in self.table.chunks(quiet):
            for text in chunk.texts:
                seen += 1
                if len(kept) < self.count:
                    kept.append((seen, text))
                elif (place := int(rng.integers(seen))) < self.count:
                    kept[place] = (seen, text)
        return sorted(kept)


# ── Contributions ────────────────────────────────────────────────────────────────────────────────────────────────────


def _save(path: Path, rows: list[int], found: list[Attribution]) -> None:
    with open(path, "wb") as file:
        np.savez(
            file,
            attributions=np.concatenate([each.values for each in found]).astype(np.float32),
            letters=np.concatenate([each.letters for each in found]).astype(np.int8),
            lengths=np.array([len(each.letters) for each in found]),
            rows=np.array(rows),
            predictions=np.array([each.prediction for each in found]),
            explained=np.array([each.explained for each in found]),
            errors=np.array([each.error for each in found]),
        )


def _join(parts: list[Path], path: Path) -> None:
    loaded = [dict(np.load(part)) for part in parts]
    with open(path, "wb") as file:
        np.savez(file, **{name: np.concatenate([each[name] for each in loaded]) for name in loaded[0]})  # type: ignore[arg-type]


def read_attributions(file: Path) -> list[Attribution]:
    """What `explain` wrote."""
    data = np.load(file)
    ends = np.cumsum(data["lengths"])[:-1]
    parts = (np.split(data["attributions"], ends), np.split(data["letters"], ends))
    numbers = (data[name].tolist() for name in ("predictions", "explained", "errors"))
    return [Attribution(*each) for each in zip(*parts, *numbers, strict=True)]


# ── What is made of them ─────────────────────────────────────────────────────────────────────────────────────────────


def _summarise(
    folder: Path,
    attributions: Path,
    model: LyraClassificationModel,
    tokenizer: LyraTokenizer,
    target: Target,
    database: Database | None,
) -> list[str]:
    """Writes tables and plots; returns their names."""
    found, letters = read_attributions(attributions), get_alphabet(tokenizer.alphabet).letters
    rows = np.load(attributions)["rows"]
    files = [_write_sequences(folder, rows, found), *_draw_sequences(folder, rows, found, letters)]
    if len({len(each.letters) for each in found}) == 1:
        files += _write_mean(folder, found, letters)
    if _are_unaligned(found):
        averages = MODES[model.config.reverse_complement].averages
        motifs = find_motifs(found, averages)
        files += _write_motifs(folder, rows, motifs, letters)
        if motifs and database is not None:
            compared = compare_motifs(motifs, database.motifs, has_complements(tokenizer.alphabet))
            files.append(_write_table(folder / "tomtom.csv", compared))
    files += _write_weights(folder, target, letters)
    return files + _write_memory(folder, model)


def _write_table(file: Path, rows: Sequence[dict[str, Any]]) -> str:
    with open(file, "w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    return file.name


def _write_sequences(folder: Path, rows: np.ndarray, found: list[Attribution]) -> str:
    """What is explained of each sequence; prints by how much contributions miss it, of gradients."""
    missed, explained = (np.array([getattr(each, name) for each in found]) for name in ("error", "explained"))
    if np.isfinite(missed).all():
        share = np.abs(missed).sum() / max(np.abs(explained).sum(), 1e-30)
        print(f"completeness: contributions miss {share:.2%} of what they explain")
        if share > _INCOMPLETE:
            print("warning: the integral did not converge; --method mutagenesis needs none", file=sys.stderr)
    return _write_table(
        folder / "sequences.csv",
        [
            {"row": row, "latent": each.prediction, "explained": each.explained, "error": each.error}
            for row, each in zip(rows.tolist(), found, strict=True)
        ],
    )


def _draw_sequences(folder: Path, rows: np.ndarray, found: list[Attribution], letters: str) -> list[str]:
    """Logos of the sequences with the highest latent sums that are not too long to be read."""
    order = sorted(range(len(found)), key=lambda i: -found[i].prediction)
    chosen = [i for i in order if len(found[i].letters) <= _LOGO_LETTERS][:_LOGOS]
    if not chosen:
        return []
    titles = [f"row {rows[i]}, latent {found[i].prediction:.3g}" for i in chosen]
    plot_logos([found[i].track for i in chosen], titles, letters, "contribution", folder / "sequences.png")
    return ["sequences.png"]


def _write_mean(folder: Path, found: list[Attribution], letters: str) -> list[str]:
    """Of aligned sequences the mean contributions of the letters that are there, by position: over all, and over the
    tenth with the highest latent sums."""
    top = sorted(found, key=lambda each: -each.prediction)[: max(1, len(found) // 10)]
    groups = {"all": found, "top tenth": top}
    means = [np.mean([each.track for each in group], axis=0) for group in groups.values()]
    shown = [
        {"sequences": name, "position": i + 1} | dict(zip(letters, map(float, row), strict=True))
        for name, mean in zip(groups, means, strict=True)
        for i, row in enumerate(mean)
    ]
    table = _write_table(folder / "mean.csv", shown)
    if len(means[0]) > _MEAN_LETTERS:
        print(f"no logo.png: the sequences have {len(means[0])} positions, more than {_MEAN_LETTERS} cannot be read")
        return [table]
    titles = ["mean over the sequences", "mean over the tenth with the highest latent sums"]
    plot_logos(means, titles, letters, "contribution", folder / "logo.png")
    return [table, "logo.png"]


def _are_unaligned(found: list[Attribution]) -> bool:
    """Whether positions mean nothing: lengths differ, or letters of a position do."""
    if len({len(each.letters) for each in found}) > 1:
        return True
    letters = np.stack([each.letters for each in found]) + 1
    common = np.array([np.bincount(column).max() for column in letters.T])
    return bool(1 - common.mean() / len(letters) > _UNALIGNED)


def _write_motifs(folder: Path, rows: np.ndarray, motifs: list[Motif], letters: str) -> list[str]:
    print(f"motifs: {', '.join(_describe(motif, letters) for motif in motifs) or 'none'}")
    if not motifs:
        return []
    write_meme(folder / "motifs.meme", motifs, letters)
    plot_motifs(motifs, letters, folder / "motifs.png")
    hits = [
        {
            "row": int(rows[hit.sequence]),
            "start": hit.start + 1,
            "end": hit.end,
            "strand": hit.strand,
            "motif": f"motif_{number}",
            "contribution": hit.contribution,
        }
        for number, motif in enumerate(motifs, 1)
        for hit in motif.hits
    ]
    return ["motifs.meme", "motifs.png", _write_table(folder / "motif_hits.csv", hits)]


def _describe(motif: Motif, letters: str) -> str:
    return f"{motif.consensus(letters)} ({len(motif.hits)} hits)"


def _write_weights(folder: Path, target: Target, letters: str) -> list[str]:
    """The weights of the linear term, on the same scale, but of one of several classes those of its latent sum; of an
    ensemble their mean."""
    terms = [member.linear_term for member in target.model.members()]
    first = terms[0]
    if first is None:
        return []
    every = np.mean([term.weight.detach().cpu().double().numpy() for term in terms], axis=0)  # type: ignore[union-attr]
    weights = every[:, target.index]
    if target.kind == "classification" and every.shape[1] == 2:
        weights = weights - every[:, 1 - target.index]
    if not weights.any():  # all shares are the network's
        return []
    if isinstance(first, WordsTerm):
        return [_write_table(folder / "linear_words.csv", _word_weights(weights, first.longest, letters))]
    assert isinstance(first, AlignedTerm)
    size = first.length * len(letters)
    single = weights[:size].reshape(first.length, len(letters))
    shown = [{"position": i + 1} | dict(zip(letters, map(float, row), strict=True)) for i, row in enumerate(single)]
    files = [_write_table(folder / "linear_weights.csv", shown)]
    if first.pairs:
        pairs = weights[size:].reshape(len(first.pairs), len(letters), len(letters))
        files.append(_write_table(folder / "linear_pairs.csv", _pair_weights(pairs, first.pairs, letters)))
    return files


def _word_weights(weights: np.ndarray, longest: int, letters: str) -> list[dict[str, Any]]:
    words = [""]
    named: list[str] = []
    for _ in range(longest):
        words = [word + letter for word in words for letter in letters]
        named += words
    return [{"word": word, "weight": float(value)} for word, value in zip(named, weights, strict=True)]


def _pair_weights(weights: np.ndarray, pairs: list[tuple[int, int]], letters: str) -> list[dict[str, Any]]:
    return [
        {
            "position": one + 1,
            "other_position": other + 1,
            "letter": a,
            "other_letter": b,
            "weight": float(weights[pair, i, j]),
        }
        for pair, (one, other) in enumerate(pairs)
        for i, a in enumerate(letters)
        for j, b in enumerate(letters)
    ]


def _write_memory(folder: Path, model: LyraClassificationModel) -> list[str]:
    found = responses(model)
    plot_memory(found, folder / "memory.png")
    return [_write_table(folder / "memory.csv", memory_lengths(found)), "memory.png"]
