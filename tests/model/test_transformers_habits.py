"""What transformers' own tests expect of every model."""

import pytest
import torch
from transformers import initialization

from lyra import LyraForMaskedLM, LyraForSequenceClassification, LyraForTokenClassification, LyraModel
from lyra.execution_lyra import is_plain_eager

HEADS = [LyraModel, LyraForMaskedLM, LyraForSequenceClassification, LyraForTokenClassification]


@pytest.mark.parametrize("head", HEADS)
def test_input_embeddings_have_a_weight(tiny, head):
    model = head(tiny(alphabet="dna")).eval()
    table = model.get_input_embeddings().weight
    assert table.shape == (model.config.vocab_size, 8)
    ids = torch.tensor([[3, 4, 5, 6, 18, 3]])
    by_ids, by_embeds = model(ids), model(inputs_embeds=table[ids])
    for name, expected in by_ids.items():
        torch.testing.assert_close(by_embeds[name], expected)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_buffer_is_filled_without_the_initialiser(tiny, device):
    """Where the weights are loaded the initialiser is skipped; on the meta device it fills the buffer afterwards."""
    with initialization.no_init_weights(), torch.device(device):
        model = LyraModel(tiny())
    if device == "meta":
        model = model.to_empty(device="cpu")
        model._init_weights(model.embeddings)
    assert torch.equal(model.embeddings.encodings[3:23], torch.eye(20))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("head", HEADS)
def test_modules_kept_in_fp32_exist(tiny, head, bidirectional):
    model = head(tiny(bidirectional=bidirectional))
    names = {part for name, _ in model.named_parameters() for part in name.split(".")}
    assert model._keep_in_fp32_modules_strict <= names
    assert ("reverse_kernel" in model._keep_in_fp32_modules_strict) == bidirectional


def test_a_torch_without_the_private_functions_takes_the_plain_formulas(tiny, monkeypatch):
    model = LyraForSequenceClassification(tiny(num_labels=1)).eval()
    ids = torch.randint(3, 23, (16, 100))
    expected = model(ids).logits
    assert is_plain_eager(ids)
    monkeypatch.delattr(torch._C, "_are_functorch_transforms_active")
    assert not is_plain_eager(ids)
    torch.testing.assert_close(model(ids).logits, expected, rtol=1e-4, atol=1e-5)
