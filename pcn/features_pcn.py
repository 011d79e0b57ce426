"""What a network is told of the particles of a jet, computed in float64 from their momenta.

Jets are given one after the other: `counts` `(jets,)` says how many particles each has, and arrays of particles hold
those of the first jet, then those of the second. Momenta are px, py, pz, E in GeV; angles in rad; impact parameters and
their errors (d0, its error, dz, its error) in mm; kinds are five flags (charged hadron, neutral hadron, photon,
electron, muon).
"""

import numpy as np

KINDS = ("charged_hadron", "neutral_hadron", "photon", "electron", "muon")
_TRACK = ("d0", "d0_error", "dz", "dz_error")
FEATURE_SETS = {
    # As in the paper: lengths of vectors in GeV, which depend on where in phi the jet is.
    "raw16": ("px", "py", "pz", "energy", "pt", "delta_eta", "delta_phi", *_TRACK, *KINDS),
    # Unchanged under rotation about the beam.
    "invariant16": (
        *("log_pt", "log_energy", "log_pt_share", "log_energy_share", "delta_r", "delta_eta", "delta_phi"),
        *(*_TRACK, *KINDS),
    ),
}
POINT_SETS = {"momentum": ("px", "py", "pz"), "angles": ("delta_eta", "delta_phi")}

# A momentum read from single precision may be this much longer than its energy.
_ROUNDING = 1e-4
# Subtracted from a feature, and what it is then multiplied by, so that it is of the order of one.
_SCALES = {
    "log_pt": (1.5, 0.7),
    "log_energy": (2.0, 0.7),
    "log_pt_share": (-5.0, 0.7),
    "log_energy_share": (-5.0, 0.7),
    "delta_r": (0.2, 4.0),
}


class InvalidJetError(ValueError):
    """A jet, from 0, and maybe a particle in it, that no features can be computed of."""

    def __init__(self, jet: int, particle: int | None, reason: str):
        self.jet, self.place = jet, "" if particle is None else f", particle {particle + 1}"
        self.reason = reason
        super().__init__(f"jet {jet + 1}{self.place}: {reason}")


def check_particles(momenta: np.ndarray, kinds: np.ndarray, tracks: np.ndarray, counts: np.ndarray) -> None:
    """Raises InvalidJetError for the first jet or particle that makes no sense.

    Args:
        momenta, kinds, tracks: `(particles, 4)`, `(particles, 5)`, `(particles, 4)`.
        counts: `(jets,)`.
    """
    if (counts < 1).any():
        raise InvalidJetError(int(np.flatnonzero(counts < 1)[0]), None, "no particles")
    length = np.sqrt((momenta[:, :3] ** 2).sum(axis=1))
    pt = np.hypot(momenta[:, 0], momenta[:, 1])
    problems = {
        "a momentum or energy is not a finite number": ~np.isfinite(momenta).all(axis=1),
        "the transverse momentum is zero": pt == 0,
        "the energy is less than the momentum": momenta[:, 3] < length * (1 - _ROUNDING),
        "a flag of its kind is not a finite number": ~np.isfinite(kinds).all(axis=1),
        "an impact parameter or its error is not a finite number": ~np.isfinite(tracks).all(axis=1),
    }
    wrong = np.logical_or.reduce(list(problems.values()))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        jet = int(np.searchsorted(np.cumsum(counts), row, side="right"))
        reason = next(text for text, found in problems.items() if found[row])
        raise InvalidJetError(jet, row - int(counts[:jet].sum()), reason)


def check_jets(totals: np.ndarray, axes: np.ndarray) -> None:
    """Raises InvalidJetError for the first jet whose momentum `(jets, 4)` or axis `(jets, 2)` makes no sense."""
    # What cancels leaves the rounding of the sum.
    balanced = np.hypot(totals[:, 0], totals[:, 1]) <= 1e-12 * totals[:, 3]
    for reason, wrong in (
        ("the transverse momenta of its particles cancel", balanced),
        ("its axis is not finite numbers", ~np.isfinite(axes).all(axis=1)),
    ):
        if wrong.any():
            raise InvalidJetError(int(np.flatnonzero(wrong)[0]), None, reason)


