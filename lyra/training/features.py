"""What a linear term sees of sequences, as sparse matrices with a column for each row of its weights."""

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any, Protocol

import numpy as np
from scipy import sparse

from ..alphabet_lyra import get_alphabet
from ..data.preparation import Prepared
from ..linear_lyra import longest_word, token_vectors
from ..strands_lyra import token_complements

MOST_PAIRS = 250
_PART_ROWS = 4096
_PART_TEXTS = 1 << 16  # whose words are counted together
_UNALIGNED = 0.4  # share of positions that differ from the most common letters, above which positions may mean little


class LinearFeatures(Protocol):
    """The features of one kind of linear term.

    Attributes:
        name: a key of `LINEAR_TERMS`.
        fields: of [`LyraConfig`].
        offset: `(features,)`, what the columns are less than those of the model.
        reference: `(n,)` ids of the most common letter at each position; of words none.
    """

    name: str
    fields: dict[str, Any]
    offset: np.ndarray
    reference: np.ndarray | None

    def matrix(self, ids: Sequence[np.ndarray]) -> sparse.csr_matrix:
        """`(rows, features)`."""


class _Features:
    """What both kinds share: the mean over both strands, where `complements` `(tokens,)` are given."""

    complements: np.ndarray | None

    def matrix(self, ids: Sequence[np.ndarray]) -> sparse.csr_matrix:
        """`(rows, features)`."""
        if self.complements is None:
            return self._of_strand(ids)
        others = [self.complements[each[::-1]] for each in ids]
        return (self._of_strand(ids) + self._of_strand(others)) / 2

    def _of_strand(self, ids: Sequence[np.ndarray]) -> sparse.csr_matrix:
        raise NotImplementedError


