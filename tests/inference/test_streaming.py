"""Segments of any size give the whole sequence's output, and memory does not grow with the length."""

import io
import pickle
from itertools import cycle

import numpy as np
import pytest
import torch

from lyra import LyraForMaskedLM, LyraForSequenceClassification, LyraForTokenClassification, LyraModel, LyraTokenizer
from lyra.errors import InputError
from lyra.inference import stream

EXACT = {"rtol": 1e-9, "atol": 1e-9}


def segments(ids, sizes):
    return ids.split([*sizes, ids.shape[1] - sum(sizes)], dim=1)


def in_segments(model, inputs, name="input_ids", masks=None, **kwargs):
    outputs, cache = [], None
    for i, segment in enumerate(inputs):
        more = i < len(inputs) - 1
        mask = None if masks is None else masks[i]
        output = model(**{name: segment}, attention_mask=mask, cache_params=cache, use_cache=more, **kwargs)
        cache = output.cache_params
        outputs.append(output)
    assert cache is None
    return torch.cat([each.last_hidden_state for each in outputs], dim=1), outputs


@pytest.mark.parametrize("sizes", [[50], [1] * 20, [3, 0, 40], [1, 2, 90, 6], [100]])
@pytest.mark.parametrize("pooling", ["mean", "max", "first", "last", "mean_last"])
@pytest.mark.parametrize(
    "options", [{}, {"num_hidden_layers": 3, "pgc_kernel_size": 5, "pgc_residual": True}, {"pgc_expansion_factors": []}]
)
def test_segments_equal_the_whole(tiny, sizes, pooling, options):
    model = LyraModel(tiny(pooling=pooling, final_norm=True, **options)).double().eval()
    ids = torch.randint(3, 23, (2, 100))
    whole = model(ids)
    states, outputs = in_segments(model, segments(ids, sizes))
    torch.testing.assert_close(states, whole.last_hidden_state, **EXACT)
    torch.testing.assert_close(outputs[-1].pooler_output, whole.pooler_output, **EXACT)


@pytest.mark.parametrize("backend", ["fft", "chunked", "recurrent"])
def test_every_back_end_streams(tiny, backend):
    model = LyraModel(tiny(ssm_backend=backend)).double().eval()
    ids = torch.randint(3, 23, (1, 700))
    states, _ = in_segments(model, segments(ids, [300, 7, 300]))
    torch.testing.assert_close(states, model(ids).last_hidden_state, **EXACT)


def test_long_segments_by_windows(tiny):
    """Segments long enough for the look-up of distinct windows."""
    model = LyraModel(tiny()).double().eval()
    ids = torch.randint(3, 23, (2, 3000))
    states, _ = in_segments(model, segments(ids, [1500, 3]))
    torch.testing.assert_close(states, model(inputs_embeds=model.embeddings(ids)).last_hidden_state, **EXACT)


@pytest.mark.parametrize("pooling", ["mean", "max", "first", "last", "mean_last"])
def test_masked_segments(tiny, pooling):
    model = LyraModel(tiny(pooling=pooling)).double().eval()
    ids = torch.randint(3, 23, (3, 60))
    mask = torch.ones_like(ids)
    mask[0, 33:], mask[1, :31], mask[2, 10:30] = 0, 0, 0
    whole = model(ids, mask)
    sizes = [10, 20, 5]
    states, outputs = in_segments(model, segments(ids, sizes), masks=segments(mask, sizes))
    torch.testing.assert_close(states[mask.bool()], whole.last_hidden_state[mask.bool()], **EXACT)
    torch.testing.assert_close(outputs[-1].pooler_output, whole.pooler_output, **EXACT)


@pytest.mark.parametrize("name, width", [("input_features", 20), ("inputs_embeds", 8)])
def test_segments_of_features_and_hidden_states(tiny, name, width):
    model = LyraModel(tiny()).double().eval()
    features = torch.rand(2, 30, width, dtype=torch.float64)
    whole = model(**{name: features}, output_hidden_states=True)
    states, outputs = in_segments(model, segments(features, [1, 12]), name, output_hidden_states=True)
    torch.testing.assert_close(states, whole.last_hidden_state, **EXACT)
    for block, expected in enumerate(whole.hidden_states):
        actual = torch.cat([each.hidden_states[block] for each in outputs], dim=1)
        torch.testing.assert_close(actual, expected, **EXACT)


