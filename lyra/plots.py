"""Plots of a training run, as PNG files."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import special
from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay, roc_auc_score

_DPI = 150
_PANELS = 3  # side by side
_MAX_NAMED_CURVES, _MAX_CURVES_INSIDE, _MAX_NUMBERED_CLASSES, _LONGEST_NAME = 20, 8, 15, 20
_plain_text = rc_context({"text.parse_math": False})  # a class may be called "$x"


@_plain_text
def plot_history(history: list[dict[str, Any]], metric: str, best_epoch: float, path: Path) -> None:
    """Training and validation loss, and the selection metric, over the epochs of a Trainer's `log_history`."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss_axis, metric_axis = figure.subplots(1, 2)
    for key, label in (("loss", "training"), ("eval_loss", "validation")):
        points = [(entry["epoch"], entry[key]) for entry in history if key in entry]
        if points:
            loss_axis.plot(*zip(*points, strict=True), marker=".", label=label)
    loss_axis.set(xlabel="epoch", ylabel="loss")
    loss_axis.legend()
    points = [(entry["epoch"], entry[f"eval_{metric}"]) for entry in history if f"eval_{metric}" in entry]
    points = [point for point in points if np.isfinite(point[1])]
    if points:
        epochs, values = zip(*points, strict=True)
        metric_axis.plot(epochs, values, marker=".", color="C1")
        metric_axis.plot(
            best_epoch, dict(points).get(best_epoch), "o", color="C3", label=f"selected: epoch {best_epoch:g}"
        )
        metric_axis.legend()
    metric_axis.set(xlabel="epoch", ylabel=f"validation {metric}")
    for axis in (loss_axis, metric_axis):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(path, dpi=_DPI)


@_plain_text
def plot_measured(predictions: np.ndarray, labels: np.ndarray, items: str, title: str, path: Path) -> None:
    """Predicted against measured values, each `(n,)`, with the line of equality.

    Args:
        items: what the values are of, `"sequences"` or `"residues"`.
    """
    figure = Figure(figsize=(5.4, 4.4), layout="constrained")
    axis = figure.subplots()
    ends = [min(labels.min(), predictions.min()), max(labels.max(), predictions.max())]
    if len(labels) > 2000:
        # One extent for both axes, or cells of predictions that vary little would be flat.
        image = axis.hexbin(
            labels, predictions, gridsize=60, extent=(*ends, *ends), bins="log", mincnt=1, cmap="viridis"
        )
        # Plain numbers: the library's powers of ten are mathematics, which is switched off here.
        figure.colorbar(image, ax=axis, label=items, format="{x:,.0f}")
    else:
        axis.plot(labels, predictions, ".", markersize=4, alpha=0.6)
    axis.plot(ends, ends, color="0.4", linewidth=1, linestyle="--")
    axis.set(xlabel="measured", ylabel="predicted", title=title)
    figure.savefig(path, dpi=_DPI)


