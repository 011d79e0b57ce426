"""How much a measurement of each candidate is worth, from what the members of an ensemble predict for it.

A new rule is one more entry of `ACQUISITIONS`. A rule gives a table of values, one row for each way of choosing: most
have one row; Thompson sampling has one for each member, and each place on the plate draws one of them.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from rapidfuzz.distance import Hamming, Levenshtein
from scipy.stats import norm


class Beliefs(NamedTuple):
    """What is believed of candidates.

    Attributes:
        members: predictions of each member of the ensemble, `(members, candidates)`; greater is better.
        mean, std: `(candidates,)`.
        best: the best value that was measured.
        beta: of the upper confidence bound, how many standard deviations count.
    """

    members: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    best: float
    beta: float


def _greedy(beliefs: Beliefs) -> np.ndarray:
    return beliefs.mean[None]


def _upper_bound(beliefs: Beliefs) -> np.ndarray:
    """The mean and `beta` standard deviations (Srinivas et al. 2010)."""
    return (beliefs.mean + beliefs.beta * beliefs.std)[None]


def _thompson(beliefs: Beliefs) -> np.ndarray:
    """What a member says, another one for each place (Thompson 1933)."""
    return beliefs.members


def _expected_improvement(beliefs: Beliefs) -> np.ndarray:
    """By how much the best measured value is expected to be surpassed, of a normal belief (Jones et al. 1998)."""
    gain, std = beliefs.mean - beliefs.best, np.maximum(beliefs.std, 1e-12)
    z = gain / std
    return (gain * norm.cdf(z) + std * norm.pdf(z))[None]


ACQUISITIONS: dict[str, Callable[[Beliefs], np.ndarray]] = {
    "greedy": _greedy,
    "ucb": _upper_bound,
    "ts": _thompson,
    "ei": _expected_improvement,
}


def choose(
    values: np.ndarray, sequences: Sequence[str], places: Sequence[int], min_distance: int
) -> list[tuple[int, int]]:
    """For each place on a plate the best candidate that is left, at least `min_distance` letters from those chosen.

    Args:
        values: `(ways, candidates)`, of an acquisition.
        sequences: of the candidates.
        places: the row of `values` that each place goes by.

    Returns:
        Candidate and row of each place; fewer than there are places if the candidates do not suffice.
    """
    orders = {way: iter(np.argsort(-values[way], kind="stable").tolist()) for way in sorted(set(places))}
    chosen: dict[int, int] = {}
    too_near: set[int] = set()
    for way in places:
        for index in orders[way]:
            if index in chosen or index in too_near:
                continue
            if any(distance(sequences[index], sequences[other]) < min_distance for other in chosen):
                too_near.add(index)
                continue
            chosen[index] = way
            break
    return list(chosen.items())


def distance(one: str, other: str) -> int:
    """Letters that differ; of other lengths edits (Levenshtein)."""
    return Hamming.distance(one, other) if len(one) == len(other) else Levenshtein.distance(one, other)
