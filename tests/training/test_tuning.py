"""`lyra tune`: a search by validation that can go on, and one run with the best settings that scores the test split."""

import csv
import json

import pytest
from runs import TRAIN, write_table

from lyra.cli import main
from lyra.errors import InputError
from lyra.training.search_space import DEFAULT_SPACE, Range, read_space

SPACE = """
learning_rate: {low: 1e-4, high: 1e-2, log: true}
hidden_size: [8, 16]
hidden_dropout_prob: {low: 0, high: 0.3}
"""
FEW = ["--num_train_epochs", "2", "--ensemble", "1"]


def tune(folder, *flags):
    (folder / "space.yaml").write_text(SPACE)
    table = folder / "t.csv"
    if not table.exists():
        write_table(table)
    asked = ["tune", str(table), "--output_dir", str(folder / "m"), *TRAIN, *FEW]
    return main([*asked, "--space", str(folder / "space.yaml"), *flags])


def trials(folder):
    with open(folder / "m" / "trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_best_trial_is_trained(tmp_path, capsys):
    pytest.importorskip("optuna")
    assert tune(tmp_path, "--trials", "3") == 0
    found, record = trials(tmp_path), json.loads((tmp_path / "m" / "metrics.json").read_text())
    assert list(found[0]) == ["trial", "state", "validation", "learning_rate", "hidden_size", "hidden_dropout_prob"]
    best = max(found, key=lambda trial: float(trial["validation"]))
    assert record["tuning"]["trials"] == len(found) == 3
    assert record["tuning"]["validation"] == pytest.approx(float(best["validation"]))
    assert record["hyperparameters"]["learning_rate"] == pytest.approx(float(best["learning_rate"]))
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["hidden_size"] == int(best["hidden_size"])
    assert config["hidden_dropout_prob"] == pytest.approx(float(best["hidden_dropout_prob"]))
    assert config["state_size"] == 4  # as without a search
    assert record["command"].startswith("lyra tune") and (tmp_path / "m" / "trials.png").stat().st_size > 5000
    assert capsys.readouterr().out.count("trial: spearman") == 3


def test_a_search_goes_on(tmp_path, capsys):
    pytest.importorskip("optuna")
    assert tune(tmp_path, "--trials", "2") == 0
    earlier = trials(tmp_path)
    assert tune(tmp_path, "--trials", "3") == 2 and "--output_dir is in use" in capsys.readouterr().err
    (tmp_path / "m" / "metrics.json").unlink()  # interrupted before the last run
    assert tune(tmp_path, "--trials", "3", "--resume") == 0
    assert trials(tmp_path)[:2] == earlier and len(trials(tmp_path)) == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--trials", "0"], "--trials: expected at least 1, got 0"),
        (["--hours", "-1"], "--hours: expected more than 0, got -1"),
        (["--space", "none.yaml"], "none.yaml: no such file"),
        (["--backend", "grid"], "--backend"),
        (["--cross_validate", "true"], "--cross_validate: not with lyra tune"),
    ],
)
def test_bad_flags(tmp_path, flags, message, capsys):
    assert tune(tmp_path, *flags) == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_a_space_of_ones_own(tmp_path):
    (tmp_path / "s.yaml").write_text(SPACE)
    space = read_space(str(tmp_path / "s.yaml"), {"learning_rate", "hidden_size", "hidden_dropout_prob"})
    assert space == {
        "learning_rate": Range(1e-4, 1e-2, True),
        "hidden_size": [8, 16],
        "hidden_dropout_prob": Range(0, 0.3),
    }
    assert read_space(None, set()) is DEFAULT_SPACE
    (tmp_path / "s.yaml").write_text("learning_rate: [1e-4, 2]\nlr_scheduler_type: [cosine, linear]")
    space = read_space(str(tmp_path / "s.yaml"), {"learning_rate", "lr_scheduler_type"})
    assert space == {"learning_rate": [1e-4, 2], "lr_scheduler_type": ["cosine", "linear"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rte: [1]", "'learning_rte' is no field"),
        ("[1, 2]", "expected fields and their ranges"),
        ("learning_rate: {low: 1}", "expected a list of values or low, high and log"),
        ("learning_rate: {low: 2, high: 1}", "expected low below high"),
        ("learning_rate: {low: 0, high: 1, log: true}", "above 0 where log is true"),
        ("learning_rate: {low: 0, high: 1, step: 2}", "got {'low': 0"),
        ("learning_rate: []", "expected a list of values"),
        ("a: [", "not a readable YAML file"),
    ],
)
def test_a_space_that_cannot_be_read(tmp_path, text, message):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        read_space(str(tmp_path / "s.yaml"), {"learning_rate"})
    assert message in str(error.value) and "s.yaml" in str(error.value)


def test_ray_searches_on_one_machine(tmp_path):
    pytest.importorskip("ray.tune", reason="Ray is not installed")
    assert tune(tmp_path, "--trials", "2", "--backend", "ray") == 0
    assert len(trials(tmp_path)) == 2 and (tmp_path / "m" / "metrics.json").exists()
