"""Runs that are killed, terminated, or find a damaged checkpoint, a full disk or another run in their folder."""

import fcntl
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from interrupted import KILLED, interrupted
from runs import EPOCHS, TRAIN, same_weights, train, write_table

from lyra.cli import main
from lyra.data.tables import read_rows
from lyra.files import write_json
from lyra.inference import prediction
from lyra.training.checkpoints import write_checksums

STEP = "lyra.training.trainer:LyraTrainer.training_step"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "number"),
    [
        (STEP, 3),  # before the first checkpoint
        (STEP, 9),  # in the middle of an epoch of six steps
        ("lyra.training.trainer:LyraTrainer._save_optimizer_and_scheduler", 2),  # inside a checkpoint
        ("lyra.training.callbacks:write_checksums", 2),  # after its last file
        ("lyra.training.callbacks:rotate_checkpoints", 3),
        ("lyra.training.trainer:LyraTrainer._load_best_model", 1),
        ("lyra.files:_move", 3),  # while the results are moved into place
        ("lyra.training.checkpoints:_remove", 1),  # while the checkpoints of the finished run are removed
    ],
)
def test_killed_anywhere_and_resumed_the_weights_are_the_same(unbroken, tmp_path, where, number):
    table, expected = unbroken
    out = tmp_path / "out"
    assert interrupted("KILL", where, number, "train", table, "--output_dir", out, *TRAIN)[0] == KILLED
    assert train(table, out, "--resume") == 0
    assert same_weights(out, expected)
    assert {item.name for item in out.iterdir()} == {item.name for item in expected.iterdir()}


def test_killed_after_early_stopping_resumes_to_the_same_end(tmp_path):
    """The validation score never improves by much at this rate, so that patience runs out before the last epoch."""
    table = write_table(tmp_path / "t.csv")
    flags = ["--early_stopping_patience", "1", "--learning_rate", "1e-9", "--num_train_epochs", "50"]
    assert train(table, tmp_path / "whole", *flags) == 0
    out = tmp_path / "out"
    command = ["train", table, "--output_dir", out, *TRAIN, *flags]
    assert interrupted("KILL", "lyra.training.trainer:LyraTrainer._load_best_model", 1, *command)[0] == KILLED
    assert train(table, out, *flags, "--resume") == 0
    assert same_weights(out, tmp_path / "whole")
    records = [json.loads((folder / "metrics.json").read_text()) for folder in (out, tmp_path / "whole")]
    assert records[0]["best_epoch"] == records[1]["best_epoch"]


@pytest.mark.slow
def test_an_ensemble_killed_among_its_members_is_resumed(tmp_path):
    table = write_table(tmp_path / "t.csv")
    assert train(table, tmp_path / "whole", "--ensemble", "2") == 0
    command = ["train", table, "--output_dir", tmp_path / "out", *TRAIN, "--ensemble", "2"]
    assert interrupted("KILL", STEP, 6 * EPOCHS + 8, *command)[0] == KILLED  # in the second member's second epoch
    assert train(table, tmp_path / "out", "--ensemble", "2", "--resume") == 0
    assert same_weights(tmp_path / "out", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("step", [9, 12, 24])  # of six an epoch, 24 in all
def test_sigterm_saves_and_ends(unbroken, tmp_path, capsys, step):
    table, expected = unbroken
    out = tmp_path / "out"
    code, said = interrupted("TERM", STEP, step, "train", table, "--output_dir", out, *TRAIN)
    assert code == 143 and said.strip() == "lyra train: error: terminated (SIGTERM); --resume continues"
    assert (out / "checkpoints" / f"checkpoint-{step}" / "complete.json").exists() and not (out / ".lock").exists()
    shutil.copytree(out / "checkpoints" / f"checkpoint-{step}", out / "checkpoints" / "checkpoint-best-of-mine")
    assert train(table, out) == 2
    assert "--output_dir is in use" in capsys.readouterr().err
    assert train(table, out, "--resume") == 0
    assert same_weights(out, expected)
    records = [json.loads((folder / "metrics.json").read_text()) for folder in (out, expected)]
    assert records[0]["test"] == records[1]["test"] and records[0]["best_epoch"] == records[1]["best_epoch"]


def test_sigterm_before_training_leaves_nothing(unbroken, tmp_path):
    table, _ = unbroken
    code, said = interrupted(
        "TERM", "lyra.data.preparation:check", 1, "train", table, "--output_dir", tmp_path / "o", *TRAIN
    )
    assert code == 143 and "terminated" in said and not (tmp_path / "o").exists()


def test_resuming_what_is_finished_or_was_never_begun(unbroken, tmp_path, capsys):
    table, expected = unbroken
    before = (expected / "model.safetensors").stat().st_mtime_ns
    assert train(table, expected, "--resume") == 0
    assert "finished already" in capsys.readouterr().out
    assert (expected / "model.safetensors").stat().st_mtime_ns == before
    assert train(table, tmp_path / "new", "--resume") == 0
    assert same_weights(tmp_path / "new", expected)


@pytest.fixture(scope="module")
def stopped(unbroken, tmp_path_factory):
    """A run killed in its fourth epoch, with two checkpoints: the best one and the last."""
    table, _ = unbroken
    out = tmp_path_factory.mktemp("stopped") / "out"
    flags = ["--save_total_limit", "5"]
    assert interrupted("KILL", STEP, 20, "train", table, "--output_dir", out, *TRAIN, *flags)[0] == KILLED
    return out


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "config.json"]
)
@pytest.mark.parametrize("how", ["cut", "changed", "removed"])
def test_damaged_checkpoints_are_named_and_older_ones_used_when_asked(unbroken, stopped, tmp_path, capsys, name, how):
    table, expected = unbroken
    out = tmp_path / "out"
    shutil.copytree(stopped, out)  # as a run that was moved
    damage(out / "checkpoints" / "checkpoint-18" / name, how)
    assert train(table, out, "--resume") == 2
    error = capsys.readouterr().err
    assert f"{out}/checkpoints/checkpoint-18/{name}: damaged or missing" in error
    assert f"--resume_from_checkpoint {out}/checkpoints/checkpoint-12 is intact" in error and error.count("\n") == 1
    if name == "optimizer.pt":
        assert train(table, out, "--resume_from_checkpoint", str(out / "checkpoints" / "checkpoint-12")) == 0
        assert same_weights(out, expected)


