"""The main job on tiny tables: `lyra train`, what it writes, and what it refuses."""

import csv
import io
import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from interrupted import KILLED, interrupted
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

from lyra import LyraConfig, LyraForSequenceClassification
from lyra.cli import main
from lyra.hub.code import code_files
from lyra.training import parameter_groups

TINY = ["--config_overrides", "hidden_size=8", "state_size=4", "--num_train_epochs", "2", "--disable_tqdm", "true"]
TINY += ["--use_cpu", "true"]
FILES = {"README.md", "config.json", "metrics.json", "model.safetensors", "plots", "predictions.csv"}
FILES |= {"tokenizer.json", "tokenizer_config.json"}
FILES |= {file.name for file in code_files()}


def composition(sequence):
    return 100 + 10 * sequence.count("A") - 5 * sequence.count("W") + len(sequence) / 7


def run(table, output, *flags):
    return main(["train", str(table), "--output_dir", str(output), *TINY, *flags])


def test_a_terminal_shows_a_bar(table, tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    flags = ["--config_overrides", "hidden_size=8", "state_size=4", "--num_train_epochs", "1", "--use_cpu", "true"]
    assert main(["train", str(table(composition)), "--output_dir", str(tmp_path / "out"), *flags]) == 0
    assert re.search(r"training: +\d+%", sys.stderr.getvalue())


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_regression_end_to_end(table, tmp_path, capsys):
    path = table(composition)
    assert run(path, tmp_path / "out", "--label_transform", "standardize") == 0
    out = tmp_path / "out"
    assert {item.name for item in out.iterdir()} == FILES
    assert {item.name for item in (out / "plots").iterdir()} == {"training.png", "measured.png"}

    assert len({(out / name).stat().st_mode for name in FILES - {"plots"}}) == 1  # as readable as the rest

    record = json.loads((out / "metrics.json").read_text())
    assert record["task"] == "regression" and record["selected_by"] == "spearman"
    assert set(record["validation"]) == set(record["test"]) == {"spearman", "pearson", "r2", "rmse", "mae"}
    assert record["n"] == {"train": 48, "validation": 6, "test": 6} and record["seconds"] > 0
    assert all(math.isfinite(value) for value in record["test"].values())

    predictions = read_csv(out / "predictions.csv")
    assert list(predictions[0]) == ["id", "sequence", "label", "prediction"] and len(predictions) == 6
    labels, values = (np.array([float(row[key]) for row in predictions]) for key in ("label", "prediction"))
    assert record["test"]["mae"] == pytest.approx(np.abs(labels - values).mean(), rel=1e-4)
    assert 50 < values.mean() < 150  # the user's units

    model = AutoModelForSequenceClassification.from_pretrained(out).eval()
    tokenizer = AutoTokenizer.from_pretrained(out)
    single = model(**tokenizer(predictions[0]["sequence"], return_tensors="pt")).logits.item()
    assert single == pytest.approx(values[0], rel=1e-5)
    assert record["parameters"] == model.num_parameters()
    train_labels = [composition(row["sequence"]) for row in read_csv(path)]
    assert abs(model.config.label_mean - np.mean(train_labels)) < 2 and model.config.label_std > 0

    card = ModelCard.load(out / "README.md")
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert results == {key: pytest.approx(value, abs=1e-6) for key, value in record["test"].items()}
    assert card.data.library_name == "transformers" and record["data"]["sha256"] in card.text

    printed = capsys.readouterr().out
    for found in ("column 'sequence', alphabet protein (found)", "task regression (found)", "48 train", "written: "):
        assert found in printed


def test_classes_end_to_end(table, tmp_path):
    assert run(table(lambda s: "rich" if s.count("A") else "poor"), tmp_path / "out") == 0
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert record["selected_by"] == "mcc" and {"accuracy", "f1", "mcc"} <= set(record["test"])
    row = read_csv(tmp_path / "out" / "predictions.csv")[0]
    probabilities = {name: float(row[f"probability_{name}"]) for name in ("poor", "rich")}
    assert row["prediction"] == max(probabilities, key=probabilities.get)
    assert sum(probabilities.values()) == pytest.approx(1)
    assert {p.name for p in (tmp_path / "out" / "plots").iterdir()} == {"training.png", "confusion.png", "roc.png"}


def test_residues_end_to_end(table, tmp_path):
    path = table(lambda s: "".join("H" if letter in "AEKLM" else "C" for letter in s))
    assert run(path, tmp_path / "out", "--learning_rate", "0.02") == 0
    row = read_csv(tmp_path / "out" / "predictions.csv")[0]
    assert len(row["prediction"]) == len(row["sequence"]) == len(row["probability_H"].split())
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "out")
    assert model.config.id2label == {0: "C", 1: "H"}


