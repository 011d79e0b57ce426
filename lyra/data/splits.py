"""The split of every row: given, drawn at random or by folds, and checked for leaks."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError, join_quoted
from ..tasks import Task
from .arguments import DataArguments
from .cells import Cell, is_missing
from .columns import Columns
from .labels import IGNORE_INDEX, Labels, class_text, take_labels
from .loading import Table
from .schemes import DROPPED, SPLIT_SCHEMES, SPLITS, TEST, TRAIN, VALIDATION, Division
from .split_files import SPLIT_NAMES
from .strings import Strings

_CODES = {name: SPLITS.index(split) for name, split in SPLIT_NAMES.items()}
_MAX_NAMED = 10
_NONE = -2  # of a cell that names no split


def read_splits(table: Table, columns: Columns, args: DataArguments) -> np.ndarray | None:
    """The splits that the data come with; None if they have none.

    Raises:
        InputError: naming the row whose split is none.
    """
    if args.split == "column" and columns.split is None:
        raise InputError(f"--split column: {table.source} has none with a usual name; --split_column names it")
    if table.splits is not None or columns.split is None:
        return table.splits
    cells = table.rows.column(columns.split)
    if cells.is_missing.all():
        return None
    splits = cells.map(lambda value: _CODES.get(str(value).strip().lower(), _NONE), np.int8)
    if args.split_column is None and (splits == _NONE).all():
        return None  # a `set` or `partition` that means something else
    if (splits == _NONE).any():
        row = int((splits == _NONE).argmax())
        raise InputError(
            f"{Cell(table.locations[row], columns.split)}: expected train, validation or test, got {cells[row]!r}; of "
            "a column of folds --fold says which is the test split"
        )
    return splits


def read_fold(table: Table, columns: Columns, given: str, notes: list[str]) -> np.ndarray:
    """The rows of one fold of a column of folds as the test split.

    Raises:
        InputError: if the table has splits, a row has no fold, or none has this one.
    """
    if table.splits is not None:
        raise InputError(f"{table.source}: --fold needs a table without a split, this one has one")
    fold = class_text(given)
    numbers, values = table.rows.column(columns.split).distinct  # type: ignore[arg-type]
    folds = [class_text(value) for value in values]
    missing = np.array([is_missing(name) for name in folds])[numbers]
    if missing.any():
        cell = Cell(table.locations[int(missing.argmax())], columns.split)  # type: ignore[arg-type]
        raise InputError(f"{cell}: the fold is missing")
    if fold not in folds:
        known = sorted(set(folds), key=lambda name: (len(str(name)), str(name)))[:_MAX_NAMED]
        raise InputError(
            f"--fold: expected a value of column {columns.split!r} such as {join_quoted(known)}, got {fold!r}"
        )
    tested = np.array([name == fold for name in folds])[numbers]
    notes.append(f"split: test is fold {fold} of column {columns.split!r}, {tested.sum()} rows")
    return np.where(tested, TEST, TRAIN).astype(np.int8)


def assign_splits(
    table: Table,
    columns: Columns,
    sequences: Strings,
    labels: Labels,
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
        splits, units = np.zeros(len(sequences), np.int8) if table.splits is None else table.splits.copy(), None
    groups = None if columns.group is None else table.rows.column(columns.group).map(_group, object).tolist()
    clusters = scheme.group and scheme.group(table, sequences, args, notes)
    rows = _blocks(sequences, groups, clusters), _strata(labels, task)
    if table.splits is None and args.split is None:
        kept = "equal sequences" if groups is None else f"equal sequences and rows of one {columns.group!r}"
        notes.append(
            f"split: the table has no column of splits; rows are drawn at random, {kept} together (--split_seed)"
        )
    elif groups is not None and table.splits is not None and (straddling := _straddling(groups, splits)):
        notes.append(f"split: {straddling} values of {columns.group!r} have rows in more than one split of the table")
    if args.fold is not None and args.folds is not None and scheme.divide is None:
        notes.append(_take_fold(args, splits, *rows))
    available = int((splits == TRAIN).sum())
    drawn = [split for split in (TEST, VALIDATION) if not (splits == split).any()]
    if args.learns_all:
        drawn.remove(TEST)
    for number, split in enumerate(drawn):
        wanted = round((args.test_fraction if split == TEST else args.validation_fraction) * available)
        _Draw(*rows, splits, split, args.split_seed).move(max(1, wanted), left=len(drawn) - number)
        found = int((splits == split).sum())
        notes.append(f"split: {found} of the {available} training rows become {SPLITS[split]}, seed {args.split_seed}")
        if groups is not None and not wanted / 2 <= found <= 2 * wanted:
            notes.append(
                f"split: {wanted} rows were wanted for {SPLITS[split]}, and the groups are too large or too few for "
                "that"
            )
    return Division(splits, units or clusters or groups)


def _blocks(sequences: Strings, *groupings: Sequence[str | None] | None) -> np.ndarray:
    """Of each row the first one that stays together with it, as their sequences are equal or their groups are."""
    first = sequences.first_equal
    for keys in filter(None, groupings):
        known: dict[str, int] = {}
        named = [(row, known.setdefault(key, row)) for row, key in enumerate(keys) if key is not None]
        first = _joined(first, np.array(named, np.int64).reshape(-1, 2))
    return first


def _joined(first: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The first row of each component of the graph of `first` and `pairs`."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows = np.arange(len(first))
    starts, ends = np.concatenate([rows, pairs[:, 0]]), np.concatenate([first, pairs[:, 1]])
    graph = coo_array((np.ones(len(starts), np.int8), (starts, ends)), shape=(len(first), len(first)))
    _, component = connected_components(graph, directed=False)
    return np.unique(component, return_index=True)[1][component]


def _strata(labels: Labels, task: Task) -> np.ndarray:
    """The rarest class of each row, also of its residues; of a regression always the same."""
    if task.kind == "regression":
        return np.zeros(len(labels), np.int8)
    if task.per_token:
        found = [_classes(label, task) for label in labels]
        counts = Counter(name for names in found for name in names)
        return np.array([min(names, key=lambda name: (counts[name], name), default=-1) for names in found])
    if task.kind == "classification":
        return np.asarray(labels)
    present = np.asarray(labels).reshape(len(labels), -1) == 1
    by_rarity = np.argsort(present.sum(axis=0), kind="stable")
    return np.where(present.any(axis=1), by_rarity[present[:, by_rarity].argmax(axis=1)], -1)


def _classes(label: Any, task: Task) -> set[int]:
    """The classes of the residues of a row, or their labels that are 1."""
    values = np.asarray(label, dtype=float).reshape(-1, task.num_outputs)
    if task.kind == "classification":
        return {int(value) for value in np.unique(values) if value != IGNORE_INDEX}
    return {int(output) for output in np.flatnonzero((values == 1).any(axis=0))}


def _group(cell: Any) -> str | None:
    return None if is_missing(cell) else class_text(cell)


def _straddling(groups: Sequence[str | None], splits: np.ndarray) -> int:
    """How many groups have rows in more than one split."""
    found = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        if group is not None:
            found[group].add(split)
    return sum(len(each) > 1 for each in found.values())


def _take_fold(args: DataArguments, splits: np.ndarray, first: np.ndarray, strata: np.ndarray) -> str:
    """Makes one of `args.folds` parts of the rows the test split, in place."""
    draw = _Draw(first, strata, splits, TEST, args.split_seed)
    if args.folds > len(draw.sizes):  # type: ignore[operator]
        raise InputError(
            f"--folds: expected at most {len(draw.sizes)}, one per group of rows that stay together, got {args.folds}"
        )
    draw.deal(args.fold_number - 1, args.folds)  # type: ignore[arg-type]
    return f"split: test is fold {args.fold} of {args.folds}, {(splits == TEST).sum()} rows, seed {args.split_seed}"


class _Draw:
    """Moves random training rows to another split, in place.

    Args:
        first: of each row the first one that stays together with it; such rows are a block.
        strata: of each row; of every one about the same share moves.

    Attributes:
        rows: in training.
        block: of each of them, in an order by chance.
        sizes, strata: of the blocks; these are numbered.
    """

    def __init__(self, first: np.ndarray, strata: np.ndarray, splits: np.ndarray, split: int, seed: int):
        self.splits, self.split = splits, split
        self.rows = np.flatnonzero(splits == TRAIN).astype(np.int32)
        start = np.empty(len(first), np.int32)
        start[first[self.rows][::-1]] = self.rows[::-1]  # the last that is written stays: the first row in training
        start = start[first[self.rows]]
        starts = self.rows[start == self.rows]
        np.random.default_rng([seed, split]).shuffle(starts)
        block = np.empty(len(first), np.int32)
        block[starts] = np.arange(len(starts), dtype=np.int32)
        self.block = block[start]
        alone = len(starts) == len(start)  # each row by itself, as a rule
        self.sizes = np.ones(len(starts), np.int32) if alone else np.bincount(start)[starts].astype(np.int32)
        self.strata = self._rarest(strata + 1)  # -1 is none

    def _rarest(self, strata: np.ndarray) -> np.ndarray:
        """The rarest stratum of the rows of each block."""
        if strata.min() == strata.max():
            return np.full(len(self.sizes), strata[0], np.int32)
        by_rarity = np.argsort(np.bincount(strata), kind="stable").astype(np.int32)
        ranks = np.full(len(self.sizes), len(by_rarity), np.int32)
        np.minimum.at(ranks, self.block, np.argsort(by_rarity).astype(np.int32)[strata[self.rows]])
        return by_rarity[ranks]

    def move(self, wanted: int, left: int) -> None:
        """Moves about `wanted` rows.

        Args:
            left: splits that are still to be drawn, with this one; each, and training, is left a block of each stratum.
        """
        blocks = np.bincount(self.strata)
        pooled = np.where(blocks > left, np.arange(len(blocks)), len(blocks)).astype(np.int32)
        strata = pooled[self.strata]  # those that are too small are one
        blocks, rows = np.bincount(strata), np.bincount(strata, weights=self.sizes).astype(np.int64)
        first = np.full(len(blocks), len(strata), np.int32)
        first[strata[::-1]] = np.arange(len(strata), dtype=np.int32)[::-1]  # the last that is written stays
        quotas = _quotas({int(each): int(rows[each]) for each in np.argsort(first) if blocks[each] > left}, wanted)
        for stratum, quota in quotas.items():
            candidates = np.flatnonzero(strata == stratum)
            self._move_from(candidates, quota, most=len(candidates) - left)

    def _move_from(self, blocks: np.ndarray, quota: int, most: int) -> None:
        """Moves about `quota` rows of blocks of one stratum, at most so many blocks, and none far larger."""
        if quota < 1:
            return
        small = blocks[self.sizes[blocks] <= 2 * quota]
        if not len(small):
            small = blocks[[self.sizes[blocks].argmin()]]
        small = small[: min(most, quota)]  # each has a row at least
        before = np.cumsum(self.sizes[small]) - self.sizes[small]
        self._take(small[before < quota])

    def deal(self, fold: int, folds: int) -> None:
        """Moves the rows of one of `folds` parts."""
        self._take(np.argsort(self.strata, kind="stable")[fold::folds])

    def _take(self, blocks: np.ndarray) -> None:
        taken = np.zeros(len(self.sizes), bool)
        taken[blocks] = True
        self.splits[self.rows[taken[self.block]]] = self.split


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


def check_leaks(splits: np.ndarray, sequences: Strings, labels: Labels, drop: bool, notes: list[str]) -> np.ndarray:
    """The splits, with `drop` those of rows whose sequence is also in a later split replaced by `DROPPED`; such rows,
    and conflicting labels, are added to the notes."""
    if (sequences.first_equal == np.arange(len(splits))).all():
        return splits
    used = np.flatnonzero(splits != DROPPED)
    known, number, counts = np.unique(sequences.first_equal[used], return_inverse=True, return_counts=True)
    repeated = used[counts[number] > 1]
    if not len(repeated):
        return splits
    number = number[counts[number] > 1]
    first = np.full(len(known), len(splits))
    np.minimum.at(first, number, repeated)
    if conflicting := len(np.unique(number[_differ(labels, repeated, first[number])])):
        notes.append(f"duplicates: {conflicting} sequences appear in several rows with different labels")
    last = np.zeros(len(known), splits.dtype)
    np.maximum.at(last, number, splits[repeated])
    early = repeated[splits[repeated] < last[number]]
    if len(early):
        done = "dropped" if drop else "kept; --drop_leaked drops them"
        notes.append(f"duplicates: {len(early)} rows have a sequence that is also in a later split ({done})")
    if not drop:
        return splits
    splits = splits.copy()
    splits[early] = DROPPED
    return splits


def _differ(labels: Labels, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether the labels of each row are not those of another one; NaN is equal to NaN."""
    if isinstance(labels, np.ndarray):
        a, b = (labels[each].reshape(len(rows), -1) for each in (rows, others))
        return ~((a == b) | ((a != a) & (b != b))).all(axis=1)
    pairs = ((labels[row], labels[other]) for row, other in zip(rows, others, strict=True))
    return np.array([a != b and str(a) != str(b) for a, b in pairs])


