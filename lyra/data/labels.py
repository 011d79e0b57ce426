"""What a table's labels mean and what they are: the task, and every label cell as numbers."""

import math
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import InputError, join_quoted
from ..tasks import TASKS, Task
from .cells import Cell, Cells, is_missing, parse_number
from .loading import Table
from .residues import count_entries, entries
from .strings import Strings

Labels = np.ndarray | list[Any]  # an array, or of residues a list for each row

IGNORE_INDEX = -100  # no class, as in torch's cross-entropy
_LARGE_SHARE = 0.9  # a kind is recognised by this share of the cells; the rest are reported as errors
_MAX_INTEGER_CLASSES = 10
_MAX_CLASSES = 1000
_MAX_NAMED = 12
_MANY_DIGITS = 5  # a whole number of more may be a row of digits
_YES_OR_NO = ("0", "1", "true", "false")
_SKIP = "--missing_labels skip leaves out such rows"


def detect_task(table: Table, columns: list[str], cells: list[Cells], sequences: Strings, scored: np.ndarray) -> str:
    """The task that most of the cells of the first label column look like.

    Args:
        scored: how many residues of each sequence may have labels.

    Raises:
        InputError: if they look like neither numbers nor classes.
    """
    source, values, several = table.source, cells[0], len(cells) > 1
    if _is_per_residue(values, sequences, scored):
        found = (entry for value in values for entry in entries(value) if isinstance(entry, float))
        if any(not math.isnan(number) and not number.is_integer() for number in found):
            return "token_regression"
        return "token_multilabel" if several else "token_classification"
    for column, column_values in zip(columns, cells, strict=True):
        _refuse_odd_lists(table, column, column_values, sequences, scored)
    if several:
        return _detect_outputs(source, columns, cells)
    if values.is_number.mean() < 0.5:
        if values.map(lambda value: bool(re.fullmatch(r"\s*-?\d+,\d+\s*", str(value))), bool).mean() > 0.5:
            raise InputError(
                f"{source}, column {columns[0]!r}: decimal commas as in {values[0]!r}; --decimal , reads them"
            )
        distinct = len(set(map(str, values.distinct[1])))
        if distinct > min(_MAX_CLASSES, len(values) / 2):
            raise InputError(
                f"{source}, column {columns[0]!r}: {distinct} different texts in {len(values)} rows are neither "
                "numbers nor classes; set --label_columns or --task to override"
            )
        return "classification"
    written = _written_integers(values)
    if (~values.is_number & ~values.is_missing).any() or written is None or len(written) > _MAX_INTEGER_CLASSES:
        return "regression"
    return "classification" if written == set(range(len(written))) else "regression"


def _written_integers(values: Cells) -> set[int] | None:
    """The different labels if all of them are written as whole numbers from 0 on."""
    numbers = values.numbers[values.is_number]
    if ((numbers != np.floor(numbers)) | (numbers < 0)).any():
        return None
    written = {str(class_text(value)) for value in values.take(np.flatnonzero(values.is_number)).distinct[1]}
    return {int(number) for number in written} if all(re.fullmatch(r"\d+", number) for number in written) else None


def explain_choice(task_name: str, values: Cells) -> str | None:
    """A note where digits could have been read in another way.

    Args:
        values: the cells of the only label column.
    """
    if task_name == "token_classification":
        digits = {entry for value in values for entry in entries(value, numbers=False)}
        if all(re.fullmatch(r"\d+(\.0+)?|nan", str(entry), re.IGNORECASE) for entry in digits) and len(digits) > 2:
            return "labels: the digits of residues are read as classes; --task token_regression reads numbers"
    if TASKS[task_name].per_token or not (written := _written_integers(values)):
        return None
    if task_name == "classification":
        return f"labels: the {len(written)} different integers are read as classes; --task regression reads numbers"
    if task_name == "regression" and len(written) <= _MAX_INTEGER_CLASSES:
        return f"labels: the {len(written)} different integers are read as numbers; --task classification reads classes"
    return None


def _is_per_residue(values: Cells, sequences: Strings, scored: np.ndarray) -> bool:
    counts, lengths = count_entries(values), sequences.lengths
    matching = (lengths > 1) & ((counts == lengths) | (counts == scored))
    present = ~values.is_missing
    if not present.any() or matching[present].mean() < _LARGE_SHARE:
        return False
    # Where all sequences have one length, class names may happen to have it too; they repeat, label strings do not.
    words = {value for value in values.distinct[1] if isinstance(value, str) and len(value.split()) == 1}
    return not (lengths.min() == lengths.max() and 0 < 2 * len(words) <= len(values))


