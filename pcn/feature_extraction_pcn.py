"""From the particles of jets to what the model reads."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from transformers.feature_extraction_utils import BatchFeature, FeatureExtractionMixin

from .features_pcn import (
    FEATURE_SETS,
    KINDS,
    POINT_SETS,
    axes_of,
    check_jets,
    check_particles,
    is_kept,
    jet_totals,
    particle_quantities,
    select_features,
    select_points,
    sort_particles,
)

MISSING_TRACKS = ("error", "zero")
_CHARGED = {211, 321, 2212, 3112, 3222, 3312, 3334, 411, 431, 521, 541, 4122}
_NEUTRAL = {1, 111, 130, 310, 311, 421, 511, 531, 2112, 3122, 3212, 3322}
_KINDS_OF_PDG = {22: 2, 2: 2, 11: 3, 13: 4} | dict.fromkeys(_CHARGED, 0) | dict.fromkeys(_NEUTRAL, 1)


class FlatJets(NamedTuple):
    """Features of jets, one after the other.

    Attributes:
        features: `(particles, 16)`, single precision.
        points: `(particles, dimensions)`, single precision.
        counts: `(jets,)`, the particles of each.
        cut: `(jets,)`, how many more each had.
    """

    features: np.ndarray
    points: np.ndarray
    counts: np.ndarray
    cut: np.ndarray


class PcnFeatureExtractor(FeatureExtractionMixin):
    r"""
    Computes what [`PcnModel`] reads, in double precision: sorts the particles of each jet by falling pT, keeps the
    first ones, and pads.

    Args:
        feature_set (`str`, *optional*, defaults to `"raw16"`):
            `"raw16"`: px, py, pz, E and pT in GeV, delta eta and delta phi to the jet's axis, impact parameters and
            errors in mm, five flags. `"invariant16"`: logarithms of pT and E and of their shares in the jet, delta R,
            delta eta, delta phi, squashed impact parameters and errors, flags; it does not change under rotation about
            the beam.
        point_set (`str`, *optional*, defaults to `"momentum"`):
            `"momentum"`: px, py, pz. `"angles"`: delta eta, delta phi.
        max_particles (`int`, *optional*, defaults to 128):
            Those of highest pT that are kept of a jet.
        missing_tracks (`str`, *optional*, defaults to `"error"`):
            What to do without impact parameters: `"error"`, or `"zero"` to take all as zero, also those that there
            are: a model that was trained without them does not know them.

    Example:

    ```python
    >>> import numpy as np
    >>> from pcn import PcnFeatureExtractor

    >>> jet = np.array([[300.0, 40.0, 10.0, 304.0], [200.0, 10.0, 30.0, 203.0]])
    >>> extractor = PcnFeatureExtractor(missing_tracks="zero")
    >>> extractor([jet], [[211, 22]], return_tensors="pt")["features"].shape
    torch.Size([1, 2, 16])
    ```
    """

    model_input_names = ["features", "points", "attention_mask"]

    def __init__(
        self,
        feature_set: str = "raw16",
        point_set: str = "momentum",
        max_particles: int = 128,
        missing_tracks: str = "error",
        **kwargs: Any,
    ):
        for name, value, known in (
            ("feature_set", feature_set, FEATURE_SETS),
            ("point_set", point_set, POINT_SETS),
            ("missing_tracks", missing_tracks, MISSING_TRACKS),
        ):
            if value not in known:
                raise ValueError(f"`{name}`: expected one of {', '.join(known)}, got {value!r}")
        if not isinstance(max_particles, int) or max_particles < 1:
            raise ValueError(f"`max_particles`: expected an integer from 1, got {max_particles!r}")
        self.feature_set, self.point_set = feature_set, point_set
        self.max_particles, self.missing_tracks = max_particles, missing_tracks
        kwargs.pop("auto_map", None)  # a copy loaded from the Hub names its repository; a saved one must not
        self.auto_map = {"AutoFeatureExtractor": "feature_extraction_pcn.PcnFeatureExtractor"}
        super().__init__(**kwargs)

    def __call__(
        self,
        momenta: Sequence[Any],
        kinds: Sequence[Any],
        tracks: Sequence[Any] | None = None,
        axes: Any = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """
        Args:
            momenta: of each jet `(particles, 4)`: px, py, pz, E in GeV.
            kinds: of each jet `(particles,)` PDG numbers, or `(particles, 5)` flags: charged hadron, neutral hadron,
                photon, electron, muon.
            tracks: of each jet `(particles, 4)`: d0, its error, dz, its error in mm, zero of neutral particles.
            axes: `(jets, 2)`, eta and phi of the jets; by default those of the summed momenta.
            return_tensors: `"pt"` for tensors, `"np"` or None for arrays.

        Returns:
            `features` `(jets, particles, 16)`, `points` `(jets, particles, dimensions)`, `attention_mask`
            `(jets, particles)`, and `cut` `(jets,)`, how many particles were left out of each; a warning tells of them.

        Raises:
            ValueError: naming the jet and the particle, counted from 1: for no particles, a momentum that is not finite
                or not transverse, an energy below it, unknown PDG numbers, missing tracks.
        """
        jets = [_rows(number, jet, "momenta") for number, jet in enumerate(momenta)]
        counts = np.array([len(jet) for jet in jets], dtype=np.int64)
        flags = [
            self._flags(number, kind, count) for number, (kind, count) in enumerate(zip(kinds, counts, strict=True))
        ]
        if tracks is not None:
            tracks = [_rows(number, jet, "tracks") for number, jet in enumerate(tracks)]
            if len(tracks) != len(jets):
                raise ValueError(f"`tracks`: expected those of {len(jets)} jets, got {len(tracks)}")
            for number, (track, count) in enumerate(zip(tracks, counts, strict=True)):
                if len(track) != count:
                    raise ValueError(f"jet {number + 1}: {count} particles and {len(track)} tracks")
        flat = self.extract(
            np.concatenate([np.zeros((0, 4)), *jets]),
            np.concatenate([np.zeros((0, 5)), *flags]),
            counts,
            None if tracks is None else np.concatenate([np.zeros((0, 4)), *tracks]),
            None if axes is None else np.asarray(axes, dtype=np.float64).reshape(-1, 2),
        )
        if flat.cut.any():
            warnings.warn(
                f"{flat.cut.sum()} particles beyond {self.max_particles} of a jet were left out", stacklevel=2
            )
        return BatchFeature(pad_jets(flat) | {"cut": flat.cut}, tensor_type=return_tensors)

    def extract(
        self,
        momenta: np.ndarray,
        flags: np.ndarray,
        counts: np.ndarray,
        tracks: np.ndarray | None = None,
        axes: np.ndarray | None = None,
    ) -> FlatJets:
        """The features of many jets, one after the other.

        Args:
            momenta, flags, tracks: `(particles, 4)`, `(particles, 5)`, `(particles, 4)`.
            counts: `(jets,)`.
            axes: `(jets, 2)`.

        Raises:
            ValueError: as of a call.
        """
        if self.missing_tracks == "zero":
            tracks = np.zeros((len(momenta), 4))
        elif tracks is None:
            raise ValueError(
                "`tracks`: no impact parameters; pass missing_tracks='zero' to train and predict without them"
            )
        if axes is not None and len(axes) != len(counts):
            raise ValueError(f"`axes`: expected one for each of {len(counts)} jets, got {len(axes)}")
        check_particles(momenta, flags, tracks, counts)
        order = sort_particles(momenta, flags, tracks, counts)
        momenta, flags, tracks = momenta[order], flags[order], tracks[order]
        totals = jet_totals(momenta, counts) if len(counts) else np.zeros((0, 4))
        with np.errstate(invalid="ignore", divide="ignore"):
            axes = axes_of(totals) if axes is None else axes
        check_jets(totals, axes)
        kept = is_kept(counts, self.max_particles)
        kept_counts = np.minimum(counts, self.max_particles)
        quantities = particle_quantities(momenta[kept], flags[kept], tracks[kept], kept_counts, totals, axes)
        return FlatJets(
            select_features(quantities, self.feature_set),
            select_points(quantities, self.point_set),
            kept_counts,
            counts - kept_counts,
        )

    @staticmethod
    def _flags(number: int, kinds: Any, count: int) -> np.ndarray:
        """`(particles, 5)` of a jet."""
        values = np.asarray(kinds)
        if values.ndim == 2 and values.shape == (count, len(KINDS)):
            return values.astype(np.float64)
        if values.shape != (count,):
            expected = f"({count},) or ({count}, {len(KINDS)})"
            raise ValueError(f"jet {number + 1}: expected kinds of the shape {expected}, got {values.shape}")
        found = [_KINDS_OF_PDG.get(abs(int(value))) for value in values]
        if None in found:
            unknown = values[found.index(None)]
            raise ValueError(f"jet {number + 1}, particle {found.index(None) + 1}: unknown PDG number {unknown}")
        return np.eye(len(KINDS))[np.array(found, dtype=np.int64)]


def _rows(number: int, jet: Any, name: str) -> np.ndarray:
    """`(particles, 4)` of a jet."""
    values = np.asarray(jet, dtype=np.float64)
    if values.size and (values.ndim != 2 or values.shape[1] != 4):
        raise ValueError(f"jet {number + 1}: expected {name} of the shape (particles, 4), got {values.shape}")
    return values.reshape(-1, 4)


def pad_jets(flat: FlatJets) -> dict[str, np.ndarray]:
    """`features`, `points` and `attention_mask` of jets of the same length, zeros after the last particle."""
    longest = int(flat.counts.max(initial=1))
    mask = np.arange(longest) < flat.counts[:, None]
    padded = {}
    for name, values in (("features", flat.features), ("points", flat.points)):
        padded[name] = np.zeros((*mask.shape, values.shape[1]), dtype=np.float32)
        padded[name][mask] = values
    return padded | {"attention_mask": mask.astype(np.int64)}


__all__ = ["PcnFeatureExtractor"]
