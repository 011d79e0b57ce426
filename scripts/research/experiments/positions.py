"""What the linear term knows of positions that it has not seen: ProteinGym's single mutants in three kinds of folds.

`random`: rows at random; `modulo`: every fifth mutated position; `contiguous`: a fifth of the sequence. A one-hot ridge
knows nothing of a position without measurements (its constant predictions count as zero); the prior of the linear term
carries over what alike letters do at other positions. Mean test Spearman over five folds, each scored once, of the
assays that ProteinGym reports too; its random folds are others.

    python scripts/research/experiments/positions.py --data_dir data
"""

import argparse
import csv
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from learners import ROOT, load, run, save, table
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1]))

from baselines import FITS

from lyra.data import DataArguments, prepare

SCHEMES = ("random", "modulo", "contiguous")
FOLDS = 5
MODELS = {"linear": "one-hot ridge", "term": "linear term"}
PUBLISHED = {"onehot": "One-Hot", "npt": "ProteinNPT", "kermut": "Kermut"}


def work(file: Path, scheme: str, fold: int) -> dict[str, Any]:
    """Test Spearman of both models on one fold."""
    data = prepare(DataArguments(data=str(file), split=scheme, folds=FOLDS, fold=str(fold + 1)))
    fitted = {model: FITS[model](data, "spearman", 0) for model in MODELS}
    return {
        model: round(each.record["test"].get("spearman", 0.0), 4) if each else 0.0 for model, each in fitted.items()
    }


def report() -> str:
    rows = load("positions")
    with open(ROOT / "scripts" / "research" / "proteingym.csv", newline="") as file:
        published = {row["assay"]: row for row in csv.DictReader(file)}
    known = sorted({row["assay"] for row in rows} & published.keys())
    lines = []
    for scheme in SCHEMES:
        ours = [np.mean(list(_by_assay(rows, scheme, model, known).values())) for model in MODELS]
        theirs = [np.mean([float(published[assay][f"{name}_{scheme}"]) for assay in known]) for name in PUBLISHED]
        lines.append([scheme, len(known), *(f"{value:.3f}" for value in [*ours, *theirs])])
    return table(["folds", "assays", *MODELS.values(), *(f"{name}, published" for name in PUBLISHED.values())], lines)


def _by_assay(rows: list[dict[str, Any]], scheme: str, model: str, assays: Iterable[str]) -> dict[str, float]:
    """Mean over the folds of each assay."""
    chosen = [row for row in rows if row["scheme"] == scheme]
    return {assay: float(np.mean([row[model] for row in chosen if row["assay"] == assay])) for assay in assays}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the tables")
    folder = parser.parse_args().data_dir / "more" / "proteingym_singles"
    files = {file.name.removesuffix(".csv.gz"): file for file in sorted(folder.glob("*.csv.gz"))}
    jobs = [{"assay": a, "scheme": scheme, "fold": fold} for a in files for scheme in SCHEMES for fold in range(FOLDS)]
    rows = run("positions", jobs, lambda assay, scheme, fold: work(files[assay], scheme, fold))

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axis, scheme in zip(figure.subplots(1, 3, sharey=True), SCHEMES, strict=True):
        x, y = (list(_by_assay(rows, scheme, model, files).values()) for model in MODELS)
        axis.scatter(x, y, s=14)
        axis.plot([-0.3, 1], [-0.3, 1], color="gray", linewidth=0.8)
        axis.set(title=f"{scheme} folds", xlabel="one-hot ridge, test Spearman", aspect="equal")
    figure.axes[0].set_ylabel("linear term, test Spearman")
    save(figure, "positions")
    print(report())


if __name__ == "__main__":
    main()
