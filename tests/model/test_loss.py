"""The loss: right values, ignored labels, and the same for any number of accumulation steps or processes."""

import forked
import numpy as np
import one_step
import pytest
import torch
import torch.nn.functional as F

from lyra import LyraForMaskedLM, LyraForSequenceClassification, LyraForTokenClassification, LyraTokenizer
from lyra.data import LyraCollator

IDS = torch.randint(3, 23, (4, 6), generator=torch.Generator().manual_seed(1))
NAN = float("nan")


def test_regression_is_standardised_and_answers_in_label_units(tiny):
    labels = torch.tensor([10.0, 20.0, 30.0, 60.0])
    plain = LyraForSequenceClassification(tiny(num_labels=1)).eval()
    scaled = LyraForSequenceClassification(tiny(num_labels=1, label_mean=30.0, label_std=20.0)).eval()
    scaled.load_state_dict(plain.state_dict())
    raw = plain(IDS).logits
    outputs = scaled(IDS, labels=labels)
    torch.testing.assert_close(outputs.logits, raw * 20 + 30)
    torch.testing.assert_close(outputs.loss, F.mse_loss(raw[:, 0], (labels - 30) / 20))


def test_class_weights(tiny):
    kind = "single_label_classification"
    model = LyraForSequenceClassification(tiny(num_labels=3, problem_type=kind, class_weights=[1.0, 2.0, 0.5])).eval()
    labels = torch.tensor([0, 2, -100, 1])
    outputs = model(IDS, labels=labels)
    each = F.cross_entropy(outputs.logits, labels, reduction="none", ignore_index=-100)
    torch.testing.assert_close(outputs.loss, (each * torch.tensor([1.0, 0.5, 0.0, 2.0])).sum() / 3)

    kind = "multi_label_classification"
    model = LyraForTokenClassification(tiny(num_labels=2, problem_type=kind, class_weights=[3.0, 1.0])).eval()
    labels = torch.randint(0, 2, (4, 6, 2)).float()
    outputs = model(IDS, labels=labels)
    weights = torch.tensor([3.0, 1.0])
    expected = F.binary_cross_entropy_with_logits(outputs.logits, labels, pos_weight=weights)
    torch.testing.assert_close(outputs.loss, expected)


def test_rank_labels(tiny):
    """Against normal scores and an interpolation computed by scipy and numpy."""
    from scipy import stats

    measured = np.sort(np.random.default_rng(0).exponential(size=400))
    quantiles = np.quantile(measured, (np.arange(64) + 0.5) / 64)
    plain = LyraForSequenceClassification(tiny(num_labels=1)).eval()
    ranked = LyraForSequenceClassification(tiny(num_labels=1, label_quantiles=quantiles.tolist())).eval()
    ranked.load_state_dict(plain.state_dict())
    raw = plain(IDS).logits[:, 0]
    labels = torch.tensor([0.2, 0.7, 1.5, 2.5])
    knots = stats.norm.ppf((np.arange(64) + 0.5) / 64)
    scores = torch.tensor(np.interp(labels.numpy(), quantiles, knots), dtype=torch.float32)
    outputs = ranked(IDS, labels=labels)
    torch.testing.assert_close(outputs.loss, F.mse_loss(raw, scores), rtol=1e-4, atol=1e-5)
    inside = np.interp(raw.detach().numpy(), knots, quantiles)
    torch.testing.assert_close(outputs.logits[:, 0].detach().numpy(), inside.astype(np.float32), rtol=1e-4, atol=1e-5)


def test_labels_halfway_between_ranks_and_standardised(tiny):
    from lyra.losses_lyra import to_training_scale

    measured = np.random.default_rng(0).exponential(size=(400, 2))
    ranks = {"label_quantiles": np.quantile(measured, (np.arange(64) + 0.5) / 64, axis=0).T.tolist()}
    standard = {"label_mean": measured.mean(axis=0).tolist(), "label_std": measured.std(axis=0).tolist()}
    scales = [tiny(num_labels=2, problem_type="regression", **each) for each in (ranks, standard, ranks | standard)]
    labels = torch.tensor(measured[:20], dtype=torch.float32)
    first, second, both = (to_training_scale(labels, each) for each in scales)
    torch.testing.assert_close(both, (first + second) / 2)


