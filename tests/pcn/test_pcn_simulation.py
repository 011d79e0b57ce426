"""Simulated jets: charges, the detector, and with Pythia the same jets from the same seed."""

import numpy as np
import pytest

from lyra.errors import InputError
from pcn.simulation import PROCESSES, PT_BINS, _charges, _detect, simulate, wrapped

CHARGES = {211: 1, 321: 1, 2212: 1, 2112: 0, 130: 0, 310: 0, 3122: 0, 11: -1, 22: 0, 3222: 1, 3112: -1, 3312: -1}
CHARGES |= {3334: -1, 411: 1, 421: 0, 511: 0, 521: 1, 431: 1, 13: -1, 111: 0}


def test_charges_by_number():
    numbers = np.array(list(CHARGES))
    np.testing.assert_array_equal(_charges(numbers), list(CHARGES.values()))
    np.testing.assert_array_equal(_charges(-numbers), [-charge for charge in CHARGES.values()])


def test_angles_are_wrapped():
    np.testing.assert_allclose(
        wrapped(np.array([0.0, 3.5, -3.5, np.pi])), [0.0, 3.5 - 2 * np.pi, 2 * np.pi - 3.5, -np.pi]
    )


def test_the_detector_sees_what_it_can():
    pt = np.array([10.0, 0.1, 10.0, 10.0, 50.0])
    eta = np.array([0.0, 0.0, 5.0, 0.0, 1.0])
    momenta = np.stack([pt, 0 * pt, pt * np.sinh(eta), pt * np.cosh(eta)], axis=1)
    particles = {
        "id": np.array([211, 211, 211, 12, 130]),  # the second is too soft, the third too far ahead, then a neutrino
        "status": np.ones(5, int),
        "m": np.zeros(5),
        "p": momenta,
        "vertex": np.zeros((5, 3)),
    }
    seen = _detect(particles, np.random.default_rng(0))
    assert seen["kinds"].argmax(1).tolist() == [0, 1] and seen["charge"].tolist() == [1, 0]
    assert seen["tracks"][0].all() and not seen["tracks"][1].any()
    np.testing.assert_allclose(seen["p"][:, 0], [10, 50], rtol=0.3)


def test_numbers_of_jets_are_multiples():
    with pytest.raises(InputError, match="multiple of 10, got 15"):
        next(simulate("QCD", 15, 1))


@pytest.mark.slow
@pytest.mark.parametrize("label", PROCESSES)
def test_jets_of_pythia(label):
    pytest.importorskip("pythia8mc", reason="needs the extra pcn-simulate")
    pytest.importorskip("fastjet", reason="needs the extra pcn-simulate")
    first, second = ([jet for jets in simulate(label, 10, 5) for jet in jets] for _ in range(2))
    assert len(first) == 10 and all(jet[f"label_{label}"] == 1 for jet in first)
    places = np.histogram([jet["jet_pt"] for jet in first], PT_BINS, (500, 1000))[0]
    assert places.tolist() == [1] * PT_BINS
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])
