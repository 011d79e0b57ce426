"""What is believed of the weights of a linear term before any measurement: which of them are alike.

Amino acids that resemble each other have similar effects, in pairs of positions and in words too, and so have
neighbouring positions and positions with similar letters in the reference. A prior that says so lets a few hundred
variants teach the effects of all.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from scipy import sparse

from ..alphabet_lyra import AMINO_ACIDS, get_alphabet
from ..linear_lyra import token_vectors
from .ridge import Prior

# Hydropathy (Kyte and Doolittle 1982), volume in cubic Angstrom (Zamyatnin 1972), helix propensity in kcal/mol (Pace
# and Scholtz 1998), sheet propensity (Chou and Fasman 1978), charge, aromatic ring.
_PROPERTIES = {
    "A": (1.8, 88.6, 0.00, 0.83, 0.0, 0.0),
    "C": (2.5, 108.5, 0.68, 1.19, 0.0, 0.0),
    "D": (-3.5, 111.1, 0.69, 0.54, -1.0, 0.0),
    "E": (-3.5, 138.4, 0.40, 0.37, -1.0, 0.0),
    "F": (2.8, 189.9, 0.54, 1.38, 0.0, 1.0),
    "G": (-0.4, 60.1, 1.00, 0.75, 0.0, 0.0),
    "H": (-3.2, 153.2, 0.61, 0.87, 0.3, 0.5),
    "I": (4.5, 166.7, 0.41, 1.60, 0.0, 0.0),
    "K": (-3.9, 168.6, 0.26, 0.74, 1.0, 0.0),
    "L": (3.8, 166.7, 0.21, 1.30, 0.0, 0.0),
    "M": (1.9, 162.9, 0.24, 1.05, 0.0, 0.0),
    "N": (-3.5, 114.1, 0.65, 0.89, 0.0, 0.0),
    "P": (-1.6, 112.7, 3.16, 0.55, 0.0, 0.0),
    "Q": (-3.5, 143.8, 0.39, 1.10, 0.0, 0.0),
    "R": (-4.5, 173.4, 0.21, 0.93, 1.0, 0.0),
    "S": (-0.8, 89.0, 0.50, 0.75, 0.0, 0.0),
    "T": (-0.7, 116.1, 0.66, 1.19, 0.0, 0.0),
    "V": (4.2, 140.0, 0.61, 1.70, 0.0, 0.0),
    "W": (-0.9, 227.8, 0.49, 1.37, 0.0, 1.0),
    "Y": (-1.3, 193.6, 0.53, 1.47, 0.0, 1.0),
}
_BREADTH = 1.5  # of similarity, in standard deviations of a property
# Shares of the variance: each letter at each position by itself; letters that are alike at one position; at positions
# within some residues; everywhere; and at positions whose reference letters are alike.
_ITSELF, _ALIKE, _NEAR, _EVERYWHERE, _SAME_REFERENCE = 0.2, 0.6, 0.2, 0.05, 0.1
_REACH, _FARTHEST = 1.5, 12  # residues
_EACH_LETTER = 0.5  # of pairs and words: what each of their letters has by itself, the rest it shares with alike ones


def independent(weights: np.ndarray) -> np.ndarray:
    """The prior of usual ridge regression: no weight says anything of another."""
    return weights


class SimilarLetters:
    """Weights of amino acids at positions are alike where the letters, the positions or their references are.

    Args:
        alphabet: of amino acids.
        reference: `(n,)` ids of the most common letter at each position.
    """

    def __init__(self, alphabet: str, reference: np.ndarray):
        self._alike = similarity()
        self._reference = token_vectors(alphabet).numpy()[reference]  # (n, 20)
        positions = np.arange(len(reference))
        near = [
            sparse.diags(np.full(len(positions) - abs(step), np.exp(-abs(step) / _REACH)), step)
            for step in range(-_FARTHEST, _FARTHEST + 1)
            if abs(step) < len(positions)
        ]
        self._near: Any = sum(near[1:], near[0]).tocsr()

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """`(n * 20, k)` to the same."""
        positions, letters = self._reference.shape
        W = weights.reshape(positions, letters, -1)  # (n, 20, k)
        alike = self._alike @ W
        flat = alike.reshape(positions, -1)
        by_reference = self._alike @ (self._reference.T @ flat).reshape(letters, -1)  # (20, 20 k)
        product = _ITSELF * W + _ALIKE * alike
        product += _EVERYWHERE * alike.sum(axis=0)
        product += (_NEAR * (self._near @ flat) + _SAME_REFERENCE * (self._reference @ by_reference)).reshape(W.shape)
        return product.reshape(weights.shape)


class SimilarPairs:
    """[`SimilarLetters`] for the positions, and weights of alike letters at a pair of positions are alike.

    Args:
        alphabet: of amino acids.
        reference: `(n,)` ids of the most common letter at each position.
    """

    def __init__(self, alphabet: str, reference: np.ndarray):
        self._singles, self._positions = SimilarLetters(alphabet, reference), len(reference)

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """`(n * 20 + pairs * 400, k)` to the same."""
        singles, pairs = np.split(weights, [self._positions * len(AMINO_ACIDS)])
        return np.concatenate([self._singles(singles), _alike_words(pairs, 2)])


class SimilarWords:
    """Weights of words of amino acids are alike where their letters are; longer words, which are rarer, vary more.

    Args:
        longest: letters of the longest words.
    """

    def __init__(self, longest: int):
        self._longest = longest

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """`(20 + 400 + ..., k)` to the same."""
        sizes = [len(AMINO_ACIDS) ** letters for letters in range(1, self._longest + 1)]
        blocks = np.split(weights, np.cumsum(sizes[:-1]))
        return np.concatenate([2**i * _alike_words(block, i + 1) for i, block in enumerate(blocks)])


def _alike_words(weights: np.ndarray, letters: int) -> np.ndarray:
    """The covariance of words, `(any * 20^letters, k)`: the product of those of their letters."""
    size = len(AMINO_ACIDS)
    covariance = _EACH_LETTER * np.eye(size) + (1 - _EACH_LETTER) * similarity()
    product = weights.reshape(-1, *[size] * letters, weights.shape[-1])
    for axis in range(1, letters + 1):
        product = np.moveaxis(np.tensordot(covariance, product, axes=(1, axis)), 0, axis)
    return product.reshape(weights.shape)


@cache
def similarity() -> np.ndarray:
    """How alike the effects of two amino acids are expected to be, `(20, 20)`, from 0 to 1 for the same."""
    properties = np.array([_PROPERTIES[letter] for letter in AMINO_ACIDS])
    scaled = (properties - properties.mean(axis=0)) / properties.std(axis=0)
    distances = ((scaled[:, None] - scaled[None]) ** 2).mean(axis=-1)
    return np.exp(-distances / (2 * _BREADTH**2 / 2))


class WithNumbers:
    """A prior of letters, and of as many further weights of their own, of standardised numbers beside the sequence.

    Args:
        prior: of the letters.
        variance: of each further weight.
    """

    def __init__(self, prior: Prior, numbers: int, variance: float):
        self._prior, self._numbers, self._variance = prior, numbers, variance

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """`(features + numbers, k)` to the same."""
        letters, numbers = np.split(weights, [len(weights) - self._numbers])
        return np.concatenate([self._prior(letters), self._variance * numbers])


def possible_priors(alphabet: str, features: Any) -> dict[str, Prior]:
    """The priors that make sense for some features, by name."""
    priors: dict[str, Prior] = {"independent": independent}
    if get_alphabet(alphabet).letters == AMINO_ACIDS:
        similar: dict[str, Callable[[], Prior]] = {
            "positions": lambda: SimilarLetters(alphabet, features.reference),
            "pairs": lambda: SimilarPairs(alphabet, features.reference),
            "words": lambda: SimilarWords(features.longest),
        }
        priors["similar letters"] = similar[features.name]()
    return priors
