"""One batch of sequences over several devices: each process holds a piece of every sequence.

What a piece needs of the others does not grow with their length. A state space layer knows what stands before a
position by h n/2 complex numbers (`lyra.ssm_lyra`), which are gathered once per layer; the convolutions of the PGC
stack see a few letters on either side, which are gathered once; a read-out of the whole sequence needs one vector of
each piece. So outputs and gradients are those of one device, but for rounding.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from transformers.modeling_outputs import MaskedLMOutput

from .modeling_lyra import (
    LyraClassificationModel,
    LyraClassifierOutput,
    LyraForMaskedLM,
    LyraModel,
    LyraModelOutput,
    LyraS4DLayer,
    SSMStates,
    as_pads,
    cross_entropy,
    head_losses,
    needed_mask,
    reduce_losses,
)
from .ssm_lyra import DiscreteSSM, advance


class SequenceParallel(nn.Module):
    """A Lyra model of sequences whose pieces lie on the ranks of a process group, the first piece on the first rank.

    Every rank calls it at the same time, with its piece of the same batch, and has the loss of the whole sequences.
    Gradients averaged over the ranks, as `torch.nn.parallel.DistributedDataParallel` around it does, are those of one
    device; every rank must call `backward` if one does.

    Args:
        model: [`LyraModel`], a head or [`LyraForMaskedLM`], the same on every rank; no ensemble.
        group: the ranks that hold the pieces, by default all.

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
        self.model = model
        self.group = group

    def forward(
        self, input_ids: torch.Tensor, labels: torch.Tensor | None = None
    ) -> LyraModelOutput | LyraClassifierOutput | MaskedLMOutput:
        """The outputs of this rank's positions, and those of the whole sequences, which all ranks have.

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
            ValueError: on every rank, if batch sizes differ or a piece is empty.
        """
        hidden_states, pooled = self._encode(input_ids)
        model = self.model
        if isinstance(model, LyraModel):
            return LyraModelOutput(last_hidden_state=hidden_states, pooler_output=pooled)
        if isinstance(model, LyraForMaskedLM):
            logits = model.lm_head(hidden_states)
            loss = None if labels is None else self._mean(*cross_entropy(logits, labels))
            return MaskedLMOutput(loss=loss, logits=logits)
        raw, logits = model.read_out(hidden_states if model.per_token else pooled)
        if labels is None:
            return LyraClassifierOutput(logits=logits)
        losses, present = head_losses(raw, labels, model.config, model.per_token)
        if model.per_token:
            return LyraClassifierOutput(loss=self._mean(losses, present), logits=logits)
        return LyraClassifierOutput(loss=reduce_losses(losses, present, None), logits=logits)

    def _encode(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states `(b, l, d)` of this piece and the pooled vectors `(b, pooled_size)` of the whole sequences."""
        model: LyraModel = getattr(self.model, "lyra", self.model)  # type: ignore[assignment]
        encoder = model.encoder
        pieces = _Pieces(input_ids, self.group)
        before, after = pieces.around(input_ids, encoder.halo, model.config.pad_token_id)
        ids = torch.cat([before, input_ids, after], dim=1)
        mask = ids != model.config.pad_token_id
        positions = slice(before.shape[1], before.shape[1] + input_ids.shape[1])
        outputs, index = model.pgc_stack(ids, needed_mask(mask), positions)
        hidden_states, mask = outputs[-1], needed_mask(mask[:, positions])
        for layer in encoder.layers:
            hidden_states, index = layer(hidden_states, as_pads(mask), index, others=pieces), None
        value, count = encoder.add_to_pooled(None, hidden_states, mask)
        pooled, *rest = zip(pieces.gather(value), pieces.gather(count), strict=True)
        for each in rest:
            pooled = encoder.join_pooled(pooled, each)
        return encoder.final_norm(hidden_states), encoder.read_pooled(pooled, hidden_states.dtype)

    def _mean(self, losses: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """The mean over the labels of all ranks."""
        count = present.sum()
        dist.all_reduce(count, group=self.group)
        return _Gather.apply(reduce_losses(losses, present, count), self.group).sum()


class _Pieces:
    """The pieces of one batch, as the layers of a model ask for them (see `OtherPieces`)."""

    def __init__(self, input_ids: torch.Tensor, group: Any):
        self.group, self.rank = group, dist.get_rank(group)
        shape = torch.tensor(input_ids.shape, device=input_ids.device)
        batches, self.lengths = zip(*self.gather(shape).tolist(), strict=True)
        if len(set(batches)) > 1 or not all(self.lengths):
            raise ValueError(
                "`input_ids` must have the same batch size on every rank and at least one position, got "
                + ", ".join(map(str, zip(batches, self.lengths, strict=True)))
            )

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """`(...)` of each rank to `(ranks, ...)`."""
        return _Gather.apply(tensor, self.group)  # type: ignore[no-any-return]

    def around(self, ids: torch.Tensor, halo: int, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The last `halo` ids before this piece and the first ones after it, fewer at the ends of the sequences."""
        missing = max(0, halo - ids.shape[1])
        first = nn.functional.pad(ids[:, :halo], (0, missing), value=pad)
        last = nn.functional.pad(ids[:, max(0, ids.shape[1] - halo) :], (missing, 0), value=pad)
        edges = self.gather(torch.stack([first, last]).to(torch.uint8)).to(ids.dtype)  # (ranks, 2, b, halo)
        sizes = [min(halo, length) for length in self.lengths]
        lasts = [edges[i, 1, :, halo - sizes[i] :] for i in range(self.rank)]
        firsts = [edges[i, 0, :, : sizes[i]] for i in range(self.rank + 1, len(sizes))]
        before, after = torch.cat([ids[:, :0], *lasts], dim=1), torch.cat([ids[:, :0], *firsts], dim=1)
        return before[:, max(0, before.shape[1] - halo) :], after[:, :halo]

    def states(self, layer: LyraS4DLayer, ends: SSMStates) -> SSMStates:
        """The states that enter this piece from before and, of a bidirectional layer, from after."""
        own = torch.stack([end for end in ends if end is not None])  # (directions, b, h, n/2)
        all_ends = torch.view_as_complex(self.gather(torch.view_as_real(own)))  # (ranks, directions, b, h, n/2)
        system, reverse = layer.systems(own.real.dtype)
        forth = self._entering(system, all_ends[:, 0], range(self.rank))
        if reverse is None:
            return forth, None
        return forth, self._entering(reverse, all_ends[:, 1], range(len(self.lengths) - 1, self.rank, -1))

    def _entering(self, system: DiscreteSSM, ends: torch.Tensor, nearer: range) -> torch.Tensor:
        """The state `(b, h, n/2)` after the pieces of some ranks, in the order in which they are read."""
        state = 0 * ends.sum(0)  # takes part even where it is zero: every rank must come to the backward of `gather`
        for rank in nearer:
            state = advance(system, state, self.lengths[rank]) + ends[rank]
        return state

    def of_first(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor of the first rank, which has no gradient."""
        tensor = tensor.contiguous()
        dist.broadcast(tensor, group=self.group, group_src=0)
        return tensor


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
