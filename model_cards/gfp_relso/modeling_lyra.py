"""PyTorch Lyra model (Ramesh, Siddiqui, Gu, Mitzenmacher, Sabeti 2025, arXiv 2503.16351).

Glossary of the shape comments: b batch, l length, v vocabulary, a letters of the alphabet, d hidden_size, h channels
(= d), n state_size, r expansion.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import MaskedLMOutput
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import ModelOutput, can_return_tuple

from .alphabet_lyra import get_alphabet
from .configuration_lyra import LyraConfig
from .elementwise_lyra import LyraGatedResidual, LyraRMSNorm
from .locality_lyra import Windows, distinct_windows, windows_pay
from .ssm_lyra import (
    PATHS,
    DiscreteSSM,
    at_least_fp32,
    discretize,
    end_state,
    fastest_path,
    is_eager_cpu,
    state_response,
)

IGNORE_INDEX = -100
_CACHED_LENGTHS = 4


class LyraEmbeddings(nn.Module):
    """The fixed vector of each token (one-hot, or a mean of one-hots), projected to the model's channels."""

    def __init__(self, config: LyraConfig):
        super().__init__()
        self.alphabet = config.alphabet
        alphabet = get_alphabet(config.alphabet)
        letters = len(alphabet.letters)
        self.encodings: torch.Tensor  # (v, a)
        self.register_buffer("encodings", torch.empty(len(alphabet.tokens), letters), persistent=False)
        self.projection = nn.Linear(letters, config.hidden_size)

    def reset_encodings(self) -> None:
        """Fills `encodings` from the alphabet; they are no part of a checkpoint."""
        init.copy_(self.encodings, torch.tensor(get_alphabet(self.alphabet).vectors()))

    def project(self, input_features: torch.Tensor) -> torch.Tensor:
        """`(b, l, a)` to `(b, l, d)`."""
        letters = self.encodings.shape[1]
        if input_features.shape[-1] != letters:
            raise ValueError(
                f"`input_features` must have {letters} entries per position (the letters of alphabet "
                f"{self.alphabet!r}), got shape {tuple(input_features.shape)}"
            )
        return self.projection(input_features)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        # Projecting the v rows of the table and looking them up never makes a (b, l, a) tensor.
        table = self.projection(self.encodings)  # (v, d)
        return F.embedding(input_ids, table)  # (b, l, d)


