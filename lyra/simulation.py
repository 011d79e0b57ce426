"""Simulated fitness landscapes with known epistasis: the data of `lyra demo`, of tests and of experiments.

A variant of a wild type is the set of its mutations. The polynomial landscape is multilinear in the indicators x of
the possible mutations (Ramesh et al. 2025, arXiv 2503.16351),

    f(x) = sum over k <= order, sum over sets S of k mutations at different positions, c_S prod_{i in S} x_i

with c_S = 0 for all but a random few sets; the other landscape passes an additive score through a sigmoid, so that no
polynomial of bounded degree is exact. Measurement adds Gaussian noise.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from .alphabet_lyra import get_alphabet

Mutation = tuple[int, str]


@dataclass
class Landscape:
    """A fitness function of the variants of one wild type.

    Attributes:
        wild_type: the sequence without mutations; its fitness is `fitness(wild_type)`.
        coefficients: c_S of each set S of mutations `(position, letter)`.
        saturating: whether the sum passes through a sigmoid with plateaus at 0 and 1.
    """

    wild_type: str
    coefficients: dict[frozenset[Mutation], float]
    saturating: bool = False

    def fitness(self, sequence: str) -> float:
        """The noiseless fitness of a variant as long as the wild type."""
        mutations = [(i, b) for i, (a, b) in enumerate(zip(self.wild_type, sequence, strict=True)) if a != b]
        present = set(mutations)
        total = sum(c for subset, c in self.coefficients.items() if subset <= present)
        return float(1 / (1 + np.exp(-total))) if self.saturating else float(total)


def random_landscape(
    rng: np.random.Generator,
    length: int = 40,
    order: int = 3,
    positions: int = 12,
    letters_per_position: int = 3,
    density: float = 0.5,
    saturating: bool = False,
    alphabet: str = "protein",
) -> Landscape:
    """Draws a wild type and the coefficients of its mutations.

    Args:
        rng: source of randomness.
        length: letters of the wild type.
        order: largest number of mutations that interact; 1 is additive. A saturating landscape has order 1 inside.
        positions: how many positions vary.
        letters_per_position: how many other letters each of them may take.
        density: interactions of each order k above 1, relative to `positions * letters_per_position ** k`.
        saturating: see [`Landscape`].
        alphabet: name of the alphabet.
    """
    if not 1 <= order <= positions <= length:
        raise ValueError(f"expected 1 <= order <= positions <= length, got {order}, {positions}, {length}")
    letters = get_alphabet(alphabet).letters
    if not 1 <= letters_per_position < len(letters):
        raise ValueError(f"`letters_per_position` must be 1 to {len(letters) - 1}, got {letters_per_position}")
    wild_type = "".join(rng.choice(list(letters), length))
    mutations: list[list[Mutation]] = []
    for position in sorted(rng.choice(length, positions, replace=False).tolist()):
        others = [letter for letter in letters if letter != wild_type[position]]
        mutations.append([(position, str(b)) for b in rng.choice(others, letters_per_position, replace=False)])
    coefficients = {frozenset([m]): float(rng.normal()) for site in mutations for m in site}
    if saturating:
        return Landscape(wild_type, {s: 3 * c for s, c in coefficients.items()}, saturating=True)
    for k in range(2, order + 1):
        sets = _random_sets(rng, mutations, k, density)
        # Every order contributes the same to the mean square: a variant of `simulate` has a given mutation with
        # probability p, and all the mutations of a set with p^k.
        p = 0.5 / letters_per_position
        scale = np.sqrt(positions * letters_per_position * p / (len(sets) * p**k))
        coefficients |= {s: float(rng.normal(scale=scale)) for s in sets}
    return Landscape(wild_type, coefficients)


def simulate(
    rng: np.random.Generator, landscape: Landscape, rows: int, noise: float = 0.1
) -> list[dict[str, str | float]]:
    """Draws different variants and measures them.

    Args:
        rng: source of randomness.
        landscape: what is measured.
        rows: number of variants.
        noise: standard deviation of the measurement, relative to that of the fitness over the variants.

    Returns:
        One row per variant: `sequence`, `label` (measured) and `fitness` (without noise).
    """
    choices = _choices(landscape)
    possible = np.prod([float(len(options)) for options in choices.values()])
    if rows > possible / 2:
        raise ValueError(f"`rows` must be at most half of the {possible:.0f} variants that exist, got {rows}")
    variants: dict[str, None] = {}
    while len(variants) < rows:
        sequence = list(landscape.wild_type)
        for position, options in choices.items():
            mutated = rng.random() < 0.5
            sequence[position] = options[int(rng.integers(1, len(options)))] if mutated else options[0]
        variants["".join(sequence)] = None
    fitness = np.array([landscape.fitness(sequence) for sequence in variants])
    measured = fitness + rng.normal(scale=noise * fitness.std(), size=rows)
    return [
        {"sequence": sequence, "label": round(float(label), 6), "fitness": round(float(value), 6)}
        for sequence, label, value in zip(variants, measured, fitness, strict=True)
    ]


def every_variant(landscape: Landscape) -> Iterator[str]:
    """All variants that there are, the wild type first."""
    choices = _choices(landscape)
    letters = list(landscape.wild_type)
    for chosen in product(*choices.values()):
        for position, letter in zip(choices, chosen, strict=True):
            letters[position] = letter
        yield "".join(letters)


def _choices(landscape: Landscape) -> dict[int, list[str]]:
    """The letters of each position that varies, the wild type's first."""
    choices: dict[int, list[str]] = {}
    for subset in landscape.coefficients:
        if len(subset) == 1:
            ((position, letter),) = subset
            choices.setdefault(position, [landscape.wild_type[position]]).append(letter)
    return choices


