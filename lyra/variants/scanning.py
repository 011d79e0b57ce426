"""`lyra scan`: what each variant of a wild type does, as a table of any length and plots of it."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tqdm.auto import tqdm

from ..alphabet_lyra import get_alphabet
from ..data.cells import Cells, is_missing
from ..data.columns import SEQUENCE_COLUMNS, find_column
from ..data.letters import check_letters, detect_alphabet, read_sequences
from ..data.rows import Row, RowLocation
from ..data.tables import TableWriter, join_tables, read_rows
from ..errors import InputError
from ..files import made_folder
from ..inference.loading import load_on_device
from ..inference.outputs import extend_row
from ..inference.parts import fingerprint_of, write_in_parts
from ..inference.reading import rows_per_chunk
from ..modeling_lyra import LyraClassificationModel
from .effects import Effects
from .library import Combinations, Library, Pairs, Singles, read_letters, read_positions
from .notation import Variant, WildType
from .summary import read_label, report_measured, summarise

TABLE, MUTANT, SEQUENCE = "scan.csv", "mutant", "mutated_sequence"
VARIANT_COLUMNS = ("mutant", "variant", "mutation", "mutations", "hgvs", "hgvs_pro", "hgvs_nt")


class VariantChunk(NamedTuple):
    """Some variants, and the columns that their rows already have."""

    rows: list[Row]
    variants: list[Variant]


class LibraryReader:
    """The variants of a library in chunks."""

    def __init__(self, library: Library, wild_type: WildType):
        self.library = library
        self.size = rows_per_chunk(len(wild_type.sequence))

    def chunks(self, quiet: bool = False) -> Iterator[VariantChunk]:
        variants = iter(self.library)
        with tqdm(total=self.library.count, desc="variants", unit=" variants", delay=1, disable=quiet) as bar:
            while chunk := list(islice(variants, self.size)):
                yield VariantChunk([{} for _ in chunk], chunk)
                bar.update(len(chunk))


class ListReader:
    """The variants that a table names, in chunks.

    Args:
        source: the table.
        column: of the variants; by default found by its name.
        label: a column of measurements, numbers or nothing.
        length: that all mutated sequences must have, of a model of aligned ones.

    Raises:
        InputError: naming file, row and column, here or while reading.
    """

    def __init__(self, source: str, wild_type: WildType, column: str | None, label: str | None, length: int | None):
        self.source, self.wild_type, self.label, self.length = source, wild_type, label, length
        first = next(iter(read_rows(source)), None)
        if first is None:
            raise InputError(f"{source}: the table has no rows")
        names = list(first[1])
        self.column = find_column(source, names, column, VARIANT_COLUMNS, "variant")
        if label is not None:
            find_column(source, names, label, (), "label")
        self.size = rows_per_chunk(len(wild_type.sequence))

    def chunks(self, quiet: bool = False) -> Iterator[VariantChunk]:
        rows = iter(tqdm(read_rows(self.source), desc="variants", unit=" variants", delay=1, disable=quiet))
        while chunk := list(islice(rows, self.size)):
            yield VariantChunk([row for _, row in chunk], [self._parse(*each) for each in chunk])

    def _parse(self, location: RowLocation, row: Row) -> Variant:
        if self.label is not None:
            read_label(location, row, self.label)
        variant = _parse(self.wild_type, location, row, self.column)
        length = len(self.wild_type.sequence) + sum(len(edit.alternative) - len(edit.reference) for edit in variant)
        if self.length not in (None, length):
            raise InputError(
                f"{location}, column {self.column!r}: {self.wild_type.format(variant)} changes the length, which the "
                f"model's linear term knows as {self.length} (lyra train --linear_term words or none takes any length)"
            )
        return variant


def _parse(wild_type: WildType, location: RowLocation, row: Row, column: str) -> Variant:
    try:
        variant = wild_type.parse(str(row.get(column) or ""))
    except ValueError as error:
        raise InputError(f"{location}, column {column!r}: {error}") from None
    if not wild_type.apply(variant):
        raise InputError(f"{location}, column {column!r}: deletes the whole wild type")
    return variant


def mutated_sequences(rows: Iterable[tuple[RowLocation, Row]], column: str, wild_type: WildType) -> list[str]:
    """The sequences of variants, of measured rows: an empty cell is not taken for the wild type.

    Raises:
        InputError: naming row and column of one that is missing or cannot be read.
    """
    rows = list(rows)
    for location, row in rows:
        if is_missing(row.get(column)):
            raise InputError(f"{location}, column {column!r}: expected a variant such as A1P, or WT, got nothing")
    return [wild_type.apply(_parse(wild_type, location, row, column)) for location, row in rows]


def scan(
    model_name: str,
    wild_type: str,
    output: str,
    positions: str | None = None,
    letters: str | None = None,
    pairs: bool = False,
    max_distance: int | None = None,
    sites: str | None = None,
    variants: str | None = None,
    variant_column: str | None = None,
    label_column: str | None = None,
    offset: int = 0,
    effect: str = "difference",
    interval: float | None = None,
    device: str | None = None,
    revision: str | None = None,
    resume: bool = False,
) -> int:
    """Predicts what variants of a wild type do: `scan.csv` in the folder `output`, plots and matrices beside it.

    The table has `mutant`, `mutated_sequence` and the columns of [`Effects`]. Variants are all singles, or exactly one
    of `pairs`, `sites` and `variants`.

    Args:
        model_name: a checkpoint folder or Hub id.
        wild_type: a FASTA file or a table of one sequence.
        output: a folder, made if there is none.
        positions, letters: those that change, such as `20-60,75` and `ACDEF`; by default all.
        pairs: every two singles, `max_distance` positions apart at most.
        sites: positions of which every combination of letters is made.
        variants: a table that names them in `variant_column`; with a `label_column`, what was measured is compared
            with what is predicted.
        offset: added to a position, counted from 1, in the notation.
        effect: a key of `EFFECTS`.
        interval: level, such as 0.9, of intervals or sets that are added, see [`prediction_columns`].
        device: by default the GPU where there is one.
        revision: of a Hub repository.
        resume: whether to keep the parts of an interrupted scan.

    Returns:
        The number of variants.

    Raises:
        InputError: naming file, row and column.
    """
    _check_flags(positions, letters, pairs, max_distance, sites, variants, variant_column, label_column)
    model, tokenizer, state = load_on_device(model_name, revision, device)
    wild = read_wild_type(wild_type, tokenizer.alphabet, offset)
    _check_model(model, wild, wild_type)
    reader: LibraryReader | ListReader
    if variants is None:
        reader = LibraryReader(variant_library(wild, positions, letters, pairs, max_distance, sites), wild)
        settings = reader.library.settings
        combined = pairs or sites is not None
    else:
        reader = ListReader(variants, wild, variant_column, label_column, model.config.linear_length)
        settings = {"variants": fingerprint_of(variants, model)["the table"], "column": reader.column}
        combined = True
    effects = Effects(model, tokenizer, wild, effect, combined, interval)
    columns: list[str] = []

    def write(chunk: VariantChunk, path: Path, first: bool) -> None:
        _write_rows(chunk, path, first, wild, effects, columns)

    folder = Path(output)
    fingerprint = fingerprint_of(wild_type, model, **settings, effect=effect, offset=offset, interval=interval)
    with made_folder(folder):
        count = write_in_parts(str(folder / TABLE), reader, write, join_tables, fingerprint, resume, state)
    if state is None or state.process_index == 0:
        known = wild.spell(wild.alphabet.letters)
        files = summarise(folder, TABLE, wild, effects.columns[0], effect, known)
        if label_column is not None:
            files += report_measured(folder, TABLE, wild, label_column, effects.columns[0])
        print(f"written: {folder}: {', '.join([TABLE, *files])}; {count} variants")
    return count


def _write_rows(
    chunk: VariantChunk, path: Path, first: bool, wild: WildType, effects: Effects, columns: list[str]
) -> None:
    """Writes a part; of all parts the columns are those of the first."""
    rows = []
    for variant, row, added in zip(chunk.variants, chunk.rows, effects(chunk.variants), strict=True):
        own = {name: value for name, value in row.items() if name not in (MUTANT, SEQUENCE)}
        named = {MUTANT: wild.format(variant), SEQUENCE: wild.apply(variant)}
        rows.append(named | extend_row(str(path), own, added))
    columns[:] = columns or list(rows[0])
    with TableWriter(path, columns, header=first) as writer:
        writer.write(rows)


def _check_flags(
    positions: str | None,
    letters: str | None,
    pairs: bool,
    max_distance: int | None,
    sites: str | None,
    variants: str | None,
    variant_column: str | None,
    label_column: str | None,
) -> None:
    """Raises InputError for flags that do not go together."""
    kinds = {"--pairs": pairs, "--sites": sites is not None, "--variants": variants is not None}
    given = [flag for flag, is_given in kinds.items() if is_given]
    if len(given) > 1:
        raise InputError(f"{given[0]} and {given[1]}: a scan is of one kind")
    needs = [
        ("--max_distance", max_distance, "--pairs", pairs),
        ("--variant_column", variant_column, "--variants", variants is not None),
        ("--label_column", label_column, "--variants", variants is not None),
    ]
    for flag, value, other, is_there in needs:
        if value is not None and not is_there:
            raise InputError(f"{flag}: only with {other}")
    if positions is not None and (sites or variants):
        raise InputError(f"--positions: not with {given[0]}")
    if letters is not None and variants:
        raise InputError("--letters: not with --variants")
    if max_distance is not None and max_distance < 1:
        raise InputError(f"--max_distance: expected at least 1, got {max_distance}")


def read_wild_type(source: str, alphabet: str | None, offset: int = 0) -> WildType:
    """The one sequence of a file; of an alphabet that is found from it by default.

    Raises:
        InputError: if there is another number of them, or a letter that the alphabet has not.
    """
    rows = list(islice(read_rows(source), 2))
    if len(rows) != 1:
        raise InputError(f"{source}: expected one wild-type sequence, got {'several' if rows else 'none'}")
    (location, row) = rows[0]
    column = find_column(source, list(row), None, SEQUENCE_COLUMNS, "sequence")
    sequences = read_sequences([location], Cells([row.get(column)]), column)
    letters = get_alphabet(alphabet or detect_alphabet(sequences))
    if len(letters.members) > 1:
        raise InputError("the model reads pairs of sequences, expected one of single sequences")
    check_letters([location], sequences, column, letters)
    return WildType(sequences[0].upper(), letters, offset)


def _check_model(model: LyraClassificationModel, wild: WildType, source: str) -> None:
    """Raises InputError for a model that a scan is not about, or a wild type that it cannot read."""
    if model.per_token:
        raise InputError("the model labels residues, expected one of whole sequences")
    if features := model.config.extra_features:
        raise InputError(f"the model also reads {', '.join(features)} of each sequence")
    length = model.config.linear_length
    if length is not None and len(wild.sequence) != length:
        raise InputError(
            f"{source}: expected {length} letters, as all training sequences have, got {len(wild.sequence)}"
        )


def variant_library(
    wild: WildType,
    positions: str | None = None,
    letters: str | None = None,
    pairs: bool = False,
    max_distance: int | None = None,
    sites: str | None = None,
) -> Library:
    """The variants of a scan that no table names; arguments as of [`scan`].

    Raises:
        InputError: naming the flag whose positions or letters the wild type has not.
    """
    allowed = read_letters(letters, wild)
    if sites is not None:
        return Combinations(wild, read_positions(sites, wild, "--sites"), allowed)
    chosen = list(range(len(wild.sequence))) if positions is None else read_positions(positions, wild, "--positions")
    singles = Singles(wild, chosen, allowed)
    return Pairs(singles, max_distance) if pairs else singles
