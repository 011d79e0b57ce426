"""Reading and writing tables of sequences: CSV, TSV, JSON lines, Parquet and FASTA, each also gzipped.

Rows are read one at a time, as dictionaries with the place they stand at, so that a table of any size can be streamed
and every complaint can name its row.
"""

import csv
import gzip
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".fasta": "fasta",
    ".fas": "fasta",
    ".fa": "fasta",
    ".faa": "fasta",
    ".fna": "fasta",
}
_PARQUET_BATCH = 1024
# Behind a sign, letters, digits, gaps and points alone do nothing: `-MKT` is a sequence, `-1.5` a number.
_FORMULA = re.compile(r"[=@\t\r]|[+-].*[^\w.*+ -]", re.DOTALL)

Row = dict[str, Any]


class InputError(ValueError):
    """Something that a user gave is wrong; the message is one line that says where, what was expected and what came."""


class Place(NamedTuple):
    """Where a row stands: rows count from 1 without the header, lines as an editor counts them."""

    path: str
    row: int
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.path}, row {self.row}" + ("" if self.line is None else f" (line {self.line})")


@dataclass
class Table:
    """The rows of one data set in memory, each with its place and, where the source has them, its split."""

    source: str
    rows: list[Row]
    places: list[Place]
    splits: list[str] | None
    sha256: str


def table_format(path: str | os.PathLike) -> str:
    """`"csv"`, `"tsv"`, `"jsonl"`, `"parquet"` or `"fasta"` by the suffix, before an optional `.gz`.

    Raises:
        InputError: for another suffix.
    """
    name = Path(path).name.lower().removesuffix(".gz")
    suffix = Path(name).suffix
    if suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise InputError(f"{path}: expected a file ending in {known} (and .gz), got {suffix or 'no suffix'!r}")
    return SUFFIXES[suffix]


def output_format(path: str | os.PathLike) -> str:
    """As `table_format`, for a file to write.

    Raises:
        InputError: also for FASTA, which has no columns.
    """
    suffix = Path(Path(path).name.lower().removesuffix(".gz")).suffix
    name = SUFFIXES.get(suffix, "fasta")
    if name == "fasta" or (name == "parquet" and str(path).endswith(".gz")):
        raise InputError(
            f"{path}: expected a name ending in .csv, .tsv, .jsonl (or these and .gz) or .parquet to write"
        )
    return name


def read_rows(path: str | os.PathLike) -> Iterator[tuple[Place, Row]]:
    """Yields every row of a table with its place.

    Cells of CSV and TSV are strings; those of JSON lines and Parquet have the file's types; FASTA records have the
    columns `id`, `description` (the rest of the header) and `sequence`.

    Raises:
        InputError: naming the file and, where it can be known, the row and line.
    """
    path = str(path)
    reader = {"csv": _read_csv, "tsv": _read_csv, "jsonl": _read_jsonl, "parquet": _read_parquet, "fasta": _read_fasta}[
        table_format(path)
    ]
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


def header_fields(where: str, header: str) -> Row:
    """The `key=value` fields of a FASTA header, separated by white space, `|` or `;`.

    Raises:
        InputError: if a key stands twice.
    """
    pairs = re.findall(r"([A-Za-z_]\w*)=([^\s|;]+)", header)
    _check_columns(where, [key for key, _ in pairs])
    return dict(pairs)


