"""Which rows of a table to keep: `--where` and `--missing_labels`."""

import operator
import re
from itertools import compress
from typing import Any

from ..errors import InputError, join_quoted
from .cells import is_missing, parse_number
from .columns import Columns
from .loading import Table

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
        notes.append(f"rows: {sum(kept)} of {len(kept)} where {condition}")
        _keep(table, kept, f"--where {condition!r}")
    return notes


def skip_unlabelled(table: Table, columns: Columns) -> list[str]:
    """Drops the rows of a table that lack one of their labels, in place; returns a note if there are any.

    Raises:
        InputError: if that leaves nothing of the table or of one of its splits.
    """
    kept = [not any(is_missing(row.get(column)) for column in columns.labels) for row in table.rows]
    if all(kept):
        return []
    _keep(table, kept, "--missing_labels skip")
    return [f"rows: {len(kept) - sum(kept)} of {len(kept)} have no label and are left out"]


def _keep(table: Table, kept: list[bool], flag: str) -> None:
    before = set(table.splits or ())
    table.rows, table.locations = list(compress(table.rows, kept)), list(compress(table.locations, kept))
    table.splits = table.splits and list(compress(table.splits, kept))
    if not table.rows:
        raise InputError(f"{table.source}: no rows are left by {flag}")
    for split in sorted(before - set(table.splits or ())):
        raise InputError(f"{table.source}: no row of the {split} split is left by {flag}")


def _matches(table: Table, columns: Columns, condition: str) -> list[bool]:
    """Whether a condition holds, of each row."""
    match = _CONDITION.fullmatch(condition)
    if match is None or match[1] not in columns.all:
        raise InputError(
            "--where: expected column=value, or !=, <, <=, > or >=, with a column among "
            f"{join_quoted(columns.all)}, got {condition!r}"
        )
    column, sign, value = match.groups()
    limit = parse_number(value)
    if sign in ("=", "!="):
        return [_is_equal(row.get(column), value, limit) == (sign == "=") for row in table.rows]
    if limit is None:
        raise InputError(f"--where {condition!r}: expected a number after {sign}, got {value!r}")
    kept = []
    for location, row in zip(table.locations, table.rows, strict=True):
        number = parse_number(row.get(column))
        if number is None:
            raise InputError(f"{location}, column {column!r}: expected a number for --where, got {row.get(column)!r}")
        kept.append(_COMPARE[sign](number, limit))
    return kept


def _is_equal(cell: Any, value: str, number: float | None) -> bool:
    """Whether a cell equals the value of a condition: the same number, or the same text; true and false in any case."""
    if isinstance(cell, bool):
        return str(cell).lower() == value.lower()
    if number is not None and (found := parse_number(cell)) is not None:
        return found == number
    return ("" if cell is None else str(cell)) == value
