"""The split of every row: given, drawn at random or by folds, and checked for leaks."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError, join_quoted
from ..tasks import Task
from .arguments import DataArguments
from .cells import is_missing
from .columns import Columns
from .labels import IGNORE_INDEX, class_text
from .loading import SPLIT_NAMES, Table
from .schemes import SPLIT_SCHEMES, Division

SPLITS = ("train", "validation", "test")
_MAX_NAMED = 10
_POOLED = -2


def read_splits(table: Table, columns: Columns, args: DataArguments) -> list[str] | None:
    """The splits that the data come with; None if they have none.

    Raises:
        InputError: naming the row whose split is none.
    """
    if args.split == "column" and columns.split is None:
        raise InputError(f"--split column: {table.source} has none with a usual name; --split_column names it")
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
            raise InputError(
                f"{location}, column {columns.split!r}: expected train, validation or test, got {value!r}; of a column "
                "of folds --fold says which is the test split"
            )
    return names  # type: ignore[return-value]


def read_fold(table: Table, columns: Columns, given: str, notes: list[str]) -> list[str]:
    """The rows of one fold of a column of folds as the test split.

    Raises:
        InputError: if the table has splits, a row has no fold, or none has this one.
    """
    if table.splits is not None:
        raise InputError(f"{table.source}: --fold needs a table without a split, this one has one")
    fold = class_text(given)
    folds = [class_text(row.get(columns.split)) for row in table.rows]  # type: ignore[arg-type]
    for location, name in zip(table.locations, folds, strict=True):
        if is_missing(name):
            raise InputError(f"{location}, column {columns.split!r}: the fold is missing")
    if fold not in folds:
        known = sorted(set(folds), key=lambda name: (len(str(name)), str(name)))[:_MAX_NAMED]
        raise InputError(
            f"--fold: expected a value of column {columns.split!r} such as {join_quoted(known)}, got {fold!r}"
        )
    notes.append(f"split: test is fold {fold} of column {columns.split!r}, {folds.count(fold)} rows")
    return ["test" if name == fold else "train" for name in folds]


def assign_splits(
    table: Table,
    columns: Columns,
    sequences: list[str],
    labels: list[Any],
    task: Task,
    args: DataArguments,
    notes: list[str],
) -> Division:
    """The split of every row; what was decided is added to the notes.

    Rows that are not yet in a split are drawn at random: equal sequences together, those of a group or cluster
    together, and of every class about the same share.

    Raises:
        InputError: if folds are asked for that cannot be made.
    """
    scheme = SPLIT_SCHEMES[args.split or "random"]
    if scheme.divide is not None:
        splits, units = scheme.divide(table, sequences, args, notes)
    else:
        splits, units = list(table.splits or ["train"] * len(sequences)), None
    groups = None if columns.group is None else [_group(row.get(columns.group)) for row in table.rows]
    clusters = scheme.group and scheme.group(table, sequences, args, notes)
    blocks, strata = _blocks(sequences, groups, clusters), _strata(labels, task)
    if table.splits is None and args.split is None:
        kept = "equal sequences" if groups is None else f"equal sequences and rows of one {columns.group!r}"
        notes.append(
            f"split: the table has no column of splits; rows are drawn at random, {kept} together (--split_seed)"
        )
    elif groups is not None and table.splits is not None and (straddling := _straddling(groups, splits)):
        notes.append(f"split: {straddling} values of {columns.group!r} have rows in more than one split of the table")
    if args.fold is not None and args.folds is not None and scheme.divide is None:
        notes.append(_take_fold(args, splits, blocks, strata))
    available = splits.count("train")
    drawn = [split for split in ("test", "validation") if split not in splits]
    if args.learns_all:
        drawn.remove("test")
    for number, split in enumerate(drawn):
        wanted = round((args.test_fraction if split == "test" else args.validation_fraction) * available)
        draw = _Draw(blocks, strata, splits, split, args.split_seed)
        draw.move(max(1, wanted), left=len(drawn) - number)
        found = splits.count(split)
        notes.append(f"split: {found} of the {available} training rows become {split}, seed {args.split_seed}")
        if groups is not None and not wanted / 2 <= found <= 2 * wanted:
            notes.append(
                f"split: {wanted} rows were wanted for {split}, and the groups are too large or too few for that"
            )
    return Division(splits, units or clusters or groups)


def _blocks(sequences: list[str], *groupings: Sequence[str | None] | None) -> list[list[int]]:
    """The rows that stay together, in the order of their first one: those of equal sequences, and those of a group."""
    parent = list(range(len(sequences)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for keys in ([sequence.upper() for sequence in sequences], *filter(None, groupings)):
        first: dict[str, int] = {}
        for row, key in enumerate(keys):
            if key is not None:
                parent[root(row)] = root(first.setdefault(key, row))
    blocks: dict[int, list[int]] = defaultdict(list)
    for row in range(len(sequences)):
        blocks[root(row)].append(row)
    return list(blocks.values())


def _strata(labels: list[Any], task: Task) -> list[int]:
    """The rarest class of each row, also of its residues; of a regression always the same."""
    if task.kind == "regression":
        return [0] * len(labels)
    found = [_classes(label, task) for label in labels]
    counts = Counter(name for names in found for name in names)
    return [min(names, key=lambda name: (counts[name], name), default=-1) for names in found]


def _classes(label: Any, task: Task) -> set[int]:
    """The classes of a row, or its labels that are 1."""
    values = np.asarray(label, dtype=float).reshape(-1, task.num_outputs)
    if task.kind == "classification":
        return {int(value) for value in np.unique(values) if value != IGNORE_INDEX}
    return {int(output) for output in np.flatnonzero((values == 1).any(axis=0))}


def _group(cell: Any) -> str | None:
    return None if is_missing(cell) else class_text(cell)


def _straddling(groups: list[str | None], splits: list[str]) -> int:
    """How many groups have rows in more than one split."""
    found = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        if group is not None:
            found[group].add(split)
    return sum(len(each) > 1 for each in found.values())


def _take_fold(args: DataArguments, splits: list[str], blocks: list[list[int]], strata: list[int]) -> str:
    """Makes one of `args.folds` parts of the rows the test split, in place."""
    draw = _Draw(blocks, strata, splits, "test", args.split_seed)
    if args.folds > len(draw.blocks):  # type: ignore[operator]
        raise InputError(
            f"--folds: expected at most {len(draw.blocks)}, one per group of rows that stay together, got {args.folds}"
        )
    draw.deal(args.fold_number - 1, args.folds)  # type: ignore[arg-type]
    return f"split: test is fold {args.fold} of {args.folds}, {splits.count('test')} rows, seed {args.split_seed}"


class _Draw:
    """Moves random training rows to another split, in place.

    Args:
        blocks: rows that stay together.
        strata: of each row; of every one about the same share moves.
    """

    def __init__(self, blocks: list[list[int]], strata: list[int], splits: list[str], split: str, seed: int):
        self.splits, self.split = splits, split
        in_training = ([row for row in block if splits[row] == "train"] for block in blocks)
        self.blocks = sorted(filter(None, in_training), key=lambda block: block[0])
        np.random.default_rng([seed, SPLITS.index(split)]).shuffle(self.blocks)
        counts = Counter(strata)
        self.strata = [min((strata[row] for row in block), key=lambda s: (counts[s], s)) for block in self.blocks]

    def move(self, wanted: int, left: int) -> None:
        """Moves about `wanted` rows.

        Args:
            left: splits that are still to be drawn, with this one; each, and training, is left a block of each stratum.
        """
        strata = _pool_small(self.strata, left)
        rows, blocks = Counter[int](), Counter(strata)
        for block, stratum in zip(self.blocks, strata, strict=True):
            rows[stratum] += len(block)
        quotas = _quotas({stratum: rows[stratum] for stratum in rows if blocks[stratum] > left}, wanted)
        for stratum, quota in quotas.items():
            candidates = [block for block, each in zip(self.blocks, strata, strict=True) if each == stratum]
            self._move_from(candidates, quota, most=blocks[stratum] - left)

    def _move_from(self, blocks: list[list[int]], quota: int, most: int) -> None:
        """Moves about `quota` rows of blocks of one stratum, at most so many blocks, and none far larger."""
        if quota < 1:
            return
        small = [block for block in blocks if len(block) <= 2 * quota] or [min(blocks, key=len)]
        moved = 0
        for block in small[:most]:
            if moved >= quota:
                break
            self._take(block)
            moved += len(block)

    def deal(self, fold: int, folds: int) -> None:
        """Moves the rows of one of `folds` parts."""
        order = sorted(range(len(self.blocks)), key=lambda index: self.strata[index])
        for index in order[fold::folds]:
            self._take(self.blocks[index])

    def _take(self, block: list[int]) -> None:
        for row in block:
            self.splits[row] = self.split


def _pool_small(strata: list[int], left: int) -> list[int]:
    """Strata of which those with too few blocks to give one to each split become one."""
    blocks = Counter(strata)
    return [stratum if blocks[stratum] > left else _POOLED for stratum in strata]


def _quotas(rows: dict[int, int], wanted: int) -> dict[int, int]:
    """How many of `wanted` rows are to come from each stratum: its share, and at least one where there is room."""
    total = sum(rows.values())
    shares = {stratum: wanted * count / total for stratum, count in rows.items()}
    quotas = {stratum: int(share) for stratum, share in shares.items()}
    by_remainder = sorted(shares, key=lambda stratum: shares[stratum] - quotas[stratum], reverse=True)
    for stratum in by_remainder[: wanted - sum(quotas.values())]:
        quotas[stratum] += 1
    if wanted >= 2 * len(rows):
        for stratum in [stratum for stratum, quota in quotas.items() if quota == 0]:
            quotas[max(quotas, key=lambda each: quotas[each])] -= 1
            quotas[stratum] = 1
    return quotas


def check_leaks(splits: list[str], sequences: list[str], labels: list[Any], drop: bool, notes: list[str]) -> list[str]:
    """The splits, with `drop` those of rows whose sequence is also in a later split replaced by `"dropped"`; such
    rows, and conflicting labels, are added to the notes."""
    rows: dict[str, list[int]] = defaultdict(list)
    for index, sequence in enumerate(sequences):
        if splits[index] in SPLITS:
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


def rows_by_split(
    table: Table,
    task: Task,
    labels: list[Any],
    splits: list[str],
    group: str | None,
    notes: list[str],
    without_test: bool = False,
) -> dict[str, list[int]]:
    """The indices of the rows of each split; a note says of classes that a split lacks.

    Args:
        without_test: whether there is no test split.

    Raises:
        InputError: if a split is empty or has too few different labels.
    """
    indices = {split: [i for i, s in enumerate(splits) if s == split] for split in SPLITS}
    needed_splits = SPLITS[:2] if without_test else SPLITS
    for split in needed_splits:
        if not indices[split]:
            needed = "sequences" if group is None else f"values of {group!r}"
            raise InputError(
                f"{table.source}: the {split} split has no rows ({len(table.rows)} rows in the table); "
                f"at least three different {needed} are needed"
            )
    for split in needed_splits:
        values = [np.asarray(labels[i], dtype=float).reshape(-1, task.num_outputs) for i in indices[split]]
        joined = np.concatenate(values)
        _check_distinct(table, task, joined, split)
        if absent := _absent_classes(task, joined):
            names = join_quoted(absent[:_MAX_NAMED]) + ", ..." * (len(absent) > _MAX_NAMED)
            notes.append(f"split: no {split} row has {'class ' if task.kind == 'classification' else ''}{names}")
    return indices


def _absent_classes(task: Task, labels: np.ndarray) -> list[str]:
    """The classes, or outputs of a multi-label task, that labels `(items, outputs)` do not have."""
    if task.kind == "regression":
        return []
    if task.kind == "classification":
        return [name for index, name in enumerate(task.names) if not (labels == index).any()]
    return [name for name, values in zip(task.names, labels.T, strict=True) if not (values == 1).any()]


def _check_distinct(table: Table, task: Task, labels: np.ndarray, split: str) -> None:
    """Checks labels `(items, outputs)` of a split."""
    if task.kind == "classification":
        labels[labels == IGNORE_INDEX] = np.nan
    for column, values in zip(task.label_columns, labels.T, strict=True):
        distinct = len(np.unique(values[~np.isnan(values)]))
        if distinct < (2 if split == "train" else 1):
            raise InputError(
                f"{table.source}, column {column!r}: the {split} split has {distinct} distinct label(s), "
                + ("at least two are needed" if split == "train" else "at least one is needed")
            )
