"""How long to train, and how many members an ensemble has, where the user does not say."""

import math

from ..data.preparation import Prepared

_STEPS, _ROWS = 1000, 1000  # steps for so many rows; more rows need more steps, but fewer epochs
_GROWTH_BELOW, _GROWTH_ABOVE = 0.6, 0.8
_MEMBERS = 3


def usual_epochs(data: Prepared, batch_size: int, max_letters: float) -> float:
    """Epochs by the number of rows, fewer where sequences are long; below one where even one is too long."""
    rows = len(data.rows["train"])
    steps = _STEPS * (rows / _ROWS) ** (_GROWTH_BELOW if rows < _ROWS else _GROWTH_ABOVE)
    epochs = math.ceil(steps * min(batch_size, rows) / rows)
    affordable = max_letters / _letters(data)
    return min(epochs, math.floor(affordable) if affordable >= 1 else affordable)


def usual_patience(epochs: float) -> int:
    """Epochs without a better validation score after which the rest would not find one either."""
    return max(8, math.ceil(epochs / 3))


def usual_ensemble(data: Prepared, epochs: float, max_letters: float) -> int:
    """Three members if all of them together read no more than one model may, otherwise one."""
    return _MEMBERS if _MEMBERS * epochs * _letters(data) <= max_letters else 1


def _letters(data: Prepared) -> int:
    return int(data.sequences["train"].lengths.sum())
