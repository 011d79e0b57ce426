"""Double mutants that were held out: their effects, and their epistasis, beside what merely adds up.

Of TDP-43 (Bolognesi et al. 2019, as MAVE-NN has it) and UBE4B (Starita et al. 2013, as nn4dms has it) a fifth of the
double mutants is the test split, a tenth is for validation, and all other rows are trained on, singles among them. The
measured epistasis of a double is its label less those of both singles, plus the wild type's, and the additive null
takes the sum of the measured labels of both singles. Ridge sees letters at positions, and indicators of each two
mutated positions and of each two mutations; its penalty is chosen on validation.

    python scripts/research/experiments/epistasis.py --data_dir data
"""

import argparse
import csv
import gzip
import json
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from learners import ROOT, load, run, save, table
from matplotlib.figure import Figure
from scipy import sparse, stats
from sklearn.linear_model import Ridge

from lyra.cli import main as lyra
from lyra.variants import scan

TABLES = {"TDP-43": "mavenn_tdp43", "UBE4B": "nn4dms_ube4b"}
PENALTIES = (1.0, 10.0, 100.0, 1000.0)
MAX_LETTERS = 40e6
_LAST = 2  # mutations of those that are held out

Mutations = tuple[tuple[int, str], ...]


def read(file: Path) -> tuple[str, list[Mutations], np.ndarray]:
    """The wild type, and the mutations and the label of each row."""
    with gzip.open(file, "rt", newline="") as lines:
        rows = list(csv.DictReader(lines))
    sequences = [row["sequence"] for row in rows]
    wild_type = "".join(Counter(column).most_common(1)[0][0] for column in zip(*sequences, strict=True))
    mutations = [tuple((i, b) for i, (a, b) in enumerate(zip(wild_type, s, strict=True)) if a != b) for s in sequences]
    return wild_type, mutations, np.array([float(row["label"]) for row in rows])


