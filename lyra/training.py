"""Training: parameter groups, the Trainer, and the job behind `lyra train`."""

import copy
import gc
import json
import math
import os
import platform
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError  # what `weights_only` answers to other things than tensors
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from safetensors import SafetensorError
from torch.utils.data import Sampler
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import EvalPrediction, rotate_checkpoints

from . import __version__
from .configuration_lyra import LABEL_FIELDS, LyraConfig
from .data import DataArguments, LyraCollator, Prepared, prepare
from .hub import example_sequence, model_card, publish, repository_of
from .inference import Answers, added_columns, compute_logits, extend_row, load_model, prediction_columns
from .labels import Task
from .metrics import METRICS, SELECTED_BY, compute_metrics
from .modeling_lyra import (
    IGNORE_INDEX,
    LyraClassificationModel,
    LyraForSequenceClassification,
    LyraForTokenClassification,
    LyraPreTrainedModel,
)
from .plots import plot_confusion, plot_history, plot_measured, plot_roc
from .runs import (
    CHECKPOINTS,
    LOCK,
    Terminated,
    checkpoint_to_resume,
    compare_run,
    follow_move,
    is_finished,
    last_checkpoint,
    locked,
    mark_run,
    read_json,
    remove_checkpoints,
    remove_unfinished,
    seal,
)
from .tables import InputError, TableWriter, one_line

_MEMBERS = "members"
_QUANTILES = 256
_SSM_PARAMETERS = ("log_dt", "log_A_real", "A_imag")
# What a resumed run must have in common with the interrupted one, besides batch size, data and model.
_SETTINGS = ["num_train_epochs", "max_steps", "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay"]
_SETTINGS += ["seed"]
# Several processes must end after the same step, and to agree they wait for their devices.
_STEPS_BETWEEN_AGREEMENTS = 10
_LITTLE = 1 << 20  # bytes; less than a checkpoint
_LOWER_IS_BETTER = ("loss", "rmse", "mae")


@dataclass
class ModelArguments:
    """Which model to train."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Checkpoint to start from; by default a new model."}
    )
    model_revision: str | None = field(
        default=None, metadata={"help": "Branch, tag or commit of a checkpoint on the Hub; a commit never changes."}
    )
    preset: str = field(
        default="paper",
        metadata={"help": "Architecture of a new model: the paper's, or the deep one.", "choices": ("paper", "deep")},
    )
    config_overrides: list[str] | None = field(
        default=None,
        metadata={"help": "Fields of LyraConfig for a new model, as hidden_size=128 bidirectional=true ..."},
    )
    label_transform: str = field(
        default="standardize",
        metadata={
            "help": "What a regression learns: labels of mean 0 and deviation 1, or their ranks as normal scores, for "
            "skewed labels and rank correlations. Predictions are in label units either way.",
            "choices": ("standardize", "rank"),
        },
    )
    class_weights: str = field(
        default="none",
        metadata={
            "help": "Weights of the classes in the loss; balanced: as rare as they are.",
            "choices": ("none", "balanced"),
        },
    )
    ensemble: int = field(
        default=1, metadata={"help": "Train so many models, of seeds that follow --seed, that answer together."}
    )


@dataclass
class LyraTrainingArguments(TrainingArguments):
    """`TrainingArguments` with the paper's recipe as defaults (AdamW 1e-3, weight decay 0.01, 100 epochs)."""

    learning_rate: float = field(default=1e-3, metadata={"help": "Learning rate of AdamW."})
    weight_decay: float = field(default=0.01, metadata={"help": "Weight decay; none for the state space parameters."})
    num_train_epochs: float = field(default=100.0, metadata={"help": "Number of epochs."})
    lr_scheduler_type: str = field(default="constant", metadata={"help": "Learning rate schedule."})
    per_device_train_batch_size: int = field(default=64, metadata={"help": "Sequences per device and step."})
    per_device_eval_batch_size: int = field(default=256, metadata={"help": "Sequences per device in evaluation."})
    train_sampling_strategy: str = field(
        default="group_by_length",
        metadata={
            "help": "Order of the training data; by default similar lengths share a batch.",
            "choices": ["random", "sequential", "group_by_length"],
        },
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "When to score the validation split."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save a checkpoint to resume from."})
    logging_strategy: str = field(default="epoch", metadata={"help": "When to log the training loss."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints kept besides the best."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Select the best epoch by validation."})
    metric_for_best_model: str | None = field(
        default=None,
        metadata={"help": "Validation metric to select by; default spearman, mcc or auroc, as the task is."},
    )
    report_to: str | None = field(default="none", metadata={"help": "Experiment trackers."})
    dataloader_pin_memory: bool = field(
        default_factory=torch.cuda.is_available, metadata={"help": "Pin memory; by default where there is a GPU."}
    )
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata={"help": "Search for unused parameters in several processes; Lyra has none."}
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after so many evaluations without a better validation metric."}
    )
    resume: bool = field(default=False, metadata={"help": "Continue an interrupted run in output_dir."})

    def __post_init__(self):
        chosen = self.metric_for_best_model
        super().__post_init__()
        self.metric_for_best_model = chosen  # the parent put "loss" where nothing was chosen; the task will choose


