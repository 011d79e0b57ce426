"""The PGC stack by distinct windows gives what it gives position by position, forwards and backwards."""

import pytest
import torch

from lyra import LyraForSequenceClassification, LyraForTokenClassification, LyraModel
from lyra.windows_lyra import distinct_windows, should_deduplicate


@pytest.fixture
def always(monkeypatch):
    """Windows however few the positions are."""
    monkeypatch.setattr("lyra.windows_lyra._FEWEST_POSITIONS", 0)


def dense(model, ids, mask):
    """The same model on embeddings, which have no windows."""
    return model(inputs_embeds=model.lyra.embeddings(ids), attention_mask=mask)


def batch(kind):
    """Ids and mask: repeats, all different, pads on either side and inside, rows without a position."""
    if kind == "variants":
        ids = torch.randint(3, 23, (1, 40)).repeat(6, 1)
        ids[torch.arange(6), torch.arange(6) * 5] = torch.randint(3, 32, (6,))
        return ids, torch.ones_like(ids)
    ids = torch.randint(0, 32, (5, 30))
    mask = torch.ones_like(ids)
    if kind == "pads":
        mask[0, 20:], mask[1, :9], mask[2, 7:12], mask[3], mask[4, 1:] = 0, 0, 0, 0, 0
        ids[:, 15:] = ids[:, :15]
    return ids, mask


@pytest.mark.parametrize("kind", ["variants", "random", "pads"])
@pytest.mark.parametrize(
    "options", [{}, {"pgc_kernel_size": 5, "pgc_residual": True}, {"pgc_expansion_factors": [1.0] * 3}]
)
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_windows_change_nothing(tiny, always, monkeypatch, kind, options, share):
    monkeypatch.setattr("lyra.windows_lyra._LARGEST_SHARE", share)  # from no level looked up to every level
    model = LyraForTokenClassification(tiny(num_labels=2, bidirectional=True, **options)).double()
    ids, mask = batch(kind)
    weights = torch.randn(*ids.shape, 2, dtype=torch.float64) * mask.unsqueeze(-1)
    gradients = []
    for run in (lambda: model(ids, mask), lambda: dense(model, ids, mask)):
        model.zero_grad()
        logits = run().logits
        (logits * weights).sum().backward()
        gradients.append([logits[mask.bool()], *(p.grad for p in model.parameters())])
    for a, e in zip(*gradients, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-9)


def test_repeats_are_computed_once(tiny, always):
    """Of six variants of one sequence the blocks see their distinct windows only."""
    model = LyraModel(tiny()).eval()
    ids, _ = batch("variants")
    seen = []
    for block in model.encoder.pgc:
        original = block.forward
        block.forward = lambda rows, *args, original=original: seen.append(rows.shape) or original(rows, *args)
    model(ids)
    letters, triples = (
        len(ids.unique()),
        len(torch.nn.functional.pad(ids, (1, 1)).unfold(1, 3, 1).flatten(0, 1).unique(dim=0)),
    )
    assert seen == [(letters, 8), (triples, 8)] and triples < ids.numel() / 3


def test_dna_has_few_windows(always):
    ids = torch.randint(3, 7, (64, 200))
    windows = distinct_windows(ids, None, [3, 3])
    # 4^3 and 4^5 windows inside, and those that reach over an end by one or by two.
    assert len(windows.neighbours[0]) <= 4**3 + 2 * 4**2 and len(windows.neighbours[1]) <= 4**5 + 2 * (4**4 + 4**3)
    assert windows.inverse.shape == ids.shape


def test_where_windows_do_not_pay(tiny):
    assert should_deduplicate(torch.zeros(8, 256)) and not should_deduplicate(torch.zeros(2, 20))
    assert not should_deduplicate(torch.zeros(8, 256, device="meta"))


def test_who_listens_to_a_block_hears_every_position(tiny, always):
    model, ids = LyraModel(tiny()).eval(), torch.randint(3, 23, (2, 30))
    seen = []
    handle = model.encoder.pgc[0].register_forward_hook(lambda module, args, output: seen.append(output.shape))
    heard = model(ids).last_hidden_state
    handle.remove()
    assert seen == [(2, 30, 8)]
    torch.testing.assert_close(model(ids).last_hidden_state, heard)
    assert [each.shape for each in model(ids, output_hidden_states=True).hidden_states] == [(2, 30, 8)] * 4


def test_an_id_outside_the_vocabulary_is_an_error(tiny, always):
    with pytest.raises(IndexError):
        LyraModel(tiny())(torch.tensor([[3, 32, 4]]))


def test_training_by_windows_reaches_every_parameter(tiny, always):
    model = LyraForSequenceClassification(tiny(num_labels=1))
    model(torch.randint(3, 23, (4, 30)), labels=torch.randn(4)).loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
