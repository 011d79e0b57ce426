"""Labels per residue: the entries of a cell, and which residues have one."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc

from ..errors import InputError
from .cells import Cell, Cells, is_missing, parse_number
from .loading import Table
from .strings import Strings

_SEPARATOR = re.compile(r"\s*[,;]\s*|\s+")
_ONE_EACH = r"^[!-'*+\-/-:<-Z\\^-z|~]+$"  # a label for each character: no point, comma, bracket or white space
_MAX_NAMED_ROWS = 5


def entries(value: Any, numbers: bool = True) -> list[Any]:
    """The labels of the residues in a cell: of a list, of numbers separated by white space, commas or semicolons
    (also in brackets), or one character each.

    Args:
        numbers: whether numbers in text become floats; otherwise they stay text.
    """
    if isinstance(value, (list, tuple)):
        return list(value)
    text = str(value).strip()
    if "." in text and (number := parse_number(text)) is not None:
        return [number if numbers else text]  # one decimal number, however many digits it has
    listed = re.fullmatch(r"[\[(](.*)[\])]", text, re.DOTALL)
    parts = _SEPARATOR.split(listed[1].strip() if listed else text)
    found = [parse_number(part) for part in parts]
    numeric = sum(number is not None or is_missing(part) for number, part in zip(found, parts, strict=True))
    if len(parts) > 1 and 2 * numeric >= len(parts) and any(number is not None for number in found):
        # A part that is no number stays text, for the message.
        read = [part if number is None else number for number, part in zip(found, parts, strict=True)]
        return read if numbers else parts
    if re.fullmatch(r"\w(\s*[,;]\s*\w)+", text):  # classes such as H,H,C
        return parts
    if listed:
        return [part.strip("'\"") for part in parts]
    return list("".join(text.split()))


def count_entries(cells: Cells) -> np.ndarray:
    """The number of labels in each cell."""
    one = cells.is_decimal & cells.matches(r"^-?[0-9]+\.")
    letters = cells.matches(_ONE_EACH, ~one)
    counts = cells.map(_count, np.int64, ~one & ~letters)
    counts[one] = 1
    if letters.any():
        counts[letters] = pc.utf8_length(cells.array).to_numpy(zero_copy_only=False)[letters]
    return counts


def _count(value: Any) -> int:
    return len(entries(value)) if isinstance(value, (str, list, tuple)) else 1


def scored_lengths(table: Table, column: str | None, number: int | None, sequences: Strings) -> np.ndarray:
    """How many residues of each sequence, from the first, may have labels.

    Args:
        column: that says so; number: for all rows. Without both it is all of them.

    Raises:
        InputError: naming the first row whose number is none.
    """
    lengths = sequences.lengths
    if column is None:
        return lengths if number is None else np.minimum(number, lengths)
    cells = table.rows.column(column)
    found = cells.numbers
    bad = ~((found >= 0) & (found <= lengths) & (found == np.floor(found)))
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"{Cell(table.locations[row], column)}: expected the number of residues with labels, from 0 to "
            f"{lengths[row]}, got {cells[row]!r}"
        )
    return found.astype(np.int64)


def is_mask(table: Table, column: str, sequences: Sequence[str]) -> bool:
    """Whether a column holds 0 and 1 for each residue in at least one row, and so is meant as a mask."""
    for cell, sequence in zip(table.rows.column(column), sequences, strict=True):
        marks = [_mark(entry) for entry in entries(cell)]
        if len(marks) == len(sequence) > 1 and set(marks) <= {0.0, 1.0}:
            return True
    return False


def read_masks(table: Table, column: str | None, sequences: Strings, scored: np.ndarray) -> list[list[bool]]:
    """Which residues of each row may have a label: the first `scored` ones, of these the ones that a mask marks 1.

    Raises:
        InputError: naming the first row whose mask has not a 0 or 1 for each residue.
    """
    prefixes = [[i < count for i in range(len(sequence))] for sequence, count in zip(sequences, scored, strict=True)]
    if column is None:
        return prefixes
    masks = []
    for location, cell, prefix, count in zip(table.locations, table.rows.column(column), prefixes, scored, strict=True):
        marks = [_mark(entry) for entry in entries(cell)]
        if len(marks) not in (count, len(prefix)) or not set(marks) <= {0.0, 1.0}:
            raise InputError(
                f"{location}, column {column!r}: expected {len(prefix)} of 0 and 1, one per residue, got "
                f"{len(marks)} entries {str(cell)[:20]!r}"
            )
        marks += [0.0] * (len(prefix) - len(marks))
        masks.append([inside and mark == 1.0 for inside, mark in zip(prefix, marks, strict=True)])
    return masks


def _mark(entry: Any) -> float | None:
    if isinstance(entry, bool):
        return float(entry)
    return 1.0 if entry == "1" else 0.0 if entry == "0" else parse_number(entry)  # text, most often


def coverage_notes(table: Table, present: Sequence[Sequence[bool]]) -> list[str]:
    """What to say of residues without a label, if there are any.

    Args:
        present: whether each label of each row is there.
    """
    total, found = sum(map(len, present)), sum(map(sum, present))
    if found == total:
        return []
    notes = [f"labels: {found:,} of {total:,} labels of residues are there; the others are treated as missing"]
    empty = [str(location) for location, row in zip(table.locations, present, strict=True) if not any(row)]
    if empty:
        named = "; ".join(empty[:_MAX_NAMED_ROWS]) + "; ..." * (len(empty) > _MAX_NAMED_ROWS)
        notes.append(f"labels: no residue has one in {len(empty)} rows: {named}")
    return notes
