"""Scores of a tagger as the field gives them.

Accuracy is that of the class with the highest probability; balanced accuracy is its mean over the classes, whatever
their numbers of jets. Rejection is how many background jets there are for each that passes a cut which a given share of
signal jets passes, by `p_signal / (p_signal + p_background)`.
"""

import math
from typing import Any

import numpy as np
from scipy.stats import beta
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

EFFICIENCIES = (0.3, 0.5, 0.8, 0.99)
_FEWEST = 100  # background jets that pass, below which only a bound is given
_LEVEL = 0.68


def scores(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """`accuracy` and `balanced_accuracy`; and of two classes `auc`, of more `auc_ovo`, the mean over pairs of classes,
    and `auc_ovr`, the mean over each against all others. Of a set where a class is missing `accuracy` alone.

    Args:
        probabilities: `(jets, classes)`; labels: `(jets,)`.
    """
    predicted = probabilities.argmax(axis=1)
    found = {"accuracy": float((predicted == labels).mean())}
    present = np.unique(labels)
    if len(present) < probabilities.shape[1]:
        return found  # the others are undefined for a class without jets
    found["balanced_accuracy"] = float(balanced_accuracy_score(labels, predicted))
    if len(present) == 2:
        return found | {"auc": float(roc_auc_score(labels, probabilities[:, 1]))}
    for kind in ("ovo", "ovr"):
        # The library wants sums of one to more digits than single precision has.
        values = probabilities.astype(np.float64)
        values /= values.sum(axis=1, keepdims=True)
        found[f"auc_{kind}"] = float(roc_auc_score(labels, values, multi_class=kind))
    return found


def rejections(
    probabilities: np.ndarray, labels: np.ndarray, names: list[str], background: str
) -> list[dict[str, Any]]:
    """For each signal class and efficiency the background rejection, with a 68 % interval (Clopper and Pearson).

    Of fewer than 100 background jets that pass `bound` is given instead: the rejection is larger than it, at 95 %.

    Args:
        probabilities: `(jets, classes)`; labels: `(jets,)`.
        names: of the classes.
    """
    found = []
    for signal in (name for name in names if name != background):
        discriminant = signal_share(probabilities, names.index(signal), names.index(background))
        own = np.sort(discriminant[labels == names.index(signal)])[::-1]
        other = discriminant[labels == names.index(background)]
        if not len(own) or not len(other):
            continue
        for efficiency in EFFICIENCIES:
            cut = own[max(math.ceil(efficiency * len(own)), 1) - 1]
            passed = int((other >= cut).sum())
            row: dict[str, Any] = {"signal": signal, "efficiency": efficiency, "passed": passed, "of": len(other)}
            found.append(row | _rejection(passed, len(other)))
    return found


def signal_share(probabilities: np.ndarray, signal: int, background: int) -> np.ndarray:
    """`p_signal / (p_signal + p_background)`, `(jets,)`."""
    own, other = probabilities[:, signal].astype(np.float64), probabilities[:, background].astype(np.float64)
    return own / np.maximum(own + other, 1e-300)


def _rejection(passed: int, number: int) -> dict[str, float]:
    if passed < _FEWEST:
        return {"bound": 1 / beta.ppf(0.95, passed + 1, number - passed) if passed < number else 1.0}
    tail = (1 - _LEVEL) / 2
    high = beta.ppf(1 - tail, passed + 1, number - passed) if passed < number else 1.0
    return {"rejection": number / passed, "low": 1 / high, "high": 1 / beta.ppf(tail, passed, number - passed + 1)}


def rejection_text(row: dict[str, Any]) -> str:
    """`41.2 (40.1 to 42.3)`, or `> 1,234`."""
    if "bound" in row:
        return f"> {row['bound']:,.0f}"
    return f"{row['rejection']:,.1f} ({row['low']:,.1f} to {row['high']:,.1f})"


def report(record: dict[str, Any]) -> str:
    """Markdown of scores and rejections."""
    lines = ["| score | value |", "|---|---|"]
    lines += [f"| {name} | {value:.4f} |" for name, value in record["scores"].items()]
    if rows := record["rejections"]:
        shown = [f"{efficiency:.0%}" for efficiency in EFFICIENCIES]
        lines += ["", f"| rejection of {record['background']} at a signal efficiency of | {' | '.join(shown)} |"]
        lines.append("|---" * (len(shown) + 1) + "|")
        for signal in dict.fromkeys(row["signal"] for row in rows):
            cells = [rejection_text(row) for row in rows if row["signal"] == signal]
            lines.append(f"| {signal} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
