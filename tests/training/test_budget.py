"""How long a run lasts, and how many members it has, where nobody says it."""

import csv
import json
from types import SimpleNamespace

import pytest

from lyra import LyraConfig, LyraForSequenceClassification, LyraTokenizer
from lyra.cli import main
from lyra.data.strings import Strings
from lyra.tasks import Task
from lyra.training import LyraTrainer, LyraTrainingArguments
from lyra.training.budget import usual_ensemble, usual_epochs


def table(rows, length):
    return SimpleNamespace(rows={"train": range(rows)}, sequences={"train": Strings.of(["A" * length] * rows)})


def test_epochs_depend_on_rows_and_lengths():
    few, more, longer = (usual_epochs(table(*size), 16, 1e6) for size in ((60, 10), (600, 10), (60, 10_000)))
    assert few > more > longer == 1
    assert usual_epochs(table(60, 100_000), 16, 1e6) == pytest.approx(1 / 6)  # not even one
    assert usual_epochs(table(60, 10_000), 16, 1e9) == few


def test_members_depend_on_what_they_read():
    assert usual_ensemble(table(60, 10), 20, 3 * 20 * 600) == 3
    assert usual_ensemble(table(60, 10), 20, 3 * 20 * 600 - 1) == 1


def run(tmp_path, *flags, classes=False, **columns):
    """The exit status of `lyra train` on a small table."""
    values = [f"class {i % 2}" if classes else i % 10 + 0.5 for i in range(40)]
    sequences = [f"{'ACDEFGHIKL'[i % 10]}{'MNPQRSTVWY'[i // 10]}AC" for i in range(40)]
    with open(tmp_path / "t.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sequence", "label", *columns])
        writer.writerows(zip(sequences, values, *columns.values(), strict=True))
    fixed = ["--config_overrides", "hidden_size=8", "state_size=4", "--use_cpu", "true", "--disable_tqdm", "true"]
    fixed += ["--output_dir", str(tmp_path / "run"), "--per_device_train_batch_size", "2"]
    return main(["train", str(tmp_path / "t.csv"), *fixed, *flags])


def train(tmp_path, *flags):
    assert run(tmp_path, *flags) == 0
    return json.loads((tmp_path / "run" / "metrics.json").read_text())


ONE = ("--num_train_epochs", "1")


def test_a_run_without_flags_has_three_members_where_they_cost_little(tmp_path, capsys):
    record = train(tmp_path)
    assert sorted(folder.name for folder in (tmp_path / "run" / "members").iterdir()) == ["42", "43", "44"]
    assert f"epochs: at most {record['hyperparameters']['epochs']:g}, members: 3" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--max_letters", "100"], ONE, ["--ensemble", "1", "--max_letters", "300"]])
def test_a_run_has_one_member_where_they_would_not_or_the_user_chose(tmp_path, flags):
    assert "members" not in train(tmp_path, *flags)


def test_a_single_model_does_not_become_an_ensemble_when_it_is_resumed(tmp_path, capsys):
    before = train(tmp_path, *ONE)
    assert run(tmp_path, "--resume") == 2
    assert "contains a single model, and this run has 3 members; pass --ensemble 1" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == before
    assert run(tmp_path, "--resume", *ONE) == 0


def test_an_ensemble_does_not_become_a_single_model_when_it_is_resumed(tmp_path, capsys):
    before = train(tmp_path, *ONE, "--ensemble", "2")
    assert run(tmp_path, "--resume", *ONE) == 2
    assert "contains an ensemble; pass its --ensemble with --resume" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == before


def test_the_old_run_stays_where_the_new_one_cannot_be(tmp_path, capsys):
    assert run(tmp_path, *ONE, classes=True) == 0
    record = (tmp_path / "run" / "metrics.json").read_text()
    assert run(tmp_path, "--overwrite_output_dir", "--global_epistasis", "monotone", classes=True) == 2
    assert "only over the linear term of a regression" in capsys.readouterr().err
    assert (tmp_path / "run" / "metrics.json").read_text() == record


def test_a_seed_leaves_room_for_the_members(tmp_path, capsys):
    assert run(tmp_path, "--seed", str(2**32 - 1)) == 2
    assert "--seed: expected at most 2**32 - 3 for 3 members" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_column_that_only_an_ensemble_would_add(tmp_path, capsys):
    assert run(tmp_path, std=range(40)) == 2
    assert "'std'; rename it first, or pass --ensemble 1, which has no deviations" in capsys.readouterr().err
    assert run(tmp_path, *ONE, std=range(40)) == 0


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
