"""Numbers with decimal commas, as spreadsheets in many countries write them."""

import re
from operator import itemgetter
from typing import Any

import numpy as np

from ..errors import InputError
from .cells import Cell, is_missing, parse_number
from .columns import Columns
from .loading import Table

_AROUND = re.compile(r"[\s;\[\]()]+")


def read_decimal_commas(table: Table, columns: Columns) -> None:
    """Writes the numbers of a table with points, in place.

    Raises:
        InputError: naming the first label with a point, which may divide thousands.
    """
    found = {
        column: np.flatnonzero(table.rows.column(column).map(_has_point, bool))
        for column in (*columns.labels, *columns.extra)
    }
    if first := min(
        ((rows[0], column) for column, rows in found.items() if len(rows)), key=itemgetter(0), default=None
    ):
        cell, value = Cell(table.locations[first[0]], first[1]), table.rows[first[0]][first[1]]
        raise InputError(f"{cell}: expected a decimal comma and no point (--decimal ,), got {value!r}")
    table.rows = table.rows.map(_with_point)


def _has_point(cell: Any) -> bool:
    return isinstance(cell, str) and "." in cell


def _with_point(cell: Any) -> Any:
    """A cell of one or several numbers with points; others as they are."""
    if not isinstance(cell, str) or "," not in cell:
        return cell
    pointed = cell.replace(",", ".")
    parts = filter(None, _AROUND.split(pointed))
    return pointed if all(parse_number(part) is not None or is_missing(part) for part in parts) else cell
