"""From a table of sequences and measurements to a checked, split and encoded `datasets.DatasetDict`.

`prepare` is the whole way: load the rows, find the columns, the alphabet and the task, check every cell, split, encode.
Whatever it decides by itself it says in `Prepared.notes`; whatever is wrong raises an `InputError` that names file, row
and column before anything is written.
"""

import hashlib
import json
import operator
import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Sequence, Value, load_dataset
from datasets import config as datasets_config
from transformers import PreTrainedTokenizerBase

from .alphabet_lyra import Alphabet, get_alphabet
from .labels import (
    TASKS,
    Task,
    above_threshold,
    detect_task,
    is_mask,
    is_missing,
    parse_labels,
    parse_number,
    read_masks,
)
from .modeling_lyra import IGNORE_INDEX
from .tables import (
    SUFFIXES,
    InputError,
    Place,
    Row,
    Table,
    file_sha256,
    header_fields,
    listed,
    one_line,
    read_rows,
    table_format,
)
from .tokenization_lyra import LyraTokenizer

SPLITS = ("train", "validation", "test")
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
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
_MOST = 0.9  # DNA and RNA are recognised by this share of plain letters
_MISSING_SEQUENCES = ("nan", "NaN", "None", "null")  # as programs write them; NA and NAN are peptides


@dataclass
class DataArguments:
    """What to train on, and how to read it."""

    data: str = field(
        metadata={"help": "Table (CSV, TSV, JSONL, Parquet, FASTA, each also .gz), folder of split files, or Hub id."}
    )
    data_config: str | None = field(default=None, metadata={"help": "Configuration of a Hub data set."})
    labels: str | None = field(
        default=None, metadata={"help": "Second table with the labels, joined by its id column (for FASTA)."}
    )
    id_column: str = field(default="id", metadata={"help": "Column that joins --labels to the sequences."})
    sequence_column: str | None = field(default=None, metadata={"help": "Column of sequences; found by its name."})
    label_columns: list[str] | None = field(
        default=None, metadata={"help": "Column of labels, or several for several outputs; found by its name."}
    )
    split_column: str | None = field(default=None, metadata={"help": "Column of train/validation/test; found by name."})
    mask_column: str | None = field(
        default=None, metadata={"help": "Column with a 0 for each residue without a label; found by its name."}
    )
    alphabet: str | None = field(
        default=None,
        metadata={
            "help": "protein, dna, rna, one of them with letters read as others (protein,J=-), dna+dna for pairs, or "
            "the letters of a custom alphabet; found from the data."
        },
    )
    task: str | None = field(default=None, metadata={"help": "What to learn; found from the labels.", "choices": TASKS})
    pair_column: str | None = field(
        default=None,
        metadata={"help": "Column of sequences aligned to the first ones, a guide under its target, say."},
    )
    pair_offset: int = field(
        default=0, metadata={"help": "Position of the first sequence under which the aligned one begins."}
    )
    where: list[str] | None = field(
        default=None, metadata={"help": "Rows to keep, as column=value, !=, <, <=, > or >=; all of them must hold."}
    )
    label_threshold: float | None = field(
        default=None, metadata={"help": "Learn whether a label is above this number."}
    )
    unknown: str = field(
        default="error",
        metadata={"help": "Characters outside the alphabet: stop, or read as <unk>.", "choices": ("error", "token")},
    )
    validation_fraction: float = field(default=0.1, metadata={"help": "Share of rows to select on, where not given."})
    test_fraction: float = field(default=0.1, metadata={"help": "Share of rows to score once, where not given."})
    split_seed: int = field(default=0, metadata={"help": "Seed of the random split."})
    folds: int | None = field(
        default=None, metadata={"help": "Parts of a table without a split, one of which is the test split (--fold)."}
    )
    fold: int | None = field(default=None, metadata={"help": "Which part is the test split, from 1."})
    drop_leaked: bool = field(
        default=False, metadata={"help": "Drop training and validation rows whose sequence is also in a later split."}
    )

    def __post_init__(self):
        for name in ("validation_fraction", "test_fraction"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"--{name}: expected a number between 0 and 1, got {getattr(self, name)}")
        if self.validation_fraction + self.test_fraction >= 1:
            raise InputError("--validation_fraction and --test_fraction: expected a sum below 1")
        if (self.folds is None) != (self.fold is None):
            raise InputError("--folds and --fold: expected both or neither")
        if self.folds is not None and not 1 <= self.fold <= self.folds >= 2:  # type: ignore[operator]
            raise InputError(f"--folds and --fold: expected 2 or more, and one of them, got {self.folds}, {self.fold}")
        if self.pair_offset < 0 or (self.pair_offset and self.pair_column is None):
            raise InputError(f"--pair_offset: expected at least 0, and --pair_column with it, got {self.pair_offset}")
        if self.alphabet is not None:
            try:
                get_alphabet(self.alphabet)
            except ValueError as error:
                raise InputError(f"--alphabet: {error}") from None


