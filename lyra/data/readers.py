"""Reading tables of sequences: CSV, TSV, JSON lines, Parquet, XLSX and FASTA, each also gzipped.

A file is read in batches of rows with their lines, so that a table of any size can be streamed and every message can
name its row.
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
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv as arrow_csv

from ..errors import InputError, one_line
from .fasta import read_fasta
from .rows import ArrowRows, Row, RowLocation, Rows, as_rows

_ODD = (b'"', b"\0", b"\n\n", b"\n\r\n")
_BATCH_ROWS, _BATCH_BYTES = 4096, 1 << 22


class Batch(NamedTuple):
    """Consecutive rows of a file, and their lines as an editor counts them, 0 where there are none."""

    rows: Rows
    lines: Sequence[int] | np.ndarray


def header_fields(where: str, header: str) -> Row:
    """The `key=value` fields of a FASTA header, separated by white space, `|` or `;`.

    Raises:
        InputError: for a duplicate key.
    """
    pairs = re.findall(r"([A-Za-z_]\w*)=([^\s|;]+)", header)
    check_columns(where, [key for key, _ in pairs])
    return dict(pairs)


def read_csv(path: str, delimiters: str = ",;\t") -> Iterator[Batch]:
    csv.field_size_limit(sys.maxsize)  # a chromosome is one field
    with _open_binary(path) as file:
        lines = _Lines(file, path)
        first = next(lines, None)
        if first is not None and first.lower().startswith("sep="):  # Excel's own note on the separator
            first = next(lines, None)
        if first is None:
            raise InputError(f"{path}: the table is empty")
        delimiter = max(delimiters, key=first.count)
        reader = csv.reader(itertools.chain([first], lines), delimiter=delimiter, strict=True)
        unseen = 0  # lines that the reader has not
        try:
            header = [name.strip() for name in next(reader)]
            check_columns(path, header)
            while block := lines.read_block():
                if (table := _plain_columns(block, header, delimiter)) is None:
                    lines.put_back(block)
                    break
                start = reader.line_num + unseen + 1
                yield Batch(ArrowRows(table), np.arange(start, start + len(table)))
                unseen += len(table)
                lines.number += len(table)
            yield from _read_fields(path, reader, header, unseen)
        except csv.Error as error:
            raise InputError(f"{path}, line {reader.line_num + unseen}: {error}") from None


def _plain_columns(block: bytes, header: list[str], delimiter: str) -> pa.Table | None:
    """Whole lines of CSV as columns of text, None where there are quotes, blank lines or anything else that Python's
    reader knows how to read, or to refuse."""
    if any(mark in block for mark in _ODD) or block[0] in b"\r\n":
        return None
    if b"\r" in block and block.count(b"\r") != block.count(b"\r\n"):
        return None
    parse = arrow_csv.ParseOptions(delimiter=delimiter, quote_char=False, double_quote=False, ignore_empty_lines=False)
    text = arrow_csv.ConvertOptions(column_types=dict.fromkeys(header, pa.large_string()), strings_can_be_null=False)
    try:
        read = arrow_csv.ReadOptions(column_names=header, block_size=len(block) + 1)
        return arrow_csv.read_csv(pa.BufferReader(block), read, parse, text)
    except (pa.ArrowException, OverflowError):
        return None


def _read_fields(path: str, reader: Any, header: list[str], unseen: int) -> Iterator[Batch]:
    """The rows of a CSV reader after the first ones."""
    row = unseen

    def fields_with_lines() -> Iterator[tuple[list[str], int]]:
        nonlocal row
        for fields in reader:
            if not fields:
                continue  # a blank line
            row += 1
            line = reader.line_num + unseen
            if len(fields) != len(header):
                location = RowLocation(path, row, line)
                raise InputError(f"{location}: expected {len(header)} fields as in the header, got {len(fields)}")
            yield fields, line

    read = fields_with_lines()
    while batch := list(itertools.islice(read, _BATCH_ROWS)):
        columns = zip(*(fields for fields, _ in batch), strict=True)
        arrays = [pa.array(column, pa.large_string()) for column in columns]
        yield Batch(ArrowRows(pa.table(arrays, header)), [line for _, line in batch])


def read_jsonl(path: str) -> Iterator[Batch]:
    with _open_binary(path) as file:
        yield from _batches(_json_rows(_Lines(file, path), path))


def _json_rows(lines: "_Lines", path: str) -> Iterator[tuple[Row, int]]:
    row = 0
    for line in lines:
        if not line.strip():
            continue
        row += 1
        location = RowLocation(path, row, lines.number)
        try:
            values = json.loads(line, object_pairs_hook=_unique)
            json.dumps(values, ensure_ascii=False).encode()  # half of a surrogate pair could not be written again
        except InputError as error:
            raise InputError(f"{location}: {error}") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{location}: not valid JSON ({error})") from None
        if not isinstance(values, dict):
            raise InputError(f"{location}: expected a JSON object, got {type(values).__name__}")
        yield values, lines.number


def _batches(rows: Iterable[tuple[Row, int]]) -> Iterator[Batch]:
    """Rows with their lines, in batches that are not large."""
    batch: list[Row] = []
    lines: list[int] = []
    letters = 0
    for row, line in rows:
        batch.append(row)
        lines.append(line)
        letters += sum(len(cell) for cell in row.values() if isinstance(cell, str))
        if len(batch) == _BATCH_ROWS or letters >= _BATCH_BYTES:
            yield Batch(as_rows(batch), lines)
            batch, lines, letters = [], [], 0
    if batch:
        yield Batch(as_rows(batch), lines)


def read_parquet(path: str) -> Iterator[Batch]:
    with _open_binary(path) as file, tempfile.TemporaryFile() as seekable:
        if path.endswith(".gz"):
            shutil.copyfileobj(file, seekable)
            seekable.seek(0)
        parquet = pq.ParquetFile(seekable if path.endswith(".gz") else file)
        check_columns(path, parquet.schema_arrow.names)
        for batch in parquet.iter_batches(_BATCH_ROWS):
            yield Batch(ArrowRows.of(pa.Table.from_batches([batch])), np.zeros(len(batch), np.uint32))


def read_xlsx(path: str) -> Iterator[Batch]:
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
    rows = (
        ({header[index]: cells[index] if index < len(cells) else None for index in named}, line)
        for line, cells in numbered
    )
    yield from _batches((row, line) for row, line in rows if any(cell is not None for cell in row.values()))


def read_fasta_records(path: str) -> Iterator[Batch]:
    with _open_binary(path) as file:
        yield from _batches(_fasta_rows(file, path))


def _fasta_rows(file: BinaryIO, path: str) -> Iterator[tuple[Row, int]]:
    for record in read_fasta(file, path):
        name, description = [*record.header.split(None, 1), "", ""][:2]
        yield {"id": name, "description": description, "sequence": "".join(record.segments)}, record.line


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


class _Lines(Iterator[str]):
    """The lines of a UTF-8 file, decoded one by one so that a message can name the line of a wrong byte.

    Attributes:
        number: of the last line.
    """

    def __init__(self, file: BinaryIO, path: str):
        self.number = 0
        self._file, self._path, self._ahead = file, path, io.BytesIO()

    def __next__(self) -> str:
        raw = self._ahead.readline() or self._file.readline()
        if not raw:
            raise StopIteration
        self.number += 1
        try:
            return raw.decode("utf-8-sig" if self.number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            byte = raw[error.start]
            where = f"{self._path}, line {self.number}"
            raise InputError(f"{where}: not UTF-8 text (byte 0x{byte:02x}); save it as UTF-8") from None

    def read_block(self) -> bytes:
        """Many whole lines, not counted yet."""
        block = self._file.read(_BATCH_BYTES)
        return block if block.endswith(b"\n") else block + self._file.readline()

    def put_back(self, block: bytes) -> None:
        """To be read line by line."""
        self._ahead = io.BytesIO(block)
