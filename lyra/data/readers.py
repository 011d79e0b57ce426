"""Reading tables of sequences: CSV, TSV, JSON lines, Parquet, XLSX and FASTA, each also gzipped.

Rows are read one at a time, as dictionaries with their location, so that a table of any size can be streamed and every
message can name its row.
"""

import csv
import gzip
import io
import itertools
import json
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import pyarrow.parquet as pq

from ..errors import InputError, one_line
from .fasta import read_fasta

_PARQUET_BATCH = 1024

Row = dict[str, Any]


class RowLocation(NamedTuple):
    """Where a row is: rows count from 1 without the header, lines as an editor counts them."""

    path: str
    row: int
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.path}, row {self.row}" + ("" if self.line is None else f" (line {self.line})")


def header_fields(where: str, header: str) -> Row:
    """The `key=value` fields of a FASTA header, separated by white space, `|` or `;`.

    Raises:
        InputError: for a duplicate key.
    """
    pairs = re.findall(r"([A-Za-z_]\w*)=([^\s|;]+)", header)
    check_columns(where, [key for key, _ in pairs])
    return dict(pairs)


def read_csv_rows(path: str, delimiters: str = ",;\t") -> Iterator[tuple[RowLocation, Row]]:
    csv.field_size_limit(sys.maxsize)  # a chromosome is one field
    lines = _text_lines(path)
    first = next(lines, None)
    if first is not None and first.lower().startswith("sep="):  # Excel's own note on the separator
        first = next(lines, None)
    if first is None:
        raise InputError(f"{path}: the table is empty")
    delimiter = max(delimiters, key=first.count)
    reader = csv.reader(itertools.chain([first], lines), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader)]
        check_columns(path, header)
        row = 0
        for fields in reader:
            if not fields:
                continue  # a blank line
            row += 1
            location = RowLocation(path, row, reader.line_num)
            if len(fields) != len(header):
                raise InputError(f"{location}: expected {len(header)} fields as in the header, got {len(fields)}")
            yield location, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}") from None


def read_jsonl_rows(path: str) -> Iterator[tuple[RowLocation, Row]]:
    row = 0
    for number, line in enumerate(_text_lines(path), start=1):
        if not line.strip():
            continue
        row += 1
        location = RowLocation(path, row, number)
        try:
            values = json.loads(line, object_pairs_hook=_unique)
            json.dumps(values, ensure_ascii=False).encode()  # half of a surrogate pair could not be written again
        except InputError as error:
            raise InputError(f"{location}: {error}") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{location}: not valid JSON ({error})") from None
        if not isinstance(values, dict):
            raise InputError(f"{location}: expected a JSON object, got {type(values).__name__}")
        yield location, values


def read_parquet_rows(path: str) -> Iterator[tuple[RowLocation, Row]]:
    with _open_binary(path) as file, tempfile.TemporaryFile() as seekable:
        if path.endswith(".gz"):
            shutil.copyfileobj(file, seekable)
            seekable.seek(0)
        parquet = pq.ParquetFile(seekable if path.endswith(".gz") else file)
        check_columns(path, parquet.schema_arrow.names)
        row = 0
        for batch in parquet.iter_batches(_PARQUET_BATCH):
            for values in batch.to_pylist():
                row += 1
                yield RowLocation(path, row), values


def read_xlsx_rows(path: str) -> Iterator[tuple[RowLocation, Row]]:
    """The rows of the first sheet of a spreadsheet; the first row names the columns."""
    try:
        import openpyxl
    except ImportError:
        raise InputError(f"{path}: reading .xlsx needs openpyxl: pip install openpyxl") from None
    with _open_binary(path) as file:
        try:
            book = openpyxl.load_workbook(io.BytesIO(file.read()), read_only=True, data_only=True)
            lines = iter([list(line) for line in book.worksheets[0].iter_rows(values_only=True)])
        except (OSError, EOFError, zlib.error):
            raise
        except Exception as error:  # the library raises many kinds for a damaged file
            raise InputError(f"{path}: not a readable .xlsx file ({one_line(error)})") from None
    numbered = ((line, cells) for line, cells in enumerate(lines, start=1) if any(cell is not None for cell in cells))
    _, names = next(numbered, (0, []))
    header = ["" if name is None else str(name).strip() for name in names]
    named = [index for index, name in enumerate(header) if name]
    check_columns(path, [header[index] for index in named])
    row = 0
    for line, cells in numbered:
        values = {header[index]: cells[index] if index < len(cells) else None for index in named}
        if any(value is not None for value in values.values()):
            row += 1
            yield RowLocation(path, row, line), values


def read_fasta_rows(path: str) -> Iterator[tuple[RowLocation, Row]]:
    with _open_binary(path) as file:
        for row, record in enumerate(read_fasta(file, path), start=1):
            name, description = [*record.header.split(None, 1), "", ""][:2]
            sequence = "".join(record.segments)
            yield RowLocation(path, row, record.line), {"id": name, "description": description, "sequence": sequence}


def _unique(pairs: list[tuple[str, Any]]) -> Row:
    """A JSON object whose keys must differ."""
    check_columns("", [name for name, _ in pairs])
    return dict(pairs)


def check_columns(where: str, names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated == [""]:
        raise InputError(f"{where}: the first line must name the columns, got {', '.join(map(repr, names))}")
    if repeated:
        raise InputError(f"{where}{': ' if where else ''}the column {repeated[0]!r} is named twice")


def _open_binary(path: str) -> BinaryIO:
    return gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb")  # type: ignore[return-value]


def _text_lines(path: str) -> Iterator[str]:
    """The lines of a UTF-8 file, decoded one by one so that a message can name the line of a wrong byte."""
    with _open_binary(path) as file:
        for number, raw in enumerate(file, start=1):
            try:
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                byte = raw[error.start]
                raise InputError(
                    f"{path}, line {number}: not UTF-8 text (byte 0x{byte:02x}); save it as UTF-8"
                ) from None
