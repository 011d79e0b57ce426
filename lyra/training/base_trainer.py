"""The Hugging Face Trainer, with what every model here needs: selection by a rule, and epochs that can be resumed."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import Trainer, TrainingArguments

from .sampling import LengthSampler
from .selection import evaluations, rank


class BaseTrainer(Trainer):
    """Selects by [`rank`], and shuffles in an order that follows from seed and epoch."""

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """By the rule of [`rank`]; the parent's knows the metric alone."""
        if super()._determine_best_metric(metrics, trial):
            return True
        best = [e for e in evaluations(self.state.log_history) if e["step"] == self.state.best_global_step]
        if best and not rank(metrics, self.args) > rank(best[-1], self.args):
            return False
        self.state.best_global_step = self.state.global_step
        return True

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        # Not the data set that is given: the parent has removed the lengths from it, and would read each row for them.
        dataset, column = self.train_dataset, self.args.length_column_name
        by_length = self.args.train_sampling_strategy == "group_by_length"
        if by_length and column in getattr(dataset, "column_names", ()):
            lengths = dataset.with_format("numpy")[column][:]  # type: ignore[union-attr]
            sampler: Any = LengthSampler(lengths, self.args.train_batch_size)
        else:
            sampler = super()._get_train_sampler(train_dataset)
        return _EpochSampler(sampler, self) if hasattr(sampler, "generator") else sampler


class _EpochSampler(Sampler):
    """A random order that follows from seed, epoch and global batch alone: a run resumed within an epoch finds
    the batches of that epoch again, and several processes share those of one."""

    def __init__(self, sampler: Any, trainer: BaseTrainer):
        self.sampler, self.trainer = sampler, trainer

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[int]:
        args, epoch = self.trainer.args, int(self.trainer.state.epoch or 0)
        seed = args.seed if args.data_seed is None else args.data_seed
        self.sampler.generator = torch.Generator().manual_seed(seed + epoch)
        self.sampler.batch_size = global_batch_size(args)  # what lengths are grouped by, on any number of processes
        return iter(self.sampler)


def global_batch_size(args: TrainingArguments) -> int:
    """Examples per optimizer step, over all processes and accumulation steps."""
    return args.train_batch_size * args.gradient_accumulation_steps * args.world_size
