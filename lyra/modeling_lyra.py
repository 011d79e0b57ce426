"""PyTorch Lyra model (Ramesh, Siddiqui, Gu, Mitzenmacher, Sabeti 2025, arXiv 2503.16351).

Glossary of the shape comments: b batch, l length, v vocabulary, a letters of the alphabet, d hidden_size, h channels
(= d), n state_size, r expansion.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import (
    BaseModelOutputWithPooling,
    MaskedLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import can_return_tuple

from .alphabet_lyra import get_alphabet
from .configuration_lyra import LyraConfig
from .ssm_lyra import fft_convolution, s4d_kernel

IGNORE_INDEX = -100


class LyraRMSNorm(nn.Module):
    """`x / sqrt(mean(x^2) + eps) * weight` over the channels, with the mean in fp32 or better."""

    def __init__(self, channels: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = _at_least_fp32(x)
        # Written out because on CPU the backward of the library's fused rms_norm takes about twice as long.
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return normed.to(x.dtype) * self.weight.to(x.dtype)


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


class LyraPGC(GradientCheckpointingLayer):
    """Projected gated convolution: a local, second-order interaction of neighbouring positions."""

    def __init__(self, config: LyraConfig, expansion: float):
        super().__init__()
        channels = int(expansion * config.hidden_size)  # rd
        self.residual = config.pgc_residual
        self.in_proj = nn.Linear(config.hidden_size, 2 * channels)
        self.in_norm = LyraRMSNorm(2 * channels, config.rms_norm_eps)
        self.conv = nn.Conv1d(
            channels, channels, config.pgc_kernel_size, padding=config.pgc_kernel_size // 2, groups=channels
        )
        self.out_proj = nn.Linear(channels, config.hidden_size)
        self.out_norm = LyraRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, hidden_states: torch.Tensor, pads: torch.Tensor | None) -> torch.Tensor:
        x, gate = self.in_norm(self.in_proj(hidden_states)).chunk(2, dim=-1)  # (b, l, rd) each
        if pads is not None:
            x = x.masked_fill(pads, 0)  # the projection's bias made them non-zero
        x = self.conv(x.transpose(1, 2)).transpose(1, 2)
        y = self.out_norm(self.out_proj(gate * x))  # (b, l, d)
        return hidden_states + y if self.residual else y


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

    def forward(self, length: int, dtype: torch.dtype) -> torch.Tensor:
        log_dt, log_A_real, A_imag, C = (p.to(dtype) for p in (self.log_dt, self.log_A_real, self.A_imag, self.C))
        return s4d_kernel(log_dt, log_A_real, A_imag, C, length)  # (h, l)


class LyraS4DLayer(GradientCheckpointingLayer):
    """Pre-norm residual block around the S4D convolution."""

    def __init__(self, config: LyraConfig):
        super().__init__()
        self.dropout_prob = config.hidden_dropout_prob
        self.norm = LyraRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.kernel = LyraS4DKernel(config)
        self.reverse_kernel = LyraS4DKernel(config) if config.bidirectional else None
        self.D = nn.Parameter(torch.empty(config.hidden_size))
        self.output_linear = nn.Linear(config.hidden_size, 2 * config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden_states: torch.Tensor, pads: torch.Tensor | None) -> torch.Tensor:
        u = self.norm(hidden_states)
        if pads is not None:
            u = u.masked_fill(pads, 0)
        y = F.gelu(self.convolve(u))  # (b, l, h)
        # One draw per sequence and channel, tied along the length.
        y = y * F.dropout(y.new_ones(y.shape[0], 1, y.shape[2]), self.dropout_prob, self.training)
        y = F.glu(self.output_linear(y), dim=-1)
        return hidden_states + self.dropout(y)

    def convolve(self, u: torch.Tensor) -> torch.Tensor:
        """`conv(u, K) + D u` in fp32 (fp64 for fp64 input) under any autocast; returns the dtype of `u`."""
        with torch.autocast(device_type=u.device.type, enabled=False):
            wide = _at_least_fp32(u)
            length = u.shape[1]
            kernel = self.kernel(length, wide.dtype)
            reverse_kernel = self.reverse_kernel(length, wide.dtype) if self.reverse_kernel is not None else None
            y = fft_convolution(wide, kernel, reverse_kernel) + self.D.to(wide.dtype) * wide
            return y.to(u.dtype)


class LyraEncoder(nn.Module):
    """The PGC stack and the S4D layers, and what a read-out sees of them."""

    def __init__(self, config: LyraConfig):
        super().__init__()
        self.pooling = config.pooling
        self.pgc = nn.ModuleList(LyraPGC(config, expansion) for expansion in config.pgc_expansion_factors)
        self.layers = nn.ModuleList(LyraS4DLayer(config) for _ in range(config.num_hidden_layers))
        self.final_norm = LyraRMSNorm(config.hidden_size, config.rms_norm_eps) if config.final_norm else nn.Identity()

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        """Returns the input and the output of every block, each `(b, l, d)`; `mask` is `(b, l)`, true where real."""
        if hidden_states.shape[1] == 0:
            raise ValueError("every sequence must have at least one position, got length 0")
        pads = None if mask is None else ~mask.unsqueeze(-1)  # (b, l, 1)
        states = [hidden_states]
        for block in (*self.pgc, *self.layers):
            states.append(block(states[-1], pads))
        return tuple(states)

    def pool(self, hidden_states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """`(b, l, d)` to `(b, d)` over the real positions; zeros for a sequence without any."""
        if mask is None:
            mask = torch.ones(hidden_states.shape[:2], dtype=torch.bool, device=hidden_states.device)
        mask = mask.to(hidden_states.device)  # the last layer may be on another device than the first
        columns = mask.unsqueeze(-1)  # (b, l, 1)
        if self.pooling == "mean":
            # At least fp32: a sum of 65,536 positions overflows fp16, and bf16 cannot count beyond 256.
            total = torch.where(columns, _at_least_fp32(hidden_states), 0).sum(dim=1)
            return (total / mask.sum(dim=1, keepdim=True).clamp(min=1)).to(hidden_states.dtype)
        if self.pooling == "max":
            highest = hidden_states.masked_fill(~columns, -torch.inf).amax(dim=1)
            return torch.where(mask.any(dim=1, keepdim=True), highest, 0)
        first = mask.int().argmax(dim=1)
        last = mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)
        position = first if self.pooling == "first" else last  # (b,)
        chosen = torch.where(columns, hidden_states, 0)
        return chosen.gather(1, position.view(-1, 1, 1).expand(-1, 1, chosen.shape[-1])).squeeze(1)


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
    if isinstance(module, (nn.Linear, nn.Conv1d)):
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
        **kwargs,
    ) -> BaseModelOutputWithPooling:
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

        Returns:
            [`BaseModelOutputWithPooling`]: `last_hidden_state` `(batch_size, sequence_length, hidden_size)`,
            `pooler_output` `(batch_size, hidden_size)`.

        Raises:
            ValueError: if not exactly one input is given, or shapes do not fit.

        Example:

        ```python
        >>> from lyra import LyraConfig, LyraModel, LyraTokenizer

        >>> inputs = LyraTokenizer()(["MKTAY", "MK"], padding=True, return_tensors="pt")
        >>> LyraModel(LyraConfig())(**inputs).last_hidden_state.shape
        torch.Size([2, 5, 64])
        ```
        """
        if input_ids is not None and attention_mask is None:
            attention_mask = input_ids != self.config.pad_token_id
        embeds = self._embed(input_ids, input_features, inputs_embeds)
        mask = _as_mask(attention_mask, embeds)
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states

        hidden_states = self.encoder(embeds, mask)
        return BaseModelOutputWithPooling(
            last_hidden_state=self.encoder.final_norm(hidden_states[-1]),
            pooler_output=self.encoder.final_norm(self.encoder.pool(hidden_states[-1], mask)),
            hidden_states=hidden_states if output_hidden_states else None,
        )

    def _embed(
        self,
        input_ids: torch.Tensor | None,
        input_features: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
    ) -> torch.Tensor:
        """The one input that is given, as `(b, l, d)`."""
        if sum(given is not None for given in (input_ids, input_features, inputs_embeds)) == 1:
            if input_ids is not None:
                return self.embeddings(input_ids)
            if input_features is not None:
                return self.embeddings.project(input_features)
            if inputs_embeds is not None:
                return inputs_embeds
        raise ValueError("exactly one of `input_ids`, `input_features` and `inputs_embeds` must be given")