def sort_particles(momenta: np.ndarray, kinds: np.ndarray, tracks: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`(particles,)`, the particles of each jet by falling pT, equal ones by all that is known of them, so that their
    order in the file does not matter."""
    jets = np.repeat(np.arange(len(counts)), counts)
    pt = np.hypot(momenta[:, 0], momenta[:, 1])
    return np.lexsort((*tracks.T, *kinds.T, *momenta.T, -pt, jets))


def is_kept(counts: np.ndarray, most: int) -> np.ndarray:
    """`(particles,)`, whether a particle is among the first `most` of its jet."""
    ranks = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return ranks < most


def jet_totals(momenta: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The summed momenta, `(jets, 4)`."""
    return np.add.reduceat(momenta, np.cumsum(counts) - counts, axis=0)


def axes_of(totals: np.ndarray) -> np.ndarray:
    """(eta, phi) of momenta, `(jets, 2)`."""
    pt = np.hypot(totals[:, 0], totals[:, 1])
    return np.stack([np.arcsinh(totals[:, 2] / pt), np.arctan2(totals[:, 1], totals[:, 0])], axis=1)


def particle_quantities(
    momenta: np.ndarray,
    kinds: np.ndarray,
    tracks: np.ndarray,
    counts: np.ndarray,
    totals: np.ndarray,
    axes: np.ndarray,
) -> dict[str, np.ndarray]:
    """All that the sets of features and points are made of, `(particles,)` each.

    Args:
        momenta, kinds, tracks: `(particles, 4)`, `(particles, 5)`, `(particles, 4)`.
        counts: `(jets,)`.
        totals: the jets' momenta, `(jets, 4)`.
        axes: their (eta, phi), `(jets, 2)`.
    """
    px, py, pz, energy = momenta.T
    pt = np.hypot(px, py)
    of_jet = np.repeat(np.arange(len(counts)), counts)
    eta, phi = axes_of(momenta).T
    axis_eta, axis_phi = axes[of_jet].T
    jet_pt, jet_energy = np.hypot(totals[:, 0], totals[:, 1])[of_jet], totals[of_jet, 3]
    # Jets of both ends of the detector look alike: positive is away from its middle.
    delta_eta = np.where(axis_eta < 0, -1.0, 1.0) * (eta - axis_eta)
    delta_phi = (phi - axis_phi + np.pi) % (2 * np.pi) - np.pi
    quantities = {"px": px, "py": py, "pz": pz, "energy": energy, "pt": pt}
    quantities |= {"delta_eta": delta_eta, "delta_phi": delta_phi, "delta_r": np.hypot(delta_eta, delta_phi)}
    quantities |= {"log_pt": np.log(pt), "log_energy": np.log(energy)}
    quantities |= {"log_pt_share": np.log(pt / jet_pt), "log_energy_share": np.log(energy / jet_energy)}
    return quantities | dict(zip((*_TRACK, *KINDS), np.concatenate([tracks, kinds], axis=1).T, strict=True))


def select_features(quantities: dict[str, np.ndarray], feature_set: str) -> np.ndarray:
    """`(particles, 16)` in single precision. Of `invariant16` logarithms and distances are scaled to the order of one,
    displacements squashed by tanh and their errors cut at 1 mm."""
    columns = [quantities[name] for name in FEATURE_SETS[feature_set]]
    if feature_set == "invariant16":
        columns = [_scaled(name, column) for name, column in zip(FEATURE_SETS[feature_set], columns, strict=True)]
    return np.stack(columns, axis=1).astype(np.float32)


def _scaled(name: str, values: np.ndarray) -> np.ndarray:
    if name in ("d0", "dz"):
        return np.tanh(values)
    if name in ("d0_error", "dz_error"):
        return np.clip(values, 0, 1)
    centre, factor = _SCALES.get(name, (0.0, 1.0))
    return (values - centre) * factor


def select_points(quantities: dict[str, np.ndarray], point_set: str) -> np.ndarray:
    """`(particles, dimensions)` in single precision."""
    return np.stack([quantities[name] for name in POINT_SETS[point_set]], axis=1).astype(np.float32)
