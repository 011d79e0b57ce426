"""Intervals and sets that hold a new label with a given probability: split conformal prediction.

On rows that a model did not learn from, each label has a score, how far it is from its prediction; a new label has a
score below the k-th smallest of n with a probability of at least k / (n + 1), whatever the model, if its row is like
these (Vovk et al. 2005; Angelopoulos and Bates 2021). Scores: of a value |y - prediction|, of an ensemble over the
standard deviation of its members plus their mean (Lei et al. 2018); of a class 1 - its probability (Sadinle et al.
2019); of a label 1 - the probability of being as it is.

`values` are predictions, or probabilities, `(n, outputs)`; `stds` those of an ensemble or None.
"""

import math
from typing import Any

import numpy as np

from .data.labels import IGNORE_INDEX
from .errors import InputError

_MOST_SCORES = 1000  # that are stored; of more, as many quantiles
_AGREEMENT = 0.01  # deviation over error, below which members agree
_BINS = 15
LEVELS = tuple(round(0.1 * i, 1) for i in range(1, 10))


def fit_scores(kind: str, values: np.ndarray, stds: np.ndarray | None, labels: np.ndarray) -> dict[str, Any] | None:
    """What a config stores of the scores; None where an output has no label.

    Args:
        kind: of the task.
        labels: `(n,)` class indices, or `(n, outputs)` with NaN where missing.
    """
    floors = _floors(values, stds, labels) if kind == "regression" and stds is not None else None
    scores = _scores(kind, values, stds, labels, floors)
    if not all(map(len, scores)):
        return None
    return {"rows": [len(each) for each in scores], "floors": floors, "scores": [_stored(each) for each in scores]}


def _floors(values: np.ndarray, stds: np.ndarray, labels: np.ndarray) -> list[float] | None:
    """The mean deviation of each output; None where members agree so well that it says nothing of their errors."""
    means, errors = stds.mean(axis=0), np.nanmean(np.abs(labels.reshape(values.shape) - values), axis=0)
    return means.tolist() if (means > _AGREEMENT * errors).all() else None


def _scores(
    kind: str, values: np.ndarray, stds: np.ndarray | None, labels: np.ndarray, floors: list[float] | None
) -> list[np.ndarray]:
    """Those of each output, of classes one array; without missing labels."""
    if kind == "classification":
        rows = np.flatnonzero(labels.reshape(-1) != IGNORE_INDEX)
        return [1 - values[rows, labels.reshape(-1)[rows].astype(int)]]
    labels = labels.reshape(values.shape)
    if kind == "multilabel":
        scores = np.where(labels > 0.5, 1 - values, values)
    else:
        scores = np.abs(labels - values) / _widths(values, stds, floors)
    return [each[present] for each, present in zip(scores.T, ~np.isnan(labels).T, strict=True)]


def _widths(values: np.ndarray, stds: np.ndarray | None, floors: list[float] | None) -> np.ndarray:
    """What the scores of values are measured in."""
    return np.ones_like(values) if floors is None else stds + np.array(floors)  # type: ignore[operator]


