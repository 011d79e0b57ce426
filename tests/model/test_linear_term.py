"""The linear term and the curve over it: sums of weights, on whole, padded, streamed and soft sequences."""

import itertools

import numpy as np
import pytest
import torch

from lyra import (
    LyraConfig,
    LyraForMaskedLM,
    LyraForSequenceClassification,
    LyraForTokenClassification,
    LyraModel,
    LyraTokenizer,
)
from lyra.inference import stream
from lyra.linear_lyra import LINEAR_TERMS, LyraCurve, token_vectors

LENGTH = 9
TERMS = {
    "positions": {"linear_term": "positions", "linear_length": LENGTH},
    "pairs": {"linear_term": "pairs", "linear_length": LENGTH, "linear_sites": [1, 3, 8]},
    "words": {"linear_term": "words"},
}
EXACT = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture
def build(tiny):
    """A model with random weights in its linear term and its curve."""

    def built(term, head=LyraForSequenceClassification, **fields):
        config = tiny(num_labels=2, problem_type="regression", global_epistasis="free", **TERMS[term] | fields)
        model = head(config).eval()
        with torch.no_grad():
            model.linear_term.weight.normal_()
            model.curve.height.normal_()
        return model

    return built


def ids_of(alphabet, length=LENGTH, rows=3):
    tokens = len(token_vectors(alphabet))
    return torch.randint(3, tokens, (rows, length))


def test_every_term_is_tested():
    assert set(TERMS) == set(LINEAR_TERMS)


def test_positions_are_one_weight_for_each_letter(build):
    model = build("positions")
    ids = LyraTokenizer()("MKTAYIAKQ", return_tensors="pt")["input_ids"]
    weights = model.linear_term.weight.view(LENGTH, 20, 2)
    letters = ["ACDEFGHIKLMNPQRSTVWY".index(letter) for letter in "MKTAYIAKQ"]
    expected = sum(weights[position, letter] for position, letter in enumerate(letters))
    torch.testing.assert_close(model.linear_term(ids, None)[0], expected, **EXACT)


def test_pairs_are_one_weight_for_each_two_letters(build):
    model = build("pairs", alphabet="dna")
    ids = LyraTokenizer("dna")("ACGTACGTA", return_tensors="pt")["input_ids"]
    single, double = model.linear_term.weight.split([LENGTH * 4, 3 * 16])
    letters = ["ACGT".index(letter) for letter in "ACGTACGTA"]
    expected = sum(single.view(LENGTH, 4, 2)[position, letter] for position, letter in enumerate(letters))
    for pair, (one, other) in enumerate(itertools.combinations([1, 3, 8], 2)):
        expected = expected + double.view(3, 4, 4, 2)[pair, letters[one], letters[other]]
    torch.testing.assert_close(model.linear_term(ids, None)[0], expected, **EXACT)


def test_words_are_counted(build):
    model = build("words", alphabet="dna")
    ids = LyraTokenizer("dna")("ACGTA", return_tensors="pt")["input_ids"]
    expected, start = 0, 0
    for k in range(1, model.linear_term.longest + 1):
        words = ["ACGTA"[i : i + k] for i in range(5 - k + 1)]
        codes = [sum("ACGT".index(letter) * 4 ** (k - 1 - i) for i, letter in enumerate(word)) for word in words]
        expected = expected + model.linear_term.weight[start + torch.tensor(codes)].sum(0) / len(words) ** 0.5
        start += 4**k
    assert start == len(model.linear_term.weight)
    torch.testing.assert_close(model.linear_term(ids, None)[0], expected, **EXACT)


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("alphabet", ["protein", "dna", "dna+dna", "HPNC"])
def test_padded_and_soft_sequences(build, term, alphabet):
    model = build(term, alphabet=alphabet, bidirectional=True)
    ids, encodings = ids_of(alphabet), model.lyra.embeddings.encodings
    logits = model(ids).logits
    torch.testing.assert_close(model(input_features=encodings[ids]).logits, logits, **EXACT)
    for left, right in ((0, 4), (3, 0), (2, 2)):
        padded = torch.nn.functional.pad(ids, (left, right), value=0)
        torch.testing.assert_close(model(padded).logits, logits, **EXACT)
        mask = (padded != 0).long()
        hidden = torch.where(mask.bool(), padded, 5)
        torch.testing.assert_close(model(hidden, attention_mask=mask).logits, logits, **EXACT)
        soft = model(input_features=encodings[hidden], attention_mask=mask).logits
        torch.testing.assert_close(soft, logits, **EXACT)


