"""Both strands of DNA: the same answer for either, by construction."""

import pytest
import torch

from lyra import LyraConfig, LyraForMaskedLM, LyraForSequenceClassification, LyraForTokenClassification, LyraTokenizer
from lyra.alphabet_lyra import get_alphabet
from lyra.inference import stream
from lyra.strands_lyra import MODES, token_complements

SEQUENCES = ["ACGTTGCANR", "GGATC", "A", "TTTACCCGATNNGA"]
SMALL = {"hidden_size": 8, "state_size": 4, "alphabet": "dna", "reverse_complement": True}


def encode(sequences):
    return LyraTokenizer("dna")(sequences, padding=True, return_tensors="pt")


def others(sequences):
    return [get_alphabet("dna").reverse_complement(sequence) for sequence in sequences]


def of_sequences(**settings):
    torch.manual_seed(0)
    model = LyraForSequenceClassification(LyraConfig(num_labels=2, **SMALL | settings)).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bidirectional": True, "pooling": "mean_last", "num_hidden_layers": 2},
        {"linear_term": "words", "global_epistasis": "free", "problem_type": "regression"},
        {"ensemble_size": 2, "pooling": "max"},
    ],
)
@torch.no_grad()
def test_both_strands_of_a_sequence_give_exactly_the_same(settings):
    model = of_sequences(**settings)
    one, other = model(**encode(SEQUENCES)), model(**encode(others(SEQUENCES)))
    assert torch.equal(one.logits, other.logits)
    assert one.logits.std() > 1e-3
    plain = of_sequences(**settings, reverse_complement=False)
    assert not torch.equal(plain(**encode(SEQUENCES)).logits, plain(**encode(others(SEQUENCES))).logits)


@torch.no_grad()
def test_aligned_linear_terms_read_both_strands():
    model = of_sequences(linear_term="pairs", linear_length=10, linear_sites=[1, 4, 7])
    one, other = (model(**encode([each])).logits for each in (SEQUENCES[0], others(SEQUENCES)[0]))
    assert torch.equal(one, other)


@torch.no_grad()
def test_outputs_of_positions_are_those_of_the_other_strand_in_reverse():
    model = LyraForTokenClassification(LyraConfig(num_labels=3, **SMALL)).eval()
    one, other = model(**encode(SEQUENCES)).logits, model(**encode(others(SEQUENCES))).logits
    for sequence, ours, theirs in zip(SEQUENCES, one, other, strict=True):
        assert torch.equal(ours[: len(sequence)], theirs[: len(sequence)].flip(0))


@torch.no_grad()
def test_padding_and_soft_sequences_change_nothing():
    model = of_sequences(linear_term="words")
    batch = model(**encode(SEQUENCES)).logits
    single = torch.cat([model(**encode([sequence])).logits for sequence in SEQUENCES])
    torch.testing.assert_close(batch, single, atol=1e-5, rtol=1e-5)
    left = LyraTokenizer("dna", padding_side="left")(SEQUENCES, padding=True, return_tensors="pt")
    torch.testing.assert_close(batch, model(**left).logits, atol=1e-5, rtol=1e-5)
    ids = encode(SEQUENCES)
    weights = model.lyra.embeddings.encodings[ids["input_ids"]]
    soft = model(input_features=weights, attention_mask=ids["attention_mask"]).logits
    torch.testing.assert_close(batch, soft, atol=1e-5, rtol=1e-5)


def test_training_reads_a_random_strand():
    model, plain = (of_sequences(hidden_dropout_prob=0.0, reverse_complement=each) for each in ("train", False))
    one, other = (plain(**encode(each)).logits for each in (SEQUENCES[:1], others(SEQUENCES[:1])))
    assert torch.equal(model(**encode(SEQUENCES[:1])).logits, one)
    model.train()
    drawn = [model(**encode(SEQUENCES[:1])).logits for _ in range(20)]
    assert {torch.allclose(each, one) for each in drawn} == {True, False}
    assert all(torch.allclose(each, one) or torch.allclose(each, other) for each in drawn)


