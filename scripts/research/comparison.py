"""Whether one model is better than another on the same test rows: the paired bootstrap."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm.auto import trange

from lyra.data.labels import IGNORE_INDEX
from lyra.metrics import METRICS, greater_is_better

RESAMPLES = 1000
_INTERVAL = (2.5, 97.5)  # per cent


def read_predictions(folder: Path, names: Sequence[str]) -> np.ndarray:
    """What a run wrote for its test split: values, or probabilities of classes or labels, `(items, outputs)`. An item
    is a row or, for labels of residues, a residue.

    Args:
        names: of the outputs.
    """
    if (folder / "predictions.npy").exists():
        return np.load(folder / "predictions.npy")
    csv.field_size_limit(sys.maxsize)
    with open(folder / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = [f"probability_{name}" for name in names]
    if columns[0] not in rows[0]:
        columns = ["prediction"] if len(names) == 1 else [f"prediction_{name}" for name in names]
    return np.column_stack(
        [np.concatenate([np.array(row[column].split(), float) for row in rows]) for column in columns]
    )


def score(metric: str, kind: str, predictions: np.ndarray, labels: np.ndarray) -> float:
    """A metric as in `metrics.json`, of several outputs their mean; NaN where it is undefined."""
    compute = METRICS[metric].compute
    if kind == "classification":
        present = labels != IGNORE_INDEX
        value = compute(predictions[present], labels[present])
        return np.nan if value is None else float(value)
    values = []
    for column, truth in zip(predictions.T, labels.reshape(len(predictions), -1).T, strict=True):
        column, truth = column[~np.isnan(truth)], truth[~np.isnan(truth)]
        if kind == "multilabel":
            column, truth = np.stack([1 - column, column], axis=1), truth.astype(int)
        if len(truth) and (value := compute(column, truth)) is not None:
            values.append(value)
    return float(np.mean(values)) if values else np.nan


def compare(
    metric: str, kind: str, predictions: dict[str, np.ndarray], labels: np.ndarray, sizes: Sequence[int], of: str
) -> dict[str, tuple[float, float, float]]:
    """How much better one model is than each other one: the difference of their scores, and the limits of its 95 %
    interval over test rows drawn anew with replacement, the same ones for all models.

    Args:
        predictions: `(items, outputs)` of each model.
        labels: `(items, ...)`.
        sizes: items of each row, one or the labels of its residues.
        of: the model.
    """
    items = np.split(np.arange(len(labels)), np.cumsum(sizes)[:-1])
    rng = np.random.default_rng(0)
    scores: dict[str, list[float]] = {model: [] for model in predictions}
    for _ in trange(RESAMPLES, desc="bootstrap", disable=not sys.stderr.isatty()):
        drawn = np.concatenate([items[i] for i in rng.integers(len(items), size=len(items))])
        for model, each in predictions.items():
            scores[model].append(score(metric, kind, each[drawn], labels[drawn]))
    sign = 1 if greater_is_better(metric) else -1
    whole = {model: score(metric, kind, each, labels) for model, each in predictions.items()}
    found = {}
    for model in predictions.keys() - {of}:
        low, high = np.nanpercentile(sign * (np.array(scores[of]) - np.array(scores[model])), _INTERVAL)
        found[model] = (sign * (whole[of] - whole[model]), float(low), float(high))
    return found


def outcome(difference: Sequence[float]) -> str:
    """A win where the whole interval is above zero, a loss where it is below, otherwise a tie."""
    _, low, high = difference
    return "win" if low > 0 else "loss" if high < 0 else "tie"
