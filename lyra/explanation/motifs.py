"""Words that a model has learned, from the contributions of letters in sequences that are not aligned.

Windows whose contributions are larger than those of shuffled positions are seqlets. Seqlets whose contributions are
alike, at some offset, are a motif (the plan of TF-MoDISco, Shrikumar et al. 2018, with average linkage); and wherever
its profile recurs is a hit.

Glossary: n seqlets, w positions of a seqlet, k of a motif, a letters of the alphabet.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from ..errors import InputError, one_line
from .attribution import Attribution

_WINDOW, _FLANK = 8, 5
_FALSE = 0.05  # share of seqlets that shuffled positions would give, too
_MOST_SEQLETS = 2000  # that are clustered
_ALIKE = 0.5  # mean cosine within a cluster
_SAME = 0.8  # cosine from which on two motifs are one
_FEWEST = 10
_CORE = 0.1  # of the largest contribution of a position, at the ends of a motif
_ERRORS = 3  # standard errors of the mean, below which it has none
_HIT_COSINE, _HIT_SIZE = 0.6, 0.4
_SEED = 0


class Hit(NamedTuple):
    """A place of a motif.

    Attributes:
        sequence: index.
        start, end: positions from 0, the end not included.
        contribution: the sum of the contributions of its letters.
    """

    sequence: int
    start: int
    end: int
    contribution: float


class Motif(NamedTuple):
    """A word that the model has learned.

    Attributes:
        frequencies: `(k, a)` of the letters in its hits.
        contributions: `(k, a)`, mean over its hits, of the letters that are there.
        hits: where it is.
    """

    frequencies: np.ndarray
    contributions: np.ndarray
    hits: list[Hit]

    def consensus(self, letters: str) -> str:
        """The most frequent letters, small where none has half."""
        best = self.frequencies.argmax(axis=1)
        return "".join(
            letters[i] if row[i] >= 0.5 else letters[i].lower() for i, row in zip(best, self.frequencies, strict=True)
        )


def find_motifs(attributions: Sequence[Attribution]) -> list[Motif]:
    """The motifs of some sequences, those with the largest contributions first."""
    tracks = [_track(each) for each in attributions]
    profiles: list[np.ndarray] = []
    for sign in (1, -1):
        seqlets = _find_seqlets([sign * track.sum(axis=1) for track in tracks])
        profiles += _cluster(tracks, seqlets)
    profiles.sort(key=lambda profile: -np.abs(profile).sum())
    distinct: list[np.ndarray] = []
    for profile in profiles:
        if all(_cosine(profile, other) < _SAME for other in distinct):
            distinct.append(profile)
    motifs = [_collect(tracks, hits, len(p)) for p, hits in zip(distinct, _find_hits(tracks, distinct), strict=True)]
    found = [motif for motif in motifs if len(motif.hits) >= _FEWEST]
    return sorted(found, key=lambda motif: -sum(abs(hit.contribution) for hit in motif.hits))


def _track(attribution: Attribution) -> np.ndarray:
    """`(length, a)`, the contribution of the letter that is there, zeros elsewhere."""
    track = np.zeros_like(attribution.values)
    known = np.flatnonzero(attribution.letters >= 0)
    track[known, attribution.letters[known]] = attribution.values[known, attribution.letters[known]]
    return track


# ── Seqlets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _find_seqlets(sums: list[np.ndarray]) -> list[tuple[int, int]]:
    """Sequence and start of each window that is above what shuffled positions give; and once those are out of the way,
    which also make shuffled windows large, of the weaker ones."""
    left, seqlets = [each.copy() for each in sums], []
    while new := _stand_out(left):
        seqlets += new
        for i, start in new:
            left[i][start : start + _WINDOW] = 0
    return seqlets


def _stand_out(sums: list[np.ndarray]) -> list[tuple[int, int]]:
    """The windows of which at most one in twenty would be as large if positions were shuffled."""
    rng = np.random.default_rng(_SEED)
    found = [(value, i, start) for i, each in enumerate(sums) for value, start in _peaks(each)]
    null = np.sort([value for each in sums for value, _ in _peaks(rng.permutation(each))])
    found.sort(reverse=True)
    values = np.array([value for value, _, _ in found])
    false = len(null) - np.searchsorted(null, values)  # shuffled windows that are as large
    kept = np.flatnonzero(false <= _FALSE * (np.arange(len(values)) + 1))
    return [(i, start) for _, i, start in found[: kept[-1] + 1]] if len(kept) else []


def _peaks(sums: np.ndarray) -> list[tuple[float, int]]:
    """The largest windows that do not overlap, with positive sums."""
    if len(sums) < _WINDOW:
        return []
    windows = np.convolve(sums, np.ones(_WINDOW), "valid")
    found = []
    while (start := int(windows.argmax())) >= 0 and windows[start] > 0:
        found.append((float(windows[start]), start))
        windows[max(0, start - _WINDOW + 1) : start + _WINDOW] = 0
    return found


# ── Clusters ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _cluster(tracks: list[np.ndarray], seqlets: list[tuple[int, int]]) -> list[np.ndarray]:
    """The mean contributions `(k, a)` of seqlets that are alike."""
    if len(seqlets) < _FEWEST:
        return []
    chosen = np.random.default_rng(_SEED).permutation(len(seqlets))[:_MOST_SEQLETS]
    places = [seqlets[i] for i in chosen]
    windows = np.stack([_cut(tracks[i], start - _FLANK, _WINDOW + 2 * _FLANK) for i, start in places])
    similarity, offsets = _compare(windows)
    distances = squareform(1 - similarity, checks=False)
    labels = fcluster(linkage(distances, "average"), 1 - _ALIKE, "distance")
    profiles = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < _FEWEST:
            continue
        medoid = members[similarity[np.ix_(members, members)].sum(axis=1).argmax()]
        aligned = [
            _cut(tracks[i], start - 2 * _FLANK + offsets[medoid, member], _WINDOW + 4 * _FLANK)
            for member, (i, start) in ((member, places[member]) for member in members)
        ]
        profiles.append(_core(np.stack(aligned)))
    return profiles


def _cut(track: np.ndarray, start: int, size: int) -> np.ndarray:
    """`(size, a)` of a track, zeros outside."""
    piece = np.zeros((size, track.shape[1]), track.dtype)
    low, high = max(0, start), min(len(track), start + size)
    if low < high:
        piece[low - start : high - start] = track[low:high]
    return piece


def _compare(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each two windows `(n, w, a)` the largest cosine, and the offset of the second at which it is."""
    count, size, _ = windows.shape
    unit = windows / np.maximum(np.linalg.norm(windows, axis=(1, 2), keepdims=True), 1e-12)
    best, offsets = np.full((count, count), -1.0, np.float32), np.zeros((count, count), int)
    for offset in range(-_WINDOW, _WINDOW + 1):
        first = unit[:, max(0, -offset) : size - max(0, offset)].reshape(count, -1)
        second = unit[:, max(0, offset) : size + min(0, offset)].reshape(count, -1)
        cosines = first @ second.T
        better = cosines > best
        best[better], offsets[better] = cosines[better], offset
    return np.maximum(best, best.T), offsets


