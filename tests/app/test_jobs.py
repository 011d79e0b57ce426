"""Folders, limits and the queue behind the page; no browser."""

import gzip
import json
import socket
import subprocess
import sys
import time
import zipfile

import pytest
from browser import wait_for

from lyra.app.jobs import (
    DONE,
    FAILED,
    JOB,
    LOG,
    RUNNING,
    STOPPED,
    WAITING,
    Job,
    Queue,
    as_flags,
    mark_interrupted,
    run,
    start,
)
from lyra.app.site import Limits
from lyra.app.workspace import VISITORS, Workspace, keep, new_token
from lyra.cli import main
from lyra.errors import InputError
from lyra.files import locked


@pytest.fixture
def visitor(tmp_path):
    return Workspace(tmp_path / "models").visitor(new_token())


@pytest.fixture
def queue():
    made = Queue(most_waiting=2, most_seconds=100)
    yield made
    made.close()


def ended(job):
    def state():
        now = Job.load(job.folder)
        return now if now.state not in (WAITING, RUNNING) else None

    return wait_for(state, f"the end of {job.name}")


def test_a_failure_has_the_message_of_the_command(visitor, queue):
    job = queue.add(Job(visitor.new_folder("train"), "train", ("none.csv", "--output_dir=result")))
    assert job.name == "train-1" and visitor.jobs("train")[0].name == "train-1" and not visitor.jobs("scan")
    found = ended(job)
    assert (found.state, found.message) == (FAILED, "none.csv: no such file") and found.can_resume
    assert "lyra train: error: none.csv: no such file" in found.log()


def test_jobs_wait_are_stopped_and_continued(visitor, tmp_path, queue):
    table = tmp_path / "t.csv"
    table.write_text(
        "sequence,label\n" + "".join(f"{'ACDEFGHIKL'[i % 10] * 4}{'MNPQ'[i % 4]},{i}\n" for i in range(40))
    )
    folder = visitor.new_folder("train", "mine")
    flags = ["--output_dir=result/mine", "--config_overrides", "hidden_size=8", "state_size=4", "--use_cpu=true"]
    first = queue.add(Job(folder, "train", (keep(str(table), folder), *flags, "--num_train_epochs=100000")))
    wait_for(lambda: Job.load(folder).state == RUNNING, "the first job")
    waiting = [queue.add(Job(visitor.new_folder("scan"), "scan", ("no", "no", "--output=x"))) for _ in range(2)]
    assert [queue.before(job) for job in waiting] == [1, 2]
    with pytest.raises(InputError, match="2 jobs are waiting, the most of this page"):
        queue.check_room()
    queue.stop(waiting[1])
    assert ended(waiting[1]).message == "stopped before it began"
    wait_for(lambda: [*first.result.rglob("complete.json")], "a checkpoint")
    assert wait_for(lambda: Job.load(folder).progress(), "a bar").what == "training"
    queue.stop(first)
    stopped = ended(first)
    assert (stopped.state, stopped.message) == (STOPPED, "stopped") and stopped.progress() is None
    assert ended(waiting[0]).state == FAILED
    before = (folder / LOG).stat().st_size
    again = queue.resume(stopped)
    assert again.arguments == (*first.arguments, "--resume")
    wait_for(lambda: b"training: 1 process" in (folder / LOG).read_bytes()[before:], "the run to go on")
    queue.stop(again)
    assert ended(again).state == STOPPED and ended(again).seconds > stopped.seconds


def test_a_job_ends_with_the_page(tmp_path):
    """Its standard input is closed then, even if the page is killed."""
    with open(tmp_path / "log.txt", "wb") as log:
        process = start(tmp_path, "demo", ("--output_dir=demo",), log)
        time.sleep(1)
        process.stdin.close()
        assert process.wait(60) in (143, -15)


def test_a_job_takes_no_longer_than_the_page_allows(visitor):
    queue = Queue(most_waiting=1, most_seconds=0.5)
    job = queue.add(Job(visitor.new_folder("demo"), "demo", ("--output_dir=demo",)))
    assert "took longer than 0.00833333 minutes, the most of this page" in ended(job).message
    queue.close()


def test_a_command_that_somebody_waits_for_has_the_same_limit_and_messages(visitor):
    folder = visitor.scratch("predict")
    with pytest.raises(InputError, match=r"^took longer than 0.00166667 minutes, the most of this page$"):
        run(folder, "demo", ["--output_dir=demo"], 0.1)
    with pytest.raises(InputError, match=r"^none.csv: no such file$"):
        run(folder, "train", ["none.csv", "--output_dir=result"], 100)


def test_what_a_server_left_in_the_middle_is_stopped(visitor):
    for state in (WAITING, RUNNING, DONE):
        Job(visitor.new_folder("train", state), "train", ()).save(state=state)
    mark_interrupted(visitor.workspace.job_folders())
    assert {job.name: job.state for job in visitor.jobs("train")} == {WAITING: STOPPED, RUNNING: STOPPED, DONE: DONE}


