"""Tokenization classes for Lyra: one token per residue."""

from collections.abc import Sequence

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

    def encode_bulk(self, sequences: Sequence[str]) -> list[np.ndarray]:
        """Encodes many sequences quickly: `tokenizer(sequences)["input_ids"]` as one `uint8` array each.

        ASCII text goes through a table of 256 bytes; other text, and text in which a special token may be written out,
        goes through the tokenizer itself.
        """
        plain = len(self) == self.vocab_size  # no tokens were added
        return [
            self._encode_bytes(s) if plain and s.isascii() and "<" not in s else self._encode_text(s) for s in sequences
        ]

    def train_new_from_iterator(self, *args, **kwargs):
        """Raises: the vocabulary is the alphabet."""
        raise ValueError("Lyra's vocabulary is fixed by its alphabet; for other letters use LyraTokenizer('ACGT...')")

    def _encode_bytes(self, sequence: str) -> np.ndarray:
        ids = self._byte_table[np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)]
        return ids if ids.size == 0 or ids.max() != _SKIP else ids[ids != _SKIP]

    def _encode_text(self, sequence: str) -> np.ndarray:
        return np.asarray(self(sequence)["input_ids"], dtype=np.uint8)


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


def _byte_table(alphabet: str) -> np.ndarray:
    tokens = get_alphabet(alphabet).tokens
    table = np.full(256, tokens.index(UNK_TOKEN), dtype=np.uint8)
    for index, token in enumerate(tokens):
        if len(token) == 1:
            table[ord(token)] = table[ord(token.lower())] = index
    table[[ord(space) for space in _WHITESPACE]] = _SKIP
    return table


LyraTokenizer.register_for_auto_class()

__all__ = ["LyraTokenizer"]
