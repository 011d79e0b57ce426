"""Tokenization classes for Lyra: one token per residue."""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.decoders import Fuse
from tokenizers.models import BPE, WordLevel
from transformers import PreTrainedTokenizerFast

from .alphabet_lyra import MASK_TOKEN, PAD_TOKEN, UNK_TOKEN, Alphabet, PairAlphabet, get_alphabet

_WHITESPACE = " \t\n\v\f\r"
_SKIP = 255  # no vocabulary reaches it: three special tokens and at most 94 printable characters


class LyraTokenizer(PreTrainedTokenizerFast):
    r"""
    Construct a Lyra tokenizer: every character that is not white space becomes one token, no special token is added,
    lower case counts as upper case, and a character outside the alphabet becomes one `<unk>`.

    Args:
        alphabet (`str`, *optional*, defaults to `"protein"`):
            `"protein"`, `"dna"`, `"rna"`, or another name that [`LyraConfig`] takes.
        pair_offset (`int`, *optional*, defaults to 0):
            With an alphabet of pairs such as `"dna+dna"`, whose tokens are two letters each: the position of the first
            sequence at which the second begins. Such a tokenizer takes two arguments, `tokenizer(sequence, partner)`,
            fills up with gaps where the partner has no letter, and raises `ValueError` for one sequence alone.

    Example:

    ```python
    >>> from lyra import LyraTokenizer

    >>> LyraTokenizer("dna")("acg tn")["input_ids"]
    [3, 4, 5, 6, 18]
    >>> pairs = LyraTokenizer("dna+dna", pair_offset=1)
    >>> pairs.convert_ids_to_tokens(pairs("ACGT", "CC")["input_ids"])
    ['A-', 'CC', 'GC', 'T-']
    ```
    """

    vocab_files_names = {"tokenizer_file": "tokenizer.json"}
    model_input_names = ["input_ids", "attention_mask"]
    _auto_class = "AutoTokenizer"  # what `register_for_auto_class` sets; calling it would import all models and torch

    def __init__(self, alphabet: str = "protein", pair_offset: int = 0, **kwargs):
        if pair_offset < 0:
            raise ValueError(f"`pair_offset` must be at least 0, got {pair_offset}")
        self.alphabet = alphabet
        self.pair_offset = pair_offset
        # The alphabet says it all; the last two, of a loaded tokenizer, would be saved again.
        for name in ("tokenizer_file", "tokenizer_object", "vocab", "local_files_only", "is_local"):
            kwargs.pop(name, None)
        special = {"pad_token": PAD_TOKEN, "unk_token": UNK_TOKEN, "mask_token": MASK_TOKEN}
        # Kept in tokenizer_config.json so that a plain PreTrainedTokenizerFast asks for the same inputs.
        kwargs.setdefault("model_input_names", self.model_input_names)
        names = {"alphabet": alphabet, "pair_offset": pair_offset}
        super().__init__(tokenizer_object=_backend(get_alphabet(alphabet)), **names, **special | kwargs)
        self._letters_per_token = len(get_alphabet(alphabet).members)
        self._byte_table = _byte_table(alphabet) if self._letters_per_token == 1 else b""

    def _encode_plus(self, text, text_pair=None, **kwargs):
        # Every public call comes here.
        if self._letters_per_token == 2:
            if kwargs.get("return_offsets_mapping"):
                raise ValueError("`return_offsets_mapping` is of one text, and a token of a pair is in two")
            text, text_pair = self._align(text, text_pair, kwargs.get("is_split_into_words", False)), None
        return super()._encode_plus(text, text_pair, **kwargs)

    def _align(self, sequences, partners, split: bool):
        """The letters of pairs in turn, as the vocabulary has them; of one pair, or of each of a list."""
        if partners is None and isinstance(sequences, (list, tuple)):
            pairs = [each for each in sequences if isinstance(each, (list, tuple)) and len(each) == 2]
            if len(pairs) == len(sequences) > 0:  # a batch of (sequence, partner)
                sequences, partners = (list(each) for each in zip(*pairs, strict=True))
        one = isinstance(sequences, str)
        if (
            split
            or partners is None
            or one != isinstance(partners, str)
            or (not one and len(sequences) != len(partners))
        ):
            raise ValueError(
                f"the alphabet {self.alphabet!r} is one of aligned pairs: call tokenizer(sequence, partner), or with "
                "two lists of the same length"
            )
        if not one:
            return [self._align(*pair, split) for pair in zip(sequences, partners, strict=True)]
        alphabet = get_alphabet(self.alphabet)
        assert isinstance(alphabet, PairAlphabet)
        return alphabet.align("".join(sequences.split()), "".join(partners.split()), self.pair_offset)

    def encode_bulk(self, sequences: Iterable[str]) -> list[np.ndarray]:
        """Encodes many sequences quickly: `tokenizer(sequences)["input_ids"]` as one `uint8` array each. Of pairs it
        takes the texts of [`PairAlphabet.align`].

        ASCII text without white space goes through a table of 256 bytes, all sequences at once; other text, and text
        in which a special token may be written out, goes through one by one.
        """
        ids, ends = self.encode_joined(list(sequences))
        return [ids[start:end] for start, end in pairwise([0, *ends.tolist()])]

    def encode_joined(self, sequences: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """[`encode_bulk`] as one `uint8` array, one sequence after the other, and where each ends, `(sequences,)`."""
        joined = "".join(sequences)
        if self._is_plain(joined):
            ids = np.frombuffer(bytearray(joined, "ascii").translate(self._byte_table), dtype=np.uint8)
            if not ids.size or ids.max() != _SKIP:
                return ids, np.cumsum(np.fromiter(map(len, sequences), np.int64, len(sequences)))
        each = [self._encode_one(sequence) for sequence in sequences]
        return np.concatenate([np.zeros(0, np.uint8), *each]), np.cumsum([len(ids) for ids in each], dtype=np.int64)

    def _is_plain(self, text: str) -> bool:
        """Whether each of its bytes is one token, or white space."""
        return self._letters_per_token == 1 and len(self) == self.vocab_size and text.isascii() and "<" not in text

    def _encode_one(self, sequence: str) -> np.ndarray:
        if not self._is_plain(sequence):
            return np.asarray(self._tokenizer.encode(sequence).ids, dtype=np.uint8)
        ids = np.frombuffer(bytearray(sequence, "ascii").translate(self._byte_table), dtype=np.uint8)
        return ids[ids != _SKIP]

    def train_new_from_iterator(self, *args, **kwargs):
        """Raises: the vocabulary is the alphabet."""
        raise ValueError("Lyra's vocabulary is fixed by its alphabet; for other letters use LyraTokenizer('ACGT...')")


def _backend(alphabet: Alphabet) -> Tokenizer:
    vocab = {token: index for index, token in enumerate(alphabet.tokens)}
    split = [pre_tokenizers.Split(Regex(r"\s+"), behavior="removed")]
    if len(alphabet.members) == 1:
        # Without merges, BPE gives one token per character, and with `fuse_unk=False` one `<unk>` per unknown one.
        tokenizer = Tokenizer(BPE(vocab=vocab, merges=[], unk_token=UNK_TOKEN, fuse_unk=False))
    else:
        tokenizer = Tokenizer(WordLevel(vocab=vocab, unk_token=UNK_TOKEN))
        split.append(pre_tokenizers.Split(Regex("..?"), behavior="isolated"))
    letters = dict.fromkeys(letter for member in alphabet.members for letter in member.characters)
    upper = [normalizers.Replace(letter.lower(), letter) for letter in letters if letter.isalpha()]
    tokenizer.normalizer = normalizers.Sequence(upper)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
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


__all__ = ["LyraTokenizer"]
