"""Models of many architectures: attached is the base, padding changes nothing, and what cannot be done is named."""

import pytest
import torch
from tiny_transformers import DECODERS, ENCODERS, VOCABULARY, padded_batch, tiny_transformer

from lolcats import LolcatsConfig, linearize
from lolcats.conversion import implementation, window_only
from lolcats.modeling_lolcats import SOFTMAX, TEACHER, UnsupportedAttentionError, attention_layers
from lyra.errors import InputError

WINDOW = 8


def linear(name, **changes):
    model = tiny_transformer(name, **changes)
    linearize(model, LolcatsConfig(window=WINDOW))
    return model


@torch.no_grad()
@pytest.mark.parametrize("name", [*DECODERS, *ENCODERS])
def test_model_is_linear_and_its_softmax_is_the_base(name):
    model, batch = tiny_transformer(name), padded_batch(name in DECODERS)
    real = batch["attention_mask"].bool()
    base = model(**batch).logits[real]
    config = linearize(model, LolcatsConfig(window=WINDOW))
    assert len(config.attention) == len(attention_layers(model)) == 2
    changed = model(**batch).logits[real]
    assert changed.isfinite().all() and not torch.allclose(changed, base, atol=1e-4)
    for mode in (SOFTMAX, TEACHER):
        with implementation(model, mode):
            torch.testing.assert_close(model(**batch).logits[real], base, atol=1e-6, rtol=0)
    torch.testing.assert_close(model(**batch).logits[real], changed, atol=0, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", [*DECODERS, *ENCODERS])
def test_padding_and_batching_change_nothing(name):
    model, batch = linear(name), padded_batch(name in DECODERS)
    together = model(**batch).logits
    for row in range(2):
        real = batch["attention_mask"][row].bool()
        alone = model(input_ids=batch["input_ids"][row : row + 1, real]).logits[0]
        torch.testing.assert_close(together[row, real], alone, atol=5e-5, rtol=0)


@torch.no_grad()
def test_a_window_over_all_is_the_base():
    model, batch = tiny_transformer("esm"), padded_batch(causal=False)
    base = model(**batch).logits
    linearize(model, LolcatsConfig(window=50))
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(model(**batch).logits[real], base[real], atol=1e-5, rtol=0)


@torch.no_grad()
def test_chosen_layers_only():
    model, batch = tiny_transformer("llama", num_hidden_layers=3), padded_batch(causal=True)
    base = model(**batch).logits
    linearize(model, LolcatsConfig(window=WINDOW, layers=[1]))
    assert list(attention_layers(model)) == ["model.layers.1.self_attn"]
    real = batch["attention_mask"].bool()
    assert not torch.allclose(model(**batch).logits[real], base[real], atol=1e-4)
    model.model.layers[1].self_attn.lolcats.window = 50  # sees everything, as the others do
    torch.testing.assert_close(model(**batch).logits[real], base[real], atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("name, sliding", [("qwen2", "sliding_attention"), ("modernbert", "sliding_attention")])
def test_sliding_layers_stay(name, sliding):
    changes = {"layer_types": ["full_attention", sliding], "sliding_window": 6, "use_sliding_window": True}
    model, batch = tiny_transformer(name, **changes), padded_batch(name in DECODERS)
    base = model(**batch).logits
    linearize(model, LolcatsConfig(window=50))
    assert len(attention_layers(model)) == 1
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(model(**batch).logits[real], base[real], atol=1e-5, rtol=0)


@torch.no_grad()
def test_linear_part_matters():
    model, batch = linear("llama"), padded_batch(causal=True)
    both = model(**batch).logits
    with window_only(model):
        alone = model(**batch).logits
    assert not torch.allclose(both, alone, atol=1e-4)
    torch.testing.assert_close(model(**batch).logits, both, atol=0, rtol=0)


def test_gradient_checkpointing_has_the_same_gradients():
    found = []
    for checkpointing in (False, True):
        model = linear("llama")
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.train()
        ids = padded_batch(causal=True)["input_ids"]
        model(input_ids=ids, labels=ids).loss.backward()
        found.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert any(name.endswith("lolcats.query_map") and grad.abs().max() > 0 for name, grad in found[0].items())
    torch.testing.assert_close(found[1], found[0], atol=1e-7, rtol=1e-5)


@torch.no_grad()
def test_bfloat16():
    model, batch = linear("llama"), padded_batch(causal=True)
    real = batch["attention_mask"].bool()
    single = model(**batch).logits[real]
    half = model.to(torch.bfloat16)(**batch).logits[real]
    assert half.dtype == torch.bfloat16
    assert (half - single).abs().mean() < 0.05 * single.abs().mean()


@torch.no_grad()
def test_sums_stay_in_single_precision_under_autocast():
    model, batch = linear("llama"), padded_batch(causal=True)
    seen = []
    own = next(iter(attention_layers(model).values()))
    own.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        model(**batch)
    assert seen == [torch.float32]


def test_plain_saving_is_refused(tmp_path):
    with pytest.raises(UnsupportedAttentionError, match=r"save_pretrained; use lolcats\.save"):
        linear("llama").save_pretrained(tmp_path)


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("gemma2", {"num_key_value_heads": 2, "head_dim": 8}, "soft caps"),
        (
            "gpt_oss",
            {"num_key_value_heads": 2, "head_dim": 8, "num_experts_per_tok": 4, "num_local_experts": 4},
            "attention sinks",
        ),
        ("bloom", {}, "AttentionInterface, found none"),
        ("mistral", {"sliding_window": 16}, "sliding layers only"),
        ("gpt2", {"add_cross_attention": True}, "cross-attention"),
    ],
)
def test_what_cannot_be_linear_is_named(name, changes, message):
    with pytest.raises(InputError, match=message):
        linearize(tiny_transformer(name, **changes))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"window": 0}, "window: expected an integer from 1, got 0"),
        ({"feature_size": -1}, "feature_size"),
        ({"layers": "some"}, "layers: expected 'all' or a list"),
        ({"layers": [5]}, "layers: expected numbers below 2"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(InputError, match=message):
        linearize(tiny_transformer("llama"), LolcatsConfig(**settings))


def test_linear_twice():
    model = linear("llama")
    with pytest.raises(InputError, match="linear already"):
        linearize(model)


@torch.no_grad()
def test_calls_that_cannot_be_linear_are_named():
    model = linear("llama")
    ids = torch.randint(5, VOCABULARY, (1, 12))
    packed = torch.arange(6).repeat(2)[None]
    with pytest.raises(UnsupportedAttentionError, match="packed sequences"):
        model(input_ids=ids, position_ids=packed, use_cache=False)
    square = torch.ones(1, 1, 12, 12, dtype=torch.bool).tril()
    with pytest.raises(UnsupportedAttentionError, match="4D attention mask"):
        model(input_ids=ids, attention_mask=square)
