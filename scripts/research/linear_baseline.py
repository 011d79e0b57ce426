"""The linear baseline: ridge or logistic regression on one-hot letters, its penalty chosen on validation.

Features: where all sequences have one length, the letter at each position and, where that is at most `_PAIR_COLUMNS`
pairs of varying positions, the letters at each pair of them; otherwise the frequencies of words of up to three letters;
for labels per residue, the letters of a window around it.
"""

import time
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import OneHotEncoder, normalize

from lyra.data import Prepared, pad
from lyra.data.labels import IGNORE_INDEX
from lyra.scoring import compute_metrics

_PAIR_COLUMNS = 250
_WINDOW = 15
_RESIDUES = 200_000  # at most so many, at random, are learned from
_PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)

Features = Callable[[list[str]], sparse.csr_matrix]


def fit_and_score(data: Prepared, metric: str, seed: int) -> dict[str, Any]:
    """Fits on the training split, chooses the penalty by a validation metric, scores the test split once.

    Returns:
        The entries of a training record that a linear model has.
    """
    started = time.monotonic()
    features, named = _features(data)
    X = {split: features(data.sequences[split]) for split in ("train", "validation")}
    y = {split: data.label_array(split) for split in ("train", "validation", "test")}
    rows = _labelled(data, y["train"], seed)
    best: tuple[float, Any, dict[str, float], float] | None = None
    for penalty in _PENALTIES:
        model = _model(data, penalty).fit(X["train"][rows], y["train"][rows])
        scores = _score(data, model, X["validation"], y["validation"])
        if best is None or scores.get(metric, -1) > best[0]:
            best = scores.get(metric, -1), model, scores, penalty
    assert best is not None
    _, model, validation, penalty = best
    training_seconds = time.monotonic() - started
    before = time.monotonic()
    test = _score(data, model, features(data.sequences["test"]), y["test"])
    per_thousand = 1000 * (time.monotonic() - before) / len(data.sequences["test"])
    return {
        "validation": validation,
        "test": test,
        "parameters": int(X["train"].shape[1] + 1) * (1 if data.task.kind == "regression" else len(data.task.names)),
        "training_seconds": round(training_seconds, 1),
        "seconds_per_1000_predictions": round(per_thousand, 4),
        "hyperparameters": {"features": named, "penalty": penalty, "seed": seed, "rows": int(rows.sum())},
    }


def _features(data: Prepared) -> tuple[Features, str]:
    """What turns sequences into a sparse matrix, a row per sequence or residue, and its description."""
    train, tokenizer = data.sequences["train"], data.tokenizer
    if data.task.per_token:
        encoder = OneHotEncoder(handle_unknown="ignore", dtype=np.float32).fit(_windows(data, train[:1000]))
        return lambda sequences: encoder.transform(_windows(data, sequences)), f"window of {_WINDOW}"
    if len(set(map(len, train))) > 1:
        counter = CountVectorizer(analyzer="char", ngram_range=(1, 3), lowercase=False, dtype=np.float32).fit(train)
        return lambda sequences: normalize(counter.transform(sequences)), "frequencies of 1-3 letters"

    def ids(sequences: list[str]) -> np.ndarray:
        rows = np.full((len(sequences), len(train[0])), tokenizer.pad_token_id)
        found = pad(tokenizer.encode_bulk(sequences), tokenizer.pad_token_id).numpy()[:, : rows.shape[1]]
        rows[:, : found.shape[1]] = found
        return rows

    known = ids(train)
    varying = np.flatnonzero(np.ptp(known, axis=0))
    pairs = list(combinations(varying, 2))
    pairs = pairs if len(pairs) <= _PAIR_COLUMNS else []

    def columns(sequences: list[str]) -> np.ndarray:
        letters = ids(sequences)
        both = [letters[:, i] * len(tokenizer) + letters[:, j] for i, j in pairs]
        return np.column_stack([letters[:, varying], *both])

    encoder = OneHotEncoder(handle_unknown="ignore", dtype=np.float32).fit(columns(train))
    return lambda sequences: encoder.transform(columns(sequences)), "one-hot" + (" and pairs" if pairs else "")


def _windows(data: Prepared, sequences: list[str]) -> np.ndarray:
    """The ids around each residue, `(residues, _WINDOW)`, pads outside."""
    half, rows = _WINDOW // 2, []
    for ids in data.tokenizer.encode_bulk(sequences):
        padded = np.pad(ids, half, constant_values=data.tokenizer.pad_token_id)
        rows.append(np.lib.stride_tricks.sliding_window_view(padded, _WINDOW))
    return np.concatenate(rows)


def _labelled(data: Prepared, labels: np.ndarray, seed: int) -> np.ndarray:
    """Which training rows to learn from."""
    missing = labels == IGNORE_INDEX if data.task.kind == "classification" else np.isnan(labels)
    kept = ~missing.reshape(len(labels), -1).any(axis=1)
    if data.task.per_token and kept.sum() > _RESIDUES:
        chosen = np.random.default_rng(seed).choice(np.flatnonzero(kept), _RESIDUES, replace=False)
        kept = np.isin(np.arange(len(kept)), chosen)
    return kept


def _model(data: Prepared, penalty: float) -> Any:
    if data.task.kind == "regression":
        return Ridge(alpha=penalty, solver="lsqr")
    logistic = LogisticRegression(C=1 / penalty, max_iter=200)
    return OneVsRestClassifier(logistic) if data.task.kind == "multilabel" else logistic


def _score(data: Prepared, model: Any, X: sparse.csr_matrix, labels: np.ndarray) -> dict[str, float]:
    if data.task.kind == "regression":
        logits = model.predict(X).reshape(len(labels), -1)
    else:
        logits = model.decision_function(X)
        if logits.ndim == 1:
            logits = np.stack([np.zeros_like(logits), logits], axis=1)
    return compute_metrics(data.task.kind, logits, labels, data.task.names)
