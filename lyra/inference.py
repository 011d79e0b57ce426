"""Predictions and embeddings of tables of any size with a trained model, in constant memory."""

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from scipy import special
from tqdm.auto import tqdm

from .configuration_lyra import LyraConfig
from .data import SEQUENCE_COLUMNS, clean_sequence, find_column, known_letters, pad
from .modeling_lyra import (
    LyraForSequenceClassification,
    LyraForTokenClassification,
    LyraModel,
    LyraPreTrainedModel,
)
from .streaming import stream
from .tables import (
    InputError,
    ParquetAppender,
    Place,
    Row,
    TableWriter,
    arrow_table,
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


def load_model(name: str, revision: str | None = None, bare: bool = False) -> tuple[LyraPreTrainedModel, LyraTokenizer]:
    """Loads a checkpoint and its tokenizer with this package's own code, ready to predict.

    Args:
        name: a folder or a Hub id.
        revision: of the Hub repository.
        bare: whether to load [`LyraModel`] instead of the head that the checkpoint was saved with.

    Raises:
        InputError: if `name` is no Lyra checkpoint with a trained head (unless `bare`).
    """
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
            name, revision=revision, output_loading_info=True, ignore_mismatched_sizes=True
        )
        if damaged := [*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])]:
            raise InputError(f"{name}: the weights lack {sorted(damaged)[0]!r} or have it in another shape")
        tokenizer = LyraTokenizer.from_pretrained(name, revision=revision)
    except InputError:
        raise
    except Exception as error:  # the libraries raise many kinds; all mean that this name is no usable checkpoint
        kind = "cannot be loaded as" if Path(name).is_dir() else "no such folder, and no Hub repository with"
        raise InputError(f"{name}: {kind} a Lyra checkpoint ({one_line(error)[:300]})") from None
    return model.eval(), tokenizer


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
    unknown: str = "error",
    device: str | None = None,
    revision: str | None = None,
) -> int:
    """Writes a copy of a table with the model's predictions as further columns.

    The new columns are those of [`prediction_columns`]. Rows keep their order; the output appears when it is complete.

    Args:
        model_name: a checkpoint folder or Hub id.
        source: table to read; `output`: table to write, in the format of its suffix.
        sequence_column: found by its name by default.
        unknown: `"error"` stops at a character outside the alphabet, `"token"` reads it as `<unk>`.

    Returns:
        The number of rows.

    Raises:
        InputError: naming file, row and column.
    """
    output_format(output)
    _check_not_input(source, output)
    model, tokenizer = load_model(model_name, revision)
    model.to(best_device(device))
    rows = 0
    with write_beside(output) as partial, TableWriter(partial) as writer:
        for chunk in _chunks(source, sequence_column, tokenizer.alphabet, unknown):
            logits = compute_logits(model, tokenizer, [sequence for _, _, sequence in chunk])
            added = prediction_columns(logits, model.config, model.per_token)
            writer.write([extend_row(place, row, new) for (place, row, _), new in zip(chunk, added, strict=True)])
            rows += len(chunk)
    return rows


def compute_logits(model: LyraPreTrainedModel, tokenizer: LyraTokenizer, sequences: list[str]) -> list[np.ndarray]:
    """The logits of each sequence: `(labels,)`, or `(length, labels)` of a token head.

    Raises:
        InputError: if they are not finite, as after a training that diverged.
    """
    per_token = model.per_token

    def logits(input_ids: torch.Tensor) -> torch.Tensor:
        return model(input_ids).logits

    whole = [sequence for sequence in sequences if len(sequence) <= _LONGEST_WHOLE]
    batched = iter(_map_batches(logits, model, tokenizer.encode_bulk(whole), per_token))
    results = [
        next(batched) if len(sequence) <= _LONGEST_WHOLE else _stream_whole(model, sequence, per_token)
        for sequence in sequences
    ]
    if not all(np.isfinite(result).all() for result in results):
        raise InputError("the model's predictions are not finite numbers; it diverged in training or is damaged")
    return results


def _stream_whole(model: LyraPreTrainedModel, sequence: str, per_token: bool) -> np.ndarray:
    parts = [part.logits for part in stream(model, [sequence])]  # type: ignore[arg-type]
    return np.concatenate(parts) if per_token else parts[0]


