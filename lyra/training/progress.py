"""What a run shows while it trains: a bar with the time left, and a line after each evaluation."""

import math
import sys
from typing import Any

from tqdm import tqdm
from transformers import ProgressCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from .selection import evaluations, rank


class EpochLines(TrainerCallback):
    """Takes the place of the Trainer's own bar and prints, which show every metric of every output.

    Args:
        selected: the metric that selects the epoch, without the Trainer's prefix.
    """

    replaced = (ProgressCallback, PrinterCallback)

    def __init__(self, selected: str):
        self.selected = selected
        self._loss: float | None = None
        self._bar: Any = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.is_world_process_zero:
            hidden = args.disable_tqdm or None  # None: where nobody watches
            self._bar = tqdm(
                total=state.max_steps, initial=state.global_step, desc="training", leave=False, disable=hidden
            )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **_: Any
    ) -> None:
        self._loss = logs.get("loss", self._loss)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: dict[str, Any], **_: Any
    ) -> None:
        if self._bar is None:
            return
        parts = [f"epoch {state.epoch or 0:g}/{state.num_train_epochs:g}"]
        parts += [] if self._loss is None else [f"loss {self._loss:.4f}"]
        parts.append(f"validation loss {metrics['eval_loss']:.4f}")
        if self.selected != "loss":
            value = metrics.get(f"eval_{self.selected}", math.nan)
            parts.append(f"{self.selected} {value:.4f}" if math.isfinite(value) else f"{self.selected} undefined")
        *earlier, last = [rank(entry, args) for entry in evaluations(state.log_history)]
        parts += ["best"] if all(last > other for other in earlier) else []
        tqdm.write("  ".join(parts), file=sys.stdout)
        sys.stdout.flush()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