@_plain_text
def plot_reliability(points: list[list[float]], claimed: str, observed: str, path: Path) -> None:
    """What is claimed, such as the level of intervals, against what is found, and the line of equality.

    Args:
        points: `(claimed, observed, ...)`.
        claimed, observed: names of the axes.
    """
    figure = Figure(figsize=(4.4, 4.4), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="0.4", linewidth=1, linestyle="--")
    axis.plot([point[0] for point in points], [point[1] for point in points], marker="o", markersize=4)
    axis.set(xlabel=claimed, ylabel=observed, xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
    figure.savefig(path, dpi=_DPI)


@_plain_text
def plot_trials(
    trials: list[dict[str, Any]], metric: str, greater_is_better: bool, logarithmic: list[str], path: Path
) -> None:
    """The validation score of each trial of a search, over their order and over each setting.

    Args:
        trials: with `number`, `value`, `state` and `settings` each.
        logarithmic: settings whose axis is logarithmic.
    """
    scored = [trial for trial in trials if trial["value"] is not None and np.isfinite(trial["value"])]
    names = list(dict.fromkeys(name for trial in scored for name in trial["settings"]))
    rows = -(-(len(names) + 1) // _PANELS)
    figure = Figure(figsize=(9, 3 * rows), layout="constrained")
    first, *others = np.ravel(figure.subplots(rows, _PANELS, sharey=True))
    values = [trial["value"] for trial in scored]
    colors = ["C0" if trial["state"] == "complete" else "0.7" for trial in scored]
    first.scatter([trial["number"] for trial in scored], values, color=colors, s=16)
    best = np.maximum.accumulate(values) if greater_is_better else np.minimum.accumulate(values)
    first.step([trial["number"] for trial in scored], best, where="post", color="C3", linewidth=1, label="best so far")
    first.legend(fontsize=8)
    first.set(xlabel="trial (grey: pruned)", ylabel=f"validation {metric}")
    first.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis, name in zip(others, names, strict=False):
        settings = [trial["settings"][name] for trial in scored]
        numbers = [isinstance(value, (int, float)) for value in settings]
        axis.scatter(settings if all(numbers) else list(map(str, settings)), values, color=colors, s=16)
        if name in logarithmic:
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter("{x:g}")  # the library's powers of ten are mathematics
            axis.xaxis.set_minor_formatter("")
        axis.set(xlabel=name)
    for axis in others[len(names) :]:
        axis.set_visible(False)
    figure.savefig(path, dpi=_DPI)


@_plain_text
def plot_confusion(logits: np.ndarray, labels: np.ndarray, names: tuple[str, ...], title: str, path: Path) -> None:
    """Shares of the true classes that were predicted as each class.

    Args:
        logits: `(n, classes)`; labels: `(n,)` class indices.
    """
    size = max(4.0, 1.5 + 0.5 * len(names))
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axis = figure.subplots()
    ConfusionMatrixDisplay.from_predictions(
        labels,
        logits.argmax(axis=1),
        labels=range(len(names)),
        display_labels=names,
        normalize="true",
        include_values=len(names) <= _MAX_NUMBERED_CLASSES,
        values_format=".2f",
        xticks_rotation=90 if max(map(len, names)) > 3 else 0,
        cmap="Blues",
        im_kw={"vmin": 0, "vmax": 1},
        ax=axis,
    )
    counts = np.bincount(labels, minlength=len(names))
    axis.set_yticklabels([f"{name} ({count:,})" for name, count in zip(names, counts, strict=True)])
    axis.set(xlabel="predicted", ylabel="true (number)", title=title)
    figure.savefig(path, dpi=_DPI)


@_plain_text
def plot_roc(logits: np.ndarray, labels: np.ndarray, names: tuple[str, ...], title: str, path: Path) -> bool:
    """A receiver operating characteristic per output in which both classes occur.

    Args:
        logits: `(n, outputs)`, for two classes those of a softmax.
        labels: `(n,)` class indices, or `(n, outputs)` of 0 and 1 with NaN for none.

    Returns:
        Whether there was one; without any, nothing is written.
    """
    if labels.ndim == 1:
        scores = special.softmax(logits, axis=1)
        truths = np.stack([labels == c for c in range(len(names))], axis=1).astype(float)
        if len(names) == 2:
            scores, truths, names = scores[:, 1:], truths[:, 1:], names[1:]
    else:
        scores, truths = special.expit(logits), labels
    figure = Figure(figsize=(4.8, 4.6), layout="constrained")
    axis = figure.subplots()
    colors = colormaps["tab20" if len(names) > 10 else "tab10"]
    for column, name in enumerate(names):
        present = ~np.isnan(truths[:, column])
        truth, score = truths[present, column], scores[present, column]
        if 0 < truth.sum() < truth.size:
            short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
            label = f"{short} ({roc_auc_score(truth, score):.3f})" if column < _MAX_NAMED_CURVES else "_hidden"
            curve = {"linewidth": 1, "label": label, "color": colors(column % colors.N)}
            RocCurveDisplay.from_predictions(truth, score, curve_kwargs=curve, ax=axis)
    axis.plot([0, 1], [0, 1], color="0.4", linewidth=1, linestyle="--")
    axis.set(xlabel="false positive rate", ylabel="true positive rate", title=title)
    if not axis.get_legend_handles_labels()[1]:
        return False
    many = len(names) > _MAX_CURVES_INSIDE
    place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if many else {"loc": "lower right"}
    axis.legend(title="AUROC", fontsize="small", **place)
    figure.set_figwidth(7.2 if many else 4.8)
    figure.savefig(path, dpi=_DPI)
    return True