def test_names_do_not_lead_out_of_the_folder(tmp_path, visitor):
    for token in ("", "..", "../models", "a" * 21 + "/", None, "a" * 23):
        with pytest.raises(InputError, match="load it again"):
            visitor.workspace.visitor(token)
    for name in ("..", "../x", ".hidden", "a/b", "x" * 61, "-flag"):
        with pytest.raises(InputError, match="name: expected up to 60 letters"):
            visitor.new_folder("train", name)
    visitor.new_folder("train", "mine")
    with pytest.raises(InputError, match="'mine' is there already"):
        visitor.new_folder("train", "mine")
    for name in ("../../etc", "/etc/passwd", "visitors", "a/../b", ""):
        with pytest.raises(InputError, match="model: "):
            visitor.model(name)


def test_models_are_those_of_all_and_ones_own(visitor):
    other = visitor.workspace.visitor(new_token())
    for folder in (visitor.workspace.root / "shared", Job(visitor.new_folder("train", "own"), "train", ()).result):
        folder.mkdir(parents=True)
        for name in ("config.json", "tokenizer_config.json"):
            (folder / name).write_text("{}")
    assert list(visitor.models()) == ["shared"]  # not yet trained
    Job(visitor.folder / "own", "train", ()).save(state=DONE)
    assert list(visitor.models()) == ["own", "shared"] and list(other.models()) == ["shared"]
    assert json.loads((visitor.folder / "own" / JOB).read_text())["state"] == DONE


def test_values_are_flags_and_no_words_are():
    values = {"a": "", "b": None, "c": False, "d": True, "e": 0, "f": "--x", "g": ["1", "2"], "h": []}
    assert as_flags(values) == ["--d", "--e=0", "--f=--x", "--g", "1", "2"]
    with pytest.raises(InputError, match="--g: '--output_dir' begins with a dash"):
        as_flags({"g": ["1", "--output_dir"]})


@pytest.mark.parametrize("value", ["a\0b", "a\ud800", "a\nb", "x" * 10_001])
def test_values_that_no_command_line_holds(value):
    with pytest.raises(InputError, match="--sites: expected up to 10,000 characters in one line"):
        as_flags({"sites": value})


def test_a_job_that_cannot_start_keeps_nobody_waiting(visitor, queue):
    first = queue.add(Job(visitor.new_folder("train"), "train", ("\0",)))
    second = queue.add(Job(visitor.new_folder("train"), "train", ("none.csv", "--output_dir=result")))
    assert ended(first).message == "embedded null byte" and ended(second).message == "none.csv: no such file"


def test_tables_are_measured_before_they_are_read(tmp_path):
    limits = Limits(upload=1, rows=10, length=100)
    with gzip.open(tmp_path / "bomb.csv.gz", "wb") as file:
        file.write(b"sequence,label\n" + b"A" * 6_000_000)
    with zipfile.ZipFile(tmp_path / "bomb.xlsx", "w", zipfile.ZIP_DEFLATED) as parts:
        parts.writestr("xl/worksheets/sheet1.xml", " " * 6_000_000)
    for name in ("bomb.csv.gz", "bomb.xlsx"):
        with pytest.raises(InputError, match=f"{name}: larger than 5 MB when unpacked"):
            limits.check_table(str(tmp_path / name))
    (tmp_path / "residues.csv").write_text(f"sequence,label\n{'A' * 90},{' '.join(['0.5'] * 90)}\n")
    limits.check_table(str(tmp_path / "residues.csv"))  # labels of residues are no letters
    (tmp_path / "long.csv").write_text(f"sequence,label\n{'A' * 101},1\n")
    with pytest.raises(InputError, match="has a sequence of 101 letters, this page takes 100"):
        limits.check_table(str(tmp_path / "long.csv"))


def test_uploads_of_one_name_are_refused(visitor, tmp_path):
    folder = visitor.new_folder("propose")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "measured.csv").write_text(name)
    keep(str(tmp_path / "one" / "measured.csv"), folder)
    with pytest.raises(InputError, match=r"table: two files are named measured\.csv; rename one"):
        keep(str(tmp_path / "two" / "measured.csv"), folder)


def test_one_page_to_a_folder(visitor):
    pytest.importorskip("gradio", reason='needs gradio: pip install "lyra-bio[app]"')
    from lyra.app.page import serve

    Job(visitor.new_folder("train", "running"), "train", ()).save(state=RUNNING)
    root = visitor.workspace.root
    with locked(root / VISITORS), pytest.raises(InputError, match="another run is writing there"):
        serve(root, "127.0.0.1", 7860, Limits())
    assert visitor.jobs("train")[0].state == RUNNING
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--port: {port} cannot be listened on"):
            serve(root, "127.0.0.1", port, Limits())


def test_limits_are_said():
    with pytest.raises(InputError, match=r"t.csv: has 11 rows, this page takes 10 at most"):
        Limits(rows=10).check(11, 5, "t.csv")
    with pytest.raises(InputError, match=r"t.csv: has a sequence of 2,000 letters, this page takes 1,000 at most"):
        Limits(length=1000).check(1, 2000, "t.csv")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--port", "0"], "--port: expected a number from 1 to 65535, got 0"),
        (["--max_rows", "0"], "--max_rows: expected a number above 0, got 0"),
    ],
)
def test_bad_flags_end_with_a_line(capsys, flags, said):
    assert main(["app", *flags]) == 2 and f"lyra app: error: {said}" in capsys.readouterr().err


def test_what_is_missing_is_named():
    code = "import sys; sys.modules['gradio'] = None; from lyra.cli import main; sys.exit(main(['app']))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 2 and 'pip install "lyra-bio[app]"' in ran.stderr
