"""Predictions for tables of any size with a trained model, in constant memory."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from ..data.readers import Row
from ..data.tables import TableWriter, join_tables, output_format
from ..errors import InputError, OutputError, one_line
from ..files import LOCK, compare_fingerprint, file_sha256, locked, read_json, write_json, write_then_rename
from ..modeling_lyra import LyraClassificationModel, LyraPreTrainedModel
from ..tokenization_lyra import LyraTokenizer
from .checks import check_paths
from .loading import best_device, load_model
from .logits import logits_of_texts
from .outputs import added_columns, extend_row, prediction_columns
from .reading import CHUNK_ROWS, Chunk, ChunkReader


def predict(
    model_name: str,
    source: str,
    output: str,
    sequence_column: str | None = None,
    pair_column: str | None = None,
    unknown: str = "error",
    device: str | None = None,
    revision: str | None = None,
    resume: bool = False,
) -> int:
    """Writes a copy of a table with the model's predictions as further columns.

    The new columns are those of [`prediction_columns`]. Rows keep their order; the output appears when it is complete.
    Until then its parts lie in a folder beside it, each finished or not there, so that an interrupted prediction can be
    resumed. Under `accelerate launch` or `torchrun` the processes share the work, part by part.

    Args:
        model_name: a checkpoint folder or Hub id.
        source: table to read; `output`: table to write, in the format of its suffix.
        sequence_column: by default that of the training data, or else found by its name.
        pair_column: of a model of pairs, the column of the second sequences, found in the same way.
        unknown: `"error"` stops at a character outside the alphabet, `"token"` reads it as `<unk>`.
        device: by default the GPU where there is one, of several processes each its own.
        revision: of a Hub repository.
        resume: whether to keep the parts of an interrupted prediction of the same table by the same model.

    Returns:
        The number of rows.

    Raises:
        InputError: naming file, row and column.
    """
    suffix = output_format(output).suffixes[0]
    check_paths(model_name, source, output)
    model, tokenizer = load_model(model_name, revision)
    state = PartialState(cpu=device == "cpu") if int(os.environ.get("WORLD_SIZE", "1")) > 1 else None
    rank, processes = (0, 1) if state is None else (state.process_index, state.num_processes)
    model.to(best_device(device) if state is None or device else state.device)
    folder = Path(output).with_name(f".partial-{Path(output).name}")
    fingerprint: dict[str, Any] = {"the table": _table_sha256(source), "the model": _model_sha256(model)}
    fingerprint |= {"sequence_column": sequence_column, "pair_column": pair_column, "unknown": unknown}
    reader = ChunkReader(source, tokenizer, model.config.training_data, sequence_column, pair_column, unknown)
    with _locked_parts(folder, output) if rank == 0 else nullcontext():
        try:
            if rank == 0:
                _prepare_parts(folder, fingerprint, resume)
            _wait(state)
            parts, rows = _write_parts(model, tokenizer, reader, folder, suffix, rank, processes)
        except OutputError:
            raise
        except InputError:
            if rank == 0 and not resume:  # a table or a model that must change makes these parts worthless
                _remove_parts(folder)
            raise
        _wait(state)
        if rank == 0:
            joined = folder / f"joined-{Path(output).name}"
            join_tables(parts, joined)
            os.replace(joined, output)
            _remove_parts(folder)
        _wait(state)
        if state is not None:
            state.destroy_process_group()
    return rows


def _wait(state: PartialState | None) -> None:
    if state is not None:
        state.wait_for_everyone()


def _write_parts(
    model: LyraClassificationModel,
    tokenizer: LyraTokenizer,
    reader: ChunkReader,
    folder: Path,
    suffix: str,
    rank: int,
    processes: int,
) -> tuple[list[Path], int]:
    """Writes the parts of one process that are not there yet; returns the parts of all and the number of rows."""
    parts: list[Path] = []
    rows, columns = 0, None
    for chunk in reader.chunks(quiet=rank > 0):
        columns = columns or [*chunk.rows[0], *added_columns(model.config, model.per_token)]
        part = folder / f"{len(parts):08}{suffix}"
        if len(parts) % processes == rank and not part.exists():
            predicted = _predict_rows(model, tokenizer, chunk)
            with write_then_rename(part) as partial, TableWriter(partial, columns, header=not parts) as writer:
                writer.write(predicted)
        parts.append(part)
        rows += len(chunk.rows)
    return parts, rows


def _predict_rows(model: LyraClassificationModel, tokenizer: LyraTokenizer, chunk: Chunk) -> list[Row]:
    added = prediction_columns(logits_of_texts(model, tokenizer, chunk.texts), model.config, model.per_token)
    return list(map(extend_row, chunk.locations, chunk.rows, added))


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


def _remove_parts(folder: Path) -> None:
    for item in folder.glob("*"):
        if item.name != LOCK:
            item.unlink()


def _prepare_parts(folder: Path, fingerprint: dict[str, Any], resume: bool) -> None:
    """Raises InputError if the parts of an interrupted prediction are of something else."""
    file = folder / "run.json"
    if resume and file.exists():
        compare_fingerprint(folder, read_json(file), fingerprint)
        done = len(list(folder.glob("0*")))
        print(f"resuming: {done} parts of up to {CHUNK_ROWS} rows are done")
        return
    _remove_parts(folder)
    write_json(file, fingerprint)


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
