"""A table that grows batch by batch; where it is large its text goes to files, which are mapped into memory."""

import mmap
import tempfile

import numpy as np
import pyarrow as pa

from .rows import ArrowRows, Rows, concatenate

_LARGE = 1 << 25  # bytes that are kept in memory


class GrowingRows:
    """Rows to which more are added.

    Args:
        place: folder for the files, which have no names and go with the process; by default that of the system.
    """

    def __init__(self, place: str | None = None):
        self.place = place
        self._parts: list[Rows] = []
        self._size = 0
        self._columns: dict[str, _TextColumn] | None = None

    def append(self, rows: Rows) -> None:
        """Adds rows at the end."""
        self._parts.append(rows)
        self._size += rows.values.nbytes if isinstance(rows, ArrowRows) else 0
        if self._size > _LARGE:
            self._write()

    def finish(self) -> Rows:
        """All of them."""
        if self._columns is None:
            return concatenate(self._parts)
        self._write()
        written = ArrowRows(pa.table({name: column.finish() for name, column in self._columns.items()}))
        return concatenate([written, *self._parts]) if self._parts else written

    def _write(self) -> None:
        """Moves what is in memory to the files, if it is text in the same columns."""
        names = self._parts[0].names if self._columns is None else tuple(self._columns)
        if not all(_is_text(part) and part.names == names for part in self._parts):
            return
        if self._columns is None:
            self._columns = {name: _TextColumn(self.place) for name in names}
        for part in self._parts:
            assert isinstance(part, ArrowRows)
            for name, column in self._columns.items():
                for chunk in part.values[name].chunks:
                    column.append(chunk)
        self._parts, self._size = [], 0


def _is_text(rows: Rows) -> bool:
    """Whether all cells are texts, as those of CSV files."""
    return isinstance(rows, ArrowRows) and all(
        pa.types.is_large_string(column.type) and not column.null_count for column in rows.values.columns
    )


class _TextColumn:
    """Letters one text after the other in a file, and where each text ends in another."""

    def __init__(self, place: str | None):
        self._letters, self._ends = (tempfile.TemporaryFile(dir=place) for _ in range(2))  # noqa: SIM115, closed in the end
        self._ends.write(np.zeros(1, np.int64).tobytes())
        self._count = self._size = 0

    def append(self, texts: pa.Array) -> None:
        _, ends, letters = texts.buffers()
        bounds = np.frombuffer(ends, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        self._letters.write(memoryview(letters)[bounds[0] : bounds[-1]])
        self._ends.write((bounds[1:] - bounds[0] + self._size).tobytes())
        self._count, self._size = self._count + len(texts), self._size + int(bounds[-1] - bounds[0])

    def finish(self) -> pa.Array:
        buffers = []
        for file in (self._ends, self._letters):
            file.flush()
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if file.tell() else b""
            buffers.append(pa.py_buffer(mapped))
            file.close()
        return pa.LargeStringArray.from_buffers(self._count, *buffers)
