"""Predictions and embeddings of tables of any size with a trained model, in constant memory."""

import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import chain, compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from accelerate import PartialState
from safetensors import SafetensorError, safe_open
from scipy import special
from tqdm.auto import tqdm

from .alphabet_lyra import get_alphabet
from .configuration_lyra import LyraConfig
from .data import PAIR_COLUMNS, SEQUENCE_COLUMNS, align_pair, clean_sequence, find_column, known_letters, pad
from .modeling_lyra import (
    LyraClassificationModel,
    LyraForSequenceClassification,
    LyraForTokenClassification,
    LyraModel,
    LyraPreTrainedModel,
    mean_and_std,
)
from .runs import LOCK, compare_run, locked, read_json, write_json
from .streaming import stream as stream  # for users: the way to long sequences
from .streaming import stream_member
from .tables import (
    InputError,
    ParquetAppender,
    Place,
    Row,
    TableWriter,
    arrow_table,
    file_sha256,
    join_tables,
    one_line,
    output_format,
    read_rows,
    write_beside,
)
from .tokenization_lyra import LyraTokenizer

_CHUNK_ROWS = 4096
_CHUNK_LETTERS = 1 << 22
_BATCH_POSITIONS = 1 << 16
_LONGEST_WHOLE = 1 << 17  # letters; a longer sequence is streamed
_HEADS = {head.__name__: head for head in (LyraForSequenceClassification, LyraForTokenClassification)}

Chunk = list[tuple[Place, Row, str]]  # the third entry is the sequence without white space


def load_model(name: str, revision: str | None = None, bare: bool = False) -> tuple[Any, LyraTokenizer]:
    """Loads a checkpoint and its tokenizer with this package's own code, ready to predict.

    Args:
        name: a folder or a Hub id.
        revision: of the Hub repository.
        bare: whether to load [`LyraModel`] instead of the head that the checkpoint was saved with.

    Raises:
        InputError: if `name` is no Lyra checkpoint with a trained head (unless `bare`).
    """
    if Path(name).is_dir():
        _check_files(Path(name))
    try:
        values, _ = LyraConfig.get_config_dict(name, revision=revision)
        if values.get("model_type") != LyraConfig.model_type:
            raise InputError(f"{name}: expected the model type 'lyra', got {values.get('model_type')!r}")
        config = LyraConfig.from_pretrained(name, revision=revision)
        architecture = (config.architectures or [""])[0]
        head = LyraModel if bare else _HEADS.get(architecture)
        if head is None:
            raise InputError(f"{name}: expected a checkpoint with a trained head, got {architecture or 'no head'}")
        model, report = head.from_pretrained(
            name, revision=revision, output_loading_info=True, ignore_mismatched_sizes=True, use_safetensors=True
        )
        if damaged := [*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])]:
            raise InputError(f"{name}: the weights lack {sorted(damaged)[0]!r} or have it in another shape")
        tokenizer = LyraTokenizer.from_pretrained(name, revision=revision)
        if tokenizer.alphabet != config.alphabet:
            raise InputError(f"{name}: the model reads {config.alphabet}, its tokenizer {tokenizer.alphabet}")
    except InputError:
        raise
    except Exception as error:  # the libraries raise many kinds; all mean that this name is no usable checkpoint
        kind = "cannot be loaded as" if Path(name).is_dir() else "no such folder, and no Hub repository with"
        raise InputError(f"{name}: {kind} a Lyra checkpoint ({one_line(error)[:300]})") from None
    return model.eval(), tokenizer


def _check_files(folder: Path) -> None:
    """Raises InputError, naming it, if a file of a checkpoint is missing or cannot be read."""
    for name in ("config.json", "tokenizer_config.json", "tokenizer.json"):
        file = folder / name
        if file.exists():
            read_json(file)
        elif name != "tokenizer.json":  # it follows from the others
            raise InputError(f"{folder}: {name} is missing, so this is no Lyra checkpoint with its tokenizer")
    for file in folder.glob("*.safetensors"):
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise InputError(f"{file}: damaged ({one_line(error)})") from None


