"""The linear model that every run is compared with: ridge or logistic regression, its penalty chosen on validation.

Features: where all sequences have one length, the letter at each position and, where that is at most `_PAIR_COLUMNS`
pairs of varying positions, the letters at each pair of them; otherwise the frequencies of words of up to three letters;
for labels per residue, the letters of a window around it.
"""

import math
import time
import warnings
from collections.abc import Callable
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import OneHotEncoder, normalize

from ..data.collator import pad
from ..data.labels import IGNORE_INDEX
from ..data.preparation import Prepared
from ..metrics import greater_is_better
from ..scoring import compute_metrics
from .features import beside, standardised

MOST_ROWS = 20_000  # sequences or residues, at random, that a run learns its linear model from
_PAIR_COLUMNS = 250
_WINDOW = 15
_CHUNK = 2000  # sequences whose features are in memory at once
_PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)

Features = Callable[[list[str]], sparse.csr_matrix]


class FittedBaseline(NamedTuple):
    """A fitted linear baseline.

    Attributes:
        record: scores and settings, for the record of a run.
        logits: of the last split that is scored, `(items, outputs)`, in label units for a regression.
    """

    record: dict[str, Any]
    logits: np.ndarray


def fit_linear(data: Prepared, metric: str, seed: int, most_rows: int = MOST_ROWS) -> FittedBaseline | None:
    """Fits on the training split, chooses the penalty by a validation metric, scores the test split once.

    Args:
        metric: of `lyra.metrics`, or of one output; `"loss"` stands for the usual one of the task.
        most_rows: sequences or residues to learn from.

    Returns:
        None where there is nothing to learn: no row has all labels, an output is constant, or all sequences are alike.
    """
    started = time.monotonic()
    metric = data.task.spec.selected_by if metric == "loss" else metric
    sign = 1 if greater_is_better(metric) else -1
    sequences, y, numbers = _sample(data, seed, most_rows)
    labelled = _labelled(data, y)
    if not _can_be_learned(y[labelled]):
        return None
    features, named = _features(data, sequences)
    X = beside(features(sequences), numbers)[labelled]
    if X.shape[1] == 0:  # all sequences are alike
        return None
    models = [_fit(data, penalty, X, y[labelled]) for penalty in _PENALTIES]
    names = data.task.names

    def score(logits: np.ndarray, split: str) -> dict[str, float]:
        return compute_metrics(data.task.kind, logits, data.label_array(split), names)

    scores = [score(each, "validation") for each in _logits(data, models, features, "validation")]
    best = max(range(len(models)), key=lambda index: sign * scores[index].get(metric, -sign * np.inf))
    training_seconds = time.monotonic() - started
    before = time.monotonic()
    last = data.scored[-1]
    (logits,) = _logits(data, [models[best]], features, last)
    per_thousand = 1000 * (time.monotonic() - before) / len(data.sequences[last])
    record = {
        "validation": scores[best],
        "test": score(logits, "test") if last == "test" else {},
        "parameters": int(X.shape[1] + 1) * len(names),
        "training_seconds": round(training_seconds, 1),
        "seconds_per_1000_predictions": round(per_thousand, 4),
        "hyperparameters": {"features": named, "penalty": _PENALTIES[best], "seed": seed, "rows": len(labelled)},
    }
    return FittedBaseline(record, logits)


