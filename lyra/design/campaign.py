"""Rounds of measuring and choosing: what is known, what could be measured, and the next plate of it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..alphabet_lyra import get_alphabet
from ..errors import InputError
from .acquisition import ACQUISITIONS, Beliefs, choose
from .candidates import Candidates, Pool
from .constraints import spell
from .measured import Measured, average
from .surrogate import Surrogate, fit_surrogate

Fit = Callable[[Measured, int], Surrogate]  # given a seed


@dataclass(frozen=True)
class Policy:
    """How a plate is chosen.

    Attributes:
        acquisition: a key of `ACQUISITIONS`.
        beta: of `"ucb"`, how many standard deviations count.
        min_distance: letters by which any two of a plate differ at least.
        explore: the share of places, at least one, that go by the standard deviation alone.
        minimize: whether a smaller value is better.

    Raises:
        InputError: naming the flag that cannot be used.
    """

    acquisition: str = "greedy"
    beta: float = 1.0
    min_distance: int = 1
    explore: float = 0.0
    minimize: bool = False

    def __post_init__(self):
        if self.acquisition not in ACQUISITIONS:
            raise InputError(f"--acquisition: expected one of {', '.join(ACQUISITIONS)}, got {self.acquisition!r}")
        if not 0 <= self.explore <= 1:
            raise InputError(f"--explore: expected a share from 0 to 1, got {self.explore:g}")
        if self.min_distance < 1:
            raise InputError(f"--min_distance: expected at least 1, got {self.min_distance}")
        if not 0 <= self.beta < math.inf:
            raise InputError(f"--beta: expected a number from 0, got {self.beta:g}")

    @property
    def sign(self) -> int:
        """What makes greater values better."""
        return -1 if self.minimize else 1


GREEDY = Policy()


class Pick(NamedTuple):
    """A place on a plate.

    Attributes:
        predicted: by each member of the surrogate.
        value: of the acquisition, greater is better.
        reason: `"exploit"` for one of those with the best predictions, otherwise `"explore"`.
    """

    sequence: str
    predicted: np.ndarray
    value: float
    reason: str


class Campaign:
    """Measurements of some rounds, and the choice of the next ones.

    Args:
        candidates: what could be measured.
        alphabet: the name of that of the sequences.
        fit: makes a surrogate of what was measured.
        seed: the same one chooses the same plates.

    Example:

    ```python
    >>> from lyra.design import Campaign, Pool

    >>> campaign = Campaign(Pool(["ACDE", "ACDF", "ACDG"]), "protein")
    >>> campaign.measure(["ACDE"], [0.3])
    >>> campaign.measured.sequences
    ['ACDE']
    ```
    """

    def __init__(
        self,
        candidates: Candidates,
        alphabet: str,
        policy: Policy = GREEDY,
        fit: Fit = fit_surrogate,
        seed: int = 0,
    ):
        self._letters = get_alphabet(alphabet)
        if isinstance(candidates, Pool):  # in the letters of what was measured
            candidates = replace(candidates, sequences=[spell(each, self._letters) for each in candidates.sequences])
        self.candidates, self.alphabet, self.policy, self.fit, self.seed = candidates, alphabet, policy, fit, seed
        self._rounds: list[tuple[list[str], list[float]]] = []

    def measure(self, sequences: Sequence[str], values: Sequence[float]) -> None:
        """Adds a round.

        Raises:
            ValueError: unless there is a finite value for each sequence, and for a letter that the alphabet has not.
        """
        if len(sequences) != len(values):
            raise ValueError(f"expected a value for each of the {len(sequences)} sequences, got {len(values)}")
        for sequence, value in zip(sequences, values, strict=True):
            if not math.isfinite(value):
                raise ValueError(f"expected a finite value, got {value} for {sequence!r}")
            if others := set(spell(sequence, self._letters)) - set(self._letters.characters):
                raise ValueError(f"{min(others)!r} in {sequence!r} is no letter of the alphabet {self.alphabet}")
        self._rounds.append((list(sequences), [float(value) for value in values]))

    @property
    def measured(self) -> Measured:
        """All rounds, replicates averaged."""
        sequences = [sequence for own, _ in self._rounds for sequence in own]
        values = [value for _, own in self._rounds for value in own]
        numbers = [number for number, (own, _) in enumerate(self._rounds, 1) for _ in own]
        return average(sequences, values, numbers, "label", self.alphabet)

    def propose(self, count: int) -> list[Pick]:
        """The next plate; shorter if there are not as many candidates.

        Raises:
            InputError: if there are none, or too few measurements to learn from.
        """
        measured = self.measured
        surrogate = self.fit(measured, self.seed)
        return choose_plate(surrogate, self.candidates, measured, count, self.policy, self.seed)


def choose_plate(
    surrogate: Surrogate,
    candidates: Candidates,
    measured: Measured,
    count: int,
    policy: Policy,
    seed: int,
    excluded: Sequence[str] = (),
) -> list[Pick]:
    """The candidates to measure, in the order in which they are chosen.

    Args:
        excluded: sequences that are not chosen, besides the measured ones.

    Raises:
        InputError: if there are none, or the policy needs a surrogate of several members.
    """
    rng = np.random.default_rng(seed)
    known = [*measured.best_first(policy.sign), *excluded]
    found = candidates.find(known, lambda each: policy.sign * surrogate.predict(each).mean(axis=0), rng)
    members = policy.sign * surrogate.predict(found)
    if len(members) == 1 and (policy.acquisition != "greedy" or policy.explore):
        flag = "--explore" if policy.explore else f"--acquisition {policy.acquisition}"
        raise InputError(f"{flag}: the model is no ensemble, so that its uncertainty is not known")
    mean, std = members.mean(axis=0), members.std(axis=0, ddof=int(len(members) > 1))
    best = float((policy.sign * measured.values).max())
    ways = ACQUISITIONS[policy.acquisition](Beliefs(members, mean, std, best, policy.beta))
    values, exploring = np.vstack([ways, std]), len(ways)
    places = rng.integers(len(ways), size=count)
    if policy.explore:
        places[-max(1, round(policy.explore * count)) :] = exploring
    chosen = choose(values, found, places.tolist(), policy.min_distance)
    has_leading = policy.acquisition != "greedy"  # whose places are all for the best that keep their distance
    leading = set(np.argsort(-mean, kind="stable")[:count].tolist())
    return [
        Pick(
            found[index],
            policy.sign * members[:, index],
            float(values[way, index]),
            "explore" if way == exploring or (has_leading and index not in leading) else "exploit",
        )
        for index, way in chosen
    ]