def _stored(scores: np.ndarray) -> list[float]:
    """In ascending order, of many every so many-th, the largest being the last."""
    count = min(len(scores), _MOST_SCORES)
    kept = -(-len(scores) * (np.arange(count) + 1) // count) - 1
    return [float(f"{score:.6g}") for score in np.sort(scores)[kept]]


def _threshold(calibration: dict[str, Any], output: int, level: float) -> float:
    """The score that a label is below with a probability of at least `level`.

    Raises:
        InputError: if the level is none, or so high that as many rows cannot tell.
    """
    check_level(level)
    scores, rows = calibration["scores"][output], calibration["rows"][output]
    wanted = math.ceil(level * (rows + 1) / rows * len(scores) - 1e-9)
    if wanted > len(scores):
        needed = math.ceil(level / (1 - level) - 1e-9)
        raise InputError(f"--interval {level:g}: needs at least {needed} calibration rows, the model has {rows}")
    return scores[wanted - 1]


def check_level(level: float) -> None:
    """Raises InputError unless it is a probability between 0 and 1."""
    if not 0 < level < 1:
        raise InputError(f"--interval: expected a level between 0 and 1, such as 0.9, got {level:g}")


def find_limits(
    calibration: dict[str, Any], values: np.ndarray, stds: np.ndarray | None, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """The lower and the upper limits of the values of a regression, `(n, outputs)` each."""
    thresholds = [_threshold(calibration, output, level) for output in range(values.shape[1])]
    reach = np.array(thresholds) * _widths(values, stds, calibration["floors"])
    return values - reach, values + reach


def find_classes(calibration: dict[str, Any], probabilities: np.ndarray, level: float) -> np.ndarray:
    """Whether each class may be the right one, `(n, classes)`; the likeliest one always."""
    possible = 1 - probabilities <= _threshold(calibration, 0, level)
    possible[np.arange(len(possible)), probabilities.argmax(axis=1)] = True
    return possible


def find_labels(calibration: dict[str, Any], probabilities: np.ndarray, level: float) -> np.ndarray:
    """Whether each label may be 0 and may be 1, `(n, labels, 2)`; the likelier one always."""
    thresholds = np.array([_threshold(calibration, i, level) for i in range(probabilities.shape[1])])
    both = np.stack([1 - probabilities, probabilities], axis=-1)
    return (1 - both <= thresholds[:, None]) | (both >= 0.5)


def assess(
    kind: str,
    calibration: dict[str, Any],
    values: np.ndarray,
    stds: np.ndarray | None,
    labels: np.ndarray,
    level: float,
) -> dict[str, float]:
    """How well intervals or sets hold for other labels: `coverage`, and `width` (the mean, over the standard deviation
    of the labels) or `size` (the mean number of classes); means over the outputs.

    Raises:
        InputError: as `find_limits`.
    """
    if kind == "classification":
        rows = np.flatnonzero(labels.reshape(-1) != IGNORE_INDEX)
        possible = find_classes(calibration, values[rows], level)
        right = possible[np.arange(len(rows)), labels.reshape(-1)[rows].astype(int)]
        return {"coverage": float(right.mean()), "size": float(possible.sum(axis=1).mean())}
    labels = labels.reshape(values.shape)
    present = ~np.isnan(labels)
    if kind == "multilabel":
        possible = find_labels(calibration, values, level)
        right = np.where(labels > 0.5, possible[..., 1], possible[..., 0])
        return {"coverage": _mean(right, present), "size": _mean(possible.sum(axis=-1), present)}
    lower, upper = find_limits(calibration, values, stds, level)
    right = (lower <= labels) & (labels <= upper)
    spread = np.nanstd(labels, axis=0)
    width = (upper - lower) / np.where(spread > 0, spread, np.nan)
    return {"coverage": _mean(right, present), "width": _mean(width, present)}


def _mean(values: np.ndarray, present: np.ndarray) -> float:
    """Of each output, and of those."""
    return float(np.mean([each[there].mean() for each, there in zip(values.T, present.T, strict=True) if there.any()]))


def confidences(kind: str, values: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities of what is predicted, and whether it is right, of each label that is present."""
    if kind == "classification":
        rows = np.flatnonzero(labels.reshape(-1) != IGNORE_INDEX)
        return values[rows].max(axis=1), values[rows].argmax(axis=1) == labels.reshape(-1)[rows]
    labels = labels.reshape(values.shape)
    present = ~np.isnan(labels)
    return np.maximum(values, 1 - values)[present], ((values > 0.5) == (labels > 0.5))[present]


def reliability(confidence: np.ndarray, right: np.ndarray) -> list[tuple[float, float, int]]:
    """Of each of 15 equal ranges of confidence that occurs: the mean, the share that is right, and how many."""
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    found = []
    for index in np.unique(bins):
        chosen = bins == index
        found.append((float(confidence[chosen].mean()), float(right[chosen].mean()), int(chosen.sum())))
    return found


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """The mean difference of confidence and the share that is right, over 15 ranges (Guo et al. 2017)."""
    return sum(abs(mean - share) * count for mean, share, count in reliability(confidence, right)) / len(confidence)
