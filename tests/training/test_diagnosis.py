"""What a run says at its end: the linear model beside it, and plainly where it learned nothing."""

import json

import numpy as np
import pytest
from test_training import TINY, composition, run

from lyra.cli import main
from lyra.data import DataArguments, prepare
from lyra.training.diagnosis import find_problems
from lyra.training.linear import fit_linear

RNG = np.random.default_rng(0)


def record_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_the_linear_model_is_beside_the_run(table, tmp_path, capsys):
    assert run(table(composition), tmp_path / "m", "--linear_term", "none") == 0
    said, record = capsys.readouterr().out, record_of(tmp_path / "m")
    assert "linear, validation" in said and "linear, test" in said
    data = prepare(DataArguments(data=str(tmp_path / "t.csv")))
    expected = fit_linear(data, "spearman", 42).record
    assert record["linear"]["test"] == expected["test"] and expected["test"]["spearman"] > 0.8
    assert any(line.startswith("a linear model is better on validation") for line in record["warnings"])
    card = (tmp_path / "m" / "README.md").read_text()
    assert "linear, test" in card and "**Note:** A linear model is better on validation" in card
    assert f"warning: {record['warnings'][0]}" in said
    assert any(line.endswith("--linear_term auto adds one") for line in record["warnings"])


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (lambda sequence: float(RNG.normal()), "is no better than chance gives for"),
        (lambda sequence: "no" if RNG.random() < 0.9 else "yes", "is no better than chance gives for"),
    ],
    ids=["noise", "rare class"],
)
def test_a_run_that_learned_nothing_says_so(table, tmp_path, capsys, label, message):
    assert run(table(label, rows=200), tmp_path / "m", "--learning_rate", "1e-6", "--recipe", "paper") == 0
    warnings = record_of(tmp_path / "m")["warnings"]
    assert any(message in line for line in warnings)
    assert sum("more epochs or another --learning_rate may help" in line for line in warnings) == 1
    assert message in capsys.readouterr().out


def test_predictions_that_do_not_vary(tmp_path):
    sequences = ["".join(RNG.choice(list("ACDEFGHIKLMNPQRSTVWY"), 12)) for _ in range(200)]

    def problems(labels, logits):
        rows = map(",".join, zip(sequences, labels, strict=True))
        (tmp_path / "t.csv").write_text("sequence,label\n" + "\n".join(rows) + "\n")
        data = prepare(DataArguments(data=str(tmp_path / "t.csv")))
        items = len(data.rows["test"])
        return find_problems(data, {"selected_by": "loss", "validation": {}}, logits(items))

    said = problems(["no", "yes"] * 100, lambda items: np.tile([0.0, 1.0], (items, 1)))
    assert said[0].startswith("class 'yes' is predicted for every test row; more epochs")
    said = problems([f"{i}.5" for i in range(200)], lambda items: RNG.normal(size=(items, 1)) * 1e-3)
    assert said[0].startswith("the predictions of 'label' hardly differ from each other; more epochs")
    rare = problems(["yes"] * 20 + ["no"] * 180, lambda items: RNG.normal(size=(items, 2)))
    assert rare == ["few test rows have these classes, so that scores that depend on them are uncertain: 'yes' 2"]


def test_a_run_that_learned_says_nothing(table, tmp_path):
    flags = ["--num_train_epochs", "40", "--learning_rate", "2e-2", "--config_overrides", "hidden_dropout_prob=0.0"]
    path = table(lambda sequence: sequence.count("A") * sequence.count("W") + 0.5, rows=400, length=(20, 21))
    assert main(["train", str(path), "--output_dir", str(tmp_path / "m"), *TINY, *flags]) == 0
    record = record_of(tmp_path / "m")
    assert record["validation"]["spearman"] > record["linear"]["validation"]["spearman"] and record["warnings"] == []


def test_one_line_an_epoch(table, tmp_path, capsys):
    path = table(lambda s: (s.count("A") + 0.5, s.count("C") + 0.5, len(s) / 7), header="a,b,c")
    assert run(path, tmp_path / "m", "--label_columns", "a", "b", "c") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert len(lines) == 2 and lines[0].endswith("  best")
    for number, line in enumerate(lines, start=1):
        assert line.startswith(f"epoch {number}/2  loss ") and "validation loss" in line and line.count("spearman") == 1
    card = (tmp_path / "m" / "README.md").read_text()
    assert "Spearman correlation (mean over 3 outputs)" in card


