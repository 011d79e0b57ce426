"""Rows of a table of predictions."""

from typing import Any

import numpy as np

from lyra.errors import InputError

from .jets import Jets


def rows(jets: Jets, found: np.ndarray, names: list[str]) -> list[dict[str, Any]]:
    """The columns of the jets, and after them `prediction` and `probability_NAME` of each class.

    Args:
        found: probabilities `(jets, classes)`.

    Raises:
        InputError: if the jets have such a column already.
    """
    added = ["prediction", *(f"probability_{name}" for name in names)]
    if taken := [name for name in added if name in jets.scalars]:
        raise InputError(f"{jets.file}: has a column {taken[0]!r} already, which predictions would add")
    own = {name: values.tolist() for name, values in jets.scalars.items()}
    columns = own | {"prediction": [names[number] for number in found.argmax(axis=1)]}
    columns |= {name: found[:, number].tolist() for number, name in enumerate(added[1:])}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