class LyraForSequenceClassification(LyraPreTrainedModel):
    """Lyra with a linear read-out of the pooled sequence: regression, single-label or multi-label classification.

    `config.problem_type` chooses; without it one label means regression, and otherwise float labels mean multi-label.
    """

    def __init__(self, config: LyraConfig):
        super().__init__(config)
        _set_default_problem_type(config)
        self.num_labels = config.num_labels
        self.lyra = LyraModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

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
    ) -> SequenceClassifierOutput:
        r"""
        Args:
            input_ids, attention_mask, input_features, inputs_embeds, output_hidden_states:
                See [`LyraModel.forward`].
            labels (`torch.Tensor`, *optional*):
                `(batch_size,)` class indices or values of one regression, or `(batch_size, num_labels)` values. NaN
                marks a missing measurement, -100 a missing class.
            num_items_in_batch (`int` or scalar tensor, *optional*):
                What the summed loss is divided by, given by the Trainer so that the loss does not depend on
                accumulation steps or processes. By default the number of labels present.

        Returns:
            [`SequenceClassifierOutput`] with `logits` `(batch_size, num_labels)`, for a regression in label units.
        """
        outputs = self.lyra(
            input_ids, attention_mask, input_features, inputs_embeds, output_hidden_states, return_dict=True
        )
        logits = self.classifier(self.dropout(outputs.pooler_output))
        return SequenceClassifierOutput(
            loss=_head_loss(logits, labels, self.config, num_items_in_batch, per_token=False),
            logits=_in_label_units(logits, self.config),
            hidden_states=outputs.hidden_states,
        )


