"""Losses of the heads, the scale on which labels are trained on, and reduction over devices and accumulation steps.

A regression is trained on standardised labels, on the normal scores of their ranks, or on the means of both, and its
logits are in label units. A new kind of problem is one more entry of `LOSSES`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from .configuration_lyra import LyraConfig
from .execution_lyra import at_least_fp32

IGNORE_INDEX = -100

Losses = tuple[torch.Tensor, torch.Tensor]  # the loss of each label, and whether that label is present


def head_losses(logits: torch.Tensor, labels: torch.Tensor, config: LyraConfig, per_token: bool) -> Losses:
    """The losses of a sequence or token head.

    Args:
        logits: `(b, labels)` or `(b, l, labels)`, of a regression on the scale of training.
        labels: `(b,)` or `(b, l)` class indices, or values of the shape of `logits` in label units.

    Raises:
        ValueError: if the labels have another shape, or the problem type is unknown.
    """
    labels = labels.to(logits.device)
    problem_type = config.problem_type
    if problem_type is None:
        problem_type = "multi_label_classification" if labels.is_floating_point() else "single_label_classification"
    if problem_type not in LOSSES:
        raise ValueError(f"`problem_type` must be one of {tuple(LOSSES)}, got {problem_type!r}")
    return LOSSES[problem_type](logits, labels, config, per_token)


def _regression(logits: torch.Tensor, labels: torch.Tensor, config: LyraConfig, per_token: bool) -> Losses:
    # In a sequence head -100 may be a measurement.
    logits, labels, present = _values(logits, labels, ignore=per_token)
    return (logits - to_training_scale(labels, config)).square(), present


def _single_label(logits: torch.Tensor, labels: torch.Tensor, config: LyraConfig, per_token: bool) -> Losses:
    return cross_entropy(logits, labels, _tensor(config.class_weights, logits))


def _multi_label(logits: torch.Tensor, labels: torch.Tensor, config: LyraConfig, per_token: bool) -> Losses:
    logits, labels, present = _values(logits, labels, ignore=True)
    weights = _tensor(config.class_weights, logits)
    return F.binary_cross_entropy_with_logits(logits, labels, pos_weight=weights, reduction="none"), present


# By `LyraConfig.problem_type`.
LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor, LyraConfig, bool], Losses]] = {
    "regression": _regression,
    "single_label_classification": _single_label,
    "multi_label_classification": _multi_label,
}


def _values(
    logits: torch.Tensor, labels: torch.Tensor, ignore: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits and labels at least in fp32, the labels of the same shape and zero where absent, and where present.

    Args:
        ignore: whether -100 means that a label is absent; NaN always does.
    """
    if labels.numel() != logits.numel():
        raise ValueError(f"`labels` must have shape {tuple(logits.shape)}, got {tuple(labels.shape)}")
    logits = at_least_fp32(logits)
    labels = labels.reshape(logits.shape).to(logits.dtype)
    present = ~labels.isnan()
    if ignore:
        present = present & (labels != IGNORE_INDEX)
    return logits, torch.where(present, labels, 0), present  # a NaN would survive arithmetic into the gradients


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None) -> Losses:
    """The loss of each class index, flat; -100 marks an absent one."""
    if labels.shape != logits.shape[:-1]:
        raise ValueError(f"`labels` must have shape {tuple(logits.shape[:-1])}, got {tuple(labels.shape)}")
    labels = labels.to(logits.device).reshape(-1)
    logits = at_least_fp32(logits).reshape(-1, logits.shape[-1])
    losses = F.cross_entropy(logits, labels, weights, ignore_index=IGNORE_INDEX, reduction="none")
    return losses, labels != IGNORE_INDEX


def reduce_losses(
    losses: torch.Tensor, present: torch.Tensor, num_items_in_batch: torch.Tensor | int | None
) -> torch.Tensor:
    """The sum over the labels that are present, divided by `num_items_in_batch` or by their number."""
    total = torch.where(present, losses, 0).sum()
    if isinstance(num_items_in_batch, int):
        return total / max(1, num_items_in_batch)
    count = present.sum() if num_items_in_batch is None else num_items_in_batch.to(losses.device)
    return total / count.clamp(min=1)


# ── The scale of labels ──────────────────────────────────────────────────────────────────────────────────────────────