def test_words_of_sequences_of_any_length(build):
    model, tokenizer = build("words"), LyraTokenizer()
    sequences = ["MKTAYIAKQR", "M", "LL", "X-*B", "GAV"]
    batch = model(**tokenizer(sequences, padding=True, return_tensors="pt")).logits
    single = torch.cat([model(**tokenizer(sequence, return_tensors="pt")).logits for sequence in sequences])
    torch.testing.assert_close(batch, single, **EXACT)


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_streams(build, term, bidirectional, monkeypatch):
    monkeypatch.setattr("lyra.inference.streaming.BLOCK", 4)
    model = build(term, bidirectional=bidirectional)
    (part,) = stream(model, ["MK", "TAYIA", "KQ"])
    expected = model(**LyraTokenizer()("MKTAYIAKQ", return_tensors="pt")).logits[0]
    np.testing.assert_allclose(part.logits, expected.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("term", ["positions", "pairs"])
def test_another_length_is_an_error(build, term):
    model, message = build(term), "must have 9 letters, got"
    for length in (LENGTH - 1, LENGTH + 1):
        with pytest.raises(ValueError, match=f"{message} {length}"):
            model(ids_of("protein", length))
    padded = torch.nn.functional.pad(ids_of("protein"), (0, 2), value=0)
    padded[1, LENGTH - 1] = 0
    with pytest.raises(ValueError, match=f"{message} 8"):
        model(padded)
    with pytest.raises(ValueError, match=message):
        list(stream(model, ["MKTAY" * 3]))


def test_where_looking_would_wait_another_length_is_nan(build, monkeypatch):
    monkeypatch.setattr("lyra.linear_lyra.is_eager_cpu", lambda *_: False)
    model = build("positions")
    padded = torch.nn.functional.pad(ids_of("protein"), (0, 2), value=0)
    padded[1, LENGTH - 1] = 0
    assert model(padded).logits.isnan().any(dim=1).tolist() == [False, True, False]
    assert model(padded[:1, :7]).logits.isnan().all()


@pytest.mark.parametrize("term", TERMS)
def test_gradients_reach_soft_letters_and_weights(build, term):
    model = build(term).double()
    features = torch.rand(1, LENGTH, 20, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: model.linear_term(x, None), features)
    model(input_ids=ids_of("protein"), labels=torch.randn(3, 2)).loss.backward()
    assert model.linear_term.weight.grad.abs().sum() > 0 and model.curve.slope.grad.abs().sum() > 0


@pytest.mark.parametrize("term", TERMS)
def test_saved_and_loaded(build, term, tmp_path):
    model, ids = build(term), ids_of("protein")
    model.save_pretrained(tmp_path)
    logits = model(ids).logits
    torch.testing.assert_close(LyraForSequenceClassification.from_pretrained(tmp_path).eval()(ids).logits, logits)
    half = LyraForSequenceClassification.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.linear_term.weight.dtype == half.curve.slope.dtype == torch.float32
    torch.testing.assert_close(half.eval()(ids).logits.float(), logits, rtol=0.05, atol=0.05)
    for other in (LyraModel, LyraForTokenClassification, LyraForMaskedLM):
        assert not hasattr(other.from_pretrained(tmp_path), "linear_term") or other is LyraForTokenClassification


def test_ensembles_have_a_term_each(build):
    members, ids = [build("words"), build("words")], ids_of("protein")
    ensemble = LyraForSequenceClassification.as_ensemble(members).eval()
    expected = torch.stack([member(ids).logits for member in members]).mean(0)
    torch.testing.assert_close(ensemble(ids).logits, expected, **EXACT)


def test_embeddings_have_no_letters(build):
    with pytest.raises(ValueError, match="`inputs_embeds`: a linear term reads letters"):
        build("words")(inputs_embeds=torch.randn(1, LENGTH, 8))


def test_features_that_are_no_letters(tiny):
    config = tiny(input_size=5, linear_term="positions", linear_length=4, num_labels=1)
    model = LyraForSequenceClassification(config).eval()
    with torch.no_grad():
        model.linear_term.weight.normal_()
    features = torch.randn(2, 4, 5)
    expected = torch.einsum("blf,lfo->bo", features, model.linear_term.weight.view(4, 5, 1))
    torch.testing.assert_close(model.linear_term(features, None), expected, **EXACT)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"linear_term": "letters"}, "linear_term"),
        ({"linear_term": "positions"}, "linear_length"),
        ({"linear_term": "pairs", "linear_length": 4}, "linear_sites"),
        ({"linear_term": "pairs", "linear_length": 4, "linear_sites": [2, 4]}, "linear_sites"),
        ({"linear_term": "words", "input_size": 7}, "linear_term"),
        ({"global_epistasis": "linear"}, "global_epistasis"),
    ],
)
def test_fields_that_make_no_term_are_named(fields, named):
    with pytest.raises(Exception, match=f"`{named}` must be"):
        LyraConfig(**fields)


def test_curves(tiny):
    x = torch.linspace(-5, 5, 101).unsqueeze(1)
    free = LyraForSequenceClassification(tiny(global_epistasis="free", num_labels=1)).curve
    torch.testing.assert_close(free(x), x)
    monotone = LyraCurve(tiny(global_epistasis="monotone", num_labels=1))
    for parameter in monotone.parameters():
        torch.nn.init.normal_(parameter)
    assert (monotone(x).diff(dim=0) > 0).all()
