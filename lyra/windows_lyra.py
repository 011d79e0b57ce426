"""The distinct windows of a batch: what a stack of convolutions has to compute only once.

Position t of the output of a stack of local blocks depends on a few letters around t and on nothing else. Biological
batches repeat themselves: 60,672 positions of 256 variants of one protein hold some 2,700 different windows of five
letters, DNA at most 1,024. The stack is therefore computed once per distinct window, level by level (letters, windows
of three, windows of five), and looked up at every position. Equal windows have equal outputs, so nothing is lost.

Glossary: b batch, l length, k kernel size of a level.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from .execution_lyra import is_plain_eager

# Below so many positions the bookkeeping costs more than it saves (docs/benchmarks, "windows").
_FEWEST_POSITIONS = 1024
# A level with more distinct windows than this share of the positions is computed position by position.
_LARGEST_SHARE = 0.5


class Windows(NamedTuple):
    """The rows to compute at each level of the stack.

    Row r of a level reads rows `neighbours[level][r]` of the level below; one past the last row means outside: pads,
    and positions before the start and after the end.

    Attributes:
        tokens: `(rows,)` ids of the lowest level.
        neighbours: one `(rows, k)` for each level.
        inverse: `(b, l)` row of the highest level at each position, or None where it has one row for each position.
        shape: (b, l).
    """

    tokens: torch.Tensor
    neighbours: list[torch.Tensor]
    inverse: torch.Tensor | None
    shape: torch.Size


def should_deduplicate(input_ids: torch.Tensor) -> bool:
    """Whether the look-up is worth its bookkeeping: not for few positions, and not on a GPU, which it would stall."""
    # The number of distinct windows depends on the values of the ids, which a GPU or a compiler does not have at hand.
    return is_plain_eager(input_ids) and input_ids.device.type == "cpu" and input_ids.numel() >= _FEWEST_POSITIONS


def distinct_windows(input_ids: torch.Tensor, pads: torch.Tensor | None, kernel_sizes: Sequence[int]) -> Windows:
    """Finds the distinct windows of a stack of convolutions; the ids at pads are ignored.

    Args:
        input_ids: `(b, l)`.
        pads: `(b, l)`, true at positions that count as outside.
        kernel_sizes: of each convolution, from the lowest.
    """
    tokens, index = torch.unique(input_ids, return_inverse=True)  # (b, l)
    rows, neighbours, distinct = len(tokens), [], True
    for size in kernel_sizes:
        if pads is not None:
            index = index.masked_fill(pads, rows)
        around = F.pad(index, (size // 2, size // 2), value=rows).unfold(1, size, 1)  # (b, l, k)
        found = _distinct(around, rows + 1) if distinct else None
        distinct = found is not None
        tuples, index = found or (
            around.flatten(0, 1),
            torch.arange(index.numel(), device=index.device).view(index.shape),
        )
        neighbours.append(tuples)
        rows = len(tuples)
    return Windows(tokens, neighbours, index if distinct else None, input_ids.shape)


def _distinct(around: torch.Tensor, base: int) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The distinct k-tuples of row numbers below `base`, and the index of the one at each position."""
    size = around.shape[-1]
    if base**size >= 2**63:
        return None
    places = base ** torch.arange(size, device=around.device)  # the digits of one number
    tuples, index = torch.unique((around * places).sum(-1), return_inverse=True)
    if len(tuples) > _LARGEST_SHARE * index.numel():
        return None
    return tuples.unsqueeze(-1) // places % base, index


__all__ = ["Windows", "distinct_windows", "should_deduplicate"]
