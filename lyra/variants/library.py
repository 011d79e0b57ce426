"""Which variants of a wild type a scan is about: all singles, all pairs, all combinations of some sites.

A new kind is one more class with `count`, `__iter__` and `settings`, and its flag.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, Protocol

from ..errors import InputError
from .notation import Edit, Variant, WildType

_RANGE = re.compile(r"(-?\d+)(?:-(-?\d+))?")


class Library(Protocol):
    """Variants that are made from a rule, in a fixed order."""

    @property
    def count(self) -> int: ...

    @property
    def settings(self) -> dict[str, Any]:
        """What the rule depends on, besides the wild type."""

    def __iter__(self) -> Iterator[Variant]: ...


@dataclass(frozen=True)
class Singles:
    """Every other letter at every position."""

    wild_type: WildType
    positions: Sequence[int]
    letters: str

    @property
    def settings(self) -> dict[str, Any]:
        return {"kind": "singles", "positions": list(self.positions), "letters": self.letters}

    @property
    def count(self) -> int:
        return sum(len(self.edits(position)) for position in self.positions)

    def __iter__(self) -> Iterator[Variant]:
        for position in self.positions:
            yield from ((edit,) for edit in self.edits(position))

    def edits(self, position: int) -> list[Edit]:
        """Those of one position."""
        wild = self.wild_type.sequence[position]
        return [Edit(position, wild, letter) for letter in self.letters if letter != wild]


@dataclass(frozen=True)
class Pairs:
    """Every two singles at different positions, at most `max_distance` apart."""

    singles: Singles
    max_distance: int | None = None

    @property
    def settings(self) -> dict[str, Any]:
        return self.singles.settings | {"kind": "pairs", "max_distance": self.max_distance}

    @property
    def count(self) -> int:
        counts = {position: len(self.singles.edits(position)) for position in self.singles.positions}
        if self.max_distance is None:
            return (sum(counts.values()) ** 2 - sum(count**2 for count in counts.values())) // 2
        return sum(counts[one] * counts[other] for one, other in self._places())

    def __iter__(self) -> Iterator[Variant]:
        for one, other in self._places():
            yield from product(self.singles.edits(one), self.singles.edits(other))

    def _places(self) -> Iterator[tuple[int, int]]:
        far = self.max_distance
        return (
            (one, other) for one, other in combinations(self.singles.positions, 2) if far is None or other - one <= far
        )


@dataclass(frozen=True)
class Combinations:
    """Every combination of letters at some sites, the wild type among them."""

    wild_type: WildType
    sites: Sequence[int]
    letters: str

    @property
    def settings(self) -> dict[str, Any]:
        return {"kind": "combinations", "sites": list(self.sites), "letters": self.letters}

    @property
    def count(self) -> int:
        return len(self.letters) ** len(self.sites)

    def __iter__(self) -> Iterator[Variant]:
        wild = [self.wild_type.sequence[site] for site in self.sites]
        for letters in product(self.letters, repeat=len(self.sites)):
            changes = zip(self.sites, wild, letters, strict=True)
            yield tuple(Edit(site, old, new) for site, old, new in changes if old != new)


def read_positions(text: str, wild_type: WildType, flag: str) -> list[int]:
    """The positions, from 0, that `20-60,75` names.

    Raises:
        InputError: if it cannot be read, a position is outside or named twice.
    """
    positions: list[int] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise InputError(f"{flag}: expected positions such as 20-60,75, got {text!r}")
        first = int(match[1])
        try:
            ends = [wild_type.index(int(each)) for each in (match[1], match[2] or first)]
        except ValueError as error:
            raise InputError(f"{flag}: {error}") from None
        if ends[1] < ends[0]:
            raise InputError(f"{flag}: expected the smaller position first, got {part.strip()!r}")
        positions += range(ends[0], ends[1] + 1)
    if twice := [position for position, count in Counter(positions).items() if count > 1]:
        raise InputError(f"{flag}: position {wild_type.number(twice[0])} is named twice")
    return sorted(positions)


def read_letters(text: str | None, wild_type: WildType) -> str:
    """Letters in the wild type's spelling, by default all that the alphabet has.

    Raises:
        InputError: for one that it has not, or that is named twice.
    """
    if text is None:
        return wild_type.spell(wild_type.alphabet.letters)
    try:
        letters = wild_type.spell("".join(text.replace(",", " ").split()))
    except ValueError as error:
        raise InputError(f"--letters: {error}") from None
    if len(set(letters)) < len(letters) or not letters:
        raise InputError(f"--letters: expected different letters, such as ACDEF, got {text!r}")
    return letters
