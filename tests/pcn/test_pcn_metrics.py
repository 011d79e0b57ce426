"""Scores as the field gives them."""

import numpy as np
import pytest

from pcn.metrics import rejection_text, rejections, scores


def test_accuracy_is_that_of_the_likeliest_class():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.4, 0.3, 0.3], [0.1, 0.2, 0.7], [0.1, 0.8, 0.1]])
    found = scores(probabilities, np.array([0, 1, 2, 1]))
    assert found["accuracy"] == 0.75 and set(found) == {"accuracy", "balanced_accuracy", "auc_ovo", "auc_ovr"}
    assert found["balanced_accuracy"] == pytest.approx((1 + 0.5 + 1) / 3)  # the second class has two jets, one right
    assert set(scores(probabilities[:, :2], np.array([0, 0, 1, 1]))) == {"accuracy", "balanced_accuracy", "auc"}


def test_rejection_of_a_known_cut():
    # Signal at 0.01 .. 1.00; 200 of 1,000 background jets above its median.
    own = np.arange(1, 101) / 100
    other = np.r_[np.full(200, 0.75), np.full(800, 0.001)]
    p = np.r_[own, other]
    labels = np.r_[np.ones(100, int), np.zeros(1000, int)]
    rows = {row["efficiency"]: row for row in rejections(np.stack([1 - p, p], 1), labels, ["QCD", "top"], "QCD")}
    assert rows[0.5]["rejection"] == pytest.approx(5.0) and rows[0.5]["low"] < 5 < rows[0.5]["high"]
    assert rows[0.5]["high"] - rows[0.5]["low"] == pytest.approx(2 * 5 * np.sqrt(0.8 / 200), rel=0.1)
    # None passes at 20 % more: a bound, the three events of Poisson's rule.
    assert rows[0.3]["passed"] == 200
    assert rejection_text(rows[0.5]).startswith("5.0 (")


def test_few_background_jets_give_a_bound():
    p = np.r_[np.full(10, 0.9), np.full(1000, 0.1)]
    labels = np.r_[np.ones(10, int), np.zeros(1000, int)]
    row = rejections(np.stack([1 - p, p], 1), labels, ["QCD", "top"], "QCD")[0]
    assert row["passed"] == 0 and row["bound"] == pytest.approx(1000 / 3.0, rel=0.01)
    assert rejection_text(row) == "> 334"
