"""What the linear term of `lyra train` is worth beside a plain linear model, on validation rows of public tables.

Plain: ridge or logistic regression on one-hot letters, pairs or words (`lyra.training.linear`). Test splits are not
scored.

    python scripts/research/experiments/linear_term.py --data_dir data
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from learners import ROOT, load, run, save, table
from matplotlib.figure import Figure

from lyra import LyraConfig
from lyra.data import DataArguments, prepare
from lyra.errors import InputError
from lyra.inference import compute_logits
from lyra.scoring import compute_metrics
from lyra.training import ModelArguments
from lyra.training.linear import fit_linear
from lyra.training.linear_term import fit_linear_term
from lyra.training.model import build_model, label_scales

_MOST_ROWS, _FEWEST_VALIDATION = 70_000, 20


def compare(file: Path) -> dict[str, Any]:
    """Validation scores of both, by the metric of the task; nothing where there is nothing to compare."""
    data = prepare(DataArguments(data=str(file)))
    rows = {split: len(data.rows[split]) for split in ("train", "validation")}
    if data.task.per_token or rows["train"] > _MOST_ROWS or rows["validation"] < _FEWEST_VALIDATION:
        return {"rows": 0}
    metric, settings = data.task.spec.selected_by, ModelArguments()
    term, plain = fit_linear_term(data, metric, "auto", label_scales(settings, data)), fit_linear(data, metric, 0)
    if term is None or plain is None:
        return {"rows": 0}
    model = build_model(settings, data, lambda head, config: head(_small(config)), term)
    term.share_out(model.eval(), 0.0)
    logits = compute_logits(model, data.tokenizer, data.sequences["validation"]).logits
    scores = compute_metrics(data.task.kind, np.stack(logits), data.label_array("validation"), data.task.names)
    return {
        "rows": rows["train"],
        "metric": metric,
        "plain": round(plain["validation"].get(metric, np.nan), 4),
        "term": round(scores.get(metric, np.nan), 4),
        **{key: term.chosen[key] for key in ("features", "prior", "curve")},
    }


def _small(config: LyraConfig) -> LyraConfig:
    """The network counts for nothing here."""
    config.hidden_size = config.state_size = 8
    return config


def report() -> str:
    rows = [row for row in load("linear_term") if row["rows"]]
    lines = []
    for prior, metric in sorted({(row["prior"], row["metric"]) for row in rows}):
        chosen = [row for row in rows if (row["prior"], row["metric"]) == (prior, metric)]
        plain, term = (np.array([row[key] for row in chosen]) for key in ("plain", "term"))
        wins = f"{(term > plain).sum()} of {len(chosen)}"
        lines.append([prior, metric, f"{plain.mean():.3f}", f"{term.mean():.3f}", wins])
    return table(["prior chosen", "metric", "plain linear model, mean", "linear term, mean", "term is better"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the tables")
    files = {file.name.split(".")[0]: file for file in sorted(parser.parse_args().data_dir.rglob("*.csv.gz"))}

    def work(name: str) -> dict[str, Any]:
        try:
            return compare(files[name])
        except InputError as error:
            print(f"{name}: {error}")
            return {"rows": 0}

    rows = [row for row in run("linear_term", [{"name": name} for name in files], work) if row["rows"]]
    figure = Figure(figsize=(5, 4.6), layout="constrained")
    axis = figure.subplots()
    for prior in sorted({row["prior"] for row in rows}):
        points = [(row["plain"], row["term"]) for row in rows if row["prior"] == prior]
        axis.scatter(*zip(*points, strict=True), s=16, label=f"prior: {prior}")
    axis.plot([0, 1], [0, 1], color="gray", linewidth=0.8)
    axis.set(xlabel="plain linear model, validation", ylabel="linear term, validation", aspect="equal")
    axis.legend()
    save(figure, "linear_term")
    print(report())


if __name__ == "__main__":
    main()
