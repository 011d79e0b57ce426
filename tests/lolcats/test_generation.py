"""Decoding from a cache of constant size gives what the whole forward gives."""

import pytest
import torch
from tiny_transformers import DECODERS, VOCABULARY, padded_batch, tiny_transformer
from transformers import DynamicCache, StaticCache

from lolcats import LolcatsConfig, linearize
from lolcats.conversion import implementation
from lolcats.modeling_lolcats import SOFTMAX, LolcatsCacheLayer, UnsupportedAttentionError

WINDOW = 8


@pytest.fixture(scope="module", params=DECODERS)
def model(request):
    model = tiny_transformer(request.param)
    linearize(model, LolcatsConfig(window=WINDOW))
    return model


@pytest.fixture
def llama():
    model = tiny_transformer("llama")
    linearize(model, LolcatsConfig(window=WINDOW))
    return model


def cache_bytes(cache):
    tensors = [x for layer in cache.layers for x in (layer.keys, layer.values, layer.state.values, layer.state.norms)]
    return sum(x.untyped_storage().nbytes() for x in tensors)


@torch.no_grad()
def test_two_prefills_and_decoding_are_one_forward(model):
    ids = torch.randint(5, VOCABULARY, (2, 60))
    whole = model(input_ids=ids).logits
    cache, parts, start = DynamicCache(config=model.config), [], 0
    for length in [30, 20, *[1] * 10]:
        parts.append(model(input_ids=ids[:, start : start + length], past_key_values=cache).logits)
        start += length
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=5e-5, rtol=0)
    assert all(isinstance(layer, LolcatsCacheLayer) for layer in cache.layers)
    assert cache.get_seq_length() == 60


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"num_beams": 2, "num_return_sequences": 2}])
def test_generation_with_and_without_cache(model, settings):
    batch = padded_batch(causal=True, lengths=(30, 21))
    batch.pop("position_ids")
    settings |= {"max_new_tokens": 15, "do_sample": False, "eos_token_id": None}
    cached = model.generate(**batch, **settings, use_cache=True)
    assert torch.equal(cached, model.generate(**batch, **settings, use_cache=False))


def test_padded_generation_is_that_of_each_alone(llama):
    batch = padded_batch(causal=True, lengths=(30, 21))
    batch.pop("position_ids")
    together = llama.generate(**batch, max_new_tokens=12, do_sample=False, eos_token_id=None)
    for row in range(2):
        alone = batch["input_ids"][row : row + 1, batch["attention_mask"][row].bool()]
        assert torch.equal(
            llama.generate(alone, max_new_tokens=12, do_sample=False, eos_token_id=None)[0, -12:], together[row, -12:]
        )


@torch.no_grad()
def test_cache_does_not_grow(llama):
    sizes = []
    for length in (64, 1024, 8192):
        cache = DynamicCache(config=llama.config)
        llama(input_ids=torch.randint(5, VOCABULARY, (1, length)), past_key_values=cache, logits_to_keep=1)
        llama(input_ids=torch.tensor([[5]]), past_key_values=cache)
        sizes.append(cache_bytes(cache))
    assert sizes[0] == sizes[1] == sizes[2]


@torch.no_grad()
def test_layers_that_stay_keep_their_caches():
    model = tiny_transformer("llama", num_hidden_layers=3)
    linearize(model, LolcatsConfig(window=WINDOW, layers=[0, 2]))
    batch = padded_batch(causal=True, lengths=(30, 21))
    batch.pop("position_ids")
    settings = {"max_new_tokens": 15, "do_sample": False, "eos_token_id": None}
    assert torch.equal(model.generate(**batch, **settings), model.generate(**batch, **settings, use_cache=False))


@torch.no_grad()
def test_sliding_layers_keep_their_caches():
    changes = {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 6, "use_sliding_window": True}
    model = tiny_transformer("qwen2", **changes)
    linearize(model, LolcatsConfig(window=WINDOW))
    batch = padded_batch(causal=True, lengths=(30, 21))
    batch.pop("position_ids")
    settings = {"max_new_tokens": 15, "do_sample": False, "eos_token_id": None}
    assert torch.equal(model.generate(**batch, **settings), model.generate(**batch, **settings, use_cache=False))


@torch.no_grad()
def test_layers_that_stay_see_all_of_a_second_prefill():
    model = tiny_transformer("llama", num_hidden_layers=3)
    linearize(model, LolcatsConfig(window=WINDOW, layers=[0, 2]))
    ids = torch.randint(5, VOCABULARY, (1, 40))
    whole, cache = model(input_ids=ids).logits, DynamicCache(config=model.config)
    parts = [model(input_ids=part, past_key_values=cache).logits for part in (ids[:, :25], ids[:, 25:])]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=5e-5, rtol=0)


@torch.no_grad()
def test_a_call_that_failed_leaves_nothing_behind(llama):
    ids, cache = torch.randint(5, VOCABULARY, (1, 30)), DynamicCache(config=llama.config)
    expected = llama(input_ids=ids, use_cache=False).logits
    llama(input_ids=ids, past_key_values=cache)
    with pytest.raises(UnsupportedAttentionError, match="4D attention mask"):
        llama(input_ids=ids[:, :1], past_key_values=cache, attention_mask=torch.ones(1, 1, 1, 31, dtype=torch.bool))
    assert torch.equal(llama(input_ids=ids, use_cache=False).logits, expected)


@torch.no_grad()
def test_a_linear_cache_in_softmax_attention_is_refused(llama):
    ids, cache = torch.randint(5, VOCABULARY, (1, 30)), DynamicCache(config=llama.config)
    llama(input_ids=ids, past_key_values=cache)
    with implementation(llama, SOFTMAX), pytest.raises(UnsupportedAttentionError, match="cache of linear attention"):
        llama(input_ids=ids[:, :1], past_key_values=cache)


def test_caches_of_others_are_refused(llama):
    ids = torch.randint(5, VOCABULARY, (1, 12))
    cache = DynamicCache(config=llama.config)
    with implementation(llama, SOFTMAX):
        llama(input_ids=ids, past_key_values=cache)
    with pytest.raises(UnsupportedAttentionError, match="another attention has filled"):
        llama(input_ids=ids[:, :1], past_key_values=cache)
    with pytest.raises(UnsupportedAttentionError, match="StaticLayer"):
        llama(input_ids=ids, past_key_values=StaticCache(config=llama.config, max_cache_len=20))
    offloaded = DynamicCache(config=llama.config)
    offloaded.offloading = True
    with pytest.raises(UnsupportedAttentionError, match="an offloaded cache"):
        llama(input_ids=ids, past_key_values=offloaded)
    short = torch.ones(1, 2, dtype=torch.long)
    cache = DynamicCache(config=llama.config)
    llama(input_ids=ids, past_key_values=cache)
    with pytest.raises(UnsupportedAttentionError, match="a mask of 2 positions, fewer than the 9 keys"):
        llama(input_ids=ids[:, :2], past_key_values=cache, attention_mask=short)


def test_assisted_decoding_is_refused(llama):
    ids = torch.randint(5, VOCABULARY, (1, 12))
    with pytest.raises((UnsupportedAttentionError, ValueError), match=r"assisted|crop"):
        llama.generate(ids, assistant_model=tiny_transformer("llama"), max_new_tokens=8, do_sample=False)
    with pytest.raises((UnsupportedAttentionError, ValueError), match=r"assisted|crop"):
        llama.generate(ids.repeat(1, 3), prompt_lookup_num_tokens=3, max_new_tokens=8, do_sample=False)
