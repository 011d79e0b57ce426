"""From a table of sequences and measurements to a checked, split and encoded `datasets.DatasetDict`.

A table passes through the modules of this folder once: it is read (`loading`), its columns are found (`columns`), rows
are filtered (`filter`), letters (`letters`) and labels (`labels`) are checked, splits are assigned and leaks are found
(`splits`), and what is left is encoded. `check` is everything but the last step, and needs neither torch nor
transformers. What is decided on the way is said in `notes`; whatever is wrong raises an `InputError` that names file,
row and column.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..alphabet_lyra import get_alphabet
from ..errors import InputError, join_quoted
from ..tasks import TASKS, Task
from .arguments import DataArguments
from .columns import Columns, find_columns, unused_columns
from .decimals import read_decimal_commas
from .extras import check_varying, read_extra_features
from .filter import filter_rows, skip_unlabelled
from .labels import (
    IGNORE_INDEX,
    Labels,
    above_threshold,
    class_notes,
    detect_task,
    explain_choice,
    parse_labels,
    take_labels,
)
from .letters import align_pairs, check_letters, detect_alphabet, read_sequences
from .loading import Table, load_table
from .residues import coverage_notes, is_mask, read_masks, scored_lengths
from .rows import Rows
from .schemes import SPLITS
from .splits import assign_splits, check_leaks, read_fold, read_splits, rows_by_split
from .strings import Strings

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from ..tokenization_lyra import LyraTokenizer


@dataclass
class CheckedData:
    """Checked data, not yet encoded.

    Attributes:
        alphabet, pair_offset: as [`LyraTokenizer`] takes them.
        sequence_columns: where the sequences were, of pairs both.
        sequences: of each split, without white space; of pairs as `PairAlphabet.align` writes them.
        labels: of each split, in the same order: numbers, or lists of them.
        rows: the original rows of each split, in the same order; none for the test where all are learned from.
        numbers: of each of these rows, among those that are left of the table.
        extra_columns: of the numbers that the model reads beside each sequence.
        extra: these numbers of each split, `(rows, columns)`.
        units: of the training rows, what must not be in two splits, such as a group or a position; None where that is
            the sequence.
        notes: what was found or decided, a line each.
    """

    task: Task
    alphabet: str
    pair_offset: int
    sequence_columns: tuple[str, ...]
    sequences: dict[str, Strings]
    labels: dict[str, Labels]
    rows: dict[str, Rows]
    numbers: dict[str, np.ndarray]
    extra_columns: tuple[str, ...]
    extra: dict[str, np.ndarray]
    units: Sequence[str | None] | None
    sha256: str
    source: str
    notes: list[str]

    @property
    def letters(self) -> str:
        """The letters of the training sequences."""
        return "".join(sorted(self.sequences["train"].letters))

    def extra_features(self, split: str) -> np.ndarray | None:
        """The numbers beside the sequences of a split, `(rows, columns)`; None where there are none."""
        return self.extra[split] if self.extra_columns else None

    @property
    def scored(self) -> list[str]:
        """The splits that a model is scored on."""
        return [split for split in ("validation", "test") if len(self.rows[split])]


@dataclass
class Prepared(CheckedData):
    """Checked data, ready to train on; `labels` are moved to the data set.

    Attributes:
        tokenizer: reads the sequences.
        dataset: `input_ids`, `labels` and `length` of each split, in the order of `sequences`.
    """

    tokenizer: "LyraTokenizer"
    dataset: "DatasetDict"

    def label_array(self, split: str) -> np.ndarray:
        """The labels of a split, `(items,)` or `(items, outputs)`, where an item is a sequence or a residue."""
        column = self.dataset[split].data["labels"]
        while pa.types.is_list(column.type):
            column = pc.list_flatten(column)
        values = column.to_numpy().copy()  # Arrow's memory cannot be written
        return values.reshape(-1, self.task.num_outputs) if self.task.num_outputs > 1 else values

    def joined_ids(self, split: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The ids of a split in parts: of one sequence after the other, and the bounds of these, `(sequences + 1,)`."""
        for chunk in self.dataset[split].data["input_ids"].chunks:
            yield chunk.values.to_numpy(), chunk.offsets.to_numpy()

    def token_ids(self, split: str, rows: np.ndarray | None = None) -> list[np.ndarray]:
        """The ids of each sequence of a split, or of some rows of it."""
        parts = [*self.joined_ids(split)]
        firsts = np.cumsum([0, *(len(bounds) - 1 for _, bounds in parts)])
        rows = np.arange(firsts[-1]) if rows is None else rows
        which = np.searchsorted(firsts, rows, side="right") - 1
        found = []
        for part, place in zip(which.tolist(), (rows - firsts[which]).tolist(), strict=True):
            ids, bounds = parts[part]
            found.append(ids[bounds[place] : bounds[place + 1]])
        return found

    def lengths(self, split: str) -> np.ndarray:
        """The number of ids of each sequence of a split."""
        return self.dataset[split].data["length"].to_numpy()

    def label_values(self, split: str) -> np.ndarray:
        """The labels of a split as floats `(items, outputs)`, NaN where there is none."""
        values = self.label_array(split).astype(float).reshape(-1, self.task.num_outputs)
        if self.task.kind == "classification":
            values[values == IGNORE_INDEX] = np.nan
        return values


