"""The network: sizes of the paper, padding, order, short jets, precision, gradients, loading."""

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from pcn import PcnConfig, PcnForJetClassification, PcnModel

TINY = {"hidden_sizes": (8, 12, 12), "num_labels": 3}
SMALL = TINY | {"embedding_sizes": (8,), "classifier_sizes": (8,)}
CONFIGS = {
    "published": PcnConfig(chebyshev_order=5, **TINY),
    "published_edges": PcnConfig(chebyshev_order=5, edge_convolutions=True, **TINY),
    "ours": PcnConfig.ours(**SMALL),
    "ours_edges": PcnConfig.ours(edge_convolutions=True, pooling=("mean", "max"), **SMALL),
}


@pytest.fixture(params=CONFIGS)
def model(request):
    return PcnForJetClassification(CONFIGS[request.param]).eval()


def inputs(model, counts=(20, 7, 1, 2, 3)):
    dimensions = model.config.point_size
    mask = torch.arange(max(counts)) < torch.tensor(counts)[:, None]
    features, points = torch.randn(*mask.shape, 16), torch.randn(*mask.shape, dimensions)
    return {"features": features, "points": points, "attention_mask": mask.long()}


def test_numbers_of_parameters_of_the_paper():
    assert PcnForJetClassification(PcnConfig(num_labels=10)).num_parameters() == 148_298
    assert PcnForJetClassification(PcnConfig(num_labels=10, edge_convolutions=True)).num_parameters() == 164_938


def test_a_jet_alone_is_a_jet_in_a_batch(model):
    batch = inputs(model)
    together = model(**batch).logits
    for number, count in enumerate(batch["attention_mask"].sum(1)):
        alone = model(batch["features"][number : number + 1, :count], batch["points"][number : number + 1, :count])
        torch.testing.assert_close(alone.logits[0], together[number], rtol=0, atol=1e-5)


def test_content_of_pads_is_irrelevant(model):
    batch = inputs(model)
    expected = model(**batch).logits
    pads = batch["attention_mask"] == 0
    for junk in (torch.nan, torch.inf, 1e30, 0.0):
        changed = {name: batch[name].masked_fill(pads[:, :, None], junk) for name in ("features", "points")}
        assert torch.equal(model(**batch | changed).logits, expected)


def test_order_of_particles_is_irrelevant(model):
    batch = inputs(model, (12, 12))
    order = torch.randperm(12)
    other = {name: each[:, order] for name, each in batch.items()}
    torch.testing.assert_close(model(**other).logits, model(**batch).logits, rtol=0, atol=1e-5)


def test_gradients_are_finite_and_reach_all_weights(model):
    batch = inputs(model)
    batch["features"].requires_grad_()
    model.train()(**batch, labels=torch.tensor([0, 1, 2, 0, 1])).loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert all(parameter.grad.any() for parameter in model.parameters())
    assert batch["features"].grad.isfinite().all()


def test_a_jet_without_particles_is_no_reason_to_fail(model):
    batch = inputs(model, (4, 4))
    batch["attention_mask"][1] = 0
    assert model(**batch).logits.isfinite().all()


def test_bfloat16_keeps_the_graph(model):
    batch = inputs(model)
    expected = model.pcn._look_around(batch["features"], batch["points"], batch["attention_mask"] != 0)
    with torch.autocast("cpu", torch.bfloat16):
        found = model.pcn._look_around(batch["features"], batch["points"], batch["attention_mask"] != 0)
        logits = model(**batch).logits
    assert found[1].dtype == torch.float32 and torch.equal(found[1], expected[1])
    torch.testing.assert_close(logits.float(), model(**batch).logits, rtol=0.05, atol=0.05)
    whole = model.to(torch.bfloat16)(**batch).logits
    assert whole.dtype == torch.bfloat16 and whole.isfinite().all()


def test_save_and_load(model, tmp_path):
    model.save_pretrained(tmp_path)
    batch = inputs(model)
    for cls in (PcnForJetClassification, AutoModelForSequenceClassification):
        assert torch.equal(cls.from_pretrained(tmp_path)(**batch).logits, model(**batch).logits)
    assert isinstance(AutoModel.from_pretrained(tmp_path), PcnModel)
    assert AutoConfig.from_pretrained(tmp_path).to_diff_dict() == model.config.to_diff_dict()


@pytest.mark.parametrize(
    ("changes", "named"),
    (
        ({"features": torch.zeros(5, 20, 15)}, "features"),
        ({"points": torch.zeros(5, 19, 3)}, "points"),
        ({"points": torch.zeros(5, 20, 7)}, "points"),
        ({"attention_mask": torch.ones(5, 19)}, "attention_mask"),
    ),
)
def test_wrong_shapes_are_named(model, changes, named):
    with pytest.raises(ValueError, match=f"`{named}`: expected the shape"):
        model(**inputs(model) | changes)


@pytest.mark.parametrize(
    "field",
    (
        {"feature_set": "all"},
        {"point_set": "x"},
        {"num_neighbors": 0},
        {"chebyshev_order": 0},
        {"hidden_sizes": []},
        {"embedding_sizes": [8, 0]},
        {"classifier_sizes": [0]},
        {"lambda_max": 0.0},
        {"pooling": ["sum"]},
        {"hidden_dropout_prob": 1.0},
    ),
)
def test_wrong_configs_are_named(field):
    with pytest.raises(Exception, match=next(iter(field))):
        PcnConfig(**field)


def test_large_batches_are_computed_in_groups_with_the_same_result(model, monkeypatch):
    counts = [1 + 7 * i % 23 for i in range(40)]
    batch, labels = inputs(model, counts), torch.arange(40) % 3
    grouped = model.pcn(**batch)
    model(**batch, labels=labels).loss.backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    monkeypatch.setattr("pcn.modeling_pcn._GROUP", 1000)
    whole = model.pcn(**batch)
    for name in ("last_hidden_state", "pooler_output"):
        torch.testing.assert_close(grouped[name], whole[name], rtol=0, atol=1e-5)
    model(**batch, labels=labels).loss.backward()
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-5)
