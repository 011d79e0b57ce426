"""Draws `docs/images/overview.png`: what happens to a sequence, and what comes of a table.

python scripts/tools/draw_overview.py
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

FILE = Path(__file__).parents[2] / "docs" / "images" / "overview.png"
_LETTERS = "MKTAYIAKQR"
_STEPS = (
    ("projected gated\nconvolutions", "neighbours,\nsecond order", "#cfe3f5"),
    ("diagonal state\nspace (S4D)", "the whole\nsequence", "#d8efd3"),
    ("mean", "one vector", "#fbe5c8"),
    ("linear", "47,169 parameters\nin all", "#f6d5d5"),
)


def main() -> None:
    figure, axis = plt.subplots(figsize=(10, 2.3))
    axis.set(xlim=(0, 10.4), ylim=(0, 2.3))
    axis.axis("off")
    for i, letter in enumerate(_LETTERS):
        axis.text(0.12 + 0.19 * i, 1.45, letter, family="monospace", fontsize=13, ha="center", va="center")
    axis.text(1.0, 0.72, "letters, one-hot", fontsize=9, ha="center", va="center", color="0.35")
    left = 2.35
    for title, note, color in _STEPS:
        _arrow(axis, left - 0.3)
        box = FancyBboxPatch((left, 1.1), 1.4, 0.7, boxstyle="round,pad=0.05", facecolor=color, edgecolor="0.4")
        axis.add_patch(box)
        axis.text(left + 0.7, 1.45, title, fontsize=9, ha="center", va="center")
        axis.text(left + 0.7, 0.62, note, fontsize=9, ha="center", va="center", color="0.35")
        left += 1.85
    _arrow(axis, left - 0.3)
    axis.text(left + 0.32, 1.45, "value\nor class", fontsize=10, ha="center", va="center")
    figure.savefig(FILE, dpi=150, bbox_inches="tight")


def _arrow(axis: plt.Axes, x: float) -> None:
    axis.annotate("", (x + 0.22, 1.45), (x - 0.05, 1.45), arrowprops={"arrowstyle": "->", "color": "0.3"})


if __name__ == "__main__":
    main()