def _refuse_odd_lists(table: Table, column: str, values: Cells, sequences: Strings, scored: np.ndarray) -> None:
    """Raises InputError for what look like labels of residues but are not as many as these."""
    counts, lengths = count_entries(values), sequences.lengths
    odd = ~values.is_decimal
    listed = values.map(_is_list, bool, odd & ~values.matches(r"^[!-~]*$", odd))
    if listed.mean() > 0.5:
        wrong = listed & (counts != lengths) & (counts != scored)
        if wrong.any():
            row = int(wrong.argmax())
            raise InputError(
                f"{Cell(table.locations[row], column)}: {counts[row]} labels for the {lengths[row]} residues of the "
                "sequence; each needs one, or only the first ones: --scored_residues, their number or the column that "
                "has it"
            )
    if counts.max() <= _MANY_DIGITS or (counts > lengths).any():
        return
    whole = int((counts == lengths).sum())
    if 20 * whole >= len(counts) and values.map(lambda value: bool(re.fullmatch(r"\d+", str(value))), bool).all():
        raise InputError(
            f"{table.source}, column {column!r}: {whole} of {len(counts)} labels have a digit for each residue, the "
            "others fewer, as if they had lost zeros at the start in a program that took them for numbers; write "
            "them as text again, or set --task"
        )


def _is_list(value: Any) -> bool:
    """Whether a cell is a list of several numbers, and no text of single characters."""
    if not isinstance(value, (str, list, tuple)) or (isinstance(value, str) and re.fullmatch(r"\S*", value.strip())):
        return isinstance(value, (list, tuple)) and len(value) > 1
    found = entries(value)
    return len(found) > 1 and all(isinstance(entry, float) or is_missing(entry) for entry in found)


def _detect_outputs(source: str, columns: list[str], cells: list[Cells]) -> str:
    """Several label columns: yes or no in all of them, or numbers."""
    if all(_are_yes_or_no(values) for values in cells):
        return "multilabel"
    for column, values in zip(columns, cells, strict=True):
        if values.is_number.mean() < 0.5:
            raise InputError(f"{source}: several label columns must hold numbers, got {values[0]!r} in {column!r}")
    return "regression"


def _are_yes_or_no(cells: Cells) -> bool:
    numbers = cells.numbers[~cells.is_missing]
    if (~np.isin(numbers, (0.0, 1.0)) & ~np.isnan(numbers)).any():
        return False
    read = cells.map(lambda value: is_missing(value) or str(class_text(value)).lower() in _YES_OR_NO, bool)
    return bool(read.all())


def parse_labels(
    table: Table,
    task_name: str,
    columns: list[str],
    cells: list[Cells],
    sequences: Strings,
    masks: list[list[bool]] | None,
) -> tuple[Labels, Task]:
    """Turns label cells into numbers.

    Returns:
        The labels, floats or indices of classes, `(rows,)` or `(rows, outputs)`; for token tasks a list for each row
        with one such entry for each residue, -100 or NaN where there is no label. And the task.

    Raises:
        InputError: naming the row and column of the first wrong cell.
    """
    task = Task(task_name, tuple(columns), tuple(columns))
    if task.kind == "classification" and len(columns) > 1:
        raise InputError(f"{table.source}: --task {task_name} takes one label column, got {join_quoted(columns)}")
    if task.per_token:
        assert masks is not None
        parsed = [
            _parse_lists(table, column, values, sequences, task.kind, masks)
            for column, values in zip(columns, cells, strict=True)
        ]
        return _index_residues(table, task, parsed[0]) if task.kind == "classification" else _join(table, task, parsed)
    if task.kind == "classification":
        return _index_classes(table, task, cells[0])
    numbers = [_parse_numbers(table, column, values, task.kind) for column, values in zip(columns, cells, strict=True)]
    _check_variation(table, columns, [np.unique(each) for each in numbers])
    return numbers[0] if len(columns) == 1 else np.stack(numbers, axis=1), task


