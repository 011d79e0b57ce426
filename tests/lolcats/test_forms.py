"""The three forms of hybrid attention, and the definition, give the same numbers."""

import pytest
import torch

from lolcats.modeling_lolcats import LinearState, LolcatsAttention, LolcatsCacheLayer

HEADS, SIZE, VALUE_SIZE, WINDOW = 3, 8, 5, 7


def layer(causal, dtype=torch.float64, window=WINDOW):
    torch.manual_seed(0)
    attention = LolcatsAttention(HEADS, SIZE, 6, window, causal).to(dtype)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.normal_()
    return attention


def inputs(length, dtype=torch.float64, pads=3):
    torch.manual_seed(1)
    q, k, v = (torch.randn(2, HEADS, length, size, dtype=dtype) for size in (SIZE, SIZE, VALUE_SIZE))
    mask = torch.ones(2, length, dtype=torch.long)
    mask[1, :pads] = 0
    return q, k, v, mask


def by_definition(attention, q, k, v, scale, mask):
    """The equation of the paper, one query, key and head at a time."""
    gate = attention.gate.sigmoid()
    y = torch.zeros(*q.shape[:-1], v.shape[-1], dtype=q.dtype)

    def phi(x, weight):
        return torch.cat([(x @ weight).softmax(-1), (-(x @ weight)).softmax(-1)])

    for b, h, n in torch.cartesian_prod(*(torch.arange(size) for size in q.shape[:3])).tolist():
        real = [j for j in range(k.shape[2]) if mask[b, j]]
        distance = {j: n - j for j in real if n >= j or not attention.causal}
        near = [j for j in distance if abs(distance[j]) < attention.window]
        if not near:
            continue  # a pad
        exponents = {j: q[b, h, n] @ k[b, h, j] * scale for j in near}
        largest = max(exponents.values())
        weights = {j: gate[h] * (exponents[j] - largest).exp() for j in near}
        for j in distance.keys() - near:
            weights[j] = phi(q[b, h, n], attention.query_map[h]) @ phi(k[b, h, j], attention.key_map[h])
        y[b, h, n] = sum(weight * v[b, h, j] for j, weight in weights.items()) / sum(weights.values())
    return y


@pytest.mark.parametrize("causal", [True, False])
def test_chunked_and_quadratic_are_the_definition(causal):
    attention, (q, k, v, mask) = layer(causal), inputs(23)
    with torch.no_grad():
        expected = by_definition(attention, q, k, v, 0.3, mask)
        real = mask.bool()[:, None, :, None]
        for found in (attention(q, k, v, 0.3, mask), attention.weights(q, k, 0.3, mask) @ v):
            torch.testing.assert_close(found * real, expected * real, atol=1e-12, rtol=0)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("length, window", [(1, 7), (5, 7), (7, 7), (300, 7), (300, 1), (256, 64), (129, 200)])
def test_quadratic_is_chunked(causal, dtype, tolerance, length, window):
    attention, (q, k, v, mask) = layer(causal, dtype, window), inputs(length, dtype, pads=length // 3)
    with torch.no_grad():
        torch.testing.assert_close(
            attention(q, k, v, 0.3, mask), attention.weights(q, k, 0.3, mask) @ v, atol=tolerance, rtol=0
        )


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("size", [3, 64, 250])
def test_segments_change_nothing(monkeypatch, causal, size):
    attention, (q, k, v, mask) = layer(causal), inputs(500)
    with torch.no_grad():
        whole = attention(q, k, v, 0.3, mask)
        monkeypatch.setattr("lolcats.modeling_lolcats._SEGMENT", size)
        torch.testing.assert_close(attention(q, k, v, 0.3, mask), whole, atol=1e-12, rtol=0)


@pytest.mark.parametrize("window", [1, WINDOW, 64])
def test_two_prefills_and_decoding_are_chunked(window):
    attention, (q, k, v, mask) = layer(True, window=window), inputs(300, pads=20)
    cache = LolcatsCacheLayer(window)
    parts = []
    with torch.no_grad():
        whole = attention(q, k, v, 0.3, mask)
        start = 0
        for length in [150, 130, *[1] * 20]:
            new = slice(start, start + length)
            keys, values = cache.update(k[:, :, new], v[:, :, new])
            attention.cache_layer = cache
            parts.append(attention(q[:, :, new], keys, values, 0.3, mask[:, : start + length]))
            start += length
    torch.testing.assert_close(torch.cat(parts, dim=2), whole, atol=1e-12, rtol=0)
    assert cache.get_seq_length() == 300


def test_keys_of_groups_of_heads_are_repeated():
    attention, (q, k, v, mask) = layer(True), inputs(30)
    shared_k, shared_v = k[:, :1], v[:, :1]
    with torch.no_grad():
        found = attention(q, shared_k, shared_v, 0.3, mask)
        expected = attention(q, shared_k.expand_as(k), shared_v.expand_as(v), 0.3, mask)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("causal", [True, False])
def test_short_sequences_are_the_softmax(causal):
    attention, (q, k, v, mask) = layer(causal), inputs(WINDOW, pads=2)
    seen = mask.bool()[:, None, None]
    seen = seen & torch.ones(WINDOW, WINDOW).tril().bool() if causal else seen
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=0.3)
    with torch.no_grad():
        found = attention(q, k, v, 0.3, mask)
    real = mask.bool()[:, None, :, None].expand_as(found)
    torch.testing.assert_close(found[real], expected[real], atol=1e-12, rtol=0)


def test_appending_tokens_leaves_earlier_outputs_alone():
    attention, (q, k, v, mask) = layer(True), inputs(300)
    with torch.no_grad():
        whole = attention(q, k, v, 0.3, mask)
        part = attention(q[:, :, :170], k[:, :, :170], v[:, :, :170], 0.3, mask[:, :170])
    torch.testing.assert_close(part, whole[:, :, :170], atol=1e-13, rtol=0)


def test_gradients_of_chunks_are_those_of_the_definition():
    attention, (q, k, v, mask) = layer(False), inputs(150)
    target = torch.randn(2, HEADS, 150, VALUE_SIZE, dtype=torch.float64)
    found = []
    for output in (lambda: attention(q, k, v, 0.3, mask), lambda: attention.weights(q, k, 0.3, mask) @ v):
        attention.zero_grad()
        ((output() - target) ** 2).mean().backward()
        found.append([parameter.grad.clone() for parameter in attention.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_linear_part_can_be_left_out():
    attention, (q, k, v, mask) = layer(True), inputs(60)
    with torch.no_grad():
        attention.linear = False
        found = attention(q, k, v, 0.3, mask)
        distance = torch.arange(60)[:, None] - torch.arange(60)
        seen = mask.bool()[:, None, None] & (distance >= 0) & (distance < WINDOW)
        expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=0.3)
    real = mask.bool()[:, None, :, None].expand_as(found)
    torch.testing.assert_close(found[real], expected[real], atol=1e-12, rtol=0)


def test_half_precision_keeps_its_sums_in_single():
    attention = layer(True, torch.bfloat16)
    q, k, v, mask = (x.bfloat16() if x.is_floating_point() else x for x in inputs(100))
    cache = LolcatsCacheLayer(WINDOW)
    cache.update(k, v)
    attention.cache_layer = cache
    assert attention(q, k, v, 0.3, mask).dtype == torch.float32
    assert isinstance(cache.state, LinearState) and cache.state.values.dtype == torch.float32
    assert cache.keys.dtype == torch.bfloat16
