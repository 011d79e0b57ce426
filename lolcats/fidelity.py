"""The fidelity report: how close a linear model is to the model that it comes from, and which of its parts make it so.

Linear parts that a window and LoRA alone could replace are a known failure (arXiv 2510.05901), so losses are given with
the linear part off, too.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn
from tqdm.auto import tqdm

from lyra.files import made_folder, write_then_rename

from .base_models import is_masked
from .conversion import base_of, implementation, window_only
from .modeling_lolcats import SOFTMAX, TEACHER, LolcatsAttention, attention_layers, real_keys, softmax_weights

_BINS = 8
_DPI = 120
BASE, LINEAR, WINDOW = "base model", "linear", "linear part off"
Row = dict[str, Any]


def fidelity(model: nn.Module, batches: Iterable[dict[str, Tensor]], folder: str | Path) -> tuple[list[Row], list[Row]]:
    """Writes `report.md`, `layers.csv`, `losses.csv` and plots to a folder.

    Args:
        model: of [`linearize`] or [`load`], a language model. Its base is the same model with its own attention and
            without LoRA.
        batches: with labels, as [`lolcats.texts.collator`] makes them; each is run four times.

    Returns:
        the rows of both tables: of each layer, and of each kind of model by position and by length.

    Raises:
        InputError: for a model that is no language model.
    """
    kept = [{name: each.to(base_of(model).device) for name, each in batch.items()} for batch in batches]
    layers, losses = compare_layers(model, kept), _compare_losses(model, kept)
    folder = Path(folder)
    with made_folder(folder):
        for name, rows in (("layers.csv", layers), ("losses.csv", losses)):
            with write_then_rename(folder / name) as partial, open(partial, "w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        _plot_layers(layers, folder / "layers.png")
        _plot_losses(losses, folder / "losses.png")
        with write_then_rename(folder / "report.md") as partial:
            partial.write_text(_page(layers, losses), encoding="utf-8")
    return layers, losses


def _base(model: nn.Module) -> Any:
    """The model with its own attention and without its adapter, for a while."""
    return model.disable_adapter() if hasattr(model, "disable_adapter") else nullcontext()  # type: ignore[operator]


# ── Layers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Observer:
    """Sums over the real positions and heads of one layer."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = defaultdict(float)

    def observe(
        self, own: LolcatsAttention, q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None, teacher: Tensor
    ) -> None:
        real = real_keys(k, mask)
        output, expected = own(q, k, v, scale, mask), teacher.to(torch.promote_types(teacher.dtype, torch.float32))
        ours, theirs = own.weights(q, k, scale, mask), softmax_weights(own, q, k, scale, mask)

        def total(x: Tensor) -> float:  # of (b, h, l)
            return float((x * real[:, None]).sum())

        self.sums["error"] += total((output - expected).square().sum(-1))
        self.sums["size"] += total(expected.square().sum(-1))
        self.sums["divergence"] += total(torch.xlogy(theirs, theirs / ours.clamp_min(1e-12)).sum(-1))
        self.sums["own_entropy"] += total(-torch.xlogy(theirs, theirs).sum(-1))
        self.sums["entropy"] += total(-torch.xlogy(ours, ours).sum(-1))
        self.sums["count"] += float(real.sum()) * q.shape[1]

    def row(self, name: str) -> Row:
        sums, count = self.sums, max(self.sums["count"], 1.0)
        return {
            "layer": name,
            "relative_error": round((sums["error"] / max(sums["size"], 1e-30)) ** 0.5, 4),
            "divergence": round(sums["divergence"] / count, 4),
            "entropy_base": round(sums["own_entropy"] / count, 4),
            "entropy_linear": round(sums["entropy"] / count, 4),
        }


@torch.no_grad()
def compare_layers(model: nn.Module, batches: list[dict[str, Tensor]]) -> list[Row]:
    """Each layer given the inputs that the base model gives it."""
    layers = attention_layers(base_of(model))
    observers = {name: _Observer() for name in layers}
    for name, own in layers.items():
        own.observer = observers[name].observe
    try:
        with _base(model), implementation(model, TEACHER):
            for batch in tqdm(batches, desc="layers", delay=2):
                model(**batch)
    finally:
        for own in layers.values():
            own.observer = None
    return [observers[name].row(name) for name in layers]