def prepare(args: DataArguments) -> Prepared:
    """Loads, checks, splits and encodes a data set.

    Raises:
        InputError: for anything wrong with the arguments or the data.
    """
    return encode(check(args))


def check(args: DataArguments) -> CheckedData:
    """Loads, checks and splits a data set.

    Raises:
        InputError: for anything wrong with the arguments or the data.
    """
    table = load_table(args)
    notes = [f"data: {table.source}, {len(table.rows)} rows, sha256 {table.sha256[:16]}", *table.notes]
    columns = find_columns(table, args)
    if args.decimal == ",":
        read_decimal_commas(table, columns)
    if args.split not in (None, "column"):
        table.splits = None  # of a folder with a file for each
    elif args.folds is not None or not (args.fold or args.cross_validate):  # of folds, the rows that are left count
        table.splits = read_splits(table, columns, args)
        if table.splits is not None and args.folds is not None:
            raise InputError(f"{table.source}: --folds needs a table without a split; --split random ignores it")
    notes += filter_rows(table, columns, args.where or [])
    if args.missing_labels == "skip":
        notes += skip_unlabelled(table, columns)
    if args.fold is not None and args.folds is None and args.split in (None, "column"):
        table.splits = read_fold(table, columns, args.fold, notes)
    sequences, texts, alphabet = _check_sequences(table, columns, args, notes)
    labels, task = _check_labels(table, columns, args, sequences, notes)
    extra = _check_extra_features(table, columns, task, notes)
    splits, units = assign_splits(table, columns, texts, labels, task, args, notes)
    splits = check_leaks(splits, texts, labels, args.drop_leaked, notes)
    indices = rows_by_split(table, task, labels, splits, columns.group, notes, args.learns_all)
    if columns.extra:
        check_varying(table.source, extra[indices["train"]], columns.extra)
    notes += unused_columns(table, columns, args.where or [])
    notes.append("rows: " + ", ".join(f"{len(indices[split])} {split}" for split in SPLITS))

    return CheckedData(
        task=task,
        alphabet=alphabet,
        pair_offset=args.pair_offset,
        sequence_columns=columns.sequences,
        sequences={split: texts.take(rows) for split, rows in indices.items()},
        labels={split: take_labels(labels, rows) for split, rows in indices.items()},
        rows={split: table.rows.take(rows) for split, rows in indices.items()},
        numbers=indices,
        extra_columns=columns.extra,
        extra={split: extra[rows] for split, rows in indices.items()},
        units=None if units is None else [units[i] for i in indices["train"]],
        sha256=table.sha256,
        source=table.source,
        notes=notes,
    )