def best_device(name: str | None = None) -> torch.device:
    """The device of that name, by default the GPU where there is one.

    Raises:
        InputError: for a device that this machine does not have.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device: {name!r} cannot be used ({str(error).splitlines()[0]})") from None
    return device


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
        sequence_column: found by its name by default.
        pair_column: of a model of pairs, the column of the second sequences; found by its name by default.
        unknown: `"error"` stops at a character outside the alphabet, `"token"` reads it as `<unk>`.
        device: by default the GPU where there is one, of several processes each its own.
        revision: of a Hub repository.
        resume: whether to keep the parts of an interrupted prediction of the same table by the same model.

    Returns:
        The number of rows.

    Raises:
        InputError: naming file, row and column.
    """
    suffix = output_format(output)
    _check_not_input(source, output)
    model, tokenizer = load_model(model_name, revision)
    state = PartialState(cpu=device == "cpu") if int(os.environ.get("WORLD_SIZE", "1")) > 1 else None
    rank, processes = (0, 1) if state is None else (state.process_index, state.num_processes)
    model.to(best_device(device) if state is None or device else state.device)
    folder = Path(output).with_name(f".partial-{Path(output).name}")
    facts: dict[str, Any] = {"the table": _table_digest(source), "the model": _digest(model)}
    facts |= {"sequence_column": sequence_column, "pair_column": pair_column, "unknown": unknown}
    rows, columns = 0, None
    parts: list[Path] = []
    with _parts_folder(folder, output) if rank == 0 else nullcontext():
        try:
            if rank == 0:
                _prepare_parts(folder, facts, resume)
            if state is not None:
                state.wait_for_everyone()
            for chunk in _chunks(source, sequence_column, pair_column, tokenizer, unknown, quiet=rank > 0):
                columns = columns or [*chunk[0][1], *added_columns(model.config, model.per_token)]
                parts.append(folder / f"{len(parts):08}.{suffix}")
                if (len(parts) - 1) % processes == rank and not parts[-1].exists():
                    _write_part(parts[-1], _predicted(model, tokenizer, chunk), columns, header=len(parts) == 1)
                rows += len(chunk)
        except InputError:
            if rank == 0 and not resume:  # a table or a model that must change makes these parts worthless
                _clear(folder)
            raise
        if state is not None:
            state.wait_for_everyone()
        if rank == 0:
            joined = folder / f"joined-{Path(output).name}"
            join_tables(parts, joined)
            os.replace(joined, output)
            shutil.rmtree(folder)
        if state is not None:
            state.wait_for_everyone()
            state.destroy_process_group()
    return rows


def _predicted(model: LyraClassificationModel, tokenizer: LyraTokenizer, chunk: Chunk) -> list[Row]:
    answers = compute_logits(model, tokenizer, [sequence for _, _, sequence in chunk])
    added = prediction_columns(answers, model.config, model.per_token)
    return [extend_row(place, row, new) for (place, row, _), new in zip(chunk, added, strict=True)]


def _write_part(part: Path, rows: list[Row], columns: list[str], header: bool) -> None:
    """Writes a part that is there as a whole or not at all."""
    partial = part.with_name(f"partial-{part.name}")
    with TableWriter(partial, columns, header) as writer:
        writer.write(rows)
    os.replace(partial, part)


@contextmanager
def _parts_folder(folder: Path, output: str) -> Iterator[None]:
    """Holds the folder of the parts, which an interruption leaves there."""
    if Path(output).is_dir():
        raise InputError(f"{output}: expected a file to write, got a directory")
    if not folder.parent.is_dir():
        raise InputError(f"{output}: cannot be written, there is no folder {folder.parent}")
    try:
        with locked(folder):
            yield
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror or one_line(error)})") from None


def _clear(folder: Path) -> None:
    for item in folder.glob("*"):
        if item.name != LOCK:
            item.unlink()


def _prepare_parts(folder: Path, facts: dict[str, Any], resume: bool) -> None:
    """Raises InputError if the parts of an interrupted prediction are of something else."""
    file = folder / "run.json"
    if resume and file.exists():
        compare_run(folder, read_json(file), facts)
        done = len(list(folder.glob("0*")))
        print(f"resuming: {done} parts of up to {_CHUNK_ROWS} rows are done")
        return
    _clear(folder)
    write_json(file, facts)