def file_sha256(paths: Iterable[str | os.PathLike]) -> str:
    """One SHA-256 over the bytes of the files in order."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


@contextmanager
def write_beside(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary path in the same folder, renamed to `path` when the block ends well and removed otherwise.

    Raises:
        InputError: if the folder is missing or cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: expected a file to write, got a directory")
    # The suffixes stay last, because writers choose their format by them.
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        partial.touch()
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or one_line(error)})") from None
    finally:
        partial.unlink(missing_ok=True)


class TableWriter:
    """Writes rows, in the format of the path's suffix (not FASTA).

    Args:
        path: where to write; a final `.gz` compresses.
        columns: of CSV and TSV; by default those of the first row.
        header: whether CSV and TSV start with them.
    """

    def __init__(self, path: str | os.PathLike, columns: list[str] | None = None, header: bool = True):
        self.path = str(path)
        self.format = output_format(path)
        self.columns, self.header = columns, header
        self._file: Any = None
        self._writer: Any = None

    def write(self, rows: list[Row]) -> None:
        if not rows:
            return
        if self.format == "parquet":
            self._writer = self._writer or ParquetAppender(self.path)
            self._writer.append(arrow_table(rows))
            return
        if self._file is None:
            self._file = io.TextIOWrapper(_open_to_write(self.path), encoding="utf-8", newline="")
        if self.format == "jsonl":
            self._file.writelines(json.dumps(row, default=_json_scalar) + "\n" for row in rows)
            return
        if self._writer is None:
            delimiter = "\t" if self.format == "tsv" else ","
            columns = self.columns or list(rows[0])
            self._writer = csv.DictWriter(self._file, columns, delimiter=delimiter, lineterminator="\n")
            if self.header:
                self._writer.writerow({name: _cell(name) for name in columns})
        for row in rows:
            _check_known(row, self._writer.fieldnames)
            self._writer.writerow({name: _cell(value) for name, value in row.items()})

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(self, *exception) -> None:
        for resource in (self._writer, self._file):
            if hasattr(resource, "close"):
                resource.close()


def join_tables(parts: Iterable[Path], path: str | os.PathLike) -> None:
    """Writes one table from parts that [`TableWriter`] wrote, uncompressed and only the first with a header."""
    if output_format(path) == "parquet":
        parts = list(parts)
        appender = ParquetAppender(path, _common_schema(parts))
        for part in parts:
            appender.append(pq.read_table(part))
        appender.close()
        return
    with _open_to_write(str(path)) as file:
        for part in parts:
            with open(part, "rb") as source:
                shutil.copyfileobj(source, file)


def _common_schema(parts: list[Path]) -> pa.Schema:
    """Columns and types that hold all parts: of a column that is empty at first, those that come later."""
    try:
        return pa.unify_schemas([pq.read_schema(part) for part in parts], promote_options="permissive")
    except pa.ArrowException as error:
        raise _changing_type(error) from None


def _changing_type(error: pa.ArrowException) -> InputError:
    return InputError(f"the values of a column change their type ({one_line(error)}); .jsonl output takes such rows")


class ParquetAppender:
    """Appends tables to a Parquet file; unless they are given, the first one fixes columns and types."""

    def __init__(self, path: str | os.PathLike, schema: pa.Schema | None = None):
        self.path = path
        self._schema = schema
        self._writer: pq.ParquetWriter | None = None

    def append(self, table: pa.Table) -> None:
        """Raises InputError if the table has other columns than the first one, or values that its types cannot hold."""
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, self._schema or table.schema)
        schema = self._writer.schema
        _check_known(dict.fromkeys(table.column_names), schema.names)
        try:
            columns = [
                table[field.name].cast(field.type)
                if field.name in table.column_names
                else pa.nulls(len(table), field.type)
                for field in schema
            ]
        except pa.ArrowException as error:
            raise _changing_type(error) from None
        self._writer.write_table(pa.table(columns, schema=schema))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def arrow_table(rows: list[Row]) -> pa.Table:
    """Rows as an Arrow table with every column that one of them has.

    Raises:
        InputError: if a column mixes types.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    try:
        return pa.table({name: [row.get(name) for row in rows] for name in names})
    except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
        raise InputError(
            f"a column mixes types that Parquet cannot hold ({one_line(error)}); .jsonl output takes such rows"
        ) from None


def _read_csv(path: str) -> Iterator[tuple[Place, Row]]:
    csv.field_size_limit(sys.maxsize)  # a chromosome is one field
    lines = _text_lines(path)
    first = next(lines, None)
    if first is None:
        raise InputError(f"{path}: the table is empty")
    delimiter = "\t" if table_format(path) == "tsv" else max(",;\t", key=first.count)
    reader = csv.reader(itertools.chain([first], lines), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader)]
        _check_columns(path, header)
        row = 0
        for fields in reader:
            if not fields:
                continue  # a blank line
            row += 1
            place = Place(path, row, reader.line_num)
            if len(fields) != len(header):
                raise InputError(f"{place}: expected {len(header)} fields as in the header, got {len(fields)}")
            yield place, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}") from None