@dataclass
class Prepared:
    """Checked data, ready to train on.

    Attributes:
        tokenizer: reads the sequences.
        sequences: the sequences of each split, without white space; pairs as `tokenizer.align` writes them.
        dataset: `input_ids` and `labels` of each split, in the same order.
        rows: the original rows of each split, in the same order.
        notes: what was found or decided, a line each.
    """

    task: Task
    tokenizer: LyraTokenizer
    sequences: dict[str, list[str]]
    dataset: DatasetDict
    rows: dict[str, list[Row]]
    sha256: str
    source: str
    notes: list[str]

    def labels(self, split: str) -> np.ndarray:
        """The labels of a split, `(items,)` or `(items, outputs)`, where an item is a sequence or a residue."""
        labels = [np.asarray(label) for label in self.dataset[split]["labels"]]
        return np.concatenate(labels) if self.task.per_token else np.stack(labels)


def prepare(args: DataArguments) -> Prepared:
    """Loads, checks, splits and encodes a data set.

    Raises:
        InputError: for anything wrong with the arguments or the data.
    """
    table = load_table(args)
    notes = [f"data: {table.source}, {len(table.rows)} rows, sha256 {table.sha256[:16]}"]
    columns = list(dict.fromkeys(column for row in table.rows for column in row))
    notes += _keep_rows(table, args, columns)
    sequence_column = find_column(table.source, columns, args.sequence_column, SEQUENCE_COLUMNS, "sequence")
    sequences, texts, tokenizer, found = _prepare_sequences(table, args, columns, sequence_column)
    notes += found
    labels, task, found = _prepare_labels(table, args, columns, sequence_column, sequences)
    notes += found
    splits, found = _assign_splits(table, args, columns, texts)
    notes += found
    splits, found = _check_leaks(splits, texts, labels, args.drop_leaked)
    notes += found
    indices = {split: [i for i, s in enumerate(splits) if s == split] for split in SPLITS}
    _check_splits(table, task, labels, indices)
    notes.append("rows: " + ", ".join(f"{len(indices[split])} {split}" for split in SPLITS))

    chosen = {split: [texts[i] for i in indices[split]] for split in SPLITS}
    encoded = {s: _encode(tokenizer, task, chosen[s], [labels[i] for i in indices[s]]) for s in SPLITS}
    rows = {split: [table.rows[i] for i in indices[split]] for split in SPLITS}
    return Prepared(task, tokenizer, chosen, DatasetDict(encoded), rows, table.sha256, table.source, notes)


def _prepare_sequences(
    table: Table, args: DataArguments, columns: list[str], column: str
) -> tuple[list[str], list[str], LyraTokenizer, list[str]]:
    """The checked sequences, their texts (another thing for pairs), what reads those, and what was found."""
    sequences = read_sequences(table, column)
    if args.pair_column is None:
        alphabet = args.alphabet or detect_alphabet(sequences)
        if len(get_alphabet(alphabet).members) > 1:
            raise InputError(f"--alphabet: {alphabet} reads pairs, name the second sequences with --pair_column")
        notes = [f"sequences: column {column!r}, alphabet {alphabet}{_unless(args.alphabet)}"]
        notes += check_letters(table, sequences, column, get_alphabet(alphabet), args.unknown)
        return sequences, sequences, LyraTokenizer(alphabet), notes
    find_column(table.source, columns, args.pair_column, (), "pair")
    if args.pair_column == column:
        raise InputError(f"--pair_column: {column!r} is the sequence column")
    partners = read_sequences(table, args.pair_column)
    alphabet = args.alphabet or f"{detect_alphabet(sequences)}+{detect_alphabet(partners)}"
    try:
        first, second = get_alphabet(alphabet).members
    except ValueError:
        raise InputError(f"--alphabet: expected one such as dna+dna for --pair_column, got {alphabet}") from None
    notes = [f"sequences: columns {column!r} and {args.pair_column!r}, alphabet {alphabet}{_unless(args.alphabet)}"]
    notes += check_letters(table, sequences, column, first, args.unknown)
    notes += check_letters(table, partners, args.pair_column, second, args.unknown)
    tokenizer = LyraTokenizer(alphabet, pair_offset=args.pair_offset)
    texts = [
        align_pair(place, args.pair_column, sequence, partner, tokenizer)
        for place, sequence, partner in zip(table.places, sequences, partners, strict=True)
    ]
    return sequences, texts, tokenizer, notes


