"""Shapes, inputs and the initial distribution of the models."""

import math

import pytest
import torch
from torch import nn

from lyra import (
    Lyra,
    LyraConfig,
    LyraForMaskedLM,
    LyraForSequenceClassification,
    LyraForTokenClassification,
    LyraModel,
)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 237, 1023, 1024, 1025])
def test_shapes_at_any_length(tiny, length):
    ids = torch.randint(3, 23, (2, length))
    outputs = LyraModel(tiny(num_hidden_layers=2))(ids, output_hidden_states=True)
    assert outputs.last_hidden_state.shape == (2, length, 8) and outputs.pooler_output.shape == (2, 8)
    assert len(outputs.hidden_states) == 1 + 2 + 2  # embeddings, PGCs, S4D layers
    assert torch.equal(outputs.hidden_states[-1], outputs.last_hidden_state)
    assert LyraForSequenceClassification(tiny(num_labels=4))(ids).logits.shape == (2, 4)
    assert LyraForTokenClassification(tiny(num_labels=4))(ids).logits.shape == (2, length, 4)
    assert LyraForMaskedLM(tiny())(ids).logits.shape == (2, length, 32)


def test_65536_positions(tiny):
    model = LyraModel(tiny()).eval()
    with torch.no_grad():
        states = model(torch.randint(3, 23, (1, 65_536))).last_hidden_state
    assert states.shape == (1, 65_536, 8) and states.isfinite().all()


def test_one_hot_features_equal_ids(tiny):
    model = LyraModel(tiny()).eval()
    ids = torch.randint(3, 23, (2, 9))
    features = nn.functional.one_hot(ids - 3, 20).float()
    torch.testing.assert_close(model(input_features=features).pooler_output, model(ids).pooler_output)
    embeds = model.get_input_embeddings()(ids)
    torch.testing.assert_close(model(inputs_embeds=embeds).pooler_output, model(ids).pooler_output)


def test_gradients_reach_soft_sequences(tiny):
    features = torch.rand(1, 6, 20, requires_grad=True)
    LyraForSequenceClassification(tiny(num_labels=1))(input_features=features).logits.sum().backward()
    assert (features.grad != 0).any(dim=-1).all()


def test_causal_by_default_and_not_when_bidirectional(tiny):
    """A change far enough to the right reaches an earlier position only in the bidirectional model."""
    ids = torch.randint(3, 23, (1, 20))
    changed = ids.clone()
    changed[0, 15] = 3 if ids[0, 15] != 3 else 4
    for bidirectional in (False, True):
        model = LyraModel(tiny(bidirectional=bidirectional)).eval()
        before, after = (model(x).last_hidden_state[0, :10] for x in (ids, changed))
        assert torch.allclose(before, after, atol=1e-6) != bidirectional


def test_tuples_and_config_defaults(tiny):
    ids = torch.tensor([[3, 4]])
    model = LyraForSequenceClassification(tiny(output_hidden_states=True)).eval()
    outputs = model(ids, return_dict=False)
    assert isinstance(outputs, tuple) and outputs[0].shape == (1, 2) and len(outputs[1]) == 4


@pytest.mark.parametrize("inputs", [{}, {"input_ids": torch.ones(1, 2).long(), "inputs_embeds": torch.ones(1, 2, 8)}])
def test_exactly_one_input(tiny, inputs):
    with pytest.raises(ValueError, match="exactly one of `input_ids`, `input_features` and `inputs_embeds`"):
        LyraModel(tiny())(**inputs)


def test_wrong_shapes_are_named(tiny):
    model = LyraModel(tiny(alphabet="dna"))
    with pytest.raises(ValueError, match="`input_features` must have 4 entries per position"):
        model(input_features=torch.ones(1, 3, 20))
    with pytest.raises(ValueError, match="at least one position"):
        model(torch.ones(1, 0).long())


def test_the_vocabulary_cannot_be_resized(tiny):
    model = LyraForSequenceClassification(tiny())
    assert model.resize_token_embeddings() is model.lyra.embeddings
    assert model.resize_token_embeddings(32) is model.lyra.embeddings
    with pytest.raises(ValueError, match=r"`new_num_tokens` must be 32, got 40: .* fixed by the alphabet 'protein'"):
        model.resize_token_embeddings(40)


def test_initial_distribution():
    config = LyraConfig(hidden_size=512, state_size=64, pgc_expansion_factors=[1.0], bidirectional=True)
    model = LyraForSequenceClassification(config)
    layer = model.lyra.encoder.layers[0]
    for kernel in (layer.kernel, layer.reverse_kernel):
        assert torch.equal(kernel.log_A_real, torch.full((512, 32), math.log(0.5)))
        assert torch.equal(kernel.A_imag, math.pi * torch.arange(32.0).expand(512, 32))
        assert kernel.log_dt.min() >= math.log(0.001) and kernel.log_dt.max() <= math.log(0.1)
        uniform = (kernel.log_dt - math.log(0.001)) / math.log(100)
        assert abs(uniform.mean() - 0.5) < 0.05 and abs(uniform.std() - 12**-0.5) < 0.03
        assert abs(kernel.C.std() - 0.5**0.5) < 0.01 and abs(kernel.C.mean()) < 0.01
    assert abs(layer.D.mean()) < 0.15 and abs(layer.D.std() - 1) < 0.1
    assert not torch.equal(layer.kernel.C, layer.reverse_kernel.C)
    for linear in (model.classifier, layer.output_linear, model.lyra.encoder.pgc[0].in_proj):
        bound = linear.in_features**-0.5  # torch's own default, not N(0, 0.02)
        assert 0.98 * bound < linear.weight.abs().max() <= bound
    assert abs(model.lyra.encoder.pgc[0].conv.weight.abs().max() - 3**-0.5) < 0.01
    assert torch.equal(layer.norm.weight, torch.ones(512))


def test_the_quick_start_of_the_plain_module():
    model = Lyra(d_input=20, d_model=64, d_output=1, num_pgc_layers=2, num_s4_layers=4, d_state=64)
    x = torch.randn(32, 100, 20)
    assert model(x).shape == (32, 1)
    assert model.count_parameters() == sum(p.numel() for p in model.parameters()) == 94_145
    assert Lyra(d_output=3, pool=None)(x).shape == (32, 100, 3)
    for pool in ("mean", "max", "first", "last", "mean_last"):
        assert Lyra(pool=pool)(x).shape == (32, 1)


def test_dropout_is_tied_along_the_length(tiny):
    """A channel that is dropped is dropped at every position of its sequence."""
    model = LyraModel(tiny(hidden_dropout_prob=0.5)).train()
    layer, seen = model.encoder.layers[0], []
    layer.output_linear.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(torch.randint(3, 23, (4, 30)))
    dropped = seen[0].view(4, 30, 8) == 0
    assert torch.equal(dropped.all(dim=1), dropped.any(dim=1)) and dropped.any() and not dropped.all()
