"""Two processes train and predict what one does. The loss contract itself is in test_loss.py."""

import json
import os
import signal
import subprocess
import sys
import time

import forked
import pytest
import two_processes
from runs import HELPERS, TRAIN, torchrun, write_table

from lyra.cli import main

ENVIRONMENT = os.environ | {"PYTHONPATH": str(HELPERS)}
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
ACCELERATE += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "lyra"]


def start(command, *arguments):
    command = [*command, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, env=ENVIRONMENT)


@pytest.mark.slow
@pytest.mark.parametrize(("accumulation", "remainder"), [(1, 0), (2, 1), (1, 3)])
def test_the_same_losses_scores_and_weights(tmp_path, accumulation, remainder):
    """Of a global batch of eight rows, in parts of other lengths; validation splits that the batches do not fill."""
    results = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        done = forked.run(two_processes.main, str(folder), accumulation, remainder, processes=processes)
        assert done.codes == [0] * processes, done.stderr[-3000:]
        results.append(json.loads((folder / "result.json").read_text()))
    one, two = results
    assert len(one["losses"]) == 12 and len(one["scores"]) == 2
    for key in one:
        assert two[key] == pytest.approx(one[key], rel=1e-4, abs=1e-5), key


@pytest.mark.slow
def test_accelerate_launch_trains_and_predicts(tmp_path):
    table = write_table(tmp_path / "t.csv", rows=9000)
    small = write_table(tmp_path / "small.csv", rows=100)
    flags = [*TRAIN, "--config_overrides", "hidden_size=8", "state_size=4", "hidden_dropout_prob=0.0"]
    done = start(ACCELERATE, "train", small, "--output_dir", tmp_path / "two", *flags)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("training: 2 process(es), 16 sequences per step") == 1
    assert done.stdout.count("written: ") == 1 and done.stdout.count("seed 42") == 1
    flags += ["--per_device_train_batch_size", "16"]
    assert main(["train", str(small), "--output_dir", str(tmp_path / "one"), *flags]) == 0
    records = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two")]
    assert records[1]["test"] == pytest.approx(records[0]["test"], rel=1e-3)
    assert {item.name for item in (tmp_path / "one").iterdir()} == {item.name for item in (tmp_path / "two").iterdir()}

    model = tmp_path / "two"
    done = start(ACCELERATE, "predict", model, table, "-o", tmp_path / "two.csv", "--device", "cpu")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count(f"written: {tmp_path / 'two.csv'}, 9000 rows") == 1
    assert main(["predict", str(model), str(table), "-o", str(tmp_path / "one.csv"), "--device", "cpu"]) == 0
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
    assert not list(tmp_path.glob(".partial*"))


def test_what_all_processes_find_wrong_is_said_once(tmp_path):
    table = write_table(tmp_path / "t.csv")
    with open(table, "a") as file:
        file.write("x,ACD,many\n")
    flags = ["--output_dir", tmp_path / "o", *TRAIN, "--label_columns", "label"]
    done = start(torchrun(2), "-m", "lyra", "train", table, *flags)
    assert done.returncode != 0 and done.stderr.count("lyra train: error: ") == 1
    assert "expected a number, got 'many'" in done.stderr and not (tmp_path / "o").exists()


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_failing_process_ends_the_job_with_its_message(tmp_path, rank):
    """The other one waits for its gradients, and must not wait for ever."""
    program = tmp_path / "failing.py"
    program.write_text(
        "import os, sys\nfrom lyra import cli, errors\nfrom lyra.training import trainer\n"
        "step, calls = trainer.LyraTrainer.training_step, []\n"
        "def failing(*args, **kwargs):\n"
        "    calls.append(0)\n"
        f"    if os.environ['RANK'] == '{rank}' and len(calls) == 3: raise errors.InputError('no more')\n"
        "    return step(*args, **kwargs)\n"
        "trainer.LyraTrainer.training_step = failing\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    done = start(torchrun(2), program, "train", write_table(tmp_path / "t.csv"), "--output_dir", tmp_path / "o", *TRAIN)
    assert done.returncode != 0
    assert f"lyra train: error: {'process 1: ' if rank else ''}no more" in done.stderr
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_sigterm_to_the_launcher_saves_on_all_processes(tmp_path):
    out = tmp_path / "o"
    command = [*torchrun(2), "-m", "lyra", "train", str(write_table(tmp_path / "t.csv")), "--output_dir", str(out)]
    command += [*TRAIN, "--num_train_epochs", "100000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=ENVIRONMENT)
    deadline = time.monotonic() + 100
    while not list(out.glob("checkpoints/*/complete.json")) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode and "lyra train: error: terminated (SIGTERM); --resume continues" in said
    steps = [int(seal.parent.name.rpartition("-")[2]) for seal in out.glob("checkpoints/*/complete.json")]
    assert max(steps) % 10 == 0  # where the processes agree on the end; an epoch has three steps
