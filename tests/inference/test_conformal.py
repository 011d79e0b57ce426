"""Intervals and sets hold as often as they say, whatever the model; and say so where they cannot."""

import csv
import json

import numpy as np
import pytest
from runs import TRAIN, write_table

from lyra import conformal
from lyra.cli import main
from lyra.errors import InputError


def held(kind, rows, rng, spread=1.0):
    """Predictions of a model that is wrong in its own way, and labels."""
    if kind == "regression":
        stds = rng.uniform(0.1, 2.0, (rows, 2))
        values = rng.normal(size=(rows, 2))
        return values, stds, values + 0.3 + spread * stds * rng.normal(size=(rows, 2))
    if kind == "classification":
        probabilities = rng.dirichlet(np.full(4, 0.5), rows)
        labels = np.array([rng.choice(4, p=0.5 * p + 0.125) for p in probabilities])
        labels[:10] = -100
        return probabilities, None, labels
    probabilities = rng.uniform(size=(rows, 3))
    labels = (rng.uniform(size=(rows, 3)) < 0.7 * probabilities + 0.1).astype(float)
    labels[:10, 1] = np.nan
    return probabilities, None, labels


@pytest.mark.parametrize("kind", ["regression", "classification", "multilabel"])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_the_coverage_is_the_level(kind, level):
    rng = np.random.default_rng(0)
    calibration = conformal.fit_scores(kind, *held(kind, 4000, rng))
    assert json.loads(json.dumps(calibration)) == calibration and len(calibration["scores"][0]) == 1000
    found = conformal.assess(kind, calibration, *held(kind, 20_000, rng), level)
    forced = kind != "regression" and level == 0.5  # the likeliest is always in the set
    assert found["coverage"] == pytest.approx(level, abs=0.02) or (forced and found["coverage"] > level)


def test_few_rows_give_the_exact_quantile():
    labels = np.arange(1.0, 20.0)[:, None]
    calibration = conformal.fit_scores("regression", np.zeros((19, 1)), None, labels)
    lower, upper = conformal.find_limits(calibration, np.array([[5.0]]), None, 0.9)
    assert (lower[0, 0], upper[0, 0]) == (5 - 18, 5 + 18)  # the 18th of 19: (19 + 1) * 0.9
    with pytest.raises(InputError, match=r"--interval 0.99: needs at least 99 calibration rows, the model has 19"):
        conformal.find_limits(calibration, np.array([[5.0]]), None, 0.99)


def test_intervals_are_wider_where_members_differ():
    rng = np.random.default_rng(0)
    values, stds, labels = held("regression", 2000, rng)
    lower, upper = conformal.find_limits(conformal.fit_scores("regression", values, stds, labels), values, stds, 0.9)
    assert np.corrcoef((upper - lower)[:, 0], stds[:, 0])[0, 1] == pytest.approx(1)


def test_members_that_agree_say_nothing_of_errors():
    rng = np.random.default_rng(0)
    values, _, labels = held("regression", 200, rng)
    calibration = conformal.fit_scores("regression", values, np.zeros_like(values), labels)
    assert calibration["floors"] is None
    assert conformal.assess("regression", calibration, values, np.zeros_like(values), labels, 0.9)["coverage"] >= 0.9


def test_an_output_without_labels_has_no_intervals():
    assert conformal.fit_scores("regression", np.zeros((5, 2)), None, np.array([[1.0, np.nan]] * 5)) is None


def test_sets_are_never_empty():
    rng = np.random.default_rng(0)
    values, _, labels = held("classification", 500, rng)
    calibration = conformal.fit_scores("classification", values, None, labels)
    assert conformal.find_classes(calibration, values, 0.05).any(axis=1).all()
    values, _, labels = held("multilabel", 500, rng)
    calibration = conformal.fit_scores("multilabel", values, None, labels)
    assert conformal.find_labels(calibration, values, 0.05).any(axis=2).all()


def test_calibration_error_by_hand():
    confidence, right = np.array([0.95, 0.95, 0.95, 0.55]), np.array([True, True, False, True])
    expected = (3 * abs(0.95 - 2 / 3) + abs(0.55 - 1)) / 4
    assert conformal.expected_calibration_error(confidence, right) == pytest.approx(expected)