@pytest.mark.parametrize(("task", "plot"), [("multilabel", "roc.png"), ("regression", "measured_1.png")])
def test_several_outputs_end_to_end(table, tmp_path, task, plot):
    path = table(lambda s: (int("A" in s), int("W" in s)), header="has_a,has_w")
    assert run(path, tmp_path / "out", "--label_columns", "has_a", "has_w", "--task", task) == 0
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert record["outputs"] == ["has_a", "has_w"]
    expected = "probability_has_w" if task == "multilabel" else "prediction_has_w"
    assert expected in read_csv(tmp_path / "out" / "predictions.csv")[0]
    assert (tmp_path / "out" / "plots" / plot).stat().st_size > 5000


def test_residue_values_end_to_end(table, tmp_path):
    path = table(lambda s: " ".join(f"{0.5 + (letter == 'A')}" for letter in s))
    assert run(path, tmp_path / "out") == 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["task"] == "token_regression"
    row = read_csv(tmp_path / "out" / "predictions.csv")[0]
    assert len(row["prediction"].split()) == len(row["sequence"])


def test_a_seed_gives_the_same_weights(table, tmp_path):
    path = table(composition)

    def weights(name, *flags):
        assert run(path, tmp_path / name, *flags) == 0
        return (tmp_path / name / "model.safetensors").read_bytes()

    assert weights("a") == weights("b") != weights("c", "--seed", "7")


def test_fine_tuning_from_a_checkpoint(table, tmp_path, capsys):
    assert run(table(composition), tmp_path / "first") == 0
    start = str(tmp_path / "first")
    flags = ["--model_name_or_path", start, "--num_train_epochs", "1", "--disable_tqdm", "true", "--use_cpu", "true"]
    classes = table(lambda s: "x" if "A" in s else "y", name="classes.csv")
    assert main(["train", str(classes), "--output_dir", str(tmp_path / "second"), *flags]) == 0
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "second")
    assert model.config.num_labels == 2 and model.config.hidden_size == 8 and model.config.label_mean is None
    flags += ["--alphabet", "HPNC", "--unknown", "token"]
    assert main(["train", str(classes), "--output_dir", str(tmp_path / "third"), *flags]) == 2
    assert "has alphabet protein, these data HPNC (--alphabet)" in capsys.readouterr().err


def test_config_files(table, tmp_path):
    path = table(composition)
    config = tmp_path / "run.yaml"
    config.write_text(
        f"data: {path}\noutput_dir: {tmp_path / 'out'}\nnum_train_epochs: 9\nuse_cpu: true\ndisable_tqdm: true\n"
        "config_overrides: {hidden_size: 8, state_size: 4, bidirectional: true}\nmetric_for_best_model: rmse\n"
    )
    assert main(["train", str(config), "--num_train_epochs", "1"]) == 0
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert record["hyperparameters"]["epochs"] == 1 and record["selected_by"] == "rmse"


def test_recipes_are_flags_that_others_override(table, tmp_path):
    path = table(composition)
    assert (
        run(
            path,
            tmp_path / "m",
            "--recipe",
            "bidirectional",
            "--learning_rate",
            "0.01",
            "--config_overrides",
            "hidden_size=8",
            "state_size=4",
        )
        == 0
    )
    record = json.loads((tmp_path / "m" / "metrics.json").read_text())
    settings = record["hyperparameters"]
    assert (settings["learning_rate"], settings["lr_scheduler_type"]) == (0.01, "cosine")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert (config["hidden_size"], config["bidirectional"], config["pooling"]) == (8, True, "mean_last")
    assert config["label_quantiles"] is not None
    tuning = [
        "--recipe",
        "bidirectional",
        "--model_name_or_path",
        str(tmp_path / "m"),
        "--num_train_epochs",
        "1",
        "--use_cpu",
    ]
    assert main(["train", str(path), "--output_dir", str(tmp_path / "tuned"), *tuning]) == 0


def test_ranks_of_labels_that_are_all_but_equal(table, tmp_path, capsys):
    values = iter([2.5] * 5 + [10.0] + [2.5] * 794)
    path = table(lambda sequence: next(values), rows=800)
    assert run(path, tmp_path / "m", "--task", "regression", "--label_transform", "rank") == 2
    assert "all but a few labels are 2.5" in capsys.readouterr().err and not (tmp_path / "m").exists()


