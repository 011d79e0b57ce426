"""Linear attention learned from a model's own softmax attention: LoLCATs (Zhang et al. 2024, arXiv 2410.10254).

Feature maps (section 3.1; Hedgehog, arXiv 2402.04347) and a sliding window (section 3.3) replace the softmax over all
keys: query n sees the keys of a window by their exponentials and all others by a product of features,

    y_n = ( sum_{j in window} g exp(q_n k_j s - c_n) v_j + phi(q_n) sum_{j outside} phi(k_j)^T v_j ) / (same of v = 1)

with phi(x) = [softmax(x W), softmax(-x W)], a gate g in (0, 1) for each head, the model's own scale s, and c_n the
largest exponent of the window. A decoder's window is the last w positions and "outside" is before it; an encoder's is
|n - j| < w and outside is on both sides. The features outside are summed once, so that time is linear in length and
what a decoder has to remember does not grow.

This file needs torch and transformers only: it travels with exported checkpoints.

Glossary: b batch, h query heads, l length, d head size, e head size of values, f feature size, w window, c chunk
length, m keys that a chunk of queries sees one by one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import bidirectional_mask_function, causal_mask_function, sdpa_mask

LINEAR = "lolcats"  # attention implementation: what was learned
TEACHER = "lolcats_teacher"  # the model's own attention, which those who learn from it observe
SOFTMAX = "sdpa"
_PLAIN_MASKS = (causal_mask_function, bidirectional_mask_function)
_UNSUPPORTED = {
    "softcap": "soft caps of attention logits",
    "s_aux": "attention sinks",
    "position_bias": "a position bias of attention logits",
    "cache": "a paged cache",
    "output_attentions": "output_attentions",
}
_CHUNK = 128
_SEGMENT = 4096  # queries at a time, so that what is computed on the way stays in the processor's cache


class UnsupportedAttentionError(NotImplementedError):
    """Something that linear attention cannot do, by its name.

    Attributes:
        what: a noun.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"linear attention does not support {what}")
        self.what = what


# ── Mathematics ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Inputs(NamedTuple):
    """Queries, keys and values of all heads, and features; those of pads are zero.

    Attributes:
        q, k, v: (b, h, queries, d), (b, h, keys, d), (b, h, keys, e).
        phi_q, phi_k: (b, h, queries, 2f), (b, h, keys, 2f).
    """

    q: Tensor
    k: Tensor
    v: Tensor
    phi_q: Tensor
    phi_k: Tensor


def feature_map(x: Tensor, weight: Tensor) -> Tensor:
    """phi(x) = [softmax(x W), softmax(-x W)], at least 1e-12 (section 3.1).

    Args:
        x: queries or keys, (b, h, l, d).
        weight: W, (h, d, f).

    Returns:
        (b, h, l, 2f).
    """
    projected = x @ weight  # (b, h, l, f)
    return torch.cat([projected.softmax(-1), (-projected).softmax(-1)], dim=-1).clamp_min(1e-12)


def attention_weights(
    q: Tensor, k: Tensor, phi_q: Tensor, phi_k: Tensor, gate: Tensor, scale: float, inside: Tensor, outside: Tensor
) -> Tensor:
    """Weights of keys that are seen one by one, before normalisation.

    Args:
        q, phi_q: (..., c, d), (..., c, 2f).
        k, phi_k: (..., m, d), (..., m, 2f).
        gate: broadcasts to (..., 1, 1).
        inside, outside: which keys are in the window of a query and which are not; those in neither are not seen,
            (..., c, m).

    Returns:
        (..., c, m).
    """
    return window_weights(q, k, gate, scale, inside) + (phi_q @ phi_k.mT).masked_fill(~outside, 0.0)


def window_weights(q: Tensor, k: Tensor, gate: Tensor, scale: float, inside: Tensor) -> Tensor:
    """Those of the keys in the window, (..., c, m); the other ones have zero."""
    logits = (q @ k.mT * scale).masked_fill(~inside, -torch.inf)
    largest = logits.amax(-1, keepdim=True)
    largest = largest.masked_fill(largest == -torch.inf, 0.0)  # of a query that has no key in its window, a pad
    return gate * (logits - largest).exp()


