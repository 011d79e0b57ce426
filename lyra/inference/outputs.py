"""The columns that predictions add to a table."""

from typing import Any

import numpy as np
from scipy import special

from ..configuration_lyra import LyraConfig
from ..data.readers import Row, RowLocation
from ..errors import InputError
from .logits import Predictions


def prediction_columns(predictions: Predictions, config: LyraConfig, per_token: bool) -> list[Row]:
    """The columns that a prediction adds to each row.

    A regression adds `prediction` in label units (`prediction_<name>` each for several outputs). Classification adds
    `prediction`, the likeliest class, and `probability_<class>` of each. Multi-label adds `prediction`, the labels
    above one half joined by `;`, and `probability_<label>` of each. After each number an ensemble adds the standard
    deviation over its members, `std` for `prediction` or `probability`. Token heads give a list with an entry per
    residue.
    """
    names = [str(config.id2label[i]) for i in range(config.num_labels)]  # type: ignore[index]
    sizes = [len(each) if per_token else 1 for each in predictions.logits]
    flat = np.concatenate([each.reshape(-1, len(names)) for each in predictions.logits])
    stds = (
        None
        if predictions.stds is None
        else np.concatenate([each.reshape(-1, len(names)) for each in predictions.stds])
    )
    columns: dict[str, Any] = {}
    if config.problem_type == "regression":
        values, stem = flat, "prediction"
    elif config.problem_type == "multi_label_classification":
        values, stem = special.expit(flat), "probability"
        columns["prediction"] = [";".join(n for n, yes in zip(names, row, strict=True) if yes) for row in values > 0.5]
    else:
        values, stem = special.softmax(flat, axis=1), "probability"
        columns["prediction"] = [names[i] for i in flat.argmax(axis=1)]
    for i, name in enumerate(names):
        end = "" if stem == "prediction" and len(names) == 1 else f"_{name}"
        columns[stem + end] = values[:, i]
        if stds is not None:
            columns["std" + end] = stds[:, i]
    rows, start = [], 0
    for size in sizes:
        span = slice(start, start + size) if per_token else start
        rows.append({name: list(values[span]) if per_token else values[span] for name, values in columns.items()})
        start += size
    return rows


def added_columns(config: LyraConfig, per_token: bool) -> list[str]:
    """The names of [`prediction_columns`]."""
    zeros = np.zeros((1, config.num_labels) if per_token else config.num_labels)
    return list(
        prediction_columns(Predictions([zeros], [zeros] if config.ensemble_size > 1 else None), config, per_token)[0]
    )


def extend_row(location: RowLocation | str, row: Row, new: Row) -> Row:
    """A row with further columns.

    Raises:
        InputError: if it already has one of them.
    """
    if taken := [name for name in new if name in row]:
        raise InputError(f"{location}: the input already has a column {taken[0]!r}; rename it first")
    return row | new