# ── lyra predict --interval ──────────────────────────────────────────────────────────────────────────────────────────


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def trained(folder, labels, *flags):
    table = write_table(folder / "t.csv", rows=300)
    rows = read(table)
    with open(table, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sequence", *labels])
        writer.writerows([row["sequence"], *(label(row["sequence"]) for label in labels.values())] for row in rows)
    columns = ["--label_columns", *labels, "--validation_fraction", "0.3", "--num_train_epochs", "1"]
    assert main(["train", str(table), "--output_dir", str(folder / "m"), *TRAIN, *columns, *flags]) == 0
    return table, folder / "m"


TASKS = {
    "one value": ({"y": len}, ["lower", "upper"]),
    "values": ({"a": len, "b": lambda s: s.count("A") + 0.5}, ["lower_a", "upper_a", "lower_b", "upper_b"]),
    "classes": ({"kind": lambda s: "xyz"[len(s) % 3]}, ["set"]),
    "labels": ({"a": lambda s: int("A" in s), "b": lambda s: int("W" in s)}, ["set_a", "set_b"]),
    "residues": ({"h": lambda s: "".join("01"[c in "AVIL"] for c in s)}, ["set"]),
}


@pytest.mark.parametrize("kind", TASKS)
def test_predict_adds_them(kind, tmp_path):
    labels, columns = TASKS[kind]
    table, model = trained(tmp_path, labels, "--ensemble", "2" if kind == "one value" else "1")
    assert main(["predict", str(model), str(table), "-o", str(tmp_path / "p.csv"), "--interval", "0.9"]) == 0
    rows = read(tmp_path / "p.csv")
    assert list(rows[0])[-len(columns) :] == columns
    record = json.loads((model / "metrics.json").read_text())["calibration"]
    assert 0.5 < record["coverage"] <= 1 and record["reliability"] and (model / "plots" / "reliability.png").exists()
    assert "How far to trust a prediction" in (model / "README.md").read_text()
    if kind == "one value":
        assert all(float(row["lower"]) < float(row["prediction"]) < float(row["upper"]) for row in rows)
        inside = np.mean([float(row["lower"]) <= float(row["y"]) <= float(row["upper"]) for row in rows])
        assert inside > 0.8
    if kind == "classes":
        assert all(row["prediction"] in row["set"].split(";") for row in rows)


def test_a_model_without_calibration_says_so(tmp_path, capsys):
    table, model = trained(tmp_path, {"y": len})
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"calibration": None}))
    asked = ["predict", str(model), str(table), "-o", str(tmp_path / "p.csv"), "--interval"]
    assert main([*asked, "0.9"]) == 2 and "the model has no intervals" in capsys.readouterr().err
    assert main([*asked, "90"]) == 2 and "between 0 and 1, such as 0.9, got 90" in capsys.readouterr().err
    (model / "config.json").write_text(json.dumps(config))
    assert main([*asked, "0.999"]) == 2 and "needs at least 999 calibration rows" in capsys.readouterr().err
    assert not (tmp_path / "p.csv").exists()


def test_the_distance_to_the_training_table(tmp_path, capsys):
    table, model = trained(tmp_path, {"y": len})
    known = read(table)[0]["sequence"]
    (tmp_path / "new.csv").write_text(f"sequence\n{known}\n{known[:-1]}W\n{known[:-1]}\nWWWWWWWWWWWWWWWW\n")
    asked = ["predict", str(model), str(tmp_path / "new.csv"), "-o", str(tmp_path / "p.csv"), "--nearest"]
    assert main([*asked, str(table)]) == 0
    rows = read(tmp_path / "p.csv")
    found = [float(row["nearest_identity"]) for row in rows]
    share = 1 - 1 / len(known)
    assert found[0] == 1 and found[1] == found[2] == pytest.approx(share, abs=1e-6) and found[3] < 0.3
    assert main([*asked, str(tmp_path / "none.csv")]) == 2 and "none.csv" in capsys.readouterr().err
