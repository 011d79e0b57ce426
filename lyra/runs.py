"""Long work in a folder: who writes to it, what in it is whole, and how it ends when told to.

A checkpoint counts from the moment that `complete.json` stands in it, with the SHA-256 of every other file. A process
that is killed, or a disk that is full, can therefore leave at worst a folder that does not count.
"""

import errno
import fcntl
import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .tables import InputError, file_sha256

CHECKPOINTS = "checkpoints"
LOCK = ".lock"
_ASIDE = ".partial"
_SEAL, _FACTS, _STATE = "complete.json", "run.json", "trainer_state.json"


class Terminated(KeyboardInterrupt):
    """The process was told to end (SIGTERM)."""


def end_on_sigterm() -> None:
    """From now on SIGTERM raises [`Terminated`], so that the process ends as on Ctrl-C and leaves nothing behind."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _raise_terminated)


def _raise_terminated(*_: Any) -> None:
    raise Terminated


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a folder, made if need be, against other processes; at the end removes what is empty.

    Raises:
        InputError: if another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "w") as file:
        if not _hold(file):
            raise InputError(f"{folder}: another run is writing there; wait for it, or choose another folder")
        try:
            yield
        finally:
            (folder / LOCK).unlink(missing_ok=True)
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _hold(file: IO[str]) -> bool:
    """Whether the lock could be had; it ends with the process, however that ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.exists(file.name) and os.path.samestat(os.fstat(file.fileno()), os.stat(file.name))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        print(f"{file.name}: this file system has no locks; take care that no other run writes there")
        return True


def write_json(path: Path, value: Any) -> None:
    """Writes a file that is there as a whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)


def read_json(path: Path) -> Any:
    """Raises InputError if the file is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: damaged, not JSON ({error})") from None


def is_finished(output: Path) -> bool:
    """Whether a run wrote its results, all of them: the checkpoints go last."""
    return (output / "metrics.json").exists() and not (output / CHECKPOINTS).exists()


def remove_checkpoints(output: Path) -> None:
    """In one step, since half of them would be those of an interrupted run."""
    folder, aside = output / CHECKPOINTS, output / _ASIDE
    if folder.exists():  # an ensemble has none
        os.replace(folder, aside)
        shutil.rmtree(aside)


def mark_run(output: Path, facts: dict[str, Any], resuming: bool) -> None:
    """Notes what the checkpoints belong to.

    Raises:
        InputError: on resuming, if they belong to something else.
    """
    file = output / CHECKPOINTS / _FACTS
    if resuming and file.exists():
        compare_run(output, read_json(file), facts)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, facts)


def compare_run(output: Path, saved: dict[str, Any], facts: dict[str, Any]) -> None:
    """Raises InputError if what is in a folder was made otherwise."""
    if changed := [name for name in facts if saved.get(name) != facts[name]]:
        raise InputError(f"{output}: cannot resume, {changed[0]} differ from the interrupted run")


def last_checkpoint(output: Path) -> Path | None:
    """The latest whole checkpoint of a run."""
    return max(_sealed(output), key=_step, default=None)


def checkpoint_to_resume(output: Path, chosen: str | None = None) -> Path | None:
    """The last whole checkpoint, or the one that the user chose, checked.

    Returns:
        The folder, None if there is none yet.

    Raises:
        InputError: naming the damaged file, and a checkpoint that is intact.
    """
    checkpoint = Path(chosen) if chosen else last_checkpoint(output)
    if checkpoint is None:
        return None
    try:
        _check(checkpoint)
    except InputError as error:
        intact = [other for other in sorted(_sealed(output), key=_step) if _is_intact(other)]
        advice = (
            f"--resume_from_checkpoint {intact[-1]} is intact" if intact else "none is intact; train anew elsewhere"
        )
        raise InputError(f"{error}; {advice}") from None
    return checkpoint


def remove_unfinished(output: Path, checkpoint: Path | None) -> None:
    """Removes what was written after the checkpoint that a run goes on from, which it will write again."""
    shutil.rmtree(output / _ASIDE, ignore_errors=True)
    for folder in _checkpoints(output):
        if checkpoint is None or _step(folder) > _step(checkpoint):
            shutil.rmtree(folder)


def _check(checkpoint: Path) -> None:
    """Raises InputError if a file of a checkpoint, or of the best one before it, is missing or was changed."""
    _check_files(checkpoint)
    best = _best(checkpoint)
    if best is not None:
        _check_files(best)


def _best(checkpoint: Path) -> Path | None:
    """The best checkpoint so far, which lies beside the last one even where both were moved."""
    noted = read_json(checkpoint / _STATE)["best_model_checkpoint"]
    return noted and checkpoint.parent / Path(noted).name


def follow_move(checkpoint: Path) -> None:
    """Notes where the best checkpoint is, if the run was moved or is resumed from elsewhere: the Trainer would ignore
    it."""
    state, best = read_json(checkpoint / _STATE), _best(checkpoint)
    if best is not None and not Path(state["best_model_checkpoint"]).is_dir():
        write_json(checkpoint / _STATE, state | {"best_model_checkpoint": str(best)})
        seal(checkpoint)


def _check_files(checkpoint: Path) -> None:
    seal = checkpoint / _SEAL
    if not seal.is_file():
        raise InputError(f"{checkpoint}: missing, or no whole checkpoint of `lyra train`")
    for name, digest in read_json(seal).items():
        file = checkpoint / name
        if not file.is_file() or file_sha256([file]) != digest:
            raise InputError(f"{file}: damaged or missing")


def _is_intact(checkpoint: Path) -> bool:
    try:
        _check(checkpoint)
    except InputError:
        return False
    return True


def _sealed(output: Path) -> list[Path]:
    return [folder for folder in _checkpoints(output) if (folder / _SEAL).exists()]


def _checkpoints(output: Path) -> list[Path]:
    """Those of the run; a copy that a user made has another name."""
    return [folder for folder in output.glob(f"{CHECKPOINTS}/*") if re.fullmatch(r"checkpoint-\d+", folder.name)]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def seal(checkpoint: Path) -> None:
    """Says that every file of a checkpoint is written."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != _SEAL)
    write_json(checkpoint / _SEAL, {str(file.relative_to(checkpoint)): file_sha256([file]) for file in files})
