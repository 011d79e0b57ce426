"""From files of jets to features and classes, and to a data set on disk that a Trainer reads in any order."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from tqdm.auto import tqdm

from lyra.errors import InputError

from .columns import AXIS, FLAGS, LABEL_PREFIX, MOMENTUM, TRACK
from .feature_extraction_pcn import FlatJets, PcnFeatureExtractor, pad_jets
from .features_pcn import InvalidJetError
from .jets import Jets, column_names, read_jets

_MOST_CLASSES = 100


class Classes(NamedTuple):
    """Where the class of a jet is written.

    Attributes:
        names: of the classes, in the order of the model's outputs.
        column: that has the name; None for a column `label_NAME` of each.
    """

    names: list[str]
    column: str | None

    def numbers(self, jets: Jets) -> np.ndarray:
        """The classes of jets, `(jets,)`.

        Raises:
            InputError: for a jet of none of them, or of several.
        """
        if missing := [name for name in self.columns() if name not in jets.scalars]:
            raise InputError(f"{jets.file}: no column {missing[0]!r} with a class for each jet; see --label_column")
        if self.column is not None:
            values = [_text(value) for value in jets.scalars[self.column].tolist()]
            known = {name: number for number, name in enumerate(self.names)}
            unknown = next((number for number, value in enumerate(values) if value not in known), None)
            if unknown is not None:
                expected = ", ".join(self.names)
                raise InputError(f"{jets.name(unknown)}: {self.column}: expected {expected}, got {values[unknown]!r}")
            return np.array([known[value] for value in values], dtype=np.int64)
        table = np.stack([jets.scalars[name] for name in self.columns()], axis=1)
        if table.dtype.kind not in "biuf":
            raise InputError(f"{jets.file}: columns {LABEL_PREFIX}...: expected zeros and ones, got {table.dtype}")
        right = np.isin(table, (0, 1)).all(axis=1) & (table.sum(axis=1) == 1)
        if not right.all():
            wrong = int(np.flatnonzero(~right)[0])
            raise InputError(f"{jets.name(wrong)}: expected one of the columns label_... to be 1, the others 0")
        return table.argmax(axis=1)

    def columns(self) -> list[str]:
        """The columns that say it."""
        return [LABEL_PREFIX + name for name in self.names] if self.column is None else [self.column]


def find_classes(files: Sequence[str], column: str | None) -> Classes:
    """The classes of labelled jets.

    Raises:
        InputError: if there are fewer than two, or no such column.
    """
    present = column_names(files[0])
    if column is None:
        names = [name.removeprefix(LABEL_PREFIX) for name in present if name.startswith(LABEL_PREFIX)]
        hint = "expected columns label_NAME, one for each class, or --label_column"
    elif column in present:
        found: set[str] = set()
        for jets in read_jets(files, lambda name: name == column):
            if column not in jets.scalars:
                raise InputError(f"{jets.file}: column {column!r} does not have one value for each jet")
            found |= {_text(value) for value in jets.scalars[column].tolist()}
        names = sorted(found)
        hint = f"expected two classes or more in {column}"
    else:
        raise InputError(f"{files[0]}: no column {column!r}, only {', '.join(present)}")
    if len(names) < 2:
        raise InputError(f"{files[0]}: {hint}, got {', '.join(names) or 'none'}")
    if len(names) > _MOST_CLASSES:
        raise InputError(f"{files[0]}: {column or 'label_...'}: expected classes, got {len(names)} different values")
    if wrong := [name for name in names if not name.strip() or not name.isprintable() or "|" in name or name == "nan"]:
        raise InputError(f"{files[0]}: expected names of classes, got {wrong[0]!r}")
    return Classes(names, column)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def extract(
    files: Sequence[str], extractor: PcnFeatureExtractor, is_wanted: Callable[[str], bool] = lambda name: False
) -> Iterator[tuple[Jets, FlatJets]]:
    """Features of the jets of some files, chunk by chunk.

    Args:
        is_wanted: what columns of jets to read besides; by default none.

    Raises:
        InputError: naming file, jet and particle, for columns that are missing and jets that make no sense.
    """
    tracks = TRACK if extractor.missing_tracks == "error" else ()
    needed = {*MOMENTUM, *FLAGS, *tracks}
    for file in files:
        present = column_names(file)
        if missing := [name for name in (*MOMENTUM, *FLAGS, *tracks) if name not in present]:
            hint = "; --missing_tracks zero does without" if missing[0] in TRACK else ""
            raise InputError(f"{file}: no column {missing[0]!r}, only {', '.join(present)}{hint}")
        for jets in read_jets([file], lambda name: name in needed or name in AXIS or is_wanted(name)):
            yield jets, _features(jets, extractor, tracks)


def _features(jets: Jets, extractor: PcnFeatureExtractor, tracks: Sequence[str]) -> FlatJets:
    def columns(source: dict[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
        for name in names:
            if name not in source:
                raise InputError(f"{jets.file}: column {name!r} does not hold lists of particles")
            if source[name].dtype.kind not in "biuf":
                raise InputError(f"{jets.file}: column {name!r}: expected numbers, got {source[name].dtype}")
        return np.stack([source[name].astype(np.float64) for name in names], axis=1)

    axes = columns(jets.scalars, AXIS) if set(AXIS) <= jets.scalars.keys() else None
    parts = (columns(jets.particles, MOMENTUM), columns(jets.particles, FLAGS))
    impact = columns(jets.particles, tracks) if tracks else None
    try:
        return extractor.extract(*parts, jets.counts, impact, axes)
    except InvalidJetError as error:
        raise InputError(f"{jets.name(error.jet)}{error.place}: {error.reason}") from None


def store(files: Sequence[str], extractor: PcnFeatureExtractor, classes: Classes, target: Path) -> tuple[Dataset, int]:
    """Writes features and classes to an Arrow file, which is read a jet at a time; memory does not grow with it.

    Returns:
        the data set with columns `features`, `points` (flat) and `labels`; and how many particles were cut.
    """
    numbers = pa.list_(pa.float32())
    schema = pa.schema({"features": numbers, "points": numbers, "labels": pa.int64()})
    cut = 0
    bar = tqdm(desc="reading", unit=" jets")
    with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer, bar:
        for jets, flat in extract(files, extractor, lambda name: name in classes.columns()):
            columns = [_lists(flat.features, flat.counts), _lists(flat.points, flat.counts)]
            writer.write_batch(pa.record_batch([*columns, pa.array(classes.numbers(jets))], schema=schema))
            cut += int(flat.cut.sum())
            bar.update(len(jets))
    return Dataset.from_file(str(target)).with_format("numpy"), cut


def _lists(values: np.ndarray, counts: np.ndarray) -> pa.Array:
    """A list of `particles * columns` numbers for each jet."""
    offsets = np.concatenate([[0], np.cumsum(counts * values.shape[1])]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.reshape(-1)))


class JetCollator:
    """Pads the jets of a batch to the longest.

    Args:
        feature_size, point_size: numbers of a particle in each.
    """

    def __init__(self, feature_size: int, point_size: int):
        self.sizes = {"features": feature_size, "points": point_size}

    def __call__(self, jets: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        parts = {name: [np.reshape(jet[name], (-1, size)) for jet in jets] for name, size in self.sizes.items()}
        counts = np.array([len(points) for points in parts["points"]])
        features, points = (np.concatenate(each) for each in parts.values())
        padded = pad_jets(FlatJets(features, points, counts, np.zeros_like(counts)))
        batch = {name: torch.from_numpy(values) for name, values in padded.items()}
        if "labels" in jets[0]:
            batch["labels"] = torch.tensor([int(jet["labels"]) for jet in jets])
        return batch


def in_batches(flat: FlatJets, size: int) -> Iterator[FlatJets]:
    """Some jets at a time."""
    ends = np.cumsum(flat.counts)
    for begin in range(0, len(ends), size):
        end = min(begin + size, len(ends))
        rows = slice(ends[begin] - flat.counts[begin], ends[end - 1])
        yield FlatJets(flat.features[rows], flat.points[rows], flat.counts[begin:end], flat.cut[begin:end])