def prediction_columns(logits: list[np.ndarray], config: LyraConfig, per_token: bool) -> list[Row]:
    """The columns that a prediction adds to each row.

    A regression adds `prediction` in label units (`prediction_<name>` each for several outputs). Classification adds
    `prediction`, the likeliest class, and `probability_<class>` of each. Multi-label adds `prediction`, the labels
    above one half joined by `;`, and `probability_<label>` of each. Token heads give a list with an entry per residue.
    """
    names = [str(config.id2label[i]) for i in range(config.num_labels)]  # type: ignore[index]
    sizes = [len(each) if per_token else 1 for each in logits]
    flat = np.concatenate([each.reshape(-1, len(names)) for each in logits])
    columns: dict[str, Any] = {}
    if config.problem_type == "regression":
        for i, name in enumerate(names):
            columns["prediction" if len(names) == 1 else f"prediction_{name}"] = flat[:, i]
    else:
        if config.problem_type == "multi_label_classification":
            probabilities = special.expit(flat)
            chosen = probabilities > 0.5
            columns["prediction"] = [";".join(n for n, yes in zip(names, row, strict=True) if yes) for row in chosen]
        else:
            probabilities = special.softmax(flat, axis=1)
            columns["prediction"] = [names[i] for i in flat.argmax(axis=1)]
        columns |= {f"probability_{name}": probabilities[:, i] for i, name in enumerate(names)}
    rows, start = [], 0
    for size in sizes:
        span = slice(start, start + size) if per_token else start
        rows.append({name: list(values[span]) if per_token else values[span] for name, values in columns.items()})
        start += size
    return rows


def embed(
    model_name: str,
    source: str,
    output: str,
    vectors: str = "mean",
    sequence_column: str | None = None,
    unknown: str = "error",
    device: str | None = None,
    revision: str | None = None,
) -> int:
    """Writes the last hidden states of a table's sequences.

    Args:
        model_name: a checkpoint folder or Hub id, of any head.
        source: table to read.
        output: `.npz` with `embeddings` and `lengths`, or `.parquet` with the table's columns and `embedding`.
        vectors: `"mean"` for one vector per sequence, `"residue"` for one per residue; in an `.npz` those of all
            sequences follow each other, and `lengths` says how many each has.
        sequence_column, unknown, device, revision: as in [`predict`].

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
    model.to(best_device(device))

    def states(input_ids: torch.Tensor) -> torch.Tensor:
        return model(input_ids).last_hidden_state

    sequences = 0
    writer_class = _NpzWriter if suffix == ".npz" else _ParquetEmbeddings
    with write_beside(output) as partial, writer_class(partial, model.config.hidden_size, vectors) as writer:
        for chunk in _chunks(source, sequence_column, tokenizer.alphabet, unknown):
            encoded = tokenizer.encode_bulk([sequence for _, _, sequence in chunk])
            residues = _map_batches(states, model, encoded, per_token=True)
            arrays = [each.mean(axis=0, keepdims=True) if vectors == "mean" else each for each in residues]
            writer.write([row for _, row, _ in chunk], arrays)
            sequences += len(chunk)
    return sequences


def _chunks(source: str, sequence_column: str | None, alphabet: str, unknown: str) -> Iterator[Chunk]:
    """The rows of a table in chunks of bounded size, checked, behind a progress bar."""
    allowed = known_letters(alphabet)
    chunk: Chunk = []
    letters = 0
    rows = read_rows(source)
    first = next(rows, None)
    if first is None:
        raise InputError(f"{source}: the table has no rows")
    column = find_column(source, list(first[1]), sequence_column, SEQUENCE_COLUMNS, "sequence")
    for place, row in tqdm(chain([first], rows), desc="rows", unit=" rows", mininterval=1, delay=1):
        sequence = clean_sequence(place, column, row.get(column))
        illegal = set(sequence) - allowed
        if illegal and unknown == "error":
            shown = ", ".join(map(repr, sorted(illegal)[:5]))
            raise InputError(
                f"{place}, column {column!r}: characters outside the alphabet {alphabet} ({shown}); "
                "--unknown token reads them as <unk>"
            )
        chunk.append((place, row, sequence))
        letters += len(sequence)
        if len(chunk) >= _CHUNK_ROWS or letters >= _CHUNK_LETTERS:
            yield chunk
            chunk, letters = [], 0
    if chunk:
        yield chunk


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
