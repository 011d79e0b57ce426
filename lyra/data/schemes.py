"""The rules of `--split`. A new one is one more entry of `SPLIT_SCHEMES`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import InputError
from .clusters import cluster
from .positions import Mutations, find_mutations

if TYPE_CHECKING:
    from .arguments import DataArguments
    from .loading import Table
    from .strings import Strings


SPLITS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST, DROPPED = 0, 1, 2, -1  # the split of a row


class Division(NamedTuple):
    """A divided table.

    Attributes:
        splits: of each row its index in `SPLITS`, `DROPPED` for a row that fits into none.
        units: of which new ones are in the test split, as each row has them; None where they are rows.
    """

    splits: np.ndarray
    units: Sequence[str | None] | None = None


Divide = Callable[["Table", "Strings", "DataArguments", list[str]], Division]
Group = Callable[["Table", "Strings", "DataArguments", list[str]], list[str]]


@dataclass(frozen=True)
class Scheme:
    """A rule of `--split`.

    Attributes:
        flags: of the data that it has beside others.
        takes: which of these flags go with it.
        folds: how many it makes where `--folds` does not say.
        divide: what divides a table where that is no random draw, from the table, its sequences, the arguments and the
            notes, to which it adds.
        group: names what a random draw keeps together, from the same.
    """

    flags: tuple[str, ...] = ()
    takes: tuple[str, ...] = ("folds",)
    folds: int | None = None
    divide: Divide | None = None
    group: Group | None = None


def _split_by_positions(
    deal: Callable[[np.ndarray, int, np.random.Generator], list[np.ndarray]],
    singles: bool,
    table: "Table",
    sequences: "Strings",
    args: "DataArguments",
    notes: list[str],
) -> Division:
    """Splits such that no position is mutated in rows of two of them. Rows without mutations are for training; those
    with positions of two splits are dropped.

    Args:
        deal: the positions of each fold, from the sorted positions that are mutated in the table.
        singles: whether it is for single mutants only.

    Raises:
        InputError: if a row has several mutations where it must have one, or the positions are too few.
    """
    flag, folds = f"--split {args.split}", args.folds or 0
    mutations = find_mutations(table, sequences, args.wild_type, flag)
    if singles:
        _check_single(table, mutations, flag)
    positions, counts = np.unique(mutations.positions, return_counts=True)
    if len(positions) < folds + 1:
        needed = f"{flag} with {folds} folds needs at least {folds + 1} mutated positions"
        raise InputError(f"{table.source}: {needed}, the table has {len(positions)}")
    rng = np.random.default_rng(args.split_seed)
    dealt = deal(positions, folds, rng)
    tested = dealt[args.fold_number - 1] if args.fold else positions[:0]
    left = rng.permutation(np.setdiff1d(positions, tested))
    rows_of = dict(zip(positions.tolist(), counts.tolist(), strict=True))
    before = np.cumsum([0, *(rows_of[position] for position in left)])
    validating = max(1, int((before[:-1] < args.validation_fraction * before[-1]).sum()))
    split_of = np.full(positions[-1] + 1, TRAIN, np.int8)
    split_of[tested], split_of[left[:validating]] = TEST, VALIDATION
    splits = _splits_of_rows(mutations, split_of)
    reference = "the most frequent letters" if args.wild_type is None else "--wild_type"
    tests = f"test is fold {args.fold} of {folds}, {(splits == TEST).sum()} rows" if args.fold else "no test rows"
    notes.append(f"split: {args.split}, {tests}; {len(positions)} positions differ from the wild type, {reference}")
    if straddling := (splits == DROPPED).sum():
        notes.append(f"split: {straddling} rows are left out, as they are mutated at positions of different splits")
    return Division(splits, _first_positions(mutations))


def _check_single(table: "Table", mutations: Mutations, flag: str) -> None:
    several = mutations.counts > 1
    if several.any():
        row = int(several.argmax())
        raise InputError(
            f"{table.locations[row]}: {flag} is for single mutants, this one has {mutations.counts[row]} mutations"
        )


def _splits_of_rows(mutations: Mutations, split_of: np.ndarray) -> np.ndarray:
    """The split of each row that is mutated at positions of one split, given that of each position."""
    splits, mutated = np.full(len(mutations.counts), TRAIN, np.int8), mutations.counts > 0
    each = split_of[mutations.positions]
    first, last = (join.reduceat(each, mutations.starts) for join in (np.minimum, np.maximum))
    splits[mutated] = np.where(first == last, first, DROPPED)
    return splits


def _first_positions(mutations: Mutations) -> list[str]:
    """The first mutated position of each row, empty for one without mutations."""
    names = np.array([*map(str, range(mutations.positions.max() + 1)), ""], object)
    first = np.full(len(mutations.counts), -1)
    first[mutations.counts > 0] = mutations.positions[mutations.starts]
    return names[first].tolist()


def _split_by_mutations(table: "Table", sequences: "Strings", args: "DataArguments", notes: list[str]) -> Division:
    """Rows with many mutations become the test split, all others are for training.

    Raises:
        InputError: if no row has more, or none as few.
    """
    flag = "--split mutations"
    counts = find_mutations(table, sequences, args.wild_type, flag).counts
    most = args.train_mutations
    if most is None:  # what comes nearest to the fraction of test rows
        known = np.unique(counts)[:-1]
        if len(known) == 0:
            raise InputError(f"{table.source}: {flag} needs different numbers of mutations, all rows have {counts[0]}")
        most = int(min(known, key=lambda count: abs((counts > count).mean() - args.test_fraction)))
    tested = counts > most
    if not tested.any() or tested.all():
        raise InputError(
            f"{table.source}: the rows have {counts.min()} to {counts.max()} mutations, --train_mutations is {most}"
        )
    notes.append(f"split: mutations, test are the {tested.sum()} rows with more than {most} (--train_mutations)")
    return Division(np.where(tested, TEST, TRAIN).astype(np.int8))


def _group_by_cluster(table: "Table", sequences: "Strings", args: "DataArguments", notes: list[str]) -> list[str]:
    clusters = list(cluster(tuple(sequences), args.identity, args.identity_by))
    found = f"{len(set(clusters))} clusters of sequences with an identity of at least {args.identity:g}"
    notes.append(f"split: {found}, by {args.identity_by}, stay whole")
    return clusters


_by_stretches = partial(_split_by_positions, lambda positions, folds, rng: np.array_split(positions, folds), True)
_by_remainder = partial(
    _split_by_positions, lambda positions, folds, rng: [positions[k::folds] for k in range(folds)], True
)
_by_chance = partial(
    _split_by_positions, lambda positions, folds, rng: np.array_split(rng.permutation(positions), folds), False
)

# The folds of `contiguous` and `modulo` are those of ProteinGym and ProteinNPT (Notin et al. 2023): of the sorted
# positions that are mutated, fold k has the k-th stretch, or every K-th one.
SPLIT_SCHEMES = {
    "random": Scheme(takes=("folds", "group_column", "pair_column")),
    "contiguous": Scheme(("wild_type",), folds=5, divide=_by_stretches),
    "modulo": Scheme(("wild_type",), folds=5, divide=_by_remainder),
    "position": Scheme(("wild_type",), folds=5, divide=_by_chance),
    "mutations": Scheme(("wild_type", "train_mutations"), takes=(), divide=_split_by_mutations),
    "cluster": Scheme(("identity", "identity_by"), takes=("folds", "group_column"), group=_group_by_cluster),
    "column": Scheme(("split_column",), takes=("group_column", "pair_column")),
}
