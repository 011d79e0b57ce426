"""Tables in files, read and written by the suffix of their name. A new format is one more entry of `FORMATS`."""

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ..errors import InputError, one_line
from . import readers, writers
from .growing import GrowingRows
from .readers import Batch
from .rows import Locations, Row, RowLocation, Rows
from .writers import RowWriter


class TableFormat(NamedTuple):
    """How a kind of table is read and written.

    Attributes:
        suffixes: of its files, before an optional `.gz`.
        read: the batches of the file at a path.
        write: a writer of rows, given path, columns and whether to write a header; None if it cannot be written.
        join: puts parts that `write` wrote, only the first with a header, into one file.
        compressible: whether an output may end in `.gz`.
    """

    suffixes: tuple[str, ...]
    read: Callable[[str], Iterator[Batch]]
    write: Callable[[str, list[str] | None, bool], RowWriter] | None = None
    join: Callable[[list[Path], str], None] = writers.join_bytes
    compressible: bool = True


FORMATS = {
    "csv": TableFormat((".csv",), readers.read_csv, writers.CsvWriter),
    "tsv": TableFormat(
        (".tsv",), partial(readers.read_csv, delimiters="\t"), partial(writers.CsvWriter, delimiter="\t")
    ),
    "jsonl": TableFormat((".jsonl", ".ndjson"), readers.read_jsonl, writers.JsonLinesWriter),
    "parquet": TableFormat(
        (".parquet", ".pq"), readers.read_parquet, writers.ParquetWriter, writers.join_parquet, compressible=False
    ),
    "xlsx": TableFormat((".xlsx",), readers.read_xlsx),
    "fasta": TableFormat((".fasta", ".fas", ".fa", ".faa", ".fna"), readers.read_fasta_records),
}
SUFFIXES = {suffix: name for name, each in FORMATS.items() for suffix in each.suffixes}


def table_format(path: str | os.PathLike) -> TableFormat:
    """The format of a file to read, by its suffix before an optional `.gz`.

    Raises:
        InputError: for another suffix.
    """
    suffix = _suffix(path)
    if suffix not in SUFFIXES:
        known, got = ", ".join(SUFFIXES), repr(suffix) if suffix else "no suffix"
        raise InputError(f"{path}: expected a file ending in {known} (and .gz), got {got}")
    return FORMATS[SUFFIXES[suffix]]


def output_format(path: str | os.PathLike) -> TableFormat:
    """The format of a file to write, by its suffix before an optional `.gz`.

    Raises:
        InputError: for another suffix, or a format that cannot be written.
    """
    known = FORMATS.get(SUFFIXES.get(_suffix(path), ""))
    if known is None or known.write is None or (str(path).endswith(".gz") and not known.compressible):
        raise InputError(
            f"{path}: expected a name ending in .csv, .tsv, .jsonl (or these and .gz) or .parquet to write"
        )
    return known


def _suffix(path: str | os.PathLike) -> str:
    return Path(Path(path).name.lower().removesuffix(".gz")).suffix


def read_rows(path: str | os.PathLike) -> Iterator[tuple[RowLocation, Row]]:
    """Yields every row of a table with its location.

    Cells of CSV and TSV are strings; those of JSON lines and Parquet have the file's types; FASTA records have the
    columns `id`, `description` (the rest of the header) and `sequence`.

    Raises:
        InputError: naming the file and, where it can be known, the row and line.
    """
    path, numbers = str(path), count(1)
    for batch in _read(path):
        for line, row in zip(map(int, batch.lines), batch.rows, strict=True):
            yield RowLocation(path, next(numbers), line or None), row


def read_batches(path: str | os.PathLike) -> Iterator[tuple[Rows, Locations]]:
    """Yields consecutive rows of a table, as many as are read together, and where they are.

    Raises:
        InputError: as [`read_rows`].
    """
    path, first = str(path), 1
    for rows, lines in _read(path):
        yield rows, Locations.of(path, lines, first)
        first += len(rows)


def read_table(path: str | os.PathLike, rows: GrowingRows) -> Locations:
    """Adds all rows of a table to others; returns where they are.

    Raises:
        InputError: as [`read_rows`].
    """
    lines = [np.zeros(0, np.uint32)]
    for batch in _read(str(path)):
        rows.append(batch.rows)
        lines.append(np.asarray(batch.lines, np.uint32))
    return Locations.of(str(path), np.concatenate(lines))


def _read(path: str) -> Iterator[Batch]:
    reader = table_format(path).read
    try:
        yield from reader(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: expected a file, got a directory") from None
    except gzip.BadGzipFile:
        raise InputError(f"{path}: the name ends in .gz but the content is not gzip") from None
    except (EOFError, zlib.error):
        raise InputError(f"{path}: the gzip content is damaged or cut off") from None
    except (pa.ArrowException, UnicodeDecodeError, OverflowError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({one_line(error)})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or one_line(error)})") from None


class TableWriter:
    """Writes rows, in the format of the path's suffix (not FASTA).

    Args:
        path: where to write; a final `.gz` compresses.
        columns: of CSV and TSV; by default those of the first row.
        header: whether CSV and TSV start with them.
    """

    def __init__(self, path: str | os.PathLike, columns: list[str] | None = None, header: bool = True):
        write = output_format(path).write
        self._open = lambda: write(str(path), columns, header)  # type: ignore[misc]
        self._writer: RowWriter | None = None

    def write(self, rows: list[Row]) -> None:
        if rows:
            self._writer = self._writer or self._open()
            self._writer.write(rows)

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(self, *exception) -> None:
        if self._writer is not None:
            self._writer.close()


def join_tables(parts: list[Path], path: str | os.PathLike) -> None:
    """Writes one table from parts that [`TableWriter`] wrote, uncompressed and only the first with a header."""
    output_format(path).join(parts, str(path))
