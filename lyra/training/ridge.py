"""Ridge regression under a prior, matrix-free: all penalties from one run of conjugate gradients.

With weights `w ~ N(0, S)` and noise of variance `penalty` the posterior mean is `w = S X' a` with
`(X S X' + penalty I) a = y`: systems that differ by a multiple of the identity, whose Krylov spaces are the same
(multi-shift conjugate gradients; Frommer and Maass 1999). S is a function, X is sparse and stays so when centred.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

# Variances of the noise over the variance of what is to be explained.
PENALTIES = tuple(10.0 ** (exponent / 2) for exponent in range(-8, 5))
_FOLDS = 5
_MOST_STEPS, _TOLERANCE = 150, 1e-3
_SOLVED = 1e-30  # a residual, as a part of that of the first system

Prior = Callable[[np.ndarray], np.ndarray]  # `(features, k)` to `S @ ...`, the same shape


@dataclass
class LinearModels:
    """A linear model for each penalty.

    Attributes:
        causes: `(penalties, features, outputs)`, of which the prior makes the weights.
        weights: `(penalties, features, outputs)`.
        intercepts: `(penalties, outputs)`.
    """

    causes: np.ndarray
    weights: np.ndarray
    intercepts: np.ndarray

    def predict(self, X: sparse.csr_matrix) -> np.ndarray:
        """`(penalties, rows, outputs)`."""
        return np.stack([X @ weights for weights in self.weights]) + self.intercepts[:, None]


def fit_ridge(
    X: sparse.csr_matrix, targets: np.ndarray, prior: Prior, penalties: tuple[float, ...] = PENALTIES
) -> LinearModels:
    """One linear model for each penalty.

    Args:
        X: `(rows, features)`.
        targets: `(rows, outputs)`, NaN where missing; each output learns from the rows that have it.
        prior: applies the covariance of the weights.
        penalties: ascending.
    """
    outputs = []
    for target in targets.T:
        present = ~np.isnan(target)
        part = X if present.all() else X[present]
        outputs.append(_fit_output(part, target[present], prior, penalties))
    return LinearModels(*(np.stack(each, axis=-1) for each in zip(*outputs, strict=True)))


def folds_of(units: Sequence[str], seed: int) -> np.ndarray:
    """A fold for each row, at random; equal units, such as sequences, share one."""
    _, distinct = np.unique(units, return_inverse=True)
    count = distinct.max() + 1
    return (np.random.default_rng(seed).permutation(count) % min(_FOLDS, count))[distinct]


def _fit_output(
    X: sparse.csr_matrix, target: np.ndarray, prior: Prior, penalties: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Causes and weights `(penalties, features)` and intercepts `(penalties,)`."""
    middle, level = np.asarray(X.mean(axis=0)).ravel(), target.mean()
    transposed = X.T.tocsr()

    def to_causes(a: np.ndarray) -> np.ndarray:
        return transposed @ a - np.outer(middle, a.sum(axis=0))

    def operator(a: np.ndarray) -> np.ndarray:
        weights = prior(to_causes(a[:, None]))
        return (X @ weights - middle @ weights)[:, 0]

    shifts = np.array(penalties) * mean_variance(X, middle, prior)
    causes = to_causes(_solve_shifted(operator, target - level, shifts).T)
    weights = prior(causes).T
    return causes.T, weights, level - weights @ middle


def mean_variance(X: sparse.csr_matrix, middle: np.ndarray, prior: Prior) -> float:
    """The mean over some rows of the prior variance of what is to be explained."""
    some = np.linspace(0, X.shape[0] - 1, min(64, X.shape[0])).astype(int)
    rows = X[some].toarray().T - middle[:, None]
    return max(float((rows * prior(rows)).sum() / len(some)), 1e-12)


def _solve_shifted(operator: Callable[[np.ndarray], np.ndarray], target: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """`(operator + shift) x = target` for ascending shifts, `(shifts, n)`; the first one is the slowest and decides
    when it is good enough."""
    relative = shifts - shifts[0]
    solutions = np.zeros((len(shifts), len(target)))
    residual, direction = target.copy(), target.copy()
    directions = np.tile(target, (len(shifts), 1))
    ratio_before, ratio = np.ones(len(shifts)), np.ones(len(shifts))  # of each system's residual to the first one's
    step_before, momentum = 1.0, 0.0
    energy = start = residual @ residual
    for _ in range(_MOST_STEPS):
        if energy <= _TOLERANCE**2 * start:
            break
        image = operator(direction) + shifts[0] * direction
        step = energy / (direction @ image)
        following = ratio * ratio_before * step_before
        scale = step * momentum * (ratio_before - ratio) + ratio_before * step_before * (1 + relative * step)
        following = np.divide(following, scale, out=np.zeros_like(scale), where=ratio > _SOLVED)
        share = np.divide(following, ratio, out=np.zeros_like(ratio), where=ratio > 0)
        solutions += (step * share)[:, None] * directions
        residual = residual - step * image
        energy, energy_before = residual @ residual, energy
        momentum = energy / energy_before
        directions = following[:, None] * residual + (momentum * share**2)[:, None] * directions
        direction = residual + momentum * direction
        ratio_before, ratio, step_before = ratio, following, step
    return solutions