@pytest.mark.parametrize("halfway", [False, True])
@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_a_perfect_model_of_rank_labels_answers_the_labels(tiny, spread, halfway):
    from lyra.losses_lyra import to_label_units, to_training_scale

    measured = np.exp(spread * np.random.default_rng(0).normal(size=2000))
    measured[:800] = 0  # many ties below a long tail
    quantiles = np.quantile(measured, (np.arange(256) + 0.5) / 256)
    scale = {"label_mean": float(measured.mean()), "label_std": float(measured.std())} if halfway else {}
    config = tiny(num_labels=1, problem_type="regression", label_quantiles=quantiles.tolist(), **scale)
    labels = torch.tensor(np.quantile(measured, [0.1, 0.45, 0.6, 0.9, 0.99]), dtype=torch.float32).unsqueeze(-1)
    answers = to_label_units(to_training_scale(labels, config), config)
    torch.testing.assert_close(answers, labels, rtol=1e-3, atol=float(1e-3 * quantiles[quantiles > 0][0]))


def test_answers_on_rank_labels_keep_the_order_beyond_the_data_and_where_labels_tie(tiny):
    from lyra.losses_lyra import to_label_units, to_training_scale

    quantiles = np.quantile([0.0] * 50 + list(range(1, 51)), (np.arange(32) + 0.5) / 32).tolist()
    config = tiny(num_labels=1, problem_type="regression", label_quantiles=quantiles)
    answers = to_label_units(torch.linspace(-6, 6, 200).unsqueeze(-1), config)[:, 0]
    assert (answers.diff() > 0).all() and answers[-1] > 60
    tied = to_training_scale(torch.tensor([[0.0], [-5.0]]), config)[:, 0]
    torch.testing.assert_close(tied[0], torch.special.ndtri(torch.tensor(0.25)), atol=0.03, rtol=0)
    assert tied[1] < tied[0]
    several = tiny(num_labels=2, problem_type="regression", label_quantiles=[quantiles, [2 * q for q in quantiles]])
    both = to_label_units(torch.zeros(3, 2), several)
    torch.testing.assert_close(both[:, 1], 2 * both[:, 0])


def test_several_outputs_with_missing_measurements(tiny):
    config = tiny(num_labels=2, problem_type="regression", label_mean=[1.0, -100.0], label_std=[2.0, 5.0])
    model = LyraForSequenceClassification(config).eval()
    labels = torch.tensor([[1.0, NAN], [3.0, -100.0], [NAN, -90.0], [0.0, -95.0]])  # here -100 is a measurement
    outputs = model(IDS, labels=labels)
    standard = (outputs.logits - labels) / torch.tensor([2.0, 5.0])
    torch.testing.assert_close(outputs.loss, standard[~labels.isnan()].square().mean())
    outputs.loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_single_label(tiny):
    model = LyraForSequenceClassification(tiny(num_labels=3)).eval()
    outputs = model(IDS, labels=torch.tensor([0, 2, -100, 1]))
    expected = F.cross_entropy(outputs.logits[[0, 1, 3]], torch.tensor([0, 2, 1]))
    torch.testing.assert_close(outputs.loss, expected)


def test_multi_label(tiny):
    model = LyraForSequenceClassification(tiny(num_labels=2)).eval()
    labels = torch.tensor([[0.0, 1.0], [1.0, 1.0], [NAN, 0.0], [-100.0, 1.0]])
    outputs = model(IDS, labels=labels)
    kept = ~labels.isnan() & (labels != -100)
    torch.testing.assert_close(outputs.loss, F.binary_cross_entropy_with_logits(outputs.logits[kept], labels[kept]))