def rows_by_split(
    table: Table,
    task: Task,
    labels: Labels,
    splits: np.ndarray,
    group: str | None,
    notes: list[str],
    without_test: bool = False,
) -> dict[str, np.ndarray]:
    """The indices of the rows of each split; a note says of classes that a split lacks.

    Args:
        without_test: whether there is no test split.

    Raises:
        InputError: if a split is empty or has too few different labels.
    """
    indices = {split: np.flatnonzero(splits == code) for code, split in enumerate(SPLITS)}
    needed_splits = SPLITS[:2] if without_test else SPLITS
    for split in needed_splits:
        if not len(indices[split]):
            needed = "sequences" if group is None else f"values of {group!r}"
            raise InputError(
                f"{table.source}: the {split} split has no rows ({len(table.rows)} rows in the table); "
                f"at least three different {needed} are needed"
            )
    for split in needed_splits:
        joined = _flat(take_labels(labels, indices[split]), task)
        _check_distinct(table, task, joined, split)
        if absent := _absent_classes(task, joined):
            names = join_quoted(absent[:_MAX_NAMED]) + ", ..." * (len(absent) > _MAX_NAMED)
            notes.append(f"split: no {split} row has {'class ' if task.kind == 'classification' else ''}{names}")
    return indices


def _flat(labels: Labels, task: Task) -> np.ndarray:
    """Labels as floats, `(items, outputs)`."""
    if isinstance(labels, np.ndarray):
        return labels.astype(float).reshape(-1, task.num_outputs)
    return np.concatenate([np.asarray(label, dtype=float).reshape(-1, task.num_outputs) for label in labels])


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
