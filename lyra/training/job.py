"""One model, or one ensemble: from checked data to a scored checkpoint."""

import copy
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from transformers import set_seed

from ..data.arguments import DataArguments
from ..data.preparation import Prepared
from ..errors import InputError
from ..files import compare_fingerprint, read_json
from ..inference.loading import load_model
from ..inference.logits import logits_of_split, to_items
from ..metrics import check_selection, greater_is_better
from ..modeling_lyra import LyraClassificationModel
from .arguments import ModelArguments
from .base_trainer import global_batch_size
from .budget import usual_ensemble, usual_epochs, usual_patience
from .calibration import Held, calibrate, scale_logits
from .checkpoints import (
    MEMBERS,
    check_members,
    is_finished,
    remove_leftovers,
    remove_run,
)
from .diagnosis import find_problems
from .linear import fit_linear
from .linear_term import LinearTerm, fit_linear_term
from .model import Build, build_model, label_fields
from .record import check_new_columns, run_record, write_run
from .running import best_epoch, run_trainer
from .trainer import LyraTrainingArguments, build_trainer

# What a resumed run must have in common with the interrupted one, besides batch size, data and model.
_SETTINGS = (
    "num_train_epochs",
    "max_steps",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "seed",
)


@dataclass
class CrossValidation:
    """What the models of the folds found.

    Attributes:
        record: their scores.
        held: their predictions for their test rows.
    """

    record: dict[str, Any]
    held: list[Held]