def align_pair(place: Place, column: str, sequence: str, partner: str, tokenizer: LyraTokenizer) -> str:
    """The text of two aligned sequences.

    Raises:
        InputError: naming the row where the second sequence ends behind the first.
    """
    try:
        return tokenizer.align(sequence, partner)
    except ValueError as error:
        raise InputError(f"{place}, column {column!r}: {error}") from None


def _prepare_labels(
    table: Table, args: DataArguments, columns: list[str], sequence_column: str, sequences: list[str]
) -> tuple[list[Any], Task, list[str]]:
    """The labels as numbers, the task, and what was found."""
    label_columns = _find_label_columns(table.source, columns, args.label_columns, sequence_column)
    cells: list[list[Any]] = [[row.get(column) for row in table.rows] for column in label_columns]
    if args.label_threshold is not None:
        cells = [
            above_threshold(table, column, values, args.label_threshold)
            for column, values in zip(label_columns, cells, strict=True)
        ]
    task_name = args.task or detect_task(table.source, label_columns, cells, sequences)
    notes, masks = [], None
    if task_name.startswith("token_"):
        mask_column = _optional_column(table.source, columns, args.mask_column, MASK_COLUMNS, "mask")
        if mask_column and (args.mask_column or is_mask(table, mask_column)):
            masks = read_masks(table, mask_column, sequences)
            notes.append(f"labels: of the residues marked 1 in column {mask_column!r}")
    elif args.mask_column is not None:
        raise InputError(f"--mask_column: only for labels per residue, the task is {task_name}")
    labels, task = parse_labels(table, task_name, label_columns, cells, sequences, masks)
    others = [c for c in columns if c.lower().strip() in LABEL_COLUMNS and c not in label_columns]
    if others and args.label_columns is None:
        notes.append(f"labels: not taken, though they have usual names: {listed(others)} (--label_columns)")
    shown = f"{len(task.names)} classes" if task.kind == "classification" else f"{len(task.names)} output(s)"
    if args.label_threshold is not None:
        notes.append(f"labels: 1 above {args.label_threshold:g}, else 0")
    notes.append(f"labels: {', '.join(map(repr, label_columns))}, task {task.name}{_unless(args.task)}, {shown}")
    return labels, task, notes


# ── Loading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def load_table(args: DataArguments) -> Table:
    """Loads a file, a folder of split files or a Hub data set, joined with `args.labels`.

    Raises:
        InputError: naming what cannot be read, or an empty table.
    """
    path = Path(args.data)
    if path.is_dir():
        table = _load_folder(path)
    elif path.exists() or any(suffix in path.name.lower() for suffix in SUFFIXES):
        pairs = _read_labelled(path)
        table = Table(str(path), [row for _, row in pairs], [place for place, _ in pairs], None, file_sha256([path]))
    else:
        table = _load_hub(args.data, args.data_config)
    if not table.rows:
        raise InputError(f"{args.data}: the table has no rows")
    if args.labels is not None:
        _join_labels(table, args, args.labels)
    return table


def _load_folder(folder: Path) -> Table:
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        split = SPLIT_NAMES.get(file.name.lower().split(".")[0])
        if split and file.is_file() and any(suffix in file.name.lower() for suffix in SUFFIXES):
            if split in files:
                raise InputError(f"{folder}: two files for the {split} split, {files[split].name} and {file.name}")
            files[split] = file
    if "train" not in files:
        raise InputError(f"{folder}: expected a file train.csv (or .tsv, .jsonl, .parquet, .fasta, also .gz) in it")
    table = Table(str(folder), [], [], [], file_sha256(files.values()))
    for split, file in files.items():
        for place, row in _read_labelled(file):
            table.rows.append(row)
            table.places.append(place)
            table.splits.append(split)  # type: ignore[union-attr]
    return table


