"""What the default of `lyra train` was chosen on: one change at a time, on development splits of public tables.

A development split is drawn from training and validation rows alone; the test split of a table is never read. Every
variant is one run of `lyra train` with one member unless it says otherwise. Scores are of the development test rows.

    python scripts/research/experiments/default.py --data_dir data
"""

import argparse
import csv
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from learners import ROOT, load, run, save, table
from matplotlib.figure import Figure

from lyra.cli.flags import instance
from lyra.data import DataArguments, prepare
from lyra.training import LyraTrainingArguments, ModelArguments, train

TABLES = {
    "cas9_deephf_wt": {},
    "gb1_wu_relso": {},
    "mavenn_mpsa": {"label_columns": ["label"]},
    "mrl_human_5utr_snv": {},
    "BLAT_ECOLX_Firnberg_2014": {},
    "amp_iamp2l": {},
    "m6a_rat_brain": {},
    "gue_prom_core_tata": {},
    "ncrna_family_13": {"alphabet": "rna"},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "default, one member": {},
    "three members": {"ensemble": 3},
    "no linear term": {"linear_term": "none"},
    "ranks": {"label_transform": "rank"},
    "standardised labels": {"label_transform": "standardize"},
    "one layer": {"config_overrides": ["num_hidden_layers=1"]},
    "four layers": {"config_overrides": ["num_hidden_layers=4"]},
    "32 channels": {"config_overrides": ["hidden_size=32"]},
    "128 channels": {"config_overrides": ["hidden_size=128"]},
    "pooling by the mean": {"config_overrides": ["pooling=mean"]},
    "dropout 0.4": {"config_overrides": ["hidden_dropout_prob=0.4"]},
    "rate 1e-3": {"learning_rate": 1e-3},
    "rate 4e-3": {"learning_rate": 4e-3},
    "batches of 32": {"per_device_train_batch_size": 32},
    "batches of 256": {"per_device_train_batch_size": 256},
}
_MOST_ROWS, _SHARES = 3000, (0.76, 0.88)  # of a development split, and where validation and test begin


def work(data_dir: Path, name: str, variant: str, seed: int) -> dict[str, Any]:
    """The score of the development test rows by the metric of the task."""
    with tempfile.TemporaryDirectory() as folder:
        (source,) = data_dir.rglob(f"{name}.csv.gz")
        file = develop(source, TABLES[name], Path(folder) / "development.csv")
        flags = {"data": str(file), "output_dir": f"{folder}/run", "seed": seed, "ensemble": 1, "disable_tqdm": True}
        flags |= {key: value for key, value in TABLES[name].items() if key == "alphabet"} | VARIANTS[variant]
        record = train(*(instance(each, flags) for each in (DataArguments, ModelArguments, LyraTrainingArguments)))
        metric = record["selected_by"]
        return {"metric": metric, "score": round(record["test"][metric], 4), "seconds": record["training_seconds"]}


def develop(file: Path, flags: dict[str, Any], target: Path) -> Path:
    """Writes some training and validation rows of a table with a split of their own."""
    data = prepare(DataArguments(data=str(file), **flags))
    known = [
        (sequence, row["label"])
        for split in ("train", "validation")
        for sequence, row in zip(data.sequences[split], data.rows[split], strict=True)
    ]
    rows = np.random.default_rng(0).permutation(len(known))[:_MOST_ROWS]
    splits = np.digitize(np.arange(len(rows)) / len(rows), _SHARES)
    with open(target, "w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["sequence", "label", "split"])
        writer.writerows(
            (*known[row], ("train", "validation", "test")[split]) for row, split in zip(rows, splits, strict=True)
        )
    return target


def report() -> str:
    rows = load("default")
    lines = []
    for variant in VARIANTS:
        scores = [_score(rows, name, variant) for name in TABLES]
        change = np.mean(np.subtract(scores, [_score(rows, name, next(iter(VARIANTS))) for name in TABLES]))
        lines.append([variant, *(f"{score:.3f}" for score in scores), f"{change:+.3f}"])
    return table(["variant", *TABLES, "mean change"], lines)


def _score(rows: list[dict[str, Any]], name: str, variant: str) -> float:
    return float(np.mean([row["score"] for row in rows if (row["name"], row["variant"]) == (name, variant)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the tables")
    data_dir = parser.parse_args().data_dir
    jobs = [{"name": name, "variant": variant, "seed": 0} for name in TABLES for variant in VARIANTS]
    rows = run("default", jobs, lambda name, variant, seed: work(data_dir, name, variant, seed))
    first, *others = VARIANTS
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axis = figure.subplots()
    for place, variant in enumerate(reversed(others)):
        changes = [_score(rows, name, variant) - _score(rows, name, first) for name in TABLES]
        axis.scatter(changes, [place] * len(changes), s=12, color="C0")
        axis.plot([np.mean(changes)] * 2, [place - 0.3, place + 0.3], color="C1")
    axis.axvline(0, color="gray", linewidth=0.8)
    axis.set(yticks=range(len(others)), yticklabels=others[::-1], xlabel="score less that of the default, each table")
    save(figure, "default")
    print(report())


if __name__ == "__main__":
    main()