def test_positions_of_a_drawn_strand_are_turned_back():
    settings = SMALL | {"hidden_dropout_prob": 0.0, "pgc_kernel_size": 1}
    model = LyraForTokenClassification(LyraConfig(**settings)).train()
    model.lyra.encoder.layers = torch.nn.ModuleList()  # each position by itself
    model.lyra.strands.mode = MODES[False]
    a, c, t, g = model(**encode(["ACTG"])).logits[0].detach()
    model.lyra.strands.mode = MODES[True]
    drawn = [model(**encode(["AC"])).logits[0].detach() for _ in range(20)]
    given, turned = torch.stack([a, c]), torch.stack([t, g])
    assert {torch.allclose(each, given) for each in drawn} == {True, False}
    assert all(torch.allclose(each, given) or torch.allclose(each, turned) for each in drawn)


def test_predict_trains_on_the_strand_that_is_given():
    model = of_sequences(hidden_dropout_prob=0.0, reverse_complement="predict").train()
    plain = of_sequences(hidden_dropout_prob=0.0, reverse_complement=False).train()
    assert torch.equal(model(**encode(SEQUENCES)).logits, plain(**encode(SEQUENCES)).logits)
    model.eval()
    with torch.no_grad():
        assert torch.equal(model(**encode(SEQUENCES)).logits, model(**encode(others(SEQUENCES))).logits)


@torch.no_grad()
def test_a_model_that_draws_strands_in_training_alone_streams_and_takes_embeddings(monkeypatch):
    monkeypatch.setattr("lyra.inference.streaming.BLOCK", 4)
    model = of_sequences(reverse_complement="train")
    ids = encode(SEQUENCES[:1])
    expected = model(**ids).logits
    (streamed,) = stream(model, SEQUENCES[:1])
    torch.testing.assert_close(torch.tensor(streamed.logits), expected[0], atol=1e-5, rtol=1e-4)
    embeds = model.lyra.embeddings(ids["input_ids"])
    torch.testing.assert_close(model(inputs_embeds=embeds).logits, expected, atol=1e-5, rtol=1e-4)


def test_a_checkpoint_keeps_it(tmp_path):
    model = of_sequences(linear_term="words")
    model.save_pretrained(tmp_path)
    loaded = LyraForSequenceClassification.from_pretrained(tmp_path).eval()
    assert loaded.config.reverse_complement is True
    assert torch.equal(model(**encode(SEQUENCES)).logits, loaded(**encode(SEQUENCES)).logits)


def test_ambiguous_letters_have_their_complements():
    tokens = get_alphabet("dna").tokens
    found = {token: tokens[i] for token, i in zip(tokens, token_complements("dna"), strict=True)}
    own = [token for token, complement in found.items() if token == complement]
    assert own == ["<pad>", "<unk>", "<mask>", "S", "W", "N", "-", "."]
    assert [found[letter] for letter in "ACGTURYKMBDHV"] == list("TGCAAYRMKVHDB")


def test_what_has_no_other_strand_is_refused():
    for alphabet in ("protein", "dna+dna", "HPNC"):
        with pytest.raises(Exception, match="`reverse_complement` must be False for alphabet"):
            LyraConfig(**SMALL | {"alphabet": alphabet})
    with pytest.raises(Exception, match="`reverse_complement` must be one of"):
        LyraConfig(**SMALL | {"reverse_complement": "always"})
    with pytest.raises(ValueError, match="not of a masked language model"):
        LyraForMaskedLM(LyraConfig(**SMALL))
    model = of_sequences()
    with pytest.raises(ValueError, match="needs the letters of whole sequences"):
        model(inputs_embeds=torch.zeros(1, 4, 8))
    with pytest.raises(ValueError, match="needs the letters of whole sequences"):
        model.lyra(torch.ones(1, 4, dtype=torch.long), use_cache=True)
    with pytest.raises(ValueError, match="reads both strands, and a stream has one"):
        stream(model, ["ACGT"])
