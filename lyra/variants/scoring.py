"""Scores of sequences: what a model says of them, and the sums beneath its curve."""

from typing import NamedTuple

import numpy as np
import torch

from ..inference.logits import check_finite, map_batches
from ..modeling_lyra import LyraClassificationModel, mean_and_std
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
    members, pad = model.members(), model.config.pad_token_id

    def run(input_ids: torch.Tensor) -> torch.Tensor:
        latents = []
        for member in members:
            vectors = member.lyra(input_ids).pooler_output
            contributions = None if member.linear_term is None else member.linear_term(input_ids, input_ids != pad)
            latents.append(member.add_up(vectors, contributions))
        logits = [member.bend(latent)[1] for member, latent in zip(members, latents, strict=True)]
        if len(members) == 1:
            return torch.cat([logits[0], latents[0]], dim=-1)
        mean, std = mean_and_std(logits, model.config)
        return torch.cat([mean, torch.stack(latents).mean(dim=0), std], dim=-1)

    found = np.stack(map_batches(run, model, tokenizer.encode_bulk(sequences), per_token=False))
    check_finite([found])
    logits, latents, *stds = np.split(found, found.shape[1] // model.config.num_labels, axis=1)
    return Scores(logits, stds[0] if stds else None, latents)
