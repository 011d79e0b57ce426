"""Numbers with decimal commas, as spreadsheets in many countries write them."""

import re
from typing import Any

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
    for location, row in zip(table.locations, table.rows, strict=True):
        for column in (*columns.labels, *columns.extra):
            if isinstance(row.get(column), str) and "." in row[column]:
                cell = Cell(location, column)
                raise InputError(f"{cell}: expected a decimal comma and no point (--decimal ,), got {row[column]!r}")
    table.rows = [{column: _with_point(cell) for column, cell in row.items()} for row in table.rows]


def _with_point(cell: Any) -> Any:
    """A cell of one or several numbers with points; others as they are."""
    if not isinstance(cell, str) or "," not in cell:
        return cell
    pointed = cell.replace(",", ".")
    parts = filter(None, _AROUND.split(pointed))
    return pointed if all(parse_number(part) is not None or is_missing(part) for part in parts) else cell
