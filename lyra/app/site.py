"""What all visitors of the page share: folders, the queue, limits, and models that are loaded."""

import gzip
import re
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from ..data.tables import FORMATS, read_rows, table_format
from ..errors import InputError
from .jobs import Queue, mark_interrupted
from .workspace import Workspace

_UNPACKED = 5  # times the largest upload, of a file that is compressed
_BLOCK = 1 << 20
_LISTED = re.compile(r"[\d,;]")


@dataclass(frozen=True)
class Limits:
    """What a page takes.

    Attributes:
        upload: megabytes of a file.
        rows: of a table.
        length: of a sequence.
        waiting: jobs in the queue.
        minutes: of a job.
    """

    upload: int = 200
    rows: int = 1_000_000
    length: int = 100_000
    waiting: int = 20
    minutes: float = 24 * 60.0

    def check_table(self, file: str) -> None:
        """Raises InputError for a table of sequences that cannot be read or is too large."""
        self.check_size(file)
        rows = longest = 0
        for _, row in islice(read_rows(file), self.rows + 1):
            rows, longest = rows + 1, max([longest, *(len(cell) for cell in row.values() if _may_be_sequence(cell))])
        self.check(rows, longest, Path(file).name)

    def check_size(self, file: str) -> None:
        """Raises InputError for a file of no table, or one that is far larger than it looks; reads none of its rows."""
        table_format(file)
        most = _UNPACKED * self.upload * 10**6
        if _unpacked_size(file, most) > most:
            raise InputError(
                f"{Path(file).name}: larger than {most // 10**6:,} MB when unpacked, the most of this page"
            )

    def check(self, rows: int, longest: int, name: str) -> None:
        """Raises InputError for a table that is too large."""
        if rows > self.rows:
            raise InputError(f"{name}: has {rows:,} rows, this page takes {self.rows:,} at most")
        if longest > self.length:
            raise InputError(f"{name}: has a sequence of {longest:,} letters, this page takes {self.length:,} at most")


class Site:
    """A page's server side.

    Args:
        root: of its folders.
        hub: whether visitors may name models of the Hub.
        token: by which models of the Hub are loaded: None for that of whoever started the page, False for none.
    """

    def __init__(self, root: Path, limits: Limits, hub: bool = True, token: Literal[False] | None = False):
        self.workspace, self.limits = Workspace(root, hub, token), limits
        mark_interrupted(self.workspace.job_folders())
        self.queue = Queue(limits.waiting, 60 * limits.minutes)
        self._load = lru_cache(maxsize=4)(_load)

    def model(self, folder: Path) -> tuple[Any, Any]:
        """A model and its tokenizer, of which the latest ones stay in memory."""
        return self._load(folder, (folder / "config.json").stat().st_mtime_ns)


def _may_be_sequence(cell: Any) -> bool:
    """Whether a cell counts; a list of labels has digits or commas."""
    return isinstance(cell, str) and not _LISTED.search(cell)


def _unpacked_size(file: str, most: int) -> int:
    """The bytes of a table that memory will see, counted no further than `most`."""
    path, name = Path(file), file.lower()
    try:
        if name.endswith(".gz"):
            with gzip.open(path, "rb") as stream:
                return sum(takewhile(bool, (len(stream.read(_BLOCK)) for _ in range(most // _BLOCK + 2))))
        if name.endswith(".xlsx"):
            with zipfile.ZipFile(path) as parts:
                return sum(part.file_size for part in parts.infolist())
        if table_format(file) is FORMATS["parquet"]:
            groups = pq.read_metadata(path)
            return sum(groups.row_group(i).total_byte_size for i in range(groups.num_row_groups))
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, pa.ArrowException):
        pass  # what is wrong with it is said when its rows are read
    return path.stat().st_size


def _load(folder: Path, version: int) -> tuple[Any, Any]:
    from ..inference.loading import load_on_device

    model, tokenizer, _ = load_on_device(str(folder))
    return model, tokenizer