def _sample(data: Prepared, seed: int, most: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Training sequences at random, with at most about `most` rows or residues, their labels `(items, ...)`, and the
    numbers beside them `(items, numbers)`."""
    sequences, labels = data.sequences["train"], data.dataset["train"]["labels"]
    if not data.task.per_token:
        chosen = np.arange(len(sequences))
        if len(chosen) > most:
            chosen = np.sort(np.random.default_rng(seed).choice(chosen, most, replace=False))
        return list(sequences.take(chosen)), data.label_array("train")[chosen], standardised(data, "train")[chosen]
    order = np.random.default_rng(seed).permutation(len(sequences))
    lengths = np.cumsum([len(labels[int(i)]) for i in order])
    chosen = np.sort(order[: 1 + np.searchsorted(lengths, most)])
    found = np.concatenate([np.asarray(labels[int(i)]) for i in chosen])
    return list(sequences.take(chosen)), found, np.empty((len(found), 0))


def _features(data: Prepared, train: list[str]) -> tuple[Features, str]:
    """What turns sequences into a sparse matrix, a row per sequence or residue, and its description."""
    tokenizer = data.tokenizer
    if data.task.per_token:
        encoder = OneHotEncoder(handle_unknown="ignore", dtype=np.float32).fit(_windows(data, train[:1000]))
        return lambda sequences: encoder.transform(_windows(data, sequences)), f"window of {_WINDOW}"
    if len(set(map(len, train))) > 1:
        counter = CountVectorizer(analyzer="char", ngram_range=(1, 3), preprocessor=str.upper, dtype=np.float32)
        counter.fit(train)
        return lambda sequences: normalize(counter.transform(sequences)), "frequencies of 1-3 letters"
    length = len(tokenizer.encode_bulk(train[:1])[0])

    def ids(sequences: list[str]) -> np.ndarray:
        rows = np.full((len(sequences), length), tokenizer.pad_token_id)
        found = pad(tokenizer.encode_bulk(sequences), tokenizer.pad_token_id).numpy()[:, :length]
        rows[:, : found.shape[1]] = found
        return rows

    varying = np.flatnonzero(np.ptp(ids(train), axis=0))
    pairs = list(combinations(varying, 2)) if math.comb(len(varying), 2) <= _PAIR_COLUMNS else []

    def columns(sequences: list[str]) -> np.ndarray:
        letters = ids(sequences)
        both = [letters[:, i] * len(tokenizer) + letters[:, j] for i, j in pairs]
        return np.column_stack([letters[:, varying], *both])

    if not len(varying):
        return lambda sequences: sparse.csr_matrix((len(sequences), 0)), "none"
    encoder = OneHotEncoder(handle_unknown="ignore", dtype=np.float32).fit(columns(train))
    return lambda sequences: encoder.transform(columns(sequences)), "one-hot" + (" and pairs" if pairs else "")


def _windows(data: Prepared, sequences: list[str]) -> np.ndarray:
    """The ids around each residue, `(residues, _WINDOW)`, pads outside."""
    half, rows = _WINDOW // 2, []
    for ids in data.tokenizer.encode_bulk(sequences):
        padded = np.pad(ids, half, constant_values=data.tokenizer.pad_token_id)
        rows.append(np.lib.stride_tricks.sliding_window_view(padded, _WINDOW))
    return np.concatenate(rows)


def _labelled(data: Prepared, labels: np.ndarray) -> np.ndarray:
    """The indices of the items that have all labels."""
    missing = labels == IGNORE_INDEX if data.task.kind == "classification" else np.isnan(labels)
    return np.flatnonzero(~missing.reshape(len(labels), -1).any(axis=1))


def _fit(data: Prepared, penalty: float, X: sparse.csr_matrix, y: np.ndarray) -> Any:
    if data.task.kind == "regression":
        return Ridge(alpha=penalty, solver="lsqr").fit(X, y)
    logistic = LogisticRegression(C=1 / penalty, max_iter=200)
    model = OneVsRestClassifier(logistic) if data.task.kind == "multilabel" else logistic
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it only has to be about as good
        warnings.filterwarnings("ignore", "Label .* is present in all training examples")
        return model.fit(X, y)


def _can_be_learned(labels: np.ndarray) -> bool:
    """Whether labels `(items, ...)` differ, in every output."""
    return len(labels) > 1 and bool(np.all(np.ptp(labels.reshape(len(labels), -1), axis=0) > 0))


def _logits(data: Prepared, models: list[Any], features: Features, split: str) -> list[np.ndarray]:
    """The logits of each model, `(items, outputs)`; the features are made once, and not of all sequences at once."""
    sequences, numbers = data.sequences[split], standardised(data, split)
    decide = "predict" if data.task.kind == "regression" else "decision_function"
    decided: list[list[np.ndarray]] = [[] for _ in models]
    for start in range(0, len(sequences), _CHUNK):
        X = features(list(sequences[start : start + _CHUNK]))
        if not data.task.per_token:
            X = beside(X, numbers[start : start + _CHUNK])
        for model, parts in zip(models, decided, strict=True):
            parts.append(getattr(model, decide)(X).reshape(X.shape[0], -1))
    logits = [np.concatenate(parts) for parts in decided]
    if data.task.kind == "classification":
        classes = len(data.task.names)
        logits = [_all_classes(model.classes_, each, classes) for model, each in zip(models, logits, strict=True)]
    return logits


def _all_classes(learned: np.ndarray, logits: np.ndarray, classes: int) -> np.ndarray:
    """A column for each class: of two the first is zero; one that no training row has is never predicted."""
    if len(learned) == 2:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    full = np.full((len(logits), classes), logits.min() - 1e3)
    full[:, learned] = logits
    return full