def _read_labelled(path: Path) -> list[tuple[Place, Row]]:
    """All rows of a file, those of FASTA with the `key=value` fields of their headers as columns."""
    pairs = list(read_rows(path))
    if table_format(path) != "fasta":
        return pairs
    return [(place, header_fields(str(place), f"{row['id']} {row['description']}") | row) for place, row in pairs]


def _load_hub(name: str, config: str | None) -> Table:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise InputError(f"{name}: no such file or folder, and not the id of a Hub data set (user/name)")
    if datasets_config.HF_HUB_OFFLINE:
        raise InputError(f"{name}: no such file or folder, and the Hub is switched off (HF_HUB_OFFLINE)")
    try:
        dataset = load_dataset(name, config)
    except Exception as error:  # the library raises many kinds; all mean that the user's id cannot be loaded
        raise InputError(f"{name}: cannot be loaded from the Hub ({one_line(error)[:300]})") from None
    table = Table(name, [], [], [], "")
    for split, rows in dataset.items():
        if SPLIT_NAMES.get(split) is None:
            raise InputError(f"{name}: expected splits named train, validation and test, got {split!r}")
        classes = {column: feature for column, feature in rows.features.items() if isinstance(feature, ClassLabel)}
        for number, row in enumerate(rows, start=1):
            named = {column: feature.int2str(row[column]) for column, feature in classes.items()}
            table.rows.append(row | named)
            table.places.append(Place(f"{name} ({split})", number))
            table.splits.append(SPLIT_NAMES[split])  # type: ignore[union-attr]
    content = json.dumps([table.splits, table.rows], default=str, sort_keys=True)
    table.sha256 = hashlib.sha256(content.encode()).hexdigest()
    return table


def _join_labels(table: Table, args: DataArguments, labels: str) -> None:
    """Adds the columns of `--labels` to the rows of the same id, in place."""
    by_id: dict[str, Row] = {}
    for place, row in read_rows(labels):
        if args.id_column not in row:
            raise InputError(f"{labels}: no column {args.id_column!r} (--id_column), only {listed(row)}")
        key = str(row[args.id_column])
        if key in by_id:
            raise InputError(f"{place}, column {args.id_column!r}: {key!r} stands twice")
        by_id[key] = row
    seen: set[str] = set()
    for index, (place, row) in enumerate(zip(table.places, table.rows, strict=True)):
        if args.id_column not in row:
            raise InputError(f"{place}: no column {args.id_column!r} (--id_column) to join {labels} by")
        key = str(row[args.id_column])
        if key not in by_id:
            raise InputError(f"{place}, column {args.id_column!r}: {key!r} has no row in {labels}")
        if key in seen:
            raise InputError(f"{place}, column {args.id_column!r}: {key!r} stands twice")
        seen.add(key)
        if shared := sorted((set(row) & set(by_id[key])) - {args.id_column}):
            raise InputError(f"{labels}: the column {shared[0]!r} is also in {args.data}; rename one")
        table.rows[index] = row | by_id[key]
    table.sha256 = file_sha256([args.data, labels]) if os.path.isfile(args.data) else table.sha256


_CONDITION = re.compile(r"\s*(.+?)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*")
_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def _keep_rows(table: Table, args: DataArguments, columns: list[str]) -> list[str]:
    """Drops the rows of a table for which a condition of `--where` does not hold, in place; says how many.

    Raises:
        InputError: for a condition that cannot be read, or that leaves nothing of the table or of one of its splits.
    """
    notes = []
    splits = _read_splits(table, args, columns)
    for condition in args.where or ():
        kept = _fulfils(table, columns, condition)
        notes.append(f"rows: {sum(kept)} of {len(kept)} where {condition}")
        table.rows, table.places = list(compress(table.rows, kept)), list(compress(table.places, kept))
        table.splits = table.splits and list(compress(table.splits, kept))
        if not table.rows:
            raise InputError(f"{table.source}: no row is left by --where {condition!r}")
        for split in sorted(set(splits or ()) - set(_read_splits(table, args, columns) or ())):
            raise InputError(f"{table.source}: no row of the {split} split is left by --where {condition!r}")
    return notes


