"""One batch of sequences over several devices: each process holds a shard of every sequence.

What a shard needs of the others does not grow with their length. A state space layer knows everything before a
position by h n/2 complex numbers (`lyra.ssm_lyra`), which are gathered once per layer; the convolutions of the PGC
stack see a few letters on either side, which are gathered once; a read-out of the whole sequence needs one vector of
each shard. So outputs and gradients are those of one device, but for rounding.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from transformers.modeling_outputs import MaskedLMOutput

from .context_lyra import LyraContext, SSMStates, StateSpaceLayer
from .execution_lyra import reduce_mask
from .linear_lyra import LyraLinearTerm
from .losses_lyra import cross_entropy, head_losses, reduce_losses
from .modeling_lyra import (
    LyraClassificationModel,
    LyraClassifierOutput,
    LyraForMaskedLM,
    LyraModel,
    LyraModelOutput,
)
from .pooling_lyra import PooledState, Pooler
from .ssm_lyra import DiscreteSSM, advance


class SequenceParallel(nn.Module):
    """A Lyra model of sequences sharded over the ranks of a process group, the first shard on the first rank.

    Every rank calls it at the same time, with its shard of the same batch, and gets the loss of the whole sequences.
    Gradients averaged over the ranks, as `torch.nn.parallel.DistributedDataParallel` around it does, are those of one
    device; every rank must call `backward` if one does.

    Args:
        model: [`LyraModel`], a head or [`LyraForMaskedLM`], the same on every rank; no ensemble, and of one strand.
        group: the ranks that hold the shards, by default all.

    Raises:
        ValueError: for an ensemble, or a model of both strands.

    Example, for `torchrun --nproc_per_node 4`:

    ```python
    torch.distributed.init_process_group()
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    model = DistributedDataParallel(SequenceParallel(LyraForTokenClassification(config)))
    loss = model(input_ids.tensor_split(ranks, 1)[rank], labels.tensor_split(ranks, 1)[rank]).loss
    loss.backward()
    ```
    """

    def __init__(self, model: LyraModel | LyraClassificationModel | LyraForMaskedLM, group: Any = None):
        super().__init__()
        if model.config.ensemble_size > 1:
            raise ValueError("`model` must be a single model, got an ensemble; wrap each of its members()")
        if model.config.reverse_complement:
            raise ValueError("`model` must read one strand, got `reverse_complement`: no rank has both ends")
        self.model = model
        self.group = group

    def forward(
        self, input_ids: torch.Tensor, labels: torch.Tensor | None = None
    ) -> LyraModelOutput | LyraClassifierOutput | MaskedLMOutput:
        """The outputs of this rank's positions, and those of the whole sequences, the same on all ranks.

        Args:
            input_ids: `(b, l)` ids of [`LyraTokenizer`]; l may differ between ranks. Short sequences of a batch are
                padded at the end, so that later ranks may hold nothing but pads of them.
            labels: of a sequence head those of the sequences, on every rank; of other heads those of these positions.
                On all ranks or on none.

        Returns:
            As the model does. `last_hidden_state` and the logits of each position are this rank's; `pooler_output`, the
            logits of a sequence head and the loss are the same everywhere (with `classifier_dropout` each rank draws
            its own in training).

        Raises:
            ValueError: on every rank, if batch sizes differ or a shard is empty.
        """
        model = self.model
        base: LyraModel = getattr(model, "lyra", model)  # type: ignore[assignment]
        shards = SequenceShards(input_ids, base.config.pad_token_id, self.group)  # type: ignore[arg-type]
        output = base.encode(input_ids, None, shards)
        if isinstance(model, LyraModel):
            return output
        if isinstance(model, LyraForMaskedLM):
            logits = model.lm_head(output.last_hidden_state)
            loss = None if labels is None else shards.mean(*cross_entropy(logits, labels))
            return MaskedLMOutput(loss=loss, logits=logits)
        vectors = output.last_hidden_state if model.per_token else output.pooler_output
        contributions = None if model.linear_term is None else shards.add_up(model.linear_term, input_ids)
        raw, logits = model.read_out(vectors, contributions)  # type: ignore[arg-type]
        if labels is None:
            return LyraClassifierOutput(logits=logits)
        losses, present = head_losses(raw, labels, model.config, model.per_token)
        loss = shards.mean(losses, present) if model.per_token else reduce_losses(losses, present, None)
        return LyraClassifierOutput(loss=loss, logits=logits)


class SequenceShards(LyraContext):
    """The context of one batch whose sequences are sharded over the ranks of a group."""

    def __init__(self, input_ids: torch.Tensor, pad_token_id: int, group: Any):
        self.pad_token_id, self.group, self.rank = pad_token_id, group, dist.get_rank(group)
        shape = torch.tensor(input_ids.shape, device=input_ids.device)
        batches, self.lengths = zip(*self._gather(shape).tolist(), strict=True)
        if len(set(batches)) > 1 or not all(self.lengths):
            raise ValueError(
                "`input_ids` must have the same batch size on every rank and at least one position, got "
                + ", ".join(map(str, zip(batches, self.lengths, strict=True)))
            )

    def with_halo(
        self, inputs: torch.Tensor, mask: torch.Tensor | None, halo: int
    ) -> tuple[torch.Tensor, torch.Tensor | None, slice]:
        before, after = self._neighbours(inputs, halo)
        ids = torch.cat([before, inputs, after], dim=1)
        positions = slice(before.shape[1], before.shape[1] + inputs.shape[1])
        return ids, reduce_mask(ids != self.pad_token_id), positions

    def initial_states(self, layer: StateSpaceLayer, u: torch.Tensor) -> SSMStates:
        own = torch.stack([state for state in layer.final_states(u) if state is not None])  # (directions, b, h, n/2)
        states = torch.view_as_complex(self._gather(torch.view_as_real(own)))  # (ranks, directions, b, h, n/2)
        system, reverse = layer.systems(own.real.dtype)
        forward_state = self._carry(system, states[:, 0], range(self.rank))
        if reverse is None:
            return SSMStates(forward_state)
        after = range(len(self.lengths) - 1, self.rank, -1)
        return SSMStates(forward_state, self._carry(reverse, states[:, 1], after))

    def tie_dropout(self, scale: torch.Tensor) -> torch.Tensor:
        scale = scale.contiguous()
        dist.broadcast(scale, group=self.group, group_src=0)
        return scale

    def pool(self, pooler: Pooler, hidden_states: torch.Tensor, mask: torch.Tensor | None) -> PooledState:
        own = pooler.update(None, hidden_states, mask)
        pooled, *later = map(PooledState, self._gather(own.value), self._gather(own.num_positions))
        for shard in later:
            pooled = pooler.merge(pooled, shard)
        return pooled

    def add_up(self, term: LyraLinearTerm, input_ids: torch.Tensor) -> torch.Tensor:
        """The contributions `(b, labels)` of a linear term, the same on every rank."""
        before, after = self._neighbours(input_ids, term.reach)
        if term.needs_whole:
            input_ids = torch.cat([before, input_ids, after], dim=1)
            return term(input_ids, input_ids != self.pad_token_id)
        state = term.update(None, before, before != self.pad_token_id)
        state = state._replace(sums=0 * state.sums, num_positions=0 * state.num_positions)
        own = term.update(state, input_ids, input_ids != self.pad_token_id)
        sums, counts = self._gather(own.sums).sum(0), self._gather(own.num_positions).sum(0)
        return term.finalize(own._replace(sums=sums, num_positions=counts))

    def mean(self, losses: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """The mean loss over the labels of all ranks."""
        count = present.sum()
        dist.all_reduce(count, group=self.group)
        return self._gather(reduce_losses(losses, present, count)).sum()

    def _gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """`(...)` of each rank to `(ranks, ...)`."""
        return _Gather.apply(tensor, self.group)  # type: ignore[no-any-return]

    def _neighbours(self, ids: torch.Tensor, halo: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The last `halo` ids before this shard and the first ones after it, fewer at the ends of the sequences."""
        missing = max(0, halo - ids.shape[1])
        first = nn.functional.pad(ids[:, :halo], (0, missing), value=self.pad_token_id)
        last = nn.functional.pad(ids[:, max(0, ids.shape[1] - halo) :], (missing, 0), value=self.pad_token_id)
        edges = self._gather(torch.stack([first, last]).to(torch.uint8)).to(ids.dtype)  # (ranks, 2, b, halo)
        sizes = [min(halo, length) for length in self.lengths]
        lasts = [edges[i, 1, :, halo - sizes[i] :] for i in range(self.rank)]
        firsts = [edges[i, 0, :, : sizes[i]] for i in range(self.rank + 1, len(sizes))]
        before, after = torch.cat([ids[:, :0], *lasts], dim=1), torch.cat([ids[:, :0], *firsts], dim=1)
        return before[:, max(0, before.shape[1] - halo) :], after[:, :halo]

    def _carry(self, system: DiscreteSSM, states: torch.Tensor, ranks: range) -> torch.Tensor:
        """The state `(b, h, n/2)` after the shards of some ranks, in the order in which they are read."""
        state = 0 * states.sum(0)  # part of the graph even where it is zero: every rank must join the backward
        for rank in ranks:
            state = advance(system, state, self.lengths[rank]) + states[rank]
        return state


class _Gather(torch.autograd.Function):
    """`(...)` of each rank to `(ranks, ...)` on all of them, whose gradient is the sum of all ranks' gradients."""

    @staticmethod
    def forward(ctx, tensor, group):
        ctx.group = group
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size(group))]
        dist.all_gather(parts, tensor.contiguous(), group=group)
        return torch.stack(parts)

    @staticmethod
    def backward(ctx, grad):
        grad = grad.contiguous()
        dist.all_reduce(grad, group=ctx.group)
        return grad[dist.get_rank(ctx.group)], None


__all__ = ["SequenceParallel"]
