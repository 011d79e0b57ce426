"""Commands that visitors of the page started: a queue of processes, and what each left in its folder.

A job is a folder with `job.json`, what was uploaded (`inputs`), what the command printed (`log.txt`) and what it wrote
(in `result`), so that it outlives the page, the server and their processes.
"""

import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError, one_line
from ..files import read_json, write_json

JOB, INPUTS, LOG, RESULT = "job.json", "inputs", "log.txt", "result"
WAITING, RUNNING, DONE, FAILED, STOPPED = "waiting", "running", "done", "failed", "stopped"
_GRACE_SECONDS = 60  # to save a checkpoint in
_ERROR = re.compile(r"^lyra [\w-]+: error: (.*)$", re.MULTILINE)
# As tqdm draws it: what it counts, how far it is, and the time that is left.
_BAR = re.compile(r"(?P<what>[^\r\n:|]+):\s+(?P<percent>\d+)%\|[^|]*\|[^\[\r\n]*\[[^<\r\n]*<(?P<left>[^,\]]*)")
_LONGEST_VALUE = 10_000
_TAIL = 1 << 16  # bytes of a log that are read


@dataclass(frozen=True)
class Job:
    """A command.

    Attributes:
        verb, arguments: of `lyra`; paths are relative to the folder.
        state: one of the five above.
        message: why it failed or stopped.
        seconds: that it ran, in all.
    """

    folder: Path
    verb: str
    arguments: tuple[str, ...]
    state: str = WAITING
    message: str = ""
    seconds: float = 0.0

    @classmethod
    def load(cls, folder: Path) -> "Job":
        """Raises InputError if it is damaged."""
        values = read_json(folder / JOB)
        return cls(folder, **values | {"arguments": tuple(values["arguments"])})

    def save(self, **changes: Any) -> "Job":
        """Writes it with some changes down."""
        changed = replace(self, **changes)
        values = asdict(changed)
        del values["folder"]
        write_json(self.folder / JOB, values)
        return changed

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def result(self) -> Path:
        return self.folder / result_of(self.folder)

    @property
    def can_resume(self) -> bool:
        return self.state in (FAILED, STOPPED)

    def log(self) -> str:
        """The end of what the command printed, without the bars."""
        lines = [line.split("\r")[-1].rstrip() for line in self._tail().split("\n")]
        return "\n".join(line for line in lines if line and not _BAR.search(line))

    def progress(self) -> "Progress | None":
        """What the bar says that its command shows."""
        drawn = [part for part in self._tail().split("\n")[-1].split("\r") if part]
        bar = _BAR.match(drawn[-1].strip()) if drawn else None  # spaces where it was wiped out
        return bar and Progress(bar["what"], int(bar["percent"]), bar["left"].strip())

    def _tail(self) -> str:
        try:
            with open(self.folder / LOG, "rb") as file:
                file.seek(max(0, (self.folder / LOG).stat().st_size - _TAIL))
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""


def result_of(folder: Path) -> str:
    """Where a job writes, relative to its folder; the name is that of the job, as cards of models show it."""
    return f"{RESULT}/{folder.name}"


class Progress(NamedTuple):
    """What a bar says.

    Attributes:
        left: time, as the bar shows it.
    """

    what: str
    percent: int
    left: str


