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
from rapidfuzz.distance import Hamming

from ..errors import InputError
from .coding import solve
from .constraints import Constraints, Unit, gc_share

_MOST = 5_000_000  # combinations
_GENERATIONS, _PARENTS = 12, 200
_FEWEST_CHILDREN, _CHILDREN, _LETTERS = 200, 4000, 200_000  # of a generation, fewer of long sequences
_BEAM = 10  # parents of which all neighbours are looked at
_RECOMBINED = 0.3  # share of children with two parents
_TRIES = 20  # children for each that is kept
_REPAIRS = 200  # mutations beside those of each letter, at most, to make a start keep to the constraints
REACH = 2  # changes from a start, where --max_mutations does not say how far to go


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
    kept, reasons = sort_out(sequences, constraints, measured)
    if not kept:
        raise InputError(f"{source}: no candidates are left ({tell(reasons) or 'there are none'})")
    return kept


def sort_out(
    sequences: Iterable[str], constraints: Constraints, measured: Collection[str]
) -> tuple[list[str], Counter[str]]:
    """Those that keep to the constraints and were not measured, each once, and why how many others are none."""
    known = set(measured)
    reasons: Counter[str] = Counter()
    kept: dict[str, None] = {}
    for sequence in sequences:
        if sequence in kept:
            continue
        if sequence in known:
            reasons["measured already"] += 1
        elif (flag := constraints.violated(sequence)) is not None:
            reasons[f"by {flag}"] += 1
        else:
            kept[sequence] = None
    return list(kept), reasons


def tell(reasons: Counter[str]) -> str:
    """How many sequences were left out by what."""
    return ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())


