"""The plots of a plate and of a campaign."""

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..data.rows import Row
from .measured import Measured

_DPI = 130
_MOST_POSITIONS = 24
_NO_PLATE = "give a plate of `lyra propose`, with its\nmeasurements beside it, as the last round"
_COLORS = {"exploit": "C0", "explore": "C1", "control": "0.5"}


class Hindsight(NamedTuple):
    """What was predicted for the last round, as its plate says, and what was measured, `(n,)` each; ends of intervals
    are NaN where the plate has none."""

    measured: np.ndarray
    predicted: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def draw_plate(rows: Sequence[Row], measured: Measured, hindsight: Hindsight | None, offset: int) -> bytes:
    """A PNG of what the plate is made of, and of what was learned so far."""
    figure = Figure(figsize=(11, 7.6), layout="constrained")
    axes = figure.subplots(2, 2).flatten()
    _draw_novelty(axes[0], rows)
    _draw_composition(axes[1], [str(row[measured.column]) for row in rows if row["reason"] != "control"], offset)
    _draw_rounds(axes[2], measured)
    _draw_hindsight(axes[3], hindsight, measured.label)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=_DPI, format="png")
    return picture.getvalue()


def _draw_novelty(axis: Axes, rows: Sequence[Row]) -> None:
    for reason, color in _COLORS.items():
        own = [row for row in rows if row["reason"] == reason]
        if own:
            jitter = np.random.default_rng(0).uniform(-0.2, 0.2, len(own))
            distances = np.array([float(row["distance"]) for row in own]) + jitter
            axis.plot(distances, [row["prediction"] for row in own], ".", color=color, label=reason, alpha=0.7)
    axis.set(xlabel="letters from the nearest measured sequence", ylabel="predicted", title="Value and novelty")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend()


def _draw_composition(axis: Axes, sequences: Sequence[str], offset: int) -> None:
    """How often each letter is at each position that varies; of other lengths how long the sequences are."""
    if len({len(each) for each in sequences}) > 1:
        axis.hist([len(each) for each in sequences], bins=20)
        axis.set(xlabel="length", ylabel="sequences", title="Composition of the plate")
        return
    counts = [Counter(letters) for letters in zip(*sequences, strict=True)]
    varying = [position for position, each in enumerate(counts) if len(each) > 1]
    shown = sorted(sorted(varying, key=lambda position: max(counts[position].values()))[:_MOST_POSITIONS])
    letters = sorted({letter for position in shown for letter in counts[position]})
    table = np.array([[counts[position][letter] for position in shown] for letter in letters], dtype=float)
    if table.size:
        image = axis.imshow(table / len(sequences), aspect="auto", cmap="viridis", vmin=0)
        axis.figure.colorbar(image, ax=axis, label="share of the plate")
    axis.set_xticks(range(len(shown)), [str(position + 1 + offset) for position in shown])
    axis.set_yticks(range(len(letters)), letters)
    more = f", {len(shown)} of {len(varying)} positions that vary" * (len(varying) > len(shown))
    axis.set(xlabel="position", title=f"Composition of the plate{more}")


def _draw_rounds(axis: Axes, measured: Measured) -> None:
    numbers = sorted(set(measured.rounds.tolist()))
    groups = [measured.values[measured.rounds == number] for number in numbers]
    axis.boxplot(groups, positions=numbers, widths=0.5, flierprops={"marker": ".", "markersize": 4})
    axis.set(xlabel="round", ylabel=f"measured {measured.label}", title="Learning curve")


def _draw_hindsight(axis: Axes, hindsight: Hindsight | None, label: str) -> None:
    axis.set(title="The last round, as its plate predicted it")
    if hindsight is None:
        axis.text(0.5, 0.5, _NO_PLATE, ha="center", va="center", transform=axis.transAxes)
        axis.set_axis_off()
        return
    below, above = hindsight.predicted - hindsight.lower, hindsight.upper - hindsight.predicted
    reach = np.nan_to_num(np.maximum([below, above], 0))
    axis.errorbar(hindsight.predicted, hindsight.measured, xerr=reach, fmt=".", alpha=0.6, linewidth=0.6)
    ends = [min(axis.get_xlim()[0], axis.get_ylim()[0]), max(axis.get_xlim()[1], axis.get_ylim()[1])]
    axis.plot(ends, ends, color="0.4", linewidth=1, linestyle="--")
    axis.set(xlabel="predicted, with its interval" if np.any(reach) else "predicted", ylabel=f"measured {label}")


def plot_campaigns(curves: dict[str, np.ndarray], batches: list[int], file: Path) -> None:
    """The best found value over the maximum, mean and standard error over seeds, by the number of measurements.

    Args:
        curves: of each arm, `(seeds, rounds)`.
        batches: measurements up to each round.
    """
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axis = figure.subplots()
    for arm, values in curves.items():
        error = values.std(axis=0, ddof=1) / len(values) ** 0.5 if len(values) > 1 else None
        axis.errorbar(batches, values.mean(axis=0), yerr=error, marker="o", markersize=4, capsize=3, label=arm)
    axis.set(xlabel="measured sequences", ylabel="best found / maximum")
    axis.legend()
    figure.savefig(file, dpi=_DPI, format="png")
