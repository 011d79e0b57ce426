"""Calibration of a finished model by rows that it did not learn from: the temperature of its probabilities (Guo et al.
2017), and the scores behind intervals and sets ([`lyra.conformal`])."""

from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import optimize, special

from ..configuration_lyra import LyraConfig
from ..conformal import LEVELS, assess, confidences, expected_calibration_error, fit_scores, reliability
from ..data.labels import IGNORE_INDEX
from ..data.preparation import Prepared
from ..errors import InputError
from ..inference.logits import Predictions, logits_of_split, to_items, to_values
from ..modeling_lyra import LyraClassificationModel

LEVEL = 0.9  # that records and cards are about
_EXTREME = 5.0  # logarithm of a temperature


class Held(NamedTuple):
    """Predictions for items that the model behind them did not learn from.

    Attributes:
        values: `(items, outputs)`, of a regression in label units, else probabilities.
        stds: of an ensemble, `(items, outputs)`; else None.
        labels: `(items, ...)`.
    """

    values: np.ndarray
    stds: np.ndarray | None
    labels: np.ndarray


def hold(data: Prepared, split: str, predictions: Predictions) -> Held:
    """The predictions for a split, as calibration needs them."""
    stds = None if predictions.stds is None else to_items(predictions.stds).astype(float)
    return Held(to_values(data.task.kind, to_items(predictions.logits).astype(float)), stds, data.label_array(split))


@torch.no_grad()
def scale_logits(model: LyraClassificationModel, data: Prepared) -> list[float] | None:
    """Divides the logits by the temperature, of several labels each its own, that makes the validation labels most
    likely; returns the temperatures, None of a regression."""
    kind = data.task.kind
    if kind == "regression":
        return None
    logits = to_items(logits_of_split(model, data, "validation").logits).astype(float)
    labels = data.label_array("validation")
    if kind == "classification":
        temperatures = [_temperature(kind, logits, labels)]
    else:
        columns = zip(logits.T, labels.reshape(logits.shape).T, strict=True)
        temperatures = [_temperature(kind, *each) for each in columns]
    for member in model.members():
        for parameter in member.classifier.parameters():
            scales = torch.tensor(temperatures).to(parameter)
            parameter.div_(scales if parameter.ndim == 1 else scales[:, None])
        for term in (member.linear_term, member.extra_term):
            if term is not None:
                term.weight.div_(torch.tensor(temperatures).to(term.weight))
    return [round(each, 4) for each in temperatures]


def _temperature(kind: str, logits: np.ndarray, labels: np.ndarray) -> float:
    """Of logits `(n, classes)` and class indices, or `(n,)` and ones and zeros; near 1 where labels are few."""
    present = labels != IGNORE_INDEX if kind == "classification" else ~np.isnan(labels)
    logits, labels = logits[present], labels[present]

    def loss(logarithm: float) -> float:
        scaled = logits / np.exp(logarithm)
        if kind == "classification":
            likelihood = special.log_softmax(scaled, axis=1)[np.arange(len(labels)), labels].sum()
        else:
            likelihood = (labels * scaled - np.logaddexp(0, scaled)).sum()
        return float(logarithm**2 / 2 - likelihood)

    return float(np.exp(optimize.minimize_scalar(loss, bounds=(-_EXTREME, _EXTREME), method="bounded").x))


def calibrate(
    config: LyraConfig, data: Prepared, predictions: dict[str, Predictions], folds: list[Held] | None = None
) -> dict[str, Any]:
    """Stores the scores of validation labels, or those of the test labels of all folds of a cross-validation.

    Args:
        config: of the model, changed in place.
        predictions: for the splits that are scored.

    Returns:
        For the record: how well intervals or sets hold for the test split, or of folds for each by the others' scores.
    """
    kind = data.task.kind
    known = folds or [hold(data, "validation", predictions["validation"])]
    if config.ensemble_size == 1 or any(each.stds is None for each in known):
        known = [each._replace(stds=None) for each in known]
    config.calibration = _fit(kind, known)
    if folds:
        pairs = [(_fit(kind, known[:i] + known[i + 1 :]), each) for i, each in enumerate(known)]
    else:
        pairs = [
            (config.calibration, hold(data, split, predictions[split])) for split in data.scored if split == "test"
        ]
    usable = [(scores, each) for scores, each in pairs if scores is not None]
    if config.calibration is None or not usable:
        return {}
    return {"rows": config.calibration["rows"], "level": LEVEL} | _assess(kind, usable)


def _fit(kind: str, known: list[Held]) -> dict[str, Any] | None:
    values, labels = (np.concatenate([getattr(each, name) for each in known]) for name in ("values", "labels"))
    stds = None if known[0].stds is None else np.concatenate([each.stds for each in known])  # type: ignore[misc]
    return fit_scores(kind, values, stds, labels)


def _assess(kind: str, pairs: list[tuple[dict[str, Any], Held]]) -> dict[str, Any]:
    """Means over the pairs of scores and predictions; without coverage where the rows are too few for it."""

    def at(level: float) -> dict[str, float]:
        found = [assess(kind, scores, *each, level) for scores, each in pairs]
        return {key: float(np.mean([each[key] for each in found])) for key in found[0]}

    try:
        record: dict[str, Any] = at(LEVEL)
    except InputError:
        return {}
    if kind == "regression":
        curve = [(level, at(level)["coverage"]) for level in LEVELS]
        error = float(np.mean([abs(level - coverage) for level, coverage in curve]))
        return record | {"calibration_error": error, "reliability": curve}
    confidence, right = map(
        np.concatenate, zip(*(confidences(kind, h.values, h.labels) for _, h in pairs), strict=True)
    )
    error = expected_calibration_error(confidence, right)
    return record | {"calibration_error": error, "reliability": reliability(confidence, right)}
