"""Where aligned sequences differ from their wild type."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    from .loading import Table
    from .strings import Strings


class Mutations(NamedTuple):
    """The mutations of aligned sequences, one sequence after the other.

    Attributes:
        positions: from 0, `(mutations,)`.
        counts: of each sequence, `(sequences,)`.
    """

    positions: np.ndarray
    counts: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        """Where in `positions` those of each mutated sequence begin."""
        return (np.cumsum(self.counts) - self.counts)[self.counts > 0]


def find_mutations(table: "Table", sequences: "Strings", wild_type: str | None, flag: str) -> Mutations:
    """The positions at which each sequence differs from the wild type.

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
    reference = _most_frequent(sequences, length) if wild_type is None else _code_points([wild_type], length)[0]
    positions, counts = [], []
    for block in sequences.blocks():
        differs = _code_points(block, length) != reference
        positions.append(np.nonzero(differs)[1].astype(np.int32))
        counts.append(differs.sum(axis=1, dtype=np.int32))
    return Mutations(np.concatenate(positions), np.concatenate(counts))


def _most_frequent(sequences: "Strings", length: int) -> np.ndarray:
    """The code point of the most frequent letter of each position, of two the first in the order of code points."""
    known = np.unique(_code_points(list(sequences.letters), 1))
    number_of = np.zeros(known[-1] + 1, np.int64)
    number_of[known] = np.arange(len(known))
    counts, first = np.zeros(length * len(known), np.int64), np.arange(length) * len(known)
    for block in sequences.blocks():
        numbers = number_of[_code_points(block, length)] + first
        counts += np.bincount(numbers.reshape(-1), minlength=len(counts))
    return known[counts.reshape(length, -1).argmax(axis=1)]


def _code_points(block: list[str], length: int) -> np.ndarray:
    """Letters in upper case, `(sequences, length)`; others than those of ASCII, whose upper case may be two, stay."""
    letters = np.frombuffer("".join(block).encode("utf-32-le"), np.uint32).reshape(-1, length)
    return np.where((letters >= ord("a")) & (letters <= ord("z")), letters - 32, letters)
