"""The checkpoints of a run: which are complete, which belong to it, which to resume from.

A checkpoint is complete when it has `complete.json`, with the SHA-256 of every other file. A process that is killed, or
a disk that is full, can therefore leave at worst a folder that does not count.
"""

import os
import re
import shutil
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import CACHE, LOCK, compare_fingerprint, file_sha256, read_json, sync, write_json

CHECKPOINTS, MEMBERS, FOLDS = "checkpoints", "members", "folds"
_TO_REMOVE, _RECORD = ".partial", "metrics.json"
_CHECKSUMS, _FINGERPRINT, _STATE = "complete.json", "run.json", "trainer_state.json"


def check_output(output: Path, resume: bool, resume_from: str | None, overwrite: bool | None = False) -> None:
    """Raises InputError if a run cannot write to a folder, or would write into that of another run.

    Args:
        overwrite: whether it may replace one; None if the command never does.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: --output_dir is a file")
    used = last_checkpoint(output) or (output.is_dir() and not all(map(_is_leftover, output.iterdir())))
    if used and overwrite and not _is_run(output):
        raise InputError(f"{output}: --overwrite_output_dir replaces a run, and this folder does not hold one")
    if used and not (resume or resume_from or overwrite):
        replacing = "" if overwrite is None else ", or replace it with --overwrite_output_dir"
        raise InputError(f"{output}: --output_dir is in use; choose another, --resume an interrupted run{replacing}")
    if resume_from and not Path(resume_from).is_dir():
        raise InputError(f"--resume_from_checkpoint: no folder {resume_from!r}")
    parent = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
    if not os.access(parent, os.W_OK | os.X_OK) or not shutil.disk_usage(parent).free:
        raise InputError(f"{output}: --output_dir cannot be written")


def _is_leftover(item: Path) -> bool:
    """Whether an interruption before the first checkpoint may have left it."""
    return item.name in (CHECKPOINTS, LOCK) or item.name.startswith(CACHE)


def check_members(output: Path, members: int) -> None:
    """Raises InputError if a run to resume is one of a single model and would become an ensemble, or the reverse."""
    of_ensemble = (output / MEMBERS).is_dir()
    if of_ensemble and members == 1:
        raise InputError(f"{output}: contains an ensemble; pass its --ensemble with --resume")
    finished = (output / _RECORD).exists() and "members" not in read_json(output / _RECORD)
    if members > 1 and not of_ensemble and (finished or (output / CHECKPOINTS / _FINGERPRINT).exists()):
        raise InputError(f"{output}: contains a single model, and this run has {members} members; pass --ensemble 1")


def _is_run(output: Path) -> bool:
    """Whether a folder holds a run, or what is left of one, and not somebody's other work."""
    if (output / CHECKPOINTS / _FINGERPRINT).exists() or any(map(_is_run, _runs_inside(output))):
        return True
    for name, key, value in ((_RECORD, "versions", "lyra-bio"), ("config.json", "model_type", "lyra")):
        if (output / name).is_file() and value in (read_json(output / name).get(key) or ()):
            return True
    return False


def _runs_inside(output: Path) -> list[Path]:
    """The members of an ensemble and the folds of a cross-validation."""
    folders = [*output.glob(f"{MEMBERS}/*"), *output.glob(f"{FOLDS}/*")]
    return [folder for folder in folders if folder.name.isdigit() and folder.is_dir()]


def remove_run(output: Path) -> None:
    """Removes what would make a new run in a folder look finished or begun; its other files are replaced at the end."""
    (output / _RECORD).unlink(missing_ok=True)
    (output / CHECKPOINTS / _FINGERPRINT).unlink(missing_ok=True)
    for folder in (*_checkpoints(output), *_runs_inside(output)):
        shutil.rmtree(folder)


def is_finished(output: Path) -> bool:
    """Whether a run wrote its results, all of them: the checkpoints go last."""
    return (output / _RECORD).exists() and not (output / CHECKPOINTS).exists()


