"""What was measured so far: the tables of all rounds, replicates averaged."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from ..alphabet_lyra import get_alphabet
from ..data.arguments import DataArguments
from ..data.cells import Cells, is_missing, parse_number
from ..data.columns import LABEL_COLUMNS, SEQUENCE_COLUMNS, find_column, find_optional
from ..data.letters import check_letters, detect_alphabet, read_sequences
from ..data.loading import load_table
from ..data.rows import Row, RowLocation
from ..errors import InputError
from ..variants.notation import WildType
from ..variants.scanning import VARIANT_COLUMNS, mutated_sequences
from .constraints import spell


@dataclass(frozen=True)
class Measured:
    """Different sequences and what was measured for them.

    Attributes:
        sequences: in capitals, in the order in which they were first measured.
        values: `(n,)`, means over replicates.
        errors: `(n,)`, standard errors of these means; NaN of a single measurement.
        rounds: `(n,)`, the number of the round in which each was first measured, from 1.
        label: the column that was measured.
        alphabet: the name of that of the sequences.
        sha256: of the tables.
        column: of the sequences in them.
    """

    sequences: list[str]
    values: np.ndarray
    errors: np.ndarray
    rounds: np.ndarray
    label: str
    alphabet: str
    sha256: str
    column: str

    def best_first(self, sign: int) -> list[str]:
        """The sequences, the greatest value first if the sign is 1, the least if it is -1."""
        return [self.sequences[i] for i in np.argsort(-sign * self.values, kind="stable")]


def average(
    sequences: Sequence[str],
    values: Sequence[float],
    rounds: Sequence[int],
    label: str,
    alphabet: str,
    sha256: str = "",
    column: str = "sequence",
) -> Measured:
    """Averages what was measured several times."""
    letters, places, numbers = get_alphabet(alphabet), dict[str, list[int]](), np.asarray(values, dtype=float)
    for place, sequence in enumerate(sequences):
        places.setdefault(spell(sequence, letters), []).append(place)
    each = [numbers[own] for own in places.values()]
    errors = [own.std(ddof=1) / len(own) ** 0.5 if len(own) > 1 else np.nan for own in each]
    first = np.array([min(rounds[place] for place in own) for own in places.values()])
    return Measured(
        list(places), np.array([own.mean() for own in each]), np.array(errors), first, label, alphabet, sha256, column
    )


def read_rounds(
    files: Sequence[str],
    alphabet: str | None = None,
    sequence_column: str | None = None,
    label_column: str | None = None,
    round_column: str | None = None,
    wild_type: Callable[[str | None], WildType] | None = None,
) -> tuple[Measured, list[str]]:
    """Reads a table for each round; rows without a measurement are left out.

    Args:
        alphabet: by default found from all sequences.
        round_column: of the number of the round; a table without it, where another has it, is the round after those
            before.
        wild_type: gives that in an alphabet, by default its own; for tables of variants without their sequences.

    Returns:
        What was measured, and notes.

    Raises:
        InputError: naming file, row and column.
    """
    wild = None if wild_type is None else partial(wild_type, alphabet)
    tables = [_read(file, sequence_column, label_column, wild) for file in files]
    alphabet = alphabet or detect_alphabet([sequence for table in tables for sequence in table.sequences])
    letters = get_alphabet(alphabet)
    if round_column is not None and not any(round_column in table.names for table in tables):
        raise InputError(f"--round_column: no table has a column {round_column!r}")
    notes, sequences, values = [], [], []
    rounds: list[int] = []
    for table in tables:
        if table.label != tables[0].label:
            raise InputError(
                f"{table.source}: measurements in column {table.label!r}, but in {tables[0].source} in "
                f"{tables[0].label!r}; they need one name"
            )
        check_letters(table.locations, table.sequences, table.column, letters)
        sequences += table.sequences
        values += table.values
        rounds += _rounds(table, round_column, after=max(rounds, default=0))
        left_out = f"; {table.unmeasured} rows without one are left out" * bool(table.unmeasured)
        notes.append(f"{table.source}: {len(table.values)} measurements of {table.label!r}{left_out}")
    first = tables[0]
    sha256 = first.sha256 if len(tables) == 1 else _hash([table.sha256 for table in tables])
    measured = average(sequences, values, rounds, first.label, alphabet, sha256, first.column)
    repeated = len(sequences) - len(measured.sequences)
    notes.append(
        f"measured: {len(measured.sequences)} sequences, alphabet {alphabet}, in {len(set(rounds))} round(s)"
        + f"; {repeated} replicates averaged" * bool(repeated)
    )
    return measured, notes


class _Table(NamedTuple):
    """The measured rows of a file, and how many rows have no measurement."""

    source: str
    sha256: str
    names: list[str]
    column: str
    label: str
    locations: list[RowLocation]
    rows: list[Row]
    sequences: list[str]
    values: list[float]
    unmeasured: int


def _read(
    file: str, sequence_column: str | None, label_column: str | None, wild_type: Callable[[], WildType] | None
) -> _Table:
    table = load_table(DataArguments(file))
    names = list(table.rows.names)
    label = find_column(file, names, label_column, LABEL_COLUMNS, "label")
    pairs = zip(table.locations, table.rows, strict=True)
    kept = [(location, row) for location, row in pairs if not is_missing(row.get(label))]
    if not kept:
        raise InputError(f"{file}: no row has a measurement in column {label!r}")
    locations, rows = [location for location, _ in kept], [row for _, row in kept]
    values = [_number(*each, label) for each in kept]
    column, sequences = _sequences(file, names, sequence_column, kept, wild_type)
    left_out = len(table.rows) - len(kept)
    return _Table(file, table.sha256, names, column, label, locations, rows, sequences, values, left_out)


def _hash(hashes: Sequence[str]) -> str:
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def _sequences(
    file: str,
    names: list[str],
    given: str | None,
    pairs: list[tuple[RowLocation, Row]],
    wild_type: Callable[[], WildType] | None,
) -> tuple[str, list[str]]:
    """The column of sequences, and these; where there is only a column of variants, what they make of the wild type."""
    found = given or find_optional(file, names, None, SEQUENCE_COLUMNS, "sequence")
    variants = find_optional(file, names, None, VARIANT_COLUMNS, "variant")
    if not found and variants is not None and wild_type is None:
        raise InputError(f"{file}: no column of sequences; those of column {variants!r} need --wild_type")
    if found or variants is None or wild_type is None:
        column = find_column(file, names, given, SEQUENCE_COLUMNS, "sequence")
        cells = Cells([row.get(column) for _, row in pairs])
        return column, list(read_sequences([location for location, _ in pairs], cells, column))
    return SEQUENCE_COLUMNS[0], mutated_sequences(pairs, variants, wild_type())


def _number(location: RowLocation, row: Row, column: str) -> float:
    number = parse_number(row.get(column))
    if number is None or not math.isfinite(number):
        raise InputError(f"{location}, column {column!r}: expected a number, got {row.get(column)!r}")
    return number


def _rounds(table: _Table, column: str | None, after: int) -> list[int]:
    """The number of the round of each row."""
    if column is None or column not in table.names:
        return [after + 1] * len(table.rows)
    numbers = [_number(*each, column) for each in zip(table.locations, table.rows, strict=True)]
    for location, number in zip(table.locations, numbers, strict=True):
        if number < 1 or number != int(number):
            raise InputError(f"{location}, column {column!r}: expected the number of a round from 1, got {number:g}")
    return [int(number) for number in numbers]