def _check_sequences(
    table: Table, columns: Columns, args: DataArguments, notes: list[str]
) -> tuple[Strings, Strings, str]:
    """The first sequences, the texts that the tokenizer reads (other ones for pairs), and the alphabet."""
    sequences = [read_sequences(table.locations, table.rows.column(column), column) for column in columns.sequences]
    name = args.alphabet or "+".join(map(detect_alphabet, sequences))
    try:
        alphabet = get_alphabet(name)
    except ValueError:  # two detected alphabets that do not pair
        alphabet = None
    if len(sequences) == 2 and (alphabet is None or len(alphabet.members) != 2):
        raise InputError(f"--alphabet: expected one such as dna+dna for --pair_column, got {name}")
    if alphabet is None or len(alphabet.members) != len(sequences):
        raise InputError(f"--alphabet: {name} is for sequence pairs; give the second column with --pair_column")
    named = "column " if len(sequences) == 1 else "columns "
    named += " and ".join(map(repr, columns.sequences))
    notes.append(f"sequences: {named}, alphabet {name}{_suffix(args.alphabet)}")
    for column, letters, member in zip(columns.sequences, sequences, alphabet.members, strict=True):
        notes += check_letters(table.locations, letters, column, member, args.unknown)
    texts = align_pairs(table.locations, columns.sequences[-1], sequences, alphabet, args.pair_offset)
    if len(sequences) == 2:
        first, second = map(repr, columns.sequences)
        notes.append(
            f"pairs: {second} begins {args.pair_offset} letters after the start of {first}"
            f" (--pair_offset{'' if args.pair_offset else ' where it begins later'})"
        )
    return sequences[0], texts, name


def _check_labels(
    table: Table, columns: Columns, args: DataArguments, sequences: Strings, notes: list[str]
) -> tuple[Labels, Task]:
    """The labels as numbers, and the task."""
    cells = [table.rows.column(column) for column in columns.labels]
    if args.label_threshold is not None:
        cells = [
            above_threshold(table, column, values, args.label_threshold)
            for column, values in zip(columns.labels, cells, strict=True)
        ]
    scored = _scored(table, columns, args, sequences)
    task_name = args.task or detect_task(table, list(columns.labels), cells, sequences, scored)
    masks = None
    if TASKS[task_name].per_token:
        masks = _check_masks(table, columns, args, sequences, scored, notes)
    else:
        for flag in ("mask_column", "scored_residues"):
            if getattr(args, flag) is not None:
                raise InputError(f"--{flag}: only for per-residue tasks; the task is {task_name}")
    labels, task = parse_labels(table, task_name, list(columns.labels), cells, sequences, masks)
    if task.per_token:
        notes += coverage_notes(table, [_present(row, task) for row in labels])
    if columns.unused_labels and args.label_columns is None:
        unused = join_quoted(columns.unused_labels)
        notes.append(f"labels: ignored, although named like label columns: {unused} (--label_columns)")
    shown = f"{len(task.names)} classes" if task.kind == "classification" else f"{len(task.names)} output(s)"
    if args.label_threshold is not None:
        notes.append(f"labels: 1 above {args.label_threshold:g}, else 0")
    names = ", ".join(map(repr, columns.labels))
    notes.append(f"labels: {names}, task {task.name}{_suffix(args.task)}, {shown}")
    if task.kind == "classification":
        notes += class_notes(labels, task)
    if (
        args.task is None
        and args.label_threshold is None
        and len(cells) == 1
        and (choice := explain_choice(task_name, cells[0]))
    ):
        notes.append(choice)
    return labels, task


def _check_extra_features(table: Table, columns: Columns, task: Task, notes: list[str]) -> np.ndarray:
    """The numbers beside each sequence, `(rows, columns)`."""
    if columns.extra and task.per_token:
        raise InputError(f"--feature_columns: only for labels of whole sequences; the task is {task.name}")
    if columns.extra:
        notes.append(f"features: {join_quoted(columns.extra)} beside each sequence")
    return read_extra_features(table.locations, table.rows, columns.extra)


def _scored(table: Table, columns: Columns, args: DataArguments, sequences: Strings) -> np.ndarray:
    """How many residues of each sequence may have labels; a column that was only found by its name may mean something
    else."""
    try:
        return scored_lengths(table, columns.scored, columns.scored_number, sequences)
    except InputError:
        if args.scored_residues is not None:
            raise
        return sequences.lengths


