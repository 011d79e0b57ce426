"""PyTorch Lyra model (Ramesh, Siddiqui, Gu, Mitzenmacher, Sabeti 2025, arXiv 2503.16351).

Glossary of the shape comments: b batch, l length, v vocabulary, a letters of the alphabet, d hidden_size, h channels
(= d), n state_size, r expansion.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import MaskedLMOutput
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import ModelOutput, can_return_tuple

from .alphabet_lyra import SPECIAL_TOKENS, get_alphabet
from .configuration_lyra import LyraConfig
from .context_lyra import NO_STATES, WHOLE, LyraCache, LyraContext, SegmentContext, SSMStates
from .execution_lyra import at_least_fp32, is_eager_cpu, reduce_mask
from .fused_lyra import LyraGatedResidual, LyraRMSNorm
from .linear_lyra import LyraCurve, LyraExtraTerm, LyraLinearTerm, build_linear_term
from .losses_lyra import cross_entropy, head_losses, reduce_losses, to_label_units
from .pipelines_lyra import choose_pipelines
from .polynomial_lyra import LyraPolynomial, as_integers, expand
from .pooling_lyra import PooledState, Pooler
from .ssm_backends_lyra import SSM_BACKENDS, KernelCache, select_backend
from .ssm_lyra import DiscreteSSM, discretize, input_to_state, state_to_output
from .strands_lyra import LyraReverseComplement, build_strands, reverse
from .windows_lyra import Windows, distinct_windows, should_deduplicate


class LyraEmbeddings(nn.Module):
    """The fixed vector of each token (one-hot, or a mean of one-hots), projected to the model's channels."""

    def __init__(self, config: LyraConfig):
        super().__init__()
        self.alphabet = config.alphabet
        encodings = torch.tensor(get_alphabet(config.alphabet).vectors())
        self.encodings: torch.Tensor  # (v, a)
        self.register_buffer("encodings", encodings, persistent=False)
        self.projection = nn.Linear(config.input_size or encodings.shape[1], config.hidden_size)

    def reset_encodings(self) -> None:
        """Fills `encodings` from the alphabet; they are no part of a checkpoint."""
        init.copy_(self.encodings, torch.tensor(get_alphabet(self.alphabet).vectors()))

    @property
    def weight(self) -> torch.Tensor:
        """The embedding of every token, `(v, d)`; a model of other features than letters has none."""
        if self.encodings.shape[1] != self.projection.in_features:
            raise AttributeError("a model of float features (`input_size`) has no embeddings of tokens")
        return self.projection(self.encodings)

    def project(self, input_features: torch.Tensor) -> torch.Tensor:
        """`(b, l, a)` to `(b, l, d)`."""
        size = self.projection.in_features
        if input_features.shape[-1] != size:
            meaning = (
                f"the letters of alphabet {self.alphabet!r}" if size == self.encodings.shape[1] else "`input_size`"
            )
            raise ValueError(
                f"`input_features` must have {size} entries per position ({meaning}), got shape "
                f"{tuple(input_features.shape)}"
            )
        return self.projection(input_features)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """`(b, l)` to `(b, l, d)`."""
        if self.encodings.shape[1] != self.projection.in_features:
            raise ValueError(
                f"`input_ids`: this model reads {self.projection.in_features} float features per position "
                "(`input_size`), so it takes `input_features`"
            )
        # Projecting the v rows of the table and looking them up never makes a (b, l, a) tensor.
        return F.embedding(input_ids, self.weight)


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

    def gather(self, x: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
        """`(rows, c)` to `(windows, c)`, where `neighbours` `(windows, k)` are the rows in each window."""
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
            pads: `(b, l, 1)`, true at positions that count as outside; not needed beside `neighbours`.
            neighbours: see [`Windows`]; the index after the last row means outside.
        """
        projected = self.in_norm(self.in_proj(hidden_states))
        if neighbours is None:
            x, gate = projected.chunk(2, dim=-1)  # (b, l, rd) each
            x = self.conv(x if pads is None else x.masked_fill(pads, 0))  # the projection's bias made them non-zero
        else:
            centre = neighbours[:, neighbours.shape[1] // 2]
            x, gate = F.pad(projected, (0, 0, 0, 1)).chunk(2, dim=-1)  # (rows + 1, rd) each
            x, gate = self.conv.gather(x, neighbours), gate.index_select(0, centre)  # (windows, rd) each
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


class LyraS4DLayer(GradientCheckpointingLayer):
    """Pre-norm residual block around the S4D convolution."""

    def __init__(self, config: LyraConfig, layer_idx: int):
        super().__init__()
        self.layer_idx = layer_idx
        self.dropout_prob = config.hidden_dropout_prob
        self.backend = config.ssm_backend
        self.norm = LyraRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.kernel = LyraS4DKernel(config)
        self.reverse_kernel = LyraS4DKernel(config) if config.bidirectional else None
        self.D = nn.Parameter(torch.empty(config.hidden_size))
        self.output_linear = nn.Linear(config.hidden_size, 2 * config.hidden_size)
        self.gated_residual = LyraGatedResidual(config.hidden_dropout_prob)
        self._kernel_cache = KernelCache()

    def forward(
        self,
        hidden_states: torch.Tensor,
        pads: torch.Tensor | None,
        inverse: torch.Tensor | None = None,
        context: LyraContext = WHOLE,
    ) -> torch.Tensor:
        """`(b, l, d)` to `(b, l, d)`, or with `inverse` `(b, l)` rows `(rows, d)` to `(b, l, d)`.

        Args:
            pads: `(b, l, 1)`, true where the state space sees zeros.
            inverse: the row of each position.
            context: gives the initial states and takes the final ones.
        """
        u = self.norm(hidden_states)
        if inverse is not None:
            # Channel-major: the rows of one channel fit the cache, and the convolution reads channels one by one.
            u = _look_up(u, inverse, channel_major=True)
            hidden_states = _look_up(hidden_states, inverse)
        if pads is not None:
            u = u.masked_fill(pads, 0)
        initial = context.initial_states(self, u)
        y = F.gelu(self.convolve(u, initial))  # (b, l, h)
        # One draw per sequence and channel, tied along the length.
        if self.training and self.dropout_prob > 0:
            y.mul_(context.tie_dropout(F.dropout(y.new_ones(y.shape[0], 1, y.shape[2]), self.dropout_prob)))
        # Flat, because a product of two matrices reads the convolution's layout as it is.
        z = self.output_linear(y.flatten(0, 1)).unflatten(0, y.shape[:2])  # (b, l, 2h)
        context.keep_states(self, u, initial)
        return self.gated_residual(hidden_states, z)

    def convolve(self, u: torch.Tensor, initial: SSMStates = NO_STATES) -> torch.Tensor:
        """`conv(u, K) + D u` in fp32 (fp64 for fp64 input) under any autocast; returns the dtype of `u`."""
        with torch.autocast(device_type=u.device.type, enabled=False):
            wide = at_least_fp32(u)
            length = u.shape[1]
            systems = self.systems(wide.dtype)
            name = select_backend(wide) if self.backend == "auto" else self.backend
            backend = SSM_BACKENDS[name]
            if self.training or torch.is_grad_enabled() or not is_eager_cpu(u):
                kernels = backend.prepare(*systems, length)
            else:
                kernels = self._kernel_cache.get(name, length, systems)
            y = backend.convolve(wide, kernels)
            for system, state, backward in zip(systems, initial, (False, True), strict=True):
                if system is not None and state is not None:
                    response = state_to_output(system, state, length)
                    y = y + (response.flip(1) if backward else response)
            return y.to(u.dtype)

    def final_states(self, u: torch.Tensor, initial: SSMStates = NO_STATES) -> SSMStates:
        """The states after the last input of u `(b, l, h)` and, of a bidirectional layer, before the first."""
        with torch.autocast(device_type=u.device.type, enabled=False):
            wide = at_least_fp32(u)
            system, reverse = self.systems(wide.dtype)
            return SSMStates(
                input_to_state(system, wide, initial.forward),
                None if reverse is None else input_to_state(reverse, wide.flip(1), initial.backward),
            )

    def systems(self, dtype: torch.dtype) -> tuple[DiscreteSSM, DiscreteSSM | None]:
        """The discrete system of each direction; D belongs to the first."""
        system = self.kernel(self.D, dtype)
        return system, None if self.reverse_kernel is None else self.reverse_kernel(torch.zeros_like(self.D), dtype)

    def train(self, mode: bool = True) -> "LyraS4DLayer":
        self._kernel_cache.clear()
        return super().train(mode)


@dataclass
class LyraModelOutput(ModelOutput):
    """Output of [`LyraModel`].

    Attributes:
        last_hidden_state: `(batch_size, sequence_length, hidden_size)`.
        pooler_output: `(batch_size, hidden_size)`, with pooling `"mean_last"` twice as long.
        hidden_states: with `output_hidden_states`, the embeddings, then the output of each block.
        cache_params: with `use_cache`, what the next segment of the sequences needs.
    """

    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    cache_params: LyraCache | None = None


class LyraEncoder(nn.Module):
    """The PGC stack, the S4D layers and the pooling."""

    def __init__(self, config: LyraConfig):
        super().__init__()
        self.pooler = Pooler(config.pooling)
        self.pooled_size = len(self.pooler.poolings) * config.hidden_size
        self.pgc = nn.ModuleList(LyraPGC(config, expansion) for expansion in config.pgc_expansion_factors)
        self.layers = nn.ModuleList(LyraS4DLayer(config, i) for i in range(config.num_hidden_layers))
        self.final_norm = LyraRMSNorm(config.hidden_size, config.rms_norm_eps) if config.final_norm else nn.Identity()
        self.halo = len(self.pgc) * (config.pgc_kernel_size // 2)  # positions that the PGC stack sees on each side

    def forward(
        self,
        embeds: torch.Tensor,
        mask: torch.Tensor | None,
        windows: Windows | None = None,
        positions: slice | None = None,
        context: LyraContext = WHOLE,
        num_layers: int | None = None,
    ) -> LyraModelOutput:
        """The outputs at the emitted positions; with `windows` the first `hidden_states` are rows.

        Args:
            embeds: `(b, l, d)`, or with `windows` those of its tokens, `(rows, d)`.
            mask: `(b, l)`, true at real positions; None where all are.
            positions: those to emit; the others are their neighbours. None for all.
            context: of the sequences; see [`LyraContext`].
            num_layers: how many S4D layers to run; None for all.
        """
        empty = embeds.shape[-2] == 0
        pads = _as_pads(mask)
        neighbours = [None] * len(self.pgc) if windows is None else windows.neighbours
        outputs: tuple[torch.Tensor, ...] = (embeds,)
        for block, around in zip(self.pgc, neighbours, strict=True):
            outputs = (*outputs, embeds if empty else block(outputs[-1], pads, around))
        outputs, inverse = self._select(outputs, windows, positions)
        if mask is not None and positions is not None:
            mask = reduce_mask(mask[:, positions])
            pads = _as_pads(mask)
        for layer in self.layers[:num_layers]:
            outputs = (*outputs, embeds if empty else layer(outputs[-1], pads, inverse, context))
            inverse = None
        last = outputs[-1]
        return LyraModelOutput(
            last_hidden_state=self.final_norm(last),
            pooler_output=self._finalize(context.pool(self.pooler, last, mask), last),
            hidden_states=outputs,
        )

    def _select(
        self, outputs: tuple[torch.Tensor, ...], windows: Windows | None, positions: slice | None
    ) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None]:
        """What the first S4D layer reads at the emitted positions, the last of the outputs, and of rows their
        `inverse`."""
        if windows is not None and windows.inverse is not None:
            return outputs, windows.inverse if positions is None else windows.inverse[:, positions]
        if windows is not None:  # rows, of which the last level has one for each position
            outputs = (*outputs[:-1], outputs[-1].view(*windows.shape, -1))
            return outputs if positions is None else (*outputs[:-1], outputs[-1][:, positions]), None
        return outputs if positions is None else tuple(each[:, positions] for each in outputs), None

    def _finalize(self, pooled: PooledState | None, like: torch.Tensor) -> torch.Tensor:
        """The pooled vectors as the read-out sees them, `(b, pooled_size)`; zeros before the first position."""
        if pooled is None:
            return like.new_zeros(like.shape[0], self.pooled_size)
        return torch.cat([self.final_norm(each.to(like.dtype)) for each in self.pooler.finalize(pooled)], dim=-1)


class LyraPreTrainedModel(PreTrainedModel):
    config_class = LyraConfig
    base_model_prefix = "lyra"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = True
    _no_split_modules = ["LyraPGC", "LyraS4DLayer"]
    # In bf16 the step sizes and frequencies would keep three digits, and K follows them exponentially; a linear term
    # sums hundreds of effects.
    _keep_in_fp32_modules_strict = {"kernel", "D"}

    def post_init(self):
        present = {name.rpartition(".")[2] for name, _ in self.named_modules()}
        self._keep_in_fp32_modules_strict = {"D"} | present & {"kernel", "reverse_kernel", "linear_term", "curve"}
        super().post_init()

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
    elif isinstance(module, (LyraS4DKernel, LyraLinearTerm, LyraExtraTerm, LyraCurve, LyraReverseComplement)):
        module.reset_parameters()
    elif isinstance(module, LyraS4DLayer):
        init.normal_(module.D)
    elif isinstance(module, LyraEmbeddings):
        module.reset_encodings()


# Of a checkpoint with a head: what other models have not.
_OF_SEQUENCE_HEADS = [r"^linear_term\.", r"^extra_term\.", r"^curve\."]
_OF_HEADS = [r"^classifier\.", r"^extra_members\.", r"^lm_head\.", *_OF_SEQUENCE_HEADS]


class LyraModel(LyraPreTrainedModel):
    """The bare Lyra encoder: hidden states of every position and one vector of the whole sequence.

    Args:
        config ([`LyraConfig`]): the architecture.
    """

    _keys_to_ignore_on_load_unexpected = _OF_HEADS

    def __init__(self, config: LyraConfig):
        super().__init__(config)
        self.embeddings = LyraEmbeddings(config)
        self.encoder = LyraEncoder(config)
        self.strands = build_strands(config)
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
                Weights of the letters at each position (a soft sequence), in the alphabet's order; or, of a model with
                `config.input_size`, other features. A float tensor as first argument is taken as these.
            inputs_embeds (`torch.FloatTensor` of shape `(batch_size, sequence_length, hidden_size)`, *optional*):
                What the PGC stack reads.
            output_hidden_states (`bool`, *optional*):
                Whether to return `hidden_states`: the embeddings, then the output of each PGC and of each S4D layer.
                `last_hidden_state` is the last of them, after the final norm where the config has one.
            cache_params ([`LyraCache`], *optional*):
                What the call on the segment before this one returned.
            use_cache (`bool`, *optional*):
                Whether another segment of the same sequences follows. The output then ends a few positions (the halo of
                the PGC stack) before the end of the segment and comes with `cache_params` for the next call, which
                emits those positions first. The last segment, which may be empty, is the one without `use_cache`.
                `last_hidden_state` of all calls, concatenated, and `pooler_output` of the last are those of the whole
                sequence.

        Returns:
            [`LyraModelOutput`].

        Raises:
            ValueError: if not exactly one input is given, shapes do not fit, or a bidirectional model or one of both
                strands gets segments; or such a one `inputs_embeds`, which have no other strand.

        Example:

        ```python
        >>> from lyra import LyraConfig, LyraModel, LyraTokenizer

        >>> inputs = LyraTokenizer()(["MKTAY", "MK"], padding=True, return_tensors="pt")
        >>> LyraModel(LyraConfig())(**inputs).last_hidden_state.shape
        torch.Size([2, 5, 64])
        ```
        """
        if input_ids is not None and input_ids.is_floating_point():
            input_ids, input_features = None, input_ids  # features as the first argument, as a plain module takes them
        if sum(given is not None for given in (input_ids, input_features, inputs_embeds)) != 1:
            raise ValueError("exactly one of `input_ids`, `input_features` and `inputs_embeds` must be given")
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if self.strands is not None and self.strands.is_needed():
            letters = input_ids if input_features is None else input_features
            if letters is None or use_cache or cache_params is not None:
                raise ValueError("`reverse_complement`: needs the letters of whole sequences, to read both strands")
            return self._encode_strands(letters, _find_mask(letters, attention_mask, self.config), output_hidden_states)
        if input_features is not None:
            inputs_embeds = self.embeddings.project(input_features)
        inputs: torch.Tensor = input_ids if inputs_embeds is None else inputs_embeds  # type: ignore[assignment]
        mask = _find_mask(inputs, attention_mask, self.config)
        if cache_params is None and not use_cache:
            return self.encode(inputs, mask, WHOLE, output_hidden_states)
        if self.config.bidirectional:
            raise ValueError(
                "`use_cache`: a bidirectional model also reads sequences from the end, so it cannot process segments "
                "one at a time; use lyra.inference.stream"
            )
        if self.training and any(layer.gradient_checkpointing for layer in self.encoder.layers):
            raise ValueError("`use_cache`: not with gradient checkpointing, which runs a layer twice")
        context = SegmentContext(cache_params, bool(use_cache))
        output = self.encode(inputs, mask, context, output_hidden_states)
        return LyraModelOutput(**output, cache_params=context.next_cache())

    def _encode_letters(
        self, letters: torch.Tensor, mask: torch.Tensor | None, output_hidden_states: bool
    ) -> LyraModelOutput:
        """`encode` of ids `(b, l)` or weights of letters `(b, l, a)`."""
        inputs = self.embeddings.project(letters) if letters.is_floating_point() else letters
        return self.encode(inputs, mask, WHOLE, output_hidden_states)

    def _encode_strands(
        self, letters: torch.Tensor, mask: torch.Tensor | None, output_hidden_states: bool
    ) -> LyraModelOutput:
        """The mean of what both strands give, or in training one of them, positions in the order of the input.

        `hidden_states` are those of one strand, the one that is given or in training the one that is drawn.
        """
        strands: Any = self.strands
        if self.training:
            return self._encode_random_strand(letters, mask, output_hidden_states)
        output = self._encode_letters(letters, mask, output_hidden_states)
        other_letters, other_mask = strands(letters, mask)
        other: Any = self._encode_letters(other_letters, other_mask, False)
        output["last_hidden_state"] = (output["last_hidden_state"] + reverse(other.last_hidden_state, mask)) / 2
        output["pooler_output"] = (output["pooler_output"] + other.pooler_output) / 2
        return output

    def _encode_random_strand(
        self, letters: torch.Tensor, mask: torch.Tensor | None, output_hidden_states: bool
    ) -> LyraModelOutput:
        """One strand of each sequence, drawn at random."""
        strands: Any = self.strands
        is_other = torch.rand(len(letters), 1, device=letters.device) < 0.5
        other, other_mask = strands(letters, mask)
        letters = torch.where(is_other.view(-1, *[1] * (letters.dim() - 1)), other, letters)
        drawn_mask = None if mask is None else torch.where(is_other, other_mask, mask)
        output = self._encode_letters(letters, drawn_mask, output_hidden_states)
        last = output["last_hidden_state"]
        output["last_hidden_state"] = torch.where(is_other.unsqueeze(-1), reverse(last, mask), last)
        return output

    def encode(
        self,
        inputs: torch.Tensor,
        mask: torch.Tensor | None,
        context: LyraContext = WHOLE,
        output_hidden_states: bool = False,
        num_layers: int | None = None,
    ) -> LyraModelOutput:
        """The one traversal of embeddings, PGC stack, S4D layers and pooling, in whatever context the sequences are.

        Args:
            inputs: `(b, l)` ids or `(b, l, d)` embeddings.
            mask: `(b, l)`, true at real positions; None where all are.
            context: where neighbours and states come from and where they go.
            output_hidden_states: whether to return the output of every block.
            num_layers: how many S4D layers to run; None for all.
        """
        inputs, mask, positions = context.with_halo(inputs, mask, self.encoder.halo)
        if positions is not None and positions.start == positions.stop:
            inputs, mask, positions = inputs[:, :0], None, None
        embeds, windows = self._embed(inputs, mask, output_hidden_states)
        output = self.encoder(embeds, mask, windows, positions, context, num_layers)
        if not output_hidden_states:
            output = LyraModelOutput(last_hidden_state=output.last_hidden_state, pooler_output=output.pooler_output)
        return output

    def _embed(
        self, inputs: torch.Tensor, mask: torch.Tensor | None, every_block: bool
    ) -> tuple[torch.Tensor, Windows | None]:
        """The embeddings `(b, l, d)`, or where that is faster those of the distinct windows' tokens, `(rows, d)`."""
        if inputs.is_floating_point():
            return inputs, None
        pgc = self.encoder.pgc
        # A hook on a block, or a caller that wants its output, expects it at every position.
        hooked = any(map(_has_hooks, (self.embeddings, self.encoder, *pgc.modules())))
        if every_block or hooked or not should_deduplicate(inputs):
            return self.embeddings(inputs), None
        windows = distinct_windows(inputs, None if mask is None else ~mask, [self.config.pgc_kernel_size] * len(pgc))
        return self.embeddings(windows.tokens), windows


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
        latents: the shape of `logits`: the sum of all parts of the model, before a curve and the scale of the labels;
            of an ensemble the mean over its members.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    std: torch.Tensor | None = None
    latents: torch.Tensor | None = None


class LyraClassificationModel(LyraPreTrainedModel):
    """What the classification heads share: an encoder, and a linear read-out of its vectors.

    With `config.ensemble_size` k it is an ensemble of k such models: the first is the model itself, the rest are its
    `extra_members`. The logits are the mean over the members, and the loss is the mean of their losses.
    """

    per_token: bool  # whether there are logits for every position

    def __init__(self, config: LyraConfig | None = None, **features: Any):
        if config is not None and features:
            raise TypeError(f"expected a config or keywords of a new one, got a config and {next(iter(features))!r}")
        config = LyraConfig.for_features(**features) if config is None else config
        super().__init__(config)
        _set_default_problem_type(config)
        choose_pipelines(config, self.per_token)
        self.num_labels = config.num_labels
        self.lyra = LyraModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        size = config.hidden_size if self.per_token else self.lyra.encoder.pooled_size
        self.classifier: nn.Module = nn.Linear(size, config.num_labels)
        if size != config.hidden_size:
            # Under another name in the checkpoint, so that a token head, which is narrower, loads from it without.
            self.classifier = nn.Sequential(self.classifier)
        linear = config.linear_term is not None and not self.per_token
        self.linear_term = build_linear_term(config) if linear else None
        extra = config.extra_features is not None and not self.per_token
        self.extra_term = LyraExtraTerm(config) if extra else None
        curve = config.global_epistasis is not None and not self.per_token
        self.curve = LyraCurve(config) if curve else None
        if config.ensemble_size > 1:
            member = copy.deepcopy(config)
            member.ensemble_size = 1
            self.extra_members = nn.ModuleList(type(self)(member) for _ in range(config.ensemble_size - 1))
        self.post_init()

    @classmethod
    def as_ensemble(cls, members: "Sequence[LyraClassificationModel]") -> "LyraClassificationModel":
        """Combines several models into an ensemble: `logits` are their mean, `std` their standard deviation.

        Args:
            members: models of this class with the same config, at least two; of an ensemble each of its members counts.

        Raises:
            ValueError: if there are fewer, or their configs differ.
        """
        singles = [single for model in members for single in model.members()]
        settings = [{name: getattr(model.config, name) for name in _settings(model.config)} for model in singles]
        first = settings[0] if settings else {}
        differing = [name for name in first if any(each[name] != first[name] for each in settings)]
        if len(singles) < 2 or differing:
            raise ValueError(
                "`members` must be at least two models with the same config, got "
                + (f"different `{differing[0]}`" if differing else f"{len(singles)}")
            )
        config = copy.deepcopy(singles[0].config)
        config.ensemble_size, config.calibration = len(singles), None
        ensemble = cls(config)
        for member, model in zip(ensemble.members(), singles, strict=True):
            member.load_state_dict(_first_member(model.state_dict()), strict=member is not ensemble)
        return ensemble.train(members[0].training)

    def members(self) -> "list[LyraClassificationModel]":
        """The models of an ensemble, the first of which is `self`; of any other model itself."""
        return [self, *getattr(self, "extra_members", [])]

    def read_out(
        self,
        vectors: torch.Tensor,
        contributions: torch.Tensor | None = None,
        extra_features: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`(..., d)` to logits `(..., labels)`: on the scale of training, and in label units.

        Args:
            contributions: of the linear term, where there is one, `(..., labels)`.
            extra_features: where the model reads some, `(..., features)`.

        Raises:
            ValueError: if `extra_features` are missing, or the model reads none.
        """
        return self.bend(self.add_up(vectors, contributions, extra_features))

    def add_up(
        self,
        vectors: torch.Tensor,
        contributions: torch.Tensor | None = None,
        extra_features: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The latent sum of all parts of the model, arguments and errors as of `read_out`."""
        latent = self.classifier(self.dropout(vectors))
        if self.extra_term is not None:
            latent = latent + self.extra_term(extra_features)
        elif extra_features is not None:
            raise ValueError("`extra_features`: this model reads none (`config.extra_features`)")
        return latent if contributions is None else latent + contributions

    def bend(self, latent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Latent sums `(..., labels)` to logits: on the scale of training, and in label units."""
        logits = latent if self.curve is None else self.curve(latent)
        return logits, to_label_units(logits, self.config)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        extra_features: torch.Tensor | None = None,
        **kwargs,
    ) -> LyraClassifierOutput:
        r"""
        Args:
            input_ids, attention_mask, input_features, inputs_embeds, output_hidden_states:
                See [`LyraModel.forward`].
            extra_features (`torch.Tensor` of shape `(batch_size, n)`, *optional*):
                What `config.extra_features` names, in their own units, for models that read some.
            labels (`torch.Tensor`, *optional*):
                Of a sequence head `(batch_size,)` class indices or values of one regression, or
                `(batch_size, num_labels)` values, where NaN marks a missing measurement and -100 a missing class. Of a
                token head the same for each position, `(batch_size, sequence_length)` or
                `(batch_size, sequence_length, num_labels)`; -100, or NaN among floats, is ignored.
            num_items_in_batch (`int` or scalar tensor, *optional*):
                What the summed loss is divided by, given by the Trainer so that the loss does not depend on
                accumulation steps or processes. By default the number of labels present.

        Returns:
            [`LyraClassifierOutput`]; for a float tensor as first argument, which is taken as `input_features`, and no
            labels, the logits alone, as of a plain module.
        """
        _refuse_cache(kwargs)
        settings: dict[str, Any] = {
            "output_hidden_states": output_hidden_states,
            "num_items_in_batch": num_items_in_batch,
            "extra_features": extra_features,
        }
        inputs = (input_ids, attention_mask, input_features, inputs_embeds)
        if input_ids is not None and input_ids.is_floating_point():
            inputs = (None, attention_mask, input_ids, inputs_embeds)
            if labels is None and kwargs.get("return_dict", self.config.return_dict) is not False:
                return self._forward_members(inputs, **settings, return_dict=True).logits
        return self._forward_members(inputs, labels, **settings, return_dict=kwargs.get("return_dict"))

    @can_return_tuple
    def _forward_members(
        self,
        inputs: tuple[torch.Tensor | None, ...],
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        extra_features: torch.Tensor | None = None,
    ) -> LyraClassifierOutput:
        """`forward` of all members."""
        *_, inputs_embeds = inputs
        if inputs_embeds is not None and self.config.ensemble_size > 1:
            raise ValueError("`inputs_embeds` are of one model, and every member of an ensemble has its own")
        outputs = [
            member._forward_member(inputs, labels, output_hidden_states, num_items_in_batch, extra_features)
            for member in self.members()
        ]
        return outputs[0] if len(outputs) == 1 else self._combine(outputs)

    def _forward_member(
        self,
        inputs: tuple[torch.Tensor | None, ...],
        labels: torch.Tensor | None,
        output_hidden_states: bool | None,
        num_items_in_batch: torch.Tensor | int | None,
        extra_features: torch.Tensor | None,
    ) -> LyraClassifierOutput:
        """`forward` of one member."""
        outputs = self.lyra(*inputs, output_hidden_states, return_dict=True)
        vectors = outputs.last_hidden_state if self.per_token else outputs.pooler_output
        latents = self.add_up(vectors, self._contributions(*inputs), extra_features)
        raw, logits = self.bend(latents)
        loss = None
        if labels is not None:
            loss = reduce_losses(*head_losses(raw, labels, self.config, self.per_token), num_items_in_batch)
        return LyraClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            latents=latents,
        )

    def _contributions(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        input_features: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
    ) -> torch.Tensor | None:
        """Of the linear term, `(b, labels)`."""
        if self.linear_term is None:
            return None
        inputs = input_ids if input_features is None else input_features
        if inputs is None:
            raise ValueError("`inputs_embeds`: a linear term reads letters, from `input_ids` or `input_features`")
        return self.linear_term(inputs, _find_mask(inputs, attention_mask, self.config))

    def _combine(self, outputs: list[LyraClassifierOutput]) -> LyraClassifierOutput:
        logits, std = mean_and_std([output.logits for output in outputs], self.config)  # type: ignore[misc]
        losses = [output.loss for output in outputs if output.loss is not None]
        return LyraClassifierOutput(
            loss=torch.stack(losses).mean() if losses else None,
            logits=logits,
            hidden_states=outputs[0].hidden_states,
            std=std,
            latents=torch.stack([output.latents for output in outputs]).mean(dim=0),  # type: ignore[misc]
        )


class LyraForSequenceClassification(LyraClassificationModel):
    """Lyra with a linear read-out of the pooled sequence: regression, single-label or multi-label classification.

    With `config.linear_term` a linear term of the letters is added, and with `config.global_epistasis` the sum passes
    through a curve ([`lyra.linear_lyra`]). `config.problem_type` chooses; without it one label means regression, and
    otherwise float labels mean multi-label.
    """

    per_token = False

    def explain_polynomial(
        self,
        input_ids: torch.Tensor,
        sites: Sequence[int],
        tokens: Sequence[Sequence[int]] | None = None,
        order: int | None = None,
        reference: str = "mean",
    ) -> LyraPolynomial:
        """The model over some sites of a sequence as a polynomial: how much each letter contributes, each pair of
        letters, and so on, exactly, by all combinations of letters at the sites.

        Args:
            input_ids (`torch.LongTensor` of shape `(sequence_length,)`): the sequence; its letters elsewhere stay.
            sites: positions, from 0.
            tokens: ids of the letters at each site; by default its own, then the others of the alphabet.
            order: the size of the largest sets of sites whose coefficients are returned, by default at most 2.
            reference: what coefficients are relative to: `"mean"` over the letters of a site, or its `"first"` letter.

        Returns:
            [`LyraPolynomial`], of the logits.

        Raises:
            ValueError: naming the argument that cannot be used, or if the model is in training mode.

        Example:

        ```python
        >>> from lyra import LyraConfig, LyraForSequenceClassification, LyraTokenizer

        >>> model = LyraForSequenceClassification(LyraConfig(alphabet="dna", num_labels=1)).eval()
        >>> (ids,) = LyraTokenizer("dna")("ACGTAC", return_tensors="pt").input_ids
        >>> model.explain_polynomial(ids, sites=[1, 4]).coefficients[0, 1].shape
        torch.Size([4, 4, 1])
        ```
        """
        if self.training:
            raise ValueError("the model must be in evaluation mode, call model.eval() first")
        alphabet, sites = get_alphabet(self.config.alphabet), as_integers(sites, "sites")
        if tokens is None and len(alphabet.members) > 1:
            raise ValueError("`tokens` must be given for a model of pairs of sequences")
        if tokens is None:
            letters = [len(SPECIAL_TOKENS) + i for i in range(len(alphabet.letters))]
            own = input_ids.flatten().tolist()
            if unclear := [site for site in sites if site in range(len(own)) and own[site] not in letters]:
                raise ValueError(f"`tokens` must be given: position {unclear[0]} is not one letter of the alphabet")
            tokens = [[*own[site : site + 1], *(t for t in letters if t not in own[site : site + 1])] for site in sites]
        size = len(self.lyra.embeddings.encodings)
        if wrong := [t for each in tokens for t in as_integers(each, "tokens") if not 0 <= t < size]:
            raise ValueError(f"`tokens` must be ids from 0 to {size - 1}, got {wrong[0]}")
        ids = input_ids.to(self.device)
        order = min(2, len(sites)) if order is None else order
        return expand(lambda each: self(each).logits, ids, sites, tokens, order, reference)


class LyraForTokenClassification(LyraClassificationModel):
    """Lyra with a linear read-out of every position: the same three problem types per residue."""

    per_token = True
    _keys_to_ignore_on_load_unexpected = _OF_SEQUENCE_HEADS


class LyraForMaskedLM(LyraPreTrainedModel):
    """Lyra with a read-out over the vocabulary. A causal model sees only what is before a masked position, so that
    pre-training needs `bidirectional=True`."""

    def __init__(self, config: LyraConfig):
        if config.reverse_complement:
            raise ValueError("`reverse_complement`: not of a masked language model, whose letters differ by strand")
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
        _refuse_cache(kwargs)
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
        config = LyraConfig.for_features(
            d_input, d_model, d_output, num_pgc_layers, num_s4_layers, d_state, dropout, pool or "mean"
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
        output = self.encoder(embeds, _as_mask(mask, embeds))
        return self.decoder(self.dropout(output.last_hidden_state if self.pool is None else output.pooler_output))

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
    return reduce_mask(mask.to(inputs.device) != 0)


def _find_mask(inputs: torch.Tensor, attention_mask: torch.Tensor | None, config: LyraConfig) -> torch.Tensor | None:
    """The mask `(b, l)`, true where real; without one, pads are found among ids."""
    if attention_mask is None and not inputs.is_floating_point():
        attention_mask = inputs.ne(int(config.pad_token_id or 0))
    return _as_mask(attention_mask, inputs)


def _as_pads(mask: torch.Tensor | None) -> torch.Tensor | None:
    """`(b, l)`, true where real, to `(b, l, 1)`, true where not."""
    return None if mask is None else ~mask.unsqueeze(-1)


def _look_up(rows: torch.Tensor, index: torch.Tensor, channel_major: bool = False) -> torch.Tensor:
    """The row of `(rows, d)` at each position of `(b, l)`, `(b, l, d)`; if asked, with channels apart in memory."""
    if channel_major:
        return rows.t().index_select(1, index.flatten()).unflatten(1, index.shape).permute(1, 2, 0)
    return rows.index_select(0, index.flatten()).unflatten(0, index.shape)


def _has_hooks(module: nn.Module) -> bool:
    return any((module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks))


def _refuse_cache(kwargs: dict[str, Any]) -> None:
    """Raises ValueError if a head is given what only the bare model takes."""
    if kwargs.get("use_cache") or kwargs.get("cache_params") is not None:
        raise ValueError(
            "`use_cache` and `cache_params`: the heads read whole sequences; lyra.inference.stream reads segments with "
            "a head, and LyraModel (`.lyra` of every head) carries the cache"
        )


def _settings(config: LyraConfig) -> list[str]:
    """What two members of an ensemble must have in common."""
    own = ("ensemble_size", "calibration")
    return ["num_labels", "problem_type", *(name for name in LyraConfig.__annotations__ if name not in own)]


def _first_member(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith("extra_members.")}


def mean_and_std(logits: Sequence[torch.Tensor], config: LyraConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits of an ensemble, the mean of those of its members, and the standard deviation of their values in label
    units or of each class's probability."""
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


LyraModel.register_for_auto_class("AutoModel")
LyraForMaskedLM.register_for_auto_class("AutoModelForMaskedLM")
LyraForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
LyraForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")

__all__ = [
    "Lyra",
    "LyraClassificationModel",
    "LyraClassifierOutput",
    "LyraForMaskedLM",
    "LyraForSequenceClassification",
    "LyraForTokenClassification",
    "LyraModel",
    "LyraModelOutput",
    "LyraPreTrainedModel",
]
