"""Padding: every row of a padded batch gives its own unpadded output, whatever the side, head, pooling or direction."""

import pytest
import torch

from lyra import (
    Lyra,
    LyraForMaskedLM,
    LyraForSequenceClassification,
    LyraForTokenClassification,
    LyraModel,
    LyraTokenizer,
)

SEQUENCES = ["MKTAYIAKQR", "M", "LL", "GAVLIMFWPSTCYNQDEKRH" * 3, "X-*B"]
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def batch(side):
    return LyraTokenizer(padding_side=side)(SEQUENCES, padding=True, return_tensors="pt")


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", ["mean", "max", "first", "last", "mean_last"])
@pytest.mark.parametrize("with_mask", [True, False])
def test_sequences(tiny, side, bidirectional, pooling, with_mask):
    config = tiny(bidirectional=bidirectional, pooling=pooling, num_labels=3, num_hidden_layers=2, final_norm=True)
    model, tokenizer = LyraForSequenceClassification(config).eval(), LyraTokenizer()
    inputs = batch(side)
    if not with_mask:
        del inputs["attention_mask"]
    single = torch.cat([model(**tokenizer(s, return_tensors="pt")).logits for s in SEQUENCES])
    torch.testing.assert_close(model(**inputs).logits, single, **TOLERANCE)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("head", [LyraForTokenClassification, LyraForMaskedLM])
@pytest.mark.parametrize("residual", [False, True])
def test_tokens(tiny, side, bidirectional, head, residual):
    config = tiny(bidirectional=bidirectional, pgc_residual=residual, pgc_kernel_size=5, num_labels=3)
    model, tokenizer = head(config).eval(), LyraTokenizer()
    inputs = batch(side)
    logits = model(**inputs).logits
    for row, mask, sequence in zip(logits, inputs["attention_mask"], SEQUENCES, strict=True):
        single = model(**tokenizer(sequence, return_tensors="pt")).logits[0]
        torch.testing.assert_close(row[mask.bool()], single, **TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_masks_of_any_type_and_features(tiny, dtype):
    model = LyraModel(tiny()).eval()
    features = torch.rand(2, 9, 20)
    mask = torch.tensor([[1] * 9, [0, 0] + [1] * 4 + [0] * 3])
    outputs = model(input_features=features, attention_mask=mask.to(dtype))
    single = model(input_features=features[1:, 2:6])
    torch.testing.assert_close(outputs.pooler_output[1:], single.pooler_output, **TOLERANCE)
    torch.testing.assert_close(outputs.last_hidden_state[1:, 2:6], single.last_hidden_state, **TOLERANCE)


def test_what_stands_at_pads_does_not_matter(tiny):
    model = LyraModel(tiny(bidirectional=True)).eval()
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    one = model(torch.tensor([[3, 4, 5, 0, 0]]), attention_mask=mask).pooler_output
    other = model(torch.tensor([[3, 4, 5, 9, 17]]), attention_mask=mask).pooler_output
    torch.testing.assert_close(one, other, **TOLERANCE)


def test_not_even_nan_at_pads_matters(tiny):
    model = LyraModel(tiny(bidirectional=True)).eval()
    embeds = torch.randn(1, 5, 8)
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    clean = model(inputs_embeds=embeds, attention_mask=mask).pooler_output
    embeds[:, 3:] = float("nan")
    torch.testing.assert_close(model(inputs_embeds=embeds, attention_mask=mask).pooler_output, clean, **TOLERANCE)


@pytest.mark.parametrize("pooling", ["mean", "max", "first", "last", "mean_last"])
def test_a_row_without_positions_is_zero(tiny, pooling):
    model = LyraModel(tiny(pooling=pooling)).eval()
    pooled = model(torch.tensor([[3, 4], [0, 0]])).pooler_output
    assert (pooled[1] == 0).all() and pooled[0].abs().sum() > 0


def test_gradients_do_not_reach_pads(tiny):
    model = LyraForSequenceClassification(tiny(num_labels=1, bidirectional=True))
    embeds = torch.randn(2, 7, 8, requires_grad=True)
    mask = torch.tensor([[1] * 7, [1] * 3 + [0] * 4])
    model(inputs_embeds=embeds, attention_mask=mask).logits.sum().backward()
    assert (embeds.grad[1, 3:] == 0).all() and (embeds.grad[1, :3] != 0).any()


def test_the_plain_module(tiny):
    model = Lyra(d_input=5, d_model=8, d_output=2, num_s4_layers=2, d_state=4).eval()
    x = torch.randn(2, 6, 5)
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    torch.testing.assert_close(model(x, mask)[1:], model(x[1:, :4]), **TOLERANCE)


def test_a_mask_of_another_shape_is_named(tiny):
    with pytest.raises(ValueError, match=r"`attention_mask` must have shape .* \(1, 3\), got \(1, 4\)"):
        LyraModel(tiny())(torch.tensor([[3, 4, 5]]), attention_mask=torch.ones(1, 4))