@dataclass(frozen=True)
class Search:
    """What evolution finds around a wild type and the best measured variants: of each generation the best have
    children. Up to half of these are neighbours of the very best, in random order (a beam), the others have random
    parents among the best, by mutation and recombination.

    It goes as far from the wild type as `max_mutations` of the constraints. Without, no candidate is more than `REACH`
    changes (of codons, where they change as a whole) from the wild type or one of the best measured variants, or from
    what the constraints make of it: further off the surrogate extrapolates, and what it thinks most of is mostly
    wrong."""

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
        if self.constraints.max_mutations is None:
            walk.stay_near(children)
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
        self.units = constraints.units()
        self.unit_at = [index for index, unit in enumerate(self.units) for _ in range(unit.start, unit.end)]
        self.free = [unit for unit in self.units if len(unit.words) > 1]
        self.starts: list[str] = []

    def stay_near(self, starts: list[str]) -> None:
        """From now on no child is more than `REACH` changes from one of some sequences that keep to the constraints."""
        self.starts, self._letters = starts, np.array([list(each.encode()) for each in starts], dtype=np.uint8)

    def repair(self, sequence: str) -> str | None:
        """The sequence with what its units may be; None if it keeps to the rest by no small change."""
        letters = list(sequence)
        for unit in self.units:
            if sequence[unit.start : unit.end] not in unit.words:
                letters[unit.start : unit.end] = str(self.rng.choice(unit.words))
        found = self._revert(letters)
        if self.constraints.coding is not None:
            return self._solve(found)
        for _ in range(_REPAIRS + len(sequence)):
            flag = self.constraints.violated(found)
            if flag is None:
                return found
            self.obstacle = flag
            if not self.free:
                return None
            found = self._revert(list(self._mend(found)))
        return None

    def _solve(self, sequence: str) -> str | None:
        """[`repair`] of a gene, by the library."""
        if (flag := self.constraints.violated(sequence)) is None:
            return sequence
        self.obstacle, found = flag, solve(sequence, self.constraints, self.rng)
        return found if found is not None and self.constraints.violated(found) is None else None

    def _mend(self, sequence: str) -> str:
        """A mutation that may remove what is violated: in a motif, or towards the share of G and C."""
        motif = next((match for each in self.constraints.motifs if (match := each.pattern.search(sequence))), None)
        share, (low, high) = gc_share(sequence), self.constraints.gc
        if motif is not None:
            return self._mutate(sequence, [unit for unit in self.free if motif.start() <= unit.start < motif.end()])
        if not low <= share <= high:
            wanted = {"G", "C"} if share < low else set(sequence) - {"G", "C"}
            units = [unit for unit in self.free if set(unit.words) & wanted and sequence[unit.start] not in wanted]
            return self._mutate(sequence, units, wanted)
        return self._mutate(sequence)

    def children(self, parents: Sequence[str], known: dict[str, float], most: int) -> list[str]:
        """New sequences that keep to the constraints, no more than `most`."""
        if not self.free:
            return []
        found = dict.fromkeys(self._neighbours(parents, known, most // 2))
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

    def _neighbours(self, parents: Sequence[str], known: Collection[str], most: int) -> list[str]:
        """A beam: what is one change away from the best parent, then from the next, as many as may be."""
        found: dict[str, None] = {}
        for parent in parents[:_BEAM]:  # a parent is among its neighbours, but known
            others = [
                (unit, word) for unit in self.free for word in unit.words if parent[unit.start : unit.end] != word
            ]
            changed = [_replace(parent, unit, word) for unit, word in others]
            for index in self.rng.permutation(len(changed)):
                if len(found) == most:
                    return list(found)
                child = self._revert(list(changed[index]))
                if child not in known and self.constraints.violated(child) is None:
                    found[child] = None
        return list(found)

    def _mutate(self, sequence: str, units: Sequence[Unit] = (), wanted: Collection[str] = ()) -> str:
        """Another word in one of the units, by default any; one of those that are wanted, by default any."""
        units = units or self.free
        unit = units[int(self.rng.integers(len(units)))]
        others = [word for word in unit.words if word != sequence[unit.start : unit.end]]
        others = [word for word in others if word in wanted] or others
        return _replace(sequence, unit, others[self.rng.integers(len(others))])

    def _recombine(self, one: str, other: str) -> str:
        """Of each unit that may change the word of either parent."""
        letters = list(one)
        for unit, take in zip(self.free, (self.rng.random(len(self.free)) < 0.5).tolist(), strict=True):
            if take:
                letters[unit.start : unit.end] = other[unit.start : unit.end]
        return "".join(letters)

    def _revert(self, letters: list[str]) -> str:
        """The same, or no further off than allowed: units are the wild type's, or the nearest start's, again."""
        if self.constraints.max_mutations is not None:
            self._revert_mutations(letters, self.constraints.max_mutations)
        elif self.starts:
            self._revert_changes(letters)
        return "".join(letters)

    def _revert_mutations(self, letters: list[str], most: int) -> None:
        if (excess := Hamming.distance(letters, self.wild) - most) <= 0:
            return
        changed = [place for place, (a, b) in enumerate(zip(letters, self.wild, strict=True)) if a != b]
        units = dict.fromkeys(self.units[self.unit_at[place]] for place in changed)
        back = [unit for unit in units if self.wild[unit.start : unit.end] in unit.words]
        for index in self.rng.permutation(len(back)):
            if excess <= 0:
                break
            start, end = back[index].start, back[index].end
            excess -= sum(start <= place < end for place in changed)
            letters[start:end] = self.wild[start:end]

    def _revert_changes(self, letters: list[str]) -> None:
        own = np.frombuffer("".join(letters).encode(), dtype=np.uint8)
        nearest = int(np.count_nonzero(self._letters != own, axis=1).argmin())
        start = self.starts[nearest]
        changed = dict.fromkeys(self.unit_at[place] for place in np.flatnonzero(self._letters[nearest] != own))
        for index in self.rng.permutation(list(changed))[REACH:] if len(changed) > REACH else ():
            unit = self.units[index]
            letters[unit.start : unit.end] = start[unit.start : unit.end]


def _replace(sequence: str, unit: Unit, word: str) -> str:
    return sequence[: unit.start] + word + sequence[unit.end :]