def split_rows(mutations: list[Mutations]) -> np.ndarray:
    """`train`, `validation` or `test` of each row."""
    doubles = np.random.default_rng(0).permutation([i for i, each in enumerate(mutations) if len(each) == _LAST])
    splits = np.full(len(mutations), "train", dtype=object)
    splits[doubles[: len(doubles) // 5]] = "test"
    splits[doubles[len(doubles) // 5 : 3 * len(doubles) // 10]] = "validation"
    return splits


def work(protein: str, data_dir: Path, runs: Path) -> dict[str, Any]:
    """Spearman correlations with the measured effects and epistasis of the doubles that were held out."""
    wild_type, mutations, labels = read(data_dir / "more" / "protein_fitness" / f"{TABLES[protein]}.csv.gz")
    splits = split_rows(mutations)
    folder = runs / TABLES[protein]
    folder.mkdir(parents=True, exist_ok=True)
    names = [":".join(f"{wild_type[i]}{i + 1}{letter}" for i, letter in each) or "WT" for each in mutations]
    sequences = [_mutate(wild_type, each) for each in mutations]
    _write(folder / "table.csv", sequence=sequences, label=labels, split=splits)
    flags = ["--max_letters", str(MAX_LETTERS), "--disable_tqdm", "true", "--resume"]
    if lyra(["train", str(folder / "table.csv"), "--output_dir", str(folder / "model"), *flags]):
        raise SystemExit(f"{protein}: training failed")
    # The singles too: measured epistasis needs them.
    shown = [i for i, each in enumerate(mutations) if len(each) < _LAST or splits[i] == "test"]
    chosen = {"mutant": [names[i] for i in shown], "label": labels[shown]}
    _write(folder / "doubles.csv", **chosen)
    (folder / "wild_type.fasta").write_text(f">{protein}\n{wild_type}\n")
    model, wild, variants = (str(folder / name) for name in ("model", "wild_type.fasta", "doubles.csv"))
    scan(model, wild, str(folder / "scan"), variants=variants, label_column="label")
    found = json.loads((folder / "scan" / "measured.json").read_text())[f"{_LAST} edits"]
    return {
        "train": int((splits == "train").sum()),
        "doubles": found["n"],
        "with both singles": found["n_epistasis"],
        "lyra effect": found["effect"],
        "lyra epistasis": found["epistasis"],
        "lyra effect there": found["effect_there"],
        "additive effect there": found["additive_effect"],
    } | ridge(mutations, labels, splits)


def ridge(mutations: list[Mutations], labels: np.ndarray, splits: np.ndarray) -> dict[str, float]:
    """Ridge with pairs: Spearman of effects, and of epistasis as it is measured."""
    X = features(mutations)
    train, validation, test = (np.flatnonzero(splits == name) for name in ("train", "validation", "test"))
    models = [Ridge(penalty, solver="sparse_cg").fit(X[train], labels[train]) for penalty in PENALTIES]
    scores = [stats.spearmanr(model.predict(X[validation]), labels[validation]).statistic for model in models]
    predicted = models[int(np.argmax(scores))].predict(X)
    of = {each: i for i, each in enumerate(mutations)}
    base = (labels[of[()]], predicted[of[()]]) if () in of else (0.0, 0.0)
    whole = [i for i in test if all((single,) in of for single in mutations[i])]
    measured, expected = (
        [y[i] - sum(y[of[(single,)]] for single in mutations[i]) + start for i in whole]
        for y, start in zip((labels, predicted), base, strict=True)
    )
    return {
        "ridge effect": float(stats.spearmanr(predicted[test], labels[test]).statistic),
        "ridge epistasis": float(stats.spearmanr(expected, measured).statistic),
    }


def features(mutations: list[Mutations]) -> sparse.csr_matrix:
    """Indicators of mutations, of each two mutated positions and of each two mutations, `(rows, features)`."""
    names: dict[Any, int] = {}
    indices, ends = [], [0]
    for each in mutations:
        pairs = [pair for one, other in combinations(each, 2) for pair in ((one, other), (one[0], other[0]))]
        indices += [names.setdefault(name, len(names)) for name in (*each, *pairs)]
        ends.append(len(indices))
    return sparse.csr_matrix((np.ones(len(indices)), indices, ends), shape=(len(mutations), len(names)))


def _mutate(wild_type: str, mutations: Mutations) -> str:
    letters = list(wild_type)
    for position, letter in mutations:
        letters[position] = letter
    return "".join(letters)


def _write(path: Path, **columns: Any) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def report() -> str:
    rows = load("epistasis")
    head = ["protein", "doubles", "effect: Lyra", "ridge, pairs", "epistasis: Lyra", "ridge, pairs"]
    head += ["doubles with both singles", "effect there: Lyra", "sum of singles"]
    keys = ["lyra effect", "ridge effect", "lyra epistasis", "ridge epistasis"]
    rest = ["lyra effect there", "additive effect there"]
    lines = []
    for row in rows:
        cells = [row["protein"], row["doubles"], *(f"{row[key]:.3f}" for key in keys), row["with both singles"]]
        lines.append(cells + [f"{row[key]:.3f}" for key in rest])
    return table(head, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the tables")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "epistasis", help="where models are trained")
    arguments = parser.parse_args()
    jobs = [{"protein": protein} for protein in TABLES]
    rows = run("epistasis", jobs, lambda protein: work(protein, arguments.data_dir, arguments.runs))
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    bars = {"Lyra": "lyra {}", "ridge with pairs": "ridge {}", "sum of singles": "additive {}"}
    for axis, what in zip(figure.subplots(1, 2), ("effect", "epistasis"), strict=True):
        for number, (title, key) in enumerate(bars.items()):
            values = [row.get(key.format(what), row.get(key.format(f"{what} there"), 0.0)) for row in rows]
            axis.bar(np.arange(len(rows)) + 0.25 * number, values, 0.22, label=title)
        axis.set_xticks(np.arange(len(rows)) + 0.25, [row["protein"] for row in rows])
        axis.set(title=what, ylabel="Spearman, doubles held out")
    figure.axes[0].legend(fontsize=8)
    save(figure, "epistasis")
    print(report())


if __name__ == "__main__":
    main()
