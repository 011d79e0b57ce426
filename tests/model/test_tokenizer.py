"""The tokenizer: one token per residue, exact offsets, one file that loads anywhere, a byte table that agrees."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from lyra import LyraConfig, LyraTokenizer
from lyra.alphabet_lyra import ALPHABETS, get_alphabet

ALPHABET_NAMES = ["protein", "dna", "rna", "HPNC"]


def ids(tokenizer, text):
    return tokenizer(text)["input_ids"]


@pytest.mark.parametrize("alphabet", ALPHABET_NAMES)
def test_config_and_tokenizer_agree(alphabet):
    tokenizer, config = LyraTokenizer(alphabet), LyraConfig(alphabet=alphabet)
    assert len(tokenizer) == config.vocab_size
    for token in ("pad", "unk", "mask"):
        assert getattr(tokenizer, f"{token}_token_id") == getattr(config, f"{token}_token_id")
    assert tokenizer.convert_ids_to_tokens(range(len(tokenizer))) == list(get_alphabet(alphabet).tokens)


def test_ids_are_stable():
    """Rows of published weights depend on these."""
    assert LyraTokenizer("protein").convert_ids_to_tokens(range(32)) == [
        "<pad>", "<unk>", "<mask>", *"ACDEFGHIKLMNPQRSTVWY", *"XBZJUO", *"-.*",
    ]  # fmt: skip
    assert LyraTokenizer("dna").convert_ids_to_tokens(range(21)) == [
        "<pad>", "<unk>", "<mask>", *"ACGT", *"URYSWKMBDHVN", *"-.",
    ]  # fmt: skip
    assert LyraTokenizer("rna").convert_ids_to_tokens(range(8)) == ["<pad>", "<unk>", "<mask>", *"ACGU", "T"]


def test_case_white_space_and_unknown_characters(tokenizer):
    assert ids(tokenizer, "mkT") == ids(tokenizer, "MKT") == ids(tokenizer, " M\nk\tT\r\n")
    encoded = tokenizer("M? é\u4e2d", return_offsets_mapping=True)
    assert encoded["input_ids"][1:] == [tokenizer.unk_token_id] * 3
    assert encoded["offset_mapping"] == [(0, 1), (1, 2), (3, 4), (4, 5)]
    assert ids(tokenizer, "") == []


def test_runs_of_unknown_or_lower_case_letters_keep_their_length(tokenizer):
    assert len(ids(tokenizer, "mk??ta1234ll")) == 12


def test_offsets_name_every_residue(tokenizer):
    text = "mk <mask>\nTa*"
    encoded = tokenizer(text, return_offsets_mapping=True)
    pieces = [text[start:end] for start, end in encoded["offset_mapping"]]
    assert pieces == ["m", "k", "<mask>", "T", "a", "*"]


def test_no_special_tokens_are_added_and_pairs_of_inputs_are_right(tokenizer):
    assert set(tokenizer("MK")) == {"input_ids", "attention_mask"}
    assert len(tokenizer("MK")["input_ids"]) == 2
    assert tokenizer.decode(ids(tokenizer, "mktx")) == "MKTX"


@pytest.mark.parametrize("alphabet", ALPHABET_NAMES)
def test_the_saved_file_loads_without_our_code(tmp_path, alphabet):
    tokenizer = LyraTokenizer(alphabet)
    tokenizer.save_pretrained(tmp_path)
    plain = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    ours = AutoTokenizer.from_pretrained(tmp_path)
    assert type(ours) is LyraTokenizer and ours.alphabet == alphabet
    text = ["acgtu hpnc\nXBZ ?é", "<mask>A-.*"]
    for other in (plain, ours):
        assert dict(other(text)) == dict(tokenizer(text))
        assert other.pad_token_id == 0 and other.mask_token == "<mask>"
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["alphabet"] == alphabet


@pytest.mark.parametrize("alphabet", ALPHABET_NAMES)
def test_bulk_encoding_equals_the_tokenizer(alphabet):
    tokenizer = LyraTokenizer(alphabet)
    rng = np.random.default_rng(0)
    every_byte = [chr(i) for i in range(128)]
    texts = every_byte + ["".join(rng.choice(every_byte, 50)) for _ in range(50)]
    texts += ["", "   ", "M\u00a0K", "é<pad>A", "<mask>", "a<b", "\ufeffA", "\u2028C", "𝔄A"]
    bulk = tokenizer.encode_bulk(texts)
    assert all(array.dtype == np.uint8 for array in bulk)
    assert [array.tolist() for array in bulk] == tokenizer(texts)["input_ids"]


def test_bulk_encoding_after_adding_a_token(tokenizer):
    tokenizer.add_tokens(["[X]"])
    assert tokenizer.encode_bulk(["M[X]K"])[0].tolist() == ids(tokenizer, "M[X]K")


def test_the_vocabulary_is_not_trained(tokenizer):
    with pytest.raises(ValueError, match="fixed by its alphabet"):
        tokenizer.train_new_from_iterator(["MK"], 10)


def test_encodings():
    vectors = {name: dict(zip(a.tokens, a.vectors(), strict=True)) for name, a in ALPHABETS.items()}
    protein = vectors["protein"]
    assert protein["X"] == [1 / 20] * 20
    assert protein["U"] == protein["C"] and protein["O"] == protein["K"]
    for code, members in {"B": "DN", "Z": "EQ", "J": "IL"}.items():
        assert protein[code] == [(x + y) / 2 for x, y in zip(protein[members[0]], protein[members[1]], strict=True)]
    for silent in ("-", ".", "*", "<pad>", "<unk>", "<mask>"):
        assert not any(protein[silent])
    assert vectors["dna"]["U"] == vectors["dna"]["T"] and vectors["rna"]["U"] == vectors["rna"]["T"]
    assert vectors["rna"]["Y"] == [0, 0.5, 0, 0.5] and vectors["dna"]["N"] == [0.25] * 4
    letters = torch.tensor([protein[letter] for letter in ALPHABETS["protein"].letters])
    assert torch.equal(letters, torch.eye(20))


@pytest.mark.parametrize("alphabet", ["prot", "ACCA", "", "A C", "ÄB", "Dna"])
def test_a_wrong_alphabet_is_named(alphabet):
    for build in (lambda: LyraTokenizer(alphabet), lambda: LyraConfig(alphabet=alphabet)):
        with pytest.raises(ValueError, match="`alphabet` must be one of 'protein', 'dna', 'rna'"):
            build()
