"""The split of every row: given, drawn at random or by folds, and checked for leaks."""

from collections import defaultdict
from typing import Any

import numpy as np

from ..errors import InputError
from ..tasks import Task
from .arguments import DataArguments
from .columns import Columns
from .labels import IGNORE_INDEX, is_missing
from .loading import SPLIT_NAMES, Table

SPLITS = ("train", "validation", "test")


def read_splits(table: Table, columns: Columns, args: DataArguments) -> list[str] | None:
    """The splits that the data come with; None if they have none.

    Raises:
        InputError: naming the row whose split is none.
    """
    if table.splits is not None or columns.split is None:
        return table.splits
    values = [row.get(columns.split) for row in table.rows]
    if all(is_missing(value) for value in values):
        return None
    names = [SPLIT_NAMES.get(str(value).strip().lower()) for value in values]
    if args.split_column is None and not any(names):
        return None  # a `set` or `partition` that means something else
    for location, value, name in zip(table.locations, values, names, strict=True):
        if name is None:
            raise InputError(f"{location}, column {columns.split!r}: expected train, validation or test, got {value!r}")
    return names  # type: ignore[return-value]


def assign_splits(table: Table, sequences: list[str], args: DataArguments, notes: list[str]) -> list[str]:
    """The split of every row; what was decided is added to the notes.

    Raises:
        InputError: if folds are asked for that cannot be made.
    """
    splits = list(table.splits or ["train"] * len(sequences))
    if table.splits is None:
        notes.append("split: the table has none; rows are drawn at random, equal sequences together (--split_seed)")
    if args.folds is not None:
        notes.append(_take_fold(table, args, splits, sequences))
    available = splits.count("train")
    for split, fraction in (("test", args.test_fraction), ("validation", args.validation_fraction)):
        if split not in splits:
            _sample_split(splits, sequences, split, round(fraction * available), args.split_seed)
            notes.append(
                f"split: {splits.count(split)} of the {available} training rows become {split}, seed {args.split_seed}"
            )
    return splits


def _take_fold(table: Table, args: DataArguments, splits: list[str], sequences: list[str]) -> str:
    """Makes one of `args.folds` parts of the rows the test split, in place."""
    if "test" in splits or "validation" in splits:
        raise InputError(f"{table.source}: --folds needs a table without a split, this one has one")
    groups = _shuffled_groups(splits, sequences, args.split_seed, "test")
    if args.folds > len(groups):  # type: ignore[operator]
        raise InputError(f"--folds: expected at most {len(groups)}, one per different sequence, got {args.folds}")
    for indices in groups[args.fold - 1 :: args.folds]:  # type: ignore[operator]
        for index in indices:
            splits[index] = "test"
    return f"split: test is fold {args.fold} of {args.folds}, {splits.count('test')} rows, seed {args.split_seed}"


def _sample_split(splits: list[str], sequences: list[str], split: str, wanted: int, seed: int) -> None:
    """Moves about `wanted` random training rows to another split, equal sequences together, in place."""
    moved = 0
    for indices in _shuffled_groups(splits, sequences, seed, split):
        if moved >= max(1, wanted):
            break
        for index in indices:
            splits[index] = split
        moved += len(indices)


def _shuffled_groups(splits: list[str], sequences: list[str], seed: int, split: str) -> list[list[int]]:
    """The training rows, those of equal sequences together, in random order."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, sequence in enumerate(sequences):
        if splits[index] == "train":
            groups[sequence.upper()].append(index)
    keys = list(groups)
    np.random.default_rng([seed, SPLITS.index(split)]).shuffle(keys)
    return [groups[key] for key in keys]


def check_leaks(splits: list[str], sequences: list[str], labels: list[Any], drop: bool, notes: list[str]) -> list[str]:
    """The splits, with `drop` those of rows whose sequence is also in a later split replaced by `"dropped"`; such
    rows, and conflicting labels, are added to the notes."""
    rows: dict[str, list[int]] = defaultdict(list)
    for index, sequence in enumerate(sequences):
        rows[sequence.upper()].append(index)
    repeated = [indices for indices in rows.values() if len(indices) > 1]
    conflicting = [indices for indices in repeated if any(not _same(labels[i], labels[indices[0]]) for i in indices)]
    if conflicting:
        notes.append(f"duplicates: {len(conflicting)} sequences appear in several rows with different labels")
    splits = list(splits)
    leaked = 0
    for indices in repeated:
        last = max(SPLITS.index(splits[i]) for i in indices)
        early = [i for i in indices if SPLITS.index(splits[i]) < last]
        leaked += len(early)
        if drop:
            for i in early:
                splits[i] = "dropped"
    if leaked:
        done = "dropped" if drop else "kept; --drop_leaked drops them"
        notes.append(f"duplicates: {leaked} rows have a sequence that is also in a later split ({done})")
    return splits


def _same(a: Any, b: Any) -> bool:
    return a == b or str(a) == str(b)  # str, because NaN marks an unmeasured residue


def rows_by_split(table: Table, task: Task, labels: list[Any], splits: list[str]) -> dict[str, list[int]]:
    """The indices of the rows of each split.

    Raises:
        InputError: if a split is empty or has too few different labels.
    """
    indices = {split: [i for i, s in enumerate(splits) if s == split] for split in SPLITS}
    for split in SPLITS:
        if not indices[split]:
            raise InputError(
                f"{table.source}: the {split} split has no rows ({len(table.rows)} rows in the table); "
                "at least three different sequences are needed"
            )
    for split in SPLITS:
        values = [np.asarray(labels[i], dtype=float).reshape(-1, task.num_outputs) for i in indices[split]]
        _check_distinct(table, task, np.concatenate(values), split)
    return indices


def _check_distinct(table: Table, task: Task, labels: np.ndarray, split: str) -> None:
    """Checks labels `(items, outputs)` of a split."""
    if task.kind == "classification":
        labels[labels == IGNORE_INDEX] = np.nan
    for column, values in zip(task.label_columns, labels.T, strict=True):
        distinct = len(np.unique(values[~np.isnan(values)]))
        if distinct < (2 if split == "train" else 1):
            raise InputError(
                f"{table.source}, column {column!r}: the {split} split has {distinct} different labels, "
                + ("at least two are needed" if split == "train" else "at least one is needed")
            )
