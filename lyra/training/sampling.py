"""The order in which the Trainer sees the rows."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Sampler

_MOST_BATCHES = 50  # of which the rows are sorted together
_PART = 1 << 16


class LengthSampler(Sampler[int]):
    """Rows of about one length together: the order of transformers' `LengthGroupedSampler`, whose lists take half a
    minute and a gigabyte for ten million rows.

    Args:
        lengths: of the rows, `(rows,)`.
        batch_size: how many rows are to be of about one length.
        generator: as of other samplers; None is torch's own.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, generator: torch.Generator | None = None):
        self.lengths, self.batch_size, self.generator = lengths, batch_size, generator

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(len(self.lengths), generator=self.generator).numpy()
        size = self.batch_size * max(1, min(len(order) // (4 * self.batch_size), _MOST_BATCHES))
        order = order[np.lexsort((-self.lengths[order], np.arange(len(order)) // size))]
        longest = size * int(self.lengths[order[::size]].argmax())
        order[[0, longest]] = order[[longest, 0]]  # if the memory does not suffice, that shows in the first batch
        for start in range(0, len(order), _PART):
            yield from order[start : start + _PART].tolist()
