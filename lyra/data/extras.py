"""The numbers beside each sequence that `--feature_columns` names."""

from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from .cells import Cell, is_missing
from .rows import RowLocation, Rows

_LARGEST = 1e30  # the model computes in single precision


def read_extra_features(locations: Sequence[RowLocation], rows: Rows, columns: Sequence[str]) -> np.ndarray:
    """`(rows, columns)`.

    Raises:
        InputError: naming the first cell that is no number, or too large.
    """
    cells = [rows.column(column) for column in columns]
    values = np.array([each.numbers for each in cells]).reshape(len(columns), len(rows)).T
    wrong = np.argwhere(~(np.abs(values) < _LARGEST))  # where there is none, it is NaN
    if len(wrong):
        row, column = wrong[0]
        found = "nothing" if is_missing(cells[column][row]) else repr(cells[column][row])
        cell = Cell(locations[row], columns[column])
        raise InputError(f"{cell}: expected a number (--feature_columns), got {found}")
    return values.astype(np.float32)


def check_varying(source: str, values: np.ndarray, columns: Sequence[str]) -> None:
    """Raises InputError for a column of which all training rows `(rows, columns)` are equal."""
    for column, number in zip(columns, values.T, strict=True):
        if number.std() <= 1e-6 * abs(number.mean()) or not number.std() > 1 / _LARGEST:
            raise InputError(f"{source}, column {column!r}: a feature that is {number[0]:g} in all training rows")
