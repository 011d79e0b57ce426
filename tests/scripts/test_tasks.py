"""The run over all tables: its records, its rule for wins and losses, its page."""

import csv
import gzip
import json
import sys

import comparison
import numpy as np
import pytest
import reproduce
import tasks

from lyra.inference.logits import to_values
from lyra.scoring import compute_metrics


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """A family of a regression and of labels per residue."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr(tasks, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(tasks, "TASKS", tmp_path / "none")
    monkeypatch.setattr(reproduce, "ROOT", tmp_path)
    monkeypatch.setattr(tasks, "_MOST_ROWS", 80)
    monkeypatch.setattr(tasks, "_MOST_LETTERS", 2000)
    monkeypatch.setattr(comparison, "RESAMPLES", 50)
    sequences = ["".join(rng.choice(list("ACDEF"), 8)) for _ in range(100)]
    labels = {
        "adds_up": [f"{sequence.count('A') - sequence.count('C') + rng.normal(0, 0.1):.3f}" for sequence in sequences],
        "residues": ["".join("01"[letter in "AC"] for letter in sequence) for sequence in sequences],
    }
    for name, column in labels.items():
        path = tmp_path / "data" / "more" / "small" / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wt", newline="") as file:
            csv.writer(file).writerows([["sequence", "label"], *zip(sequences, column, strict=True)])
    return tmp_path / "data"


def run(monkeypatch, data_dir, *argv):
    runs = ["--data_dir", str(data_dir), "--runs", str(data_dir.parent / "runs")]
    monkeypatch.setattr(sys, "argv", ["tasks.py", *argv, *runs])
    return tasks.main()


def test_one_record_per_task(data_dir, tmp_path, monkeypatch):
    assert run(monkeypatch, data_dir, "--models", "linear", "term", "cnn", "hybrid") == 0
    records = {file.stem: json.loads(file.read_text()) for file in (tmp_path / "records").glob("*.json")}
    assert set(records) == {"adds_up", "residues"}
    whole, residues = records["adds_up"], records["residues"]
    assert sum(whole["rows"].values()) == 80  # of 100
    assert set(whole["models"]) == {"linear", "term", "cnn", "hybrid"}
    assert set(residues["models"]) == {"linear", "cnn", "hybrid"}  # no linear term for residues
    assert whole["models"]["term"]["test"] > 0.8
    for record in records.values():
        for model, (value, low, high) in record["differences"].items():
            scores = [record["models"][each]["test"] for each in ("hybrid", model)]
            assert low <= high and value == pytest.approx(scores[0] - scores[1], abs=2e-4)
    monkeypatch.setattr(tasks, "run_task", None)  # nothing is run again
    assert run(monkeypatch, data_dir, "small", "--models", "linear", "term", "cnn", "hybrid") == 0
    page = tasks.report(list(records.values()))
    assert "| adds_up | spearman |" in page and "| the best of the first four | 2 |" in page
    tasks.plot(list(records.values()), tmp_path / "tasks.png")
    assert (tmp_path / "tasks.png").stat().st_size > 10_000


def test_a_name_that_is_no_table(data_dir, monkeypatch, capsys):
    assert run(monkeypatch, data_dir, "nothing") == 2 and "got nothing" in capsys.readouterr().err


@pytest.mark.parametrize(
    "kind, metric", [("regression", "spearman"), ("classification", "mcc"), ("multilabel", "auroc")]
)
def test_a_score_is_that_of_metrics_json(kind, metric):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, 3))
    labels = rng.integers(0, 3, 50) if kind == "classification" else (rng.normal(size=(50, 3)) > 0).astype(float)
    labels[0] = -100 if kind == "classification" else np.nan
    expected = compute_metrics(kind, logits, labels, ("a", "b", "c"))[metric]
    predictions = to_values(kind, logits)
    assert comparison.score(metric, kind, predictions, labels) == pytest.approx(expected)


def test_a_win_needs_more_than_chance():
    rng = np.random.default_rng(0)
    labels = rng.normal(size=300)
    good, alike, bad = (labels + rng.normal(0, noise, 300) for noise in (0.3, 0.3, 2.0))
    predictions = {"good": good[:, None], "alike": alike[:, None], "bad": bad[:, None]}
    found = comparison.compare("spearman", "regression", [comparison.TestSet(predictions, labels, [1] * 300)], "good")
    assert set(found) == {"alike", "bad"}
    assert (comparison.outcome(found["alike"]), comparison.outcome(found["bad"])) == ("tie", "win")
    del predictions["good"]
    (loss,) = comparison.compare(
        "rmse", "regression", [comparison.TestSet(predictions, labels, [1] * 300)], "bad"
    ).values()
    assert comparison.outcome(loss) == "loss"


def test_rows_of_residues_are_drawn_whole():
    labels = np.zeros(20)
    predictions = {"right": labels[:, None], "half": np.array([[0.0]] * 10 + [[1.0]] * 10)}  # wrong in the second row
    tests = [comparison.TestSet(predictions, labels, [10, 10])]
    (difference,) = comparison.compare("mae", "regression", tests, "right").values()
    assert difference == (0.5, 0.0, 1.0)  # residues by themselves would never all be of one row


def test_the_page_is_that_of_the_records():
    records = [json.loads(file.read_text()) for file in sorted((tasks.ROOT / "docs" / "tasks").glob("*.json"))]
    shown = [record for record in records if record.get("differences")]
    assert shown and tasks.report(shown) in (tasks.ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