class LyraDepthwiseConv(nn.Module):
    """`y[t] = bias + sum_j weight[j] x[t + j - k/2]`, channel by channel, channels last."""

    def __init__(self, channels: int, kernel_size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, kernel_size))
        self.bias = nn.Parameter(torch.empty(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(b, l, c)` to `(b, l, c)`, with zeros outside."""
        channels, _, size = self.weight.shape
        # As an image of height 1, whose channels-last layout is that of x, so that nothing is transposed.
        image = x.transpose(1, 2).unsqueeze(2)  # (b, c, 1, l)
        y = F.conv2d(image, self.weight.unsqueeze(2), self.bias, padding=(0, size // 2), groups=channels)
        return y.squeeze(2).transpose(1, 2)

    def at(self, x: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
        """`(rows, c)` to `(windows, c)`, where `neighbours` `(windows, k)` says which rows stand in each window."""
        taps = self.weight.squeeze(1).t()  # (k, c)
        y = self.bias
        for tap, rows in zip(taps, neighbours.unbind(1), strict=True):
            y = y + (x * tap).index_select(0, rows)
        return y


class LyraPGC(GradientCheckpointingLayer):
    """Projected gated convolution: a local, second-order interaction of neighbouring positions."""

    def __init__(self, config: LyraConfig, expansion: float):
        super().__init__()
        channels = int(expansion * config.hidden_size)  # rd
        self.residual = config.pgc_residual
        self.in_proj = nn.Linear(config.hidden_size, 2 * channels)
        self.in_norm = LyraRMSNorm(2 * channels, config.rms_norm_eps)
        self.conv = LyraDepthwiseConv(channels, config.pgc_kernel_size)
        self.out_proj = nn.Linear(channels, config.hidden_size)
        self.out_norm = LyraRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self, hidden_states: torch.Tensor, pads: torch.Tensor | None, neighbours: torch.Tensor | None = None
    ) -> torch.Tensor:
        """`(b, l, d)` to `(b, l, d)`, or with `neighbours` `(windows, k)` rows `(rows, d)` to `(windows, d)`.

        Args:
            pads: `(b, l, 1)`, true at positions that count as outside; `neighbours` say that by themselves.
            neighbours: see [`Windows`]; the number after the last row stands for outside.
        """
        projected = self.in_norm(self.in_proj(hidden_states))
        if neighbours is None:
            x, gate = projected.chunk(2, dim=-1)  # (b, l, rd) each
            x = self.conv(x if pads is None else x.masked_fill(pads, 0))  # the projection's bias made them non-zero
        else:
            centre = neighbours[:, neighbours.shape[1] // 2]
            x, gate = F.pad(projected, (0, 0, 0, 1)).chunk(2, dim=-1)  # (rows + 1, rd) each
            x, gate = self.conv.at(x, neighbours), gate.index_select(0, centre)  # (windows, rd) each
            if self.residual:
                hidden_states = F.pad(hidden_states, (0, 0, 0, 1)).index_select(0, centre)
        y = self.out_norm(self.out_proj(self.interact(x, gate)))
        return hidden_states + y if self.residual else y

    def interact(self, x: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        """The second-order term, `(..., rd)` each."""
        return gate * x


class LyraS4DKernel(nn.Module):
    """Parameters of one S4D system per channel, initialised as S4D-Lin."""

    def __init__(self, config: LyraConfig):
        super().__init__()
        channels, pairs = config.hidden_size, config.state_size // 2
        self.time_step_range = (config.time_step_min, config.time_step_max)
        self.log_dt = nn.Parameter(torch.empty(channels))
        self.log_A_real = nn.Parameter(torch.empty(channels, pairs))
        self.A_imag = nn.Parameter(torch.empty(channels, pairs))
        self.C = nn.Parameter(torch.empty(channels, pairs, 2))  # real and imaginary part

    def reset_parameters(self) -> None:
        low, high = map(math.log, self.time_step_range)
        init.uniform_(self.log_dt, low, high)
        init.constant_(self.log_A_real, math.log(0.5))
        frequencies = math.pi * torch.arange(self.A_imag.shape[1], dtype=torch.float32)
        init.copy_(self.A_imag, frequencies.expand(self.A_imag.shape))
        init.normal_(self.C, std=math.sqrt(0.5))  # a complex number of variance 1

    def forward(self, D: torch.Tensor, dtype: torch.dtype) -> DiscreteSSM:
        return discretize(*(p.to(dtype) for p in (self.log_dt, self.log_A_real, self.A_imag, self.C, D)))


SSMStates = tuple[torch.Tensor | None, torch.Tensor | None]


class OtherPieces(Protocol):
    """What an S4D layer asks of the processes that hold the other pieces of its sequences (`lyra.parallel`)."""

    def states(self, layer: "LyraS4DLayer", ends: SSMStates) -> SSMStates:
        """The states that enter this piece, from those that it leaves behind by itself."""

    def of_first(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor of the first piece."""


class LyraS4DLayer(GradientCheckpointingLayer):
    """Pre-norm residual block around the S4D convolution."""

    def __init__(self, config: LyraConfig):
        super().__init__()
        self.dropout_prob = config.hidden_dropout_prob
        self.backend = config.ssm_backend
        self.norm = LyraRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.kernel = LyraS4DKernel(config)
        self.reverse_kernel = LyraS4DKernel(config) if config.bidirectional else None
        self.D = nn.Parameter(torch.empty(config.hidden_size))
        self.output_linear = nn.Linear(config.hidden_size, 2 * config.hidden_size)
        self.gated_residual = LyraGatedResidual(config.hidden_dropout_prob)
        self._evaluation_operators = _EvaluationCache()

    def forward(
        self,
        hidden_states: torch.Tensor,
        pads: torch.Tensor | None,
        index: torch.Tensor | None = None,
        ssm_states: SSMStates = (None, None),
        use_cache: bool = False,
        others: OtherPieces | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, SSMStates]:
        """`(b, l, d)` to `(b, l, d)`, or with `index` `(b, l)` rows `(rows, d)` to `(b, l, d)`.

        Args:
            pads: `(b, l, 1)`, true where the state space sees zeros.
            index: the row of each position.
            ssm_states: `(b, h, n/2)` complex, before the first position and, of a bidirectional layer, after the last;
                None for zero.
            use_cache: whether to return also the states at the other ends.
            others: where the rest of the sequences is, if this is a piece of them.
        """
        u = self.norm(hidden_states)
        if index is not None:
            # Channel by channel: where the rows fit the cache and where the convolution wants each channel together.
            u = _look_up(u, index, channel_major=True)
            hidden_states = _look_up(hidden_states, index)
        if pads is not None:
            u = u.masked_fill(pads, 0)
        if others is not None:
            ssm_states = others.states(self, self._end_states(u, ssm_states))
        y = F.gelu(self.convolve(u, ssm_states))  # (b, l, h)
        # One draw per sequence and channel, tied along the length.
        if self.training and self.dropout_prob > 0:
            kept = F.dropout(y.new_ones(y.shape[0], 1, y.shape[2]), self.dropout_prob)
            y.mul_(kept if others is None else others.of_first(kept))
        # Flat, because a product of two matrices reads the convolution's layout as it is.
        z = self.output_linear(y.flatten(0, 1)).unflatten(0, y.shape[:2])  # (b, l, 2h)
        hidden_states = self.gated_residual(hidden_states, z)
        return (hidden_states, self._end_states(u, ssm_states)) if use_cache else hidden_states

    def convolve(self, u: torch.Tensor, ssm_states: SSMStates = (None, None)) -> torch.Tensor:
        """`conv(u, K) + D u` in fp32 (fp64 for fp64 input) under any autocast; returns the dtype of `u`."""
        with torch.autocast(device_type=u.device.type, enabled=False):
            wide = at_least_fp32(u)
            length = u.shape[1]
            systems = self.systems(wide.dtype)
            path = fastest_path(wide) if self.backend == "auto" else self.backend
            make_operators, convolution = PATHS[path]
            if self.training or torch.is_grad_enabled() or not is_eager_cpu(u):
                operators = make_operators(*systems, length)
            else:
                operators = self._evaluation_operators.get(path, length, systems, make_operators)
            y = convolution(wide, operators)
            for system, state, flipped in zip(systems, ssm_states, (False, True), strict=True):
                if system is not None and state is not None:
                    response = state_response(system, state, length)
                    y = y + (response.flip(1) if flipped else response)
            return y.to(u.dtype)

    def _end_states(self, u: torch.Tensor, ssm_states: SSMStates) -> SSMStates:
        with torch.autocast(device_type=u.device.type, enabled=False):
            wide = at_least_fp32(u)
            system, reverse = self.systems(wide.dtype)
            forth = end_state(system, wide, ssm_states[0])
            return forth, None if reverse is None else end_state(reverse, wide.flip(1), ssm_states[1])

    def train(self, mode: bool = True) -> "LyraS4DLayer":
        self._evaluation_operators.clear()
        return super().train(mode)

    def systems(self, dtype: torch.dtype) -> tuple[DiscreteSSM, DiscreteSSM | None]:
        """The discrete system of each direction; D belongs to the first."""
        system = self.kernel(self.D, dtype)
        return system, None if self.reverse_kernel is None else self.reverse_kernel(torch.zeros_like(self.D), dtype)


class _EvaluationCache:
    """The operators of the last few lengths, made again when the systems' values change.

    Values are compared, since a change through `parameter.data`, or of which parameter is used, leaves no other trace.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        # The systems and their operators, replaced together and never changed: threads may share a model.
        self._kept: tuple[list[torch.Tensor], dict[Any, Any]] = ([], {})

    def get(self, path: str, length: int, systems: Sequence[DiscreteSSM | None], make: Callable[..., Any]) -> Any:
        tensors = [tensor for system in systems if system is not None for tensor in system]
        known, operators = self._kept
        if not _all_equal(tensors, known):
            known, operators = tensors, {}
        if (path, length) not in operators:
            latest = list(operators.items())[1 - _CACHED_LENGTHS :]
            operators = dict([*latest, ((path, length), make(*systems, length))])
            self._kept = (known, operators)
        return operators[path, length]

    def __getstate__(self) -> dict[str, Any]:
        return {}  # no part of a pickled or copied model

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.clear()


def _all_equal(tensors: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return len(tensors) == len(others) and all(
        one.dtype == other.dtype and torch.equal(one, other) for one, other in zip(tensors, others, strict=True)
    )


@dataclass
class LyraCache:
    """What [`LyraModel`] carries from one piece of a sequence to the next.

    A position's output needs the convolutions' halo of neighbours on both sides, so that the last few positions of a
    piece are answered with the next one.

    Attributes:
        inputs: the positions that the next outputs still need, `(b, t)` ids or `(b, t, d)` embeddings, at most twice
            the halo.
        mask: `(b, t)`, true where they are real.
        answered: how many of them have had their output.
        ssm_states: `(b, h, n/2)` complex, of each S4D layer after the last answered position, with the None of a
            second direction; None before the first position.
        pooled: `(b, pooled_size)` and `(b, 1)`, sum (or highest, first, last) and number of the positions answered.
    """

    inputs: torch.Tensor
    mask: torch.Tensor
    answered: int = 0
    ssm_states: list[SSMStates] | None = None
    pooled: tuple[torch.Tensor, torch.Tensor] | None = None

    @classmethod
    def of(cls, inputs: torch.Tensor, mask: torch.Tensor | None) -> "LyraCache":
        """The first piece."""
        return cls(inputs, _as_full_mask(mask, inputs))

    def joined(self, inputs: torch.Tensor, mask: torch.Tensor | None) -> "LyraCache":
        """With the next piece.

        Raises:
            ValueError: if it is of another batch size or another kind of input.
        """
        if self.inputs.shape[0] != inputs.shape[0] or self.inputs.shape[2:] != inputs.shape[2:]:
            raise ValueError(
                f"`cache_params` is of inputs {tuple(self.inputs.shape)}, this piece has {tuple(inputs.shape)}; "
                "batch and kind of input must be the same in every piece"
            )
        both = torch.cat([self.mask, _as_full_mask(mask, inputs)], dim=1)
        return replace(self, inputs=torch.cat([self.inputs, inputs], dim=1), mask=both)

    def without(self, answered: int, halo: int) -> "LyraCache":
        """After positions up to `answered` have had their output; only their last ones are still needed."""
        kept = max(0, answered - halo)
        return replace(self, inputs=self.inputs[:, kept:], mask=self.mask[:, kept:], answered=answered - kept)


@dataclass
class LyraModelOutput(ModelOutput):
    """Output of [`LyraModel`].

    Attributes:
        last_hidden_state: `(batch_size, sequence_length, hidden_size)`.
        pooler_output: `(batch_size, hidden_size)`, with pooling `"mean_last"` twice as long.
        hidden_states: with `output_hidden_states`, the embeddings, then the output of each block.
        cache_params: with `use_cache`, what the next piece of the sequences needs.
    """

    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    cache_params: LyraCache | None = None


class LyraEncoder(nn.Module):
    """The PGC stack and the S4D layers, and what a read-out sees of them."""

    def __init__(self, config: LyraConfig):
        super().__init__()
        self.poolings = config.pooling.split("_")  # one, or several side by side
        self.pooled_size = len(self.poolings) * config.hidden_size
        self.pgc = nn.ModuleList(LyraPGC(config, expansion) for expansion in config.pgc_expansion_factors)
        self.layers = nn.ModuleList(LyraS4DLayer(config) for _ in range(config.num_hidden_layers))
        self.final_norm = LyraRMSNorm(config.hidden_size, config.rms_norm_eps) if config.final_norm else nn.Identity()
        self.halo = len(self.pgc) * (config.pgc_kernel_size // 2)  # positions that the PGC stack sees on each side

    def forward(
        self, hidden_states: torch.Tensor, mask: torch.Tensor | None, windows: Windows | None = None
    ) -> tuple[torch.Tensor, ...]:
        """Returns the input and the output of every block, each `(b, l, d)`; with `windows` only the layers' outputs
        are.

        Args:
            hidden_states: embeddings `(b, l, d)`, or with `windows` those of its tokens `(rows, d)`.
            mask: `(b, l)`, true at real positions; None where all are.
        """
        if hidden_states.shape[1] == 0:
            raise ValueError("every sequence must have at least one position, got length 0")
        pads = as_pads(mask)
        outputs, index = self.pgc_stack(hidden_states, pads, windows)
        for layer in self.layers:
            outputs, index = (*outputs, layer(outputs[-1], pads, index)), None
        return outputs

    def pgc_stack(
        self, hidden_states: torch.Tensor, pads: torch.Tensor | None, windows: Windows | None = None
    ) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None]:
        """The input and the output of every PGC, and with `windows` the row of the last output at each position."""
        neighbours = [None] * len(self.pgc) if windows is None else windows.neighbours
        outputs = [hidden_states]
        for block, around in zip(self.pgc, neighbours, strict=True):
            outputs.append(block(outputs[-1], pads, around))
        if windows is not None and windows.at is None:
            outputs[-1] = outputs[-1].view(*windows.shape, -1)
        return tuple(outputs), None if windows is None else windows.at

    def pool(self, hidden_states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """`(b, l, d)` to `(b, pooled_size)` over the real positions, normed where the config says so."""
        return self.read_pooled(self.add_to_pooled(None, hidden_states, mask), hidden_states.dtype)

    def add_to_pooled(
        self,
        pooled: tuple[torch.Tensor, torch.Tensor] | None,
        hidden_states: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Value `(b, pooled_size)` and number `(b, 1)` of the real positions pooled before and of those given."""
        batch, length, _ = hidden_states.shape
        if mask is None:
            count = torch.full((batch, 1), length, device=hidden_states.device)
        else:
            mask = mask.to(hidden_states.device)  # the last layer may be on another device than the first
            count = mask.sum(dim=1, keepdim=True)
        value = torch.cat([_pool_positions(pooling, hidden_states, mask) for pooling in self.poolings], dim=-1)
        return (value, count) if pooled is None else self.join_pooled(pooled, (value, count))

    def join_pooled(
        self, before: tuple[torch.Tensor, torch.Tensor], after: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What `add_to_pooled` gives of two consecutive pieces, from that of each."""
        (value_before, count_before), (value, count) = before, after
        parts = (each.chunk(len(self.poolings), dim=-1) for each in (value_before, value))
        joined = [
            _pool_pieces(pooling, one, other, count_before, count)
            for pooling, one, other in zip(self.poolings, *parts, strict=True)
        ]
        return torch.cat(joined, dim=-1), count_before + count

    def read_pooled(self, pooled: tuple[torch.Tensor, torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
        """What was pooled as the read-out sees it, `(b, pooled_size)`; zeros for a sequence without real positions."""
        value, count = pooled
        parts = value.chunk(len(self.poolings), dim=-1)
        read = [
            part / count.clamp(min=1) if pooling == "mean" else torch.where(count > 0, part, 0)
            for pooling, part in zip(self.poolings, parts, strict=True)
        ]
        return torch.cat([self.final_norm(part.to(dtype)) for part in read], dim=-1)


def _pool_positions(pooling: str, hidden_states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Sum, highest, first or last of the real positions, `(b, d)`."""
    columns = None if mask is None else mask.unsqueeze(-1)  # (b, l, 1)
    if pooling == "mean":
        # At least fp32: a sum of 65,536 positions overflows fp16, and bf16 cannot count beyond 256.
        wide = at_least_fp32(hidden_states)
        return (wide if columns is None else torch.where(columns, wide, 0)).sum(dim=1)
    if pooling == "max":
        return (hidden_states if columns is None else hidden_states.masked_fill(~columns, -torch.inf)).amax(dim=1)
    if mask is None or columns is None:
        return hidden_states[:, 0 if pooling == "first" else -1]
    first = mask.int().argmax(dim=1)
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)
    position = first if pooling == "first" else last  # (b,)
    chosen = torch.where(columns, hidden_states, 0)
    return chosen.gather(1, position.view(-1, 1, 1).expand(-1, 1, chosen.shape[-1])).squeeze(1)


def _pool_pieces(
    pooling: str, before: torch.Tensor, value: torch.Tensor, count_before: torch.Tensor, count: torch.Tensor
) -> torch.Tensor:
    """`_pool_positions` of a sequence from those of two consecutive pieces, `(b, d)`, and their real positions."""
    if pooling == "mean":
        # fp32 stops counting after some ten million pieces.
        return before.double() + value if value.device.type != "mps" else before + value
    if pooling == "max":
        return torch.maximum(before, value.to(before.dtype))
    if pooling == "first":
        return torch.where(count_before > 0, before, value.to(before.dtype))
    return torch.where(count > 0, value.to(before.dtype), before)


class LyraPreTrainedModel(PreTrainedModel):
    config_class = LyraConfig
    base_model_prefix = "lyra"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = True
    _no_split_modules = ["LyraPGC", "LyraS4DLayer"]
    # In bf16 the step sizes and frequencies would keep three digits, and K follows them exponentially.
    _keep_in_fp32_modules_strict = {"kernel", "reverse_kernel", "D"}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        _initialize(module)

    def resize_token_embeddings(self, new_num_tokens: int | None = None, *args, **kwargs) -> nn.Module:
        """Returns the embeddings as they are.

        Raises:
            ValueError: if `new_num_tokens` is another number: the vectors of the tokens follow from the alphabet.
        """
        if new_num_tokens not in (None, self.config.vocab_size):
            raise ValueError(
                f"`new_num_tokens` must be {self.config.vocab_size}, got {new_num_tokens}: Lyra's token vectors are "
                f"fixed by the alphabet {self.config.alphabet!r}. For other letters build a config with a custom one, "
                "LyraConfig(alphabet='ACGT...')."
            )
        return self.get_input_embeddings()


@torch.no_grad()
def _initialize(module: nn.Module) -> None:
    """Initialises one module's own parameters: torch's defaults for Linear and Conv1d, S4D-Lin for the kernels."""
    if isinstance(module, (nn.Linear, LyraDepthwiseConv)):
        init.kaiming_uniform_(module.weight, a=math.sqrt(5))
        bound = 1 / math.sqrt(module.weight[0].numel())
        init.uniform_(module.bias, -bound, bound)
    elif isinstance(module, LyraRMSNorm):
        init.ones_(module.weight)
    elif isinstance(module, LyraS4DKernel):
        module.reset_parameters()
    elif isinstance(module, LyraS4DLayer):
        init.normal_(module.D)
    elif isinstance(module, LyraEmbeddings):
        module.reset_encodings()


class LyraModel(LyraPreTrainedModel):
    """The bare Lyra encoder: hidden states of every position and one vector of the whole sequence.

    Args:
        config ([`LyraConfig`]): the architecture.
    """

    def __init__(self, config: LyraConfig):
        super().__init__(config)
        self.embeddings = LyraEmbeddings(config)
        self.encoder = LyraEncoder(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings

    def set_input_embeddings(self, value: LyraEmbeddings) -> None:
        self.embeddings = value

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        cache_params: LyraCache | None = None,
        use_cache: bool | None = None,
        **kwargs,
    ) -> LyraModelOutput:
        r"""
        Exactly one of `input_ids`, `input_features` and `inputs_embeds` is given.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Ids of [`LyraTokenizer`].
            attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`, *optional*):
                Non-zero at real positions. Without it, pads in `input_ids` are found by `config.pad_token_id`.
            input_features (`torch.FloatTensor` of shape `(batch_size, sequence_length, letters)`, *optional*):
                Weights of the letters at each position (a soft sequence), in the alphabet's order.
            inputs_embeds (`torch.FloatTensor` of shape `(batch_size, sequence_length, hidden_size)`, *optional*):
                What the PGC stack reads.
            output_hidden_states (`bool`, *optional*):
                Whether to return `hidden_states`: the embeddings, then the output of each PGC and of each S4D layer.
                `last_hidden_state` is the last of them, after the final norm where the config has one.
            cache_params ([`LyraCache`], *optional*):
                What an earlier call on the piece before this one returned.
            use_cache (`bool`, *optional*):
                Whether another piece of the same sequences follows. The output then ends a few positions (the halo of
                the PGC stack) before the end of the piece and comes with `cache_params` for the next call, which
                gives those positions first. The last piece, which may be empty, is the one without `use_cache`.
                `last_hidden_state` of all calls in a row, and `pooler_output` of the last, are those of the whole
                sequence.

        Returns:
            [`LyraModelOutput`].

        Raises:
            ValueError: if not exactly one input is given, shapes do not fit, or a bidirectional model gets pieces.

        Example:

        ```python
        >>> from lyra import LyraConfig, LyraModel, LyraTokenizer

        >>> inputs = LyraTokenizer()(["MKTAY", "MK"], padding=True, return_tensors="pt")
        >>> LyraModel(LyraConfig())(**inputs).last_hidden_state.shape
        torch.Size([2, 5, 64])
        ```
        """
        if sum(given is not None for given in (input_ids, input_features, inputs_embeds)) != 1:
            raise ValueError("exactly one of `input_ids`, `input_features` and `inputs_embeds` must be given")
        if input_features is not None:
            inputs_embeds = self.embeddings.project(input_features)
        inputs: torch.Tensor = input_ids if inputs_embeds is None else inputs_embeds  # type: ignore[assignment]
        if input_ids is not None and attention_mask is None:
            attention_mask = input_ids != self.config.pad_token_id
        mask = _as_mask(attention_mask, inputs)
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if cache_params is not None or use_cache:
            return self._forward_piece(inputs, mask, cache_params, bool(use_cache), output_hidden_states)

        hidden_states = self.encoder(*self._embed_or_windows(inputs, mask, output_hidden_states))
        return LyraModelOutput(
            last_hidden_state=self.encoder.final_norm(hidden_states[-1]),
            pooler_output=self.encoder.pool(hidden_states[-1], mask),
            hidden_states=hidden_states if output_hidden_states else None,
        )

    def _embed_or_windows(
        self, inputs: torch.Tensor, mask: torch.Tensor | None, every_block: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None, Windows | None]:
        """What the encoder takes: embeddings and mask, or the distinct windows of ids where that pays."""
        if inputs.is_floating_point():
            return inputs, mask, None
        pgc = self.encoder.pgc
        # Who listens to a block with a hook, or asks for its output, expects one at every position.
        if (
            every_block
            or not windows_pay(inputs)
            or any(map(_has_hooks, (self.embeddings, self.encoder, *pgc.modules())))
        ):
            return self.embeddings(inputs), mask, None
        pads = None if mask is None else ~mask
        windows = distinct_windows(inputs, pads, [self.config.pgc_kernel_size] * len(pgc))
        return self.embeddings(windows.tokens), mask, windows

    def _forward_piece(
        self, inputs: torch.Tensor, mask: torch.Tensor | None, cache: LyraCache | None, more: bool, every_block: bool
    ) -> LyraModelOutput:
        """`forward` on one piece."""
        encoder = self.encoder
        if self.config.bidirectional:
            raise ValueError(
                "`use_cache`: a bidirectional model reads every sequence from its end too, so it cannot take pieces "
                "one by one; lyra.inference.stream goes over them twice"
            )
        cache = LyraCache.of(inputs, mask) if cache is None else cache.joined(inputs, mask)
        end = cache.inputs.shape[1] - (encoder.halo if more else 0)  # positions before it have all their neighbours
        answer = slice(cache.answered, max(end, cache.answered))
        if answer.start < answer.stop:
            hidden_states, cache = self._answer(cache, answer, every_block)
        else:
            embeds = self.embeddings(cache.inputs[:, :0]) if cache.inputs.dim() == 2 else cache.inputs[:, :0]
            hidden_states = (embeds,) * (1 + len(encoder.pgc) + len(encoder.layers))  # (b, 0, d) each
        last = hidden_states[-1]
        if cache.pooled is not None:
            pooled = encoder.read_pooled(cache.pooled, last.dtype)
        elif more:
            pooled = last.new_zeros(last.shape[0], encoder.pooled_size)  # until the first position is answered
        else:
            raise ValueError("every sequence must have at least one position, got length 0")
        return LyraModelOutput(
            last_hidden_state=encoder.final_norm(last),
            pooler_output=pooled,
            hidden_states=hidden_states if every_block else None,
            cache_params=cache.without(answer.stop, encoder.halo) if more else None,
        )

    def _answer(self, cache: LyraCache, answer: slice, every_block: bool) -> tuple[tuple[torch.Tensor, ...], LyraCache]:
        """The outputs of every block at some positions of `cache.inputs`, and the cache with their states."""
        hidden_states, index = self.pgc_stack(cache.inputs, needed_mask(cache.mask), answer, every_block)
        mask = needed_mask(cache.mask[:, answer])
        before = cache.ssm_states or [(None, None)] * len(self.encoder.layers)
        after = []
        for layer, states in zip(self.encoder.layers, before, strict=True):
            output, ends = layer(hidden_states[-1], as_pads(mask), index, states, use_cache=True)
            hidden_states, index = (*hidden_states, output), None
            after.append(ends)
        pooled = self.encoder.add_to_pooled(cache.pooled, hidden_states[-1], mask)
        return hidden_states, replace(cache, ssm_states=after, pooled=pooled)

    def pgc_stack(
        self, inputs: torch.Tensor, mask: torch.Tensor | None, positions: slice, every_block: bool = False
    ) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None]:
        """What the first S4D layer reads at some positions of `inputs`, the last of `hidden_states`.

        Returns:
            The embeddings and the output of every PGC, each `(b, positions, d)`, and None; or rows `(rows, d)` and
            which of the last ones stands at each position, `(b, positions)`.
        """
        embeds, mask, windows = self._embed_or_windows(inputs, mask, every_block)
        hidden_states, index = self.encoder.pgc_stack(embeds, as_pads(mask), windows)
        if index is not None:
            return hidden_states, index[:, positions]
        return tuple(each[:, positions] for each in hidden_states), None


@dataclass
class LyraClassifierOutput(ModelOutput):
    """Output of the classification heads.

    Attributes:
        loss: with `labels`, a scalar.
        logits: `(batch_size, num_labels)`, or `(batch_size, sequence_length, num_labels)` of a token head; of a
            regression in label units, of an ensemble the mean over its members.
        hidden_states: with `output_hidden_states`, see [`LyraModelOutput`]; of an ensemble those of its first member.
        std: of an ensemble, the shape of `logits`: the standard deviation over the members of the value in label units,
            or of each class's probability.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    std: torch.Tensor | None = None


class LyraClassificationModel(LyraPreTrainedModel):
    """What the classification heads share: an encoder, and a linear read-out of its vectors.

    With `config.ensemble_size` k it is k such models, of which it holds the first itself and the others as `others`.
    They answer together, and each has its own loss, whose mean is the ensemble's.
    """

    per_token: bool  # whether it answers at every position

    def __init__(self, config: LyraConfig):
        super().__init__(config)
        _set_default_problem_type(config)
        self.num_labels = config.num_labels
        self.lyra = LyraModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        size = config.hidden_size if self.per_token else self.lyra.encoder.pooled_size
        self.classifier: nn.Module = nn.Linear(size, config.num_labels)
        if size != config.hidden_size:
            # Under another name in the checkpoint, so that a token head, which is narrower, loads from it without.
            self.classifier = nn.Sequential(self.classifier)
        if config.ensemble_size > 1:
            member = copy.deepcopy(config)
            member.ensemble_size = 1
            self.others = nn.ModuleList(type(self)(member) for _ in range(config.ensemble_size - 1))
        self.post_init()

    @classmethod
    def as_ensemble(cls, members: "Sequence[LyraClassificationModel]") -> "LyraClassificationModel":
        """One model that answers with the mean of several, and says how far they differ.

        Args:
            members: models of this class with the same config, at least two; of an ensemble each of its members counts.

        Raises:
            ValueError: if there are fewer, or their configs differ.
        """
        singles = [single for model in members for single in model.members()]
        settings = [{name: getattr(model.config, name) for name in _settings(model.config)} for model in singles]
        differing = (
            [name for name in settings[0] if any(each[name] != settings[0][name] for each in settings)]
            if settings
            else []
        )
        if len(singles) < 2 or differing:
            raise ValueError(
                "`members` must be at least two models with the same config, got "
                + (f"different `{differing[0]}`" if differing else f"{len(singles)}")
            )
        config = copy.deepcopy(singles[0].config)
        config.ensemble_size = len(singles)
        ensemble = cls(config)
        for member, model in zip(ensemble.members(), singles, strict=True):
            member.load_state_dict(_without_others(model.state_dict()), strict=member is not ensemble)
        return ensemble.train(members[0].training)

    def members(self) -> "list[LyraClassificationModel]":
        """The models of an ensemble, the first of which is `self`; of any other model itself."""
        return [self, *getattr(self, "others", [])]

    def read_out(self, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`(..., d)` to logits `(..., labels)`: as the loss takes them, and in label units."""
        logits = self.classifier(self.dropout(vectors))
        return logits, _in_label_units(logits, self.config)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs,
    ) -> LyraClassifierOutput:
        r"""
        Args:
            input_ids, attention_mask, input_features, inputs_embeds, output_hidden_states:
                See [`LyraModel.forward`].
            labels (`torch.Tensor`, *optional*):
                Of a sequence head `(batch_size,)` class indices or values of one regression, or
                `(batch_size, num_labels)` values, where NaN marks a missing measurement and -100 a missing class. Of a
                token head the same for each position, `(batch_size, sequence_length)` or
                `(batch_size, sequence_length, num_labels)`; -100, or NaN among floats, is ignored.
            num_items_in_batch (`int` or scalar tensor, *optional*):
                What the summed loss is divided by, given by the Trainer so that the loss does not depend on
                accumulation steps or processes. By default the number of labels present.

        Returns:
            [`LyraClassifierOutput`].
        """
        _refuse_pieces(kwargs)
        if inputs_embeds is not None and self.config.ensemble_size > 1:
            raise ValueError("`inputs_embeds` are of one model, and every member of an ensemble has its own")
        inputs = (input_ids, attention_mask, input_features, inputs_embeds)
        first, *others = [
            member._answer(inputs, labels, output_hidden_states, num_items_in_batch) for member in self.members()
        ]
        return self._together(first, others) if others else first

    def _answer(
        self,
        inputs: tuple[torch.Tensor | None, ...],
        labels: torch.Tensor | None,
        output_hidden_states: bool | None,
        num_items_in_batch: torch.Tensor | int | None,
    ) -> LyraClassifierOutput:
        """`forward` of one member."""
        outputs = self.lyra(*inputs, output_hidden_states, return_dict=True)
        raw, logits = self.read_out(outputs.last_hidden_state if self.per_token else outputs.pooler_output)
        return LyraClassifierOutput(
            loss=_head_loss(raw, labels, self.config, num_items_in_batch, self.per_token),
            logits=logits,
            hidden_states=outputs.hidden_states,
        )

    def _together(self, first: LyraClassifierOutput, others: list[LyraClassifierOutput]) -> LyraClassifierOutput:
        answers = [first, *others]
        logits, std = mean_and_std([answer.logits for answer in answers], self.config)  # type: ignore[misc]
        return LyraClassifierOutput(
            loss=None if first.loss is None else sum(answer.loss for answer in answers) / len(answers),  # type: ignore
            logits=logits,
            hidden_states=first.hidden_states,
            std=std,
        )


class LyraForSequenceClassification(LyraClassificationModel):
    """Lyra with a linear read-out of the pooled sequence: regression, single-label or multi-label classification.

    `config.problem_type` chooses; without it one label means regression, and otherwise float labels mean multi-label.
    """

    per_token = False


class LyraForTokenClassification(LyraClassificationModel):
    """Lyra with a linear read-out of every position: the same three problem types per residue."""

    per_token = True


class LyraForMaskedLM(LyraPreTrainedModel):
    """Lyra with a read-out over the vocabulary. A causal model sees only what stands before a masked position, so
    pre-training wants `bidirectional=True`."""

    def __init__(self, config: LyraConfig):
        super().__init__(config)
        self.lyra = LyraModel(config)
        self.lm_head = nn.Linear(config.hidden_size, self.lyra.embeddings.encodings.shape[0])
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs,
    ) -> MaskedLMOutput:
        r"""
        Args:
            input_ids, attention_mask, input_features, inputs_embeds, output_hidden_states:
                See [`LyraModel.forward`].
            labels (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                The true ids at masked positions, -100 elsewhere.
            num_items_in_batch (`int` or scalar tensor, *optional*):
                See [`LyraForSequenceClassification.forward`].

        Returns:
            [`MaskedLMOutput`] with `logits` `(batch_size, sequence_length, vocab_size)`.
        """
        _refuse_pieces(kwargs)
        outputs = self.lyra(
            input_ids, attention_mask, input_features, inputs_embeds, output_hidden_states, return_dict=True
        )
        logits = self.lm_head(outputs.last_hidden_state)
        loss = None
        if labels is not None:
            loss = reduce_losses(*cross_entropy(logits, labels), num_items_in_batch)
        return MaskedLMOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


class Lyra(nn.Module):
    """The deeper variant ([`LyraConfig.deep`]) as a plain module on float features.

    Args:
        d_input: features per position, 20 for one-hot amino acids.
        d_model: channels.
        d_output: outputs.
        num_pgc_layers: residual projected gated convolutions of expansion 1.
        num_s4_layers: S4D layers.
        d_state: state size of each channel.
        dropout: probability inside the S4D layers and before the read-out.
        pool: as `pooling` of [`LyraConfig`], or `None` for an output at every position.

    Example:

    ```python
    >>> import torch
    >>> from lyra import Lyra

    >>> model = Lyra(d_input=20, d_model=64, d_output=1)
    >>> model(torch.randn(32, 100, 20)).shape
    torch.Size([32, 1])
    ```
    """

    def __init__(
        self,
        d_input: int = 20,
        d_model: int = 64,
        d_output: int = 1,
        num_pgc_layers: int = 2,
        num_s4_layers: int = 4,
        d_state: int = 64,
        dropout: float = 0.2,
        pool: str | None = "mean",
    ):
        super().__init__()
        config = LyraConfig.deep(
            hidden_size=d_model,
            pgc_expansion_factors=[1.0] * num_pgc_layers,
            num_hidden_layers=num_s4_layers,
            state_size=d_state,
            hidden_dropout_prob=dropout,
            classifier_dropout=dropout,
            pooling=pool or "mean",
        )
        self.pool = pool
        self.projection = nn.Linear(d_input, d_model)
        self.encoder = LyraEncoder(config)
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Linear(d_model if pool is None else self.encoder.pooled_size, d_output)
        self.apply(_initialize)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Maps features `(b, l, d_input)` to `(b, d_output)`, or `(b, l, d_output)` with `pool=None`.

        Args:
            x: the features.
            mask: `(b, l)`, non-zero at real positions; all are by default.
        """
        embeds = self.projection(x)
        mask = _as_mask(mask, embeds)
        hidden_states = self.encoder(embeds, mask)[-1]
        final_norm, pool = self.encoder.final_norm, self.encoder.pool
        vectors = final_norm(hidden_states) if self.pool is None else pool(hidden_states, mask)
        return self.decoder(self.dropout(vectors))

    def count_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def _as_mask(mask: torch.Tensor | None, inputs: torch.Tensor) -> torch.Tensor | None:
    if mask is None:
        return None
    if mask.shape != inputs.shape[:2]:
        raise ValueError(
            f"`attention_mask` must have shape (batch_size, sequence_length) = {tuple(inputs.shape[:2])}, "
            f"got {tuple(mask.shape)}"
        )
    return needed_mask(mask.to(inputs.device) != 0)


def needed_mask(mask: torch.Tensor) -> torch.Tensor | None:
    """A mask, or None if it hides nothing, where finding that out costs nothing."""
    return None if is_eager_cpu(mask) and mask.all() else mask


def _as_full_mask(mask: torch.Tensor | None, inputs: torch.Tensor) -> torch.Tensor:
    """A mask `(b, l)` where None stands for one that hides nothing."""
    return torch.ones(inputs.shape[:2], dtype=torch.bool, device=inputs.device) if mask is None else mask


def as_pads(mask: torch.Tensor | None) -> torch.Tensor | None:
    """`(b, l)`, true where real, to `(b, l, 1)`, true where not."""
    return None if mask is None else ~mask.unsqueeze(-1)


def _look_up(rows: torch.Tensor, index: torch.Tensor, channel_major: bool = False) -> torch.Tensor:
    """The row of `(rows, d)` at each position of `(b, l)`, `(b, l, d)`; if asked, with channels apart in memory."""
    if channel_major:
        return rows.t().index_select(1, index.flatten()).unflatten(1, index.shape).permute(1, 2, 0)
    return rows.index_select(0, index.flatten()).unflatten(0, index.shape)


def _has_hooks(module: nn.Module) -> bool:
    return any((module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks))


def _refuse_pieces(kwargs: dict[str, Any]) -> None:
    """Raises ValueError if a head is given what only the bare model takes."""
    if kwargs.get("use_cache") or kwargs.get("cache_params") is not None:
        raise ValueError(
            "`use_cache` and `cache_params`: the heads read whole sequences; lyra.inference.stream reads pieces with a "
            "head, and LyraModel (`.lyra` of every head) carries the cache"
        )


def _settings(config: LyraConfig) -> list[str]:
    """What two members of an ensemble must have in common."""
    return ["num_labels", "problem_type", *(name for name in LyraConfig.__annotations__ if name != "ensemble_size")]


def _without_others(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith("others.")}


def mean_and_std(logits: Sequence[torch.Tensor], config: LyraConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """What an ensemble answers from the logits of its members: their mean, and the standard deviation of the values in
    label units or of each class's probability."""
    stacked = torch.stack(list(logits))
    values = stacked
    if config.problem_type == "multi_label_classification":
        values = stacked.sigmoid()
    elif config.problem_type != "regression":
        values = stacked.softmax(dim=-1)
    return stacked.mean(dim=0), values.std(dim=0)


def _set_default_problem_type(config: LyraConfig) -> None:
    # The text-classification pipeline would otherwise squash a single output through a sigmoid.
    if config.problem_type is None and config.num_labels == 1:
        config.problem_type = "regression"


def _on(numbers: Sequence[Any] | None, like: torch.Tensor) -> torch.Tensor | None:
    """Numbers of the config as a tensor beside another one, at least fp32."""
    if numbers is None:
        return None
    # Without blocking: the step of a GPU must not wait for a few numbers.
    return torch.tensor(numbers, dtype=at_least_fp32(like).dtype).to(like.device, non_blocking=True)


def _label_scale(config: LyraConfig, like: torch.Tensor) -> tuple[Any, Any]:
    """Mean and standard deviation of the labels: numbers, or `(num_labels,)` each."""
    mean, std = (
        _on(value, like) if isinstance(value, (list, tuple)) else value
        for value in (config.label_mean, config.label_std)
    )
    return mean, std


def _in_label_units(logits: torch.Tensor, config: LyraConfig) -> torch.Tensor:
    """What the model answers, from what it was trained on."""
    if config.problem_type != "regression":
        return logits
    if config.label_quantiles is not None:
        quantiles, scores = _quantiles(config, logits)
        pairs = _by_output(at_least_fp32(logits), quantiles)
        return torch.stack([_interpolate(x, scores, _rising(y)) for x, y in pairs], dim=-1)
    if config.label_mean is None:
        return logits
    mean, std = _label_scale(config, logits)
    return at_least_fp32(logits) * std + mean


def _for_training(labels: torch.Tensor, config: LyraConfig) -> torch.Tensor:
    """Labels `(..., num_labels)` as normal scores, standardised, or as they are."""
    if config.label_quantiles is not None:
        quantiles, scores = _quantiles(config, labels)
        return torch.stack([_normal_scores(x, y, scores) for x, y in _by_output(labels, quantiles)], dim=-1)
    if config.label_mean is None:
        return labels
    mean, std = _label_scale(config, labels)
    return (labels - mean) / std


def _quantiles(config: LyraConfig, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantiles of the training labels, `(1 or num_labels, count)`, and their normal scores, `(count,)`."""
    quantiles = torch.atleast_2d(_on(config.label_quantiles, like))  # type: ignore[arg-type]
    count = quantiles.shape[1]
    probabilities = (torch.arange(count, device=quantiles.device, dtype=quantiles.dtype) + 0.5) / count
    return quantiles, torch.special.ndtri(probabilities)


def _by_output(x: torch.Tensor, tables: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Each output of `(..., outputs)` with its row of `(1 or outputs, count)`."""
    return list(zip(x.unbind(-1), tables.expand(x.shape[-1], -1).unbind(0), strict=True))


def _normal_scores(labels: torch.Tensor, quantiles: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Normal score of each label: between two quantiles in proportion, where several tie that of their mean rank, and
    outside the first or the last one."""
    labels, count = labels.contiguous(), len(quantiles)
    low, high = torch.searchsorted(quantiles, labels), torch.searchsorted(quantiles, labels, right=True)
    left, right = (low - 1).clamp(min=0), low.clamp(max=count - 1)
    width = quantiles[right] - quantiles[left]
    share = torch.where(width > 0, (labels - quantiles[left]) / torch.where(width > 0, width, 1), 0)
    between = torch.lerp(scores[left], scores[right], share)
    tied = torch.special.ndtri(((low + high) / 2).clamp(0.5, count - 0.5).to(scores.dtype) / count)
    return torch.where(high > low, tied, between)


def _rising(quantiles: torch.Tensor) -> torch.Tensor:
    """Quantiles of which those that tie rise by a thousandth of the step to the next, so that no two answers tie."""
    count = len(quantiles)
    low, high = torch.searchsorted(quantiles, quantiles), torch.searchsorted(quantiles, quantiles, right=True)
    step = torch.where(
        high < count,
        quantiles[high.clamp(max=count - 1)] - quantiles,
        quantiles - quantiles[(low - 1).clamp(min=0)],
    )
    rank = torch.arange(count, device=quantiles.device) - low
    return quantiles + 1e-3 * step * rank / (high - low)


def _interpolate(x: torch.Tensor, knots: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Piecewise linear through ascending knots, and on along the first and the last piece outside."""
    right = torch.searchsorted(knots, x.contiguous()).clamp(1, len(knots) - 1)
    left = right - 1
    slope = (values[right] - values[left]) / (knots[right] - knots[left])
    return values[left] + slope * (x - knots[left])


def _head_loss(
    logits: torch.Tensor,
    labels: torch.Tensor | None,
    config: LyraConfig,
    num_items_in_batch: torch.Tensor | int | None,
    per_token: bool,
) -> torch.Tensor | None:
    """Loss of a sequence or token head; `logits` of a regression are as trained on, `labels` in label units."""
    return (
        None if labels is None else reduce_losses(*head_losses(logits, labels, config, per_token), num_items_in_batch)
    )


def head_losses(
    logits: torch.Tensor, labels: torch.Tensor, config: LyraConfig, per_token: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of each label, and whether that label is present."""
    labels = labels.to(logits.device)
    problem_type = config.problem_type
    if problem_type is None:
        problem_type = "multi_label_classification" if labels.is_floating_point() else "single_label_classification"
    if problem_type == "single_label_classification":
        return cross_entropy(logits, labels, _on(config.class_weights, logits))

    if labels.numel() != logits.numel():
        raise ValueError(f"`labels` must have shape {tuple(logits.shape)}, got {tuple(labels.shape)}")
    logits = at_least_fp32(logits)
    labels = labels.reshape(logits.shape).to(logits.dtype)
    present = ~labels.isnan()
    if per_token or problem_type == "multi_label_classification":
        present = present & (labels != IGNORE_INDEX)  # elsewhere -100 may be a measurement
    labels = torch.where(present, labels, 0)  # before any arithmetic: a NaN would survive into the gradients
    if problem_type == "multi_label_classification":
        weights = _on(config.class_weights, logits)
        losses = F.binary_cross_entropy_with_logits(logits, labels, pos_weight=weights, reduction="none")
    else:
        losses = (logits - _for_training(labels, config)).square()
    return losses, present


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of each label, and whether that label is present, both flat."""
    if labels.shape != logits.shape[:-1]:
        raise ValueError(f"`labels` must have shape {tuple(logits.shape[:-1])}, got {tuple(labels.shape)}")
    labels = labels.to(logits.device).reshape(-1)
    logits = at_least_fp32(logits).reshape(-1, logits.shape[-1])
    losses = F.cross_entropy(logits, labels, weights, ignore_index=IGNORE_INDEX, reduction="none")
    return losses, labels != IGNORE_INDEX


def reduce_losses(
    losses: torch.Tensor, present: torch.Tensor, num_items_in_batch: torch.Tensor | int | None
) -> torch.Tensor:
    total = torch.where(present, losses, 0).sum()
    if isinstance(num_items_in_batch, int):
        return total / max(1, num_items_in_batch)
    count = present.sum() if num_items_in_batch is None else num_items_in_batch.to(losses.device)
    return total / count.clamp(min=1)


LyraModel.register_for_auto_class("AutoModel")
LyraForMaskedLM.register_for_auto_class("AutoModelForMaskedLM")
LyraForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
LyraForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")

__all__ = [
    "Lyra",
    "LyraForMaskedLM",
    "LyraForSequenceClassification",
    "LyraForTokenClassification",
    "LyraModel",
    "LyraPreTrainedModel",
]
