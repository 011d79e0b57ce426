"""Scores of predictions over a whole set, with no network. The metrics are in `metrics`."""

from typing import Any

import datasets
import evaluate
import numpy as np
from scipy import special

from .data.labels import IGNORE_INDEX
from .metrics import METRICS, metrics_of


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
