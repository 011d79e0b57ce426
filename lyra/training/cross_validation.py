"""Cross-validation: a model of each fold, what they say of the rows that they did not see, and a model of all rows."""

import copy
import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data.arguments import DataArguments
from ..data.cache import Cache
from ..data.labels import class_text
from ..data.preparation import CheckedData, check
from ..errors import InputError, join_quoted
from ..files import write_then_rename
from ..inference.loading import load_model
from ..inference.logits import logits_of_split
from .arguments import ModelArguments
from .calibration import Held, hold
from .checkpoints import FOLDS, remove_run
from .job import CrossValidation, run_job
from .model import Build
from .trainer import LyraTrainingArguments

PREDICTIONS = "out_of_fold.csv"
_FOLD = "test_fold"  # the column that it adds
_FEWEST = 2


def cross_validate(
    data: CheckedData,
    data_args: DataArguments,
    model_args: ModelArguments,
    args: LyraTrainingArguments,
    cache: Cache,
    command: str,
    build: Build,
) -> dict[str, Any]:
    """Trains a model for each fold into `folds/` of `args.output_dir`, one on all rows into it, and writes
    `out_of_fold.csv`.

    Args:
        data: all rows, none for the test.

    Returns:
        The record of the model of all rows, with the scores of the folds; of the first process only.

    Raises:
        InputError: if there are fewer than two folds, or the table has a column of the same name as one to be added.
    """
    output, main = Path(args.output_dir), args.process_index == 0  # type: ignore[arg-type]
    names = fold_names(data, data_args)
    if any(_FOLD in rows.names for rows in data.rows.values()):
        raise InputError(f"{data.source}: the input already has a column {_FOLD!r}; rename it first")
    of_fold = [replace(data_args, cross_validate=False, fold=name) for name in names]
    for fold_args in of_fold:
        check(fold_args)  # better now than after hours
    if args.overwrite_output_dir and main:
        remove_run(output)
    args = copy.copy(args)
    args.overwrite_output_dir = False
    records: list[dict[str, Any]] = []
    held: list[Held] = []
    rows: dict[int, dict[str, str]] = {}
    for number, (name, fold_args) in enumerate(zip(names, of_fold, strict=True), 1):
        if main:
            print(f"\n── fold {name}, {number} of {len(names)}", flush=True)
        fold_training = copy.copy(args)
        fold_training.output_dir, fold_training.resume = str(output / FOLDS / str(number)), True
        fold = cache.prepare(fold_args)
        records.append(run_job(fold, fold_args, model_args, fold_training, command, build))
        if main:
            predicted = _read(Path(fold_training.output_dir) / "predictions.csv")
            rows |= {i: row | {_FOLD: name} for i, row in zip(fold.numbers["test"], predicted, strict=True)}
            model, _ = load_model(fold_training.output_dir)
            held.append(hold(fold, "test", logits_of_split(model, fold, "test")))
    if main:
        _write(output / PREDICTIONS, [rows[i] for i in sorted(rows)])
        print("\n── all rows", flush=True)
    folds = CrossValidation(summarise(names, records), held) if main else None
    return run_job(cache.prepare(data_args, data), data_args, model_args, args, command, build, folds)


def fold_names(data: CheckedData, args: DataArguments) -> list[str]:
    """What `--fold` would be for each fold: numbers from 1, or the values of the column of folds.

    Raises:
        InputError: if the column has fewer than two values.
    """
    if args.folds is not None:
        return [str(number) for number in range(1, args.folds + 1)]
    column = str(args.split_column)
    found = {class_text(value) for rows in data.rows.values() for value in rows.column(column).distinct[1]}
    names = sorted(map(str, found), key=lambda name: (len(name), name))
    if len(names) < _FEWEST:
        raise InputError(f"{data.source}, column {column!r}: expected at least two folds, got {join_quoted(names)}")
    return names


def summarise(names: list[str], records: list[dict[str, Any]]) -> dict[str, Any]:
    """What the record says of a cross-validation: test scores of each fold, means and standard deviations over them, of
    Lyra and of the linear model."""
    linear = [record["linear"]["test"] for record in records if record.get("linear")]
    return {
        "folds": [{"fold": name, "test": r["test"], "n": r["n"]} for name, r in zip(names, records, strict=True)],
        "scores": _mean_and_spread([record["test"] for record in records]),
        "linear": _mean_and_spread(linear) if len(linear) == len(records) else None,
    }


def _mean_and_spread(scores: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Of the scores that all folds have."""
    known = [name for name in scores[0] if all(name in each for each in scores)]
    values = {name: [each[name] for each in scores] for name in known}
    return {name: {"mean": float(np.mean(v)), "std": float(np.std(v, ddof=1))} for name, v in values.items()}


def _read(file: Path) -> list[dict[str, str]]:
    with open(file, newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _write(file: Path, rows: list[dict[str, str]]) -> None:
    columns = dict.fromkeys(column for row in rows for column in row)
    with write_then_rename(file) as partial, open(partial, "w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, columns)
        writer.writeheader()
        writer.writerows(rows)