def test_gradients_flow_through_the_state(tiny):
    model = LyraModel(tiny()).double()
    embeds = torch.randn(1, 40, 8, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(1, 40, 8, dtype=torch.float64)
    (model(inputs_embeds=embeds).last_hidden_state * weights).sum().backward()
    expected, embeds.grad = embeds.grad, None
    (in_segments(model, segments(embeds, [15, 10]), "inputs_embeds")[0] * weights).sum().backward()
    torch.testing.assert_close(embeds.grad, expected, **EXACT)


def test_segments_refuse_gradient_checkpointing(tiny):
    """A layer that runs again in the backward would lose the gradient of the state that it hands on."""
    model = LyraModel(tiny()).train()
    model.gradient_checkpointing_enable()
    with pytest.raises(ValueError, match="`use_cache`: not with gradient checkpointing"):
        model(torch.randint(3, 23, (1, 9)), use_cache=True)
    model.eval()
    assert model(torch.randint(3, 23, (1, 9)), use_cache=True).cache_params is not None


def test_a_cache_does_not_grow_and_can_be_used_again(tiny):
    model, ids = LyraModel(tiny()).eval(), torch.randint(3, 23, (1, 500))
    first = model(ids[:, :400], use_cache=True).cache_params
    assert first.inputs.shape[1] <= 2 * model.encoder.halo and first.ssm_states[0][0].shape == (1, 8, 2)
    ends = [model(ids[:, 400:], cache_params=first).pooler_output for _ in range(2)]
    assert torch.equal(*ends)


def test_segments_that_do_not_fit_are_named(tiny):
    model = LyraModel(tiny()).eval()
    cache = model(torch.randint(3, 23, (2, 9)), use_cache=True).cache_params
    with pytest.raises(ValueError, match=r"`cache_params` is of inputs \(2, \d\), this segment has \(3, 4\)"):
        model(torch.randint(3, 23, (3, 4)), cache_params=cache)
    with pytest.raises(ValueError, match="batch and kind of input"):
        model(inputs_embeds=torch.randn(2, 4, 8), cache_params=cache)
    with pytest.raises(ValueError, match=r"bidirectional.*lyra\.inference\.stream"):
        LyraModel(tiny(bidirectional=True))(torch.randint(3, 23, (2, 9)), use_cache=True)


def chopped(sequence, sizes=(1, 2, 5, 1, 40)):
    start = 0
    for size in cycle(sizes):
        if start >= len(sequence):
            return
        yield sequence[start : start + size]
        start += size


@pytest.fixture
def short_blocks(monkeypatch):
    monkeypatch.setattr("lyra.inference.streaming.BLOCK", 32)


SEQUENCE = (
    "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVKALPDAQFEVV"
    "HSLAKWKRQTLGQHDFSAGEGLYTHMKALRPDEDRLSPLHSVYVDQWDWERVMGD"
)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("letters", [1, 2, 31, 32, 33, 64, 125])
def test_streams_equal_whole_sequences(tiny, short_blocks, bidirectional, layers, letters):
    config = tiny(num_labels=2, bidirectional=bidirectional, num_hidden_layers=layers, final_norm=True)
    ids = LyraTokenizer()(SEQUENCE[:letters], return_tensors="pt")
    tokens = LyraForTokenClassification(config).double().eval()
    parts = list(stream(tokens, chopped(SEQUENCE[:letters])))
    assert [part.start for part in parts] == [sum(len(p.logits) for p in parts[:i]) for i in range(len(parts))]
    actual = np.concatenate([part.logits for part in parts])
    np.testing.assert_allclose(actual, tokens(**ids).logits[0].detach(), rtol=1e-6, atol=1e-6)
    for pooling in ("mean", "max", "first", "last", "mean_last"):
        config.pooling = pooling
        sequence = LyraForSequenceClassification(config).double().eval()
        (part,) = stream(sequence, chopped(SEQUENCE[:letters]))
        assert part.record is None and part.start == 0
        np.testing.assert_allclose(part.logits, sequence(**ids).logits[0].detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mode", ["r", "rb"])
def test_an_open_fasta(tiny, short_blocks, tmp_path, mode, monkeypatch):
    monkeypatch.setattr("lyra.data.fasta._SEGMENT", 16)  # lines come in parts
    file = tmp_path / "genome.fasta"
    file.write_text(f"\n>one first record\n{SEQUENCE[:60]}\n{SEQUENCE[60:]}\n\n>two\nacgt\nMK>Y\n")
    model = LyraForSequenceClassification(tiny(num_labels=1)).eval()
    with open(file, mode) as opened:
        parts = list(stream(model, opened))
    assert [part.record for part in parts] == ["one", "two"]
    for part, sequence in zip(parts, (SEQUENCE, "ACGTMK>Y"), strict=True):
        whole = model(**LyraTokenizer()(sequence, return_tensors="pt")).logits[0].detach()
        np.testing.assert_allclose(part.logits, whole, rtol=1e-5, atol=1e-5)


def test_bad_streams_are_named(tiny, tmp_path):
    model = LyraForSequenceClassification(tiny(num_labels=1)).eval()
    with pytest.raises(InputError, match="expected at least one letter"):
        list(stream(model, ["", " \n"]))
    with pytest.raises(TypeError, match="`segments`"):
        list(stream(model, "MKTAYIAKQR"))
    with pytest.raises(InputError, match=r"^x: expected at least one letter"):
        list(stream(model, io.StringIO(">x\n>y\nMK\n")))
    (tmp_path / "table.csv").write_text("sequence\nMK\n")
    with (
        open(tmp_path / "table.csv") as opened,
        pytest.raises(InputError, match=r"table\.csv, line 1: expected a FASTA header"),
    ):
        list(stream(model, opened))
    with pytest.raises(InputError, match="not UTF-8 text"):
        list(stream(model, io.BytesIO(b">x\n\xff\xfe")))
    with pytest.raises(TypeError, match="`segments` must be strings, got bytes"):
        list(stream(model, [b"MK"]))
    with pytest.raises(TypeError, match="sequence or token head of Lyra, got LyraModel"):
        stream(model.lyra, ["MK"])
    with pytest.raises(ValueError, match=r"call model\.eval\(\) first"):
        stream(model.train(), ["MK"])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_written_out_tokens_and_odd_letters(tiny, short_blocks, bidirectional):
    """A token cut in two, pads in the text, and characters of several bytes."""
    model = LyraForTokenClassification(tiny(num_labels=1, bidirectional=bidirectional)).double().eval()
    text = "MK<pad>TAYI<mask>KK<X" + SEQUENCE[:40] + "é😀<mask>"
    ids = LyraTokenizer()(text, return_tensors="pt")["input_ids"]
    expected = model(ids).logits[0].detach()
    real = (ids[0] != 0).numpy()
    for parts in (list(text), [text], [text[:14], text[14:]]):
        actual = np.concatenate([part.logits for part in stream(model, parts)])
        np.testing.assert_allclose(actual[real], expected[real], rtol=1e-6, atol=1e-6)


def test_bytes_cut_inside_a_character(tiny, monkeypatch):
    monkeypatch.setattr("lyra.data.fasta._SEGMENT", 5)
    model = LyraForTokenClassification(tiny(num_labels=1)).eval()
    (part,) = stream(model, io.BytesIO("\ufeff>aé\nACGTé😀A".encode()))
    assert part.record == "aé" and part.logits.shape == (7, 1)


def test_wrapped_models_stream_as_themselves(tiny):
    peft = pytest.importorskip("peft")
    model = LyraForTokenClassification(tiny(num_labels=2)).eval()
    expected = [part.logits for part in stream(model, [SEQUENCE])]
    wrapped = peft.get_peft_model(model, peft.LoraConfig(target_modules=["output_linear"])).eval()
    for other in (wrapped, torch.compile(model, backend="eager")):
        np.testing.assert_allclose(next(stream(other, [SEQUENCE])).logits, expected[0], rtol=1e-6)


@pytest.mark.parametrize("head", [LyraForSequenceClassification, LyraForTokenClassification, LyraForMaskedLM])
def test_heads_refuse_segments(tiny, head):
    model = head(tiny(num_labels=2))
    with pytest.raises(ValueError, match=r"`use_cache` and `cache_params`: .* lyra\.inference\.stream"):
        model(torch.tensor([[3, 4]]), use_cache=True)


def test_nothing_in_segments_is_an_error(tiny):
    model, nothing = LyraModel(tiny()).eval(), torch.zeros(1, 0, dtype=torch.long)
    cache = model(nothing, use_cache=True).cache_params
    with pytest.raises(ValueError, match="at least one position"):
        model(nothing, cache_params=cache)


def test_what_a_stream_keeps_does_not_grow(tiny, short_blocks):
    """Neither the cache of a causal model nor anything else holds more positions after many segments than after few."""
    model, sizes = LyraForTokenClassification(tiny(num_labels=1)).eval(), []
    original = model.lyra.forward

    def watched(*args, **kwargs):
        output = original(*args, **kwargs)
        if output.cache_params is not None:
            sizes.append(len(pickle.dumps(output.cache_params)))
        return output

    model.lyra.forward = watched
    assert sum(len(part.logits) for part in stream(model, (SEQUENCE for _ in range(40)))) == 40 * len(SEQUENCE)
    assert len(sizes) > 100 and max(sizes[5:]) == min(sizes[5:])