def test_balanced_class_weights(table, tmp_path):
    path = table(lambda sequence: "rare" if sequence.count("A") > 1 else "common")
    assert run(path, tmp_path / "m", "--class_weights", "balanced") == 0
    weights = json.loads((tmp_path / "m" / "config.json").read_text())["class_weights"]
    with open(path) as file:
        labels = [row["label"] for row in csv.DictReader(file)]
    assert labels.count("common") > labels.count("rare") and weights[0] < 1 < weights[1]


def test_early_stopping(table, tmp_path):
    flags = ["--num_train_epochs", "50", "--early_stopping_patience", "1", "--learning_rate", "1e-9"]
    assert run(table(composition), tmp_path / "out", *flags) == 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["best_epoch"] < 10


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--num_train_epochs", "-1"], "--num_train_epochs: expected a number above 0"),
        (["--learning_rate", "0"], "--learning_rate: expected a number above 0"),
        (["--learning_rate", "1e9"], "--learning_rate: expected a number above 0 and below 10"),
        (["--per_device_train_batch_size", "-8"], "--per_device_train_batch_size: expected a number above 0"),
        (["--weight_decay", "-0.1"], "--weight_decay: expected a number from 0 to 10"),
        (["--early_stopping_patience", "0"], "--early_stopping_patience: expected at least 1"),
        (["--metric_for_best_model", "acuracy"], "--metric_for_best_model: expected one of loss, spearman"),
        (["--config_overrides", "hidden_size=-1"], "--config_overrides: `hidden_size` must be at least 1"),
        (["--config_overrides", "hiden_size=8"], "--config_overrides: expected field=value"),
        (["--validation_fraction", "2"], "--validation_fraction: expected a number between 0 and 1"),
        (["--task", "magic"], "--task: invalid choice: 'magic'"),
        (["--num_train_epoch", "3"], "unknown argument '--num_train_epoch'; did you mean --num_train_epochs?"),
        (["--seed", "x"], "--seed: invalid int value"),
        (["--label_columns", "y"], "no column 'y' (--label_columns)"),
        (
            ["--model_name_or_path", "no/model"],
            "no/model: no such folder, and no Hub repository with a Lyra checkpoint",
        ),
        (["--resume_from_checkpoint", "nope"], "--resume_from_checkpoint: no folder 'nope'"),
        (["--seed", "-1"], "--seed: expected a number from 0 to"),
        (["--split_seed", "-1"], "--split_seed: expected a number from 0 to"),
        (
            ["--eval_strategy", "no", "--save_strategy", "no"],
            "cannot be disabled, because the best epoch is selected on validation",
        ),
        (["--label_smoothing_factor", "0.1"], "--label_smoothing_factor"),
        (["--lr_scheduler_type", "cosine_with_min_lr"], "training stopped: "),
        (["--adam_beta1", "2"], "training stopped: Invalid beta parameter"),
        (["--config_overrides", "state_size=10000000000"], "a model of this size cannot be built"),
    ],
)
def test_bad_arguments_stop_with_one_line_and_write_nothing(table, tmp_path, capsys, flags, expected):
    path = table(composition)
    assert main(["train", str(path), "--output_dir", str(tmp_path / "out"), "--use_cpu", "true", *flags]) == 2
    error = capsys.readouterr().err
    assert expected in error and len(error.strip().splitlines()) == 1 and error.startswith("lyra train: error: ")
    assert not (tmp_path / "out").exists()


def test_what_an_early_interruption_leaves_is_in_nobodys_way(table, tmp_path):
    (tmp_path / "out" / "checkpoints").mkdir(parents=True)
    assert run(table(composition), tmp_path / "out") == 0


def test_resuming_another_run_is_refused(table, tmp_path, capsys):
    """A killed run continues with its own data and model only."""
    path = table(composition)
    command = ["train", path, "--output_dir", tmp_path / "out", *TINY]
    assert interrupted("KILL", "lyra.training.callbacks:rotate_checkpoints", 1, *command)[0] == KILLED
    assert run(path, tmp_path / "out") == 2
    assert "--output_dir is in use" in capsys.readouterr().err
    assert run(table(lambda s: 1000 * composition(s), name="other.csv"), tmp_path / "out", "--resume") == 2
    assert "cannot resume: data changed since the interrupted run" in capsys.readouterr().err
    assert run(path, tmp_path / "out", "--resume", "--split_seed", "3") == 2
    assert "cannot resume: data options changed since" in capsys.readouterr().err
    assert run(path, tmp_path / "out", "--resume", "--config_overrides", "hidden_size=16") == 2
    assert "cannot resume: model settings changed since the interrupted run" in capsys.readouterr().err
    assert run(path, tmp_path / "out", "--resume") == 0


