"""What campaigns are played on: a table of which everything is measured, or a simulated landscape.

A new kind of the latter is one more entry of `SIMULATED`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..alphabet_lyra import get_alphabet
from ..simulation import every_variant, random_landscape
from ..variants.notation import WildType
from .candidates import Candidates, Pool, Search
from .constraints import read_constraints
from .ehrlich import random_ehrlich


class Landscape(NamedTuple):
    """A landscape.

    Attributes:
        alphabet: the name of that of its sequences.
        candidates: what may be chosen.
        start: some different random sequences.
        measure: the value of a sequence.
        maximum: of all values, above 0.
        size: how many sequences there are.
    """

    alphabet: str
    candidates: Candidates
    start: Callable[[np.random.Generator, int], list[str]]
    measure: Callable[[str], float]
    maximum: float
    size: float


def tabulated(values: dict[str, float], alphabet: str) -> Landscape:
    """A landscape of which everything is known; what is not in the table is no candidate."""
    sequences = list(values)

    def start(rng: np.random.Generator, count: int) -> list[str]:
        return [sequences[i] for i in rng.choice(len(sequences), count, replace=False)]

    return Landscape(alphabet, Pool(sequences), start, values.__getitem__, max(values.values()), len(sequences))


def _generator(seed: int) -> np.random.Generator:
    """Not that of a campaign with the same seed, whose start would depend on the landscape."""
    return np.random.default_rng([seed, 1])


def _polynomial(seed: int) -> Landscape:
    """Eight positions of four letters, with interactions of up to three."""
    landscape = random_landscape(_generator(seed), length=20, order=3, positions=8)
    return tabulated({each: landscape.fitness(each) for each in every_variant(landscape)}, "protein")


def _ehrlich(seed: int) -> Landscape:
    """All sequences of 32 residues, searched from a random one."""
    rng, alphabet = _generator(seed), get_alphabet("protein")
    function = random_ehrlich(rng, alphabet.letters)

    def start(rng: np.random.Generator, count: int) -> list[str]:
        found: dict[str, None] = {}
        while len(found) < count:
            found[function.sample(rng)] = None
        return list(found)

    wild_type = WildType(function.sample(rng), alphabet)
    search = Search(read_constraints(wild_type, alphabet))
    return Landscape(alphabet.name, search, start, function.value, maximum=1.0, size=math.inf)


SIMULATED: dict[str, Callable[[int], Landscape]] = {
    "polynomial": _polynomial,
    "ehrlich": _ehrlich,
}
