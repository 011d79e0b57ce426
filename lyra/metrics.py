"""Metrics over a whole set, as `evaluate` metrics that need no network.

A metric that is undefined (a correlation with a constant, an AUROC of one class) is left out of the result.
"""

import math
from typing import Any

import datasets
import evaluate
import numpy as np
from scipy import special, stats
from sklearn import metrics as sk

from .modeling_lyra import IGNORE_INDEX

METRICS = {
    "regression": ("spearman", "pearson", "r2", "rmse", "mae"),
    "classification": ("mcc", "accuracy", "f1", "auroc", "auprc"),
    "multilabel": ("auroc", "auprc", "accuracy", "f1", "mcc"),
}
SELECTED_BY = {kind: names[0] for kind, names in METRICS.items()}


class LyraMetric(evaluate.Metric):
    """Base of the metrics here: predictions and references are one number, or a vector of them, per item."""

    description = ""
    references = datasets.Value("float64")
    predictions: Any = datasets.Sequence(datasets.Value("float64"))

    def __init__(self):
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.description,
            citation="",
            features=datasets.Features({"predictions": self.predictions, "references": self.references}),
        )


class Regression(LyraMetric):
    """Spearman, Pearson, R2 (coefficient of determination), RMSE and MAE, in label units."""

    description = "Spearman and Pearson correlation, R2, RMSE and MAE."
    predictions = datasets.Value("float64")

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        predictions, references = np.asarray(predictions), np.asarray(references)
        error = predictions - references
        result = {"rmse": math.sqrt(np.mean(error**2)), "mae": float(np.mean(np.abs(error)))}
        if np.ptp(references) > 0:
            result["r2"] = float(1 - np.sum(error**2) / np.sum((references - references.mean()) ** 2))
            if np.ptp(predictions) > 0:
                result["spearman"] = float(stats.spearmanr(predictions, references).statistic)
                result["pearson"] = float(stats.pearsonr(predictions, references).statistic)
        return result


class Classification(LyraMetric):
    """Accuracy, F1, MCC, AUROC and AUPRC from class probabilities.

    With two classes F1, AUROC and AUPRC are those of the second class; with more they are unweighted means over the
    classes, each against the rest, over the classes that occur.
    """

    description = "Accuracy, F1, Matthews correlation, AUROC and AUPRC."
    references = datasets.Value("int64")

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        probabilities, references = np.asarray(predictions), np.asarray(references)
        chosen = probabilities.argmax(axis=1)
        average = "binary" if probabilities.shape[1] == 2 else "macro"
        result = {
            "accuracy": float(sk.accuracy_score(references, chosen)),
            "f1": float(sk.f1_score(references, chosen, average=average, zero_division=0)),
            "mcc": float(sk.matthews_corrcoef(references, chosen)),
        }
        columns = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
        return result | _areas([(references == c, probabilities[:, c]) for c in columns])


class Binary(LyraMetric):
    """Accuracy, F1, MCC, AUROC and AUPRC of one yes-or-no output from its probability."""

    description = "Accuracy, F1, Matthews correlation, AUROC and AUPRC."
    predictions = datasets.Value("float64")

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        probabilities = np.asarray(predictions)
        pairs = np.stack([1 - probabilities, probabilities], axis=1)
        return Classification()._compute(pairs, np.asarray(references, dtype=np.int64))


def compute_metrics(kind: str, logits: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> dict[str, float]:
    """All metrics of a task over a whole set.

    Args:
        kind: `"regression"`, `"classification"` or `"multilabel"`.
        logits: `(..., outputs)` as the model gives them; for a regression, values in label units.
        labels: `(...)` class indices, or `(...)` or `(..., outputs)` values; a class -100 or a value NaN is no label.
        names: of the outputs; with several regression or multi-label outputs the metrics are means over
            them, and each output also has its own, `name_metric`.

    Returns:
        Metric name to number, in the order of `METRICS[kind]`.
    """
    outputs = logits.shape[-1]
    logits = logits.reshape(-1, outputs).astype(np.float64)
    if kind == "classification":
        labels = labels.reshape(-1)
        kept = labels != IGNORE_INDEX
        probabilities = special.softmax(logits[kept], axis=1)
        return _ordered(kind, Classification().compute(predictions=probabilities, references=labels[kept]))
    labels = labels.reshape(-1, outputs).astype(np.float64)
    compute = _regression if kind == "regression" else _multilabel
    kept = ~np.isnan(labels)
    single = [_ordered(kind, compute(logits[kept[:, i], i], labels[kept[:, i], i])) for i in range(outputs)]
    if outputs == 1:
        return single[0]
    values = {key: [each[key] for each in single if key in each] for key in METRICS[kind]}
    result = {key: float(np.mean(value)) for key, value in values.items() if value}
    return result | {f"{name}_{key}": v for name, each in zip(names, single, strict=True) for key, v in each.items()}


def _ordered(kind: str, result: dict[str, float]) -> dict[str, float]:
    return {key: result[key] for key in METRICS[kind] if key in result}


def _regression(values: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return Regression().compute(predictions=values, references=labels)


def _multilabel(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return Binary().compute(predictions=special.expit(logits), references=labels)


def _areas(pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Mean AUROC and AUPRC over the outputs in which both classes occur."""
    pairs = [(truth, score) for truth, score in pairs if 0 < truth.sum() < truth.size]
    if not pairs:
        return {}
    return {
        "auroc": float(np.mean([sk.roc_auc_score(truth, score) for truth, score in pairs])),
        "auprc": float(np.mean([sk.average_precision_score(truth, score) for truth, score in pairs])),
    }
