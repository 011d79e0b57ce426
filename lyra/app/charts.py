"""Plots that answer to the mouse."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..alphabet_lyra import AMINO_ACIDS
from ..training.checkpoints import CHECKPOINTS, MEMBERS
from ..variants.plots import AMINO_ACID_ORDER

_MARGIN = {"l": 50, "r": 20, "t": 30, "b": 40}
_SINGLE = r"(?P<letter>[^\d:])(?P<position>-?\d+)(?P<change>\S)"


def training_curve(result: Path) -> go.Figure | None:
    """Loss and the score that selects, of the run that a folder holds; None before the first epoch."""
    states = [*result.glob(f"{CHECKPOINTS}/*/trainer_state.json")]
    states += result.glob(f"{MEMBERS}/*/{CHECKPOINTS}/*/trainer_state.json")
    if not states:
        return None
    try:
        history = json.loads(max(states, key=_written).read_text(encoding="utf-8"))["log_history"]
    except (OSError, ValueError):  # just being replaced
        return None
    return _curve(history)


def _written(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _curve(history: list[dict[str, Any]]) -> go.Figure:
    figure = make_subplots(specs=[[{"secondary_y": True}]])
    score = next((name for name in ("spearman", "mcc", "auroc") if any(f"eval_{name}" in e for e in history)), None)
    lines = [("training loss", "loss", False), ("validation loss", "eval_loss", False)]
    lines += [(f"validation {score}", f"eval_{score}", True)] if score else []
    for title, key, right in lines:
        entries = [entry for entry in history if key in entry]
        x, y = [entry["epoch"] for entry in entries], [entry[key] for entry in entries]
        figure.add_scatter(x=x, y=y, name=title, mode="lines+markers", secondary_y=right)
    figure.update_layout(
        template="plotly_white", height=320, margin=_MARGIN, xaxis_title="epoch", legend={"orientation": "h", "y": 1.15}
    )
    figure.update_yaxes(title_text="loss", secondary_y=False)
    return figure


def heat_map(scan: pd.DataFrame) -> go.Figure | None:
    """Effects of all single changes, positions across and letters down; None for a scan of other variants."""
    parts = scan["mutant"].astype(str).str.extract(f"^{_SINGLE}$")
    if parts.isna().any(axis=None) or parts["letter"].str.len().gt(1).any():
        return None
    effect = next(name for name in scan if name.startswith("effect"))
    table = scan.assign(place=parts["position"].astype(int), change=parts["change"], hover=_hovers(scan, effect))
    letters = _ordered(sorted({*parts["letter"], *parts["change"]}))
    places = sorted(set(table["place"]))
    own = dict(zip(table["place"], parts["letter"], strict=True))
    values = table.pivot(index="change", columns="place", values=effect).reindex(index=letters, columns=places)
    hovers = table.pivot(index="change", columns="place", values="hover").reindex(index=letters, columns=places)
    labels = [f"{own[place]}{place}" for place in places]
    figure = go.Figure()
    figure.add_heatmap(
        z=values,
        x=labels,
        y=letters,
        text=hovers.fillna(""),
        hovertemplate="%{text}<extra></extra>",
        colorscale="RdBu_r",
        zmid=0,
        colorbar={"title": effect},
    )
    dots = {"size": 4, "color": "black"}
    wild = [own[place] for place in places]
    figure.add_scatter(
        x=labels, y=wild, mode="markers", marker=dots, hovertemplate="wild type %{y}<extra></extra>", showlegend=False
    )
    height = 120 + 17 * len(letters)
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin=_MARGIN,
        xaxis={"type": "category"},
        yaxis={"autorange": "reversed"},
    )
    return figure


def _hovers(scan: pd.DataFrame, effect: str) -> list[str]:
    """What the mouse shows of each variant."""
    shown = [name for name in scan if name.startswith(("prediction", "probability"))]
    hovers = []
    for row in scan.to_dict("records"):
        lines = [f"<b>{row['mutant']}</b>", *(f"{name} {_short(row[name])}" for name in shown)]
        if "lower" in row:
            lines.append(f"interval {_short(row['lower'])} to {_short(row['upper'])}")
        hovers.append("<br>".join([*lines, f"{effect} {_short(row[effect])}"]))
    return hovers


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _ordered(letters: list[str]) -> list[str]:
    return [each for each in AMINO_ACID_ORDER if each in letters] if set(letters) <= set(AMINO_ACIDS) else letters
