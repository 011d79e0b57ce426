"""How near sequences are to those that a model learned from."""

from collections.abc import Sequence

import numpy as np

from .reading import ChunkReader

COLUMN = "nearest_identity"


class Nearest:
    """The identity of sequences to the nearest one of a table: 1 - edits (Levenshtein) / letters of the longer one.

    Args:
        reader: of the table.
    """

    def __init__(self, reader: ChunkReader):
        texts = (text.upper() for chunk in reader.chunks(quiet=True) for text in chunk.texts)
        self.known = list(dict.fromkeys(texts))
        self.is_known = set(self.known)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """`(n,)`, 1 for a sequence of the table."""
        from rapidfuzz.distance import Levenshtein
        from rapidfuzz.process import extractOne

        def identity(text: str) -> float:
            if text in self.is_known:
                return 1.0
            return extractOne(text, self.known, scorer=Levenshtein.normalized_similarity)[1]

        return np.array([identity(text.upper()) for text in texts])
