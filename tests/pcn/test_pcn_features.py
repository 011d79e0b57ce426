"""The feature extractor: what features mean, order, truncation, invariance, errors."""

import jet_files
import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor

from pcn import PcnConfig, PcnFeatureExtractor, PcnForJetClassification

NO_TRACKS = {"missing_tracks": "zero"}


def extract(momenta, kinds=None, **settings):
    kinds = [np.full(len(p), 211) for p in momenta] if kinds is None else kinds
    return PcnFeatureExtractor(**NO_TRACKS | settings)(momenta, kinds, return_tensors="pt")


def test_raw_features_are_those_of_the_paper():
    p = jet_files.momenta(5)
    found = extract([p])["features"][0].numpy()
    order = np.argsort(-np.hypot(p[:, 0], p[:, 1]))
    np.testing.assert_allclose(found[:, :4], p[order], rtol=1e-6)
    np.testing.assert_allclose(found[:, 4], np.hypot(p[order, 0], p[order, 1]), rtol=1e-6)
    total = p.sum(0)
    eta = np.arcsinh(p[order, 2] / found[:, 4]) - np.arcsinh(total[2] / np.hypot(*total[:2]))
    np.testing.assert_allclose(found[:, 5], np.sign(total[2]) * eta, atol=1e-6)
    assert found[:, 11].tolist() == [1] * 5 and not found[:, 12:].any()


def test_particles_of_a_jet_across_the_edge_of_phi_are_near():
    p = np.array([[-100.0, 1.0, 0.0, 101.0], [-100.0, -1.0, 0.0, 101.0]])
    assert abs(extract([p])["features"][0, :, 6]).max() < 0.02


def rotated(p, angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.column_stack([p[:, 0] * c - p[:, 1] * s, p[:, 0] * s + p[:, 1] * c, p[:, 2:]])


@pytest.mark.parametrize(("preset", "changes"), ((PcnConfig, True), (PcnConfig.ours, False)))
def test_rotation_about_the_beam(preset, changes):
    config = preset(num_labels=3)
    model = PcnForJetClassification(config).eval()
    p = jet_files.momenta(20, prongs=2)
    sets = {"feature_set": config.feature_set, "point_set": config.point_set}

    def logits(momenta):
        batch = extract([momenta], **sets)
        batch.pop("cut")
        return model(**batch).logits

    difference = float((logits(rotated(p, 2.0)) - logits(p)).detach().abs().max())
    assert difference > 1e-2 if changes else difference < 1e-5


def test_order_in_the_file_does_not_matter():
    p = jet_files.momenta(12)
    p[3, :2] = p[5, :2]  # the same pT
    p[3, 3] = 1000.0
    order = np.random.default_rng(0).permutation(12)
    for name, value in extract([p], feature_set="invariant16").items():
        assert torch.equal(value, extract([p[order]], feature_set="invariant16")[name])


def test_what_is_cut_is_reported():
    with pytest.warns(UserWarning, match="3 particles beyond 5"):
        found = extract([jet_files.momenta(8), jet_files.momenta(2)], max_particles=5)
    assert found["cut"].tolist() == [3, 0] and found["attention_mask"].sum(1).tolist() == [5, 2]
    pt = found["features"][0, :, 4]
    assert (pt[:-1] >= pt[1:]).all()


def test_kinds_as_numbers_or_flags():
    p = jet_files.momenta(5)
    numbers = np.array([211, 130, 22, -11, 13])
    a, b = extract([p], [numbers]), extract([p], [np.eye(5)])
    assert torch.equal(a["features"], b["features"])


@pytest.mark.parametrize(
    ("change", "said"),
    (
        (lambda p: p[:0], "jet 2: no particles"),
        (lambda p: p * [[np.nan, 1, 1, 1]], "jet 2, particle 1: .* not a finite number"),
        (lambda p: p * [[0, 0, 1, 1]], "jet 2, particle 1: the transverse momentum is zero"),
        (lambda p: p * [[1, 1, 1, 0.5]], "jet 2, particle 1: the energy is less than the momentum"),
    ),
)
def test_jets_that_make_no_sense(change, said):
    with pytest.raises(ValueError, match=said):
        extract([jet_files.momenta(3), change(jet_files.momenta(3))])


def test_tracks_need_a_policy():
    with pytest.raises(ValueError, match="missing_tracks='zero'"):
        extract([jet_files.momenta(3)], missing_tracks="error")
    with pytest.raises(ValueError, match="jet 1: 3 particles and 2 tracks"):
        PcnFeatureExtractor()([jet_files.momenta(3)], [[22] * 3], [np.zeros((2, 4))])


def test_unknown_numbers_are_named():
    with pytest.raises(ValueError, match="jet 1, particle 2: unknown PDG number 99"):
        extract([jet_files.momenta(2)], [[22, 99]])


def test_save_and_load(tmp_path):
    PcnFeatureExtractor("invariant16", "angles", 32, "zero").save_pretrained(tmp_path)
    for cls in (PcnFeatureExtractor, AutoFeatureExtractor):
        found = cls.from_pretrained(tmp_path)
        assert (found.feature_set, found.point_set, found.max_particles) == ("invariant16", "angles", 32)


def test_what_cancels_has_no_direction():
    p = np.array([[1.0, 0, 0, 1], [-1.0, 0, 0, 1]])
    with pytest.raises(ValueError, match="jet 1: the transverse momenta of its particles cancel"):
        extract([p])


def test_flags_and_axes_are_numbers():
    with pytest.raises(ValueError, match="jet 1, particle 1: a flag of its kind"):
        extract([jet_files.momenta(2)], [np.full((2, 5), np.nan)])
    extractor = PcnFeatureExtractor(**NO_TRACKS)
    with pytest.raises(ValueError, match="its axis is not finite"):
        extractor([jet_files.momenta(2)], [[22, 22]], axes=[[np.nan, 0]])
    with pytest.raises(ValueError, match="expected one for each of 1 jets, got 2"):
        extractor([jet_files.momenta(2)], [[22, 22]], axes=[[0, 0], [0, 0]])
    with pytest.raises(ValueError, match=r"expected momenta of the shape \(particles, 4\)"):
        extractor([np.zeros((2, 8))], [[22] * 4])


def test_particles_of_equal_momentum_are_cut_by_what_else_is_known():
    p = np.repeat(jet_files.momenta(1), 3, axis=0)
    kinds = np.array([22, 211, 130])
    with pytest.warns(UserWarning, match="left out"):
        first, second = (extract([p], [kinds[order]], max_particles=2) for order in ([0, 1, 2], [2, 1, 0]))
    assert torch.equal(first["features"], second["features"])
