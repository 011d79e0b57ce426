"""Long outputs in parts: each is finished or not there, so that an interrupted call can be resumed, and several
processes can share the work."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import PartialState

from ..errors import InputError, OutputError, one_line
from ..files import LOCK, compare_fingerprint, file_sha256, locked, read_json, write_json, write_then_rename
from ..modeling_lyra import LyraPreTrainedModel

Write = Callable[[Any, Path, bool], None]
Join = Callable[[list[Path], Path], None]


class Reader(Protocol):
    """What a long input comes from: chunks, each with its `rows`."""

    def chunks(self, quiet: bool = False) -> Iterator[Any]: ...


def write_in_parts(
    output: str,
    reader: Reader,
    write: Write,
    join: Join,
    fingerprint: dict[str, Any],
    resume: bool,
    state: PartialState | None,
) -> int:
    """Writes a part for each chunk into a folder beside the output, and joins them when all are there.

    Args:
        write: writes a chunk to a path; of CSV only the first part has a header.
        join: makes one file of the parts.
        fingerprint: what the parts depend on.
        resume: whether to keep the parts of an interrupted call.

    Returns:
        The number of rows.
    """
    rank, processes = (0, 1) if state is None else (state.process_index, state.num_processes)
    folder = Path(output).with_name(f".partial-{Path(output).name}")
    with _locked_parts(folder, output) if rank == 0 else nullcontext():
        try:
            if rank == 0:
                _prepare(folder, fingerprint, resume)
            _wait(state)
            parts, rows = _write_parts(reader, write, folder, Path(output).name, rank, processes)
        except OutputError:
            raise
        except InputError:
            if rank == 0 and not resume:  # a table or a model that must change makes these parts worthless
                _remove(folder)
            raise
        _wait(state)
        if rank == 0:
            joined = folder / f"joined-{Path(output).name}"
            join(parts, joined)
            os.replace(joined, output)
            _remove(folder)
        _wait(state)
        if state is not None:
            state.destroy_process_group()
    return rows


def _wait(state: PartialState | None) -> None:
    if state is not None:
        state.wait_for_everyone()


def _write_parts(
    reader: Reader, write: Write, folder: Path, name: str, rank: int, processes: int
) -> tuple[list[Path], int]:
    """Writes the parts of one process that are not there yet; returns the parts of all and the number of rows."""
    parts: list[Path] = []
    suffix = Path(name.removesuffix(".gz")).suffix
    rows = 0
    for chunk in reader.chunks(quiet=rank > 0):
        part = folder / f"{len(parts):08}{suffix}"
        if len(parts) % processes == rank and not part.exists():
            with write_then_rename(part) as partial:
                write(chunk, partial, not parts)
        parts.append(part)
        rows += len(chunk.rows)
    return parts, rows


@contextmanager
def _locked_parts(folder: Path, output: str) -> Iterator[None]:
    """Holds the folder of the parts, which an interruption leaves there."""
    try:
        with locked(folder):
            yield
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror or one_line(error)})") from None
    except OutputError as error:  # of a part
        raise OutputError(f"{output}: {str(error).partition(': ')[2]}") from None


def _remove(folder: Path) -> None:
    for item in folder.glob("*"):
        if item.is_dir():
            shutil.rmtree(item)
        elif item.name != LOCK:
            item.unlink()


def _prepare(folder: Path, fingerprint: dict[str, Any], resume: bool) -> None:
    """Raises InputError if the parts of an interrupted call are of something else."""
    file = folder / "run.json"
    if resume and file.exists():
        compare_fingerprint(folder, read_json(file), fingerprint)
        done = len(list(folder.glob("0*")))
        print(f"resuming: {done} parts are done")
        return
    _remove(folder)
    write_json(file, fingerprint)


def fingerprint_of(source: str, model: LyraPreTrainedModel, **flags: Any) -> dict[str, Any]:
    """What the parts for a table depend on."""
    return {"the table": _table_sha256(source), "the model": _model_sha256(model)} | flags


def _table_sha256(source: str) -> str:
    try:
        return file_sha256([source])
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror or one_line(error)})") from None


def _model_sha256(model: LyraPreTrainedModel) -> str:
    """SHA-256 of everything that a prediction depends on."""
    digest = hashlib.sha256(model.config.to_json_string().encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