class LyraForTokenClassification(LyraPreTrainedModel):
    """Lyra with a linear read-out of every position: the same three problem types per residue."""

    def __init__(self, config: LyraConfig):
        super().__init__(config)
        _set_default_problem_type(config)
        self.num_labels = config.num_labels
        self.lyra = LyraModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

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
    ) -> TokenClassifierOutput:
        r"""
        Args:
            input_ids, attention_mask, input_features, inputs_embeds, output_hidden_states:
                See [`LyraModel.forward`].
            labels (`torch.Tensor`, *optional*):
                `(batch_size, sequence_length)` class indices or values of one regression, or
                `(batch_size, sequence_length, num_labels)` values. -100, or NaN among floats, is ignored.
            num_items_in_batch (`int` or scalar tensor, *optional*):
                See [`LyraForSequenceClassification.forward`].

        Returns:
            [`TokenClassifierOutput`] with `logits` `(batch_size, sequence_length, num_labels)`, for a regression in
            label units.
        """
        outputs = self.lyra(
            input_ids, attention_mask, input_features, inputs_embeds, output_hidden_states, return_dict=True
        )
        logits = self.classifier(self.dropout(outputs.last_hidden_state))
        return TokenClassifierOutput(
            loss=_head_loss(logits, labels, self.config, num_items_in_batch, per_token=True),
            logits=_in_label_units(logits, self.config),
            hidden_states=outputs.hidden_states,
        )


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
        outputs = self.lyra(
            input_ids, attention_mask, input_features, inputs_embeds, output_hidden_states, return_dict=True
        )
        logits = self.lm_head(outputs.last_hidden_state)
        loss = None
        if labels is not None:
            loss = _reduce(*_cross_entropy(logits, labels), num_items_in_batch)
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
        pool: `"mean"`, `"max"`, `"first"`, `"last"`, or `None` for an output at every position.

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
        self.decoder = nn.Linear(d_model, d_output)
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
        if self.pool is not None:
            hidden_states = self.encoder.pool(hidden_states, mask)
        return self.decoder(self.dropout(self.encoder.final_norm(hidden_states)))

    def count_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def _at_least_fp32(x: torch.Tensor) -> torch.Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _as_mask(mask: torch.Tensor | None, hidden_states: torch.Tensor) -> torch.Tensor | None:
    if mask is None:
        return None
    if mask.shape != hidden_states.shape[:2]:
        raise ValueError(
            f"`attention_mask` must have shape (batch_size, sequence_length) = {tuple(hidden_states.shape[:2])}, "
            f"got {tuple(mask.shape)}"
        )
    return mask.to(hidden_states.device) != 0