def to_label_units(logits: torch.Tensor, config: LyraConfig) -> torch.Tensor:
    """Logits `(..., labels)` of a regression from the scale of training to label units; others as they are."""
    if config.problem_type != "regression":
        return logits
    if config.label_quantiles is not None:
        quantiles, scores = _quantiles(config, logits)
        knots = scores.expand_as(quantiles)
        if config.label_mean is not None:
            knots = (knots + _standardised(quantiles.mT, config).mT) / 2
        each = zip(at_least_fp32(logits).unbind(-1), knots, quantiles, strict=True)
        return torch.stack([_interpolate(x, y, _break_ties(z)) for x, y, z in each], dim=-1)
    if config.label_mean is None:
        return logits
    mean, std = _label_scale(config, logits)
    return at_least_fp32(logits) * std + mean


def to_training_scale(labels: torch.Tensor, config: LyraConfig) -> torch.Tensor:
    """Labels `(..., num_labels)` of a regression as normal scores, standardised, halfway between, or as they are."""
    standardised = labels if config.label_mean is None else _standardised(labels, config)
    if config.label_quantiles is None:
        return standardised
    quantiles, scores = _quantiles(config, labels)
    each = zip(labels.unbind(-1), quantiles, strict=True)
    ranked = torch.stack([_normal_scores(x, y, scores) for x, y in each], dim=-1)
    return ranked if config.label_mean is None else (ranked + standardised) / 2


def _standardised(labels: torch.Tensor, config: LyraConfig) -> torch.Tensor:
    mean, std = _label_scale(config, labels)
    return (labels - mean) / std


def _label_scale(config: LyraConfig, like: torch.Tensor) -> tuple[Any, Any]:
    """Mean and standard deviation of the labels: numbers, or `(num_labels,)` each."""
    mean, std = (
        _tensor(value, like) if isinstance(value, (list, tuple)) else value
        for value in (config.label_mean, config.label_std)
    )
    return mean, std


def _tensor(numbers: Sequence[Any] | None, like: torch.Tensor) -> torch.Tensor | None:
    """Numbers of the config as a tensor on the device of another one, at least fp32."""
    if numbers is None:
        return None
    # Without blocking: the step of a GPU must not wait for a few numbers.
    return torch.tensor(numbers, dtype=at_least_fp32(like).dtype).to(like.device, non_blocking=True)


def _quantiles(config: LyraConfig, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantiles of the training labels, `(num_labels, count)`, and their normal scores, `(count,)`."""
    quantiles = torch.atleast_2d(_tensor(config.label_quantiles, like))  # type: ignore[arg-type]
    quantiles, count = quantiles.expand(like.shape[-1], -1), quantiles.shape[1]
    probabilities = (torch.arange(count, device=quantiles.device, dtype=quantiles.dtype) + 0.5) / count
    return quantiles, torch.special.ndtri(probabilities)


def _normal_scores(labels: torch.Tensor, quantiles: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Normal score of each label: interpolated between two quantiles; of tied quantiles that of their mean rank;
    outside, that of the first or the last one."""
    labels, count = labels.contiguous(), len(quantiles)
    low, high = torch.searchsorted(quantiles, labels), torch.searchsorted(quantiles, labels, right=True)
    left, right = (low - 1).clamp(min=0), low.clamp(max=count - 1)
    width = quantiles[right] - quantiles[left]
    share = torch.where(width > 0, (labels - quantiles[left]) / torch.where(width > 0, width, 1), 0)
    between = torch.lerp(scores[left], scores[right], share)
    tied = torch.special.ndtri(((low + high) / 2).clamp(0.5, count - 0.5).to(scores.dtype) / count)
    return torch.where(high > low, tied, between)


def _break_ties(quantiles: torch.Tensor) -> torch.Tensor:
    """Quantiles of which tied ones rise by a thousandth of the step to the next, so that no two predictions tie."""
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
    """Piecewise linear through ascending knots, extrapolated along the first and the last line: cautiously, beyond the
    labels that were seen."""
    right = torch.searchsorted(knots, x.contiguous()).clamp(1, len(knots) - 1)
    left = right - 1
    slope = (values[right] - values[left]) / (knots[right] - knots[left])
    return values[left] + slope * (x - knots[left])


__all__ = ["IGNORE_INDEX", "LOSSES", "cross_entropy", "head_losses", "reduce_losses", "to_label_units"]
