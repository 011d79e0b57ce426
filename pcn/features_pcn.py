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


def find_invalid(momenta: np.ndarray, counts: np.ndarray) -> tuple[int, int | None, str] | None:
    """The first jet and particle, from 0, that no features can be computed of, and why.

    Args:
        momenta: `(particles, 4)`.
        counts: `(jets,)`.
    """
    if (counts < 1).any():
        return int(np.flatnonzero(counts < 1)[0]), None, "no particles"
    length = np.sqrt((momenta[:, :3] ** 2).sum(axis=1))
    pt = np.hypot(momenta[:, 0], momenta[:, 1])
    with np.errstate(invalid="ignore"):
        problems = {
            "a momentum or energy is not a finite number": ~np.isfinite(momenta).all(axis=1),
            "the transverse momentum is zero": pt == 0,
            "the energy is less than the momentum": momenta[:, 3] < length * (1 - _ROUNDING),
        }
    wrong = np.logical_or.reduce(list(problems.values()))
    if not wrong.any():
        return None
    row = int(np.flatnonzero(wrong)[0])
    jet = int(np.searchsorted(np.cumsum(counts), row, side="right"))
    reason = next(text for text, found in problems.items() if found[row])
    return jet, row - int(counts[:jet].sum()), reason


def sort_and_cut(momenta: np.ndarray, counts: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The particles to keep, the `most` of highest pT of each jet, by falling pT; and how many of each jet.

    Particles of equal pT are ordered by their momenta, so that their order in the file does not matter.

    Returns:
        `(kept,)` rows of `momenta`, and `(jets,)` counts.
    """
    jets = np.repeat(np.arange(len(counts)), counts)
    pt = np.hypot(momenta[:, 0], momenta[:, 1])
    order = np.lexsort((*momenta.T, -pt, jets))
    ranks = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[ranks < most], np.minimum(counts, most)


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
