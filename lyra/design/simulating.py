"""Campaigns on a landscape that is known: how soon each way of choosing finds the best.

A new way is one more entry of `ARMS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import OneHotEncoder
from tqdm.auto import tqdm

from ..errors import InputError
from ..files import compare_fingerprint, made_folder, read_json, write_json, write_then_rename
from ..training.record import versions
from .campaign import Campaign, Fit, Policy
from .landscapes import SIMULATED, Landscape, tabulated
from .measured import Measured, read_rounds
from .plots import plot_campaigns
from .surrogate import fit_surrogate

_PENALTIES = np.logspace(-2, 3, 11)
SETTINGS, RUNS, RECORD, TABLE, PLOT = "settings.json", "runs", "campaign.json", "campaign.md", "campaign.png"


class Arm(NamedTuple):
    """A way of choosing.

    Attributes:
        fit: makes its surrogate; None chooses at random, as the start is.
        acquisition: a key of `ACQUISITIONS`.
    """

    fit: Fit | None
    acquisition: str = "greedy"


@dataclass
class _Ridge:
    """Ridge regression on one-hot letters, its penalty by leaving one out."""

    encoder: OneHotEncoder
    ridge: RidgeCV

    @classmethod
    def fit(cls, measured: Measured, seed: int) -> "_Ridge":
        letters = [list(sequence) for sequence in measured.sequences]
        encoder = OneHotEncoder(handle_unknown="ignore").fit(letters)
        return cls(encoder, RidgeCV(_PENALTIES).fit(encoder.transform(letters).toarray(), measured.values))

    def predict(self, sequences: Sequence[str]) -> np.ndarray:
        encoded = self.encoder.transform([list(sequence) for sequence in sequences])
        return (encoded @ self.ridge.coef_ + self.ridge.intercept_)[None]

    def limits(self, predicted: np.ndarray, level: float) -> None:
        return None


_lyra = partial(fit_surrogate, quiet=True)

ARMS: dict[str, Arm] = {
    "random": Arm(None),
    "ridge greedy": Arm(_Ridge.fit),
    "lyra greedy": Arm(_lyra),
    "lyra ucb": Arm(_lyra, "ucb"),
    "lyra ts": Arm(_lyra, "ts"),
}


def simulate_campaign(
    landscape: str,
    output: str,
    start: int = 96,
    batch: int = 96,
    rounds: int = 4,
    seeds: int = 20,
    arms: Sequence[str] = tuple(ARMS),
    sequence_column: str | None = None,
    label_column: str | None = None,
    resume: bool = False,
) -> dict[str, np.ndarray]:
    """Plays campaigns, all arms from the same random starts: a table, a plot and their record in the folder `output`.

    Args:
        landscape: a table of sequences of one length, each with its measurement; or a key of `SIMULATED`, another
            landscape of this kind for each seed.
        start: sequences measured at random first.
        batch: of each round.
        seeds: campaigns of each arm.
        resume: whether to keep the finished campaigns of an interrupted call.

    Returns:
        For each arm the best value found after the start and each round over the landscape's maximum, `(seeds, rounds
        + 1)`.

    Raises:
        InputError: naming file, row and column, or a flag.
    """
    _check(start, batch, rounds, seeds, arms)
    identity, draw = _landscape(landscape, sequence_column, label_column)
    if (size := draw(0).size) < (needed := start + rounds * batch):
        raise InputError(f"{landscape}: has {size} sequences, a campaign measures {needed}")
    folder = Path(output)
    settings = identity | {"start": start, "batch": batch, "rounds": rounds, "versions": versions()}
    with made_folder(folder):
        _check_settings(folder, settings, resume)
        (folder / RUNS).mkdir(exist_ok=True)
        jobs = [(arm, seed) for seed in range(seeds) for arm in arms]
        for arm, seed in tqdm(jobs, desc="campaigns", unit=" campaigns"):
            file = _file(folder, arm, seed)
            if not file.exists():
                best = _play(draw(seed), ARMS[arm], seed, start, batch, rounds)
                write_json(file, {"arm": arm, "seed": seed, "best": best})
        found = {arm: np.array([read_json(_file(folder, arm, seed))["best"] for seed in range(seeds)]) for arm in arms}
        arrays = {arm: values.tolist() for arm, values in found.items()}
        write_json(folder / RECORD, settings | {"best": arrays})
        with write_then_rename(folder / TABLE) as partial:
            partial.write_text(table(found), encoding="utf-8")
        with write_then_rename(folder / PLOT) as partial:
            plot_campaigns(found, [start + i * batch for i in range(rounds + 1)], partial)
    print(f"{table(found)}\nwritten: {folder}: {TABLE}, {RECORD}, {PLOT}")
    return found


def _check(start: int, batch: int, rounds: int, seeds: int, arms: Sequence[str]) -> None:
    for flag, value, least in (("start", start, 10), ("batch", batch, 1), ("rounds", rounds, 1), ("seeds", seeds, 1)):
        if value < least:
            raise InputError(f"--{flag}: expected at least {least}, got {value}")
    for arm in arms:
        if arm not in ARMS:
            raise InputError(f"--arms: expected some of {', '.join(ARMS)}, got {arm!r}")


def _landscape(
    name: str, sequence_column: str | None, label_column: str | None
) -> tuple[dict[str, str], Callable[[int], Landscape]]:
    """What tells the landscape from others, and the one of each seed."""
    if name in SIMULATED:
        for flag, column in (("--sequence_column", sequence_column), ("--label_column", label_column)):
            if column is not None:
                raise InputError(f"{flag}: not with a simulated landscape")
        return {"landscape": name}, lru_cache(maxsize=1)(SIMULATED[name])  # the arms of a seed come one after the other
    if not Path(name).exists() and not Path(name).suffix:
        raise InputError(f"{name}: expected a table, or one of {', '.join(SIMULATED)}")
    known, notes = read_rounds([name], None, sequence_column, label_column)
    print(*notes, sep="\n", flush=True)
    if len({len(each) for each in known.sequences}) > 1:
        raise InputError(f"{name}: expected sequences of one length")
    if not known.values.max() > 0:
        raise InputError(f"{name}: expected a maximum above 0, got {known.values.max():g}")
    table = tabulated(dict(zip(known.sequences, known.values.tolist(), strict=True)), known.alphabet)
    identity = {"landscape": known.sha256, "sequence_column": known.column, "label_column": known.label}
    return identity, lambda seed: table


def _check_settings(folder: Path, settings: dict[str, Any], resume: bool) -> None:
    file = folder / SETTINGS
    if file.exists() and not resume:
        raise InputError(f"{folder}: exists already; --resume continues the campaigns there")
    if file.exists():
        compare_fingerprint(folder, read_json(file), settings)
    write_json(file, settings)


def _file(folder: Path, arm: str, seed: int) -> Path:
    return folder / RUNS / f"{arm.replace(' ', '_')}_{seed}.json"


def _play(landscape: Landscape, arm: Arm, seed: int, start: int, batch: int, rounds: int) -> list[float]:
    """The best found value over the maximum, after the start and after each round."""
    rng = np.random.default_rng(seed)
    value_of: dict[str, float] = {}
    best: list[float] = []
    chosen = landscape.start(rng, start)
    for number in range(rounds + 1):
        value_of |= {each: landscape.measure(each) for each in chosen}
        best.append(max(value_of.values()) / landscape.maximum)
        if number < rounds:
            chosen = _next(landscape, arm, value_of, batch, seed, rng)
    return best


def _next(
    landscape: Landscape, arm: Arm, value_of: dict[str, float], batch: int, seed: int, rng: np.random.Generator
) -> list[str]:
    """What an arm measures next, given what it has measured."""
    if arm.fit is None:
        drawn = landscape.start(rng, batch + len(value_of))
        return [each for each in drawn if each not in value_of][:batch]
    campaign = Campaign(landscape.candidates, landscape.alphabet, Policy(arm.acquisition), arm.fit, seed)
    campaign.measure(list(value_of), list(value_of.values()))
    return [pick.sequence for pick in campaign.propose(batch)]


def table(found: dict[str, np.ndarray]) -> str:
    """Markdown: the best found value over the maximum, mean and standard error, and how often the maximum is found."""
    rounds = next(iter(found.values())).shape[1]
    head = ["arm", "seeds", "start", *(f"round {number}" for number in range(1, rounds)), "finds the maximum"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for arm, values in found.items():
        each = [_mean_and_error(column) for column in values.T]
        lines.append(f"| {arm} | {len(values)} | {' | '.join(each)} | {(values[:, -1] >= 1).mean():.0%} |")
    return "\n".join(lines) + "\n"


def _mean_and_error(values: np.ndarray) -> str:
    error = f" ± {values.std(ddof=1) / len(values) ** 0.5:.3f}" if len(values) > 1 else ""
    return f"{values.mean():.3f}{error}"
