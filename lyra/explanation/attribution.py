"""What each letter of a sequence contributes to what a model says of it, on the scale on which the model adds up
(`latents` of [`LyraClassifierOutput`]): before the curve and the scale of the labels, of classes and labels log-odds.

The contribution of a letter at a position is what it adds beyond the mean over the letters that could be there: by
substitution, one at a time (in-silico mutagenesis), or by the gradient, averaged over the way from a sequence of which
every position is an equal mixture of all letters (integrated gradients, Sundararajan, Taly and Yan 2017). By gradients
the contributions of the letters that are there sum to the difference between both ends (completeness); what the other
letters have is the gradient less its mean over the letters (Majdandzic et al. 2023).

Glossary: b batch, l length, a letters of the alphabet.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from ..alphabet_lyra import SPECIAL_TOKENS, get_alphabet
from ..configuration_lyra import LyraConfig
from ..data.collator import pad
from ..errors import InputError
from ..inference.logits import check_finite, map_batches
from ..inference.outputs import kind_of
from ..modeling_lyra import LyraClassificationModel

_STEPS, _MOST_STEPS = 32, 1024  # of the integral; doubled until it is complete
_INCOMPLETE = 0.005  # share of what is to be explained
_BATCH_POSITIONS = 1 << 15
_MUTANT_LETTERS = 1 << 24  # of mutants that are made at a time


class Attribution(NamedTuple):
    """Of one sequence.

    Attributes:
        values: `(length, letters)`, contributions of every letter at every position.
        letters: `(length,)` index of the letter that is there, -1 where none of them is.
        prediction: what the model says of it, on the scale that is explained.
        explained: of gradients, the difference from the mixture of letters; else NaN.
        error: of gradients, by how much the contributions miss it; else NaN.
    """

    values: np.ndarray
    letters: np.ndarray
    prediction: float
    explained: float
    error: float

    @property
    def track(self) -> np.ndarray:
        """`(length, letters)`, the contributions of the letters that are there, zeros elsewhere."""
        return self.values * self.one_hot

    @property
    def one_hot(self) -> np.ndarray:
        """`(length, letters)`, whether a letter is there."""
        return self.letters[:, None] == np.arange(self.values.shape[1])


class Target:
    """The output of a model that is explained: a latent sum, of several classes the log-odds of one.

    Args:
        model: of whole single sequences, in evaluation mode.
        name: of an output; by default the only one, or of two classes the second.

    Raises:
        InputError: for another model or name, or without a name where there are several.
        ValueError: for a model in training mode.
    """

    def __init__(self, model: LyraClassificationModel, name: str | None = None):
        if model.training:
            raise ValueError("`model` must be in evaluation mode, call model.eval() first")
        config: LyraConfig = model.config
        unexplained = {
            "labels each residue": model.per_token,
            "reads pairs of sequences": len(get_alphabet(config.alphabet).members) > 1,
            f"reads {', '.join(config.extra_features or [])} beside the sequence": bool(config.extra_features),
            "reads numbers instead of letters": config.input_size is not None,
        }
        for what, holds in unexplained.items():
            if holds:
                name = config.name_or_path or "the model"
                raise InputError(f"{name}: {what}; only models of whole single sequences can be explained")
        names = [str(config.id2label[i]) for i in range(config.num_labels)]
        self.kind = kind_of(config)
        if name is None and len(names) > (2 if self.kind == "classification" else 1):
            raise InputError(f"--label: the model has several outputs, expected one of {', '.join(names)}")
        if name is not None and name not in names:
            raise InputError(f"--label: expected one of {', '.join(names)}, got {name!r}")
        self.name = names[1 if self.kind == "classification" else 0] if name is None else name
        self.index, self.model = names.index(self.name), model

    def read(self, latents: torch.Tensor) -> torch.Tensor:
        """`(b, labels)` to `(b,)`."""
        chosen = latents[:, self.index]
        if self.kind != "classification":
            return chosen
        others = [i for i in range(latents.shape[1]) if i != self.index]
        return chosen - latents[:, others].logsumexp(dim=1)

    def of_ids(self, input_ids: torch.Tensor) -> torch.Tensor:
        """`(b, l)` to `(b, 1)`."""
        return self.read(self.model(input_ids).latents).unsqueeze(-1)

    def of_features(self, input_features: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """`(b, l, a)` to `(b,)`."""
        return self.read(self.model(input_features=input_features, attention_mask=attention_mask).latents)


def attribute_gradients(target: Target, encoded: list[np.ndarray]) -> list[Attribution]:
    """Integrated gradients of encoded sequences. The steps of the integral are doubled, up to 1,024, until the error of
    a batch is below half a percent of what is explained."""
    found: dict[int, Attribution] = {}
    order = sorted(range(len(encoded)), key=lambda i: -len(encoded[i]))
    while order:
        count = max(1, _BATCH_POSITIONS // len(encoded[order[0]]))
        batch, order = order[:count], order[count:]
        found |= dict(zip(batch, _integrate(target, [encoded[i] for i in batch]), strict=True))
    return [found[i] for i in range(len(encoded))]


def _integrate(target: Target, encoded: list[np.ndarray]) -> list[Attribution]:
    """Of a batch."""
    from captum.attr import IntegratedGradients

    model = target.model
    integral = IntegratedGradients(target.of_features, multiply_by_inputs=False)
    input_ids = pad(encoded, model.config.pad_token_id).to(model.device)
    mask, letters = input_ids != model.config.pad_token_id, _letters(input_ids, model.config)
    ends = model.lyra.embeddings.encodings[input_ids]
    starts = torch.where(letters.unsqueeze(-1) < 0, ends, 1 / ends.shape[-1])
    with torch.no_grad():
        predictions, baselines = target.of_features(ends, mask), target.of_features(starts, mask)
    explained, steps = predictions - baselines, _STEPS
    while True:
        gradients = integral.attribute(
            ends,
            starts,
            additional_forward_args=(mask,),
            n_steps=steps,
            internal_batch_size=max(1, _BATCH_POSITIONS // ends.shape[1]),
        )
        errors = ((ends - starts) * gradients).sum(dim=(1, 2)) - explained
        if errors.abs().sum() <= _INCOMPLETE * explained.abs().sum() or steps >= _MOST_STEPS:
            break
        steps *= 2
    values = (gradients - gradients.mean(dim=-1, keepdim=True)).float().cpu().numpy()
    numbers = torch.stack([predictions, explained, errors]).float().cpu().numpy().T
    check_finite([values, numbers])
    found = zip(encoded, values, letters.cpu().numpy(), numbers, strict=True)
    return [Attribution(v[: len(e)], index[: len(e)], *map(float, row)) for e, v, index, row in found]


def attribute_mutagenesis(target: Target, encoded: list[np.ndarray]) -> list[Attribution]:
    """Every letter at every position of encoded sequences."""
    return [_mutate(target, ids) for ids in encoded]


def _mutate(target: Target, ids: np.ndarray) -> Attribution:
    config = target.model.config
    letters = _letters(torch.from_numpy(ids.astype(np.int64)), config).numpy()
    count = len(get_alphabet(config.alphabet).letters)
    parts = [[ids]]
    for places in np.array_split(np.arange(len(ids)), -(-len(ids) * count * len(ids) // _MUTANT_LETTERS)):
        mutants = np.repeat(ids[None], len(places) * count, axis=0)
        tokens = len(SPECIAL_TOKENS) + np.tile(np.arange(count), len(places))
        mutants[np.arange(len(mutants)), np.repeat(places, count)] = tokens
        parts.append(list(mutants))
    scored = [np.ravel(map_batches(target.of_ids, target.model, part, per_token=False)) for part in parts]
    check_finite(scored)
    values = np.concatenate(scored[1:]).reshape(len(ids), count)
    values = values - values.mean(axis=1, keepdims=True)
    return Attribution(values.astype(np.float32), letters, float(scored[0][0]), float("nan"), float("nan"))


def _letters(input_ids: torch.Tensor, config: LyraConfig) -> torch.Tensor:
    """The index in the alphabet of each token, -1 of those that are no letter."""
    index = input_ids.long() - len(SPECIAL_TOKENS)
    return torch.where((index >= 0) & (index < len(get_alphabet(config.alphabet).letters)), index, -1)


# By the name that `--method` takes.
METHODS: dict[str, Callable[[Target, list[np.ndarray]], list[Attribution]]] = {
    "gradients": attribute_gradients,
    "mutagenesis": attribute_mutagenesis,
}
