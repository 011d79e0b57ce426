"""Scores are those of the model, with the sums under its curve."""

import numpy as np
import pytest
import torch

from lyra import LyraConfig, LyraForSequenceClassification, LyraTokenizer
from lyra.errors import InputError
from lyra.inference import compute_logits
from lyra.variants.scoring import score

SEQUENCES = ["MEKTAYDDDWLG", "MEKTAYDADWLG", "AEKTAYDDDWLG"]


def build(**fields):
    torch.manual_seed(0)
    config = LyraConfig(hidden_size=16, state_size=8, num_labels=2, problem_type="regression", **fields)
    model = LyraForSequenceClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model, LyraTokenizer()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"linear_term": "positions", "linear_length": 12, "global_epistasis": "free"},
        {"linear_term": "words", "label_mean": [1.0, 2.0], "label_std": [3.0, 4.0]},
        {"ensemble_size": 2},
    ],
)
def test_scores_are_those_of_the_model(fields):
    model, tokenizer = build(**fields)
    scores, expected = score(model, tokenizer, SEQUENCES), compute_logits(model, tokenizer, SEQUENCES)
    np.testing.assert_allclose(scores.logits, np.stack(expected.logits), rtol=0, atol=1e-5)
    assert (scores.stds is None) == (expected.stds is None)
    if expected.stds is not None:
        np.testing.assert_allclose(scores.stds, np.stack(expected.stds), rtol=0, atol=1e-5)


def test_latents_are_the_sums_under_the_curve():
    model, tokenizer = build(linear_term="positions", linear_length=12, global_epistasis="free")
    scores = score(model, tokenizer, SEQUENCES)
    with torch.no_grad():
        bent = model.bend(torch.from_numpy(scores.latents))[1]
    np.testing.assert_allclose(bent, scores.logits, atol=1e-6)
    assert np.abs(scores.latents - scores.logits).max() > 0.01


def test_a_diverged_model_is_an_error():
    model, tokenizer = build()
    model.classifier.bias.data.fill_(torch.nan)
    with pytest.raises(InputError, match="diverged"):
        score(model, tokenizer, SEQUENCES)