class LyraTrainer(Trainer):
    """The Hugging Face Trainer with Lyra's parameter groups and, by default, its collator and metrics.

    Args:
        task: what the labels mean, as `lyra.data.prepare` found it; gives the metrics.
        kwargs: as for `transformers.Trainer`; `processing_class` is the [`LyraTokenizer`].
    """

    def __init__(self, *args, task: Task, **kwargs):
        kwargs.setdefault("data_collator", LyraCollator(kwargs["processing_class"], task.per_token))
        kwargs.setdefault("compute_metrics", self._score)
        self.task = task
        super().__init__(*args, **kwargs)

    def _score(self, prediction: EvalPrediction) -> dict[str, float]:
        labels = np.asarray(prediction.label_ids)
        if self.task.per_token and self.task.kind != "classification":
            labels = np.where(labels == IGNORE_INDEX, np.nan, labels)
        scores = compute_metrics(self.task.kind, np.asarray(prediction.predictions), labels, self.task.names)
        # Where the metric to select by is undefined, say the correlation of a constant, any other value is better.
        selected = (self.args.metric_for_best_model or "loss").removeprefix("eval_")
        worst = -math.inf if self.args.greater_is_better else math.inf
        return scores if selected == "loss" else {selected: worst} | scores

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        sampler = super()._get_train_sampler(train_dataset)
        return _OrderOfEpoch(sampler, self) if hasattr(sampler, "generator") else sampler

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            model = self.model if model is None else model
            optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args, model)
            self.optimizer: Any = optimizer_class(parameter_groups(model, self.args.weight_decay), **options)
        return self.optimizer


class _RunKeeper(TrainerCallback):
    """Seals each checkpoint when all processes have written their part, and drops those no longer needed; on SIGTERM
    saves after the current step and raises [`Terminated`]; stops a run whose validation no longer gets better.

    Args:
        accelerator: of the Trainer.
        kept: checkpoints to keep; None for all.
        patience: evaluations without a better one after which to stop; None for never.
    """

    def __init__(self, accelerator: Accelerator, kept: int | None, patience: int | None):
        self.accelerator, self.kept, self.patience = accelerator, kept, patience
        self._told = self._ending = False
        self._handler: Any = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGTERM, self._note)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.accelerator.num_processes == 1:
            self._ending = self._told
        elif state.global_step % _STEPS_BETWEEN_AGREEMENTS == 0:
            told = torch.tensor(float(self._told), device=self.accelerator.device)
            self._ending = bool(self.accelerator.reduce(told) > 0)
        # After the last step of an epoch its end comes first, or a resumed run would never score that epoch.
        last = state.global_step >= state.max_steps or state.epoch == int(state.epoch or 0)
        control.should_save |= self._ending and not last

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        control.should_save |= self._ending

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if _ran_out_of_patience(state, args, self.patience):
            control.should_training_stop = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.accelerator.wait_for_everyone()
        if state.is_world_process_zero:
            folder = Path(str(args.output_dir))
            seal(folder / f"checkpoint-{state.global_step}")
            rotate_checkpoints(str(folder), self.kept, state.best_model_checkpoint)
        if self._ending:
            self.on_train_end()
            raise Terminated

    def _note(self, *_: Any) -> None:
        self._told = True


