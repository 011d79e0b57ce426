"""Metrics over a whole set. A new one is one more entry of `METRICS`.

A metric that is undefined (a correlation with a constant, an AUROC of one class) is left out of the result.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from .errors import InputError
from .tasks import Task

_TENTH = 10
Compute = Callable[[np.ndarray, np.ndarray], float | None]


class MetricSpec(NamedTuple):
    """One metric.

    Attributes:
        title: as on the Hub's leaderboards.
        greater_is_better: whether an epoch with a greater value is the better one.
        kinds: the kinds of tasks that have it.
        compute: the value from predictions and references, None where it is undefined. Predictions of a regression are
            `(n,)` values in label units, others `(n, classes)` probabilities; references are `(n,)`.
        chance: its value where predictions have nothing to do with references; None where that depends on them.
    """

    title: str
    greater_is_better: bool
    kinds: tuple[str, ...]
    compute: Compute
    chance: float | None = None


def _correlation(name: str) -> Compute:
    def compute(predictions: np.ndarray, references: np.ndarray) -> float | None:
        if np.ptp(references) == 0 or np.ptp(predictions) == 0:
            return None
        return _function("scipy.stats", name)(predictions, references).statistic

    return compute


def _of_values(name: str) -> Compute:
    return lambda predictions, references: _sklearn(name)(references, predictions)


def _r2(predictions: np.ndarray, references: np.ndarray) -> float | None:
    return _sklearn("r2_score")(references, predictions) if np.ptp(references) > 0 else None


def _ndcg(predictions: np.ndarray, references: np.ndarray) -> float | None:
    """Of the tenth with the highest predictions: how much of the gain, from 0 for the smallest label to 1 for the
    largest, they have, the first ones counting most, as a part of what the tenth with the highest labels has."""
    best = len(references) // _TENTH
    if best == 0 or np.ptp(references) == 0 or np.ptp(predictions) == 0:
        return None
    gains = (references - references.min()) / np.ptp(references)
    discounts = 1 / np.log2(np.arange(best) + 2)
    found, possible = gains[np.argsort(-predictions, kind="stable")], -np.sort(-gains)
    return float(found[:best] @ discounts / (possible[:best] @ discounts))


def _top_recall(predictions: np.ndarray, references: np.ndarray) -> float | None:
    """The part of the tenth with the highest labels that is in the tenth with the highest predictions."""
    if len(references) < _TENTH or np.ptp(references) == 0 or np.ptp(predictions) == 0:
        return None
    wanted, chosen = (values >= np.quantile(values, 1 - 1 / _TENTH) for values in (references, predictions))
    return float((wanted & chosen).sum() / wanted.sum())


def _of_classes(name: str) -> Compute:
    """A score of the likeliest classes; none where there is only one class to find."""

    def compute(probabilities: np.ndarray, references: np.ndarray) -> float | None:
        return _sklearn(name)(references, probabilities.argmax(axis=1)) if np.ptp(references) > 0 else None

    return compute


def _f1(probabilities: np.ndarray, references: np.ndarray) -> float | None:
    """Of the second of two classes, or the unweighted mean over more."""
    if np.ptp(references) == 0:
        return None
    average = "binary" if probabilities.shape[1] == 2 else "macro"
    return _sklearn("f1_score")(references, probabilities.argmax(axis=1), average=average, zero_division=0)


def _area(name: str) -> Compute:
    """The area of the second of two classes, or the mean over the classes that occur, each against the rest."""

    def compute(probabilities: np.ndarray, references: np.ndarray) -> float | None:
        columns = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
        truths = [(references == column, probabilities[:, column]) for column in columns]
        areas = [_sklearn(name)(truth, scores) for truth, scores in truths if 0 < truth.sum() < truth.size]
        return float(np.mean(areas)) if areas else None

    return compute


def _sklearn(name: str) -> Callable[..., float]:
    return _function("sklearn.metrics", name)


def _function(module: str, name: str) -> Callable[..., Any]:
    # Imported where used: the names of the metrics are known before a second has gone into imports.
    return getattr(import_module(module), name)


# `ndcg` and `toprecall` as ProteinGym defines them (Notin et al. 2023).
_CLASSES = ("classification", "multilabel")
METRICS = {
    "spearman": MetricSpec("Spearman correlation", True, ("regression",), _correlation("spearmanr"), 0.0),
    "pearson": MetricSpec("Pearson correlation", True, ("regression",), _correlation("pearsonr"), 0.0),
    "r2": MetricSpec("R2", True, ("regression",), _r2),
    "rmse": MetricSpec("RMSE", False, ("regression",), _of_values("root_mean_squared_error")),
    "mae": MetricSpec("MAE", False, ("regression",), _of_values("mean_absolute_error")),
    "ndcg": MetricSpec("NDCG of the top 10 %", True, ("regression",), _ndcg),
    "toprecall": MetricSpec("Top-10 % recall", True, ("regression",), _top_recall),
    "mcc": MetricSpec("Matthews correlation", True, _CLASSES, _of_classes("matthews_corrcoef"), 0.0),
    "accuracy": MetricSpec("Accuracy", True, _CLASSES, _of_classes("accuracy_score")),
    "f1": MetricSpec("F1", True, _CLASSES, _f1),
    "auroc": MetricSpec("AUROC", True, _CLASSES, _area("roc_auc_score"), 0.5),
    "auprc": MetricSpec("AUPRC", True, _CLASSES, _area("average_precision_score")),
}


def metrics_of(kind: str) -> list[str]:
    """The names of the metrics of a kind of task."""
    return [name for name, spec in METRICS.items() if kind in spec.kinds]


def greater_is_better(name: str) -> bool:
    """Whether a greater value is better, of `"loss"`, a metric, or a metric of one output, `"<output>_<metric>"`."""
    return name != "loss" and METRICS[name.rpartition("_")[2]].greater_is_better


def check_selection(chosen: str, task: Task) -> None:
    """Raises InputError if the epoch of a task cannot be selected by this metric."""
    metrics = metrics_of(task.kind)
    known = ["loss", *metrics]
    if task.num_outputs > 1:
        known += [f"{name}_{metric}" for name in task.names for metric in metrics]
    if chosen.removeprefix("eval_") not in known:
        raise InputError(f"--metric_for_best_model: expected one of {', '.join(known)}, got {chosen!r}")
