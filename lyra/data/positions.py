"""Where aligned sequences differ from their wild type."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    from .loading import Table
    from .strings import Strings


def mutated_positions(table: "Table", sequences: "Strings", wild_type: str | None, flag: str) -> list[np.ndarray]:
    """The positions, from 0, at which each sequence differs from the wild type.

    Args:
        wild_type: by default the most frequent letter of each position.
        flag: that needs them, for the message.

    Raises:
        InputError: naming the first row whose length differs.
    """
    length = len(sequences[0] if wild_type is None else wild_type)
    other = np.flatnonzero(sequences.lengths != length)
    if len(other):
        first = "the first one has" if wild_type is None else "--wild_type has"
        raise InputError(
            f"{table.locations[other[0]]}: expected aligned sequences of one length for {flag}, got "
            f"{sequences.lengths[other[0]]} letters; {first} {length}"
        )
    letters = _code_points(sequences)
    if wild_type is None:
        reference = np.array([_most_frequent(column) for column in letters.T])
    else:
        (reference,) = _code_points([wild_type])
    return [np.flatnonzero(row != reference) for row in letters]


def _code_points(sequences: Iterable[str]) -> np.ndarray:
    """`(sequences, length)`"""
    upper = np.array([sequence.upper() for sequence in sequences])
    return upper.view(np.uint32).reshape(len(upper), -1)


def _most_frequent(letters: np.ndarray) -> int:
    values, counts = np.unique(letters, return_counts=True)
    return int(values[counts.argmax()])
