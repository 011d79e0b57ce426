"""Whether one model is better than another on the same test rows: the paired bootstrap."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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


class TestSet(NamedTuple):
    """The test rows of one run or fold.

    Attributes:
        predictions: `(items, outputs)` of each model.
        labels: `(items, ...)`.
        sizes: items of each row, one or the labels of its residues.
    """

    predictions: dict[str, np.ndarray]
    labels: np.ndarray
    sizes: Sequence[int]

    def scores(self, metric: str, kind: str, drawn: np.ndarray | None = None) -> np.ndarray:
        """Of each model, over all items or some of them."""
        items = slice(None) if drawn is None else drawn
        return np.array([score(metric, kind, each[items], self.labels[items]) for each in self.predictions.values()])


def compare(metric: str, kind: str, tests: list[TestSet], model: str) -> dict[str, tuple[float, float, float]]:
    """How much better one model is than each other one: the difference of their scores, and the limits of its 95 %
    interval over test rows drawn anew with replacement, the same ones for all models.

    Args:
        tests: of each fold; scores are the means over them.
    """
    rows = [np.split(np.arange(len(test.labels)), np.cumsum(test.sizes)[:-1]) for test in tests]
    rng, resampled = np.random.default_rng(0), []
    for _ in trange(RESAMPLES, desc="bootstrap", disable=not sys.stderr.isatty()):
        drawn = [np.concatenate([each[i] for i in rng.integers(len(each), size=len(each))]) for each in rows]
        scores = [test.scores(metric, kind, items) for test, items in zip(tests, drawn, strict=True)]
        resampled.append(np.mean(scores, axis=0))
    whole = np.mean([test.scores(metric, kind) for test in tests], axis=0)
    models, sign = list(tests[0].predictions), 1 if greater_is_better(metric) else -1
    own = models.index(model)
    found = {}
    for other, name in enumerate(models):
        if other != own:
            differences = [sign * (scores[own] - scores[other]) for scores in resampled]
            low, high = np.nanpercentile(differences, _INTERVAL)
            found[name] = (float(sign * (whole[own] - whole[other])), float(low), float(high))
    return found


def outcome(difference: Sequence[float]) -> str:
    """A win where the whole interval is above zero, a loss where it is below, otherwise a tie."""
    _, low, high = difference
    return "win" if low > 0 else "loss" if high < 0 else "tie"
