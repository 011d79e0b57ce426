"""Writing tables: CSV, TSV, JSON lines and Parquet, the text formats also gzipped."""

import csv
import gzip
import io
import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import InputError, one_line
from .rows import Row

# After a sign, letters, digits, gaps and points alone do nothing: `-MKT` is a sequence, `-1.5` a number.
_FORMULA = re.compile(r"[=@\t\r]|[+-].*[^\w.*+ -]", re.DOTALL)


class RowWriter(Protocol):
    """Writes the rows of one table."""

    def write(self, rows: list[Row]) -> None: ...

    def close(self) -> None: ...


class CsvWriter:
    """CSV, or TSV with another delimiter."""

    def __init__(self, path: str, columns: list[str] | None, header: bool, delimiter: str = ","):
        self._file = _open_text(path)
        self.columns, self.header, self.delimiter = columns, header, delimiter
        self._writer: csv.DictWriter | None = None

    def write(self, rows: list[Row]) -> None:
        if self._writer is None:
            columns = self.columns or list(rows[0])
            self._writer = csv.DictWriter(self._file, columns, delimiter=self.delimiter, lineterminator="\n")
            if self.header:
                self._writer.writerow({name: _cell(name) for name in columns})
        for row in rows:
            _check_known(row, self._writer.fieldnames)
            self._writer.writerow({name: _cell(value) for name, value in row.items()})

    def close(self) -> None:
        self._file.close()


class JsonLinesWriter:
    """A JSON object a line; rows may differ in their columns."""

    def __init__(self, path: str, columns: list[str] | None, header: bool):
        self._file = _open_text(path)

    def write(self, rows: list[Row]) -> None:
        self._file.writelines(json.dumps(row, default=_json_scalar) + "\n" for row in rows)

    def close(self) -> None:
        self._file.close()


class ParquetWriter:
    """Parquet; the first rows, unless a schema is given, fix columns and types."""

    def __init__(
        self,
        path: str | os.PathLike,
        columns: list[str] | None = None,
        header: bool = True,
        schema: pa.Schema | None = None,
    ):
        self.path, self._schema = path, schema
        self._writer: pq.ParquetWriter | None = None

    def write(self, rows: list[Row]) -> None:
        self.append(arrow_table(rows))

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


def join_bytes(parts: list[Path], path: str) -> None:
    """Parts of text, one after the other."""
    with _open_binary(path) as file:
        for part in parts:
            with open(part, "rb") as source:
                shutil.copyfileobj(source, file)


def join_parquet(parts: list[Path], path: str) -> None:
    """Parts whose types agree: of a column that is empty in the first part, that of a later one."""
    try:
        schema = pa.unify_schemas([pq.read_schema(part) for part in parts], promote_options="permissive")
    except pa.ArrowException as error:
        raise _changing_type(error) from None
    writer = ParquetWriter(path, schema=schema)
    for part in parts:
        writer.append(pq.read_table(part))
    writer.close()


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


def _changing_type(error: pa.ArrowException) -> InputError:
    return InputError(f"the values of a column change their type ({one_line(error)}); .jsonl output takes such rows")


def _check_known(row: Row, columns: Iterable[str]) -> None:
    if unknown := [name for name in row if name not in columns]:
        raise InputError(
            f"a row has the column {unknown[0]!r}, which the first row does not have; .jsonl output takes such rows"
        )


def _open_text(path: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(_open_binary(path), encoding="utf-8", newline="")


def _open_binary(path: str) -> Any:
    if not path.endswith(".gz"):
        return open(path, "wb")
    # Without name and time inside, so that the same rows are the same file.
    return gzip.GzipFile("", "wb", fileobj=open(path, "wb", buffering=0), mtime=0)


def _cell(value: Any) -> Any:
    """As CSV and TSV have it; after an apostrophe a spreadsheet shows a formula instead of running it."""
    if isinstance(value, (list, tuple)):
        texts = [str(item) for item in value]
        value = ("" if all(len(text) == 1 for text in texts) else " ").join(texts)
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _json_scalar(value: Any) -> Any:
    """A plain number for a NumPy one, without the digits that widening fp32 invents."""
    return float(str(value)) if hasattr(value, "dtype") else str(value)
