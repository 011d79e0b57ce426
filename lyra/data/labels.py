"""What a table's labels mean and what they are: the task, and every label cell as numbers."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import InputError, join_quoted
from ..tasks import Task
from .loading import Table
from .readers import RowLocation

IGNORE_INDEX = -100  # no class, as in torch's cross-entropy
_LARGE_SHARE = 0.9  # a kind is recognised by this share of the cells; the rest are reported as errors
_MAX_INTEGER_CLASSES = 10
_MAX_CLASSES = 1000
_MISSING = ("", "na", "nan", "none", "null")


def detect_task(source: str, columns: list[str], cells: list[list[Any]], sequences: list[str]) -> str:
    """The task that most of the cells of the first label column look like.

    Raises:
        InputError: if they look like neither numbers nor classes.
    """
    values, several = cells[0], len(cells) > 1
    if _is_per_residue(values, sequences):
        symbols = (symbol for value in values for symbol in _symbols(value))
        if any(isinstance(symbol, float) and not symbol.is_integer() for symbol in symbols):
            return "token_regression"
        return "token_multilabel" if several else "token_classification"
    if several:
        return _detect_outputs(source, columns, cells)
    numbers = [parse_number(value) for value in values]
    if _share([number is not None for number in numbers]) < 0.5:
        if _share([bool(re.fullmatch(r"\s*-?\d+,\d+\s*", str(value))) for value in values]) > 0.5:
            raise InputError(
                f"{source}, column {columns[0]!r}: decimal commas as in {values[0]!r}; expected decimal points"
            )
        distinct = len({str(value) for value in values})
        if distinct > min(_MAX_CLASSES, len(values) / 2):
            raise InputError(
                f"{source}, column {columns[0]!r}: {distinct} different texts in {len(values)} rows are neither "
                "numbers nor classes; set --label_columns or --task to override"
            )
        return "classification"
    written = {str(_class_text(value)) for value, number in zip(values, numbers, strict=True) if number is not None}
    text = any(number is None and not is_missing(value) for value, number in zip(values, numbers, strict=True))
    if text or len(written) > _MAX_INTEGER_CLASSES or not all(re.fullmatch(r"\d+", number) for number in written):
        return "regression"
    return "classification" if {int(number) for number in written} == set(range(len(written))) else "regression"


def _is_per_residue(values: list[Any], sequences: list[str]) -> bool:
    lengths = [_label_length(value) for value in values]
    matching = [length == len(sequence) > 1 for length, sequence in zip(lengths, sequences, strict=True)]
    # Where all sequences have one length, class names may happen to have it too; they repeat, label strings do not.
    words = {value for value in values if isinstance(value, str) and len(value.split()) == 1}
    repeating = len(set(map(len, sequences))) == 1 and 0 < 2 * len(words) <= len(values)
    return _share(matching) >= _LARGE_SHARE and not repeating


def _detect_outputs(source: str, columns: list[str], cells: list[list[Any]]) -> str:
    """Several label columns: yes or no in all of them, or numbers."""
    written = {str(_class_text(value)).lower() for column in cells for value in column if not is_missing(value)}
    if written <= {"0", "1", "true", "false"}:
        return "multilabel"
    for column, values in zip(columns, cells, strict=True):
        if _share([parse_number(value) is not None for value in values]) < 0.5:
            raise InputError(f"{source}: several label columns must hold numbers, got {values[0]!r} in {column!r}")
    return "regression"


def parse_labels(
    table: Table,
    task_name: str,
    columns: list[str],
    cells: list[list[Any]],
    sequences: list[str],
    masks: list[list[bool]] | None,
) -> tuple[list[Any], Task]:
    """Turns label cells into numbers.

    Returns:
        One entry per row (a float, a class index, or a list of floats; for token tasks a list of one such entry per
        residue, with -100 or NaN where there is no label) and the task.

    Raises:
        InputError: naming the row and column of the first wrong cell.
    """
    task = Task(task_name, tuple(columns), tuple(columns))
    if task.kind == "classification" and len(columns) > 1:
        raise InputError(f"{table.source}: --task {task_name} takes one label column, got {join_quoted(columns)}")
    parsed = [
        _parse_column(table, column, values, sequences, task, masks)
        for column, values in zip(columns, cells, strict=True)
    ]
    if task.kind == "classification":
        return _index_classes(table, task, parsed[0])
    _check_variation(table, columns, parsed, task.per_token)
    if len(columns) == 1:
        return parsed[0], task
    if task.per_token:  # by column, row and residue, to by row, residue and column
        return [list(map(list, zip(*row, strict=True))) for row in zip(*parsed, strict=True)], task
    return list(map(list, zip(*parsed, strict=True))), task


def _parse_column(
    table: Table, column: str, values: list[Any], sequences: list[str], task: Task, masks: list[list[bool]] | None
) -> list[Any]:
    """One label column: a class name or a float per row, or a list of them, with None or NaN for no label."""
    parse = _PARSERS[task.kind]
    if not task.per_token:
        return [parse(location, column, value) for location, value in zip(table.locations, values, strict=True)]
    missing = None if task.kind == "classification" else math.nan
    rows = []
    for i, (location, value, sequence) in enumerate(zip(table.locations, values, sequences, strict=True)):
        residues = _parse_residues(location, column, value, sequence, task.kind)
        kept = masks[i] if masks is not None else [True] * len(residues)
        rows.append([missing if not keep or r is None else r for r, keep in zip(residues, kept, strict=True)])
    return rows


def _index_classes(table: Table, task: Task, parsed: list[Any]) -> tuple[list[Any], Task]:
    """Class names as indices, -100 for none, and the task with the names in order."""
    flat = [name for residues in parsed for name in residues] if task.per_token else parsed
    names = _class_names(table, task.label_columns[0], set(flat) - {None})
    index = {name: i for i, name in enumerate(names)} | {None: IGNORE_INDEX}
    task = Task(task.name, task.label_columns, names)
    if task.per_token:
        return [[index[name] for name in residues] for residues in parsed], task
    return [index[name] for name in parsed], task


def _parse_residues(location: RowLocation, column: str, value: Any, sequence: str, kind: str) -> list[Any]:
    """The labels of one row's residues: class names, or floats; None where a list has a null."""
    symbols = _symbols(value) if kind != "classification" else [_class_text(s) for s in _symbols(value, numbers=False)]
    if is_missing(value):
        raise InputError(f"{location}, column {column!r}: the label is missing")
    if len(symbols) != len(sequence):
        raise InputError(
            f"{location}, column {column!r}: expected {len(sequence)} labels, one per residue, got {len(symbols)}"
        )
    if kind == "classification":
        return symbols
    return [None if symbol is None else _PARSERS[kind](location, column, symbol) for symbol in symbols]


