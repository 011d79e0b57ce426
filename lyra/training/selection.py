"""Which of two epochs is better."""

import math
from collections.abc import Mapping
from typing import Any

from transformers import TrainingArguments


def rank(entry: Mapping[str, Any], args: TrainingArguments) -> tuple[float, float]:
    """What an evaluation is compared by: the metric that selects and, of equal ones as of a model that predicts one
    class, the loss, which also decides where the metric is undefined.

    Args:
        entry: of the Trainer's log, with the prefix `eval_`.
    """
    value = entry.get(f"eval_{str(args.metric_for_best_model).removeprefix('eval_')}", -math.inf)
    sign = 1 if args.greater_is_better else -1
    return (sign * value if math.isfinite(value) else -math.inf), -entry["eval_loss"]


def evaluations(log_history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries of the Trainer's log that are of an evaluation."""
    return [entry for entry in log_history if "eval_loss" in entry]