def quadratic(inputs: Inputs, gate: Tensor, scale: float, window: int, causal: bool, real: Tensor) -> Tensor:
    """All attention weights, normalised: the definition, in quadratic time. The queries are the last of the keys.

    Args:
        gate: (h,).
        real: which keys are no pads, (b, keys).

    Returns:
        (b, h, queries, keys).
    """
    q, k, _, phi_q, phi_k = inputs
    positions = torch.arange(k.shape[-2], device=k.device)
    distance = positions[k.shape[-2] - q.shape[-2] :, None] - positions
    near, seen = _near(distance, window, causal), real[:, None, None]
    outside = (distance >= window) if causal else ~near
    weights = attention_weights(q, k, phi_q, phi_k, gate[:, None, None], scale, near & seen, outside & seen)
    return weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)


def _near(distance: Tensor, window: int, causal: bool) -> Tensor:
    return ((distance >= 0) if causal else (distance > -window)) & (distance < window)


class LinearState:
    """What is outside the windows of all later queries, summed.

    Attributes:
        values: sum of phi(k_j)^T v_j, (b, h, 2f, e).
        norms: sum of phi(k_j), (b, h, 2f).
    """

    def __init__(self, values: Tensor, norms: Tensor) -> None:
        self.values, self.norms = values, norms

    @classmethod
    def of(cls, phi_k: Tensor, v: Tensor) -> "LinearState":
        return cls(phi_k.mT @ v, phi_k.sum(-2))

    def __add__(self, other: "LinearState") -> "LinearState":
        return LinearState(self.values + other.values, self.norms + other.norms)

    def map(self, function: Callable[[Tensor], Tensor]) -> "LinearState":
        return LinearState(function(self.values), function(self.norms))