def damage(file, how):
    data = bytearray(file.read_bytes())
    if how == "removed":
        return file.unlink()
    if how == "cut":
        data = data[: len(data) // 2]
    else:
        data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("how", ["cut", "empty", "removed"])
def test_damaged_models_are_named(unbroken, tmp_path, capsys, name, how):
    table, expected = unbroken
    model = tmp_path / "model"
    shutil.copytree(expected, model)
    (model / name).write_bytes(b"") if how == "empty" else damage(model / name, how)
    code = main(["predict", str(model), str(table), "-o", str(tmp_path / "p.csv")])
    if (name, how) == ("tokenizer.json", "removed"):  # it follows from the alphabet, which tokenizer_config.json has
        assert code == 0
        return
    error = capsys.readouterr().err
    assert code == 2 and name in error and error.count("\n") == 1 and not (tmp_path / "p.csv").exists()


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_checkpoint(unbroken, tmp_path):
    """On a file system with room for two checkpoints of this run, but not for a third."""
    table, expected = unbroken
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        out = disk / "out"
        flags = ["--save_total_limit", "9"]
        command = [sys.executable, "-m", "lyra", "train", str(table), "--output_dir", str(out), *TRAIN, *flags]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 2 and "No space left on device" in result.stderr
        assert result.stderr.strip().count("\n") == 0, result.stderr
        whole = sorted(out.glob("checkpoints/*/complete.json"))
        assert whole
        shutil.copytree(out, tmp_path / "roomy")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    roomy = tmp_path / "roomy"
    assert train(table, roomy, "--resume", "--save_total_limit", "9") == 0
    assert same_weights(roomy, expected)


def test_two_runs_on_one_folder(unbroken, tmp_path, capsys):
    """The second one stops, and is free to start when the first has ended."""
    table, expected = unbroken
    out = tmp_path / "out"
    out.mkdir()
    with open(out / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for flags in ([], ["--resume"]):
            assert train(table, out, *flags) == 2
            assert f"{out}: another run is writing there" in capsys.readouterr().err
    assert train(table, out) == 0
    assert same_weights(out, expected)


@pytest.fixture(scope="module")
def many(unbroken, tmp_path_factory):
    """A table of several parts, and the model's predictions for it."""
    _, model = unbroken
    folder = tmp_path_factory.mktemp("many")
    table = write_table(folder / "many.csv", rows=9000)
    assert main(["predict", str(model), str(table), "-o", str(folder / "whole.csv")]) == 0
    return model, table, folder / "whole.csv"


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "tsv.gz"])
@pytest.mark.parametrize(
    ("where", "number"),
    [("lyra.inference.prediction:prediction_columns", 2), ("lyra.inference.prediction:join_tables", 1)],
)
def test_killed_predictions_are_resumed_to_the_same_file(many, tmp_path, capsys, suffix, where, number):
    model, table, _ = many
    files = [tmp_path / f"{name}.{suffix}" for name in ("whole", "resumed")]
    assert main(["predict", str(model), str(table), "-o", str(files[0])]) == 0
    command = ["predict", model, table, "-o", files[1]]
    assert interrupted("KILL", where, number, *command)[0] == KILLED and not files[1].exists()
    assert main([*map(str, command), "--resume"]) == 0
    assert f"resuming: {3 if 'join' in where else 1} parts" in capsys.readouterr().out
    assert files[1].read_bytes() == files[0].read_bytes()
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted(file.name for file in files)


