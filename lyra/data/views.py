"""Sequences of which some items can be taken, of Arrow's arrays and tables without a copy."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, overload

import numpy as np
import pyarrow as pa

T = TypeVar("T")


class Takeable(Sequence[T]):
    """A sequence that gives items by their indices."""

    @abstractmethod
    def take(self, indices: np.ndarray) -> "Takeable[T]":
        """Some items."""

    @abstractmethod
    def _item(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> "Takeable[T]": ...
    def __getitem__(self, index: int | slice) -> "T | Takeable[T]":
        if isinstance(index, slice):
            return self.take(np.arange(*index.indices(len(self))))
        return self._item(int(index))


class ArrowView(Takeable[T]):
    """What Arrow holds, an array or a table, as Python has it; an object is made only of what is looked at.

    Args:
        values: in one chunk.
        indices: of those that are meant; all by default.
    """

    def __init__(self, values: Any, indices: np.ndarray | None = None):
        self.values, self.indices = values, indices

    def __len__(self) -> int:
        return len(self.values) if self.indices is None else len(self.indices)

    def take(self, indices: np.ndarray) -> Any:
        """Some of them, in a view of the same kind."""
        return type(self)(self.values, indices if self.indices is None else self.indices[indices])

    def parts(self, size: int) -> Iterator[list[T]]:
        """All of them, as lists of at most `size`."""
        for start in range(0, len(self), size):
            if self.indices is None:
                yield self.values.slice(start, size).to_pylist()
            else:
                yield self.values.take(pa.array(self.indices[start : start + size])).to_pylist()

    def _item(self, index: int) -> T:
        index = range(len(self))[index]  # from the end if it is below 0
        (item,) = self.values.slice(index if self.indices is None else int(self.indices[index]), 1).to_pylist()
        return item
