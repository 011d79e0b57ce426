"""The columns that predictions add to a table."""

from itertools import compress
from typing import Any

import numpy as np

from ..configuration_lyra import LyraConfig
from ..conformal import find_classes, find_labels, find_limits
from ..data.rows import Row, RowLocation
from ..errors import InputError
from ..tasks import TASKS
from .logits import Arrays, Predictions, to_items, to_values


def prediction_columns(
    predictions: Predictions, config: LyraConfig, per_token: bool, level: float | None = None
) -> list[Row]:
    """The columns that a prediction adds to each row.

    A regression adds `prediction` in label units (`prediction_<name>` each for several outputs). Classification adds
    `prediction`, the likeliest class, and `probability_<class>` of each. Multi-label adds `prediction`, the labels
    above one half joined by `;`, and `probability_<label>` of each. After each number an ensemble adds the standard
    deviation over its members, `std` for `prediction` or `probability`. Token heads give a list with an entry per
    residue.

    With a level, such as 0.9, a regression adds `lower` and `upper`, between which a new label is with this probability
    ([`lyra.conformal`]); classification adds `set`, the classes that one of is the right one with this probability,
    joined by `;`, and multi-label `set_<label>`, which is `0`, `1` or `0;1`.

    Raises:
        InputError: if the model is not calibrated, or not for such a level.
    """
    names = [str(config.id2label[i]) for i in range(config.num_labels)]
    if level is not None and config.calibration is None:
        raise InputError("--interval: the model has no intervals; it was not calibrated in training")
    sizes = [len(each) if per_token else 1 for each in predictions.logits]
    flat = to_items(predictions.logits)
    stds = None if predictions.stds is None else to_items(predictions.stds)
    columns: dict[str, Any] = {}
    kind = kind_of(config)
    values, stem = to_values(kind, flat), "probability"
    if config.problem_type == "regression":
        stem = "prediction"
    elif config.problem_type == "multi_label_classification":
        columns["prediction"] = [";".join(n for n, yes in zip(names, row, strict=True) if yes) for row in values > 0.5]
    else:
        columns["prediction"] = [names[i] for i in flat.argmax(axis=1)]
    for i, name in enumerate(names):
        end = "" if stem == "prediction" and len(names) == 1 else f"_{name}"
        columns[stem + end] = values[:, i]
        if stds is not None:
            columns["std" + end] = stds[:, i]
    if level is not None:
        columns |= _ADDERS[kind](config.calibration, names, values, stds, level)  # type: ignore[arg-type]
    rows, start = [], 0
    for size in sizes:
        span = slice(start, start + size) if per_token else start
        rows.append({name: list(values[span]) if per_token else values[span] for name, values in columns.items()})
        start += size
    return rows


def kind_of(config: LyraConfig) -> str:
    """The kind of task of a head."""
    return _KINDS.get(config.problem_type, "classification")


def _limits(
    calibration: dict[str, Any], names: list[str], values: np.ndarray, stds: np.ndarray | None, level: float
) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    lower, upper = find_limits(calibration, values, stds, level)
    for i, name in enumerate(names):
        end = "" if len(names) == 1 else f"_{name}"
        columns |= {"lower" + end: lower[:, i], "upper" + end: upper[:, i]}
    return columns


def _set_of_classes(
    calibration: dict[str, Any], names: list[str], values: np.ndarray, stds: np.ndarray | None, level: float
) -> dict[str, Any]:
    possible = find_classes(calibration, values, level)
    return {"set": [";".join(compress(names, row)) for row in possible]}


def _sets_of_labels(
    calibration: dict[str, Any], names: list[str], values: np.ndarray, stds: np.ndarray | None, level: float
) -> dict[str, Any]:
    possible = find_labels(calibration, values, level)
    return {f"set_{name}": [";".join(compress("01", row)) for row in possible[:, i]] for i, name in enumerate(names)}


_KINDS = {spec.problem_type: spec.kind for spec in TASKS.values()}
_ADDERS = {"regression": _limits, "classification": _set_of_classes, "multilabel": _sets_of_labels}


def added_columns(config: LyraConfig, per_token: bool, level: float | None = None) -> list[str]:
    """The names of [`prediction_columns`]."""
    zeros: Arrays = [np.zeros((1, config.num_labels))] if per_token else np.zeros((1, config.num_labels))
    predictions = Predictions(zeros, zeros if config.ensemble_size > 1 else None)
    return list(prediction_columns(predictions, config, per_token, level)[0])


def extend_row(location: RowLocation | str, row: Row, new: Row) -> Row:
    """A row with further columns.

    Raises:
        InputError: if it already has one of them.
    """
    if taken := [name for name in new if name in row]:
        raise InputError(f"{location}: the input already has a column {taken[0]!r}; rename it first")
    return row | new