def _core(aligned: np.ndarray) -> np.ndarray:
    """The mean of seqlets `(n, w, a)` from the first to the last position with a contribution, `(k, a)`."""
    contributions = aligned.sum(axis=2)
    sizes, errors = np.abs(contributions.mean(axis=0)), contributions.std(axis=0) / np.sqrt(len(aligned))
    large = np.flatnonzero((sizes >= _CORE * sizes.max()) & (sizes >= _ERRORS * errors))
    first, last = (large[0], large[-1]) if len(large) else (0, len(sizes) - 1)
    return aligned[:, first : last + 1].mean(axis=0)


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    """At the best offset."""
    small, large = sorted((one, other), key=len)
    size = len(small)
    padded = np.pad(large, ((size, size), (0, 0)))
    values = [float((padded[start : start + size] * small).sum()) for start in range(len(padded) - size + 1)]
    return max(values) / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-12)


# ── Hits ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _find_hits(tracks: list[np.ndarray], profiles: list[np.ndarray]) -> list[list[Hit]]:
    """Where each profile recurs; hits of all do not overlap, larger ones first."""
    hits: list[list[Hit]] = [[] for _ in profiles]
    for index, track in enumerate(tracks):
        candidates = []
        for number, profile in enumerate(profiles):
            for start, size in _match(track, profile):
                candidates.append((size * np.linalg.norm(profile), number, start))
        taken = np.zeros(len(track), dtype=bool)
        for _, number, start in sorted(candidates, reverse=True):
            end = start + len(profiles[number])
            if not taken[start:end].any():
                taken[start:end] = True
                hits[number].append(Hit(index, start, end, float(track[start:end].sum())))
    return hits