def _parse_numbers(table: Table, column: str, cells: Cells, kind: str) -> np.ndarray:
    """The labels of a column, `(rows,)`."""
    numbers, parse = cells.numbers, _PARSERS[kind]
    if kind == "multilabel":
        numbers = cells.map(
            lambda value: {"true": 1.0, "false": 0.0}.get(str(value).strip().lower(), parse_number(value)), float
        )
    wrong = ~np.isfinite(numbers) if kind == "regression" else ~np.isin(numbers, (0.0, 1.0))
    if wrong.any():
        row = int(wrong.argmax())
        parse(Cell(table.locations[row], column), cells[row])
    return numbers


def _parse_lists(
    table: Table, column: str, cells: Cells, sequences: Strings, kind: str, masks: list[list[bool]]
) -> list[list[Any]]:
    """The labels of the residues of each row."""
    known: dict[str, Any] = {}
    return [
        _parse_residues(Cell(location, column), value, sequence, mask, kind, known)
        for location, value, sequence, mask in zip(table.locations, cells, sequences, masks, strict=True)
    ]


def _join(table: Table, task: Task, parsed: list[list[list[float]]]) -> tuple[Labels, Task]:
    """Numbers of residues by column, row and residue, as they are or by row, residue and column."""
    values = ({value for residues in rows for value in residues if not math.isnan(value)} for rows in parsed)
    _check_variation(table, task.label_columns, list(values))
    if len(parsed) == 1:
        return parsed[0], task
    return [list(map(list, zip(*row, strict=True))) for row in zip(*parsed, strict=True)], task


def _parse_residues(
    cell: Cell, value: Any, sequence: str, mask: list[bool], kind: str, known: dict[str, Any]
) -> list[Any]:
    """The labels of one row's residues: class names, or floats; None or NaN where there is none.

    Args:
        mask: which residues may have a label; after the last of them the cell may end.
        known: what texts of this column stand for, filled here: few texts stand for millions of residues.
    """
    if is_missing(value):
        raise InputError(f"{cell}: the label is missing; {_SKIP}")
    labels = entries(value, numbers=kind != "classification")
    if len(labels) != len(sequence) and not (0 < len(labels) < len(sequence) and not any(mask[len(labels) :])):
        raise InputError(
            f"{cell}: expected {_expected(mask, len(sequence))}, got {len(labels)}; use --scored_residues if only the "
            "first residues have labels, --mask_column to mark those that have"
        )
    missing, parse = (None if kind == "classification" else math.nan), _RESIDUE_PARSERS[kind]
    labels += [None] * (len(sequence) - len(labels))
    parsed = []
    for number, (label, kept) in enumerate(zip(labels, mask, strict=True), start=1):
        is_text = isinstance(label, str)
        if not kept:
            parsed.append(missing)
        elif is_text and label in known:
            parsed.append(known[label])
        else:
            try:
                read = missing if _is_gap(label, kind) else parse(Cell(cell.location, cell.column, number), label)
            except InputError as error:
                raise InputError(f"{error}; --mask_column marks residues without a label") from None
            if is_text:
                known[label] = read
            parsed.append(read)
    return parsed


def _expected(mask: list[bool], length: int) -> str:
    scored = length - mask[::-1].index(True) if any(mask) else length
    return f"{length} labels, one per residue" + (f", or {scored}, one per scored residue" if scored < length else "")


def _index_classes(table: Table, task: Task, cells: Cells) -> tuple[Labels, Task]:
    """Cells as indices of classes, and the task with the names of these in order."""
    numbers, values = cells.distinct
    wrong = np.array([_is_no_class(value) for value in values])[numbers]
    if wrong.any():
        row = int(wrong.argmax())
        _parse_class(Cell(table.locations[row], task.label_columns[0]), cells[row])
    texts = [str(class_text(value)) for value in values]
    names = _class_names(table, task.label_columns[0], set(texts))
    index = {name: i for i, name in enumerate(names)}
    return np.array([index[text] for text in texts])[numbers], Task(task.name, task.label_columns, names)


def _index_residues(table: Table, task: Task, parsed: list[list[Any]]) -> tuple[Labels, Task]:
    """Names of classes of residues as indices, -100 for none, and the task with the names in order."""
    names = _class_names(table, task.label_columns[0], {name for residues in parsed for name in residues} - {None})
    index = {name: i for i, name in enumerate(names)} | {None: IGNORE_INDEX}
    return [[index[name] for name in residues] for residues in parsed], Task(task.name, task.label_columns, names)


