"""Running a Trainer so that it can be interrupted: from a checkpoint or from the start, into the folder of a run."""

import gc
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError  # what `weights_only` raises for other things than tensors
from typing import Any

from accelerate import PartialState
from safetensors import SafetensorError

from ..errors import InputError, OutputError, one_line
from .base_trainer import BaseTrainer
from .callbacks import RunCallback, step_of_stop
from .checkpoints import (
    CHECKPOINTS,
    checkpoint_to_resume,
    last_checkpoint,
    relocate,
    remove_unfinished,
    save_fingerprint,
)
from .progress import EpochLines
from .selection import evaluations

_MIN_FREE_BYTES = 1 << 20  # less than a checkpoint


def run_trainer(
    output: Path, args: Any, fingerprint: dict[str, Any], build: Callable[[Any], BaseTrainer]
) -> BaseTrainer:
    """Trains into `output`, from the last checkpoint there if `args` ask for it, and gives the trainer.

    Args:
        args: `TrainingArguments` with `resume` and `early_stopping_patience`; `output_dir`, `save_total_limit` and
            `max_steps` are set.
        fingerprint: what must not have changed on resuming.
        build: a trainer from the arguments.

    Raises:
        InputError: for a damaged checkpoint or one of another run, and for what the libraries complain of; OutputError
            if the disk is full.
    """
    main = args.process_index == 0
    with _cleaning_up(output, main):
        resuming = bool(args.resume or args.resume_from_checkpoint)
        checkpoint = checkpoint_to_resume(output, args.resume_from_checkpoint) if resuming else None
        if main:
            save_fingerprint(output, fingerprint, resuming=checkpoint is not None)
            remove_unfinished(output, checkpoint)
            if checkpoint is not None:
                relocate(checkpoint)
        patience, kept = args.early_stopping_patience, args.save_total_limit
        args.output_dir = str(output / CHECKPOINTS)
        args.save_total_limit = None  # the callback drops checkpoints, when the next one is complete
        if checkpoint and (step := step_of_stop(checkpoint, args, patience)):
            args.max_steps = step  # it was about to end
        trainer = build(args)
        trainer.add_callback(EpochLines(str(args.metric_for_best_model)))
        trainer.add_callback(RunCallback(trainer.accelerator, kept, patience))
        trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
        return trainer


def best_epoch(trainer: BaseTrainer) -> float:
    """The epoch that the Trainer selected by its validation score."""
    epochs = {entry["step"]: entry["epoch"] for entry in evaluations(trainer.state.log_history)}
    if trainer.state.best_global_step not in epochs:
        raise InputError("no epoch was scored on the validation split; see --eval_strategy, --eval_steps, --eval_delay")
    return float(epochs[trainer.state.best_global_step])


def leave_process_group() -> None:
    """Waits for the other processes of a run; a rank that just ended could abort them."""
    state = PartialState()
    state.wait_for_everyone()
    gc.collect()  # of a Trainer that is left over, threads would outlive the group and abort the process
    state.destroy_process_group()


@contextmanager
def _cleaning_up(output: Path, main: bool) -> Iterator[None]:
    """Removes what training wrote if it ends before its first checkpoint; the library's complaints become one line."""
    try:
        yield
    except BaseException as error:
        if main and last_checkpoint(output) is None:
            shutil.rmtree(output / CHECKPOINTS, ignore_errors=True)
            if output.is_dir() and not any(output.iterdir()):  # the folder of a member; any other holds the lock
                output.rmdir()
        if isinstance(error, (OSError, RuntimeError, SafetensorError, OutputError)) and _is_full(output):
            saved = "; --resume continues from the last checkpoint" * (last_checkpoint(output) is not None)
            raise OutputError(f"{output}: No space left on device{saved}") from error
        complaint = isinstance(
            error, (ValueError, TypeError, KeyError, ImportError, NotImplementedError, UnpicklingError)
        )
        if complaint and not isinstance(error, InputError):
            raise InputError(f"training stopped: {one_line(error)[:500]}") from error
        raise


def _is_full(folder: Path) -> bool:
    """Whether the disk is full, for which every library has an error of its own."""
    return folder.exists() and shutil.disk_usage(folder).free < _MIN_FREE_BYTES
