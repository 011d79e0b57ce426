"""Where an encoder finds what its positions need of the rest of their sequences, and where it leaves what others need.

Sequences may be whole, arrive segment by segment with a cache, be read from a file in two directions
(`lyra.inference.streaming`) or lie as shards on several processes (`lyra.parallel`). [`LyraModel.encode`] is the same
for all of them; a context answers its questions: which neighbours the convolutions see, which states enter a state
space layer, what happens to those it ends with, what has been pooled before.

Glossary: b batch, l length, d hidden_size, h channels, n state size.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch

from .execution_lyra import reduce_mask
from .pooling_lyra import PooledState, Pooler
from .ssm_lyra import DiscreteSSM

_EMPTY = "every sequence must have at least one position, got length 0"


class SSMStates(NamedTuple):
    """States of one layer, `(b, h, n/2)` complex; None for zero.

    Attributes:
        forward: of the system that runs from the start.
        backward: of the one that runs from the end, of a bidirectional layer.
    """

    forward: torch.Tensor | None = None
    backward: torch.Tensor | None = None


NO_STATES = SSMStates()


class StateSpaceLayer(Protocol):
    """What a context knows of a layer."""

    layer_idx: int

    def systems(self, dtype: torch.dtype) -> tuple[DiscreteSSM, DiscreteSSM | None]:
        """The discrete system of each direction."""

    def final_states(self, u: torch.Tensor, initial: SSMStates = NO_STATES) -> SSMStates:
        """The states after the last input of u `(b, l, h)` and, of a bidirectional layer, before the first."""


class LyraContext:
    """The context of whole sequences: no neighbours, zero states, nothing pooled before. Others derive from it."""

    def with_halo(
        self, inputs: torch.Tensor, mask: torch.Tensor | None, halo: int
    ) -> tuple[torch.Tensor, torch.Tensor | None, slice | None]:
        """The inputs `(b, l)` or `(b, l, d)` and their mask with up to `halo` neighbours on both sides, and which of
        the positions to emit; None for all."""
        return inputs, mask, None

    def initial_states(self, layer: StateSpaceLayer, u: torch.Tensor) -> SSMStates:
        """The states before the first input of u `(b, l, h)` and, of a bidirectional layer, after the last."""
        return NO_STATES

    def keep_states(self, layer: StateSpaceLayer, u: torch.Tensor, initial: SSMStates) -> None:
        """Called when the layer has run from the initial states over u."""

    def tie_dropout(self, scale: torch.Tensor) -> torch.Tensor:
        """The factors `(b, 1, h)` of a dropout that is tied along the whole sequence, from those drawn here."""
        return scale

    def pool(self, pooler: Pooler, hidden_states: torch.Tensor, mask: torch.Tensor | None) -> PooledState | None:
        """What has been pooled up to the emitted positions `(b, l, d)`; None before the first one.

        Raises:
            ValueError: if the sequences end without a position.
        """
        if hidden_states.shape[1] == 0:
            raise ValueError(_EMPTY)
        return pooler.update(None, hidden_states, mask)


WHOLE = LyraContext()


@dataclass
class LyraCache:
    """What [`LyraModel`] carries from one segment of a sequence to the next.

    A position's output needs the convolutions' halo of neighbours on both sides, so that the last few positions of a
    segment are pending until the next one.

    Attributes:
        inputs: the positions that the next outputs still need, `(b, t)` ids or `(b, t, d)` embeddings, at most twice
            the halo.
        mask: `(b, t)`, true where they are real.
        num_emitted: how many of them have been emitted; the others are pending.
        ssm_states: of each S4D layer after the last emitted position; None before the first one.
        pooled: what has been pooled of the emitted positions; None before the first one.
    """

    inputs: torch.Tensor
    mask: torch.Tensor
    num_emitted: int = 0
    ssm_states: list[SSMStates] | None = None
    pooled: PooledState | None = None

    @classmethod
    def from_inputs(cls, inputs: torch.Tensor, mask: torch.Tensor | None) -> "LyraCache":
        """The cache that the first segment begins with."""
        return cls(inputs, _full_mask(mask, inputs))

    def append(self, inputs: torch.Tensor, mask: torch.Tensor | None) -> "LyraCache":
        """The cache with the next segment at its end.

        Raises:
            ValueError: if that is of another batch size or another kind of input.
        """
        if self.inputs.shape[0] != inputs.shape[0] or self.inputs.shape[2:] != inputs.shape[2:]:
            raise ValueError(
                f"`cache_params` is of inputs {tuple(self.inputs.shape)}, this segment has {tuple(inputs.shape)}; "
                "batch and kind of input must be the same in every segment"
            )
        both = torch.cat([self.mask, _full_mask(mask, inputs)], dim=1)
        return replace(self, inputs=torch.cat([self.inputs, inputs], dim=1), mask=both)

    def trim(self, num_emitted: int, halo: int) -> "LyraCache":
        """The cache after positions up to `num_emitted` were emitted, of which only the last `halo` are kept."""
        start = max(0, num_emitted - halo)
        return replace(self, inputs=self.inputs[:, start:], mask=self.mask[:, start:], num_emitted=num_emitted - start)


class SegmentContext(LyraContext):
    """The context of segments that follow each other, with a cache between them.

    Args:
        cache: what the call on the segment before returned; None for the first segment.
        more: whether another segment follows, so that the last positions wait for their neighbours.
    """

    def __init__(self, cache: LyraCache | None, more: bool):
        self.cache, self.more = cache, more
        # Of the segment before this one, whatever becomes of the cache: checkpointing asks again in the backward.
        self._initial = None if cache is None else cache.ssm_states
        self._states: list[SSMStates] = []

    def with_halo(
        self, inputs: torch.Tensor, mask: torch.Tensor | None, halo: int
    ) -> tuple[torch.Tensor, torch.Tensor | None, slice]:
        self.cache = LyraCache.from_inputs(inputs, mask) if self.cache is None else self.cache.append(inputs, mask)
        end = self.cache.inputs.shape[1] - (halo if self.more else 0)  # positions before it have all their neighbours
        self.halo, self.positions = halo, slice(self.cache.num_emitted, max(end, self.cache.num_emitted))
        return self.cache.inputs, reduce_mask(self.cache.mask), self.positions

    def initial_states(self, layer: StateSpaceLayer, u: torch.Tensor) -> SSMStates:
        return NO_STATES if self._initial is None else self._initial[layer.layer_idx]

    def keep_states(self, layer: StateSpaceLayer, u: torch.Tensor, initial: SSMStates) -> None:
        self._states = [*self._states[: layer.layer_idx], layer.final_states(u, initial)]

    def pool(self, pooler: Pooler, hidden_states: torch.Tensor, mask: torch.Tensor | None) -> PooledState | None:
        assert self.cache is not None
        if hidden_states.shape[1] > 0:
            pooled = pooler.update(self.cache.pooled, hidden_states, mask)
            self.cache = replace(self.cache, ssm_states=self._states, pooled=pooled)
        elif self.cache.pooled is None and not self.more:
            raise ValueError(_EMPTY)
        return self.cache.pooled

    def next_cache(self) -> LyraCache | None:
        """The cache for the next segment; None after the last one."""
        return self.cache.trim(self.positions.stop, self.halo) if self.more and self.cache is not None else None


def _full_mask(mask: torch.Tensor | None, inputs: torch.Tensor) -> torch.Tensor:
    """A mask `(b, l)` where None means one that hides nothing."""
    return torch.ones(inputs.shape[:2], dtype=torch.bool, device=inputs.device) if mask is None else mask


__all__ = ["NO_STATES", "WHOLE", "LyraCache", "LyraContext", "SSMStates", "SegmentContext"]
