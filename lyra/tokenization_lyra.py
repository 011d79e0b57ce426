"""Tokenization classes for Lyra: one token per residue."""

from collections.abc import Iterable
from itertools import accumulate

import numpy as np
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.decoders import Fuse
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from .alphabet_lyra import MASK_TOKEN, PAD_TOKEN, UNK_TOKEN, get_alphabet

_WHITESPACE = " \t\n\v\f\r"
_SKIP = 255  # no vocabulary reaches it: three special tokens and at most 94 printable characters


class LyraTokenizer(PreTrainedTokenizerFast):
    r"""
    Construct a Lyra tokenizer: every character that is not white space becomes one token, no special token is added,
    lower case counts as upper case, and a character outside the alphabet becomes one `<unk>`.

    Args:
        alphabet (`str`, *optional*, defaults to `"protein"`):
            `"protein"`, `"dna"`, `"rna"`, or the letters of a custom alphabet in upper case.

    Example:

    ```python
    >>> from lyra import LyraTokenizer

    >>> LyraTokenizer("dna")("acg tn")["input_ids"]
    [3, 4, 5, 6, 18]
    ```
    """

    vocab_files_names = {"tokenizer_file": "tokenizer.json"}
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(self, alphabet: str = "protein", **kwargs):
        self.alphabet = alphabet
        kwargs.pop("tokenizer_file", None)  # the alphabet says it all
        kwargs.pop("tokenizer_object", None)
        special = {"pad_token": PAD_TOKEN, "unk_token": UNK_TOKEN, "mask_token": MASK_TOKEN}
        # Kept in tokenizer_config.json so that a plain PreTrainedTokenizerFast asks for the same inputs.
        kwargs.setdefault("model_input_names", self.model_input_names)
        super().__init__(tokenizer_object=_backend(alphabet), alphabet=alphabet, **special | kwargs)
        self._byte_table = _byte_table(alphabet)

    def encode_bulk(self, sequences: Iterable[str]) -> list[np.ndarray]:
        """Encodes many sequences quickly: `tokenizer(sequences)["input_ids"]` as one `uint8` array each.

        ASCII text without white space goes through a table of 256 bytes, all sequences at once; other text, and text
        in which a special token may be written out, goes through one by one.
        """
        sequences = list(sequences)
        joined = "".join(sequences)
        ends = list(accumulate(map(len, sequences)))
        if self._is_plain(joined):
            ids = np.frombuffer(bytearray(joined, "ascii").translate(self._byte_table), dtype=np.uint8)
            if not ids.size or ids.max() != _SKIP:
                return [ids[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        return [self._encode_one(sequence) for sequence in sequences]

    def _is_plain(self, text: str) -> bool:
        """Whether each of its bytes is one token, or white space."""
        return len(self) == self.vocab_size and text.isascii() and "<" not in text

    def _encode_one(self, sequence: str) -> np.ndarray:
        if not self._is_plain(sequence):
            return np.asarray(self(sequence)["input_ids"], dtype=np.uint8)
        ids = np.frombuffer(bytearray(sequence, "ascii").translate(self._byte_table), dtype=np.uint8)
        return ids[ids != _SKIP]

    def train_new_from_iterator(self, *args, **kwargs):
        """Raises: the vocabulary is the alphabet."""
        raise ValueError("Lyra's vocabulary is fixed by its alphabet; for other letters use LyraTokenizer('ACGT...')")


def _backend(alphabet: str) -> Tokenizer:
    tokens = get_alphabet(alphabet).tokens
    # Without merges, BPE gives one token per character, and with `fuse_unk=False` one `<unk>` per unknown one.
    vocab = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=[], unk_token=UNK_TOKEN, fuse_unk=False))
    upper = [normalizers.Replace(token.lower(), token) for token in tokens if len(token) == 1 and token.isalpha()]
    tokenizer.normalizer = normalizers.Sequence(upper)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), behavior="removed")
    tokenizer.decoder = Fuse()
    return tokenizer


def _byte_table(alphabet: str) -> bytes:
    tokens = get_alphabet(alphabet).tokens
    table = np.full(256, tokens.index(UNK_TOKEN), dtype=np.uint8)
    for index, token in enumerate(tokens):
        if len(token) == 1:
            table[ord(token)] = table[ord(token.lower())] = index
    table[[ord(space) for space in _WHITESPACE]] = _SKIP
    return table.tobytes()


LyraTokenizer.register_for_auto_class()

__all__ = ["LyraTokenizer"]