def _step_of_stop(checkpoint: Path, args: TrainingArguments, patience: int | None) -> int | None:
    """The step of a checkpoint if the run that wrote it had run out of patience by then."""
    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    return state.global_step if _ran_out_of_patience(state, args, patience) else None


def _ran_out_of_patience(state: TrainerState, args: TrainingArguments, patience: int | None) -> bool:
    """From the log alone, which a resumed run has too."""
    if patience is None:
        return False
    key = f"eval_{str(args.metric_for_best_model).removeprefix('eval_')}"
    sign = 1 if args.greater_is_better else -1
    scores = [sign * entry[key] for entry in state.log_history if key in entry]
    return bool(scores) and len(scores) - 1 - scores.index(max(scores)) >= patience


class _OrderOfEpoch(Sampler):
    """A random order that follows from seed, epoch and global batch alone: a run resumed within an epoch finds
    the batches of that epoch again, and several processes share those of one."""

    def __init__(self, sampler: Any, trainer: LyraTrainer):
        self.sampler, self.trainer = sampler, trainer

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[int]:
        args, epoch = self.trainer.args, int(self.trainer.state.epoch or 0)
        seed = args.seed if args.data_seed is None else args.data_seed
        self.sampler.generator = torch.Generator().manual_seed(seed + epoch)
        self.sampler.batch_size = _batch_size(args)  # what lengths are grouped by, on any number of processes
        return iter(self.sampler)


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Three groups for an optimizer: weights with decay; norms, biases and D without; step sizes and poles without.

    The last group (`log_dt`, `log_A_real`, `A_imag`) stands alone because decay would pull the time scales of the
    state space to one value, and because some recipes give it its own learning rate.
    """
    groups: dict[str, list[torch.nn.Parameter]] = {"decay": [], "no_decay": [], "ssm": []}
    for path, parameter in model.named_parameters():
        if parameter.requires_grad:
            # By name, so that models with the code of a checkpoint, and wrapped ones, have the same groups.
            name = path.rpartition(".")[2]
            still = name in ("bias", "D") or path.endswith("norm.weight")
            groups["ssm" if name in _SSM_PARAMETERS else "no_decay" if still else "decay"].append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if name == "decay" else 0.0}
        for name, parameters in groups.items()
        if parameters
    ]


Build = Callable[[type[LyraClassificationModel], LyraConfig], LyraClassificationModel]


def train(
    data_args: DataArguments,
    model_args: ModelArguments,
    args: LyraTrainingArguments,
    command: str = "lyra.train",
    build: Build = lambda head, config: head(config),
) -> dict[str, Any]:
    """Trains on a table, selects by validation, scores the test split once and writes everything to `args.output_dir`.

    With `model_args.ensemble` above 1 each member is such a run of its own, in `members/` of `args.output_dir`.

    Args:
        command: how the run was started, for the record.
        build: makes a new model of a head's class and a config; to train another architecture on the same terms.

    Returns:
        The record that `metrics.json` holds.

    Raises:
        InputError: for wrong arguments or data, before anything is written.
    """
    started = time.monotonic()
    _check_arguments(args, data_args, model_args)
    output = Path(args.output_dir)  # type: ignore[arg-type]
    main = args.process_index == 0
    if main:
        _check_output(output, args, model_args.ensemble)
    # The Trainer would upload its own card, and every checkpoint; and before hours of training comes the token.
    repository = None
    if main and args.push_to_hub:
        repository = repository_of(args.hub_model_id or output.absolute().name, args.hub_token)
    args.push_to_hub = False
    with locked(output) if main else nullcontext():
        data = prepare(data_args)
        args.metric_for_best_model = _selection_metric(args.metric_for_best_model, data)
        args.greater_is_better = args.metric_for_best_model.rpartition("_")[2] not in _LOWER_IS_BETTER
        if main:
            print(*data.notes, sep="\n", flush=True)
        job = Job(data, data_args, model_args, args, build, command, started)
        record = job.run_ensemble(output) if model_args.ensemble > 1 else job.run(output, args)
        state = PartialState()
        state.wait_for_everyone()
        gc.collect()  # of a Trainer that is left over, threads would outlive the group and abort the process
        state.destroy_process_group()  # a rank that just ended could abort the others
    if repository is not None:
        try:
            publish(str(output), repository, private=bool(args.hub_private_repo), token=args.hub_token)
        except InputError as error:
            raise InputError(f"{error}; the model is in {output}, `lyra publish` uploads it") from None
    return record


@dataclass
class Job:
    """What all members of an ensemble share."""

    data: Prepared
    data_args: DataArguments
    model_args: ModelArguments
    args: LyraTrainingArguments
    build: Build
    command: str
    started: float

    def run(self, output: Path, args: LyraTrainingArguments) -> dict[str, Any]:
        """Trains one model into a folder; returns its record, of the first process only."""
        data, main, facts = self.data, args.process_index == 0, self._run_facts(args)
        if args.resume and is_finished(output):
            record = read_json(output / "metrics.json")
            compare_run(output, record["run"], facts)
            if main:
                print(f"{output}: finished already")
            return record if main else {}
        set_seed(args.seed)
        model = _build_model(self.model_args, data, self.build)
        _check_new_columns(data, model.config, self.model_args.ensemble)
        if main:
            print(f"model: {model.num_parameters():,} parameters, seed {args.seed}")
            print(f"training: {args.world_size} process(es), {_batch_size(args)} sequences per step", flush=True)
        patience, args.output_dir = args.early_stopping_patience, str(output / CHECKPOINTS)
        with _leaving_nothing_useless(output, main):
            checkpoint = checkpoint_to_resume(output, args.resume_from_checkpoint) if _is_resuming(args) else None
            if main:
                mark_run(output, facts, resuming=checkpoint is not None)
                remove_unfinished(output, checkpoint)
                if checkpoint is not None:
                    follow_move(checkpoint)
            if checkpoint and (step := _step_of_stop(checkpoint, args, patience)):
                args.max_steps = step  # it was about to end
            trainer = LyraTrainer(
                model,
                args,
                task=data.task,
                train_dataset=data.dataset["train"],
                eval_dataset=data.dataset["validation"],
                processing_class=data.tokenizer,
            )
            trainer.add_callback(_RunKeeper(trainer.accelerator, args.save_total_limit, patience))
            args.save_total_limit = None  # the keeper drops checkpoints, when the next one is whole
            trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
        args.output_dir = str(output)
        if not main:
            return {}
        model.to(args.device).eval()
        history = trainer.state.log_history
        record = {"best_epoch": _best_epoch(trainer), "training_seconds": round(history[-1]["train_runtime"], 1)}
        record["run"] = facts
        return self._score_and_write(output, model, record, args.seed, history)

    def run_ensemble(self, output: Path) -> dict[str, Any]:
        """Trains the members that are not yet there, and puts them together."""
        folders = []
        for seed in range(self.args.seed, self.args.seed + self.model_args.ensemble):
            folders.append(output / _MEMBERS / str(seed))
            args = copy.copy(self.args)
            args.seed, args.resume = seed, True  # a folder of this run is new, or of its interruption
            with _leaving_no_empty_folders(output):
                self.run(folders[-1], args)
        if self.args.process_index != 0:
            return {}
        models = [load_model(str(folder))[0] for folder in folders]
        model = type(models[0]).as_ensemble(models).to(self.args.device)
        records = [read_json(folder / "metrics.json") for folder in folders]
        kept = ("best_epoch", "validation", "test", "training_seconds")
        members = [{"seed": r["hyperparameters"]["seed"]} | {key: r[key] for key in kept} for r in records]
        seconds = sum(member["training_seconds"] for member in members)
        record = {"members": members, "training_seconds": round(seconds, 1)}
        return self._score_and_write(output, model, record, self.args.seed, [])

    def _run_facts(self, args: LyraTrainingArguments) -> dict[str, Any]:
        """What must not change when a run is resumed."""
        settings = {name: getattr(args, name) for name in _SETTINGS}
        facts = {
            "data": self.data.sha256,
            "data options": _without(asdict(self.data_args), "data", "labels"),
            "model settings": _without(asdict(self.model_args), "ensemble", "model_name_or_path"),
            "training settings": settings | {"batch size": _batch_size(args)},
        }
        return json.loads(json.dumps(facts, default=str))  # as a file has it

    def _score_and_write(
        self, output: Path, model: LyraClassificationModel, record: dict[str, Any], seed: int, history: list[Any]
    ) -> dict[str, Any]:
        """Scores both splits and fills the folder.

        Args:
            record: what is known of the training.
            history: the log of the Trainer, empty for an ensemble.
        """
        data = self.data
        validation = compute_logits(model, data.tokenizer, data.sequences["validation"])
        before = time.monotonic()
        test = compute_logits(model, data.tokenizer, data.sequences["test"])
        per_thousand = 1000 * (time.monotonic() - before) / len(data.sequences["test"])
        record = _record(self, model, {"validation": validation, "test": test}, seed) | record
        record["seconds_per_1000_predictions"] = round(per_thousand, 4)
        record["seconds"] = round(time.monotonic() - self.started, 1)
        _write(output, model, data, test, record, history)
        return record


def _batch_size(args: TrainingArguments) -> int:
    """Sequences per optimizer step, over all processes and accumulation steps."""
    return args.train_batch_size * args.gradient_accumulation_steps * args.world_size


def _check_arguments(args: LyraTrainingArguments, data_args: DataArguments, model_args: ModelArguments) -> None:
    limits = {
        "num_train_epochs": (0, math.inf),
        "learning_rate": (0, 10),
        "per_device_train_batch_size": (0, 1 << 20),
        "per_device_eval_batch_size": (0, 1 << 20),
        "gradient_accumulation_steps": (0, 1 << 20),
    }
    for name, (low, high) in limits.items():
        value = getattr(args, name)
        if not low < value < high:
            raise InputError(f"--{name}: expected a number above {low} and below {high:g}, got {value}")
    if not 0 <= args.weight_decay < 10:
        raise InputError(f"--weight_decay: expected a number from 0 to 10, got {args.weight_decay}")
    if args.early_stopping_patience is not None and args.early_stopping_patience < 1:
        raise InputError(f"--early_stopping_patience: expected at least 1, got {args.early_stopping_patience}")
    if model_args.ensemble < 1 or (model_args.ensemble > 1 and args.resume_from_checkpoint):
        raise InputError(f"--ensemble: expected at least 1, and --resume to continue, got {model_args.ensemble}")
    for name, seed in (("seed", args.seed + model_args.ensemble - 1), ("split_seed", data_args.split_seed)):
        if not 0 <= seed < 2**32:
            raise InputError(f"--{name}: expected a number from 0 to 2**32 - 1, got {seed}")
    if args.dataloader_num_workers < 0 or args.max_steps == 0:
        raise InputError("--dataloader_num_workers and --max_steps: expected no negative number and no zero")
    if not args.load_best_model_at_end or "no" in (args.eval_strategy, args.save_strategy):
        raise InputError(
            "--load_best_model_at_end, --eval_strategy, --save_strategy: the model is selected by validation"
        )
    if args.label_smoothing_factor != 0 or args.prediction_loss_only:
        raise InputError("--label_smoothing_factor and --prediction_loss_only: not with Lyra's own losses and metrics")


def _selection_metric(chosen: str | None, data: Prepared) -> str:
    """The validation metric to select by, without the Trainer's prefix."""
    task = data.task
    if chosen is None:
        values = np.concatenate([np.ravel(label) for label in data.dataset["validation"]["labels"]])
        if len(np.unique(values[(values != IGNORE_INDEX) & ~np.isnan(values)])) > 1:
            return SELECTED_BY[task.kind]
        data.notes.append(f"selection: by loss, as {SELECTED_BY[task.kind]} is undefined where all labels are equal")
        return "loss"
    known = ["loss", *METRICS[task.kind]]
    if len(task.names) > 1 and task.kind != "classification":
        known += [f"{name}_{metric}" for name in task.names for metric in METRICS[task.kind]]
    if chosen.removeprefix("eval_") not in known:
        raise InputError(f"--metric_for_best_model: expected one of {', '.join(known)}, got {chosen!r}")
    return chosen.removeprefix("eval_")