@pytest.mark.parametrize("suffix", ["npz", "csv", "parquet"])
def test_killed_embeddings_are_resumed_to_the_same_file(many, tmp_path, capsys, suffix):
    model, table, _ = many
    files = [tmp_path / f"{name}.{suffix}" for name in ("whole", "resumed")]
    assert main(["embed", str(model), str(table), "-o", str(files[0])]) == 0
    command = ["embed", model, table, "-o", files[1]]
    assert interrupted("KILL", "lyra.inference.embedding:_states", 2, *command)[0] == KILLED and not files[1].exists()
    assert main([*map(str, command), "--resume"]) == 0
    assert "resuming: 1 parts" in capsys.readouterr().out
    if suffix == "npz":  # an archive holds the time of its making
        whole, resumed = map(np.load, files)
        assert all(np.array_equal(whole[name], resumed[name]) for name in ("embeddings", "lengths"))
    else:
        assert files[1].read_bytes() == files[0].read_bytes()
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted(file.name for file in files)
    assert main([*map(str, command), "--vectors", "residue" if suffix != "csv" else "mean"]) == 0


def test_files_are_on_the_disk_before_a_checkpoint_counts(tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr("lyra.training.checkpoints.sync", lambda path: events.append(path.name))
    monkeypatch.setattr("lyra.training.checkpoints.write_json", lambda path, value: events.append(path.name))
    (tmp_path / "model.safetensors").write_bytes(b"x")
    (tmp_path / "trainer_state.json").write_bytes(b"{}")
    write_checksums(tmp_path)
    assert events[-1] == "complete.json" and {"model.safetensors", "trainer_state.json", tmp_path.name} <= set(events)


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", lambda descriptor: synced.append((tmp_path / "a.json").exists()))
    write_json(tmp_path / "a.json", {})
    assert synced == [False, True]  # the file, then the folder that names it


def test_what_interrupted_predictions_leave(many, tmp_path, capsys):
    model, table, whole = many
    output = tmp_path / "p.csv"
    command = ["predict", str(model), str(table), "-o", str(output)]
    code, said = interrupted("TERM", "lyra.inference.prediction:prediction_columns", 3, *command)
    said = said.splitlines()[-1]  # above it, on a slow machine, how far it came
    assert (code, said) == (143, "lyra predict: error: terminated (SIGTERM); --resume continues")
    assert [item.name for item in tmp_path.iterdir()] == [".partial-p.csv"]
    assert main([*command, "--resume", "--unknown", "token"]) == 2
    assert "cannot resume: unknown changed since the interrupted run" in capsys.readouterr().err
    assert list((tmp_path / ".partial-p.csv").glob("0*.csv"))  # the parts of what was meant are still there
    assert main(command) == 0  # from the start
    assert output.read_bytes() == whole.read_bytes()
    worse = tmp_path / "worse.csv"
    worse.write_text(table.read_text() + "x,M1,3\n")
    assert main(["predict", str(model), str(worse), "-o", str(tmp_path / "q.csv")]) == 2
    assert "row 9001" in capsys.readouterr().err
    assert sorted(item.name for item in tmp_path.iterdir()) == ["p.csv", "worse.csv"]


def test_a_column_that_is_empty_at_first(many, tmp_path):
    """A part of a Parquet table has the types of its own rows."""
    model, table, _ = many
    rows = [
        row | {"note": None if i < 5000 else "late", "value": i if i < 5000 else i / 2}
        for i, (_, row) in enumerate(read_rows(table))
    ]
    source, output = tmp_path / "t.jsonl", tmp_path / "p.parquet"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["predict", str(model), str(source), "-o", str(output)]) == 0
    written = [row for _, row in read_rows(output)]
    assert [(row["note"], row["value"]) for row in written] == [(row["note"], row["value"]) for row in rows]


def test_inputs_that_cannot_be_read(many, tmp_path, capsys):
    model, _, _ = many
    for source, said in ((tmp_path / "none.csv", "none.csv: no such file"), (tmp_path, "cannot be read")):
        assert main(["predict", str(model), str(source), "-o", str(tmp_path / "p.csv")]) == 2
        assert said in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_two_predictions_into_one_file(many, tmp_path, capsys, monkeypatch):
    model, table, _ = many
    command = ["predict", str(model), str(table), "-o", str(tmp_path / "p.csv")]
    columns_of, codes = prediction.prediction_columns, []

    def twice(*args, **kwargs):
        codes.append(main(command))
        return columns_of(*args, **kwargs)

    monkeypatch.setattr(prediction, "prediction_columns", twice)
    assert main(command) == 0 and codes == [2] * 3
    assert "another run is writing there" in capsys.readouterr().err
