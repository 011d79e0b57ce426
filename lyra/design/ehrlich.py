"""Ehrlich functions, test landscapes of a known maximum (Stanton et al. 2024, arXiv 2407.00236).

    f(x) = prod over motifs i of h_q(x, a_i, s_i), or 0 where two neighbouring letters of x are a banned pair
    h_q(x, a, s) = max over places l of floor(q * (share of j with x[l + s_j] = a_j)) / q

Motifs must be together (epistasis) and may be anywhere, and many mutations break the sequence. Ours differ in that all
letters that may follow one are equally likely, a fixed share is banned, and no letter is in two motifs.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

_BANNED = 0.3  # share of a letter's successors


@dataclass(frozen=True)
class Ehrlich:
    """An Ehrlich function.

    Attributes:
        length: of its sequences.
        motifs: a_i, of different letters.
        spacings: s_i, how far each letter of a motif is after its first.
        successors: for each letter those that may follow it.
        quantization: q, how many steps there are from nothing of a motif to all of it.
    """

    length: int
    motifs: tuple[str, ...]
    spacings: tuple[tuple[int, ...], ...]
    successors: dict[str, str]
    quantization: int

    def value(self, sequence: str) -> float:
        """f, from 0 to 1."""
        if any(after not in self.successors[before] for before, after in pairwise(sequence)):
            return 0.0
        found = zip(self.motifs, self.spacings, strict=True)
        return math.prod(self._share(sequence, motif, spacing) for motif, spacing in found)

    def _share(self, sequence: str, motif: str, spacing: tuple[int, ...]) -> float:
        places = range(len(sequence) - spacing[-1])
        pairs = list(zip(motif, spacing, strict=True))
        most = max(sum(sequence[place + step] == letter for letter, step in pairs) for place in places)
        return self.quantization * most // len(motif) / self.quantization

    def sample(self, rng: np.random.Generator) -> str:
        """A random sequence without banned pairs."""
        return _walk(rng, self.successors, self.length)


def random_ehrlich(
    rng: np.random.Generator,
    letters: str,
    length: int = 32,
    motifs: int = 2,
    motif_length: int = 4,
    quantization: int = 4,
) -> Ehrlich:
    """Draws motifs, their spacings and banned pairs, so that a sequence of value 1 exists.

    Raises:
        ValueError: if the motifs do not fit.
    """
    span = length // motifs
    if not 1 < motif_length <= span or motifs * motif_length > len(letters):
        raise ValueError(f"{motifs} motifs of {motif_length} letters do not fit {length} letters of {letters}")
    if not 1 <= quantization <= motif_length:
        raise ValueError(f"`quantization` must be 1 to {motif_length}, got {quantization}")
    order = rng.permutation(list(letters))
    chain = "".join(order[: motifs * motif_length])  # what follows in it is never banned
    successors = {}
    for letter in letters:
        kept = {letter, *chain[chain.find(letter) + 1 :][: letter in chain]}
        others = [each for each in letters if each not in kept]
        banned = set(rng.choice(others, int(_BANNED * len(letters)), replace=False))
        successors[letter] = "".join(each for each in letters if each not in banned)
    spacings = (rng.choice(np.arange(1, span), motif_length - 1, replace=False) for _ in range(motifs))
    return Ehrlich(
        length,
        tuple(chain[begin : begin + motif_length] for begin in range(0, len(chain), motif_length)),
        tuple((0, *sorted(each.tolist())) for each in spacings),
        successors,
        quantization,
    )


def _walk(rng: np.random.Generator, successors: dict[str, str], length: int) -> str:
    text = str(rng.choice(list(successors)))
    while len(text) < length:
        text += str(rng.choice(list(successors[text[-1]])))
    return text