def take_labels(labels: Labels, rows: np.ndarray) -> Labels:
    """Those of some rows."""
    return labels[rows] if isinstance(labels, np.ndarray) else [labels[row] for row in rows]


def class_notes(labels: Labels, task: Task) -> list[str]:
    """How often each class occurs, and which of them look like two spellings of one."""
    flat = np.concatenate([np.atleast_1d(label) for label in labels]) if task.per_token else np.asarray(labels)
    counts = np.bincount(flat[flat != IGNORE_INDEX], minlength=len(task.names))
    shown = [f"{name!r} {count:,}" for name, count in zip(task.names, counts, strict=True)][:_MAX_NAMED]
    notes = ["labels: classes " + ", ".join(shown) + ", ..." * (len(task.names) > _MAX_NAMED)]
    spelled: dict[str, list[str]] = {}
    for name in task.names:
        spelled.setdefault(name.casefold(), []).append(name)
    for names in spelled.values():
        if len(names) > 1:
            notes.append(f"labels: {join_quoted(names)} are different classes; spell them alike if they are one")
    return notes


def _is_gap(label: Any, kind: str) -> bool:
    """Whether a list has no label at a residue; `none` may be a class."""
    return is_missing(label) and not (kind == "classification" and str(label).lower() == "none" and label is not None)


def above_threshold(table: Table, column: str, values: Cells, threshold: float) -> Cells:
    """A column of numbers as 1 above a threshold and 0 elsewhere."""
    return Cells(pa.chunked_array([(_parse_numbers(table, column, values, "regression") > threshold).astype(np.int8)]))


def _parse_finite(cell: Cell, value: Any) -> float:
    if is_missing(value):
        raise InputError(f"{cell}: the label is missing (got {value!r}); {_SKIP}")
    number = parse_number(value)
    if number is None:
        commas = "; --decimal , reads decimal commas" if re.fullmatch(r"\s*-?\d+,\d+\s*", str(value)) else ""
        raise InputError(f"{cell}: expected a number, got {value!r}{commas}")
    if not math.isfinite(number):
        raise InputError(f"{cell}: expected a finite number, got {value!r}")
    return number


def _parse_binary(cell: Cell, value: Any) -> float:
    if str(value).strip().lower() in ("true", "false"):
        return float(str(value).strip().lower() == "true")
    number = _parse_finite(cell, value)
    if number not in (0.0, 1.0):
        raise InputError(f"{cell}: expected 0 or 1, got {value!r}")
    return number


def _is_no_class(value: Any) -> bool:
    return is_missing(value) or isinstance(value, (list, tuple, dict))


def _parse_class(cell: Cell, value: Any) -> str:
    if is_missing(value):
        raise InputError(f"{cell}: the label is missing (got {value!r}); {_SKIP}")
    if isinstance(value, (list, tuple, dict)):
        raise InputError(f"{cell}: expected one class, got {value!r}")
    return class_text(value)  # type: ignore[return-value]


# By the kind of task.
_PARSERS: dict[str, Callable[[Cell, Any], Any]] = {
    "regression": _parse_finite,
    "classification": _parse_class,
    "multilabel": _parse_binary,
}
_RESIDUE_PARSERS = _PARSERS | {"classification": lambda cell, value: class_text(value)}


def class_text(value: Any) -> str | None:
    """A cell as the name of a class, None if there is none."""
    if value is None:
        return None
    # A number that passed through a column of floats is still the same class.
    return re.sub(r"^(-?\d+)\.0+$", r"\1", str(value).strip())


def _class_names(table: Table, column: str, names: set[str]) -> tuple[str, ...]:
    if len(names) < 2:
        only = next(iter(names), None)
        raise InputError(f"{table.source}, column {column!r}: expected at least two classes, got only {only!r}")
    if all(re.fullmatch(r"-?\d+", name) for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))


def _check_variation(table: Table, columns: Sequence[str], distinct: Sequence[Collection[float]]) -> None:
    for column, values in zip(columns, distinct, strict=True):
        if len(values) < 2:
            only = next(iter(values), None)
            raise InputError(f"{table.source}, column {column!r}: every label is {only}, so there is nothing to learn")
