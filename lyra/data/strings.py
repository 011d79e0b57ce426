"""Many texts in the memory of their letters."""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .views import ArrowView

_BLOCK_ROWS, _BLOCK_LETTERS = 1 << 15, 1 << 24


class Strings(ArrowView[str]):
    """Texts, read like a list: an array of Arrow's type `large_string`, without nulls, or some of it."""

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Strings":
        """What is given, in this form."""
        return texts if isinstance(texts, Strings) else cls(pa.array(list(texts), pa.large_string()))

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self.blocks())

    def blocks(self) -> Iterator[list[str]]:
        """All of them, as lists of bounded size."""
        letters = max(1, (self.values.nbytes - 8 * len(self.values)) // max(1, len(self.values)))
        return self.parts(max(1, min(_BLOCK_ROWS, _BLOCK_LETTERS // letters)))

    @cached_property
    def lengths(self) -> np.ndarray:
        """The number of letters of each, `(texts,)`."""
        lengths = pc.utf8_length(self.values).to_numpy(zero_copy_only=False)
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
        ordered = np.sort(hashes)
        if (ordered[1:] != ordered[:-1]).all():
            return np.arange(len(hashes), dtype=np.int32)
        del ordered
        order = np.argsort(hashes).astype(np.int32)  # enough for two thousand million rows
        hashes = hashes[order]
        is_new = np.diff(hashes, prepend=hashes[:1] - 1) != 0
        first = np.minimum.reduceat(order, np.flatnonzero(is_new))
        found = np.empty_like(order)
        found[order] = first[np.cumsum(is_new, dtype=np.int32) - 1]
        repeated = np.flatnonzero(found != np.arange(len(found)))
        if all(a.upper() == b.upper() for a, b in zip(self.take(repeated), self.take(found[repeated]), strict=True)):
            return found
        known: dict[str, int] = {}  # two different texts with one hash, once in 10**6 tables of 10**6 rows
        return np.array([known.setdefault(text.upper(), index) for index, text in enumerate(self)], np.int32)