def _read_jsonl(path: str) -> Iterator[tuple[Place, Row]]:
    row = 0
    for number, line in enumerate(_text_lines(path), start=1):
        if not line.strip():
            continue
        row += 1
        place = Place(path, row, number)
        try:
            values = json.loads(line, object_pairs_hook=_unique)
            json.dumps(values, ensure_ascii=False).encode()  # half of a surrogate pair could not be written again
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place}: not valid JSON ({error})") from None
        if not isinstance(values, dict):
            raise InputError(f"{place}: expected a JSON object, got {type(values).__name__}")
        yield place, values


def _read_parquet(path: str) -> Iterator[tuple[Place, Row]]:
    with _open_binary(path) as file, tempfile.TemporaryFile() as seekable:
        if path.endswith(".gz"):
            shutil.copyfileobj(file, seekable)
            seekable.seek(0)
        parquet = pq.ParquetFile(seekable if path.endswith(".gz") else file)
        _check_columns(path, parquet.schema_arrow.names)
        row = 0
        for batch in parquet.iter_batches(_PARQUET_BATCH):
            for values in batch.to_pylist():
                row += 1
                yield Place(path, row), values


def _read_fasta(path: str) -> Iterator[tuple[Place, Row]]:
    row, place, header = 0, None, ""
    parts: list[str] = []
    for number, line in enumerate(_text_lines(path), start=1):
        line = line.strip()
        if line.startswith(">"):
            if place is not None:
                yield place, _fasta_record(header, parts)
            row += 1
            place, header, parts = Place(path, row, number), line[1:].strip(), []
        elif place is None and line:
            raise InputError(f"{path}, line {number}: expected a FASTA header that starts with '>', got {line[:20]!r}")
        else:
            parts.append(line)
    if place is not None:
        yield place, _fasta_record(header, parts)


def _fasta_record(header: str, parts: list[str]) -> Row:
    name, description = [*header.split(None, 1), "", ""][:2]
    return {"id": name, "description": description, "sequence": "".join(parts)}


def _unique(pairs: list[tuple[str, Any]]) -> Row:
    """A JSON object whose keys must differ."""
    _check_columns("", [name for name, _ in pairs])
    return dict(pairs)


def _check_columns(where: str, names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"{where}{': ' if where else ''}the column {repeated[0]!r} is named twice")


def _check_known(row: Row, columns: Iterable[str]) -> None:
    if unknown := [name for name in row if name not in columns]:
        raise InputError(
            f"a row has the column {unknown[0]!r}, which the first row does not have; .jsonl output takes such rows"
        )


def _open_to_write(path: str) -> Any:
    if not path.endswith(".gz"):
        return open(path, "wb")
    # Without name and time inside, so that the same rows are the same file.
    return gzip.GzipFile("", "wb", fileobj=open(path, "wb", buffering=0), mtime=0)


def _open_binary(path: str) -> BinaryIO:
    return gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb")  # type: ignore[return-value]


def _text_lines(path: str) -> Iterator[str]:
    """The lines of a UTF-8 file, decoded one by one so that a wrong byte can be placed."""
    with _open_binary(path) as file:
        for number, raw in enumerate(file, start=1):
            try:
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                byte = raw[error.start]
                raise InputError(
                    f"{path}, line {number}: not UTF-8 text (byte 0x{byte:02x}); save it as UTF-8"
                ) from None


def listed(names: Iterable[Any]) -> str:
    """Names as a message shows them."""
    return ", ".join(repr(str(name)) for name in names)


def _cell(value: Any) -> Any:
    """As CSV and TSV have it; behind an apostrophe a spreadsheet shows a formula instead of running it."""
    if isinstance(value, (list, tuple)):
        texts = [str(item) for item in value]
        value = ("" if all(len(text) == 1 for text in texts) else " ").join(texts)
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _json_scalar(value: Any) -> Any:
    """A plain number for a NumPy one, without the digits that widening fp32 invents."""
    return float(str(value)) if hasattr(value, "dtype") else str(value)


def one_line(error: BaseException) -> str:
    """A library's complaint as part of a message."""
    return " ".join(str(error).split())
