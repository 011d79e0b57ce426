"""What all visitors of the page share: folders, the queue, limits, and models that are loaded."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from ..data.tables import read_rows, table_format
from ..errors import InputError
from .jobs import Queue, mark_interrupted
from .workspace import Workspace


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
        table_format(file)  # no file of flags
        rows = longest = 0
        for _, row in islice(read_rows(file), self.rows + 1):
            rows, longest = rows + 1, max([longest, *(len(str(cell)) for cell in row.values())])
        self.check(rows, longest, Path(file).name)

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
    """

    def __init__(self, root: Path, limits: Limits, hub: bool = True):
        self.workspace, self.limits = Workspace(root, hub), limits
        mark_interrupted(self.workspace.job_folders())
        self.queue = Queue(limits.waiting, 60 * limits.minutes)
        self._load = lru_cache(maxsize=4)(_load)

    def model(self, folder: Path) -> tuple[Any, Any]:
        """A model and its tokenizer, of which the latest ones stay in memory."""
        return self._load(folder, (folder / "config.json").stat().st_mtime_ns)


def _load(folder: Path, version: int) -> tuple[Any, Any]:
    from ..inference.loading import load_on_device

    model, tokenizer, _ = load_on_device(str(folder))
    return model, tokenizer
