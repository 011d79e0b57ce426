"""The numbers beside each sequence that `--feature_columns` names."""

from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from .cells import Cell, is_missing, parse_number
from .readers import Row, RowLocation

_LARGEST = 1e30  # the model computes in single precision


def read_extra_features(locations: Sequence[RowLocation], rows: Sequence[Row], columns: Sequence[str]) -> np.ndarray:
    """`(rows, columns)`.

    Raises:
        InputError: naming the first cell that is no number, or too large.
    """
    values = np.empty((len(rows), len(columns)), np.float32)
    for i, (location, row) in enumerate(zip(locations, rows, strict=True)):
        for j, column in enumerate(columns):
            number = parse_number(row.get(column))
            if number is None or not abs(number) < _LARGEST:
                found = "nothing" if is_missing(row.get(column)) else repr(row.get(column))
                raise InputError(f"{Cell(location, column)}: expected a number (--feature_columns), got {found}")
            values[i, j] = number
    return values


def check_varying(source: str, values: np.ndarray, columns: Sequence[str]) -> None:
    """Raises InputError for a column of which all training rows `(rows, columns)` are equal."""
    for column, number in zip(columns, values.T, strict=True):
        if number.std() <= 1e-6 * abs(number.mean()) or not number.std() > 1 / _LARGEST:
            raise InputError(f"{source}, column {column!r}: a feature that is {number[0]:g} in all training rows")