def _symbols(value: Any, numbers: bool = True) -> list[Any]:
    """The per-residue entries of a cell: a list, numbers separated by white space, or one character each."""
    if isinstance(value, (list, tuple)):
        return list(value)
    text = str(value).strip()
    parts = text.split()
    if len(parts) > 1 and all(parse_number(part) is not None for part in parts):
        return [float(part) for part in parts] if numbers else parts
    return list("".join(parts))


def _label_length(value: Any) -> int:
    if isinstance(value, str) and re.search(r"\d\.\d", value) and len(value.split()) == 1:
        return 1  # one decimal number, whatever the number of its digits
    return len(_symbols(value)) if isinstance(value, (str, list, tuple)) else 1


def above_threshold(table: Table, column: str, values: list[Any], threshold: float) -> list[str]:
    """A column of numbers as `"1"` above a threshold and `"0"` elsewhere."""
    return [
        str(int(_parse_finite(location, column, value) > threshold))
        for location, value in zip(table.locations, values, strict=True)
    ]


def _parse_finite(location: RowLocation, column: str, value: Any) -> float:
    if is_missing(value):
        raise InputError(f"{location}, column {column!r}: the label is missing (got {value!r})")
    number = parse_number(value)
    if number is None:
        raise InputError(f"{location}, column {column!r}: expected a number, got {value!r}")
    if not math.isfinite(number):
        raise InputError(f"{location}, column {column!r}: expected a finite number, got {value!r}")
    return number


