"""The Trainer with Lyra's arguments, parameter groups and metrics."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import TrainingArguments
from transformers.trainer_utils import EvalPrediction

from ..data.collator import LyraCollator
from ..data.labels import IGNORE_INDEX
from ..scoring import compute_metrics
from ..tasks import Task
from .arguments import TrainingDefaults
from .base_trainer import BaseTrainer
from .progress import EpochLines

if TYPE_CHECKING:
    from ..data.preparation import Prepared

_SSM_PARAMETERS = ("log_dt", "log_A_real", "A_imag")


@dataclass
class LyraTrainingArguments(TrainingDefaults, TrainingArguments):
    """`TrainingArguments` with the paper's recipe as defaults."""

    def __post_init__(self):
        chosen = self.metric_for_best_model
        super().__post_init__()
        self.metric_for_best_model = chosen  # the parent put "loss" where nothing was chosen; the task will choose


class LyraTrainer(BaseTrainer):
    """The Hugging Face Trainer with Lyra's parameter groups and, by default, its collator and metrics.

    Args:
        task: what the labels mean, as `lyra.data.prepare` found it; gives the metrics.
        kwargs: as for `transformers.Trainer`; `processing_class` is the [`LyraTokenizer`].

    Raises:
        ValueError: without `args.num_train_epochs`, which only `lyra.training.train` can choose.
    """

    def __init__(self, *args, task: Task, **kwargs):
        kwargs.setdefault("data_collator", LyraCollator(kwargs["processing_class"], task.per_token))
        kwargs.setdefault("compute_metrics", self._score)
        self.task = task
        settings = kwargs.get("args") or (args[1] if len(args) > 1 else None)
        if settings is not None and settings.num_train_epochs is None:
            raise ValueError("`num_train_epochs` must be given; only lyra.training.train chooses it by itself")
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

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            model = self.model if model is None else model
            optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args, model)
            self.optimizer: Any = optimizer_class(parameter_groups(model, self.args.weight_decay), **options)
        return self.optimizer


def build_trainer(data: "Prepared", args: LyraTrainingArguments, **model: Any) -> LyraTrainer:
    """A Trainer of prepared data, without the Trainer's own bar and lines.

    Args:
        model: `model` or `model_init`.
    """
    trainer = LyraTrainer(
        args=args,
        task=data.task,
        train_dataset=data.dataset["train"],
        eval_dataset=data.dataset["validation"],
        processing_class=data.tokenizer,
        **model,
    )
    for callback in EpochLines.replaced:
        trainer.remove_callback(callback)
    return trainer


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Three groups for an optimizer: weights with decay; norms, biases and D without; step sizes and poles without.

    The last group (`log_dt`, `log_A_real`, `A_imag`) is separate because decay would pull the time scales of the
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