@pytest.mark.parametrize("kind", ["regression", "single_label_classification", "multi_label_classification"])
def test_tokens(tiny, kind):
    outputs_count = 1 if kind == "regression" else 3
    model = LyraForTokenClassification(tiny(num_labels=outputs_count, problem_type=kind)).eval()
    if kind == "single_label_classification":
        labels = torch.randint(0, 3, IDS.shape)
        labels[:, 4:] = -100
        outputs = model(IDS, labels=labels)
        expected = F.cross_entropy(outputs.logits[:, :4].reshape(-1, 3), labels[:, :4].reshape(-1))
    else:
        labels = torch.rand(*IDS.shape, outputs_count).round()
        labels[:, 4], labels[:, 5] = -100, NAN
        outputs = model(IDS, labels=labels)
        logits, kept = outputs.logits[:, :4], labels[:, :4]
        loss = F.mse_loss if kind == "regression" else F.binary_cross_entropy_with_logits
        expected = loss(logits, kept)
    torch.testing.assert_close(outputs.loss, expected)


def test_masked_language_model(tiny):
    model = LyraForMaskedLM(tiny(bidirectional=True)).eval()
    labels = torch.full_like(IDS, -100)
    labels[:, 2] = IDS[:, 2]
    outputs = model(IDS, labels=labels)
    torch.testing.assert_close(outputs.loss, F.cross_entropy(outputs.logits[:, 2], IDS[:, 2]))


def test_nothing_to_learn_from_is_zero(tiny):
    model = LyraForTokenClassification(tiny(num_labels=2)).eval()
    assert model(IDS, labels=torch.full_like(IDS, -100)).loss == 0


def test_a_step_without_labels_is_zero_also_when_the_trainer_counts(tiny):
    model = LyraForTokenClassification(tiny(num_labels=2)).eval()
    assert model(IDS, labels=torch.full_like(IDS, -100), num_items_in_batch=torch.tensor(0)).loss == 0


def test_a_measurement_of_minus_100_counts(tiny):
    """The Trainer takes an exact -100 for a missing label; the collator makes the two agree."""
    for per_token, label in ((False, -100.0), (True, [-100.0, 1.0])):
        example = {"input_ids": [3, 4], "labels": label}
        labels = LyraCollator(LyraTokenizer(), per_token)([example])["labels"]
        assert labels.ne(-100).all()
        torch.testing.assert_close(labels, torch.tensor([label]), rtol=1e-7, atol=0)


def test_a_wrong_label_shape_is_named(tiny):
    with pytest.raises(ValueError, match=r"`labels` must have shape \(4, 6\), got \(4,\)"):
        LyraForTokenClassification(tiny(num_labels=2))(IDS, labels=torch.zeros(4).long())
    with pytest.raises(ValueError, match=r"`labels` must have shape \(4, 1\), got \(4, 2\)"):
        LyraForSequenceClassification(tiny(num_labels=1))(IDS, labels=torch.zeros(4, 2))


def test_num_items_in_batch_divides_the_sum(tiny):
    model = LyraForSequenceClassification(tiny(num_labels=1)).eval()
    labels = torch.randn(4)
    whole = model(IDS, labels=labels).loss
    parts = sum(
        model(IDS[i : i + 1], labels=labels[i : i + 1], num_items_in_batch=torch.tensor(4)).loss for i in range(4)
    )
    torch.testing.assert_close(parts, whole)


def run_on_two_processes(tmp_path, kind, accumulation):
    done = forked.run(one_step.on_two_processes, kind, accumulation, str(tmp_path), processes=2)
    assert done.codes == [0, 0], done.stderr
    with np.load(tmp_path / "result.npz") as values:
        return float(values["loss"]), values["gradient"]


@pytest.mark.parametrize("kind", ["regression", "classes", "multi_label", "tokens", "token_regression"])
def test_accumulation_does_not_change_the_step(tmp_path, kind):
    loss, gradient = one_step.step(kind, 1, str(tmp_path))
    accumulated_loss, accumulated_gradient = one_step.step(kind, 4, str(tmp_path))
    assert loss == pytest.approx(accumulated_loss, rel=1e-4)
    np.testing.assert_allclose(accumulated_gradient, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "accumulation"), [("regression", 1), ("tokens", 4)])
def test_processes_do_not_change_the_step(tmp_path, kind, accumulation):
    loss, gradient = one_step.step(kind, 1, str(tmp_path))
    distributed_loss, distributed_gradient = run_on_two_processes(tmp_path, kind, accumulation)
    assert loss == pytest.approx(distributed_loss, rel=1e-4)
    np.testing.assert_allclose(distributed_gradient, gradient, rtol=1e-4, atol=1e-6)
