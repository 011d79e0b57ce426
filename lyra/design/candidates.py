"""What could be measured next: the rows of a pool, all combinations of some sites, or what a search finds.

A new kind is one more class with `find`.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Protocol

import numpy as np

from ..errors import InputError
from .constraints import Constraints, gc_share

_MOST = 5_000_000  # combinations
_GENERATIONS, _PARENTS = 12, 200
_FEWEST_CHILDREN, _CHILDREN, _LETTERS = 200, 4000, 200_000  # of a generation, fewer of long sequences
_RECOMBINED = 0.3  # share of children with two parents
_TRIES = 20  # children for each that is kept
_REPAIRS = 200  # mutations at most to make a start keep to the constraints


Score = Callable[[list[str]], np.ndarray]  # of sequences, greater is better


class Candidates(Protocol):
    """A rule by which candidates are found."""

    @property
    def constraints(self) -> Constraints: ...

    def find(self, measured: Sequence[str], score: Score, rng: np.random.Generator) -> list[str]:
        """Sequences that keep to the constraints and were not measured, each once.

        Args:
            measured: in capitals, the best first.
            score: what the surrogate says.

        Raises:
            InputError: if there are none, with what emptied them.
        """


@dataclass(frozen=True)
class Pool:
    """Given sequences.

    Attributes:
        source: where they are from, for messages.
    """

    sequences: Sequence[str]
    source: str = "the pool"
    constraints: Constraints = field(default_factory=Constraints)

    def find(self, measured: Sequence[str], score: Score, rng: np.random.Generator) -> list[str]:
        return keep((each.upper() for each in self.sequences), self.constraints, measured, self.source)


@dataclass(frozen=True)
class Sites:
    """The wild type with every combination of the letters that some sites may have.

    Attributes:
        sites: positions, from 0.

    Raises:
        InputError: if there are too many to score each.
    """

    constraints: Constraints
    sites: Sequence[int]

    def __post_init__(self):
        number = math.prod(len(self.constraints.allowed[site]) for site in self.sites)
        if number > _MOST:
            raise InputError(
                f"--sites: {number:,} combinations, more than {_MOST:,}; allow fewer letters by --letters, or let the "
                "search find the best: --max_mutations without --sites"
            )

    def find(self, measured: Sequence[str], score: Score, rng: np.random.Generator) -> list[str]:
        return keep(self._all(), self.constraints, measured, "--sites")

    def _all(self) -> Iterator[str]:
        assert self.constraints.wild_type is not None
        letters = list(self.constraints.wild_type.sequence)
        for chosen in product(*(self.constraints.allowed[site] for site in self.sites)):
            for site, letter in zip(self.sites, chosen, strict=True):
                letters[site] = letter
            yield "".join(letters)


def keep(sequences: Iterable[str], constraints: Constraints, measured: Sequence[str], source: str) -> list[str]:
    """Those that keep to the constraints and were not measured, each once.

    Raises:
        InputError: if none is left, with what emptied them.
    """
    known = set(measured)
    reasons: Counter[str] = Counter()
    kept: dict[str, None] = {}
    for sequence in sequences:
        if sequence in kept:
            continue
        reason = "measured already" if sequence in known else constraints.violated(sequence)
        if reason is None:
            kept[sequence] = None
        else:
            reasons[reason] += 1
    if not kept:
        told = ", ".join(f"{count:,} by {reason}" for reason, count in reasons.most_common()) or "there are none"
        raise InputError(f"{source}: no candidates are left ({told})")
    return list(kept)


@dataclass(frozen=True)
class Search:
    """What evolution finds around a wild type and the best measured variants: the best parents of each generation are
    mutated in one place and recombined, and those of which the surrogate thinks most have children."""

    constraints: Constraints

    def find(self, measured: Sequence[str], score: Score, rng: np.random.Generator) -> list[str]:
        assert self.constraints.wild_type is not None
        wild = self.constraints.wild_type.sequence
        walk = _Walk(self.constraints, rng)
        starts = [wild, *(each for each in measured[:_PARENTS] if len(each) == len(wild))]
        children = list(dict.fromkeys(found for each in starts if (found := walk.repair(each)) is not None))
        if not children:
            raise InputError(
                f"the search around the wild type: no candidates are left; it could not be changed to keep to "
                f"{walk.obstacle} with all other constraints"
            )
        most = max(_FEWEST_CHILDREN, min(_CHILDREN, _LETTERS // len(wild)))
        scored: dict[str, float] = {}
        for _ in range(_GENERATIONS):
            if not children:
                break
            scored |= dict(zip(children, score(children).tolist(), strict=True))
            parents = sorted(scored, key=lambda each: (-scored[each], each))[:_PARENTS]
            children = walk.children(parents, scored, most)
        return keep(scored, self.constraints, measured, "the search around the wild type")


class _Walk:
    """Random changes that keep to constraints."""

    def __init__(self, constraints: Constraints, rng: np.random.Generator):
        assert constraints.wild_type is not None
        self.constraints, self.rng = constraints, rng
        self.wild = constraints.wild_type.sequence
        self.obstacle = ""
        self.free = [
            position
            for position, letters in enumerate(constraints.allowed)
            if set(letters) - {self.wild[position]} and len(letters) > 1
        ]

    def repair(self, sequence: str) -> str | None:
        """The sequence with letters that its positions may have; None if it keeps to the rest by no small change."""
        letters = [
            letter if letter in allowed else str(self.rng.choice(list(allowed)))
            for letter, allowed in zip(sequence, self.constraints.allowed, strict=True)
        ]
        for _ in range(_REPAIRS):
            found = self._revert(letters)
            flag = self.constraints.violated(found)
            if flag is None:
                return found
            self.obstacle = flag
            if not self.free:
                return None
            letters = list(self._mend(found))
        return None

    def _mend(self, sequence: str) -> str:
        """A mutation that may remove what is violated: in a motif, or towards the share of G and C."""
        motif = next((match for each in self.constraints.motifs if (match := each.pattern.search(sequence))), None)
        share, (low, high) = gc_share(sequence), self.constraints.gc
        if motif is not None:
            return self._mutate(sequence, [place for place in self.free if motif.start() <= place < motif.end()])
        if not low <= share <= high:
            wanted = {"G", "C"} if share < low else set(sequence) - {"G", "C"}
            places = [place for place in self.free if set(self.constraints.allowed[place]) & wanted]
            return self._mutate(sequence, [place for place in places if sequence[place] not in wanted], wanted)
        return self._mutate(sequence)

    def children(self, parents: Sequence[str], known: dict[str, float], most: int) -> list[str]:
        """New sequences that keep to the constraints, no more than `most`."""
        found: dict[str, None] = {}
        if not self.free:
            return []
        for _ in range(_TRIES * most):
            one = parents[int(self.rng.integers(len(parents)))]
            if len(parents) > 1 and self.rng.random() < _RECOMBINED:
                child = self._recombine(one, parents[int(self.rng.integers(len(parents)))])
            else:
                child = self._mutate(one)
            child = self._revert(list(child))
            if child not in known and child not in found and self.constraints.violated(child) is None:
                found[child] = None
            if len(found) == most:
                break
        return list(found)

    def _mutate(self, sequence: str, places: Sequence[int] = (), wanted: Collection[str] = ()) -> str:
        """Another letter at one of the places, by default any; one of those that are wanted, by default any."""
        places = places or self.free
        position = places[int(self.rng.integers(len(places)))]
        others = [letter for letter in self.constraints.allowed[position] if letter != sequence[position]]
        others = [letter for letter in others if letter in wanted] or others
        return sequence[:position] + others[self.rng.integers(len(others))] + sequence[position + 1 :]

    def _recombine(self, one: str, other: str) -> str:
        """Of each position the letter of either parent."""
        takes = self.rng.random(len(one)) < 0.5
        return "".join(a if take else b for a, b, take in zip(one, other, takes, strict=True))

    def _revert(self, letters: list[str]) -> str:
        """As many positions as it takes to have no more mutations than allowed are the wild type's again."""
        most = self.constraints.max_mutations
        changed = [p for p, (a, b) in enumerate(zip(letters, self.wild, strict=True)) if a != b]
        if most is not None and len(changed) > most:
            back = [p for p in changed if self.wild[p] in self.constraints.allowed[p]]
            for position in self.rng.permutation(back)[: len(changed) - most]:
                letters[position] = self.wild[position]
        return "".join(letters)
