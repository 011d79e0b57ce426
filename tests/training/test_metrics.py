"""Metrics over a whole set equal those of scipy and scikit-learn, and say nothing where they are undefined."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from lyra.metrics import metrics_of
from lyra.scoring import compute_metrics

RNG = np.random.default_rng(0)


def test_regression():
    labels = RNG.normal(size=200)
    values = labels + RNG.normal(size=200)
    result = compute_metrics("regression", values[:, None], labels, ("y",))
    assert list(result) == metrics_of("regression")
    assert result["spearman"] == pytest.approx(stats.spearmanr(values, labels).statistic)
    assert result["pearson"] == pytest.approx(np.corrcoef(values, labels)[0, 1])
    assert result["r2"] == pytest.approx(sk.r2_score(labels, values))
    assert result["rmse"] == pytest.approx(np.sqrt(sk.mean_squared_error(labels, values)))
    assert result["mae"] == pytest.approx(sk.mean_absolute_error(labels, values))


def test_the_best_tenth():
    """By the formulas of ProteinGym's supplement, a sum at a time."""
    labels, values = RNG.normal(size=57), RNG.normal(size=57)
    gains = [(y - min(labels)) / (max(labels) - min(labels)) for y in labels]

    def gain(order):
        return sum(gains[i] / np.log2(rank + 2) for rank, i in enumerate(order[:5]))

    result = compute_metrics("regression", values[:, None], labels, ("y",))
    by_value, by_label = (sorted(range(57), key=lambda i, y=y: -y[i]) for y in (values, labels))
    assert result["ndcg"] == pytest.approx(gain(by_value) / gain(by_label))
    assert result["toprecall"] == len({*by_value[:6]} & {*by_label[:6]}) / 6
    perfect = compute_metrics("regression", labels[:, None], labels, ("y",))
    assert perfect["ndcg"] == perfect["toprecall"] == pytest.approx(1)
    constant = compute_metrics("regression", np.zeros((57, 1)), labels, ("y",))
    assert not {"ndcg", "toprecall"} & set(constant)


@pytest.mark.parametrize("classes", [2, 4])
def test_classification(classes):
    labels = RNG.integers(0, classes, 200)
    logits = RNG.normal(size=(200, classes)) + 1.5 * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    result = compute_metrics("classification", logits, labels, tuple("abcd"[:classes]))
    assert list(result) == metrics_of("classification")
    chosen, average = logits.argmax(1), "binary" if classes == 2 else "macro"
    score = probabilities[:, 1] if classes == 2 else probabilities
    truth = labels if classes == 2 else np.eye(classes)[labels]
    assert result["accuracy"] == pytest.approx((chosen == labels).mean())
    assert result["f1"] == pytest.approx(sk.f1_score(labels, chosen, average=average))
    assert result["mcc"] == pytest.approx(sk.matthews_corrcoef(labels, chosen))
    assert result["auroc"] == pytest.approx(sk.roc_auc_score(truth, score))
    assert result["auprc"] == pytest.approx(sk.average_precision_score(truth, score))


def test_residues_without_a_label_do_not_count():
    labels = RNG.integers(0, 3, (5, 12))
    logits = RNG.normal(size=(5, 12, 3))
    padded = np.pad(labels, ((0, 0), (0, 4)), constant_values=-100)
    wide = np.pad(logits, ((0, 0), (0, 4), (0, 0)), constant_values=7.0)
    names = ("H", "E", "C")
    assert compute_metrics("classification", wide, padded, names) == pytest.approx(
        compute_metrics("classification", logits, labels, names)
    )


def test_several_outputs_are_scored_alone_and_on_average():
    labels = np.stack([RNG.integers(0, 2, 100), RNG.integers(0, 2, 100)], axis=1).astype(float)
    logits = RNG.normal(size=(100, 2)) + labels
    labels[:20, 1] = np.nan
    result = compute_metrics("multilabel", logits, labels, ("a", "b"))
    assert result["b_auroc"] == pytest.approx(sk.roc_auc_score(labels[20:, 1], logits[20:, 1]))
    assert result["auroc"] == pytest.approx((result["a_auroc"] + result["b_auroc"]) / 2)


def test_undefined_metrics_are_left_out():
    constant = compute_metrics("regression", np.ones((5, 1)), np.arange(5.0), ("y",))
    assert "spearman" not in constant and constant["r2"] < 0
    one_class = compute_metrics("classification", RNG.normal(size=(5, 2)), np.zeros(5, dtype=int), ("a", "b"))
    assert one_class == {}
