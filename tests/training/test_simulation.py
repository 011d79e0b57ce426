"""Simulated landscapes have the epistasis that they claim."""

import os
import subprocess
import sys

import numpy as np
import pytest

from lyra.simulation import random_landscape, simulate


def mutant(landscape, subset):
    sequence = list(landscape.wild_type)
    for position, letter in subset:
        sequence[position] = letter
    return "".join(sequence)


def test_the_polynomial_has_the_known_coefficients():
    """Inclusion and exclusion over the mutations of a set gives back its coefficient."""
    landscape = random_landscape(np.random.default_rng(0), order=3)
    assert landscape.fitness(landscape.wild_type) == 0
    for subset in [s for s in landscape.coefficients if len(s) == 3][:5]:
        a, b, c = sorted(subset)
        parts = [([], -1), ([a], 1), ([b], 1), ([c], 1), ([a, b], -1), ([a, c], -1), ([b, c], -1), ([a, b, c], 1)]
        total = sum(sign * landscape.fitness(mutant(landscape, part)) for part, sign in parts)
        assert total == pytest.approx(landscape.coefficients[subset])
    assert {len(s) for s in landscape.coefficients} == {1, 2, 3}
    assert all(len({p for p, _ in s}) == len(s) for s in landscape.coefficients)


def test_the_saturating_landscape_is_bounded_and_not_additive():
    rng = np.random.default_rng(0)
    rows = simulate(rng, random_landscape(rng, saturating=True), 300, noise=0.0)
    fitness = np.array([row["fitness"] for row in rows])
    assert 0 <= fitness.min() < 0.1 and 0.9 < fitness.max() <= 1


def test_noise_rows_and_seeds():
    def draw(noise):
        rng = np.random.default_rng(5)
        return simulate(rng, random_landscape(rng), 500, noise)

    rows = draw(0.2)
    assert rows == draw(0.2) and len({row["sequence"] for row in rows}) == 500
    error = np.array([row["label"] - row["fitness"] for row in rows])
    assert error.std() == pytest.approx(0.2 * np.std([row["fitness"] for row in rows]), rel=0.15)
    assert all(row["label"] == row["fitness"] for row in draw(0.0))


def test_a_seed_gives_the_same_rows_in_every_process():
    program = """if True:
        import numpy as np
        from lyra.simulation import random_landscape, simulate
        rng = np.random.default_rng(5)
        print(simulate(rng, random_landscape(rng), 20))
    """
    printed = {
        subprocess.run(
            [sys.executable, "-c", program], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in "12"
    }
    assert len(printed) == 1


def test_impossible_requests_are_named():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="1 <= order <= positions <= length"):
        random_landscape(rng, order=5, positions=3)
    with pytest.raises(ValueError, match="`rows` must be at most half of the 16 variants"):
        simulate(rng, random_landscape(rng, order=1, positions=2), 9)