# ── Losses ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@torch.no_grad()
def _compare_losses(model: nn.Module, batches: list[dict[str, Tensor]]) -> list[Row]:
    """The loss of each kind of model over all tokens, by position and by length, in nats."""
    masked = is_masked(model)
    found = {}
    for kind in (BASE, LINEAR, WINDOW):
        parts = []
        with _base(model) if kind == BASE else nullcontext():
            mode = {BASE: implementation(model, SOFTMAX), WINDOW: window_only(base_of(model))}.get(kind, nullcontext())
            with mode:
                parts = [_token_losses(model, batch, masked) for batch in tqdm(batches, desc=kind, delay=2)]
        found[kind] = [np.concatenate(each) for each in zip(*parts, strict=True)]
    return [
        {"by": by, "from": low, "to": high, "model": kind, "tokens": int(chosen.sum()), "loss": round(value, 4)}
        for kind, (losses, positions, lengths) in found.items()
        for by, values in (("all", positions), ("position", positions), ("length", lengths))
        for low, high in _bins(values, 1 if by == "all" else _BINS)
        if (chosen := (values >= low) & (values <= high)).any()
        for value in [float(losses[chosen].mean())]
    ]


def _token_losses(model: nn.Module, batch: dict[str, Tensor], masked: bool) -> tuple[np.ndarray, ...]:
    """The loss of each token that has a label, its position and the length of its piece."""
    inputs = {name: each for name, each in batch.items() if name != "labels"}
    logits, labels = model(**inputs, **({} if masked else {"use_cache": False})).logits.float(), batch["labels"]
    if not masked:
        logits, labels = logits[:, :-1], labels[:, 1:]
    losses = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100, reduction="none")
    shift = 0 if masked else 1
    positions = (torch.arange(labels.shape[1], device=labels.device) + shift).expand_as(labels)
    lengths = batch["attention_mask"].sum(1, keepdim=True).expand_as(labels)
    return tuple(each[labels != -100].cpu().numpy() for each in (losses, positions, lengths))


def _bins(values: np.ndarray, count: int) -> list[tuple[int, int]]:
    """Ranges of integers, both ends included, with about as many values each."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, count + 1)).astype(int))
    if len(edges) < 2:
        return [(int(edges[0]), int(edges[0]))]
    starts = [*edges[:-1]]
    return [(int(low), int(high) - (high != edges[-1])) for low, high in zip(starts, edges[1:], strict=True)]


# ── What people read ─────────────────────────────────────────────────────────────────────────────────────────────────


def _page(layers: list[Row], losses: list[Row]) -> str:
    total = {row["model"]: row["loss"] for row in losses if row["by"] == "all"}
    lines = ["# Fidelity", "", "| | loss (nats) |", "|---|---|"]
    lines += [f"| {kind} | {loss:.4f} |" for kind, loss in total.items()]
    gap, closed = total[WINDOW] - total[BASE], total[WINDOW] - total[LINEAR]
    if gap > 0:
        lines += ["", f"The linear part closes {closed / gap:.0%} of the gap that the windows alone leave."]
    lines += ["", "![losses](losses.png)", "", f"| {' | '.join(layers[0])} |", "|---" * len(layers[0]) + "|"]
    lines += [f"| {' | '.join(map(str, row.values()))} |" for row in layers]
    lines += [
        "",
        "Each layer gets the inputs that the base model gives it. `relative_error`: of the outputs of all heads before",
        "the output projection. `divergence`: Kullback-Leibler, of the attention weights from the softmax, in nats.",
        "",
        "![layers](layers.png)",
        "",
    ]
    return "\n".join(lines)


def _plot_layers(layers: list[Row], path: Path) -> None:
    figure = Figure(figsize=(8, 3), layout="constrained")
    error, entropy = figure.subplots(1, 2)
    numbers = np.arange(len(layers))
    error.plot(numbers, [row["relative_error"] for row in layers], "o-", label="relative error of outputs")
    error.plot(numbers, [row["divergence"] for row in layers], "s--", label="divergence of weights (nats)")
    entropy.plot(numbers, [row["entropy_base"] for row in layers], "o-", label="entropy of weights, base model (nats)")
    entropy.plot(numbers, [row["entropy_linear"] for row in layers], "s--", label="entropy of weights, linear (nats)")
    for axis in (error, entropy):
        axis.set(xlabel="layer", ylim=(0, 1.35 * axis.get_ylim()[1]))  # room for the legend
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(fontsize=8)
    _save(figure, path)


def _plot_losses(losses: list[Row], path: Path) -> None:
    figure = Figure(figsize=(8, 3), layout="constrained")
    for axis, by in zip(figure.subplots(1, 2, sharey=True), ("position", "length"), strict=True):
        for kind, style in ((BASE, "k-"), (LINEAR, "C0o-"), (WINDOW, "C1s--")):
            rows = [row for row in losses if row["by"] == by and row["model"] == kind]
            axis.plot([(r["from"] + r["to"]) / 2 for r in rows], [r["loss"] for r in rows], style, label=kind)
        axis.set(xlabel="position" if by == "position" else "length (tokens)", ylabel="loss (nats)")
    axis.legend(fontsize=8)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with write_then_rename(path) as partial:
        figure.savefig(partial, dpi=_DPI)
