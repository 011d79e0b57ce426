"""What a command writes: a new file or folder, and the rows of a table of predictions."""

from pathlib import Path
from typing import Any

import numpy as np

from lyra.errors import InputError

from .jets import Jets


def check_output(output: str) -> Path:
    """Raises InputError if something is there already."""
    if Path(output).exists():
        raise InputError(f"{output}: exists already")
    return Path(output)


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