def test_residues_are_counted(table, tmp_path):
    path = table(lambda s: " ".join("nan" if x == "M" else str(ord(x) / 7) for x in s))
    assert run(path, tmp_path / "m") == 0
    record = record_of(tmp_path / "m")
    sequences = prepare(DataArguments(data=str(path))).sequences["test"]
    assert record["labelled_residues"]["test"] == sum(len(s) - s.count("M") for s in sequences)
    card = (tmp_path / "m" / "README.md").read_text()
    assert f"labelled residues of the whole split: {record['labelled_residues']['validation']:,}" in card


def test_of_epochs_with_the_same_metric_the_one_with_the_lowest_loss(table, tmp_path):
    path = table(lambda sequence: "no" if RNG.random() < 0.9 else "yes", rows=100)
    assert run(path, tmp_path / "m", "--num_train_epochs", "3", "--learning_rate", "1e-4") == 0
    record = record_of(tmp_path / "m")
    assert record["validation"]["mcc"] == 0 and record["best_epoch"] == 3  # the loss falls


@pytest.mark.parametrize("task", ["regression", "classification", "multilabel", "token_classification"])
def test_linear_models_learn_each_kind(tmp_path, task):
    def label(sequence):
        return {
            "regression": [sequence.count("A") + 0.5],
            "classification": ["high" if sequence.count("A") > 1 else "low"],
            "multilabel": [int("A" in sequence), int("C" in sequence)],
            "token_classification": ["".join("x" if letter < "M" else "y" for letter in sequence)],
        }[task]

    sequences = ["".join(RNG.choice(list("ACDEFGHIKLMNPQRSTVWY"), RNG.integers(20, 30))) for _ in range(300)]
    names = ["a", "b"] if task == "multilabel" else ["label"]
    rows = [",".join(map(str, [sequence, *label(sequence)])) for sequence in sequences]
    (tmp_path / "t.csv").write_text("\n".join([",".join(["sequence", *names]), *rows]) + "\n")
    data = prepare(DataArguments(data=str(tmp_path / "t.csv"), label_columns=names))
    assert data.task.name == task
    scores = fit_linear(data, data.task.spec.selected_by, 0).record["test"]
    assert scores[data.task.spec.selected_by] > 0.7


def test_a_class_without_training_rows_is_never_predicted(tmp_path):
    splits = ["train"] * 20 + ["validation"] * 6 + ["test"] * 6
    labels = ["a", "b"] * 10 + ["a", "b", "c"] * 4
    rows = [
        f"{'AC' * (3 + i % 3)}{'DE'[i % 2]},{label},{split}"
        for i, (label, split) in enumerate(zip(labels, splits, strict=True))
    ]
    (tmp_path / "t.csv").write_text("sequence,label,split\n" + "\n".join(rows) + "\n")
    scores = fit_linear(prepare(DataArguments(data=str(tmp_path / "t.csv"))), "mcc", 0).record["test"]
    assert 0 < scores["accuracy"] < 1


def test_a_run_is_replaced_when_asked(table, tmp_path, capsys):
    path = table(composition)
    assert run(path, tmp_path / "m", "--seed", "1") == 0
    before = record_of(tmp_path / "m")
    assert run(path, tmp_path / "m", "--seed", "2") == 2
    assert "--resume an interrupted run, or replace it with --overwrite_output_dir" in capsys.readouterr().err
    assert run(path, tmp_path / "m", "--seed", "2", "--overwrite_output_dir", "--resume") == 2
    assert record_of(tmp_path / "m") == before
    assert run(path, tmp_path / "m", "--seed", "2", "--overwrite_output_dir") == 0
    assert record_of(tmp_path / "m")["hyperparameters"]["seed"] == 2
    other = tmp_path / "other"
    (other / "checkpoints").mkdir(parents=True)
    (other / "checkpoints" / "resnet.pt").write_text("mine")
    (other / "metrics.json").write_text("{}")
    assert run(path, other, "--overwrite_output_dir") == 2
    assert "this folder does not hold one" in capsys.readouterr().err
    assert (other / "checkpoints" / "resnet.pt").read_text() == "mine" and (other / "metrics.json").exists()