def test_labels_that_single_precision_cannot_hold(table, tmp_path, capsys):
    for label in (lambda s: 1e39 * len(s), lambda s: 1e15 + len(s), lambda s: 1e-40 * len(s)):
        assert run(table(label), tmp_path / "out") == 2
        error = capsys.readouterr().err
        assert "do not fit single precision" in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_equal_validation_labels_select_by_loss(table, tmp_path, capsys):
    path = table(composition, header="label,split", rows=0)
    rows = [f"{i},{'ACDEF'[i % 5] * 6}{'GHIKLMNPQR'[i % 10]},{i}.5,train" for i in range(20)]
    rows += [f"{i},{'STVWY'[i % 5] * 5},1.5,{'validation' if i % 2 else 'test'}" for i in range(6)]
    path.write_text("id,sequence,label,split\n" + "\n".join(rows) + "\n")
    assert run(path, tmp_path / "out") == 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["selected_by"] == "loss"
    assert "selection: by loss" in capsys.readouterr().out


def test_columns_that_the_predictions_would_replace(table, tmp_path, capsys):
    path = table(lambda s: (composition(s), 1), header="label,prediction")
    assert run(path, tmp_path / "out") == 2
    assert "the input already has a column 'prediction'" in capsys.readouterr().err


def test_rows_with_different_columns_and_odd_class_names(tmp_path):
    path = tmp_path / "t.jsonl"
    classes = ["$\\frac{$", 'a, "b"\n|`<x>']
    rows = [
        {"sequence": "ACDEF"[i % 5] * (3 + i % 7), "label": classes[i % 2]} | ({"x": i} if i % 3 else {})
        for i in range(60)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert run(path, tmp_path / "out") == 0
    assert {row["prediction"] for row in read_csv(tmp_path / "out" / "predictions.csv")} <= set(classes)
    assert set(ModelCard.load(tmp_path / "out" / "README.md").data.tags) == {
        "lyra",
        "biology",
        "protein",
        "classification",
    }


def test_output_directories_that_cannot_be_used(table, tmp_path, capsys):
    path = table(composition)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.doc").touch()
    assert run(path, tmp_path / "used") == 2
    assert "used: --output_dir is in use" in capsys.readouterr().err
    assert run(path, path) == 2
    assert "--output_dir is a file" in capsys.readouterr().err
    assert run(path, "/proc/out") == 2
    assert "/proc/out: --output_dir cannot be written" in capsys.readouterr().err
    assert main(["train", str(path)]) == 2
    assert "--output_dir DIR is missing" in capsys.readouterr().err


def test_bad_data_stops_with_one_line_and_writes_nothing(table, tmp_path):
    """In a process of its own, as a user meets it: exit code 2, one line, no folder."""
    path = table(lambda s: "high" if s.startswith("A") else 1.5)
    command = [sys.executable, "-m", "lyra", "train", str(path), "--output_dir", str(tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2 and len(result.stderr.strip().splitlines()) == 1
    assert "column 'label': expected a number, got 'high'" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("argv", [[], ["fly"], ["predict"], ["train", "none.csv", "--output_dir", "out"]])
def test_wrong_commands(argv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    assert list(tmp_path.iterdir()) == []


def test_parameter_groups():
    model = LyraForSequenceClassification(LyraConfig(bidirectional=True))
    decay, plain, ssm = parameter_groups(model, 0.01)
    names = {id(parameter): name for name, parameter in model.named_parameters()}

    def named(group):
        return {names[id(parameter)] for parameter in group["params"]}

    assert [group["weight_decay"] for group in (decay, plain, ssm)] == [0.01, 0.0, 0.0]
    assert {name.rsplit(".")[-1] for name in named(ssm)} == {"log_dt", "log_A_real", "A_imag"} and len(named(ssm)) == 6
    assert all(name.endswith(("bias", "norm.weight", ".D")) for name in named(plain))
    assert all(name.endswith((".weight", ".C")) and "norm" not in name for name in named(decay))
    assert len(named(decay) | named(plain) | named(ssm)) == len(names)
    model.classifier.weight.requires_grad_(False)
    assert "classifier.weight" not in named(parameter_groups(model, 0.01)[0])


@pytest.mark.slow
def test_real_splice_sites_learn(real_data, tmp_path):
    """Two epochs on a real table are far better than chance."""
    flags = ["--num_train_epochs", "2", "--use_cpu", "true", "--disable_tqdm", "true"]
    torch.manual_seed(0)
    assert main(["train", str(real_data("mavenn_mpsa.csv.gz")), "--output_dir", str(tmp_path / "out"), *flags]) == 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["test"]["pearson"] > 0.6
