"""What a model predicts for sequences: batches of similar length, long sequences streamed."""

from collections.abc import Callable, Sequence
from itertools import chain, compress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy import special
from tqdm.auto import tqdm

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
_BLOCK = 1 << 14  # sequences that are encoded together
_LONGEST_WHOLE = 1 << 17  # letters; a longer sequence is streamed


# Of each sequence `(labels,)` in one array `(sequences, labels)`, or of a token head `(length, labels)` in a list.
Arrays = np.ndarray | list[np.ndarray]


class Predictions(NamedTuple):
    """Predictions for some sequences: one array `(sequences, labels)`, or of a token head a list of `(length, labels)`.

    Attributes:
        logits: of a regression in label units.
        stds: of an ensemble, see [`LyraClassifierOutput`]; else None.
    """

    logits: Arrays
    stds: Arrays | None

    def take(self, span: slice) -> "Predictions":
        """Those of some sequences."""
        return Predictions(self.logits[span], None if self.stds is None else self.stds[span])


def to_items(arrays: Arrays) -> np.ndarray:
    """`(items, labels)`, where an item is a sequence, or of a token head a residue."""
    return arrays if isinstance(arrays, np.ndarray) else np.concatenate(arrays)


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
    starts = range(0, len(sequences), _BLOCK)
    bar: dict[str, Any] = {"desc": "predicting", "unit": " rows", "unit_scale": _BLOCK, "leave": False, "delay": 2}
    blocks = []
    for start in tqdm(starts, **bar, disable=len(starts) < 2 or None):  # None: on a terminal only
        span = slice(start, start + _BLOCK)
        extra = None if extra_features is None else extra_features[span]
        blocks.append(_run_block(model, tokenizer, list(sequences[span]), extra))
    labels, has_stds = model.config.num_labels, len(model.members()) > 1
    if model.per_token:
        found = [*chain(*blocks)]
        return Predictions([each[:, :labels] for each in found], [e[:, labels:] for e in found] if has_stds else None)
    joined = np.concatenate([np.zeros((0, labels * (1 + has_stds)), np.float32), *blocks])
    return Predictions(joined[:, :labels], joined[:, labels:] if has_stds else None)


def _run_block(
    model: LyraClassificationModel, tokenizer: LyraTokenizer, sequences: list[str], extra_features: np.ndarray | None
) -> Arrays:
    """Logits, and of an ensemble standard deviations beside them."""
    single = len(get_alphabet(tokenizer.alphabet).members) == 1
    streamable = single and extra_features is None and not MODES[model.config.reverse_complement].averages
    is_whole = [len(sequence) <= _LONGEST_WHOLE or not streamable for sequence in sequences]

    def logits_and_std(input_ids: torch.Tensor, *extra: torch.Tensor) -> torch.Tensor:
        output = model(input_ids, extra_features=next(iter(extra), None))
        return output.logits if output.std is None else torch.cat([output.logits, output.std], dim=-1)

    encoded = tokenizer.encode_bulk(compress(sequences, is_whole))
    found = map_batches(logits_and_std, model, encoded, model.per_token, extra_features)
    if not all(is_whole):
        batched = iter(found)
        each = zip(sequences, is_whole, strict=True)
        found = [next(batched) if whole else _stream_whole(model, sequence) for sequence, whole in each]
        found = found if model.per_token else np.stack(found)
    check_finite([found] if isinstance(found, np.ndarray) else found)
    return found


def check_finite(predictions: list[np.ndarray]) -> None:
    """Raises InputError if predictions are not finite, as after a training that diverged."""
    if not all(np.isfinite(each).all() for each in predictions):
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
) -> Arrays:
    """Applies a function of `input_ids`, and where they are given of `extra_features`, to batches of similar length;
    returns the results in the given order."""
    if not encoded:
        return []
    lengths = np.array([max(1, len(ids)) for ids in encoded])
    order, start, outputs = np.argsort(-lengths, kind="stable"), 0, []
    while start < len(order):
        batch = order[start : start + max(1, _BATCH_POSITIONS // lengths[order[start]])]
        input_ids = pad([encoded[i] for i in batch], model.config.pad_token_id).to(model.device)
        extra = [] if extra_features is None else [torch.from_numpy(extra_features[batch]).to(model.device)]
        output = function(input_ids, *extra).float().cpu().numpy()
        outputs.append([row[: len(encoded[i])] for i, row in zip(batch, output, strict=True)] if per_token else output)
        start += len(batch)
    back = np.argsort(order)
    if per_token:
        rows = [*chain(*outputs)]
        return [rows[i] for i in back]
    return np.concatenate(outputs)[back]
