"""Global epistasis: a linear model and a curve over it, fitted together.

`y = g(X w + b)` with `g(x) = x + sum_i height_i tanh(slope_i x + shift_i)`, by L-BFGS from a ridge solution, under the
same prior and penalty (the latent additive phenotype of Tareen et al. 2022). What is returned has latent values of mean
0 and variance 1, and a curve with the scale and offset that make up for it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize, sparse

from ..linear_lyra import TANHS
from .ridge import Prior, mean_variance

_MOST_STEPS = 200
_HEIGHT_PENALTY = 1e-3


@dataclass
class Curved:
    """A linear model and the curve over it, of one output.

    Attributes:
        weights, intercept: `(features,)` and a number.
        curve: the parameters of a [`LyraCurve`] of one output, by name.
    """

    weights: np.ndarray
    intercept: float
    curve: dict[str, np.ndarray]

    def predict(self, X: sparse.csr_matrix) -> np.ndarray:
        """The target of each row, `(rows,)`."""
        latent, curve = X @ self.weights + self.intercept, self.curve
        waves = np.tanh(np.multiply.outer(latent, curve["slope"]) + curve["shift"])
        return curve["scale"] * latent + curve["offset"] + waves @ curve["height"]


def fit_curve(
    X: sparse.csr_matrix,
    target: np.ndarray,
    prior: Prior,
    penalty: float,
    causes: np.ndarray,
    intercept: float,
    monotone: bool = False,
) -> Curved:
    """Fits one output.

    Args:
        X: `(rows, features)`.
        target: `(rows,)`, standardised.
        causes, intercept: of the ridge solution, to start from.
        monotone: whether the curve must rise everywhere, so that no slope and no height is below zero.
    """
    rows, transposed = len(target), X.T.tocsr()
    middle = np.asarray(X.mean(axis=0)).ravel()
    penalty = penalty * mean_variance(X, middle, prior)
    start = X @ prior(causes[:, None])[:, 0] + intercept
    spread = max(start.std(), 1e-6)
    slopes = np.full(TANHS, 1 / spread)
    shifts = -np.quantile(start, np.linspace(0.05, 0.95, TANHS)) * slopes
    first = np.concatenate([causes, [intercept], slopes, shifts, np.zeros(TANHS)])

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        causes, level, bent = _unpack(parameters, len(middle))
        weights, heights = prior(causes[:, None])[:, 0], bent[2]
        latent = X @ weights + level
        values, slope, gradients = bend(latent, bent)
        error = values - target
        by_latent = error * slope / rows
        by_causes = prior((transposed @ by_latent + penalty / rows * causes)[:, None])[:, 0]
        by_curve = gradients(error) / rows
        by_curve[2] += _HEIGHT_PENALTY * heights
        total = error @ error / rows + penalty / rows * causes @ weights + _HEIGHT_PENALTY * heights @ heights
        return total / 2, np.concatenate([by_causes, [by_latent.sum()], by_curve.ravel()])

    lowest = np.full(len(first), -np.inf)
    if monotone:
        _unpack(lowest, len(middle))[2][[0, 2]] = 0
    options = {"jac": True, "method": "L-BFGS-B", "options": {"maxiter": _MOST_STEPS}}
    found = optimize.minimize(loss, first, bounds=optimize.Bounds(lowest), **options)
    causes, level, bent = _unpack(found.x, len(middle))
    return _standardised(X, prior(causes[:, None])[:, 0], float(level), bent)


def _standardised(X: sparse.csr_matrix, weights: np.ndarray, level: float, bent: np.ndarray) -> Curved:
    """The same function of the features, with latent values of mean 0 and variance 1."""
    latent, (slopes, shifts, heights) = X @ weights + level, bent
    middle, spread = float(latent.mean()), max(float(latent.std()), 1e-6)
    curve = {"scale": spread, "offset": middle, "slope": slopes * spread, "shift": shifts + slopes * middle}
    named = {name: np.asarray(value) for name, value in (curve | {"height": heights}).items()}
    return Curved(weights / spread, (level - middle) / spread, named)


def bend(latent: np.ndarray, curve: np.ndarray) -> tuple[np.ndarray, np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Values `(n,)` of the curve, its slope there, and what turns gradients by the values into those by its parameters,
    `(3, 8)`."""
    slopes, shifts, heights = curve
    waves = np.tanh(slopes[:, None] * latent + shifts[:, None])
    falls = heights[:, None] * (1 - waves**2)

    def gradients(by_values: np.ndarray) -> np.ndarray:
        return np.stack([falls @ (latent * by_values), falls @ by_values, waves @ by_values])

    return latent + heights @ waves, 1 + slopes @ falls, gradients


def _unpack(parameters: np.ndarray, features: int) -> tuple[np.ndarray, float, np.ndarray]:
    return parameters[:features], parameters[features], parameters[features + 1 :].reshape(3, TANHS)
