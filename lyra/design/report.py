"""The page beside a plate: what is on it, and how far to trust that."""

import base64
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined
from scipy.stats import spearmanr

from ..data.rows import Row
from .campaign import Policy
from .measured import Measured
from .plots import Hindsight, draw_plate

_TEMPLATE = Path(__file__).with_name("report_template.html")
_LONGEST = 60  # letters of a sequence on the page


def write_report(
    file: Path, rows: Sequence[Row], measured: Measured, policy: Policy, hindsight: Hindsight | None, offset: int
) -> None:
    """Writes the page.

    Args:
        file: of the caller, who renames it once all is written.
        rows: of the plate.
        hindsight: of the last round, where its table is a plate.
        offset: added to a position, counted from 1.
    """
    picture = base64.b64encode(draw_plate(rows, measured, hindsight, offset)).decode()
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(_TEMPLATE.read_text("utf-8"))
    page = template.render(
        title=f"Next plate: {len(rows)} sequences",
        lines=_lines(rows, measured, policy, hindsight),
        picture=picture,
        columns=list(rows[0]),
        rows=[{name: _shown(value) for name, value in row.items()} for row in rows],
    )
    file.write_text(page, encoding="utf-8")


def _lines(rows: Sequence[Row], measured: Measured, policy: Policy, hindsight: Hindsight | None) -> list[str]:
    """What the page says in words."""
    rounds = len(set(measured.rounds))
    best = (measured.values * policy.sign).max() * policy.sign
    reasons = Counter(str(row["reason"]) for row in rows)
    lines = [
        f"Learned from {len(measured.sequences)} sequences of {rounds} round(s); the best measured {measured.label} is "
        f"{best:.4g}.",
        f"Chosen by {policy.acquisition}: " + ", ".join(f"{count} {reason}" for reason, count in reasons.items()) + ".",
    ]
    spread = measured.errors[np.isfinite(measured.errors)]
    if len(spread):
        lines.append(
            f"{len(spread)} sequences were measured several times; the mean standard error is {spread.mean():.3g}."
        )
    return lines if hindsight is None else [*lines, *_looking_back(hindsight)]


def _looking_back(hindsight: Hindsight) -> list[str]:
    lines, predicted, measured = [], hindsight.predicted, hindsight.measured
    if min(len(set(predicted)), len(set(measured))) > 1:
        lines.append(
            "Looking back: the predictions of the last plate and what was measured have a Spearman correlation of "
            f"{spearmanr(predicted, measured).statistic:.2f}."
        )
    if np.isfinite(hindsight.lower).all():
        inside = (hindsight.lower <= measured) & (measured <= hindsight.upper)
        lines.append(f"Of the last plate {inside.mean():.0%} of the values are inside their intervals.")
    return lines


def _shown(value: object) -> object:
    return value[: _LONGEST - 1] + "…" if isinstance(value, str) and len(value) > _LONGEST else value
