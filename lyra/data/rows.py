"""The rows of a table in memory, as columns; a row becomes a dictionary when somebody looks at it.

A dictionary for each row would take fifty times the memory of the file.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from .cells import Cells, as_array, one_chunk
from .views import ArrowView, Takeable

_BLOCK = 4096

Row = dict[str, Any]


class RowLocation(NamedTuple):
    """Where a row is: rows count from 1 without the header, lines as an editor counts them."""

    path: str
    row: int
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.path}, row {self.row}" + ("" if self.line is None else f" (line {self.line})")


class Locations(Takeable[RowLocation]):
    """Where rows are, in ten bytes each.

    Args:
        paths: of the files.
        files: which of them, `(rows,)`.
        numbers: of each row in its file.
        lines: 0 where there are none.
    """

    def __init__(self, paths: Sequence[str], files: np.ndarray, numbers: np.ndarray, lines: np.ndarray):
        self.paths, self.files, self.numbers, self.lines = tuple(paths), files, numbers, lines

    @classmethod
    def of(cls, path: str, lines: Sequence[int] | np.ndarray, first: int = 1) -> "Locations":
        """Consecutive rows of a file, from that of number `first` on."""
        numbers = np.arange(first, first + len(lines), dtype=np.uint32)
        return cls([path], np.zeros(len(lines), np.uint16), numbers, np.asarray(lines))

    @classmethod
    def concatenate(cls, parts: Sequence["Locations"]) -> "Locations":
        """One after the other, each of one file."""
        files = [np.full(len(part), number, np.uint16) for number, part in enumerate(parts)]
        numbers, lines = [part.numbers for part in parts], [part.lines for part in parts]
        paths = [part.paths[0] for part in parts]
        return cls(paths, np.concatenate(files), np.concatenate(numbers), np.concatenate(lines))

    def take(self, indices: np.ndarray) -> "Locations":
        """Those of some rows."""
        return Locations(self.paths, self.files[indices], self.numbers[indices], self.lines[indices])

    def __len__(self) -> int:
        return len(self.files)

    def _item(self, index: int) -> RowLocation:
        line = int(self.lines[index])
        return RowLocation(self.paths[self.files[index]], int(self.numbers[index]), line or None)


class Rows(Takeable[Row]):
    """The rows of a table."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Of the columns, in the order in which they appear."""

    @abstractmethod
    def column(self, name: str) -> Cells:
        """The cells of a column, None where a row has none."""

    @abstractmethod
    def take(self, indices: np.ndarray) -> "Rows":
        """Some rows."""

    def map(self, function: Callable[[Any], Any]) -> "ListedRows":
        """What a function makes of each cell."""
        return ListedRows({name: function(cell) for name, cell in row.items()} for row in self)


class ArrowRows(ArrowView[Row], Rows):
    """Rows of a table, which all have the same columns; texts are of Arrow's type `large_string`."""

    @classmethod
    def of(cls, table: pa.Table) -> "ArrowRows":
        """Those of a table whose texts may be `string`, of which a column has room for 2 GB only."""
        large = [
            field.with_type(pa.large_string()) if pa.types.is_string(field.type) else field for field in table.schema
        ]
        return cls(table.cast(pa.schema(large)))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.values.column_names)

    def column(self, name: str) -> Cells:
        if name not in self.values.column_names:
            return Cells([None] * len(self))
        column = self.values[name]
        return Cells(column if self.indices is None else column.take(pa.array(self.indices)))

    def __iter__(self) -> Iterator[Row]:
        return chain.from_iterable(self.parts(_BLOCK))


class ListedRows(Rows):
    """Rows that may differ in their columns, and a column in its types."""

    def __init__(self, rows: Iterable[Row]):
        self.rows = list(rows)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for row in self.rows for name in row))

    def column(self, name: str) -> Cells:
        return Cells([row.get(name) for row in self.rows])

    def take(self, indices: np.ndarray) -> "ListedRows":
        return ListedRows(self.rows[i] for i in indices)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def _item(self, index: int) -> Row:
        return self.rows[index]


def as_rows(rows: list[Row]) -> Rows:
    """Rows as columns where they have the same ones, in the same order, each of texts, numbers of one type or truth
    values."""
    names = tuple(rows[0]) if rows else ()
    if names and all(tuple(row) == names for row in rows):
        arrays = [as_array([row[name] for row in rows]) for name in names]
        if all(array is not None for array in arrays):
            return ArrowRows(pa.table(arrays, names))
    return ListedRows(rows)


def concatenate(parts: list[Rows]) -> Rows:
    """One after the other, as columns where all have the same; the list is emptied, as memory has room for one of them
    twice and no more."""
    tables = [part.values for part in parts if isinstance(part, ArrowRows)]
    if not tables or len(tables) < len(parts) or any(not table.schema.equals(tables[0].schema) for table in tables):
        return ListedRows(row for part in parts for row in part)
    joined, schema = pa.concat_tables(tables), tables[0].schema
    tables.clear()
    parts.clear()
    columns = []
    for name in schema.names:
        columns.append(one_chunk(joined[name]))
        joined = joined.drop_columns(name)
    return ArrowRows(pa.table(columns, schema=schema))
