"""Many texts in the memory of their letters."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_BLOCK_ROWS, _BLOCK_LETTERS = 1 << 15, 1 << 24


class Strings(Sequence[str]):
    """Texts, read like a list; a Python string is made only of those that are looked at.

    Args:
        array: of Arrow's type `large_string`, without nulls.
        indices: of the texts that are meant; all by default.
    """

    def __init__(self, array: pa.Array, indices: np.ndarray | None = None):
        self.array, self.indices = array, indices

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Strings":
        """What is given, in this form."""
        return texts if isinstance(texts, Strings) else cls(pa.array(list(texts), pa.large_string()))

    def __len__(self) -> int:
        return len(self.array) if self.indices is None else len(self.indices)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Strings": ...
    def __getitem__(self, index: int | slice) -> "str | Strings":
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        return self.array[int(index) if self.indices is None else int(self.indices[index])].as_py()

    def __iter__(self) -> Iterator[str]:
        for block in self.blocks():
            yield from block

    def take(self, indices: np.ndarray) -> "Strings":
        """Some of them; their letters are not copied."""
        return Strings(self.array, indices if self.indices is None else self.indices[indices])

    def blocks(self) -> Iterator[list[str]]:
        """All of them, as lists of bounded size."""
        letters = max(1, (self.array.nbytes - 8 * len(self.array)) // max(1, len(self.array)))
        size = max(1, min(_BLOCK_ROWS, _BLOCK_LETTERS // letters))
        for start in range(0, len(self), size):
            if self.indices is None:
                yield self.array.slice(start, size).to_pylist()
            else:
                yield self.array.take(pa.array(self.indices[start : start + size])).to_pylist()

    @cached_property
    def lengths(self) -> np.ndarray:
        """The number of letters of each, `(texts,)`."""
        lengths = pc.utf8_length(self.array).to_numpy(zero_copy_only=False)
        return lengths if self.indices is None else lengths[self.indices]

    @cached_property
    def letters(self) -> Counter[str]:
        """How often each letter is there."""
        counts, others = np.zeros(256, np.int64), Counter[str]()
        for block in self.blocks():
            joined = "".join(block)
            if joined.isascii():
                counts += np.bincount(np.frombuffer(joined.encode(), np.uint8), minlength=256)
            else:
                others.update(joined)
        return others + Counter({chr(code): int(counts[code]) for code in np.flatnonzero(counts)})

    @cached_property
    def first_equal(self) -> np.ndarray:
        """For each the index of the first one with the same letters in any case, `(texts,)`; by hashes of eight bytes,
        of which all that are equal are compared."""
        blocks = [np.fromiter(map(hash, map(str.upper, block)), np.int64, len(block)) for block in self.blocks()]
        hashes = np.concatenate([np.zeros(0, np.int64), *blocks])
        del blocks
        order = np.argsort(hashes, kind="stable").astype(np.int32)  # enough for two thousand million rows
        hashes = hashes[order]
        is_new = np.diff(hashes, prepend=hashes[:1] - 1) != 0
        found = np.empty_like(order)
        found[order] = order[is_new][np.cumsum(is_new, dtype=np.int32) - 1]
        repeated = np.flatnonzero(found != np.arange(len(found)))
        if all(a.upper() == b.upper() for a, b in zip(self.take(repeated), self.take(found[repeated]), strict=True)):
            return found
        known: dict[str, int] = {}  # two different texts with one hash, once in 10**6 tables of 10**6 rows
        return np.array([known.setdefault(text.upper(), index) for index, text in enumerate(self)], np.int32)
