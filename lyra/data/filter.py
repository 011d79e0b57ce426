"""Which rows of a table to keep: `--where` and `--missing_labels`."""

import operator
import re
from typing import Any

import numpy as np

from ..errors import InputError, join_quoted
from .cells import Cell, parse_number
from .columns import Columns
from .loading import Table
from .schemes import SPLITS

_CONDITION = re.compile(r"\s*(.+?)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*")
_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def filter_rows(table: Table, columns: Columns, conditions: list[str]) -> list[str]:
    """Drops the rows of a table for which a condition does not hold, in place; returns a note on each condition.

    Raises:
        InputError: for a condition that cannot be read, or that leaves nothing of the table or of one of its splits.
    """
    notes = []
    for condition in conditions:
        kept = _matches(table, columns, condition)
        notes.append(f"rows: {kept.sum()} of {len(kept)} where {condition}")
        _keep(table, kept, f"--where {condition!r}")
    return notes


def skip_unlabelled(table: Table, columns: Columns) -> list[str]:
    """Drops the rows of a table that lack one of their labels, in place; returns a note if there are any.

    Raises:
        InputError: if that leaves nothing of the table or of one of its splits.
    """
    kept = ~np.any([table.rows.column(column).is_missing for column in columns.labels], axis=0)
    if kept.all():
        return []
    _keep(table, kept, "--missing_labels skip")
    return [f"rows: {len(kept) - kept.sum()} of {len(kept)} have no label and are left out"]


def _keep(table: Table, kept: np.ndarray, flag: str) -> None:
    before = _names(table.splits)
    table.take(np.flatnonzero(kept))
    if not len(table.rows):
        raise InputError(f"{table.source}: no rows are left by {flag}")
    for split in sorted(before - _names(table.splits)):
        raise InputError(f"{table.source}: no row of the {split} split is left by {flag}")


def _names(splits: np.ndarray | None) -> set[str]:
    return set() if splits is None else {SPLITS[split] for split in np.unique(splits)}


def _matches(table: Table, columns: Columns, condition: str) -> np.ndarray:
    """Whether a condition holds, of each row."""
    match = _CONDITION.fullmatch(condition)
    if match is None or match[1] not in columns.all:
        raise InputError(
            "--where: expected column=value, or !=, <, <=, > or >=, with a column among "
            f"{join_quoted(columns.all)}, got {condition!r}"
        )
    column, sign, value = match.groups()
    limit, cells = parse_number(value), table.rows.column(column)
    if sign in ("=", "!="):
        return cells.map(lambda cell: _is_equal(cell, value, limit) == (sign == "="), bool)
    if limit is None:
        raise InputError(f"--where {condition!r}: expected a number after {sign}, got {value!r}")
    if not cells.is_number.all():
        bad = int(cells.is_number.argmin())
        where = Cell(table.locations[bad], column)
        raise InputError(f"{where}: expected a number for --where, got {cells[bad]!r}")
    return _COMPARE[sign](cells.numbers, limit)


def _is_equal(cell: Any, value: str, number: float | None) -> bool:
    """Whether a cell equals the value of a condition: the same number, or the same text; true and false in any case."""
    if isinstance(cell, bool):
        return str(cell).lower() == value.lower()
    if number is not None and (found := parse_number(cell)) is not None:
        return found == number
    return ("" if cell is None else str(cell)) == value
