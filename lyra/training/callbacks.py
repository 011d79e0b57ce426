"""What happens around the steps of a run: checkpoints, SIGTERM, early stopping."""

import signal
import threading
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import rotate_checkpoints

from ..signals import Terminated
from .checkpoints import write_checksums
from .selection import evaluations, rank

# Several processes must end after the same step, and to agree they wait for their devices.
_STEPS_BETWEEN_AGREEMENTS = 10


class RunCallback(TrainerCallback):
    """Completes each checkpoint when all processes have written their part, and drops those no longer needed; on
    SIGTERM saves after the current step and raises [`Terminated`]; stops a run whose validation no longer gets better.

    transformers' `EarlyStoppingCallback` counts from zero again when a run is resumed from the checkpoint after which
    it would have stopped, so patience is counted in the log here.

    Args:
        accelerator: of the Trainer.
        kept: checkpoints to keep; None for all.
        patience: evaluations without a better one after which to stop; None for never.
    """

    def __init__(self, accelerator: Accelerator, kept: int | None, patience: int | None):
        self.accelerator, self.kept, self.patience = accelerator, kept, patience
        self.sigterm_received = self.stopping = False
        self._handler: Any = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGTERM, self._on_sigterm)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.accelerator.num_processes == 1:
            self.stopping = self.sigterm_received
        elif state.global_step % _STEPS_BETWEEN_AGREEMENTS == 0:
            received = torch.tensor(float(self.sigterm_received), device=self.accelerator.device)
            self.stopping = bool(self.accelerator.reduce(received) > 0)
        # After the last step of an epoch its end comes first, or a resumed run would never score that epoch.
        last = state.global_step >= state.max_steps or state.epoch == int(state.epoch or 0)
        control.should_save |= self.stopping and not last

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        control.should_save |= self.stopping

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if _ran_out_of_patience(state, args, self.patience):
            control.should_training_stop = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.accelerator.wait_for_everyone()
        if state.is_world_process_zero:
            folder = Path(str(args.output_dir))
            write_checksums(folder / f"checkpoint-{state.global_step}")
            rotate_checkpoints(str(folder), self.kept, state.best_model_checkpoint)
        if self.stopping:
            self.on_train_end()
            raise Terminated

    def _on_sigterm(self, *_: Any) -> None:
        self.sigterm_received = True


def step_of_stop(checkpoint: Path, args: TrainingArguments, patience: int | None) -> int | None:
    """The step of a checkpoint if the run that wrote it had run out of patience by then."""
    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    return state.global_step if _ran_out_of_patience(state, args, patience) else None


def _ran_out_of_patience(state: TrainerState, args: TrainingArguments, patience: int | None) -> bool:
    """From the log alone, which a resumed run has too."""
    if patience is None:
        return False
    ranks = [rank(entry, args) for entry in evaluations(state.log_history)]
    return bool(ranks) and len(ranks) - 1 - ranks.index(max(ranks)) >= patience