def _check_output(output: Path, args: LyraTrainingArguments, ensemble: int) -> None:
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: --output_dir is a file")
    # What an interruption before the first checkpoint left behind is in nobody's way.
    left_behind = {CHECKPOINTS, LOCK}
    used = last_checkpoint(output) or (output.is_dir() and {item.name for item in output.iterdir()} - left_behind)
    if used and not _is_resuming(args):
        raise InputError(f"{output}: --output_dir is in use; choose another, or --resume an interrupted run")
    if args.resume and (output / _MEMBERS).is_dir() and ensemble == 1:
        raise InputError(f"{output}: --resume found an ensemble there, --ensemble is missing")
    if args.resume_from_checkpoint and not Path(args.resume_from_checkpoint).is_dir():
        raise InputError(f"--resume_from_checkpoint: no folder {args.resume_from_checkpoint!r}")
    parent = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
    if not os.access(parent, os.W_OK | os.X_OK) or not os.statvfs(parent).f_bavail or _read_only(parent):
        raise InputError(f"{output}: --output_dir cannot be written")


def _read_only(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def _is_resuming(args: LyraTrainingArguments) -> bool:
    return bool(args.resume or args.resume_from_checkpoint)


def _without(options: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in names}


@contextmanager
def _leaving_no_empty_folders(output: Path) -> Iterator[None]:
    """Removes the folders of an ensemble that ends before the first checkpoint of its first member."""
    try:
        yield
    except BaseException:
        for folder in (output / _MEMBERS, output):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise


@contextmanager
def _leaving_nothing_useless(output: Path, main: bool) -> Iterator[None]:
    """Removes what training wrote if it ends before its first checkpoint; the library's complaints become one line."""
    try:
        yield
    except BaseException as error:
        if main and last_checkpoint(output) is None:
            shutil.rmtree(output / CHECKPOINTS, ignore_errors=True)
            if output.is_dir() and not any(output.iterdir()):  # the folder of a member; others hold the lock
                output.rmdir()
        if isinstance(error, (OSError, RuntimeError, SafetensorError)) and _is_full(output):
            saved = "; --resume continues from the last checkpoint" * (last_checkpoint(output) is not None)
            raise InputError(f"{output}: No space left on device{saved}") from error
        complaint = isinstance(error, (ValueError, TypeError, ImportError, NotImplementedError, UnpicklingError))
        if complaint and not isinstance(error, InputError):
            raise InputError(f"training stopped: {one_line(error)[:500]}") from error
        raise


def _is_full(folder: Path) -> bool:
    """Whether a disk is, which every library that writes to it says in its own way."""
    return folder.exists() and shutil.disk_usage(folder).free < _LITTLE


def _check_new_columns(data: Prepared, config: LyraConfig, ensemble: int) -> None:
    """Raises InputError if the table already has a column that its predictions would add."""
    config = copy.copy(config)
    config.ensemble_size = ensemble
    extend_row(data.source, dict.fromkeys(_columns(data)), dict.fromkeys(added_columns(config, data.task.per_token)))


def _columns(data: Prepared) -> list[str]:
    return list(dict.fromkeys(column for row in data.rows["test"] for column in row))


def _build_model(model_args: ModelArguments, data: Prepared, build: Build) -> LyraClassificationModel:
    head = LyraForTokenClassification if data.task.per_token else LyraForSequenceClassification
    labels = dict(enumerate(data.task.names))
    fields: dict[str, Any] = {
        "id2label": labels,
        "label2id": {name: i for i, name in labels.items()},
        "problem_type": data.task.problem_type,
        **dict.fromkeys(LABEL_FIELDS),
        **_label_fields(model_args, data),
        "ensemble_size": 1,
    }
    if model_args.model_name_or_path is not None:
        if model_args.config_overrides:
            raise InputError("--config_overrides: only for a new model, not with --model_name_or_path")
        start, revision = model_args.model_name_or_path, model_args.model_revision
        _, tokenizer = load_model(start, revision, bare=True)
        for name, flag in (("alphabet", "--alphabet"), ("pair_offset", "--pair_offset")):
            known, given = getattr(tokenizer, name), getattr(data.tokenizer, name)
            if known != given:
                raise InputError(f"--model_name_or_path: {start} has {name} {known}, these data {given} ({flag})")
        safely = {"revision": revision or "main", "use_safetensors": True, "ignore_mismatched_sizes": True}
        return head.from_pretrained(start, **safely, **fields)
    overrides = _parse_overrides(model_args.config_overrides or [])
    preset = LyraConfig.deep if model_args.preset == "deep" else LyraConfig
    try:
        config = preset(alphabet=data.tokenizer.alphabet, **fields | overrides)
    except Exception as error:  # the strict dataclass has its own kinds; the last line names field and value
        message = str(error).strip().splitlines()[-1].strip().removeprefix("ValueError: ")
        raise InputError(f"--config_overrides: {message}") from None
    try:
        return build(head, config)
    except (RuntimeError, MemoryError, OverflowError) as error:
        raise InputError(f"--config_overrides: a model of this size cannot be built ({error})") from None


def _parse_overrides(overrides: list[str]) -> dict[str, Any]:
    known = set(LyraConfig.attribute_map) | set(LyraConfig.__annotations__)
    known -= {"alphabet", "ensemble_size", *LABEL_FIELDS}
    parsed = {}
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals or name not in known:
            raise InputError(f"--config_overrides: expected field=value with a field of LyraConfig, got {override!r}")
        try:
            parsed[name] = json.loads(text)
        except json.JSONDecodeError:
            parsed[name] = text
    return parsed


def _label_fields(model_args: ModelArguments, data: Prepared) -> dict[str, Any]:
    """The fields of the config that follow from the training labels."""
    kind, weights = data.task.kind, model_args.class_weights
    outputs = 1 if kind == "classification" else len(data.task.names)
    flat = data.labels("train").astype(float).reshape(-1, outputs)
    if kind == "regression":
        if weights != "none":
            raise InputError(f"--class_weights: only for classes, the task is {data.task.name}")
        mean, std = _label_scale(data, flat)
        if model_args.label_transform == "rank":
            columns = zip(data.task.names, flat.T, strict=True)
            return {"label_quantiles": _one_or_list([_label_quantiles(data, name, values) for name, values in columns])}
        return {"label_mean": _one_or_list(mean), "label_std": _one_or_list(std)}
    if weights == "none":
        return {}
    if kind == "multilabel":
        return {"class_weights": (np.sum(flat == 0, axis=0) / np.sum(flat == 1, axis=0)).tolist()}
    counts = np.bincount(flat[flat != IGNORE_INDEX].astype(int), minlength=len(data.task.names))
    if not counts.all():
        raise InputError(f"--class_weights: no training row has class {data.task.names[int(counts.argmin())]!r}")
    return {"class_weights": (counts.sum() / (len(counts) * counts)).tolist()}


def _one_or_list(values: list[Any]) -> Any:
    """As the config has it: the value of one output, or those of several."""
    return values[0] if len(values) == 1 else values


def _label_scale(data: Prepared, labels: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each output of the training labels `(n, outputs)`."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = np.nanmean(labels, axis=0), np.nanstd(labels, axis=0)
    for name, m, s in zip(data.task.names, mean, std, strict=True):
        # The model computes in single precision, which has seven digits and ends at 3e38.
        if not 1e-30 < s < 1e30 or s < 1e-6 * abs(m):
            raise InputError(
                f"{data.source}, column {name!r}: labels with mean {m:g} and standard deviation {s:g} do not fit "
                "single precision; subtract an offset or choose another unit"
            )
    return mean.tolist(), std.tolist()


def _label_quantiles(data: Prepared, name: str, labels: np.ndarray) -> list[float]:
    """Quantiles of one output at the probabilities (i + 1/2) / count."""
    quantiles = np.nanquantile(labels, (np.arange(_QUANTILES) + 0.5) / _QUANTILES)
    if not quantiles[-1] - quantiles[0] > 1e-6 * abs(quantiles).max():  # what single precision tells apart
        raise InputError(
            f"{data.source}, column {name!r}: all but a few labels are {quantiles[0]:g}, so that ranks tell nothing; "
            "--label_transform standardize"
        )
    return quantiles.tolist()


def _stack(data: Prepared, logits: list[np.ndarray]) -> np.ndarray:
    """Logits `(items, outputs)`, where an item is a sequence or a residue, as [`Prepared.labels`] has them."""
    return np.concatenate(logits) if data.task.per_token else np.stack(logits)


def _record(job: Job, model: LyraClassificationModel, answers: dict[str, Answers], seed: int) -> dict[str, Any]:
    data, args, model_args = job.data, job.args, job.model_args
    scores = {
        split: compute_metrics(data.task.kind, _stack(data, each.logits), data.labels(split), data.task.names)
        for split, each in answers.items()
    }
    return {
        "task": data.task.name,
        "outputs": list(data.task.names),
        "alphabet": data.tokenizer.alphabet,
        "selected_by": args.metric_for_best_model,
        "validation": scores["validation"],
        "test": scores["test"],
        "n": {split: len(data.rows[split]) for split in data.rows},
        "parameters": model.num_parameters(),
        "data": {
            "name": Path(data.source).name if os.path.exists(data.source) else data.source,
            "hub_id": None if os.path.exists(data.source) else data.source,
            "sha256": data.sha256,
            "notes": [note.replace(data.source, Path(data.source).name) for note in data.notes[1:]],
        },
        "hyperparameters": {
            "seed": seed,
            "split_seed": job.data_args.split_seed,
            "epochs": args.num_train_epochs,
            "batch_size": _batch_size(args),
            "optimizer": str(getattr(args.optim, "value", args.optim)),
            "learning_rate": args.learning_rate,
            "lr_scheduler_type": str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)),
            "warmup_steps": args.warmup_steps,
            "weight_decay": args.weight_decay,
            "max_grad_norm": args.max_grad_norm,
            "early_stopping_patience": args.early_stopping_patience,
            "preset": model_args.preset,
            "config_overrides": " ".join(model_args.config_overrides or []),
            "label_transform": model_args.label_transform if data.task.kind == "regression" else None,
            "class_weights": model_args.class_weights if data.task.kind != "regression" else None,
            "start_from": model_args.model_name_or_path and Path(model_args.model_name_or_path).name,
            "threads": torch.get_num_threads(),
        },
        "versions": {"python": platform.python_version()}
        | {"lyra-bio": __version__}
        | {name: version(name) for name in ("torch", "transformers", "datasets", "accelerate")},
        "command": job.command,
    }


