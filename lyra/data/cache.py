"""Prepared data in files while a run lasts, mapped into memory; of several processes of a machine, one prepares it."""

import mmap
import pickle
import shutil
import socket
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState

from ..errors import InputError
from ..files import CACHE
from .arguments import DataArguments
from .preparation import CheckedData, Prepared, check, encode

_OBJECTS, _ARRAYS, _ENDS = "objects.pickle", "arrays.bin", "ends.npy"


class Cache:
    """A folder for prepared data; used as a context, at whose end it is removed.

    Args:
        place: where the folder is made; several machines that share it have one each.
    """

    def __init__(self, place: Path):
        self.folder = place / f"{CACHE}-{socket.gethostname()}"
        self._numbers = count()
        self._is_first = PartialState().is_local_main_process  # asked now, as the processes part before the end

    def __enter__(self) -> "Cache":
        self._remove()  # what a run that was killed left
        return self

    def __exit__(self, *exception: object) -> None:
        self._remove()

    def _remove(self) -> None:
        if self._is_first:
            shutil.rmtree(self.folder, ignore_errors=True)  # Windows keeps files that are mapped

    def prepare(self, args: DataArguments, data: CheckedData | None = None) -> Prepared:
        """What [`lyra.data.prepare`] gives, with its encoded sequences in a file; to be called by all processes.

        Args:
            data: what `check(args)` gave, where that was called before.

        Raises:
            InputError: for anything wrong with the arguments or the data.
        """
        state, part = PartialState(), self.folder / str(next(self._numbers))
        if state.num_processes == 1:
            return _prepared(args, data, part)
        if self._is_first:
            try:
                _write(_prepared(args, data, part), part)
            except InputError as error:
                _write(error, part)
        state.wait_for_everyone()
        found = _read(part)
        if isinstance(found, InputError):
            raise found
        return found


def _prepared(args: DataArguments, data: CheckedData | None, folder: Path) -> Prepared:
    folder.mkdir(parents=True)
    return encode(check(args) if data is None else data, folder)


def _write(value: Any, folder: Path) -> None:
    """An object, its arrays apart from it."""
    buffers: list[pickle.PickleBuffer] = []
    with open(folder / _OBJECTS, "wb") as file:
        pickle.dump(value, file, protocol=5, buffer_callback=buffers.append)
    with open(folder / _ARRAYS, "wb") as file:
        ends = [0]
        for buffer in buffers:
            file.write(buffer.raw())
            ends.append(file.tell())
    np.save(folder / _ENDS, ends)


def _read(folder: Path) -> Any:
    """It again; its arrays are those of the file, which the processes share."""
    ends = np.load(folder / _ENDS).tolist()
    with open(folder / _ARRAYS, "rb") as file:
        arrays = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if ends[-1] else b"")
    return pickle.loads((folder / _OBJECTS).read_bytes(), buffers=[arrays[start:end] for start, end in pairwise(ends)])
