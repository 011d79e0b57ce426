"""What a user should know of a finished run before they trust it."""

import math
from typing import Any

import numpy as np

from ..data.labels import IGNORE_INDEX
from ..data.preparation import Prepared
from ..metrics import METRICS, greater_is_better

_HARDLY_VARIES = 0.01  # standard deviation of the predictions over that of the labels
_FEW, _MAX_NAMED = 5, 5
_QUANTILE = 1.645  # of the normal distribution: one chance in twenty


def find_problems(data: Prepared, record: dict[str, Any], logits: np.ndarray) -> list[str]:
    """A sentence for each sign that the model learned nothing, or less than a linear model.

    Args:
        record: of the run.
        logits: `(items, outputs)` for the test split, or where there is none for validation.
    """
    learned = [*_without_variation(data, logits), *_like_chance(data, record)]
    if learned:
        balanced = record.get("hyperparameters", {}).get("class_weights") == "balanced"
        learned[-1] += "; more epochs or another --learning_rate may help" + _ADVICE[data.task.kind] * (not balanced)
    return learned + _worse_than_mean(record) + _behind_linear(record) + _rare_classes(data) + _not_covered(record)


# By the kind of task.
_ADVICE = {
    "regression": ", and --label_transform rank where labels are skewed",
    "classification": ", and --class_weights balanced where a class is rare",
    "multilabel": ", and --class_weights balanced where a label is rare",
}


def _without_variation(data: Prepared, logits: np.ndarray) -> list[str]:
    labels, item = data.label_array(data.scored[-1]), "residue" if data.task.per_token else "row"
    if data.task.kind == "classification":
        kept = labels != IGNORE_INDEX
        chosen = np.unique(logits[kept].argmax(axis=1))
        if len(chosen) == 1 < len(np.unique(labels[kept])):
            return [f"class {data.task.names[int(chosen[0])]!r} is predicted for every {data.scored[-1]} {item}"]
        return []
    if data.task.kind == "multilabel":
        return []
    labels = labels.reshape(logits.shape)
    still = [
        name
        for name, values, truth in zip(data.task.names, logits.T, labels.T, strict=True)
        if values.std() < _HARDLY_VARIES * np.nanstd(truth)
    ]
    return [f"the predictions of {', '.join(map(repr, still))} hardly differ from each other"] if still else []


def _like_chance(data: Prepared, record: dict[str, Any]) -> list[str]:
    key, item = record["selected_by"], "residues" if data.task.per_token else "rows"
    chance, value = METRICS[key].chance if key in METRICS else None, record["validation"].get(key)
    if chance is None or value is None:
        return []
    labels = data.label_values("validation")
    labels = labels[~np.isnan(labels).any(axis=1)]
    independent = len(data.task.names) - (data.task.kind == "classification")
    if not len(labels) or value > chance + _QUANTILE * _standard_error(key, labels, independent):
        return []
    return [f"validation {key} {value:.3f} is no better than chance gives for {len(labels)} {item}"]


def _worse_than_mean(record: dict[str, Any]) -> list[str]:
    r2 = record["validation"].get("r2", 0.0)
    if r2 >= 0:
        return []
    return [f"validation R2 {r2:.2f}: the mean of the labels predicts the values better; only the order may be right"]


def _standard_error(metric: str, labels: np.ndarray, independent: int) -> float:
    """Of a score without any relation: of a correlation that of Fisher, of an area that of Mann and Whitney.

    Args:
        labels: `(items, outputs)`.
        independent: how many such scores it is the mean of.
    """
    variance = 1 / len(labels)
    if metric == "auroc":
        fewest = min(int(count) for column in labels.T for count in np.unique(column, return_counts=True)[1])
        variance = (len(labels) + 1) / (12 * fewest * max(1, len(labels) - fewest))
    return math.sqrt(variance / independent)


def _behind_linear(record: dict[str, Any]) -> list[str]:
    key, linear = record["selected_by"], (record.get("linear") or {}).get("validation", {})
    value, other = record["validation"].get(key), linear.get(key)
    if other is None or (value is not None and (value >= other) == greater_is_better(key)):
        return []
    own = "undefined" if value is None else f"{value:.3f}"
    advice = "; --linear_term auto adds one" if record.get("hyperparameters", {}).get("linear_term") == "none" else ""
    return [f"a linear model is better on validation: {key} {other:.3f} against {own}{advice}"]


def _not_covered(record: dict[str, Any]) -> list[str]:
    """Intervals hold where new rows are like those that they were made from."""
    calibration = record.get("calibration", {})
    if "coverage" not in calibration:
        return []
    level, coverage, tested = calibration["level"], calibration["coverage"], record["n"]["test"]
    if not tested:
        return []
    error = math.sqrt(level * (1 - level) * (1 / tested + 1 / min(calibration["rows"])))
    if coverage > level - 2 * error:
        return []
    return [
        f"{level:.0%} intervals hold {coverage:.1%} of the test labels: test rows are unlike validation rows, and new "
        "ones may be, too"
    ]


def _rare_classes(data: Prepared) -> list[str]:
    """Of a class with a handful of test rows no score can be told."""
    labels = data.label_array(data.scored[-1])
    if data.task.kind == "regression":
        return []
    if data.task.kind == "classification":
        counts = {name: int((labels == index).sum()) for index, name in enumerate(data.task.names)}
    else:
        ones = (labels.reshape(-1, len(data.task.names)) == 1).sum(axis=0).tolist()
        counts = dict(zip(data.task.names, ones, strict=True))
    item = "residues" if data.task.per_token else "rows"
    rare = sorted((count, name) for name, count in counts.items() if count < _FEW)
    if not rare:
        return []
    named = ", ".join(f"{name!r} {count}" for count, name in rare[:_MAX_NAMED]) + ", ..." * (len(rare) > _MAX_NAMED)
    return [
        f"few {data.scored[-1]} {item} have these classes, so that scores that depend on them are uncertain: {named}"
    ]
