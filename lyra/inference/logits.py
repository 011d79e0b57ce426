"""What a model predicts for sequences: batches of similar length, long sequences streamed."""

from collections.abc import Callable, Iterable, Sequence
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy import special

from ..alphabet_lyra import PairAlphabet, get_alphabet
from ..data.collator import pad
from ..errors import InputError
from ..modeling_lyra import LyraClassificationModel, LyraPreTrainedModel, mean_and_std
from ..strands_lyra import MODES
from ..tokenization_lyra import LyraTokenizer
from .streaming import stream_member

if TYPE_CHECKING:
    from ..data.preparation import Prepared

_BATCH_POSITIONS = 1 << 16
_LONGEST_WHOLE = 1 << 17  # letters; a longer sequence is streamed


class Predictions(NamedTuple):
    """Predictions for some sequences, of each `(labels,)`, or `(length, labels)` of a token head.

    Attributes:
        logits: of each sequence, of a regression in label units.
        stds: of an ensemble, see [`LyraClassifierOutput`]; else None.
    """

    logits: list[np.ndarray]
    stds: list[np.ndarray] | None


def compute_logits(
    model: LyraClassificationModel,
    tokenizer: LyraTokenizer,
    sequences: Sequence[str] | Sequence[tuple[str, str]],
    extra_features: np.ndarray | None = None,
) -> Predictions:
    """The predictions for each sequence, or of a model of aligned pairs for each `(sequence, partner)`.

    Args:
        extra_features: of a model that reads some, `(sequences, features)`.

    Raises:
        ValueError: if a model of pairs gets single sequences, or `extra_features` are not those that the model reads.
        InputError: if the predictions are not finite, as after a training that diverged.
    """
    alphabet = get_alphabet(tokenizer.alphabet)
    if not isinstance(alphabet, PairAlphabet):
        return logits_of_texts(model, tokenizer, list(sequences), extra_features)  # type: ignore[arg-type]
    pairs = [each for each in sequences if not isinstance(each, str)]
    if len(pairs) < len(sequences):
        raise ValueError("`sequences` must be pairs (sequence, partner) for this model, got single sequences")
    texts = [alphabet.align(_without_space(one), _without_space(other), tokenizer.pair_offset) for one, other in pairs]
    return logits_of_texts(model, tokenizer, texts, extra_features)


def to_values(kind: str, logits: np.ndarray) -> np.ndarray:
    """What the logits `(n, outputs)` of a kind of task say: values, or probabilities of classes or of each label."""
    if kind == "regression":
        return logits
    return special.softmax(logits, axis=1) if kind == "classification" else special.expit(logits)


def _without_space(sequence: str) -> str:
    return "".join(sequence.split())


def logits_of_split(model: LyraClassificationModel, data: "Prepared", split: str) -> Predictions:
    """[`compute_logits`] of a split of prepared data."""
    return logits_of_texts(model, data.tokenizer, data.sequences[split], data.extra_features(split))


def logits_of_texts(
    model: LyraClassificationModel,
    tokenizer: LyraTokenizer,
    sequences: Sequence[str],
    extra_features: np.ndarray | None = None,
) -> Predictions:
    """[`compute_logits`] of texts as the tokenizer reads them, of pairs those of `PairAlphabet.align`."""
    single = len(get_alphabet(tokenizer.alphabet).members) == 1
    streamable = single and extra_features is None and not MODES[model.config.reverse_complement].averages
    is_whole = [len(sequence) <= _LONGEST_WHOLE or not streamable for sequence in sequences]

    def logits_and_std(input_ids: torch.Tensor, *extra: torch.Tensor) -> torch.Tensor:
        output = model(input_ids, extra_features=next(iter(extra), None))
        return output.logits if output.std is None else torch.cat([output.logits, output.std], dim=-1)

    encoded = tokenizer.encode_bulk(compress(sequences, is_whole))
    batched = iter(map_batches(logits_and_std, model, encoded, model.per_token, extra_features))
    results = [
        next(batched) if whole else _stream_whole(model, sequence)
        for sequence, whole in zip(sequences, is_whole, strict=True)
    ]
    check_finite(results)
    labels = model.config.num_labels
    logits = [result[..., :labels] for result in results]
    return Predictions(logits, None if len(model.members()) == 1 else [result[..., labels:] for result in results])


def check_finite(predictions: Iterable[np.ndarray]) -> None:
    """Raises InputError if predictions are not finite, as after a training that diverged."""
    flat = [each.ravel() for each in predictions]  # at once, as there may be millions of single numbers
    if flat and not np.isfinite(np.concatenate(flat)).all():
        raise InputError("the model's predictions are not finite numbers; it diverged in training or is damaged")


def _stream_whole(model: LyraClassificationModel, sequence: str) -> np.ndarray:
    """Logits, and of an ensemble standard deviations beside them, of one long sequence."""
    logits = []
    for member in model.members():
        parts = [part.logits for part in stream_member(member, [sequence])]
        logits.append(torch.from_numpy(np.concatenate(parts) if model.per_token else parts[0]))
    if len(logits) == 1:
        return logits[0].numpy()
    return torch.cat(mean_and_std(logits, model.config), dim=-1).numpy()


@torch.inference_mode()
def map_batches(
    function: Callable[..., torch.Tensor],
    model: LyraPreTrainedModel,
    encoded: list[np.ndarray],
    per_token: bool,
    extra_features: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Applies a function of `input_ids`, and where they are given of `extra_features`, to batches of similar length;
    returns the results in the given order."""
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]), reverse=True)
    results: list[np.ndarray | None] = [None] * len(encoded)
    while order:
        size = max(1, _BATCH_POSITIONS // len(encoded[order[0]]))
        batch, order = order[:size], order[size:]
        input_ids = pad([encoded[i] for i in batch], model.config.pad_token_id).to(model.device)
        extra = [] if extra_features is None else [torch.from_numpy(extra_features[batch]).to(model.device)]
        output = function(input_ids, *extra).float().cpu().numpy()
        for i, result in zip(batch, output, strict=True):
            results[i] = result[: len(encoded[i])] if per_token else result
    return results  # type: ignore[return-value]
