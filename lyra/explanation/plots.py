"""Plots of explanations, as PNG files."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..alphabet_lyra import AMINO_ACIDS
from .memory import Response
from .motifs import Motif

_DPI = 150
_WRAP = 100  # positions in a row of a logo
_MOST_MOTIFS = 12


def plot_logos(matrices: Sequence[np.ndarray], titles: Sequence[str], letters: str, label: str, path: Path) -> None:
    """Logos of contributions `(length, letters)`, one below the other, long ones wrapped."""
    rows = [
        (title if start == 0 else "", matrix, start)
        for matrix, title in zip(matrices, titles, strict=True)
        for start in range(0, len(matrix), _WRAP)
    ]
    width = min(_WRAP, max(map(len, matrices)))
    figure = Figure(figsize=(max(4.0, 0.13 * width + 1), 1.5 * len(rows) + 0.4), layout="constrained")
    for axis, (title, matrix, start) in zip(np.ravel(figure.subplots(len(rows), 1, squeeze=False)), rows, strict=True):
        _draw(axis, matrix[start : start + _WRAP], letters, start + 1)
        sums = np.where(matrix > 0, matrix, 0).sum(axis=1).max(), np.where(matrix < 0, matrix, 0).sum(axis=1).min()
        axis.set(xlim=(start + 0.5, start + width + 0.5), ylim=(1.05 * sums[1] - 1e-9, 1.05 * sums[0] + 1e-9))
        axis.set_ylabel(label, fontsize=8)
        axis.set_title(title, fontsize=9, loc="left", parse_math=False)
    figure.savefig(path, dpi=_DPI)


def plot_motifs(motifs: Sequence[Motif], letters: str, path: Path) -> None:
    """The mean contributions of each motif, the largest of all first."""
    shown = motifs[:_MOST_MOTIFS]
    figure = Figure(figsize=(5.6, 1.5 * len(shown) + 0.3), layout="constrained")
    for number, axis in enumerate(np.ravel(figure.subplots(len(shown), 1, squeeze=False))):
        motif = shown[number]
        _draw(axis, motif.contributions, letters, 1)
        axis.set_xlim(0.5, max(len(each.contributions) for each in shown) + 0.5)
        axis.set_ylabel("contribution", fontsize=8)
        axis.set_title(f"motif_{number + 1}, {len(motif.hits)} hits", fontsize=9, loc="left")
    figure.savefig(path, dpi=_DPI)


def _draw(axis: Axes, matrix: np.ndarray, letters: str, first: int) -> None:
    """A logo on an axis, positions from `first`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of logomaker, about its own libraries
        import logomaker
        import pandas

        frame = pandas.DataFrame(matrix.astype(float), columns=list(letters), index=range(first, first + len(matrix)))
        scheme = "chemistry" if letters == AMINO_ACIDS else "classic"
        logomaker.Logo(frame, ax=axis, color_scheme=scheme, flip_below=False, show_spines=False)
    axis.axhline(0, color="0.4", linewidth=0.6)
    axis.tick_params(labelsize=7)


def plot_memory(found: Sequence[Response], path: Path) -> None:
    """How much of its response a channel has within a distance: the median channel and nine tenths of all; and how far
    nine tenths of the response of each channel reach."""
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    curves, sorted_channels = figure.subplots(1, 2)
    for number, one in enumerate(found):
        name, distances = f"layer {one.layer}, {one.direction}", np.arange(one.kernel.shape[1]) + 1
        low, middle, high = np.quantile(one.shares, [0.05, 0.5, 0.95], axis=0)
        curves.plot(distances, middle, color=f"C{number}", label=name)
        curves.fill_between(distances, low, high, color=f"C{number}", alpha=0.12, linewidth=0)
        lengths = np.sort(one.memory)
        sorted_channels.plot(np.arange(len(lengths)) + 1, lengths, color=f"C{number}", label=name)
    curves.set(xlabel="distance, positions", ylabel="share of the response", xscale="log")
    sorted_channels.set(xlabel="channels, in order", ylabel="distance of nine tenths, positions")
    sorted_channels.set_ylim(bottom=0)
    sorted_channels.legend(fontsize=7)
    figure.savefig(path, dpi=_DPI)
