"""Which of two epochs is better."""

import math
from collections.abc import Mapping
from typing import Any


def rank(entry: Mapping[str, Any], metric: str, greater_is_better: bool) -> tuple[float, float]:
    """What an evaluation is compared by: its metric and, of equal ones as of a model that predicts one class, its loss.

    Args:
        entry: of the Trainer's log, with the prefix `eval_`.
        metric: without that prefix; where it is undefined the loss decides.
    """
    value = entry.get(f"eval_{metric}", -math.inf)
    sign = 1 if greater_is_better else -1
    return (sign * value if math.isfinite(value) else -math.inf), -entry["eval_loss"]