def run_job(
    data: Prepared,
    data_args: DataArguments,
    model_args: ModelArguments,
    args: LyraTrainingArguments,
    command: str,
    build: Build,
    cross_validation: CrossValidation | None = None,
    more: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Trains one model, or the members of an ensemble and what they are together, into `args.output_dir`.

    Each member is such a run of its own, in `members/`.

    Args:
        cross_validation: of the same settings.
        more: what else the record is to hold.

    Returns:
        The record, of the first process only.
    """
    started = time.monotonic()
    output, main = Path(args.output_dir), args.process_index == 0  # type: ignore[arg-type]
    args, members = settle(data, model_args, args)
    if main:
        print(*data.notes, sep="\n", flush=True)
    if main and args.max_steps < 0:
        print(f"epochs: at most {args.num_train_epochs:g}, members: {members}", flush=True)
    _check_plan(output, data, model_args, args, build, members)
    term = linear_term_of(data, model_args, args)
    if args.overwrite_output_dir:
        if main:
            remove_run(output)
        PartialState().wait_for_everyone()  # no process may take the old run for its own
    job = Job(data, data_args, model_args, args, build, members, term, command, started, cross_validation, more)
    return job.run_ensemble(output) if members > 1 else job.run(output, args)


def settle(
    data: Prepared, model_args: ModelArguments, args: LyraTrainingArguments
) -> tuple[LyraTrainingArguments, int]:
    """The arguments with what the user left open, the metric to select by, epochs and patience; and the members of the
    ensemble."""
    args = copy.copy(args)
    args.metric_for_best_model = _selection_metric(args.metric_for_best_model, data)
    args.greater_is_better = greater_is_better(args.metric_for_best_model)
    free = args.num_train_epochs is None and args.max_steps < 0 and args.resume_from_checkpoint is None
    if args.num_train_epochs is None:
        args.num_train_epochs = usual_epochs(data, global_batch_size(args), args.max_letters)
        args.early_stopping_patience = args.early_stopping_patience or usual_patience(args.num_train_epochs)
    if model_args.ensemble is not None:
        return args, model_args.ensemble
    new = model_args.model_name_or_path is None
    return args, usual_ensemble(data, args.num_train_epochs, args.max_letters) if free and new else 1


def _check_plan(
    output: Path, data: Prepared, model_args: ModelArguments, args: LyraTrainingArguments, build: Build, members: int
) -> None:
    """Raises InputError if the model cannot be built, or its run would go wrong at the end."""
    start = model_args.model_name_or_path
    if args.overwrite_output_dir and start is not None and Path(start).resolve().is_relative_to(output.resolve()):
        raise InputError(f"--overwrite_output_dir: would remove {start}, from which --model_name_or_path starts")
    if args.seed + members > 2**32:
        raise InputError(f"--seed: expected at most 2**32 - {members} for {members} members, got {args.seed}")
    if args.resume:
        check_members(output, members)
    check_new_columns(data, build_model(model_args, data, build).config, members)


@dataclass
class Job:
    """What all members of an ensemble share."""

    data: Prepared
    data_args: DataArguments
    model_args: ModelArguments
    args: LyraTrainingArguments
    build: Build
    members: int
    term: LinearTerm | None
    command: str
    started: float
    cross_validation: CrossValidation | None
    more: dict[str, Any] | None

    def run(self, output: Path, args: LyraTrainingArguments, is_member: bool = False) -> dict[str, Any]:
        """Trains one model into a folder; returns its record, of the first process only."""
        args, data, main = copy.copy(args), self.data, args.process_index == 0
        fingerprint = self._fingerprint(args)
        if args.resume and is_finished(output):
            record = read_json(output / "metrics.json")
            compare_fingerprint(output, record["run"], fingerprint)
            if main:
                remove_leftovers(output)
                print(f"{output}: finished already")
            return record if main else {}
        set_seed(args.seed)
        model = build_model(self.model_args, data, self.build, self.term)
        if main:
            print(f"model: {model.num_parameters():,} parameters, seed {args.seed}")
            print(
                f"training: {args.world_size} process(es), {global_batch_size(args)} sequences per step",
                flush=True,
            )
        trainer = run_trainer(output, args, fingerprint, lambda args: build_trainer(self.data, args, model=model))
        if not main:
            return {}
        model.to(args.device).eval()
        history = trainer.state.log_history
        seconds = round(history[-1]["train_runtime"], 1)
        training = {"best_epoch": best_epoch(trainer), "training_seconds": seconds, "run": fingerprint}
        if self.term is not None:
            training["linear_term"] = self.term.join(model, data)
        return self._score_and_write(output, args, model, training, history, compare=not is_member)

    def run_ensemble(self, output: Path) -> dict[str, Any]:
        """Trains the members that are not yet there, and makes one model of them."""
        folders = []
        for seed in range(self.args.seed, self.args.seed + self.members):
            folders.append(output / MEMBERS / str(seed))
            args = copy.copy(self.args)
            args.seed, args.resume = seed, True  # a folder of this run is new, or of its interruption
            with _removing_empty_folders(output):
                self.run(folders[-1], args, is_member=True)
        if self.args.process_index != 0:
            return {}
        records = [read_json(folder / "metrics.json") for folder in folders]
        if self.term is not None and not any(record["linear_term"]["network_share"] for record in records):
            return self._keep_one(output, folders[0], records)
        models = [load_model(str(folder))[0] for folder in folders]
        model = type(models[0]).as_ensemble(models).to(self.args.device)
        kept = ("best_epoch", "validation", "test", "training_seconds")
        members = [{"seed": r["hyperparameters"]["seed"]} | {key: r[key] for key in kept} for r in records]
        seconds = sum(member["training_seconds"] for member in members)
        training = {"members": members, "training_seconds": round(seconds, 1)}
        if self.term is not None:
            shares = [record["linear_term"]["network_share"] for record in records]
            training["linear_term"] = records[0]["linear_term"] | {"network_share": shares}
        return self._score_and_write(output, self.args, model, training, [], compare=True)

    def _keep_one(self, output: Path, folder: Path, records: list[dict[str, Any]]) -> dict[str, Any]:
        """Of members that are all the linear term alone, whose deviations would be zero."""
        print("ensemble: all members are the linear term alone, one is kept", flush=True)
        model = load_model(str(folder))[0].to(self.args.device)
        training = {key: records[0][key] for key in ("best_epoch", "linear_term", "run")}
        training["training_seconds"] = round(sum(record["training_seconds"] for record in records), 1)
        return self._score_and_write(output, self.args, model, training, [], compare=True)

    def _fingerprint(self, args: LyraTrainingArguments) -> dict[str, Any]:
        """What must not change when a run is resumed."""
        settings = {name: getattr(args, name) for name in _SETTINGS}
        fingerprint = {
            "data": self.data.sha256,
            "data options": _without(asdict(self.data_args), "data", "labels", "cache_dir"),
            "model settings": _without(asdict(self.model_args), "ensemble", "model_name_or_path"),
            "training settings": settings | {"batch size": global_batch_size(args)},
        }
        return json.loads(json.dumps(fingerprint, default=str))  # as a file has it

    def _score_and_write(
        self,
        output: Path,
        args: LyraTrainingArguments,
        model: LyraClassificationModel,
        training: dict[str, Any],
        history: list[Any],
        compare: bool,
    ) -> dict[str, Any]:
        """Scores both splits and fills the folder; returns the record.

        Args:
            training: what the record says of the training.
            history: the log of the Trainer, empty for an ensemble.
            compare: whether to fit a linear model, too.
        """
        data, folds = self.data, self.cross_validation
        temperature = scale_logits(model, data) if compare else None
        predictions = {}
        for split in data.scored:
            before = time.monotonic()
            predictions[split] = logits_of_split(model, data, split)
            per_thousand = 1000 * (time.monotonic() - before) / len(data.sequences[split])
        record = run_record(data, self.data_args, self.model_args, args, model, predictions)
        record |= {"command": self.command} | training | (self.more or {})
        if compare:
            linear = fit_linear(data, record["selected_by"], args.seed)
            record["linear"] = linear and linear.record
            calibration = calibrate(model.config, data, predictions, folds.held if folds else None)
            record["calibration"] = {"temperature": temperature} | calibration
        if folds is not None:
            record["cross_validation"] = folds.record
        record["warnings"] = find_problems(data, record, to_items(predictions[data.scored[-1]].logits))
        record["seconds_per_1000_predictions"] = round(per_thousand, 4)
        record["seconds"] = round(time.monotonic() - self.started, 1)
        write_run(output, model, data, predictions.get("test"), record, history)
        return record


def linear_term_of(data: Prepared, model_args: ModelArguments, args: LyraTrainingArguments) -> LinearTerm | None:
    """The linear term of a new model of whole sequences."""
    wanted, curve = model_args.linear_term, model_args.global_epistasis
    if curve == "monotone" and (wanted == "none" or data.task.kind != "regression"):
        raise InputError("--global_epistasis monotone: only over the linear term of a regression")
    if data.task.per_token or wanted == "none" or model_args.model_name_or_path is not None:
        for flag, value in (("linear_term", wanted), ("global_epistasis", curve)):
            if value not in ("auto", "none"):
                raise InputError(f"--{flag} {value}: only in a new model, for labels of whole sequences")
        return None
    metric = str(args.metric_for_best_model)
    both_strands = model_args.reverse_complement in ("predict", "both")
    term = fit_linear_term(data, metric, wanted, curve, label_fields(model_args, data), both_strands)
    if term is None and (wanted != "auto" or curve == "monotone"):
        raise InputError(f"--linear_term {wanted}: the training sequences have no such features to learn from")
    if args.process_index == 0:
        print("linear term: " + (term.describe() if term else "none, all training sequences are alike"), flush=True)
    return term


def _selection_metric(chosen: str | None, data: Prepared) -> str:
    """The validation metric to select by, without the Trainer's prefix."""
    usual = data.task.spec.selected_by
    if chosen is None:
        columns = data.label_values("validation").T
        if any(len(np.unique(column[~np.isnan(column)])) > 1 for column in columns):
            return usual
        note = f"selection: by loss, as {usual} is undefined where all labels are equal"
        data.notes += [note] * (note not in data.notes)
        return "loss"
    check_selection(chosen, data.task)
    return chosen.removeprefix("eval_")


def _without(options: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in names}


@contextmanager
def _removing_empty_folders(output: Path) -> Iterator[None]:
    """Removes the folders of an ensemble that ends before the first checkpoint of its first member."""
    try:
        yield
    except BaseException:
        for folder in (output / MEMBERS, output):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise
