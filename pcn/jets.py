"""Files of jets: ROOT, Parquet, HDF5 and NPZ, read some jets at a time."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lyra.errors import InputError, one_line

from .columns import FLAGS, MOMENTUM, TRACK

CHUNK = 10_000  # jets read at a time


class Jets(NamedTuple):
    """Some jets of a file.

    Attributes:
        file: that they are from.
        first: the number of the first in its file, from 0.
        counts: `(jets,)`, their particles.
        particles: the columns of particles, `(particles,)` each, jet by jet.
        scalars: the columns of jets, `(jets,)` each.
    """

    file: Path
    first: int
    counts: np.ndarray
    particles: dict[str, np.ndarray]
    scalars: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.counts)

    def name(self, number: int) -> str:
        """How an error names a jet."""
        return f"{self.file}: jet {self.first + number + 1}"


def read_jets(files: Sequence[str | Path], wanted: Callable[[str], bool]) -> Iterator[Jets]:
    """The jets of some files, in order, in constant memory (NPZ files are read as a whole).

    Args:
        wanted: which columns, by their names.

    Raises:
        InputError: for a file that is missing, damaged or of another kind, or whose columns do not fit each other.
    """
    for file in map(Path, files):
        reader = _reader(file)
        first = 0
        chunks = reader(file, wanted)
        while (chunk := _next(file, chunks)) is not None:
            particles, scalars, counts = chunk
            yield Jets(file, first, counts, particles, scalars)
            first += len(counts)


def column_names(file: str | Path) -> list[str]:
    """The columns of a file."""
    path = Path(file)
    names: list[str] = []
    # A reader asks for each column whether it is wanted; nothing is read when none is.
    _next(path, _reader(path)(path, lambda name: names.append(name) or False))  # type: ignore[func-returns-value]
    return list(dict.fromkeys(names))


def _next(file: Path, chunks: Iterator[Any]) -> Any:
    """The next chunk of a file, None after the last."""
    try:
        return next(chunks, None)
    except InputError:
        raise
    except Exception as error:  # the libraries raise many kinds for damaged files
        raise InputError(f"{file}: cannot be read ({one_line(error)[:200]})") from None


def _reader(file: Path) -> Callable[[Path, Callable[[str], bool]], Iterator[Any]]:
    if file.suffix not in READERS:
        raise InputError(f"{file}: expected a file of jets with a suffix among {', '.join(READERS)}")
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    return READERS[file.suffix]


def _is_particles(name: str) -> bool:
    """Whether a column of lists is one that is known; others, such as of triggers, are not read."""
    return name in (*MOMENTUM, *TRACK, *FLAGS)


_Columns = tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]


def _sort_columns(file: Path, columns: dict[str, tuple[np.ndarray, np.ndarray | None]], rows: int) -> _Columns:
    """Columns of particles and of jets, and the numbers of particles, which must agree."""
    particles, scalars, counts, first = {}, {}, None, ""
    for name, (values, own) in columns.items():
        if own is None:
            scalars[name] = values
            continue
        if counts is None:
            counts, first = own, name
        elif not np.array_equal(counts, own):
            number = int(np.flatnonzero(counts != own)[0])
            raise InputError(f"{file}: {first} has {counts[number]} particles in a jet and {name} has {own[number]}")
        particles[name] = values
    return particles, scalars, np.zeros(rows, dtype=np.int64) if counts is None else counts


def _read_parquet(file: Path, wanted: Callable[[str], bool]) -> Iterator[_Columns]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as source:
        names = [name for name in source.schema_arrow.names if wanted(name)]
        for batch in source.iter_batches(CHUNK, columns=names):
            columns: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                if not pa.types.is_nested(column.type):
                    columns[name] = column.to_numpy(zero_copy_only=False), None
                elif _is_particles(name):
                    if column.null_count or not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
                        raise InputError(f"{file}: column {name}: expected a list of numbers for every jet")
                    columns[name] = column.flatten().to_numpy(zero_copy_only=False), np.diff(column.offsets.to_numpy())
            yield _sort_columns(file, columns, batch.num_rows)


def _read_root(file: Path, wanted: Callable[[str], bool]) -> Iterator[_Columns]:
    try:
        import awkward as ak
        import uproot
    except ImportError as error:
        raise InputError(f"{file}: reading ROOT files needs {error.name}: pip install 'lyra-bio[pcn]'") from None
    with uproot.open(file) as folder:
        trees = [name for name, kind in folder.classnames().items() if kind == "TTree" or kind.endswith("RNTuple")]
        if len({name.partition(";")[0] for name in trees}) != 1:
            raise InputError(f"{file}: expected one tree, got {', '.join(trees) or 'none'}")
        tree = folder[trees[0].partition(";")[0]]  # the last of several cycles
        names = [name for name in tree.keys() if wanted(name)]  # noqa: SIM118, a tree is no dictionary
        for batch in tree.iterate(names, step_size=CHUNK) if names else ():
            columns: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
            for name in names:
                if batch[name].ndim > 1 and _is_particles(name):
                    columns[name] = ak.to_numpy(ak.flatten(batch[name])), ak.to_numpy(ak.num(batch[name]))
                elif batch[name].ndim == 1:
                    columns[name] = ak.to_numpy(batch[name]), None
            yield _sort_columns(file, columns, len(batch))


def _read_hdf5(file: Path, wanted: Callable[[str], bool]) -> Iterator[_Columns]:
    try:
        import h5py
    except ImportError as error:
        raise InputError(f"{file}: reading HDF5 files needs {error.name}: pip install 'lyra-bio[pcn]'") from None
    with h5py.File(file) as source:
        yield from _read_padded(file, {name: data for name, data in source.items() if wanted(name)})


def _read_npz(file: Path, wanted: Callable[[str], bool]) -> Iterator[_Columns]:
    with np.load(file, allow_pickle=False) as source:
        yield from _read_padded(file, {name: source[name] for name in source.files if wanted(name)})


def _read_padded(file: Path, data: dict[str, Any]) -> Iterator[_Columns]:
    """Of datasets `(jets, most particles)`, in which a particle of no energy is padding, and `(jets,)`."""
    shapes = {name: getattr(each, "ndim", 0) for name, each in data.items()}  # a group of HDF5 has none
    data = {name: each for name, each in data.items() if shapes[name] == 1 or (shapes[name] and _is_particles(name))}
    rows = {name: len(each) for name, each in data.items()}
    if len(set(rows.values())) > 1:
        raise InputError(f"{file}: columns of different length: {rows}")
    padded = [name for name, each in data.items() if each.ndim > 1]
    if padded and "part_energy" not in padded:
        raise InputError(f"{file}: expected part_energy, of which zero means padding, got {', '.join(padded)}")
    for begin in range(0, next(iter(rows.values()), 0), CHUNK):
        chunk = {name: np.asarray(each[begin : begin + CHUNK]) for name, each in data.items()}
        real = chunk["part_energy"] != 0 if padded else None
        columns: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
        for name, values in chunk.items():
            if values.ndim == 1:
                columns[name] = values, None
            elif real is None or values.shape != real.shape:
                raise InputError(f"{file}: {name} has the shape {values.shape}, not that of part_energy")
            else:
                columns[name] = values[real], real.sum(axis=1)
        yield _sort_columns(file, columns, len(next(iter(chunk.values()))))


# A format is one function, and its suffix here.
READERS: dict[str, Callable[[Path, Callable[[str], bool]], Iterator[_Columns]]] = {
    ".root": _read_root,
    ".parquet": _read_parquet,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
    ".npz": _read_npz,
}