def _best_epoch(trainer: LyraTrainer) -> float:
    """The epoch that the Trainer selected by its validation score."""
    epochs = {entry["step"]: entry["epoch"] for entry in trainer.state.log_history if "eval_loss" in entry}
    if trainer.state.best_global_step not in epochs:
        raise InputError("no epoch was scored on the validation split; see --eval_strategy, --eval_steps, --eval_delay")
    return float(epochs[trainer.state.best_global_step])


def _write(
    output: Path,
    model: LyraPreTrainedModel,
    data: Prepared,
    answers: Answers,
    record: dict[str, Any],
    history: list[dict[str, float]],
) -> None:
    """Writes everything beside, then moves it into place and drops the checkpoints of the finished run."""
    partial = output / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "plots").mkdir(parents=True)
    model.save_pretrained(partial)
    shutil.copymode(partial / "config.json", partial / "model.safetensors")  # safetensors writes for the owner only
    data.tokenizer.save_pretrained(partial)
    added = prediction_columns(answers, model.config, data.task.per_token)
    with TableWriter(partial / "predictions.csv") as writer:
        blank = dict.fromkeys(_columns(data))
        writer.write([blank | row | new for row, new in zip(data.rows["test"], added, strict=True)])
    if history:
        plot_history(history, record["selected_by"], record["best_epoch"], partial / "plots" / "training.png")
    _plot(partial / "plots", data, answers.logits, record)
    example = example_sequence(data.tokenizer.alphabet, data.tokenizer.pair_offset)
    model_card(record, output.absolute().name, type(model).__name__, example).save(partial / "README.md")
    (partial / "metrics.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    for item in partial.iterdir():
        target = output / item.name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(item, target)
    partial.rmdir()
    remove_checkpoints(output)


def _plot(folder: Path, data: Prepared, logits: list[np.ndarray], record: dict[str, Any]) -> None:
    values, labels = _stack(data, logits), data.labels("test")
    score = f"test {record['selected_by']} {record['test'].get(record['selected_by'], math.nan):.3f}"
    names = data.task.names
    if data.task.kind == "regression":
        labels = labels.reshape(values.shape)
        for i, name in enumerate(names):
            kept = ~np.isnan(labels[:, i])
            file = "measured.png" if len(names) == 1 else f"measured_{i}.png"
            title = score if len(names) == 1 else name
            plot_measured(values[kept, i], labels[kept, i], title, folder / file)
    elif data.task.kind == "classification":
        kept = labels != IGNORE_INDEX
        plot_confusion(values[kept], labels[kept], names, score, folder / "confusion.png")
        plot_roc(values[kept], labels[kept], names, score, folder / "roc.png")
    else:
        plot_roc(values, labels.reshape(values.shape), names, score, folder / "roc.png")
