"""Predictions for many sequences, in blocks and batches of similar length."""

import numpy as np
import pytest
import torch

from lyra import LyraForSequenceClassification, LyraForTokenClassification, LyraTokenizer
from lyra.inference import compute_logits

SEQUENCES = ["MKT", "MKTAYIAKQR", "M", "GAVLIMFW", "PSTCYNQDEK"]


@pytest.mark.parametrize("block", [1, 2, 100])
@pytest.mark.parametrize("head", [LyraForSequenceClassification, LyraForTokenClassification])
def test_each_sequence_as_if_it_were_alone(tiny, monkeypatch, head, block):
    monkeypatch.setattr("lyra.inference.logits._BLOCK", block)
    monkeypatch.setattr("lyra.inference.logits._BATCH_POSITIONS", 20)  # two of the longest
    model = head(tiny(num_labels=2)).eval()
    found = compute_logits(model, LyraTokenizer(), SEQUENCES).logits
    assert isinstance(found, list) == model.per_token
    for sequence, logits in zip(SEQUENCES, found, strict=True):
        with torch.no_grad():
            alone = model(torch.tensor([LyraTokenizer()(sequence)["input_ids"]])).logits[0]
        np.testing.assert_allclose(logits, alone, rtol=1e-4, atol=1e-6)


def test_extra_features_stay_with_their_sequences(tiny, monkeypatch):
    monkeypatch.setattr("lyra.inference.logits._BLOCK", 2)
    model = LyraForSequenceClassification(
        tiny(num_labels=1, extra_features=["x"], extra_means=[0.0], extra_stds=[1.0])
    ).eval()
    extra = np.arange(len(SEQUENCES), dtype=np.float32)[:, None]
    found = compute_logits(model, LyraTokenizer(), SEQUENCES, extra).logits
    alone = [
        compute_logits(model, LyraTokenizer(), [s], x[None]).logits[0] for s, x in zip(SEQUENCES, extra, strict=True)
    ]
    np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-6)


def test_no_sequences(tiny):
    found = compute_logits(LyraForSequenceClassification(tiny(num_labels=3)).eval(), LyraTokenizer(), [])
    assert found.logits.shape == (0, 3) and found.stds is None