def _match(track: np.ndarray, profile: np.ndarray) -> list[tuple[int, float]]:
    """Starts of the windows that look like a profile, each with its size over that of the profile."""
    size = len(profile)
    if len(track) < size:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(track, size, axis=0)  # (starts, a, k)
    products = np.einsum("sak,ka->s", windows, profile)
    norm = float(np.linalg.norm(profile))
    cosines = products / np.maximum(np.linalg.norm(windows, axis=(1, 2)) * norm, 1e-12)
    sizes = products / norm**2
    return [(int(s), float(sizes[s])) for s in np.flatnonzero((cosines >= _HIT_COSINE) & (sizes >= _HIT_SIZE))]


def _collect(tracks: list[np.ndarray], hits: list[Hit], size: int) -> Motif:
    """A motif of its hits."""
    pieces = [tracks[hit.sequence][hit.start : hit.end] for hit in hits]
    if not pieces:
        return Motif(np.zeros((size, tracks[0].shape[1])), np.zeros((size, tracks[0].shape[1])), [])
    counts = np.mean([piece != 0 for piece in pieces], axis=0)
    return Motif(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12), np.mean(pieces, axis=0), hits)


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_meme(file: Path, motifs: Sequence[Motif], letters: str) -> None:
    """Motifs in MEME's minimal format, as FIMO and Tomtom read it."""
    lines = ["MEME version 4", "", f"ALPHABET= {letters}", ""]
    for number, motif in enumerate(motifs, 1):
        size, hits = len(motif.frequencies), len(motif.hits)
        lines.append(f"MOTIF motif_{number} {motif.consensus(letters)}")
        lines.append(f"letter-probability matrix: alength= {len(letters)} w= {size} nsites= {hits} E= 0")
        lines += [" ".join(f"{value:.6f}" for value in row) for row in motif.frequencies]
        lines.append("")
    file.write_text("\n".join(lines), encoding="utf-8")


def read_meme(file: str) -> dict[str, np.ndarray]:
    """The motifs of a file in MEME's format, `(letters, k)` each.

    Raises:
        InputError: if it cannot be read, or has none.
    """
    try:
        from memelite.io import read_meme as read
    except ImportError:
        raise InputError("--motifs needs memelite: pip install 'lyra-bio[motifs]'") from None
    try:
        found = {name: np.asarray(matrix, dtype=float) for name, matrix in read(file).items()}
    except (OSError, ValueError, IndexError, AttributeError) as error:
        raise InputError(f"{file}: cannot be read as motifs in MEME's format ({one_line(error)})") from None
    if not found:
        raise InputError(f"{file}: expected motifs in MEME's format, found none")
    return found


def compare_motifs(
    motifs: Sequence[Motif], database: dict[str, np.ndarray], both_strands: bool
) -> list[dict[str, Any]]:
    """The most similar motif of a database for each motif, with Tomtom's p-value (Gupta et al. 2007)."""
    from memelite import tomtom

    names = list(database)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that p-values against fewer than 25 motifs are rough, as the page says
        found = tomtom([m.frequencies.T for m in motifs], [database[n] for n in names], reverse_complement=both_strands)
    p_values = np.asarray(found[0])
    return [
        {"motif": f"motif_{number}", "target": names[row.argmin()], "p_value": float(row.min())}
        for number, row in enumerate(p_values, 1)
    ]
