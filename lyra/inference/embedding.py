"""Embeddings of tables of any size with a trained model, in constant memory."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ..data.rows import Row
from ..data.writers import CsvWriter, ParquetWriter, arrow_table, join_bytes, join_parquet
from ..errors import InputError
from ..modeling_lyra import LyraPreTrainedModel
from ..tokenization_lyra import LyraTokenizer
from .checks import check_paths, check_vectors_path
from .loading import load_on_device
from .logits import map_batches
from .parts import Join, fingerprint_of, write_in_parts
from .reading import Chunk, ChunkReader


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
    resume: bool = False,
) -> int:
    """Writes the last hidden states of a table's sequences, of an ensemble those of its first member.

    Args:
        model_name: a checkpoint folder or Hub id, of any head.
        source: table to read.
        output: `.npz` with `embeddings` and `lengths`; `.parquet` with the table's columns and `embedding`; or, for one
            vector per sequence, `.csv` with the table's columns and `embedding_0`, `embedding_1`, ...
        vectors: `"mean"` for one vector per sequence, `"residue"` for one per residue; in an `.npz` those of all
            sequences follow each other, and `lengths` says how many each has.
        sequence_column, pair_column, unknown, device, revision, resume: as in [`predict`]; several processes share the
            work in the same way.

    Returns:
        The number of sequences.
    """
    check_vectors_path(output, vectors)
    if vectors not in ("mean", "residue"):
        raise InputError(f"--vectors: expected 'mean' or 'residue', got {vectors!r}")
    check_paths(model_name, source, output)
    model, tokenizer, state = load_on_device(model_name, revision, device, bare=True)
    if model.config.ensemble_size > 1:
        print(f"{model_name}: an ensemble of {model.config.ensemble_size} models; the vectors are those of the first")
    fingerprint = fingerprint_of(
        source, model, sequence_column=sequence_column, pair_column=pair_column, unknown=unknown, vectors=vectors
    )
    reader = ChunkReader(source, tokenizer, model.config.training_data, sequence_column, pair_column, unknown)
    form = _FORMS[Path(output).suffix]

    def write(chunk: Chunk, path: Path, first: bool) -> None:
        residues = _states(model, tokenizer, chunk)
        arrays = [each.mean(axis=0, keepdims=True) if vectors == "mean" else each for each in residues]
        form.write(path, list(chunk.rows), arrays, vectors == "mean", first)

    return write_in_parts(output, reader, write, form.join, fingerprint, resume, state)


def _states(model: LyraPreTrainedModel, tokenizer: LyraTokenizer, chunk: Chunk) -> list[np.ndarray]:
    """The last hidden states of each sequence, `(length, hidden_size)`."""
    encoded = tokenizer.encode_bulk(chunk.texts)
    return list(map_batches(lambda ids: model(ids).last_hidden_state, model, encoded, per_token=True))


class _Form(NamedTuple):
    """A format of vectors.

    Attributes:
        write: a part: path, rows of the table, vectors of each, whether there is one for each, whether it is the first.
        join: puts parts into one file.
    """

    write: Callable[[Path, list[Row], list[np.ndarray], bool, bool], None]
    join: Join


def _write_npz(path: Path, rows: list[Row], arrays: list[np.ndarray], mean: bool, first: bool) -> None:
    lengths = np.array([len(each) for each in arrays], dtype=np.int64)
    with open(path, "wb") as file:
        np.savez(file, embeddings=np.concatenate(arrays).astype("<f4"), lengths=lengths)


def _join_npz(parts: list[Path], path: Path) -> None:
    """One part is in memory at a time."""
    lengths = np.concatenate([np.load(part)["lengths"] for part in parts])
    size = np.load(parts[0])["embeddings"].shape[1]
    header = {"descr": "<f4", "fortran_order": False, "shape": (int(lengths.sum()), size)}
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        with archive.open("embeddings.npy", "w", force_zip64=True) as entry:
            np.lib.format.write_array_header_1_0(entry, header)
            for part in parts:
                entry.write(np.load(part)["embeddings"].tobytes())
        with archive.open("lengths.npy", "w") as entry:
            np.lib.format.write_array(entry, lengths)


def _write_parquet(path: Path, rows: list[Row], arrays: list[np.ndarray], mean: bool, first: bool) -> None:
    if any("embedding" in row for row in rows):
        raise InputError("the input already has a column 'embedding'; rename it first")
    vector = pa.list_(pa.float32(), arrays[0].shape[1])
    values = pa.array(
        [list(each[0]) if mean else list(map(list, each)) for each in arrays], type=vector if mean else pa.list_(vector)
    )
    file = ParquetWriter(path)
    file.append(arrow_table(rows).append_column("embedding", values))
    file.close()


def _write_csv(path: Path, rows: list[Row], arrays: list[np.ndarray], mean: bool, first: bool) -> None:
    names = [f"embedding_{i}" for i in range(arrays[0].shape[1])]
    if taken := [name for row in rows for name in names if name in row]:
        raise InputError(f"the input already has a column {taken[0]!r}; rename it first")
    file = CsvWriter(str(path), None, header=first)
    vectors = (dict(zip(names, map(str, each[0]), strict=True)) for each in arrays)
    file.write([row | vector for row, vector in zip(rows, vectors, strict=True)])
    file.close()


# By the suffix of the output.
_FORMS = {
    ".npz": _Form(_write_npz, _join_npz),
    ".parquet": _Form(_write_parquet, lambda parts, path: join_parquet(parts, str(path))),
    ".csv": _Form(_write_csv, lambda parts, path: join_bytes(parts, str(path))),
}