def _fulfils(table: Table, columns: list[str], condition: str) -> list[bool]:
    """Whether a condition holds, of each row."""
    match = _CONDITION.fullmatch(condition)
    if match is None or match[1] not in columns:
        raise InputError(
            f"--where: expected column=value, or !=, <, <=, > or >=, with a column among {listed(columns)}, "
            f"got {condition!r}"
        )
    column, sign, value = match.groups()
    limit = parse_number(value)
    if sign in ("=", "!="):
        return [_is_equal(row.get(column), value, limit) == (sign == "=") for row in table.rows]
    if limit is None:
        raise InputError(f"--where {condition!r}: expected a number after {sign}, got {value!r}")
    kept = []
    for place, row in zip(table.places, table.rows, strict=True):
        number = parse_number(row.get(column))
        if number is None:
            raise InputError(f"{place}, column {column!r}: expected a number for --where, got {row.get(column)!r}")
        kept.append(_COMPARE[sign](number, limit))
    return kept


def _is_equal(cell: Any, value: str, number: float | None) -> bool:
    """Whether a cell is what a condition says: the same number, or the same text; true and false in any case."""
    if isinstance(cell, bool):
        return str(cell).lower() == value.lower()
    if number is not None and (found := parse_number(cell)) is not None:
        return found == number
    return ("" if cell is None else str(cell)) == value


def _read_splits(table: Table, args: DataArguments, columns: list[str]) -> list[str] | None:
    """The splits that the data come with."""
    return table.splits or _read_split_column(table, args, columns)


# ── Columns ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def find_column(
    source: str, columns: list[str], given: str | None, usual: tuple[str, ...], what: str, flag: str | None = None
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
            raise InputError(f"{source}: no column {given!r} ({flag}), only {listed(columns)}")
        return given
    lower = {column.lower().strip(): column for column in reversed(columns)}
    for name in usual:
        if name in lower:
            return lower[name]
    raise InputError(
        f"{source}: no {what} column among {listed(columns)}; expected one named {', '.join(usual[:5])}, or {flag}"
    )


def _optional_column(
    source: str, columns: list[str], given: str | None, usual: tuple[str, ...], what: str
) -> str | None:
    """As `find_column`, but None where the user named none and none has a usual name."""
    lower = {column.lower().strip() for column in columns}
    return find_column(source, columns, given, usual, what) if given is not None or lower & set(usual) else None


def _find_label_columns(source: str, columns: list[str], given: list[str] | None, sequence_column: str) -> list[str]:
    wanted: list[str | None] = [*given] if given else [None]
    found = [find_column(source, columns, name, LABEL_COLUMNS, "label", flag="--label_columns") for name in wanted]
    for column in found:
        if column == sequence_column or found.count(column) > 1:
            raise InputError(f"--label_columns: {column!r} is the sequence column or named twice")
    return found


def read_sequences(table: Table, column: str) -> list[str]:
    """The sequences without white space.

    Raises:
        InputError: naming the first row whose sequence is missing or empty.
    """
    sequences = []
    for place, row in zip(table.places, table.rows, strict=True):
        sequences.append(clean_sequence(place, column, row.get(column)))
    return sequences


def clean_sequence(place: Place, column: str, value: Any) -> str:
    """One sequence without white space, checked to be text with at least one letter."""
    if not isinstance(value, str) or value in _MISSING_SEQUENCES:
        raise InputError(f"{place}, column {column!r}: expected a sequence, got {value!r}")
    sequence = "".join(value.split())
    if not sequence:
        raise InputError(f"{place}, column {column!r}: the sequence is empty")
    return sequence


def detect_alphabet(sequences: list[str]) -> str:
    """`"dna"` or `"rna"` where nine letters in ten are A, C, G, T, U or N (of a protein a third), else `"protein"`."""
    counts: Counter[str] = Counter()
    for sequence in sequences:
        counts.update(sequence.upper())
    if sum(counts[letter] for letter in "ACGTUN") < _MOST * sum(counts.values()):
        return "protein"
    return "rna" if counts["U"] > counts["T"] else "dna"


def known_letters(alphabet: Alphabet) -> set[str]:
    """The characters that an alphabet reads as something else than `<unk>`, in both cases."""
    letters = set(alphabet.characters)
    return letters | {letter.lower() for letter in letters}