def _parse_binary(location: RowLocation, column: str, value: Any) -> float:
    if str(value).strip().lower() in ("true", "false"):
        return float(str(value).strip().lower() == "true")
    number = _parse_finite(location, column, value)
    if number not in (0.0, 1.0):
        raise InputError(f"{location}, column {column!r}: expected 0 or 1, got {value!r}")
    return number


def _parse_class(location: RowLocation, column: str, value: Any) -> str:
    if is_missing(value):
        raise InputError(f"{location}, column {column!r}: the label is missing (got {value!r})")
    if isinstance(value, (list, tuple, dict)):
        raise InputError(f"{location}, column {column!r}: expected one class, got {value!r}")
    return _class_text(value)  # type: ignore[return-value]


# By the kind of task: one label, or that of one residue.
_PARSERS: dict[str, Callable[[RowLocation, str, Any], Any]] = {
    "regression": _parse_finite,
    "classification": _parse_class,
    "multilabel": _parse_binary,
}


def _class_text(value: Any) -> str | None:
    if value is None:
        return None
    # A number that passed through a column of floats is still the same class.
    return re.sub(r"^(-?\d+)\.0+$", r"\1", str(value).strip())


def parse_number(value: Any) -> float | None:
    """A cell as a number, None if it is none."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float, np.number)):
        return None
    if isinstance(value, str) and ("_" in value or not re.fullmatch(r"[\s\w.+-]+", value, re.ASCII)):
        return None  # float() would also take 1_000 and digits of other scripts
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def is_missing(value: Any) -> bool:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return isinstance(value, str) and value.strip().lower() in _MISSING


def _class_names(table: Table, column: str, names: set[str]) -> tuple[str, ...]:
    if len(names) < 2:
        only = next(iter(names), None)
        raise InputError(f"{table.source}, column {column!r}: expected at least two classes, got only {only!r}")
    if all(re.fullmatch(r"-?\d+", name) for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))


def _share(flags: list[bool]) -> float:
    return sum(flags) / len(flags)


def _check_variation(table: Table, columns: list[str], parsed: list[list[Any]], per_token: bool) -> None:
    for column, values in zip(columns, parsed, strict=True):
        flat = [v for residues in values for v in residues] if per_token else values
        distinct = {value for value in flat if not math.isnan(value)}
        if len(distinct) < 2:
            only = next(iter(distinct), None)
            raise InputError(f"{table.source}, column {column!r}: every label is {only}, so there is nothing to learn")


def is_mask(table: Table, column: str) -> bool:
    """Whether a column holds 0 and 1 for each residue in at least one row, and so is meant as a mask."""
    return any(all(symbol in ("0", "1", 0, 1) for symbol in _symbols(row.get(column))) for row in table.rows)


def read_masks(table: Table, column: str, sequences: list[str]) -> list[list[bool]]:
    """Which residues of each row have a label.

    Raises:
        InputError: naming the first row without a 0 or 1 for each residue.
    """
    masks = []
    for location, row, sequence in zip(table.locations, table.rows, sequences, strict=True):
        symbols = [parse_number(symbol) for symbol in _symbols(row.get(column))]
        if len(symbols) != len(sequence) or not set(symbols) <= {0.0, 1.0}:
            raise InputError(
                f"{location}, column {column!r}: expected {len(sequence)} of 0 and 1, one per residue, got "
                f"{len(symbols)} entries {str(row.get(column))[:20]!r}"
            )
        masks.append([symbol == 1.0 for symbol in symbols])
    return masks
