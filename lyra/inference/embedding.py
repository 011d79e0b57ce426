"""Embeddings of tables of any size with a trained model, in constant memory."""

import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from ..data.readers import Row
from ..data.writers import CsvWriter, ParquetWriter, arrow_table
from ..errors import InputError
from ..files import write_then_rename
from .checks import check_paths, check_vectors_path
from .loading import best_device, load_model
from .logits import map_batches
from .reading import ChunkReader


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
        output: `.npz` with `embeddings` and `lengths`; `.parquet` with the table's columns and `embedding`; or, for one
            vector per sequence, `.csv` with the table's columns and `embedding_0`, `embedding_1`, ...
        vectors: `"mean"` for one vector per sequence, `"residue"` for one per residue; in an `.npz` those of all
            sequences follow each other, and `lengths` says how many each has.
        sequence_column, pair_column, unknown, device, revision: as in [`predict`].

    Returns:
        The number of sequences.
    """
    check_vectors_path(output, vectors)
    if vectors not in ("mean", "residue"):
        raise InputError(f"--vectors: expected 'mean' or 'residue', got {vectors!r}")
    check_paths(model_name, source, output)
    model, tokenizer = load_model(model_name, revision, bare=True)
    if model.config.ensemble_size > 1:
        print(f"{model_name}: an ensemble of {model.config.ensemble_size} models; the vectors are those of the first")
    model.to(best_device(device))

    def states(input_ids: torch.Tensor) -> torch.Tensor:
        return model(input_ids).last_hidden_state

    sequences = 0
    reader = ChunkReader(source, tokenizer, model.config.training_data, sequence_column, pair_column, unknown)
    writer_class = _WRITERS[Path(output).suffix]
    with write_then_rename(output) as partial, writer_class(partial, model.config.hidden_size, vectors) as writer:
        for chunk in reader.chunks():
            residues = map_batches(states, model, tokenizer.encode_bulk(chunk.texts), per_token=True)
            arrays = [each.mean(axis=0, keepdims=True) if vectors == "mean" else each for each in residues]
            writer.write(chunk.rows, arrays)
            sequences += len(chunk.rows)
    return sequences


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


class _ParquetVectors:
    """Streams the table's rows with their vectors as the column `embedding`."""

    def __init__(self, path: Path, size: int, vectors: str):
        self._file = ParquetWriter(path)
        vector = pa.list_(pa.float32(), size)
        self.type = vector if vectors == "mean" else pa.list_(vector)
        self.mean = vectors == "mean"

    def __enter__(self) -> "_ParquetVectors":
        return self

    def write(self, rows: list[Row], arrays: list[np.ndarray]) -> None:
        if any("embedding" in row for row in rows):
            raise InputError("the input already has a column 'embedding'; rename it first")
        table = arrow_table(rows)
        values = pa.array([list(each[0]) if self.mean else list(map(list, each)) for each in arrays], type=self.type)
        self._file.append(table.append_column("embedding", values))

    def __exit__(self, *exception: Any) -> None:
        self._file.close()


class _CsvVectors:
    """Streams the table's rows with a column for each number of their vectors."""

    def __init__(self, path: Path, size: int, vectors: str):
        self._file = CsvWriter(str(path), None, header=True)
        self.names = [f"embedding_{i}" for i in range(size)]

    def __enter__(self) -> "_CsvVectors":
        return self

    def write(self, rows: list[Row], arrays: list[np.ndarray]) -> None:
        if taken := [name for row in rows for name in self.names if name in row]:
            raise InputError(f"the input already has a column {taken[0]!r}; rename it first")
        vectors = (dict(zip(self.names, map(str, each[0]), strict=True)) for each in arrays)
        self._file.write([row | vector for row, vector in zip(rows, vectors, strict=True)])

    def __exit__(self, *exception: Any) -> None:
        self._file.close()


_WRITERS: dict[str, Any] = {".npz": _NpzWriter, ".parquet": _ParquetVectors, ".csv": _CsvVectors}
