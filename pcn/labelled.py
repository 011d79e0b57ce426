"""From files of jets to features and classes, and to a data set on disk that a Trainer reads in any order."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from tqdm.auto import tqdm

from lyra.errors import InputError

from .columns import AXIS, FLAGS, LABEL_PREFIX, MOMENTUM, TRACK
from .feature_extraction_pcn import FlatJets, PcnFeatureExtractor
from .features_pcn import find_invalid
from .jets import Jets, column_names, read_jets


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
        if self.column is not None:
            values = [_text(value) for value in jets.scalars[self.column].tolist()]
            known = {name: number for number, name in enumerate(self.names)}
            unknown = next((number for number, value in enumerate(values) if value not in known), None)
            if unknown is not None:
                expected = ", ".join(self.names)
                raise InputError(f"{jets.name(unknown)}: {self.column}: expected {expected}, got {values[unknown]!r}")
            return np.array([known[value] for value in values], dtype=np.int64)
        table = np.stack([jets.scalars[LABEL_PREFIX + name] for name in self.names], axis=1)
        wrong = ((table != 0).sum(axis=1) != 1).nonzero()[0]
        if len(wrong):
            raise InputError(f"{jets.name(int(wrong[0]))}: expected one of the columns label_... to be 1")
        return table.argmax(axis=1)


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
        chunks = read_jets(files, lambda name: name == column)
        names = sorted({_text(value) for jets in chunks for value in jets.scalars[column].tolist()})
        hint = f"expected two classes or more in {column}"
    else:
        raise InputError(f"{files[0]}: no column {column!r}, only {', '.join(present)}")
    if len(names) < 2:
        raise InputError(f"{files[0]}: {hint}, got {', '.join(names) or 'none'}")
    return Classes(names, column)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def extract(
    files: Sequence[str], extractor: PcnFeatureExtractor, scalars: bool = False
) -> Iterator[tuple[Jets, FlatJets]]:
    """Features of the jets of some files, chunk by chunk.

    Args:
        scalars: whether to read all columns of jets, and not only those of classes and axes.

    Raises:
        InputError: naming file, jet and particle, for columns that are missing and jets that make no sense.
    """
    for file in files:
        present = column_names(file)
        needed = [*MOMENTUM, *FLAGS] + (list(TRACK) if extractor.missing_tracks == "error" else [])
        if missing := [name for name in needed if name not in present]:
            hint = "; --missing_tracks zero does without" if missing[0] in TRACK else ""
            raise InputError(f"{file}: no column {missing[0]!r}, only {', '.join(present)}{hint}")
        particles = {*MOMENTUM, *FLAGS, *TRACK}
        for jets in read_jets([file], lambda name: name in particles or scalars or not name.startswith("part_")):  # noqa: B023
            yield jets, _features(jets, extractor)


def _features(jets: Jets, extractor: PcnFeatureExtractor) -> FlatJets:
    def columns(names: Sequence[str]) -> np.ndarray:
        return np.stack([jets.particles[name].astype(np.float64) for name in names], axis=1)

    if missing := [name for name in (*MOMENTUM, *FLAGS) if name not in jets.particles]:
        raise InputError(f"{jets.file}: column {missing[0]!r} does not hold lists of particles")
    momenta = columns(MOMENTUM)
    if invalid := find_invalid(momenta, jets.counts):
        jet, particle, reason = invalid
        raise InputError(f"{jets.name(jet)}{'' if particle is None else f', particle {particle + 1}'}: {reason}")
    tracks = columns(TRACK) if set(TRACK) <= jets.particles.keys() else None
    axes = np.stack([jets.scalars[name] for name in AXIS], axis=1) if set(AXIS) <= jets.scalars.keys() else None
    try:
        return extractor.extract(momenta, columns(FLAGS), jets.counts, tracks, axes)
    except ValueError as error:
        raise InputError(f"{jets.file}: from jet {jets.first + 1} on, {error}") from None


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
        for jets, flat in extract(files, extractor):
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
        batch = {}
        for name, size in self.sizes.items():
            values = [torch.tensor(jet[name]).view(-1, size) for jet in jets]  # copies of what cannot be written to
            batch[name] = torch.nn.utils.rnn.pad_sequence(values, batch_first=True)
        counts = torch.tensor([len(jet["points"]) // self.sizes["points"] for jet in jets])
        batch["attention_mask"] = (torch.arange(batch["points"].shape[1]) < counts[:, None]).long()
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
