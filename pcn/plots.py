"""Plots of a tagger, as PNG files."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from .metrics import signal_share

_DPI = 150


def plot_rejection(found: np.ndarray, labels: np.ndarray, names: list[str], background: str, path: Path) -> None:
    """Background rejection over signal efficiency, a curve for each signal class.

    Args:
        found: probabilities `(jets, classes)`; labels: `(jets,)`.
    """
    figure = Figure(figsize=(5.4, 4.4), layout="constrained")
    axis = figure.subplots()
    number = names.index(background)
    for signal, name in enumerate(names):
        chosen = np.isin(labels, (signal, number))
        truth = labels[chosen] == signal
        if signal == number or not 0 < truth.sum() < truth.size:
            continue
        share = signal_share(found[chosen], signal, number)
        passed, efficiency, _ = roc_curve(truth, share, drop_intermediate=False)
        is_known = passed > 0  # no background jet passes: nothing to divide by
        axis.plot(efficiency[is_known], 1 / passed[is_known], label=name, linewidth=1.2)
    axis.set(xlabel="signal efficiency", ylabel=f"rejection of {background}", yscale="log", xlim=(0, 1))
    axis.grid(alpha=0.3)
    if axis.lines:
        axis.legend()
    figure.savefig(path, dpi=_DPI)