def chunked(
    inputs: Inputs,
    gate: Tensor,
    scale: float,
    window: int,
    causal: bool,
    real: Tensor,
    left: int = 0,
    before: LinearState | None = None,
    after: LinearState | None = None,
) -> Tensor:
    """The outputs of consecutive queries in linear time.

    Chunks of c queries see the keys from w - 1 before the chunk to its end (an encoder: to w - 1 after it) one by one,
    and the sums of the features of all keys before (and after) those.

    Args:
        inputs: keys are those of the queries, with up to w - 1 more before them and, of an encoder, after them.
        gate: (h,).
        real: which keys are no pads, (b, keys).
        left: how many keys come before that of the first query.
        before, after: the sums over what is further away than these keys.

    Returns:
        (b, h, queries, e).
    """
    q, k, v, phi_q, phi_k = inputs
    length, margin = q.shape[-2], window - 1
    size = min(_CHUNK, length)
    count = -(-length // size)
    spare = count * size - length
    q, phi_q = (_pad(x, 0, spare).unflatten(-2, (count, size)) for x in (q, phi_q))  # (b, h, count, c, ·)
    ends = (margin - left, spare + (0 if causal else margin) - (k.shape[-2] - left - length))
    k, v, phi_k = (_pad(x, *ends) for x in (k, v, phi_k))
    real = F.pad(real, ends)
    prefix = _sums(phi_k[..., : count * size, :], v[..., : count * size, :], size, before)
    band = size + (margin if causal else 2 * margin)
    all_sums = [prefix]
    if not causal:
        all_sums.append(_sums(phi_k[..., 2 * margin :, :], v[..., 2 * margin :, :], size, after, backward=True))
    k, v, phi_k = (x.unfold(-2, band, size).mT for x in (k, v, phi_k))  # (b, h, count, m, ·)
    distance = torch.arange(size, device=q.device)[:, None] + margin - torch.arange(band, device=q.device)
    near = _near(distance, window, causal)
    outside = (distance >= window) if causal else ~near
    seen = real.unfold(-1, band, size)[:, None, :, None]  # (b, 1, count, 1, m)
    gate = gate[:, None, None, None]
    weights = attention_weights(q, k, phi_q, phi_k, gate, scale, near & seen, outside & seen)
    above, below = weights @ v, weights.sum(-1, keepdim=True)
    for sums in all_sums:
        above = above + phi_q @ sums.values
        below = below + phi_q @ sums.norms[..., None]
    output = above / below.clamp_min(torch.finfo(below.dtype).tiny)
    return output.flatten(2, 3)[..., :length, :]


def _pad(x: Tensor, before: int, after: int) -> Tensor:
    return F.pad(x, (0, 0, before, after))


def _sums(phi_k: Tensor, v: Tensor, size: int, state: LinearState | None, backward: bool = False) -> LinearState:
    """For each chunk the sums over a state and all chunks before it (after it), (b, h, count, 2f, e) of values."""
    phi_k, v = (x.unflatten(-2, (-1, size)) for x in (phi_k, v))
    chunks = LinearState.of(phi_k, v)

    def exclusive(x: Tensor, first: Tensor | None) -> Tensor:
        first = torch.zeros_like(x[:, :, :1]) if first is None else first[:, :, None]
        if backward:
            return torch.cat([x[:, :, 1:], first], dim=2).flip(2).cumsum(2).flip(2)
        return torch.cat([first, x[:, :, :-1]], dim=2).cumsum(2)

    values, norms = (None, None) if state is None else (state.values, state.norms)
    return LinearState(exclusive(chunks.values, values), exclusive(chunks.norms, norms))


def recurrent(
    q: Tensor, k: Tensor, v: Tensor, phi_q: Tensor, gate: Tensor, scale: float, real: Tensor, state: LinearState
) -> Tensor:
    """The output of one query from the keys of its window, its own the last, and the sums over all before.

    Args:
        q, phi_q: (b, h, 1, d), (b, h, 1, 2f).
        k, v, real: of the window, (b, h, w, d), (b, h, w, e), (b, w).

    Returns:
        (b, h, 1, e).
    """
    weights = window_weights(q, k, gate[:, None, None], scale, real[:, None, None])
    above = weights @ v + phi_q @ state.values
    below = weights.sum(-1, keepdim=True) + phi_q @ state.norms[..., None]
    return above / below.clamp_min(torch.finfo(below.dtype).tiny)


# ── What is learned, and what is remembered ──────────────────────────────────────────────────────────────────────────


class LolcatsAttention(nn.Module):
    """The feature maps and gates of one attention layer, of which it is the child `lolcats`.

    Args:
        heads: query heads.
        head_dim: size of their queries and keys.
        feature_size: f.
        window: w.
        causal: whether this is a layer of a decoder.
    """

    def __init__(self, heads: int, head_dim: int, feature_size: int, window: int, causal: bool) -> None:
        super().__init__()
        self.window, self.causal = window, causal
        self.linear = True  # without it only the window is seen
        self.query_map = nn.Parameter(torch.empty(heads, head_dim, feature_size))
        self.key_map = nn.Parameter(torch.empty(heads, head_dim, feature_size))
        self.gate = nn.Parameter(torch.empty(heads))
        self.cache_layer: LolcatsCacheLayer | None = None  # of the forward that is under way
        self.observer: Callable[..., None] | None = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Both maps begin as the same random one, so that a query is close to the keys that it resembles; gates are
        0.1."""
        with torch.no_grad():
            self.key_map.normal_(std=self.key_map.shape[1] ** -0.5)
            self.query_map.copy_(self.key_map)
            self.gate.fill_(torch.logit(torch.tensor(0.1)))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None) -> Tensor:
        """Attention in linear time.

        Args:
            q: queries after the rotary embedding, (b, h, queries, d).
            k, v: keys and values, of as many heads or of groups of them, those in the cache first.
            scale: of the products of queries and keys.
            mask: 1 for tokens and 0 for pads, (b, keys or more); the last are those of the keys.

        Returns:
            (b, h, queries, e).
        """
        with torch.autocast(q.device.type, enabled=False):  # sums over a sequence need single precision
            return self._forward(q, k, v, scale, mask)

    def _forward(self, q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None) -> Tensor:
        layer, self.cache_layer = self.cache_layer, None
        state, real = None if layer is None else layer.state, real_keys(k, mask)
        gate = self.gate.to(working_dtype(q)).sigmoid()
        if q.shape[-2] == 1 and state is not None:
            leaving = max(0, k.shape[-2] - self.window + 1)  # only these keys need features
            inputs = self._prepare(q, k[..., :leaving, :], v[..., :leaving, :], real[:, :leaving])
            keys, values = (repeat_heads(x, q.shape[1]).to(gate.dtype) for x in (k, v))
            output = recurrent(inputs.q, keys, values, inputs.phi_q, gate, scale, real, state)
            state = _add(state, inputs, leaving)
        else:
            output, state = self._segments(q, k, v, gate, scale, real, state)
        if layer is not None:
            layer.state = state
        return output

    def _segments(
        self, q: Tensor, k: Tensor, v: Tensor, gate: Tensor, scale: float, real: Tensor, state: LinearState | None
    ) -> tuple[Tensor, LinearState | None]:
        """The outputs of all queries, a segment at a time, and the sums over what is outside all later windows."""
        margin, total = self.window - 1, k.shape[-2]
        past = total - q.shape[-2]
        starts = range(0, q.shape[-2], _SEGMENT)
        after: list[LinearState | None] = [None] * len(starts)
        if not self.causal:  # from the end: what comes after the keys that a segment sees one by one
            for i in range(len(starts) - 1, 0, -1):
                later = slice(starts[i] + margin, starts[i] + _SEGMENT + margin)
                inputs = self._prepare(q[..., :0, :], k[..., later, :], v[..., later, :], real[:, later])
                after[i - 1] = _add(after[i], inputs, total)
        outputs = []
        for start, later_sums in zip(starts, after, strict=True):
            end = min(start + _SEGMENT, q.shape[-2])
            low, high = max(0, past + start - margin), past + end + (0 if self.causal else margin)
            seen = real[:, low:high]
            inputs = self._prepare(q[..., start:end, :], k[..., low:high, :], v[..., low:high, :], seen)
            left = past + start - low
            settings = (scale, self.window, self.causal, seen, left, state, later_sums)
            outputs.append(chunked(inputs, gate, *settings))
            state = _add(state, inputs, past + end - margin - low)
        return torch.cat(outputs, dim=-2), state

    def _prepare(self, q: Tensor, k: Tensor, v: Tensor, real: Tensor) -> Inputs:
        """The inputs of all heads, in single precision at least."""
        dtype = working_dtype(q)
        q, k, v = q.to(dtype), *(repeat_heads(x, q.shape[1]).to(dtype) for x in (k, v))
        phi_q, phi_k = feature_map(q, self.query_map.to(dtype)), feature_map(k, self.key_map.to(dtype))
        return Inputs(q, k, v, phi_q, phi_k * (real[:, None, :, None] if self.linear else 0.0))

    def weights(self, q: Tensor, k: Tensor, scale: float, mask: Tensor | None) -> Tensor:
        """The attention weights that [`forward`] applies without forming them, (b, h, queries, keys)."""
        real = real_keys(k, mask)
        with torch.autocast(q.device.type, enabled=False):
            gate = self.gate.to(working_dtype(q)).sigmoid()
            return quadratic(self._prepare(q, k, k, real), gate, scale, self.window, self.causal, real)


def _add(state: LinearState | None, inputs: Inputs, count: int) -> LinearState | None:
    """A state and the first keys and values of some inputs."""
    if count <= 0:
        return state
    first = LinearState.of(inputs.phi_k[..., :count, :], inputs.v[..., :count, :])
    return first if state is None else state + first


def working_dtype(x: Tensor) -> torch.dtype:
    """Sums over a whole sequence need single precision at least."""
    return torch.promote_types(x.dtype, torch.float32)


def softmax_weights(own: LolcatsAttention, q: Tensor, k: Tensor, scale: float, mask: Tensor | None) -> Tensor:
    """The attention weights of the model itself, (b, h, queries, keys)."""
    dtype = working_dtype(q)
    seen = real_keys(k, mask)[:, None, None]
    if own.causal:
        seen = seen & torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
    logits = q.to(dtype) @ repeat_heads(k, q.shape[1]).to(dtype).mT * scale
    return logits.masked_fill(~seen, torch.finfo(dtype).min).softmax(-1)


def real_keys(k: Tensor, mask: Tensor | None) -> Tensor:
    """Which keys are no pads, (b, l)."""
    if mask is None:
        return torch.ones(k.shape[0], k.shape[-2], dtype=torch.bool, device=k.device)
    if mask.shape[-1] < k.shape[-2]:
        raise UnsupportedAttentionError(f"a mask of {mask.shape[-1]} positions, fewer than the {k.shape[-2]} keys")
    return mask[:, mask.shape[-1] - k.shape[-2] :].bool()


def repeat_heads(x: Tensor, heads: int) -> Tensor:
    """Keys or values of groups of heads, once for each query head."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)


class LolcatsCacheLayer(CacheLayerMixin):
    """What a decoder's layer remembers: the last w - 1 keys and values, and the sums over all before.

    Its size does not depend on how many tokens were seen.
    """

    is_sliding = False

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window, self.seen = window, 0
        self.state: LinearState | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Appends keys and values; returns those of the window before, and the new ones."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.seen += key_states.shape[-2]
        keys, values = torch.cat([self.keys, key_states], dim=-2), torch.cat([self.values, value_states], dim=-2)
        start = max(0, keys.shape[-2] - self.window + 1)
        self.keys, self.values = keys[:, :, start:].clone(), values[:, :, start:].clone()  # a view would keep it all
        return keys, values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.seen + query_length, 0

    def get_seq_length(self) -> int:
        return self.seen

    def get_max_length(self) -> int:
        return -1

    def crop(self, tokens_to_remove: int) -> None:
        raise UnsupportedAttentionError("assisted decoding, for which sums would have to be cropped")

    def _apply(self, function: Callable[[Tensor], Tensor]) -> None:
        if self.is_initialized:
            self.keys, self.values = function(self.keys), function(self.values)
            self.state = None if self.state is None else self.state.map(function)

    def reset(self) -> None:
        self.keys, self.values, self.state = None, None, None  # type: ignore[assignment]
        self.is_initialized, self.seen = False, 0

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self._apply(lambda x: x.index_select(0, beam_idx.to(x.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._apply(lambda x: x.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        self._apply(lambda x: x[indices])


# ── The interface of transformers ────────────────────────────────────────────────────────────────────────────────────


def attach(model: PreTrainedModel, window: int, layers: dict[str, dict[str, Any]]) -> None:
    """Gives attention modules their maps and makes the model use them.

    Args:
        layers: arguments of [`LolcatsAttention`] for each attention module, by its name in the model.
    """
    for name, sizes in layers.items():
        module = model.get_submodule(name)
        weight = next(module.parameters())
        module.lolcats = LolcatsAttention(window=window, **sizes).to(weight.device)
        module.register_forward_pre_hook(_hand_over_cache, with_kwargs=True)
    set_implementation(model, LINEAR)


def set_implementation(model: PreTrainedModel, name: str) -> None:
    """Makes a model and the models in it use an attention implementation."""
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            module.config._attn_implementation = name


def attention_layers(model: nn.Module) -> dict[str, LolcatsAttention]:
    """The maps of a model by the names of their attention modules."""
    return {
        name.removesuffix(".lolcats"): module
        for name, module in model.named_modules()
        if isinstance(module, LolcatsAttention)
    }


def _hand_over_cache(module: Any, args: tuple, kwargs: dict[str, Any]) -> None:
    """Gives the maps of a module its layer of the cache, which the attention function is not told of."""
    module.lolcats.cache_layer = None  # an exception may have left that of another call
    cache = next((value for value in (*args, *kwargs.values()) if isinstance(value, Cache)), None)
    if cache is None:
        return
    if module.config._attn_implementation == LINEAR:
        module.lolcats.cache_layer = _cache_layer(cache, module.layer_idx, module.lolcats)
    elif any(isinstance(layer, LolcatsCacheLayer) for layer in cache.layers):
        raise UnsupportedAttentionError("a cache of linear attention in another attention")


def _cache_layer(cache: Cache, index: int, own: LolcatsAttention) -> LolcatsCacheLayer:
    """The layer of a cache, put there if the cache is new."""
    if not own.causal:
        raise UnsupportedAttentionError("a cache in an encoder")
    if cache.offloading:
        raise UnsupportedAttentionError("an offloaded cache")
    while len(cache.layers) <= index and cache.layer_class_to_replicate is not None:
        cache.layers.append(cache.layer_class_to_replicate())
    layer = cache.layers[index]
    if not isinstance(layer, LolcatsCacheLayer):
        if type(layer) is not DynamicLayer:
            raise UnsupportedAttentionError(f"a cache other than DynamicCache ({type(layer).__name__})")
        if layer.get_seq_length():
            raise UnsupportedAttentionError("a cache that another attention has filled; begin with a new one")
        layer = cache.layers[index] = LolcatsCacheLayer(own.window)
    return layer


def linear_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention function `lolcats`: linear where a module has maps, the softmax elsewhere. There is no dropout of
    attention weights, which are never formed."""
    own = getattr(module, "lolcats", None)
    if own is None:
        return softmax_attention(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    check_call(attention_mask, kwargs)
    if key.shape[-2] != query.shape[-2] and own.cache_layer is None:
        raise UnsupportedAttentionError("cross-attention")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    output = own(query, key, value, scale, attention_mask)
    return output.to(value.dtype).transpose(1, 2).contiguous(), None


def teacher_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention function `lolcats_teacher`: the softmax everywhere, shown to the observers of modules with maps."""
    output, weights = softmax_attention(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    own = getattr(module, "lolcats", None)
    if own is not None and own.observer is not None:
        check_call(attention_mask, kwargs)
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        own.observer(own, query, key, value, scale, attention_mask, output.transpose(1, 2))
    return output, weights


def softmax_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Any]:
    """The model's own attention, given a mask of [`plain_mask`]."""
    queries, keys = query.shape[-2], key.shape[-2]
    # Without a mask, sdpa would align several queries with the first keys of a cache instead of the last.
    continues = attention_mask is None and 1 < queries < keys
    if continues or (attention_mask is not None and attention_mask.dim() == 2):
        attention_mask = sdpa_mask(
            batch_size=query.shape[0],
            q_length=queries,
            kv_length=keys,
            q_offset=keys - queries,
            mask_function=causal_mask_function if module.is_causal else bidirectional_mask_function,
            attention_mask=None if attention_mask is None else attention_mask.bool(),
            allow_is_causal_skip=False,
            device=query.device,
        )
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


def plain_mask(
    *args: Any, mask_function: Callable = causal_mask_function, attention_mask: Tensor | None = None, **kwargs: Any
) -> Tensor | None:
    """The mask of pads, (b, keys), where that says all; a mask with more structure is (b, 1, queries, keys)."""
    if mask_function in _PLAIN_MASKS:
        return attention_mask
    kwargs |= {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    return sdpa_mask(*args, mask_function=mask_function, attention_mask=attention_mask, **kwargs)


def check_call(attention_mask: Tensor | None, kwargs: dict[str, Any]) -> None:
    """Raises UnsupportedAttentionError for what linear attention cannot do."""
    for name, meaning in _UNSUPPORTED.items():
        if kwargs.get(name) is not None and kwargs[name] is not False:
            raise UnsupportedAttentionError(meaning)
    if attention_mask is not None and attention_mask.dim() == 4:
        raise UnsupportedAttentionError("a 4D attention mask, or packed sequences (position_ids that start again)")


for _name, _function in ((LINEAR, linear_attention), (TEACHER, teacher_attention)):
    AttentionInterface.register(_name, _function)
    AttentionMaskInterface.register(_name, plain_mask)
