"""Metrics over a whole set. A new one is one more entry of `METRICS`.

A metric that is undefined (a correlation with a constant, an AUROC of one class) is left out of the result.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import datasets
import evaluate
import numpy as np
from scipy import special, stats
from sklearn import metrics as sk

from .data.labels import IGNORE_INDEX


class MetricSpec(NamedTuple):
    """One metric.

    Attributes:
        title: as on the Hub's leaderboards.
        greater_is_better: whether an epoch with a greater value is the better one.
        kinds: the kinds of tasks that have it.
        compute: the value from predictions and references, None where it is undefined. Predictions of a regression are
            `(n,)` values in label units, others `(n, classes)` probabilities; references are `(n,)`.
    """

    title: str
    greater_is_better: bool
    kinds: tuple[str, ...]
    compute: Callable[[np.ndarray, np.ndarray], float | None]


def _correlation(statistic: Callable[..., Any]) -> Callable[[np.ndarray, np.ndarray], float | None]:
    def compute(predictions: np.ndarray, references: np.ndarray) -> float | None:
        if np.ptp(references) == 0 or np.ptp(predictions) == 0:
            return None
        return statistic(predictions, references).statistic

    return compute


def _r2(predictions: np.ndarray, references: np.ndarray) -> float | None:
    return sk.r2_score(references, predictions) if np.ptp(references) > 0 else None


def _of_classes(score: Callable[..., float]) -> Callable[[np.ndarray, np.ndarray], float | None]:
    """A score of the likeliest classes."""
    return lambda probabilities, references: score(references, probabilities.argmax(axis=1))


def _f1(references: np.ndarray, chosen: np.ndarray, classes: int) -> float:
    """Of the second of two classes, or the unweighted mean over more."""
    return sk.f1_score(references, chosen, average="binary" if classes == 2 else "macro", zero_division=0)


def _area(score: Callable[..., float]) -> Callable[[np.ndarray, np.ndarray], float | None]:
    """The area of the second of two classes, or the mean over the classes that occur, each against the rest."""

    def compute(probabilities: np.ndarray, references: np.ndarray) -> float | None:
        columns = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
        truths = [(references == column, probabilities[:, column]) for column in columns]
        areas = [score(truth, scores) for truth, scores in truths if 0 < truth.sum() < truth.size]
        return float(np.mean(areas)) if areas else None

    return compute


_CLASSES = ("classification", "multilabel")
METRICS = {
    "spearman": MetricSpec("Spearman correlation", True, ("regression",), _correlation(stats.spearmanr)),
    "pearson": MetricSpec("Pearson correlation", True, ("regression",), _correlation(stats.pearsonr)),
    "r2": MetricSpec("R2", True, ("regression",), _r2),
    "rmse": MetricSpec("RMSE", False, ("regression",), lambda x, y: sk.root_mean_squared_error(y, x)),
    "mae": MetricSpec("MAE", False, ("regression",), lambda x, y: sk.mean_absolute_error(y, x)),
    "mcc": MetricSpec("Matthews correlation", True, _CLASSES, _of_classes(sk.matthews_corrcoef)),
    "accuracy": MetricSpec("Accuracy", True, _CLASSES, _of_classes(sk.accuracy_score)),
    "f1": MetricSpec("F1", True, _CLASSES, lambda x, y: _f1(y, x.argmax(axis=1), x.shape[1])),
    "auroc": MetricSpec("AUROC", True, _CLASSES, _area(sk.roc_auc_score)),
    "auprc": MetricSpec("AUPRC", True, _CLASSES, _area(sk.average_precision_score)),
}


def metrics_of(kind: str) -> list[str]:
    """The names of the metrics of a kind of task."""
    return [name for name, spec in METRICS.items() if kind in spec.kinds]


def greater_is_better(name: str) -> bool:
    """Whether a greater value is better, of `"loss"`, a metric, or a metric of one output, `"<output>_<metric>"`."""
    return name != "loss" and METRICS[name.rpartition("_")[2]].greater_is_better


class LyraMetric(evaluate.Metric):
    """All metrics of one kind of task, with no network.

    Args:
        kind: `"regression"`: predictions are values; `"classification"`: probabilities of all classes; `"multilabel"`:
            the probability of one label.
    """

    def __init__(self, kind: str):
        self.kind = kind
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        number = datasets.Value("float64")
        classes = self.kind == "classification"
        features = {
            "predictions": datasets.Sequence(number) if classes else number,
            "references": datasets.Value("int64") if classes else number,
        }
        titles = ", ".join(METRICS[name].title for name in metrics_of(self.kind))
        return evaluate.MetricInfo(description=titles, citation="", features=datasets.Features(features))

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        predictions, references = np.asarray(predictions), np.asarray(references)
        if self.kind == "multilabel":
            predictions = np.stack([1 - predictions, predictions], axis=1)
            references = references.astype(np.int64)
        values = {name: METRICS[name].compute(predictions, references) for name in metrics_of(self.kind)}
        return {name: float(value) for name, value in values.items() if value is not None}


def compute_metrics(kind: str, logits: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> dict[str, float]:
    """All metrics of a task over a whole set.

    Args:
        kind: of the task.
        logits: `(..., outputs)`, of a regression in label units.
        labels: `(...)` class indices with -100 for none, or `(...)` or `(..., outputs)` values with NaN for none.
        names: of the outputs.

    Returns:
        Each metric, of several outputs their mean, then those of each output as `<output>_<metric>`.
    """
    metric, outputs = LyraMetric(kind), logits.shape[-1]
    logits = logits.reshape(-1, outputs).astype(np.float64)
    if kind == "classification":
        labels = labels.reshape(-1)
        present = labels != IGNORE_INDEX
        return metric.compute(predictions=special.softmax(logits[present], axis=1), references=labels[present])
    labels = labels.reshape(-1, outputs).astype(np.float64)
    present = ~np.isnan(labels)
    values = special.expit(logits) if kind == "multilabel" else logits
    single = [
        metric.compute(predictions=values[present[:, i], i], references=labels[present[:, i], i])
        for i in range(outputs)
    ]
    if outputs == 1:
        return single[0]
    scores = {key: [each[key] for each in single if key in each] for key in metrics_of(kind)}
    means = {key: float(np.mean(value)) for key, value in scores.items() if value}
    return means | {f"{name}_{key}": v for name, each in zip(names, single, strict=True) for key, v in each.items()}