def remove_leftovers(output: Path) -> None:
    """Removes checkpoints that a run had begun to remove when it was killed, its results all written."""
    shutil.rmtree(output / _TO_REMOVE, ignore_errors=True)


def remove_checkpoints(output: Path) -> None:
    """In one step, since half of them would be those of an interrupted run."""
    folder, removed = output / CHECKPOINTS, output / _TO_REMOVE
    if folder.exists():  # an ensemble has none
        os.replace(folder, removed)
        _remove(removed)


def save_fingerprint(output: Path, fingerprint: dict[str, Any], resuming: bool) -> None:
    """Writes down what the checkpoints belong to.

    Raises:
        InputError: on resuming, if they belong to something else.
    """
    file = output / CHECKPOINTS / _FINGERPRINT
    if resuming and file.exists():
        compare_fingerprint(output, read_json(file), fingerprint)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, fingerprint)


def last_checkpoint(output: Path) -> Path | None:
    """The latest complete checkpoint of a run."""
    return max(_complete(output), key=_step, default=None)


def checkpoint_to_resume(output: Path, chosen: str | None = None) -> Path | None:
    """The last complete checkpoint, or the one that the user chose, checked.

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
        intact = [other for other in sorted(_complete(output), key=_step) if _is_intact(other)]
        advice = (
            f"--resume_from_checkpoint {intact[-1]} is intact"
            if intact
            else "no intact checkpoint; start a new run in another folder"
        )
        raise InputError(f"{error}; {advice}") from None
    return checkpoint


def _remove(folder: Path) -> None:
    shutil.rmtree(folder)


def remove_unfinished(output: Path, checkpoint: Path | None) -> None:
    """Removes what was written after the checkpoint that a run goes on from, which it will write again."""
    remove_leftovers(output)
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
    """The best checkpoint so far, which is beside the last one even where both were moved."""
    saved = read_json(checkpoint / _STATE)["best_model_checkpoint"]
    return saved and checkpoint.parent / Path(saved).name


def relocate(checkpoint: Path) -> None:
    """Corrects where the best checkpoint is, if the run was moved or is resumed from elsewhere: the Trainer would
    ignore it."""
    state, best = read_json(checkpoint / _STATE), _best(checkpoint)
    if best is not None and not Path(state["best_model_checkpoint"]).is_dir():
        write_json(checkpoint / _STATE, state | {"best_model_checkpoint": str(best)})
        write_checksums(checkpoint)


def _check_files(checkpoint: Path) -> None:
    checksums = checkpoint / _CHECKSUMS
    if not checksums.is_file():
        raise InputError(f"{checkpoint}: missing or incomplete checkpoint")
    for name, digest in read_json(checksums).items():
        file = checkpoint / name
        if not file.is_file() or file_sha256([file]) != digest:
            raise InputError(f"{file}: damaged or missing")


def _is_intact(checkpoint: Path) -> bool:
    try:
        _check(checkpoint)
    except InputError:
        return False
    return True


def _complete(output: Path) -> list[Path]:
    return [folder for folder in _checkpoints(output) if (folder / _CHECKSUMS).exists()]


def _checkpoints(output: Path) -> list[Path]:
    """Those of the run; a copy that a user made has another name."""
    return [folder for folder in output.glob(f"{CHECKPOINTS}/*") if re.fullmatch(r"checkpoint-\d+", folder.name)]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def write_checksums(checkpoint: Path) -> None:
    """Marks a checkpoint as complete, with the SHA-256 of its files."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != _CHECKSUMS)
    for path in (*files, checkpoint, checkpoint.parent):  # a mark on the disk of what is only in memory would be a lie
        sync(path)
    write_json(checkpoint / _CHECKSUMS, {str(file.relative_to(checkpoint)): file_sha256([file]) for file in files})
