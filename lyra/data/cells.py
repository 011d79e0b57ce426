"""One cell of a table: a number, a missing value, and where it is."""

import math
import re
from typing import Any, NamedTuple

import numpy as np

from .readers import RowLocation

_MISSING = ("", "na", "nan", "none", "null")


class Cell(NamedTuple):
    """Where a value is, for messages."""

    location: RowLocation
    column: str
    residue: int | None = None

    def __str__(self) -> str:
        text = f"{self.location}, column {self.column!r}"
        return text if self.residue is None else f"{text}, residue {self.residue}"


def parse_number(value: Any) -> float | None:
    """A cell as a number, None if it is none."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float, np.number)):
        return None
    if isinstance(value, str) and ("_" in value or not re.fullmatch(r"[\s\w.+-]+", value, re.ASCII)):
        return None  # float() would also take 1_000 and digits of other scripts
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def is_missing(value: Any) -> bool:
    """Whether a cell says that there is no value."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return isinstance(value, str) and value.strip().lower() in _MISSING
