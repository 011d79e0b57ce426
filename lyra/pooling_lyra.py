"""Poolings: how the vectors of many positions become one, over whole sequences and over segments of them.

A pooling is three functions. `reduce` maps the real positions of one segment to a value, `merge` two consecutive
segments to the value of both, `finalize` the value of the whole sequence to the vector that the read-out sees. A new
pooling is one more entry of `POOLINGS`.

Glossary: b batch, l length, d channels, k number of poolings side by side.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from .execution_lyra import at_least_fp32


class Pooling(NamedTuple):
    """One way to pool.

    Attributes:
        reduce: `(b, l, d)` and a mask `(b, l)`, or None where all positions are real, to a value `(b, d)`.
        merge: values `(b, d)` and counts `(b, 1)` of real positions of two consecutive segments, as `(before, after,
            count_before, count_after)`, to the value of both.
        finalize: a value `(b, d)` and its count `(b, 1)` to the pooled vector; zeros where the count is zero.
    """

    reduce: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]
    merge: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    finalize: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _sum(hidden_states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    # At least fp32: a sum of 65,536 positions overflows fp16, and bf16 cannot count beyond 256.
    wide = at_least_fp32(hidden_states)
    return (wide if mask is None else torch.where(mask.unsqueeze(-1), wide, 0)).sum(dim=1)


def _max(hidden_states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    visible = hidden_states if mask is None else hidden_states.masked_fill(~mask.unsqueeze(-1), -torch.inf)
    return visible.amax(dim=1)


def _first(hidden_states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return hidden_states[:, 0] if mask is None else _gather(hidden_states, mask, mask.int().argmax(dim=1))


def _last(hidden_states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    if mask is None:
        return hidden_states[:, -1]
    return _gather(hidden_states, mask, mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1))


def _gather(hidden_states: torch.Tensor, mask: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """The vectors `(b, d)` at one position `(b,)` of each sequence, zeros at a pad."""
    real = torch.where(mask.unsqueeze(-1), hidden_states, 0)
    return real.gather(1, position.view(-1, 1, 1).expand(-1, 1, real.shape[-1])).squeeze(1)


def _merge_sums(before: torch.Tensor, after: torch.Tensor, *counts: torch.Tensor) -> torch.Tensor:
    # fp32 stops counting after some ten million segments.
    return before.double() + after if after.device.type != "mps" else before + after


def _merge_max(before: torch.Tensor, after: torch.Tensor, *counts: torch.Tensor) -> torch.Tensor:
    return torch.maximum(before, after.to(before.dtype))


def _keep_first(
    before: torch.Tensor, after: torch.Tensor, count_before: torch.Tensor, count_after: torch.Tensor
) -> torch.Tensor:
    return torch.where(count_before > 0, before, after.to(before.dtype))


def _keep_last(
    before: torch.Tensor, after: torch.Tensor, count_before: torch.Tensor, count_after: torch.Tensor
) -> torch.Tensor:
    return torch.where(count_after > 0, after.to(before.dtype), before)


def _divide(value: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    return value / count.clamp(min=1)


def _where_real(value: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    return torch.where(count > 0, value, 0)


_MEAN = Pooling(_sum, _merge_sums, _divide)
_LAST = Pooling(_last, _keep_last, _where_real)

# By the name that `LyraConfig.pooling` takes; several entries are pooled side by side.
POOLINGS: dict[str, tuple[Pooling, ...]] = {
    "mean": (_MEAN,),
    "max": (Pooling(_max, _merge_max, _where_real),),
    "first": (Pooling(_first, _keep_first, _where_real),),
    "last": (_LAST,),
    "mean_last": (_MEAN, _LAST),
}


class PooledState(NamedTuple):
    """What has been pooled so far.

    Attributes:
        value: `(b, k d)`.
        num_positions: `(b, 1)`, of real ones.
    """

    value: torch.Tensor
    num_positions: torch.Tensor


class Pooler:
    """The pooling of that name.

    Args:
        name: a key of `POOLINGS`.

    Raises:
        ValueError: for another name.
    """

    def __init__(self, name: str):
        if name not in POOLINGS:
            raise ValueError(f"`pooling` must be one of {tuple(POOLINGS)}, got {name!r}")
        self.poolings = POOLINGS[name]

    def update(self, state: PooledState | None, hidden_states: torch.Tensor, mask: torch.Tensor | None) -> PooledState:
        """The state after one more segment `(b, l, d)`, from that before it, or None at the start."""
        batch, length, _ = hidden_states.shape
        if mask is None:
            count = torch.full((batch, 1), length, device=hidden_states.device)
        else:
            mask = mask.to(hidden_states.device)  # the last layer may be on another device than the first
            count = mask.sum(dim=1, keepdim=True)
        segment = PooledState(torch.cat([p.reduce(hidden_states, mask) for p in self.poolings], dim=-1), count)
        return segment if state is None else self.merge(state, segment)

    def merge(self, before: PooledState, after: PooledState) -> PooledState:
        """The state of two consecutive segments."""
        values = [
            pooling.merge(one, other, before.num_positions, after.num_positions)
            for pooling, one, other in zip(self.poolings, self._split(before), self._split(after), strict=True)
        ]
        return PooledState(torch.cat(values, dim=-1), before.num_positions + after.num_positions)

    def finalize(self, state: PooledState) -> tuple[torch.Tensor, ...]:
        """The pooled vectors `(b, d)` of each pooling; zeros for a sequence without real positions."""
        parts = zip(self.poolings, self._split(state), strict=True)
        return tuple(pooling.finalize(value, state.num_positions) for pooling, value in parts)

    def _split(self, state: PooledState) -> tuple[torch.Tensor, ...]:
        return state.value.chunk(len(self.poolings), dim=-1)


__all__ = ["POOLINGS", "PooledState", "Pooler"]
