"""Which column of a table is what, by the names that people use."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError, join_quoted
from .arguments import DataArguments
from .cells import is_missing, parse_number
from .loading import Table

# In any case; the first one found is taken.
SEQUENCE_COLUMNS = (
    "sequence",
    "seq",
    "mutated_sequence",
    "protein_sequence",
    "aa_sequence",
    "dna_sequence",
    "rna_sequence",
    "primary",
    "protein",
    "peptide",
    "dna",
    "rna",
)
PAIR_COLUMNS = ("guide", "partner", "pair", "spacer")
LABEL_COLUMNS = (
    "label",
    "labels",
    "score",
    "fitness",
    "target",
    "dms_score",
    "value",
    "measurement",
    "activity",
    "log_fluorescence",
    "y",
    "class",
)
SPLIT_COLUMNS = ("split", "set", "partition")
MASK_COLUMNS = ("label_mask", "mask", "resolved")
SCORED_COLUMNS = ("seq_scored", "scored_residues")
_SAMPLED_ROWS = 200
_SHORTEST_SEQUENCE = 8  # shorter text may be a word


@dataclass(frozen=True)
class Columns:
    """The columns of a training table.

    Attributes:
        all: every column, in the order in which they appear.
        sequences: the column of sequences, and of pairs that of the second ones.
        labels: at least one.
        split, mask: None where there is none; of a column that was only detected by its name, the values decide later
            whether it is one.
        scored: of the number of residues with labels; None where there is none.
        scored_number: this number, where it is the same for all rows.
        group: of what must stay in one split.
        extra: of numbers that the model reads beside each sequence.
    """

    all: tuple[str, ...]
    sequences: tuple[str, ...]
    labels: tuple[str, ...]
    split: str | None
    mask: str | None
    scored: str | None = None
    scored_number: int | None = None
    group: str | None = None
    extra: tuple[str, ...] = ()

    @property
    def unused_labels(self) -> list[str]:
        """Columns that have the name of a label and are none."""
        return [column for column in self.all if _plain(column) in LABEL_COLUMNS and column not in self.labels]


def find_columns(table: Table, args: DataArguments) -> Columns:
    """Finds the columns of a training table.

    Raises:
        InputError: naming the flag of a column that is missing or named twice.
    """
    source = table.source
    names = table.rows.names
    sequence = find_column(source, names, args.sequence_column, SEQUENCE_COLUMNS, "sequence")
    sequences: tuple[str, ...] = (sequence,)
    if args.pair_column is not None:
        sequences = (sequence, find_column(source, names, args.pair_column, (), "pair"))
        if args.pair_column == sequence:
            raise InputError(f"--pair_column: {sequence!r} is the sequence column")
    wanted: list[str | None] = [*args.label_columns] if args.label_columns else [None]
    labels = tuple(find_column(source, names, name, LABEL_COLUMNS, "label", "--label_columns") for name in wanted)
    for column in labels:
        if column == sequence or labels.count(column) > 1:
            raise InputError(f"--label_columns: {column!r} is the sequence column or named twice")
    split = find_optional(source, names, args.split_column, SPLIT_COLUMNS, "split")
    mask = find_optional(source, names, args.mask_column, MASK_COLUMNS, "mask")
    number = int(args.scored_residues) if args.scored_residues and args.scored_residues.isdecimal() else None
    wanted_scored = args.scored_residues if number is None else None
    scored = find_optional(source, names, wanted_scored, SCORED_COLUMNS, "scored", "--scored_residues")
    group = find_optional(source, names, args.group_column, (), "group")
    extra = tuple(
        find_column(source, names, name, (), "feature", "--feature_columns") for name in args.feature_columns or ()
    )
    for column in extra:
        if column in (*sequences, *labels) or extra.count(column) > 1:
            raise InputError(f"--feature_columns: {column!r} is a column of sequences or labels, or named twice")
    return Columns(names, sequences, labels, split, mask, scored if number is None else None, number, group, extra)


def unused_columns(table: Table, columns: Columns, conditions: Sequence[str]) -> list[str]:
    """Notes on columns that were not used and look like sequences, folds or numbers.

    Args:
        conditions: of `--where`, which use a column.
    """
    used = {
        *columns.sequences,
        *columns.labels,
        columns.split,
        columns.mask,
        columns.scored,
        columns.group,
        *columns.extra,
    }
    used |= {column for column in columns.all if any(each.strip().startswith(column) for each in conditions)}
    others = [column for column in columns.all if column not in used and column not in columns.unused_labels]
    rows = table.rows[:_SAMPLED_ROWS]
    kinds: dict[str, list[str]] = {"sequences": [], "folds": [], "numbers": []}
    for column in others:
        cells = [row.get(column) for row in rows if not is_missing(row.get(column))]
        if len(set(map(str, cells))) < 2:
            continue
        if all(_is_sequence(cell) for cell in cells):
            kinds["sequences"].append(column)
        elif all(parse_number(cell) is not None for cell in cells):
            kinds["folds" if "fold" in _plain(column) else "numbers"].append(column)
    flags = {
        "sequences": "--pair_column",
        "folds": "--split_column and --fold",
        "numbers": "--label_columns or --feature_columns",
    }
    return [
        f"columns: {kind} that are not used: {join_quoted(names)} ({flags[kind]})"
        for kind, names in kinds.items()
        if names
    ]


def _is_sequence(cell: object) -> bool:
    text = cell if isinstance(cell, str) else ""
    return len(text) >= _SHORTEST_SEQUENCE and bool(re.fullmatch(r"[A-Z*-]+|[acgtun]+", text))


def find_column(
    source: str, columns: Sequence[str], given: str | None, usual: tuple[str, ...], what: str, flag: str | None = None
) -> str:
    """The column that the user named, or the first one with a usual name (in any case).

    Args:
        what: the kind of column, for the message; `flag`: what names it on the command line, `--<what>_column`.

    Raises:
        InputError: if there is none.
    """
    flag = flag or f"--{what}_column"
    if given is not None:
        if given not in columns:
            raise InputError(f"{source}: no column {given!r} ({flag}), only {join_quoted(columns)}")
        return given
    by_name = {_plain(column): column for column in reversed(columns)}
    for name in usual:
        if name in by_name:
            return by_name[name]
    raise InputError(
        f"{source}: no {what} column among {join_quoted(columns)}; expected one named {', '.join(usual)}, or {flag}"
    )


def find_optional(
    source: str, columns: Sequence[str], given: str | None, usual: tuple[str, ...], what: str, flag: str | None = None
) -> str | None:
    """As `find_column`, but None where the user named none and none has a usual name."""
    found = given is not None or set(map(_plain, columns)) & set(usual)
    return find_column(source, columns, given, usual, what, flag) if found else None


def _plain(column: str) -> str:
    return column.lower().strip()