def _check_masks(
    table: Table, columns: Columns, args: DataArguments, sequences: Strings, scored: np.ndarray, notes: list[str]
) -> list[list[bool]]:
    """Which residues may have a label."""
    mask = columns.mask if columns.mask and (args.mask_column or is_mask(table, columns.mask, sequences)) else None
    if columns.scored is not None:
        notes.append(f"labels: only of the first residues; column {columns.scored!r} has their number")
    elif columns.scored_number is not None:
        notes.append(f"labels: only of the first {columns.scored_number} residues")
    if mask is not None:
        notes.append(f"labels: of the residues marked 1 in column {mask!r}")
    return read_masks(table, mask, sequences, scored)


def _present(labels: list[Any], task: Task) -> list[bool]:
    """Whether each label of the residues of a row is there."""
    values = np.asarray(labels, dtype=float).reshape(-1)
    return list(values != IGNORE_INDEX if task.kind == "classification" else ~np.isnan(values))


def _suffix(given: Any) -> str:
    return "" if given else " (found)"


def encode(data: CheckedData, folder: Path | None = None) -> Prepared:
    """Turns sequences into ids.

    Args:
        folder: where they are written, and read from when they are needed; by default they are kept in memory.
    """
    from datasets import DatasetDict

    from ..tokenization_lyra import LyraTokenizer

    tokenizer = LyraTokenizer(data.alphabet, pair_offset=data.pair_offset)
    encoded = {split: _encode_split(tokenizer, data, split, folder) for split in SPLITS}
    # The labels are in the data set; a second copy, an object per residue, would take most of the memory.
    return Prepared(**vars(data) | {"labels": {}}, tokenizer=tokenizer, dataset=DatasetDict(encoded))


def _encode_split(tokenizer: "LyraTokenizer", data: CheckedData, split: str, folder: Path | None) -> "Dataset":
    from datasets import Dataset, Features, Sequence, Value
    from datasets.table import InMemoryTable

    task = data.task
    label_type: Any = Value("int64") if task.kind == "classification" else Value("float64")
    if task.num_outputs > 1:
        label_type = Sequence(label_type)
    if task.per_token:
        label_type = Sequence(label_type)
    types = {"input_ids": Sequence(Value("uint8")), "labels": label_type, "length": Value("int64")}
    if data.extra_columns:
        types["extra_features"] = Sequence(Value("float32"))
    schema = Features(types).arrow_schema
    batches = _encoded_batches(tokenizer, data, split, schema)
    if folder is None:
        return Dataset(InMemoryTable(pa.Table.from_batches(batches, schema)), fingerprint=f"{data.sha256[:16]}-{split}")
    file = folder / f"{split}.arrow"
    with pa.OSFile(str(file), "wb") as stream, pa.ipc.new_stream(stream, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return Dataset.from_file(str(file))


def _encoded_batches(
    tokenizer: "LyraTokenizer", data: CheckedData, split: str, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    start = 0
    for block in data.sequences[split].blocks():
        rows = slice(start, start + len(block))
        ids, ends = tokenizer.encode_joined(block)
        columns = [
            _lists(ids, ends),
            _as_arrow(data.labels[split][rows], schema.field("labels").type),
            pa.array(np.diff(ends, prepend=0)),
        ]
        if data.extra_columns:
            columns.append(_as_arrow(data.extra[split][rows], schema.field("extra_features").type))
        yield pa.record_batch(columns, schema=schema)
        start = rows.stop


def _as_arrow(values: Labels, kind: pa.DataType) -> pa.Array:
    if isinstance(values, np.ndarray) and values.ndim == 2:
        ends = np.arange(1, len(values) + 1) * values.shape[1]
        return _lists(values.reshape(-1), ends).cast(kind)
    return pa.array(values, kind)


def _lists(values: np.ndarray, ends: np.ndarray) -> pa.ListArray:
    """Values one list after the other as lists, given where each ends."""
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], ends]), pa.int32()), pa.array(values))
