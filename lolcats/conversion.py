"""Making the attention of a model linear, where that is possible."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import bidirectional_mask_function, causal_mask_function

from lyra.errors import InputError, one_line

from .configuration_lolcats import LolcatsConfig
from .modeling_lolcats import (
    SOFTMAX,
    UnsupportedAttentionError,
    attach,
    attention_layers,
    check_call,
    set_implementation,
)

_PROBE = "lolcats_probe"
_PROBE_LENGTH = 4
_MIN_FEATURES = 64
_CAUSAL, _BIDIRECTIONAL, _STRUCTURED = range(3)


@dataclass
class _Found:
    """What one attention module was called with."""

    name: str
    module: nn.Module
    heads: int
    head_dim: int
    mask: int | None
    other: dict[str, Any]
    crossed: bool


def linearize(model: nn.Module, config: LolcatsConfig | None = None) -> LolcatsConfig:
    """Gives a model linear attention, in place; its feature maps are not trained yet ([`transfer`] does that).

    Sliding layers, and those that are not attention, stay as they are.

    Args:
        model: any transformers model whose attention goes through `AttentionInterface`, on its device, or a PEFT model
            of one.

    Returns:
        the config, with what was found.

    Raises:
        InputError: names what of the model cannot be made linear.
    """
    config = config or LolcatsConfig()
    base = base_of(model)
    if attention_layers(base):
        raise InputError(f"{type(base).__name__}: its attention is linear already")
    if base.config.is_encoder_decoder or getattr(base.config, "add_cross_attention", False):
        raise InputError(f"{type(base).__name__}: has cross-attention, which LoLCATs cannot make linear")
    found = find_attention(base)
    chosen = _choose(found, config)
    for each in chosen:
        _check(each, type(base).__name__)
    config.attention = {
        each.name: {
            "heads": each.heads,
            "head_dim": each.head_dim,
            "feature_size": config.feature_size or max(each.head_dim, _MIN_FEATURES),
            "causal": each.mask == _CAUSAL,
        }
        for each in chosen
    }
    config.base_model = config.base_model or base.config._name_or_path or None
    config.base_revision = config.base_revision or getattr(base.config, "_commit_hash", None)
    attach(base, config.window, config.attention)
    refuse_plain_saving(base)
    return config


def refuse_plain_saving(model: PreTrainedModel) -> None:
    """`from_pretrained` of what `save_pretrained` writes would give the softmax model, so that it is refused."""
    model.save_pretrained = _refuse_saving  # type: ignore[method-assign]


def _refuse_saving(*args: Any, **kwargs: Any) -> None:
    raise UnsupportedAttentionError("save_pretrained; use lolcats.save, or lolcats.export for a model of its own")


def base_of(model: nn.Module) -> PreTrainedModel:
    """The transformers model in a PEFT model, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator, return-value]


def find_attention(model: PreTrainedModel) -> list[_Found]:
    """The attention modules of a model in the order in which it calls them, found by a forward of a few tokens."""
    names = {id(module): name for name, module in model.named_modules()}
    found: dict[int, _Found] = {}

    def record(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any):
        other = {name: each for name, each in kwargs.items() if each is not None}
        heads, length, size = query.shape[1:]
        kind = None if mask is None or mask.dim() != 1 else int(mask[0])
        crossed = key.shape[-2] != length
        found.setdefault(id(module), _Found(names[id(module)], module, heads, size, kind, other, crossed))
        return query.new_zeros(query.shape[0], length, heads, value.shape[-1]), None

    def kind_of_mask(*args: Any, mask_function: Any = causal_mask_function, device: Any = "cpu", **kwargs: Any):
        kinds = {causal_mask_function: _CAUSAL, bidirectional_mask_function: _BIDIRECTIONAL}
        return torch.tensor([kinds.get(mask_function, _STRUCTURED)], device=device)

    AttentionInterface.register(_PROBE, record)
    AttentionMaskInterface.register(_PROBE, kind_of_mask)
    training = model.training
    ids = torch.zeros(1, _PROBE_LENGTH, dtype=torch.long, device=model.device)
    try:
        with torch.no_grad(), implementation(model, _PROBE):
            model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids))
    except Exception as error:  # of any model
        raise InputError(
            f"{type(model).__name__}: expected a model that takes ids alone ({one_line(error)})"
        ) from error
    finally:
        model.train(training)
    return list(found.values())


def _choose(found: list[_Found], config: LolcatsConfig) -> list[_Found]:
    """The layers that the config names; of all those that are not sliding."""
    if not found:
        raise InputError("expected a model whose attention goes through transformers' AttentionInterface, found none")
    if isinstance(config.layers, list):
        if wrong := [number for number in config.layers if number >= len(found)]:
            raise InputError(f"layers: expected numbers below {len(found)}, the attention layers, got {wrong[0]}")
        return [found[number] for number in sorted(set(config.layers))]
    chosen = [each for each in found if not _is_sliding(each)]
    if not chosen:
        raise InputError("expected attention over all positions, found sliding layers only, which are linear already")
    return chosen


def _is_sliding(each: _Found) -> bool:
    return each.mask == _STRUCTURED or each.other.get("sliding_window") is not None


def _check(each: _Found, model: str) -> None:
    """Raises InputError for what linear attention cannot do."""
    where = f"{model}, {each.name}"
    if _is_sliding(each):
        raise InputError(
            f"{where}: sees a sliding window or another part of the sequence only, so that it stays as it is"
        )
    if each.crossed:
        raise InputError(f"{where}: cross-attention cannot be made linear")
    try:
        check_call(None, each.other)
    except UnsupportedAttentionError as error:
        raise InputError(f"{where}: has {error.what}, which LoLCATs cannot make linear") from None
    if each.mask is None:
        raise InputError(
            f"{where}: its mask is not made by transformers' mask functions, so that padding would be lost"
        )
    if not hasattr(each.module, "config"):
        raise InputError(f"{where}: expected an attention module with its config")


@contextmanager
def implementation(model: nn.Module, name: str) -> Iterator[None]:
    """Another attention for a while: `SOFTMAX` is the base model's own."""
    models = [module for module in base_of(model).modules() if isinstance(module, PreTrainedModel)]
    before = [module.config._attn_implementation for module in models]
    set_implementation(base_of(model), name)
    try:
        yield
    finally:
        for module, own in zip(models, before, strict=True):
            module.config._attn_implementation = own


@contextmanager
def window_only(model: nn.Module) -> Iterator[None]:
    """The linear part off for a while: what the windows alone can do."""
    layers = attention_layers(model).values()
    for layer in layers:
        layer.linear = False
    try:
        yield
    finally:
        for layer in layers:
            layer.linear = True


__all__ = ["SOFTMAX", "base_of", "find_attention", "implementation", "linearize", "refuse_plain_saving", "window_only"]