def check_letters(table: Table, sequences: list[str], column: str, alphabet: Alphabet, unknown: str) -> list[str]:
    """Finds characters outside the alphabet; returns a note about them, or raises if `unknown` is `"error"`."""
    allowed = known_letters(alphabet)
    counts: Counter[str] = Counter()
    where: list[str] = []
    for place, sequence in zip(table.places, sequences, strict=True):
        if illegal := set(sequence) - allowed:
            counts.update(letter for letter in sequence if letter in illegal)
            if len(where) < 3:
                where.append(str(place))
    if not counts:
        return []
    shown = ", ".join(f"{letter!r} x {count}" for letter, count in counts.most_common(5))
    message = f"column {column!r}: {sum(counts.values())} character(s) outside the alphabet {alphabet.name} ({shown})"
    if unknown == "error":
        raise InputError(f"{where[0]}, {message}; first rows: {'; '.join(where)}; --unknown token reads them as <unk>")
    return [f"sequences: {message}, read as <unk>; first rows: {'; '.join(where)}"]


# ── Splits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _assign_splits(
    table: Table, args: DataArguments, columns: list[str], sequences: list[str]
) -> tuple[list[str], list[str]]:
    """The split of every row, and what was decided."""
    splits = _read_splits(table, args, columns)
    notes = []
    if splits is None:
        splits = ["train"] * len(sequences)
        notes.append("split: the table has none; rows are drawn at random, equal sequences together (--split_seed)")
    splits = list(splits)
    if args.folds is not None:
        notes.append(_take_fold(table, args, splits, sequences))
    available = splits.count("train")
    for split, fraction in (("test", args.test_fraction), ("validation", args.validation_fraction)):
        if split not in splits:
            _carve(splits, sequences, split, round(fraction * available), args.split_seed)
            notes.append(
                f"split: {splits.count(split)} of the {available} training rows become {split}, seed {args.split_seed}"
            )
    return splits, notes


def _read_split_column(table: Table, args: DataArguments, columns: list[str]) -> list[str] | None:
    column = _optional_column(table.source, columns, args.split_column, SPLIT_COLUMNS, "split")
    if column is None:
        return None
    values = [row.get(column) for row in table.rows]
    if all(is_missing(value) for value in values):
        return None
    if args.split_column is None and not any(str(value).strip().lower() in SPLIT_NAMES for value in values):
        return None  # a `set` or `partition` that means something else
    splits = []
    for place, value in zip(table.places, values, strict=True):
        split = SPLIT_NAMES.get(str(value).strip().lower())
        if split is None:
            raise InputError(f"{place}, column {column!r}: expected train, validation or test, got {value!r}")
        splits.append(split)
    return splits


def _take_fold(table: Table, args: DataArguments, splits: list[str], sequences: list[str]) -> str:
    """Makes one of `args.folds` parts of the rows the test split, in place."""
    if "test" in splits or "validation" in splits:
        raise InputError(f"{table.source}: --folds wants a table without a split, this one has one")
    groups = _shuffled_groups(splits, sequences, args.split_seed, "test")
    if args.folds > len(groups):  # type: ignore[operator]
        raise InputError(f"--folds: expected at most {len(groups)}, one per different sequence, got {args.folds}")
    for indices in groups[args.fold - 1 :: args.folds]:  # type: ignore[operator]
        for index in indices:
            splits[index] = "test"
    return f"split: test is fold {args.fold} of {args.folds}, {splits.count('test')} rows, seed {args.split_seed}"


def _carve(splits: list[str], sequences: list[str], split: str, wanted: int, seed: int) -> None:
    """Moves some `wanted` random training rows to another split, equal sequences together, in place."""
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


def _check_leaks(splits: list[str], sequences: list[str], labels: list[Any], drop: bool) -> tuple[list[str], list[str]]:
    """Reports, and with `drop` removes, sequences that stand in several splits; reports conflicting labels."""
    rows: dict[str, list[int]] = defaultdict(list)
    for index, sequence in enumerate(sequences):
        rows[sequence.upper()].append(index)
    repeated = [indices for indices in rows.values() if len(indices) > 1]
    conflicting = [indices for indices in repeated if any(not _same(labels[i], labels[indices[0]]) for i in indices)]
    notes = []
    if conflicting:
        notes.append(f"duplicates: {len(conflicting)} sequences stand in several rows with different labels")
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
    return splits, notes


