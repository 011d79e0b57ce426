"""How long to train where the user does not say."""

import math

from ..data.preparation import Prepared

_STEPS = 1000  # for a thousand rows; more rows need more steps, but fewer epochs
_GROWTH = 0.6
_MOST_LETTERS = 150_000_000  # what a laptop reads in about half an hour
_FEWEST_EPOCHS = 4


def usual_epochs(data: Prepared, batch_size: int) -> int:
    """Epochs by the number of rows, fewer where sequences are long."""
    rows = len(data.rows["train"])
    steps = _STEPS * (rows / 1000) ** _GROWTH
    epochs = steps * min(batch_size, rows) / rows
    affordable = _MOST_LETTERS / sum(map(len, data.sequences["train"]))
    return max(_FEWEST_EPOCHS, math.ceil(min(epochs, affordable)))


def usual_patience(epochs: float) -> int:
    """Epochs without a better validation score after which the rest would not find one either."""
    return max(8, math.ceil(epochs / 3))