def _set_default_problem_type(config: LyraConfig) -> None:
    # The text-classification pipeline would otherwise squash a single output through a sigmoid.
    if config.problem_type is None and config.num_labels == 1:
        config.problem_type = "regression"


def _label_scale(config: LyraConfig, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the labels, each `(1,)` or `(num_labels,)`."""
    wide = _at_least_fp32(like)
    mean, std = (
        wide.new_tensor(value if isinstance(value, (list, tuple)) else [value])
        for value in (config.label_mean, config.label_std)
    )
    return mean, std


def _in_label_units(logits: torch.Tensor, config: LyraConfig) -> torch.Tensor:
    if config.problem_type != "regression" or config.label_mean is None:
        return logits
    mean, std = _label_scale(config, logits)
    return logits * std + mean


def _head_loss(
    logits: torch.Tensor,
    labels: torch.Tensor | None,
    config: LyraConfig,
    num_items_in_batch: torch.Tensor | int | None,
    per_token: bool,
) -> torch.Tensor | None:
    """Loss of a sequence or token head; `logits` of a regression are standardised, `labels` in their own units."""
    if labels is None:
        return None
    labels = labels.to(logits.device)
    problem_type = config.problem_type
    if problem_type is None:
        problem_type = "multi_label_classification" if labels.is_floating_point() else "single_label_classification"
    if problem_type == "single_label_classification":
        return _reduce(*_cross_entropy(logits, labels), num_items_in_batch)

    if labels.numel() != logits.numel():
        raise ValueError(f"`labels` must have shape {tuple(logits.shape)}, got {tuple(labels.shape)}")
    logits = _at_least_fp32(logits)
    labels = labels.reshape(logits.shape).to(logits.dtype)
    present = ~labels.isnan()
    if per_token or problem_type == "multi_label_classification":
        present = present & (labels != IGNORE_INDEX)  # elsewhere -100 may be a measurement
    labels = torch.where(present, labels, 0)  # before any arithmetic: a NaN would survive into the gradients
    if problem_type == "multi_label_classification":
        losses = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    else:
        if config.label_mean is not None:
            mean, std = _label_scale(config, logits)
            labels = (labels - mean) / std
        losses = (logits - labels).square()
    return _reduce(losses, present, num_items_in_batch)


def _cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of each label and whether it is present, both flat."""
    if labels.shape != logits.shape[:-1]:
        raise ValueError(f"`labels` must have shape {tuple(logits.shape[:-1])}, got {tuple(labels.shape)}")
    labels = labels.to(logits.device).reshape(-1)
    logits = _at_least_fp32(logits).reshape(-1, logits.shape[-1])
    return F.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="none"), labels != IGNORE_INDEX


def _reduce(losses: torch.Tensor, present: torch.Tensor, num_items_in_batch: torch.Tensor | int | None) -> torch.Tensor:
    count = present.sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch, device=losses.device)
    return torch.where(present, losses, 0).sum() / count.clamp(min=1)


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