def _same(a: Any, b: Any) -> bool:
    return a == b or str(a) == str(b)  # str, because NaN marks an unmeasured residue


def _check_splits(table: Table, task: Task, labels: list[Any], indices: dict[str, list[int]]) -> None:
    for split in SPLITS:
        if not indices[split]:
            raise InputError(
                f"{table.source}: the {split} split has no rows ({len(table.rows)} rows in the table); "
                "at least three different sequences are needed"
            )
    outputs = 1 if task.kind == "classification" else len(task.names)
    for split in SPLITS:
        flat = np.concatenate([np.asarray(labels[i], dtype=float).reshape(-1, outputs) for i in indices[split]])
        if task.kind == "classification":
            flat[flat == IGNORE_INDEX] = np.nan
        for column, values in zip(task.label_columns, flat.T, strict=True):
            distinct = len(np.unique(values[~np.isnan(values)]))
            if distinct < (2 if split == "train" else 1):
                raise InputError(
                    f"{table.source}, column {column!r}: the {split} split has {distinct} different labels, "
                    + ("at least two are needed" if split == "train" else "at least one is needed")
                )


# ── Encoding ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _encode(tokenizer: LyraTokenizer, task: Task, sequences: list[str], labels: list[Any]) -> Dataset:
    label_type: Any = Value("int64") if task.kind == "classification" else Value("float64")
    if len(task.names) > 1 and task.kind != "classification":
        label_type = Sequence(label_type)
    if task.per_token:
        label_type = Sequence(label_type)
    encoded = tokenizer.encode_bulk(sequences)
    return Dataset.from_dict(
        {
            "input_ids": encoded,
            "labels": labels,
            "length": [len(ids) for ids in encoded],
        },
        features=Features({"input_ids": Sequence(Value("uint8")), "labels": label_type, "length": Value("int64")}),
    )


class LyraCollator:
    """Pads encoded rows to one batch of `input_ids` and `labels`; the model finds the pads by their id.

    Labels of residues are padded with -100, and NaN (no measurement) becomes -100, so that the Trainer counts the
    labels that the loss counts.

    Args:
        tokenizer: gives the id of a pad.
        per_token: whether there is a label for each residue.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, per_token: bool):
        self.pad_token_id = int(tokenizer.pad_token_id)  # type: ignore[arg-type]
        self.per_token = per_token

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = {"input_ids": pad([e["input_ids"] for e in examples], self.pad_token_id)}
        if "labels" in examples[0]:
            batch["labels"] = self._stack_labels([np.asarray(e["labels"]) for e in examples])
        return batch

    def _stack_labels(self, labels: list[np.ndarray]) -> torch.Tensor:
        if not self.per_token:
            return _tensor(np.stack(labels))
        length = max(map(len, labels))
        missing = np.nan if labels[0].dtype.kind == "f" else IGNORE_INDEX
        padded = np.full((len(labels), length, *labels[0].shape[1:]), missing, dtype=labels[0].dtype)
        for row, label in zip(padded, labels, strict=True):
            row[: len(label)] = label
        batch = _tensor(padded)
        return batch.nan_to_num(IGNORE_INDEX)


def pad(rows: list[Any], value: int) -> torch.Tensor:
    """Rows of ids (below 256) of different length as one `(rows, longest)` tensor of int64, filled up on the right."""
    # Bytes, because Arrow gives lists, and numpy reads a list of numbers one by one.
    ids = b"".join(row.tobytes() if getattr(row, "dtype", None) == np.uint8 else bytes(list(row)) for row in rows)
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    batch = np.full((len(rows), lengths.max()), value, dtype=np.int64)
    batch[np.arange(batch.shape[1]) < lengths[:, None]] = np.frombuffer(ids, dtype=np.uint8)
    return torch.from_numpy(batch)


def _tensor(labels: np.ndarray) -> torch.Tensor:
    if labels.dtype.kind != "f":
        return torch.from_numpy(labels.astype(np.int64))
    single = labels.astype(np.float32)
    # The Trainer does not count an exact -100 as a label, so a measurement of -100 moves by one unit in the last place.
    single[single == IGNORE_INDEX] = np.nextafter(np.float32(IGNORE_INDEX), np.float32(0))
    return torch.from_numpy(single)


def _unless(given: Any) -> str:
    return "" if given else " (found)"
