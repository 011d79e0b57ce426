"""What was measured beside what is predicted: effects and epistasis, and what merely adds up."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from .notation import Edit, Variant

_FEWEST = 3


def compare(
    variants: Sequence[Variant], labels: np.ndarray, effects: np.ndarray, epistasis: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Spearman correlations of labels with predicted effects, and of measured with predicted epistasis.

    Measured epistasis is the label of a variant of several edits less those of its single edits, less the wild type's;
    what adds up, the sum of those labels, is the null model (its epistasis is zero). Variants whose single edits were
    not all measured count only for the effects. The wild type's label is that of its row; without one it is left out,
    which changes nothing among variants of equally many edits, so that each number of edits is correlated by itself.

    Args:
        labels, effects, epistasis: `(n,)`; NaN where nothing was measured.

    Returns:
        For all variants, and for each number of edits: `n`, `effect`, and where there are any `n_epistasis`,
        `epistasis`, `additive_effect` (the null model) and `effect_there` (the model, of the same variants).
    """
    measured = np.isfinite(labels)
    singles: dict[Edit, list[float]] = defaultdict(list)
    wild = [label for variant, label in zip(variants, labels, strict=True) if not variant and np.isfinite(label)]
    for variant, label in zip(variants, labels, strict=True):
        if len(variant) == 1 and np.isfinite(label):
            singles[variant[0]].append(float(label))
    base = float(np.mean(wild)) if wild else 0.0
    known = {edit: float(np.mean(values)) - base for edit, values in singles.items()}
    additive = np.array([_sum(variant, known) for variant in variants]) + base
    orders = np.array([len(variant) for variant in variants])
    report = {"all": _correlate(measured & (orders > 0), labels, effects)}
    for order in sorted(set(orders[measured]) - {0}):
        chosen = measured & (orders == order)
        report[f"{order} edits"] = _correlate(chosen, labels, effects)
        there = chosen & np.isfinite(additive)
        if order > 1 and there.sum() >= _FEWEST:
            report[f"{order} edits"] |= {
                "n_epistasis": int(there.sum()),
                "epistasis": _spearman(labels[there] - additive[there], epistasis[there]),
                "additive_effect": _spearman(labels[there], additive[there]),
                "effect_there": _spearman(labels[there], effects[there]),
            }
    return report


def _sum(variant: Variant, known: dict[Edit, float]) -> float:
    """Of measured single effects, NaN if one is missing or there is only one."""
    return sum(known.get(edit, np.nan) for edit in variant) if len(variant) > 1 else np.nan


def _correlate(chosen: np.ndarray, labels: np.ndarray, effects: np.ndarray) -> dict[str, Any]:
    return {"n": int(chosen.sum()), "effect": _spearman(labels[chosen], effects[chosen])}


def _spearman(one: np.ndarray, other: np.ndarray) -> float | None:
    """None where it is undefined."""
    if len(one) < _FEWEST or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(stats.spearmanr(one, other).statistic)