def _table_digest(source: str) -> str:
    try:
        return file_sha256([source])
    except FileNotFoundError:
        raise InputError(f"{source}: no such file") from None
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror or one_line(error)})") from None


def _digest(model: LyraPreTrainedModel) -> str:
    """SHA-256 of everything that a prediction depends on."""
    digest = hashlib.sha256(model.config.to_json_string().encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class Answers(NamedTuple):
    """What a model says of some sequences, of each `(labels,)`, or `(length, labels)` of a token head.

    Attributes:
        logits: of each sequence.
        stds: of an ensemble, see [`LyraClassifierOutput`]; else None.
    """

    logits: list[np.ndarray]
    stds: list[np.ndarray] | None


def compute_logits(model: LyraClassificationModel, tokenizer: LyraTokenizer, sequences: list[str]) -> Answers:
    """The answers to each sequence.

    Raises:
        InputError: if they are not finite, as after a training that diverged.
    """
    single = len(get_alphabet(tokenizer.alphabet).members) == 1
    is_whole = [len(sequence) <= _LONGEST_WHOLE or not single for sequence in sequences]

    def logits_and_std(input_ids: torch.Tensor) -> torch.Tensor:
        output = model(input_ids)
        return output.logits if output.std is None else torch.cat([output.logits, output.std], dim=-1)

    encoded = tokenizer.encode_bulk(compress(sequences, is_whole))
    batched = iter(_map_batches(logits_and_std, model, encoded, model.per_token))
    results = [
        next(batched) if whole else _stream_whole(model, sequence)
        for sequence, whole in zip(sequences, is_whole, strict=True)
    ]
    if not all(np.isfinite(result).all() for result in results):
        raise InputError("the model's predictions are not finite numbers; it diverged in training or is damaged")
    labels = model.config.num_labels
    logits = [result[..., :labels] for result in results]
    return Answers(logits, None if len(model.members()) == 1 else [result[..., labels:] for result in results])


def _stream_whole(model: LyraClassificationModel, sequence: str) -> np.ndarray:
    """Logits, and of an ensemble standard deviations beside them, of one long sequence."""
    answers = []
    for member in model.members():
        parts = [part.logits for part in stream_member(member, [sequence])]
        answers.append(torch.from_numpy(np.concatenate(parts) if model.per_token else parts[0]))
    if len(answers) == 1:
        return answers[0].numpy()
    return torch.cat(mean_and_std(answers, model.config), dim=-1).numpy()


def prediction_columns(answers: Answers, config: LyraConfig, per_token: bool) -> list[Row]:
    """The columns that a prediction adds to each row.

    A regression adds `prediction` in label units (`prediction_<name>` each for several outputs). Classification adds
    `prediction`, the likeliest class, and `probability_<class>` of each. Multi-label adds `prediction`, the labels
    above one half joined by `;`, and `probability_<label>` of each. Behind each number an ensemble adds the standard
    deviation over its members, `std` for `prediction` or `probability`. Token heads give a list with an entry per
    residue.
    """
    names = [str(config.id2label[i]) for i in range(config.num_labels)]  # type: ignore[index]
    sizes = [len(each) if per_token else 1 for each in answers.logits]
    flat = np.concatenate([each.reshape(-1, len(names)) for each in answers.logits])
    stds = None if answers.stds is None else np.concatenate([each.reshape(-1, len(names)) for each in answers.stds])
    columns: dict[str, Any] = {}
    if config.problem_type == "regression":
        values, stem = flat, "prediction"
    elif config.problem_type == "multi_label_classification":
        values, stem = special.expit(flat), "probability"
        columns["prediction"] = [";".join(n for n, yes in zip(names, row, strict=True) if yes) for row in values > 0.5]
    else:
        values, stem = special.softmax(flat, axis=1), "probability"
        columns["prediction"] = [names[i] for i in flat.argmax(axis=1)]
    for i, name in enumerate(names):
        end = "" if stem == "prediction" and len(names) == 1 else f"_{name}"
        columns[stem + end] = values[:, i]
        if stds is not None:
            columns["std" + end] = stds[:, i]
    rows, start = [], 0
    for size in sizes:
        span = slice(start, start + size) if per_token else start
        rows.append({name: list(values[span]) if per_token else values[span] for name, values in columns.items()})
        start += size
    return rows


def added_columns(config: LyraConfig, per_token: bool) -> list[str]:
    """The names of [`prediction_columns`]."""
    zeros = np.zeros((1, config.num_labels) if per_token else config.num_labels)
    return list(
        prediction_columns(Answers([zeros], [zeros] if config.ensemble_size > 1 else None), config, per_token)[0]
    )


def embed(
    model_name: str,
    source: str,
    output: str,
    vectors: str = "mean",
    sequence_column: str | None = None,
    pair_column: str | None = None,
    unknown: str = "error",
    device: str | None = None,
    revision: str | None = None,
) -> int:
    """Writes the last hidden states of a table's sequences, of an ensemble those of its first member.

    Args:
        model_name: a checkpoint folder or Hub id, of any head.
        source: table to read.
        output: `.npz` with `embeddings` and `lengths`, or `.parquet` with the table's columns and `embedding`.
        vectors: `"mean"` for one vector per sequence, `"residue"` for one per residue; in an `.npz` those of all
            sequences follow each other, and `lengths` says how many each has.
        sequence_column, pair_column, unknown, device, revision: as in [`predict`].

    Returns:
        The number of sequences.
    """
    suffix = Path(output).suffix
    if suffix not in (".npz", ".parquet"):
        raise InputError(f"{output}: expected a file ending in .npz or .parquet")
    if vectors not in ("mean", "residue"):
        raise InputError(f"--vectors: expected 'mean' or 'residue', got {vectors!r}")
    _check_not_input(source, output)
    model, tokenizer = load_model(model_name, revision, bare=True)
    if model.config.ensemble_size > 1:
        print(f"{model_name}: an ensemble of {model.config.ensemble_size} models; the vectors are those of the first")
    model.to(best_device(device))

    def states(input_ids: torch.Tensor) -> torch.Tensor:
        return model(input_ids).last_hidden_state

    sequences = 0
    writer_class = _NpzWriter if suffix == ".npz" else _ParquetEmbeddings
    with write_beside(output) as partial, writer_class(partial, model.config.hidden_size, vectors) as writer:
        for chunk in _chunks(source, sequence_column, pair_column, tokenizer, unknown):
            encoded = tokenizer.encode_bulk([sequence for _, _, sequence in chunk])
            residues = _map_batches(states, model, encoded, per_token=True)
            arrays = [each.mean(axis=0, keepdims=True) if vectors == "mean" else each for each in residues]
            writer.write([row for _, row, _ in chunk], arrays)
            sequences += len(chunk)
    return sequences


def _chunks(
    source: str,
    sequence_column: str | None,
    pair_column: str | None,
    tokenizer: LyraTokenizer,
    unknown: str,
    quiet: bool = False,
) -> Iterator[Chunk]:
    """The rows of a table in chunks of bounded size, checked, behind a progress bar unless `quiet`."""
    members = get_alphabet(tokenizer.alphabet).members
    chunk: Chunk = []
    letters = 0
    rows = read_rows(source)
    first = next(rows, None)
    if first is None:
        raise InputError(f"{source}: the table has no rows")
    columns = [find_column(source, list(first[1]), sequence_column, SEQUENCE_COLUMNS, "sequence")]
    if len(members) == 2:
        columns.append(find_column(source, list(first[1]), pair_column, PAIR_COLUMNS, "pair"))
    elif pair_column is not None:
        raise InputError(f"--pair_column: this model reads single sequences, its alphabet is {tokenizer.alphabet}")
    known = [(column, member.name, known_letters(member)) for column, member in zip(columns, members, strict=True)]
    for place, row in tqdm(chain([first], rows), desc="rows", unit=" rows", mininterval=1, delay=1, disable=quiet):
        sequence, *partner = [_read_cell(place, row, *expected, unknown) for expected in known]
        if partner:
            sequence = align_pair(place, columns[1], sequence, partner[0], tokenizer)
        chunk.append((place, row, sequence))
        letters += len(sequence)
        if len(chunk) >= _CHUNK_ROWS or letters >= _CHUNK_LETTERS:
            yield chunk
            chunk, letters = [], 0
    if chunk:
        yield chunk


def _read_cell(place: Place, row: Row, column: str, alphabet: str, allowed: set[str], unknown: str) -> str:
    sequence = clean_sequence(place, column, row.get(column))
    illegal = set(sequence) - allowed
    if illegal and unknown == "error":
        shown = ", ".join(map(repr, sorted(illegal)[:5]))
        raise InputError(
            f"{place}, column {column!r}: characters outside the alphabet {alphabet} ({shown}); "
            "--unknown token reads them as <unk>"
        )
    return sequence


def _check_not_input(source: str, output: str) -> None:
    if Path(output).exists() and Path(source).exists() and Path(output).samefile(source):
        raise InputError(f"{output}: the output would replace the input")


def extend_row(place: Place | str, row: Row, new: Row) -> Row:
    """A row with further columns.

    Raises:
        InputError: if it already has one of them.
    """
    if taken := [name for name in new if name in row]:
        raise InputError(f"{place}: the input already has a column {taken[0]!r}; rename it first")
    return row | new


@torch.inference_mode()
def _map_batches(
    function: Callable[[torch.Tensor], torch.Tensor],
    model: LyraPreTrainedModel,
    encoded: list[np.ndarray],
    per_token: bool,
) -> list[np.ndarray]:
    """Applies a function of `input_ids` to batches of similar length; returns the results in the given order."""
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]), reverse=True)
    results: list[Any] = [None] * len(encoded)
    while order:
        size = max(1, _BATCH_POSITIONS // len(encoded[order[0]]))
        batch, order = order[:size], order[size:]
        input_ids = pad([encoded[i] for i in batch], model.config.pad_token_id).to(model.device)
        output = function(input_ids).float().cpu().numpy()
        for i, result in zip(batch, output, strict=True):
            results[i] = result[: len(encoded[i])] if per_token else result
    return results


class _NpzWriter:
    """Streams vectors into the array `embeddings` of an `.npz`, with their number per sequence as `lengths`."""

    def __init__(self, path: Path, size: int, vectors: str):
        self.path, self.size = path, size
        self.lengths: list[int] = []

    def __enter__(self) -> "_NpzWriter":
        self._data = tempfile.TemporaryFile()
        return self

    def write(self, rows: list[Row], arrays: list[np.ndarray]) -> None:
        for array in arrays:
            self._data.write(np.ascontiguousarray(array, dtype="<f4").tobytes())
            self.lengths.append(len(array))

    def __exit__(self, kind: Any, *rest: Any) -> None:
        with self._data:
            if kind is None:
                self._finish()

    def _finish(self) -> None:
        self._data.seek(0)
        header = {"descr": "<f4", "fortran_order": False, "shape": (sum(self.lengths), self.size)}
        with zipfile.ZipFile(self.path, "w", allowZip64=True) as archive:
            with archive.open("embeddings.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array_header_1_0(entry, header)
                shutil.copyfileobj(self._data, entry)
            with archive.open("lengths.npy", "w") as entry:
                np.lib.format.write_array(entry, np.asarray(self.lengths, dtype=np.int64))


class _ParquetEmbeddings:
    """Streams the table's rows with their vectors as the column `embedding`."""

    def __init__(self, path: Path, size: int, vectors: str):
        self._file = ParquetAppender(path)
        vector = pa.list_(pa.float32(), size)
        self.type = vector if vectors == "mean" else pa.list_(vector)
        self.mean = vectors == "mean"

    def __enter__(self) -> "_ParquetEmbeddings":
        return self

    def write(self, rows: list[Row], arrays: list[np.ndarray]) -> None:
        if any("embedding" in row for row in rows):
            raise InputError("the input already has a column 'embedding'; rename it first")
        table = arrow_table(rows)
        values = pa.array([list(each[0]) if self.mean else list(map(list, each)) for each in arrays], type=self.type)
        self._file.append(table.append_column("embedding", values))

    def __exit__(self, *exception: Any) -> None:
        self._file.close()
