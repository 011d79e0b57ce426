"""Scores of sequences: what a model says of them, and the sums beneath its curve."""

from typing import NamedTuple

import numpy as np
import torch

from ..inference.logits import check_finite, map_batches, to_items
from ..modeling_lyra import LyraClassificationModel
from ..tokenization_lyra import LyraTokenizer


class Scores(NamedTuple):
    """What a model says of some sequences, `(n, outputs)` each.

    Attributes:
        logits: of a regression in label units.
        stds: of an ensemble, see [`LyraClassifierOutput`]; else None.
        latents: the sums of all parts of the model before a curve, a scale of labels or a sigmoid; of an ensemble the
            mean.
    """

    logits: np.ndarray
    stds: np.ndarray | None
    latents: np.ndarray


def score(model: LyraClassificationModel, tokenizer: LyraTokenizer, sequences: list[str]) -> Scores:
    """The scores of whole sequences.

    Raises:
        InputError: if they are not finite, as after a training that diverged.
    """

    def run(input_ids: torch.Tensor) -> torch.Tensor:
        output = model(input_ids)
        return torch.cat([output.logits, output.latents, *([] if output.std is None else [output.std])], dim=-1)

    found = to_items(map_batches(run, model, tokenizer.encode_bulk(sequences), per_token=False))
    check_finite([found])
    logits, latents, *stds = np.split(found, found.shape[1] // model.config.num_labels, axis=1)
    return Scores(logits, stds[0] if stds else None, latents)
