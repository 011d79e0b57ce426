"""What each part of Lyra is worth on GFP, and what state and channels are.

Trains on 10,000 of the training variants of `gfp_relso` (the paper's one-layer model), selects on 1,500 others and
scores 3,000 variants of the test split.

    python scripts/research/experiments/gfp.py --data_dir data
"""

import argparse
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from learners import ROOT, Model, Split, fit, load, lyra, over_seeds, run, save, shown, table
from matplotlib.figure import Figure
from torch import nn

from lyra.context_lyra import LyraContext
from lyra.data import DataArguments, pad, prepare
from lyra.modeling_lyra import LyraPGC

SEEDS, STEPS, LEARNING_RATE = (0,), 600, 2e-3
STATES = WIDTHS = (16, 32, 64, 128)
SIZES = sorted({(state, 64) for state in STATES} | {(64, width) for width in WIDTHS})


class AdditivePGC(LyraPGC):
    """The gate is added instead of multiplied."""

    def interact(self, x: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        return x + gate


class UngatedPGC(LyraPGC):
    """A standard convolution: no gate, GELU instead."""

    def interact(self, x: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        return F.gelu(x)


def paper(**settings: int) -> Model:
    return lyra(**{"bidirectional": False, "num_hidden_layers": 1} | settings)


def with_pgc(kind: type[LyraPGC]) -> Model:
    model = paper()
    for block in model.lyra.encoder.pgc:
        block.__class__ = kind  # the same weights, another product
    return model


class Skipped(nn.Module):
    """In the place of an S4D layer, which also spreads the rows of distinct windows over the positions."""

    def forward(
        self, rows: torch.Tensor, pads: None, inverse: torch.Tensor | None, context: LyraContext
    ) -> torch.Tensor:
        return rows if inverse is None else rows[inverse]


def without_s4d() -> Model:
    model = paper()
    model.lyra.encoder.layers = nn.ModuleList([Skipped()])
    return model


PARTS = {
    "full": paper,
    "no PGC": lambda: paper(pgc_expansion_factors=[]),
    "no S4D": without_s4d,
    "additive gate": lambda: with_pgc(AdditivePGC),
    "standard convolution": lambda: with_pgc(UngatedPGC),
}


@cache
def splits(data_dir: Path) -> list[Split]:
    data = prepare(DataArguments(data=str(data_dir / "gfp_relso.csv.gz")))
    chosen = {"train": (0, 10000), "validation": (0, 1500), "test": (0, 3000)}
    order = torch.Generator().manual_seed(0)
    result = []
    for split, (start, stop) in chosen.items():
        rows = torch.randperm(len(data.sequences[split]), generator=order)[start:stop]
        ids = pad(data.tokenizer.encode_bulk(data.sequences[split]), 0)
        result.append((ids[rows], torch.from_numpy(data.label_array(split)).float()[rows]))
    return result


def report() -> str:
    parts, sizes = load("gfp_ablation"), load("gfp_size")
    header = ["test Spearman", "test R2", "parameters"]
    first = [[part, *_cells(parts, part=part)] for part in PARTS]
    second = [[state, width, *_cells(sizes, state=state, width=width)] for state, width in SIZES]
    return table(["model", *header], first) + "\n\n" + table(["state", "channels", *header], second)


def _cells(rows: list[dict[str, Any]], **settings: Any) -> list[str]:
    parameters, _ = over_seeds(rows, "parameters", **settings)
    return [shown(rows, "spearman", **settings), shown(rows, "r2", **settings), f"{parameters:,.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the table")
    data_dir = parser.parse_args().data_dir

    def ablate(part: str, seed: int, steps: int) -> dict[str, float]:
        return fit(PARTS[part], *splits(data_dir), steps, LEARNING_RATE, seed)

    def resize(state: int, width: int, seed: int, steps: int) -> dict[str, float]:
        build = lambda: paper(state_size=state, hidden_size=width)  # noqa: E731
        return fit(build, *splits(data_dir), steps, LEARNING_RATE, seed)

    jobs = [{"part": part, "seed": seed, "steps": STEPS} for seed in SEEDS for part in PARTS]
    parts = run("gfp_ablation", jobs, ablate)
    jobs = [{"state": state, "width": width, "seed": seed, "steps": STEPS} for seed in SEEDS for state, width in SIZES]
    rows = run("gfp_size", jobs, resize)

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    bars, states, widths = figure.subplots(1, 3)
    means, deviations = zip(*(over_seeds(parts, "spearman", part=part) for part in PARTS), strict=True)
    bars.barh(list(PARTS)[::-1], means[::-1], xerr=deviations[::-1], color="C0")
    bars.set(xlabel="test Spearman")
    points = [over_seeds(rows, "spearman", state=state, width=64) for state in STATES]
    states.errorbar(STATES, *zip(*points, strict=True), marker="o", capsize=3)
    states.set(
        xlabel="state size (64 channels)", ylabel="test Spearman", xscale="log", xticks=STATES, xticklabels=STATES
    )
    points = [over_seeds(rows, "spearman", state=64, width=width) for width in WIDTHS]
    widths.errorbar(WIDTHS, *zip(*points, strict=True), marker="o", capsize=3)
    widths.set(xlabel="channels (state 64)", xscale="log", xticks=WIDTHS, xticklabels=WIDTHS)
    for axis in (states, widths):
        axis.minorticks_off()
    save(figure, "gfp")
    print(report())


if __name__ == "__main__":
    main()