class Queue:
    """Runs jobs one after the other.

    Args:
        most_waiting: jobs, of all visitors.
        most_seconds: of a job.
    """

    def __init__(self, most_waiting: int, most_seconds: float):
        self.most_waiting, self.most_seconds = most_waiting, most_seconds
        self._waiting: deque[Path] = deque()
        self._changed = threading.Condition()
        self._running: tuple[Path, subprocess.Popen] | None = None
        self._stopped: set[Path] = set()
        self._closed = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def check_room(self) -> None:
        """Raises InputError if too many jobs are waiting."""
        if len(self._waiting) >= self.most_waiting:
            raise InputError(f"{self.most_waiting} jobs are waiting, the most of this page; try again later")

    def add(self, job: Job) -> Job:
        """Puts a job at the end of the queue.

        Raises:
            InputError: if too many are waiting.
        """
        with self._changed:
            self.check_room()
            job = job.save(state=WAITING, message="")
            self._waiting.append(job.folder)
            self._changed.notify()
        return job

    def resume(self, job: Job) -> Job:
        """[`add`] for a job that stopped: it goes on where the command can, and starts again where not."""
        arguments = job.arguments
        is_resumable = getattr(import_module(f"lyra.cli.{job.verb}"), "RESUMABLE", False)
        if is_resumable and job.result.exists() and "--resume" not in arguments:
            arguments = (*arguments, "--resume")
        return self.add(replace(job, arguments=arguments))

    def stop(self, job: Job) -> None:
        """Ends a job; what it has saved stays."""
        with self._changed:
            if job.folder in self._waiting:
                self._waiting.remove(job.folder)
                job.save(state=STOPPED, message="stopped before it began")
            elif self._running is not None and self._running[0] == job.folder:
                self._stopped.add(job.folder)
                self._running[1].terminate()

    def before(self, job: Job) -> int:
        """How many jobs come before one that waits."""
        with self._changed:
            is_running = self._running is not None
            return is_running + (self._waiting.index(job.folder) if job.folder in self._waiting else 0)

    def close(self) -> None:
        """Ends all jobs."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            running = self._running
        if running is not None:
            _end(running[1])
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                folder = self._waiting.popleft()
                try:
                    job = Job.load(folder).save(state=RUNNING)
                    with open(folder / LOG, "ab") as log:
                        process = start(folder, job.verb, job.arguments, log)
                except Exception as error:  # whatever it is, it keeps nobody else waiting
                    _give_up(folder, error)
                    continue
                self._running = (folder, process)
            began = time.monotonic()
            overdue = _wait(process, self.most_seconds)
            try:
                self._finish(job, process.returncode, overdue, time.monotonic() - began)
            except Exception as error:
                _give_up(folder, error)

    def _finish(self, job: Job, code: int, overdue: bool, seconds: float) -> None:
        with self._changed:
            self._running = None
            state, message = (DONE, "") if code == 0 else (FAILED, _reason(job.log(), code))
            if job.folder in self._stopped:
                self._stopped.remove(job.folder)
                state, message = (state, message) if code == 0 else (STOPPED, "stopped")
            elif self._closed and code:
                state, message = STOPPED, "the page was closed"
            elif overdue and code:
                message = _overdue(self.most_seconds)
            job.save(state=state, message=message, seconds=job.seconds + seconds)


def as_flags(values: dict[str, Any]) -> list[str]:
    """Flags and values of a command line; what is empty is left out.

    Raises:
        InputError: for a word that would be read as another flag, and for what no command line can hold.
    """
    flags: list[str] = []
    for flag, value in values.items():
        if value is None or value is False or value in ("", []):
            continue
        if not str(value).isprintable() or len(str(value)) > _LONGEST_VALUE:
            raise InputError(f"--{flag}: expected up to {_LONGEST_VALUE:,} characters in one line")
        if isinstance(value, list):
            if bad := next((each for each in value if str(each).startswith("-")), None):
                raise InputError(f"--{flag}: {bad!r} begins with a dash")
            flags += [f"--{flag}", *map(str, value)]
        else:
            flags.append(f"--{flag}" if value is True else f"--{flag}={value}")
    return flags


def start(folder: Path, verb: str, arguments: Sequence[str], log: Any) -> subprocess.Popen:
    """A process for a command, which ends when this one does."""
    command = [sys.executable, "-m", "lyra.app.worker", verb, *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": log, "stderr": subprocess.STDOUT}
    paths = [
        str(Path(__file__).parents[2]),
        os.environ.get("PYTHONPATH", ""),
    ]  # a Space has the package beside the page
    # Threads that wait for each other stand still when the page or a browser takes one of their cores.
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) - 1))}
    environment = threads | os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **pipes)


def run(folder: Path, verb: str, arguments: Sequence[str], most_seconds: float) -> None:
    """A command in a folder that somebody waits for.

    Raises:
        InputError: with its message, or if it takes longer than the limit.
    """
    with open(folder / LOG, "wb") as log:
        process = start(folder, verb, arguments, log)
    if _wait(process, most_seconds):
        raise InputError(_overdue(most_seconds))
    if process.returncode:
        raise InputError(_reason((folder / LOG).read_text(errors="replace"), process.returncode))


def _wait(process: subprocess.Popen, most_seconds: float) -> bool:
    """Waits for the end; returns whether that was the limit's."""
    overdue = False
    try:
        process.wait(most_seconds)
    except subprocess.TimeoutExpired:
        overdue = True
        _end(process)
    assert process.stdin is not None
    process.stdin.close()
    return overdue


def _reason(printed: str, code: int) -> str:
    """Why a command failed."""
    errors = _ERROR.findall(printed)
    return errors[-1] if errors else f"ended with code {code}"


def _overdue(most_seconds: float) -> str:
    return f"took longer than {most_seconds / 60:g} minutes, the most of this page"


def _give_up(folder: Path, error: Exception) -> None:
    """Says of a job that it cannot be started or ended, as far as its folder can be written."""
    print(f"lyra app: {folder}: {error}", file=sys.stderr)
    with suppress(OSError, InputError):
        Job.load(folder).save(state=FAILED, message=one_line(error))


def _end(process: subprocess.Popen) -> None:
    """Lets a process save what it has, but not for ever."""
    process.terminate()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def mark_interrupted(folders: Sequence[Path]) -> None:
    """Says of the jobs that a server before this one left in the middle that they were."""
    for folder in folders:
        job = Job.load(folder)
        if job.state in (WAITING, RUNNING):
            job.save(state=STOPPED, message="the page was closed in the meantime")