def _random_sets(
    rng: np.random.Generator, mutations: list[list[Mutation]], k: int, density: float
) -> list[frozenset[Mutation]]:
    """Random sets of k mutations at different positions; see `density` of [`random_landscape`]."""
    sets: dict[frozenset[Mutation], None] = {}  # the order of a set would change from process to process
    for _ in range(max(1, round(density * len(mutations) * len(mutations[0]) ** k))):
        sites = rng.choice(len(mutations), k, replace=False)
        sets[frozenset(mutations[i][int(rng.integers(len(mutations[i])))] for i in sites)] = None
    return list(sets)


@dataclass
class PlantedMotif:
    """A word that sequences hold.

    Attributes:
        letters: of which it is made.
        effect: what it adds to the label, wherever it is.
    """

    letters: str
    effect: float


def simulate_motifs(
    rng: np.random.Generator,
    motifs: list[PlantedMotif],
    rows: int,
    length: int = 100,
    noise: float = 0.1,
    alphabet: str = "dna",
) -> list[dict[str, Any]]:
    """Random sequences, each with every motif or not, at random places that do not overlap.

    Args:
        rng: source of randomness.
        motifs: each is in half of the sequences.
        rows: number of sequences.
        length: letters of each.
        noise: standard deviation of the measurement.
        alphabet: name of the alphabet.

    Returns:
        One row per sequence: `sequence`, `label`, and `starts`, the place of each motif or -1.
    """
    letters, found = list(get_alphabet(alphabet).letters), []
    for _ in range(rows):
        sequence, starts = rng.choice(letters, length), np.full(len(motifs), -1)
        free = np.ones(length, dtype=bool)
        for number in rng.permutation(len(motifs)):
            size = len(motifs[number].letters)
            places = [i for i in range(length - size + 1) if free[i : i + size].all()]
            if rng.random() < 0.5 and places:
                start = int(rng.choice(places))
                sequence[start : start + size] = list(motifs[number].letters)
                free[start : start + size] = False
                starts[number] = start
        label = sum(m.effect for m, start in zip(motifs, starts, strict=True) if start >= 0) + noise * rng.normal()
        found.append({"sequence": "".join(sequence), "label": round(float(label), 6), "starts": starts.tolist()})
    return found
