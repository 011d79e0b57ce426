"""Plots of scans, as PNG files."""

from pathlib import Path

import numpy as np
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..alphabet_lyra import AMINO_ACIDS
from .notation import WildType

_DPI = 150
_WRAP = 100  # positions in a row of a heat map
# From hydrophobic to charged, as maps of effects have them.
AMINO_ACID_ORDER = "CFILMVWYAGTSNQDEHKRP"


def plot_heat_map(
    effects: np.ndarray, wild_type: WildType, letters: str, title: str, neutral: float, path: Path
) -> None:
    """The effects of single changes: positions across, letters down, a dot on the wild type's.

    Args:
        effects: `(length, letters)`, NaN where there is none.
        neutral: what no effect is.
    """
    order = [letter for letter in AMINO_ACID_ORDER if letter in letters] if set(letters) <= set(AMINO_ACIDS) else []
    order += [letter for letter in letters if letter not in order]
    chosen = np.flatnonzero(np.isfinite(effects).any(axis=1))
    matrix = effects[chosen][:, [letters.index(letter) for letter in order]].T
    panels = -(-len(chosen) // _WRAP)
    width = min(len(chosen), _WRAP)
    figure = Figure(figsize=(max(4.0, 0.16 * width + 1.6), panels * (0.16 * len(order) + 0.9)), layout="constrained")
    norm = CenteredNorm(neutral, halfrange=float(np.nanmax(np.abs(matrix - neutral))) or 1.0)
    axes = np.ravel(figure.subplots(panels, 1, squeeze=False))
    for panel, axis in enumerate(axes):
        part = slice(panel * _WRAP, (panel + 1) * _WRAP)
        places = chosen[part]
        axis.set_facecolor("white")
        image = axis.imshow(matrix[:, part], cmap="coolwarm", norm=norm, aspect="auto", interpolation="nearest")
        own = [(x, order.index(wild_type.sequence[p])) for x, p in enumerate(places) if wild_type.sequence[p] in order]
        axis.plot(*zip(*own, strict=True) if own else ([], []), "k.", markersize=3)
        axis.set_yticks(range(len(order)), order, fontsize=7)
        ticks = range(0, len(places), 1 if len(places) <= 30 else 5)
        labels = [f"{wild_type.sequence[places[x]]}{wild_type.number(int(places[x]))}" for x in ticks]
        axis.set_xticks(ticks, labels, fontsize=7, rotation=90)
        axis.set_xlim(-0.5, width - 0.5)
    axes[0].set_title(title)
    figure.colorbar(image, ax=axes, label=title, fraction=0.02, pad=0.01)
    figure.savefig(path, dpi=_DPI)


def plot_pair_map(strongest: np.ndarray, wild_type: WildType, path: Path) -> None:
    """The strongest epistasis of each pair of positions.

    Args:
        strongest: `(length, length)`, NaN where there is none.
    """
    chosen = np.flatnonzero(np.isfinite(strongest).any(axis=1))
    matrix = strongest[np.ix_(chosen, chosen)]
    figure = Figure(figsize=(6.4, 5.4), layout="constrained")
    axis = figure.subplots()
    axis.set_facecolor("white")
    norm = CenteredNorm(0, halfrange=float(np.nanmax(np.abs(matrix))) or 1.0)
    image = axis.imshow(matrix, cmap="coolwarm", norm=norm, interpolation="nearest")
    step = max(1, -(-len(chosen) // 40))
    ticks = range(0, len(chosen), step)
    labels = [f"{wild_type.sequence[chosen[x]]}{wild_type.number(int(chosen[x]))}" for x in ticks]
    axis.set_xticks(ticks, labels, fontsize=7, rotation=90)
    axis.set_yticks(ticks, labels, fontsize=7)
    figure.colorbar(image, ax=axis, label="epistasis, the strongest of each pair of positions")
    figure.savefig(path, dpi=_DPI)


def plot_effects(effects: np.ndarray, title: str, neutral: float, path: Path) -> None:
    """How effects are distributed."""
    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    axis = figure.subplots()
    axis.hist(effects, bins=min(60, max(10, len(effects) // 20)))
    axis.axvline(neutral, color="0.4", linewidth=1, linestyle="--", label="wild type")
    axis.set(xlabel=title, ylabel="variants")
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend()
    figure.savefig(path, dpi=_DPI)


def plot_comparison(measured: np.ndarray, predicted: np.ndarray, title: str, path: Path) -> None:
    """What was measured against predicted effects, each `(n,)`."""
    figure = Figure(figsize=(4.8, 4.4), layout="constrained")
    axis = figure.subplots()
    if len(measured) > 2000:
        image = axis.hexbin(predicted, measured, gridsize=60, bins="log", mincnt=1, cmap="viridis")
        figure.colorbar(image, ax=axis, label="variants", format="{x:,.0f}")
    else:
        axis.plot(predicted, measured, ".", markersize=4, alpha=0.6)
    axis.set(xlabel="predicted effect", ylabel="measured", title=title)
    figure.savefig(path, dpi=_DPI)
