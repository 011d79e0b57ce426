"""Attention transfer learns the outputs of the teacher, layer by layer, and leaves the model alone."""

import itertools

import pytest
import torch
from tiny_transformers import padded_batch, tiny_transformer

from lolcats import LolcatsConfig, TransferArguments, linearize, transfer
from lolcats.conversion import implementation
from lolcats.modeling_lolcats import SOFTMAX, attention_layers
from lyra.errors import InputError


def linear(name="llama"):
    model = tiny_transformer(name)
    linearize(model, LolcatsConfig(window=4, feature_size=16))
    return model


def parameters(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("name", ["llama", "esm"])
@pytest.mark.parametrize("weight_loss", [0.0, 0.01])
def test_errors_fall_and_the_model_stays(name, weight_loss):
    model, batch = linear(name), padded_batch(name == "llama")
    before = parameters(model)
    with torch.no_grad(), implementation(model, SOFTMAX):
        base = model(**batch).logits
    endless = itertools.repeat(batch)
    (first, *_), (last, *_) = (
        list(transfer(model, endless, TransferArguments(steps, 3e-2, weight_loss)).values()) for steps in (1, 60)
    )
    assert last < 0.7 * first
    after = parameters(model)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {key for key in before if ".lolcats." in key}
    with torch.no_grad(), implementation(model, SOFTMAX):
        assert torch.equal(model(**batch).logits, base)


def test_blocks_are_trained_alone_to_the_same_maps():
    batch = padded_batch(causal=True)
    together, apart = linear(), linear()
    transfer(together, itertools.repeat(batch), TransferArguments(5))
    for block in (0, 1):
        before = parameters(apart)
        transfer(apart, itertools.repeat(batch), TransferArguments(5, blocks=[block]))
        changed = {key for key, value in parameters(apart).items() if not torch.equal(before[key], value)}
        assert changed and all(f"layers.{block}." in key for key in changed)
    for name, own in attention_layers(together).items():
        other = attention_layers(apart)[name]
        for one, two in zip(own.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)


def test_pads_do_not_count():
    batch = padded_batch(causal=True, lengths=(50, 50))
    padded = {
        "input_ids": torch.nn.functional.pad(batch["input_ids"], (7, 0)),
        "attention_mask": torch.nn.functional.pad(batch["attention_mask"], (7, 0)),
        "position_ids": torch.nn.functional.pad(batch["position_ids"], (7, 0)),
    }
    errors = [transfer(linear(), [each], TransferArguments(1)) for each in (batch, padded)]
    for name in errors[0]:
        assert errors[0][name] == pytest.approx(errors[1][name], rel=1e-4)


def test_what_was_trainable_stays_so():
    model = linear()
    model.lm_head.requires_grad_(False)
    transfer(model, [padded_batch(causal=True)], TransferArguments(1))
    assert not model.lm_head.weight.requires_grad and model.model.embed_tokens.weight.requires_grad
    assert all(own.observer is None for own in attention_layers(model).values())


def test_bad_settings_are_named():
    for settings, message in (
        ({"steps": 0}, "--steps: expected more than 0, got 0"),
        ({"learning_rate": -1.0}, "--learning_rate"),
        ({"weight_loss": -1.0}, "--weight_loss: expected at least 0"),
    ):
        with pytest.raises(InputError, match=message):
            TransferArguments(**settings)
    with pytest.raises(InputError, match="--blocks: expected numbers from 0 to 1, the linear layers, got 2"):
        transfer(linear(), [], TransferArguments(blocks=[2]))
    with pytest.raises(InputError, match="expected 3 batches, got 1"):
        transfer(linear(), [padded_batch(causal=True)], TransferArguments(3))
    with pytest.raises(InputError, match="expected a model that `linearize` made linear"):
        transfer(tiny_transformer("llama"), [], TransferArguments())
