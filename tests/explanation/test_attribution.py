"""Contributions of letters, against models whose answer is known."""

import numpy as np
import pytest
import torch

from lyra import LyraConfig, LyraForSequenceClassification, LyraForTokenClassification, LyraTokenizer
from lyra.errors import InputError
from lyra.explanation import Target, attribute_gradients, attribute_mutagenesis, memory_lengths, responses

SEQUENCES = ["ACGTTGCA", "GGAT", "TTNAC-"]
TOKENIZER = LyraTokenizer("dna")


def build(**settings):
    torch.manual_seed(0)
    settings = {"alphabet": "dna", "num_labels": 1, "hidden_size": 8, "state_size": 4} | settings
    model = LyraForSequenceClassification(LyraConfig(**settings)).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def encode(sequences=SEQUENCES):
    return TOKENIZER.encode_bulk(sequences)


@pytest.mark.parametrize(
    "settings",
    [
        {"bidirectional": True, "num_hidden_layers": 2},
        {"linear_term": "words", "global_epistasis": "free", "ensemble_size": 2},
        {"num_labels": 3, "problem_type": "single_label_classification"},
        {"reverse_complement": True},
    ],
)
@pytest.mark.parametrize("attribute", [attribute_gradients, attribute_mutagenesis])
def test_contributions_are_of_what_the_model_says(settings, attribute):
    model = build(**settings)
    target = Target(model, "LABEL_2" if settings.get("num_labels") else None)
    for sequence, found in zip(SEQUENCES, attribute(target, encode()), strict=True):
        output = model(**TOKENIZER(sequence, return_tensors="pt")).latents[0]
        expected = output[0] if len(output) == 1 else output[2] - output[:2].logsumexp(0)
        assert found.prediction == pytest.approx(expected.item(), abs=1e-5)
        assert found.values.shape == (len(sequence), 4)
        np.testing.assert_allclose(found.values.mean(axis=1), 0, atol=1e-5)
        assert [("ACGT" + "?")[i] for i in found.letters] == [c if c in "ACGT" else "?" for c in sequence]


@torch.no_grad()
def test_gradients_are_complete():
    model = build(bidirectional=True, num_hidden_layers=2)
    for sequence, found in zip(SEQUENCES, attribute_gradients(Target(model), encode()), strict=True):
        mixture = "".join("N" if c in "ACGT" else c for c in sequence)
        latents = model(**TOKENIZER([sequence, mixture], return_tensors="pt")).latents[:, 0]
        assert found.explained == pytest.approx((latents[0] - latents[1]).item(), abs=1e-4)
        assert found.track.sum() == pytest.approx(found.explained, abs=0.01 * abs(found.explained))
        assert abs(found.error) < 0.01 * abs(found.explained)


@torch.no_grad()
def test_mutagenesis_substitutes_every_letter():
    model = build()
    (found,) = attribute_mutagenesis(Target(model), encode(["ACGT"]))
    written = [f"AC{letter}T" for letter in "ACGT"]
    latents = model(**TOKENIZER(written, return_tensors="pt")).latents[:, 0]
    np.testing.assert_allclose(found.values[2], latents - latents.mean(), atol=1e-5)


@pytest.mark.parametrize("attribute", [attribute_gradients, attribute_mutagenesis])
def test_of_what_is_linear_they_are_the_weights(attribute):
    model = build(linear_term="positions", linear_length=8)
    for parameter in model.classifier.parameters():
        torch.nn.init.zeros_(parameter)
    weights = model.linear_term.weight.detach().view(8, 4).numpy()
    (found,) = attribute(Target(model), encode(SEQUENCES[:1]))
    np.testing.assert_allclose(found.values, weights - weights.mean(axis=1, keepdims=True), atol=1e-5)


def test_outputs_and_models_that_cannot_be_explained_are_named():
    several = build(num_labels=2, problem_type="regression", id2label={0: "a", 1: "b"}, label2id={"a": 0, "b": 1})
    assert Target(several, "b").index == 1
    with pytest.raises(InputError, match=r"--label: the model has several outputs, expected one of a, b$"):
        Target(several)
    with pytest.raises(InputError, match="--label: expected one of a, b, got 'c'"):
        Target(several, "c")
    with pytest.raises(InputError, match="the model: labels each residue; only"):
        Target(LyraForTokenClassification(LyraConfig(hidden_size=8, state_size=4)).eval())
    with pytest.raises(ValueError, match="evaluation mode"):
        Target(build().train())


def test_memory_is_where_nine_tenths_of_a_response_lie():
    model = build(state_size=2, bidirectional=True, training_data={"lengths": [1, 64]})
    with torch.no_grad():
        for kernel in (model.lyra.encoder.layers[0].kernel, model.lyra.encoder.layers[0].reverse_kernel):
            kernel.log_dt.fill_(0.0)
            kernel.log_A_real.fill_(np.log(0.1))  # halves every 7 positions
            kernel.A_imag.zero_()
    found = memory_lengths(responses(model))
    assert [(row["layer"], row["direction"]) for row in found[::8]] == [(1, "forward"), (1, "backward")]
    assert {row["memory"] for row in found} == {23}  # 1 - exp(-2.3) of the sum, and of 64 positions a little less
