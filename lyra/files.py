"""Files and folders: written as a whole or not at all, locked against other processes, compared by their content."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from .errors import InputError, OutputError, one_line

LOCK, CACHE = ".lock", ".cache"


@contextmanager
def write_then_rename(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary path in the same folder, renamed to `path` when the block ends well and removed otherwise.

    Raises:
        OutputError: if the folder is missing, full or cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path}: expected a file to write, got a directory")
    # The suffixes stay last, because writers choose their format by them.
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        partial.touch()
        yield partial
        sync(partial)
        os.replace(partial, path)
        sync(path.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or one_line(error)})") from None
    finally:
        partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Waits until a file, or what a folder holds, is on the disk, where a power failure finds it."""
    if path.is_dir() and os.name != "posix":
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move_into(folder: Path, target: Path) -> None:
    """Moves what a folder holds into another one on the same disk, in the place of what is there by the same names, and
    removes it; all of it is on the disk before the first and after the last."""
    for path in (*folder.rglob("*"), folder):
        sync(path)
    for item in folder.iterdir():
        _move(item, target / item.name)
    folder.rmdir()
    sync(target)


def _move(item: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    os.replace(item, target)


def write_json(path: Path, value: Any) -> None:
    """Writes a value as JSON, as a whole or not at all."""
    with write_then_rename(path) as partial:
        partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Raises InputError if the file is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: damaged, not JSON ({error})") from None


def file_sha256(paths: Iterable[str | os.PathLike]) -> str:
    """One SHA-256 over the bytes of the files in order."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def compare_fingerprint(output: Path, saved: dict[str, Any], fingerprint: dict[str, Any]) -> None:
    """Raises InputError if what is in a folder was made otherwise."""
    if changed := [name for name in fingerprint if saved.get(name) != fingerprint[name]]:
        raise InputError(f"{output}: cannot resume: {changed[0]} changed since the interrupted run")


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Makes a folder; none is left that nothing was written to.

    Raises:
        OutputError: if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or one_line(error)})") from None
    try:
        yield
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a folder, made if need be, against other processes; at the end removes it if it is empty.

    Raises:
        InputError: if another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"{folder}: another run is writing there; wait for it, or choose another folder") from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        print(f"{folder}: this file system has no locks; take care that no other run writes there")
    try:
        yield
    finally:
        with suppress(PermissionError):  # Windows keeps files that are open
            (folder / LOCK).unlink(missing_ok=True)
        lock.release()
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
