"""The cells of a column: numbers, missing values, and where they are."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from .rows import RowLocation

_MISSING = ("", "na", "nan", "none", "null")
_DECIMAL = r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$"  # as nearly all numbers are written; others are read one by one


class Cell(NamedTuple):
    """Where a value is, for messages."""

    location: "RowLocation"
    column: str
    residue: int | None = None

    def __str__(self) -> str:
        text = f"{self.location}, column {self.column!r}"
        return text if self.residue is None else f"{text}, residue {self.residue}"


class Cells(Sequence[Any]):
    """A column, read like a list; what is asked of all cells is computed without an object for each where that can be.

    Args:
        values: an Arrow column, or a list of anything.
    """

    def __init__(self, values: pa.ChunkedArray | Sequence[Any]):
        self.array = as_array(values)
        if self.array is None:
            self._listed: Sequence[Any] = values.to_pylist() if isinstance(values, pa.ChunkedArray) else values

    def __len__(self) -> int:
        return len(self._listed if self.array is None else self.array)

    def __getitem__(self, index: Any) -> Any:
        return self._listed[index] if self.array is None else self.array[index].as_py()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._listed if self.array is None else self.array.to_pylist())

    @property
    def is_text(self) -> bool:
        """Whether all cells are texts, or nothing, and Arrow's functions can be asked."""
        return self.array is not None and pa.types.is_large_string(self.array.type)

    def matches(self, pattern: str, where: np.ndarray | None = None) -> np.ndarray:
        """Which texts a regular expression of Arrow finds something in; False of other cells.

        Args:
            where: which cells to look at; the others are False.
        """
        found = np.zeros(len(self), bool)
        if self.is_text and where is None:
            found = _numpy(pc.fill_null(pc.match_substring_regex(self.array, pattern), False))
        elif self.is_text and where is not None and where.any():
            found[where] = self.take(np.flatnonzero(where)).matches(pattern)
        return found

    @cached_property
    def distinct(self) -> tuple[np.ndarray, list[Any]]:
        """The different values, and for each cell the number of its own; of a list that Arrow cannot hold, every cell
        by itself."""
        if self.array is None:
            return np.arange(len(self)), list(self._listed)
        encoded = pc.dictionary_encode(self.array, null_encoding="encode")
        return _numpy(encoded.indices), encoded.dictionary.to_pylist()

    def map(self, function: Callable[[Any], Any], dtype: Any, where: np.ndarray | None = None) -> np.ndarray:
        """What a function gives for each cell, called once for each different one.

        Args:
            where: for which cells; the others are 0.
        """
        if where is None:
            numbers, values = self.distinct
            return np.array([function(value) for value in values], dtype)[numbers]
        results = np.zeros(len(self), dtype)
        chosen = np.flatnonzero(where)
        if len(chosen):
            results[chosen] = self.take(chosen).map(function, dtype)
        return results

    def take(self, indices: np.ndarray) -> "Cells":
        """Some cells."""
        if self.array is not None:
            return Cells(pa.chunked_array([self.array.take(pa.array(indices))]))
        return Cells([self._listed[i] for i in indices])

    @cached_property
    def is_decimal(self) -> np.ndarray:
        """Which texts are numbers as they are usually written."""
        return self.matches(_DECIMAL)

    @cached_property
    def _parsed(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers, and where there are some."""
        if self.array is not None and not self.is_text and not pa.types.is_boolean(self.array.type):
            is_number = ~_numpy(self.array.is_null())
            return _numpy(pc.fill_null(pc.cast(self.array, pa.float64(), safe=False), math.nan)), is_number
        numbers, is_number = np.full(len(self), np.nan), self.is_decimal.copy()
        if is_number.any():
            try:
                texts = pc.if_else(pa.array(is_number), self.array, pa.scalar("nan", pa.large_string()))
                numbers = _numpy(pc.cast(texts, pa.float64())).copy()
            except pa.ArrowInvalid:  # beyond what a float can hold
                is_number = np.zeros(len(self), bool)
        odd = ~is_number
        read = self.map(parse_number, object, odd)[odd]
        is_number[odd] = [number is not None for number in read]
        numbers[odd] = read.astype(float)  # None becomes NaN
        return numbers, is_number

    @property
    def numbers(self) -> np.ndarray:
        """The cells as [`parse_number`] reads them, NaN where it reads none."""
        return self._parsed[0]

    @property
    def is_number(self) -> np.ndarray:
        """Which cells [`parse_number`] reads."""
        return self._parsed[1]

    @cached_property
    def is_missing(self) -> np.ndarray:
        """Which cells say that there is no value."""
        return self.map(is_missing, bool, ~self.is_decimal)


def parse_number(value: Any) -> float | None:
    """A cell as a number, None if it is none."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float, np.number)):
        return None
    if isinstance(value, str) and ("_" in value or not re.fullmatch(r"[\s\w.+-]+", value, re.ASCII)):
        return None  # float() would also take 1_000 and digits of other scripts
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def is_missing(value: Any) -> bool:
    """Whether a cell says that there is no value."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return isinstance(value, str) and value.strip().lower() in _MISSING


def as_array(values: pa.ChunkedArray | Sequence[Any]) -> pa.Array | None:
    """Texts, numbers of one type or truth values as an Arrow array, None of others."""
    if isinstance(values, pa.ChunkedArray):
        kind = values.type
        known = pa.types.is_large_string(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)
        return one_chunk(values) if known or kind in (pa.float32(), pa.float64()) else None
    kinds = {type(value) for value in values} - {type(None)}
    kind = _ARROW.get(kinds.pop()) if len(kinds) == 1 else None
    try:
        return None if kind is None else pa.array(values, kind)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return None


_ARROW = {str: pa.large_string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def _numpy(array: pa.Array) -> np.ndarray:
    return array.to_numpy(zero_copy_only=False)


def one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece, not copied if it is one."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