def test_a_failed_check_replaces_nothing(table, tmp_path):
    path = table(composition)
    assert run(path, tmp_path / "m") == 0
    before = {file: file.read_bytes() for file in (tmp_path / "m").rglob("*") if file.is_file()}
    (tmp_path / "bad.csv").write_text("sequence,label\nMK,x\n")
    for data, flags in (
        (tmp_path / "bad.csv", []),
        (path, ["--config_overrides", "hidden_size=-8"]),
        (path, ["--model_name_or_path", "nowhere"]),
        (path, ["--class_weights", "balanced"]),
    ):
        command = ["train", str(data), "--output_dir", str(tmp_path / "m"), "--overwrite_output_dir", "--use_cpu"]
        assert main([*command, *flags]) == 2
        assert {file: file.read_bytes() for file in (tmp_path / "m").rglob("*") if file.is_file()} == before
    command = ["train", str(path), "--output_dir", str(tmp_path / "m"), "--overwrite_output_dir", "--use_cpu"]
    assert main([*command, "--model_name_or_path", str(tmp_path / "m")]) == 2
    assert (tmp_path / "m" / "metrics.json").exists()


def test_what_is_left_of_a_run_is_replaced(table, tmp_path):
    path = table(composition)
    assert run(path, tmp_path / "m") == 0
    (tmp_path / "m" / "metrics.json").unlink()  # as when a replacement was killed early
    assert run(path, tmp_path / "m", "--overwrite_output_dir") == 0
    assert (tmp_path / "m" / "metrics.json").exists()


def test_a_metric_that_is_undefined_on_validation(table, tmp_path, capsys):
    path = table(lambda sequence: "yes" if RNG.random() < 0.5 else "no", rows=90)
    rows = path.read_text().splitlines()
    splits = ["train"] * 60 + ["validation"] * 10 + ["test"] * 20
    rows = [f"{row},{split}" for row, split in zip(rows[1:], splits, strict=True)]
    rows = [row.replace(",no,validation", ",yes,validation") for row in rows]
    path.write_text("\n".join(["id,sequence,label,split", *rows]) + "\n")
    assert run(path, tmp_path / "m", "--metric_for_best_model", "auroc") == 0
    said = capsys.readouterr().out
    assert "auroc undefined" in said and "split: no validation row has class 'no'" in said
    assert record_of(tmp_path / "m")["best_epoch"] in (1, 2)


def test_identical_sequences_have_no_linear_model(tmp_path):
    rows = (
        [f"{'MKTAYIAK'},{i}.5,train" for i in range(20)] + ["MKTAYIAR,1.5,validation"] * 5 + ["GAVLIMFW,2.5,test"] * 5
    )
    (tmp_path / "t.csv").write_text("sequence,label,split\n" + "\n".join(rows) + "\n")
    assert fit_linear(prepare(DataArguments(data=str(tmp_path / "t.csv"))), "spearman", 0) is None


def test_lower_case_is_upper_case_for_the_linear_model(tmp_path):
    rng = np.random.default_rng(1)
    sequences = ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), rng.integers(20, 30))) for _ in range(100)]
    scores = []
    for write in (str.upper, lambda s: s.lower() if s < "M" else s):
        rows = [f"{write(s)},{s.count('A') + 0.5}" for s in sequences]
        (tmp_path / "t.csv").write_text("sequence,label\n" + "\n".join(rows) + "\n")
        scores.append(fit_linear(prepare(DataArguments(data=str(tmp_path / "t.csv"))), "spearman", 0).record["test"])
    assert scores[0] == scores[1]


def test_sklearn_is_silent(table, tmp_path, capfd):
    path = table(lambda sequence: "yes" if RNG.random() < 0.03 else "no", rows=100)
    assert run(path, tmp_path / "m") == 0
    assert "Warning" not in capfd.readouterr().err
