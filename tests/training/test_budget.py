"""How long a run lasts, and how many members it has, where nobody says it."""

import csv
import json
from types import SimpleNamespace

import pytest

from lyra import LyraConfig, LyraForSequenceClassification, LyraTokenizer
from lyra.cli import main
from lyra.tasks import Task
from lyra.training import LyraTrainer, LyraTrainingArguments
from lyra.training.budget import usual_ensemble, usual_epochs


def table(rows, length):
    return SimpleNamespace(rows={"train": range(rows)}, sequences={"train": ["A" * length] * rows})


def test_epochs_depend_on_rows_and_lengths():
    few, more, longer = (usual_epochs(table(*size), 16, 1e6) for size in ((60, 10), (600, 10), (60, 10_000)))
    assert few > more > longer == 1
    assert usual_epochs(table(60, 100_000), 16, 1e6) == pytest.approx(1 / 6)  # not even one
    assert usual_epochs(table(60, 10_000), 16, 1e9) == few


def test_members_depend_on_what_they_read():
    assert usual_ensemble(table(60, 10), 20, 6 * 20 * 600) == 3
    assert usual_ensemble(table(60, 10), 20, 6 * 20 * 600 - 1) == 1


def train(tmp_path, *flags):
    path, output = tmp_path / "t.csv", tmp_path / "run"
    with open(path, "w", newline="") as file:
        rows = [(f"{'ACDEFGHIKL'[i % 10]}{'MNPQRSTVWY'[i // 10]}AC", i % 10) for i in range(40)]
        csv.writer(file).writerows([("sequence", "label"), *rows])
    fixed = ["--config_overrides", "hidden_size=8", "state_size=4", "--use_cpu", "true", "--disable_tqdm", "true"]
    argv = ["train", str(path), "--output_dir", str(output), "--per_device_train_batch_size", "2", *fixed, *flags]
    assert main(argv) == 0
    return json.loads((output / "metrics.json").read_text())


def test_a_run_without_flags_has_three_members_where_they_cost_little(tmp_path, capsys):
    record = train(tmp_path)
    assert [member["seed"] for member in record["members"]] == [42, 43, 44]
    assert f"epochs: at most {record['hyperparameters']['epochs']:g}, members: 3" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--max_letters", "300"], ["--num_train_epochs", "1"], ["--ensemble", "1"]])
def test_a_run_has_one_member_where_they_would_not_or_the_user_chose(tmp_path, flags):
    assert "members" not in train(tmp_path, *flags)


def test_epochs_that_nobody_chose_are_asked_for(tmp_path):
    model = LyraForSequenceClassification(LyraConfig(hidden_size=8, state_size=4, num_labels=1))
    task = Task("regression", ("label",), ("label",))
    data = {"eval_dataset": [], "processing_class": LyraTokenizer(), "task": task}
    args = LyraTrainingArguments(output_dir=str(tmp_path), use_cpu=True, metric_for_best_model="spearman")
    with pytest.raises(ValueError, match="`num_train_epochs` must be given"):
        LyraTrainer(model, args, **data)
    args = LyraTrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, metric_for_best_model="spearman", num_train_epochs=2
    )
    assert LyraTrainer(model, args, **data).args.num_train_epochs == 2