class AlignedFeatures(_Features):
    """Letters at positions, and at pairs of `sites`, less those of a reference: few entries for each variant."""

    def __init__(
        self,
        alphabet: str,
        reference: np.ndarray,
        sites: Sequence[int] | np.ndarray = (),
        complements: np.ndarray | None = None,
    ):
        self.complements = complements
        self.reference, self.pairs = reference, np.array(list(combinations(sites, 2)), dtype=int).reshape(-1, 2)
        self.name = "pairs" if len(self.pairs) else "positions"
        self.fields = {
            "linear_term": self.name,
            "linear_length": len(reference),
            "linear_sites": list(map(int, sites)) if len(self.pairs) else None,
        }
        vectors = token_vectors(alphabet).numpy().astype(np.float64)
        self._tokens = len(vectors)
        self._letters = sparse.csr_matrix(vectors)
        blocks = [self._letters[reference]]
        if len(self.pairs):
            self._products = sparse.kron(self._letters, self._letters, format="csr")  # of each two tokens
            blocks.append(self._products[self._codes(reference[None])[0]])
        self.offset = np.concatenate([block.toarray().ravel() for block in blocks])

    def _of_strand(self, ids: Sequence[np.ndarray]) -> sparse.csr_matrix:
        letters = np.stack(ids)
        parts = np.array_split(letters, -(-len(letters) // _PART_ROWS))
        return sparse.vstack([self._matrix(part) for part in parts]).tocsr()

    def _matrix(self, letters: np.ndarray) -> sparse.csr_matrix:
        single = _changes(letters, self.reference, self._letters)
        if not len(self.pairs):
            return single
        codes, reference = self._codes(letters), self._codes(self.reference[None])[0]
        return sparse.hstack([single, _changes(codes, reference, self._products)]).tocsr()

    def _codes(self, letters: np.ndarray) -> np.ndarray:
        """The row of `_products` of each pair of positions, `(rows, pairs)`."""
        first, second = self.pairs.T
        return letters[:, first].astype(np.int64) * self._tokens + letters[:, second]


class WordFeatures(_Features):
    """Counts of words over the square root of their number."""

    name = "words"
    reference = None

    def __init__(self, alphabet: str, complements: np.ndarray | None = None):
        self.complements = complements
        vectors = token_vectors(alphabet).numpy().astype(np.float64)
        self._vectors, self.longest = vectors, longest_word(len(vectors))
        self.sizes = [vectors.shape[1] ** k for k in range(1, self.longest + 1)]
        self.offset = np.zeros(sum(self.sizes))
        self.fields = {"linear_term": self.name, "linear_length": None, "linear_sites": None}

    def _of_strand(self, ids: Sequence[np.ndarray]) -> sparse.csr_matrix:
        parts = [self._matrix(ids[start : start + _PART_TEXTS]) for start in range(0, len(ids), _PART_TEXTS)]
        return sparse.vstack(parts).tocsr()

    def _matrix(self, ids: Sequence[np.ndarray]) -> sparse.csr_matrix:
        tokens, digits = _distinct(np.concatenate(ids))
        sizes = np.array([len(each) for each in ids])
        return sparse.hstack([self._counts(tokens, digits, sizes, k) for k in range(1, self.longest + 1)]).tocsr()

    def _counts(self, tokens: np.ndarray, digits: np.ndarray, sizes: np.ndarray, k: int) -> sparse.csr_matrix:
        """Of words of length k in sequences of these sizes, which follow each other in `tokens[digits]`."""
        count = max(0, len(digits) - k + 1)
        codes, within = np.zeros(count, np.int64), np.ones(len(digits), bool)
        for place in range(k):
            codes = codes * len(tokens) + digits[place : place + count]
        for place in range(1, k):
            within[np.cumsum(sizes)[:-1] - place] = False  # a word from there would reach into the next sequence
        codes, sizes = codes[within[:count]], np.maximum(sizes - k + 1, 0)
        words, columns = _distinct(codes)
        weights = np.repeat(1 / np.sqrt(np.maximum(sizes, 1)), sizes)
        starts = np.concatenate([[0], np.cumsum(sizes)])
        entries = weights, columns, starts
        counts = sparse.csr_matrix(entries, shape=(len(sizes), len(words)))
        counts.sum_duplicates()
        return counts @ self._meanings(tokens, words, k)

    def _meanings(self, tokens: np.ndarray, words: np.ndarray, k: int) -> sparse.csr_matrix:
        """Words of tokens as words of letters, `(words, letters^k)`: one of which an ambiguous letter makes several."""
        vectors, blocks = self._vectors[tokens], []
        for part in np.array_split(words, max(1, len(words) // 1000)):
            meaning = np.ones((len(part), 1))
            for place in reversed(range(k)):
                letters = vectors[part // len(tokens) ** place % len(tokens)]
                count = letters.shape[1] ** (k - place)
                meaning = (meaning[:, :, None] * letters[:, None, :]).reshape(len(part), count)
            blocks.append(sparse.csr_matrix(meaning))
        return sparse.vstack(blocks).tocsr()


def _distinct(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`np.unique` of small integers with its inverse, without sorting."""
    present = np.bincount(codes, minlength=1) > 0
    return np.flatnonzero(present), (np.cumsum(present) - 1)[codes]


def possible_features(data: Prepared, both_strands: bool = False) -> list[Any]:
    """The kinds of features that fit a table: letters at positions, with pairs where few of them vary, where all
    sequences have one length; words where lengths differ, or the sequences of one length look unrelated."""
    alphabet = data.tokenizer.alphabet
    complements = np.array(token_complements(alphabet)) if both_strands else None
    words = WordFeatures(alphabet, complements)
    if len(np.unique(np.concatenate([data.lengths(split) for split in data.rows]))) > 1:
        return [words]
    counts = _letter_counts(data)
    reference, varying = counts.argmax(axis=1), np.flatnonzero((counts > 0).sum(axis=1) > 1)
    found: list[Any] = [AlignedFeatures(alphabet, reference, (), complements)]
    if len(varying) > 1 and len(varying) * (len(varying) - 1) // 2 <= MOST_PAIRS:
        found.append(AlignedFeatures(alphabet, reference, varying, complements))
    if 1 - counts.max(axis=1).sum() / counts.sum() > _UNALIGNED and len(get_alphabet(alphabet).members) == 1:
        found.append(words)
    return found


def _letter_counts(data: Prepared) -> np.ndarray:
    """How many training sequences, which all have one length, have a token at a position, `(length, tokens)`."""
    length, tokens = int(data.lengths("train")[0]), len(data.tokenizer)
    counts, codes = np.zeros(length * tokens, np.int64), np.arange(length) * tokens
    for ids, bounds in data.joined_ids("train"):
        for first, last in pairwise([*bounds[:-1:_PART_ROWS], bounds[-1]]):
            counts += np.bincount((ids[first:last].reshape(-1, length) + codes).ravel(), minlength=len(counts))
    return counts.reshape(length, tokens)


def standardised(data: Prepared, split: str) -> np.ndarray:
    """The numbers beside the sequences of a split, `(rows, numbers)`, on the scale of the training rows."""
    train, values = data.extra["train"].astype(float), data.extra[split].astype(float)
    return (values - train.mean(axis=0)) / train.std(axis=0) if len(data.extra_columns) else values


def beside(X: sparse.csr_matrix, numbers: np.ndarray) -> sparse.csr_matrix:
    """Features of the sequences and the numbers beside them."""
    return sparse.hstack([X, sparse.csr_matrix(numbers)]).tocsr() if numbers.shape[1] else X


def _changes(tokens: np.ndarray, reference: np.ndarray, vectors: sparse.csr_matrix) -> sparse.csr_matrix:
    """The vectors of tokens `(rows, places)`, less those of the reference, side by side: `(rows, places * size)`, and
    sparse all along, as those of pairs of letters would fill the memory."""
    size = vectors.shape[1]
    rows, places = np.nonzero(tokens != reference)
    changes = (vectors[tokens[rows, places]] - vectors[reference[places]]).tocoo()
    columns = places[changes.row] * size + changes.col
    return sparse.csr_matrix((changes.data, (rows[changes.row], columns)), shape=(len(tokens), len(reference) * size))
