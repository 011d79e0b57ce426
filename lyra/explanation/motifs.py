"""Words that a model has learned, from the contributions of letters in sequences that are not aligned.

Windows whose contributions are larger than those of shuffled positions are seqlets. Seqlets whose contributions are
alike, at some offset, are a motif (the plan of TF-MoDISco, Shrikumar et al. 2018, with average linkage); and wherever
its profile recurs is a hit.

Glossary: n seqlets, w positions of a seqlet, k of a motif, a letters of the alphabet.
"""

import importlib.util
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from ..errors import InputError
from .attribution import Attribution

_WINDOW, _FLANK = 8, 5
_FDR = 0.2
_MOST_SEQLETS = 2000  # that are clustered
_MIN_LINKAGE_COSINE = 0.5
_MERGE_COSINE = 0.8
_MIN_BITS = 4  # two letters of DNA, one of a protein
_FEWEST, _OVER_CHANCE = 10, 1.3  # seqlets of a motif: at least so many, and over the most of one of shuffled letters
_CORE, _GAP = 0.15, 3  # of the largest contribution of a position, at the ends of a motif; positions without, inside
_MIN_STANDARD_ERRORS = 3
_HIT_COSINE, _HIT_SIZE = 0.6, 0.4
_SEED = 0


class Hit(NamedTuple):
    """A place of a motif.

    Attributes:
        sequence: index.
        start, end: positions from 0, the end not included.
        strand: `"+"`, or `"-"` where the reverse complement is there.
        contribution: the sum of the contributions of its letters.
    """

    sequence: int
    start: int
    end: int
    strand: str
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

    @property
    def information(self) -> float:
        """In bits, over letters that are all as frequent."""
        entropy = -(self.frequencies * np.log2(np.maximum(self.frequencies, 1e-12))).sum(axis=1)
        return float((np.log2(self.frequencies.shape[1]) - entropy).sum())

    def consensus(self, letters: str) -> str:
        """The most frequent letters, small where none has half."""
        best = self.frequencies.argmax(axis=1)
        return "".join(
            letters[i] if row[i] >= 0.5 else letters[i].lower() for i, row in zip(best, self.frequencies, strict=True)
        )


def find_motifs(attributions: Sequence[Attribution], both_strands: bool = False) -> list[Motif]:
    """The motifs of some sequences, those with the largest contributions first.

    Args:
        both_strands: whether the model reads a sequence of DNA and its reverse complement alike.
    """
    tracks = [each.track for each in attributions]
    profiles: list[np.ndarray] = []
    for sign in (1, -1):
        seqlets = _find_seqlets([sign * track.sum(axis=1) for track in tracks])
        fewest = max([_FEWEST, *(_OVER_CHANCE * size for size, _ in _cluster(_shuffle_letters(attributions), seqlets))])
        profiles += [profile for size, profile in _cluster(tracks, seqlets) if size >= fewest]
    profiles.sort(key=lambda profile: -np.abs(profile).sum())
    distinct: list[np.ndarray] = []
    for profile in profiles:
        others = [each for other in distinct for each in _orientations(other, both_strands).values()]
        if all(_cosine(profile, other) < _MERGE_COSINE for other in others):
            distinct.append(profile)
    hits = _find_hits(tracks, distinct, both_strands)
    found = [_collect(attributions, each) for each in hits if len(each) >= _FEWEST]
    found = [motif for motif in found if motif.information >= _MIN_BITS]
    return sorted(found, key=lambda motif: -sum(abs(hit.contribution) for hit in motif.hits))


def _orientations(profile: np.ndarray, both_strands: bool) -> dict[str, np.ndarray]:
    """A profile `(k, a)` by strand."""
    return {"+": profile} | ({"-": profile[::-1, ::-1]} if both_strands else {})


def _shuffle_letters(attributions: Sequence[Attribution]) -> list[np.ndarray]:
    """The tracks, if the letters of each sequence were in another order: what is alike among them is so by chance."""
    rng = np.random.default_rng(_SEED)
    return [each.track.sum(axis=1, keepdims=True) * rng.permutation(each.one_hot) for each in attributions]


# ── Seqlets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _find_seqlets(sums: list[np.ndarray]) -> list[tuple[int, int]]:
    """Sequence and start of each window that is above what shuffled positions give; and once those are out of the way,
    which also make shuffled windows large, of the weaker ones."""
    left, seqlets = [each.copy() for each in sums], []
    while new := _significant_windows(left):
        seqlets += new
        for i, start in new:
            left[i][start : start + _WINDOW] = 0
    return seqlets


def _significant_windows(sums: list[np.ndarray]) -> list[tuple[int, int]]:
    """The windows above a size at which shuffled positions give at most one for five of them."""
    rng = np.random.default_rng(_SEED)
    found = [(value, i, start) for i, each in enumerate(sums) for value, start in _peaks(each)]
    null = np.sort([value for each in sums for value, _ in _peaks(rng.permutation(each))])
    found.sort(reverse=True)
    values = np.array([value for value, _, _ in found])
    false = len(null) - np.searchsorted(null, values)  # shuffled windows that are as large
    kept = np.flatnonzero(false <= _FDR * (np.arange(len(values)) + 1))
    return [(i, start) for _, i, start in found[: kept[-1] + 1]] if len(kept) else []


def _peaks(sums: np.ndarray) -> list[tuple[float, int]]:
    """The largest windows that do not overlap, with positive sums."""
    if len(sums) < _WINDOW:
        return []
    windows = np.convolve(sums, np.ones(_WINDOW), "valid")
    found = []
    while windows.max() > 0:
        start = int(windows.argmax())
        found.append((float(windows[start]), start))
        windows[max(0, start - _WINDOW + 1) : start + _WINDOW] = 0
    return found


# ── Clusters ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _cluster(tracks: list[np.ndarray], seqlets: list[tuple[int, int]]) -> list[tuple[int, np.ndarray]]:
    """How many seqlets are alike, and their mean contributions `(k, a)`."""
    if len(seqlets) < _FEWEST:
        return []
    chosen = np.random.default_rng(_SEED).permutation(len(seqlets))[:_MOST_SEQLETS]
    places = [seqlets[i] for i in chosen]
    windows = np.stack([_cut(tracks[i], start - _FLANK, _WINDOW + 2 * _FLANK) for i, start in places])
    similarity, offsets = _compare(windows)
    distances = np.maximum(1 - similarity, 0)  # rounding makes a cosine of more than 1
    np.fill_diagonal(distances, 0)
    distances = squareform(distances, checks=False)
    labels = fcluster(linkage(distances, "average"), 1 - _MIN_LINKAGE_COSINE, "distance")
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
        profiles.append((len(members), _core(np.stack(aligned))))
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
    """The mean of seqlets `(n, w, a)` where they have contributions, `(k, a)`."""
    contributions = aligned.sum(axis=2)
    sizes, errors = np.abs(contributions.mean(axis=0)), contributions.std(axis=0) / np.sqrt(len(aligned))
    is_large = (sizes >= _CORE * sizes.max()) & (sizes >= _MIN_STANDARD_ERRORS * errors)
    first = last = int(sizes.argmax())
    while is_large[max(0, first - _GAP) : first].any():
        first -= 1
    while is_large[last + 1 : last + 1 + _GAP].any():
        last += 1
    return aligned[:, first : last + 1].mean(axis=0)


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    """At the best offset."""
    small, large = sorted((one, other), key=len)
    size = len(small)
    padded = np.pad(large, ((size, size), (0, 0)))
    values = [float((padded[start : start + size] * small).sum()) for start in range(len(padded) - size + 1)]
    return max(values) / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-12)


# ── Hits ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _find_hits(tracks: list[np.ndarray], profiles: list[np.ndarray], both_strands: bool) -> list[list[Hit]]:
    """Where each profile recurs; hits of all do not overlap, larger ones first."""
    hits: list[list[Hit]] = [[] for _ in profiles]
    for index, track in enumerate(tracks):
        candidates = [
            (size * float(np.linalg.norm(profile)), number, start, strand)
            for number, profile in enumerate(profiles)
            for strand, oriented in _orientations(profile, both_strands).items()
            for start, size in _match(track, oriented)
        ]
        taken = np.zeros(len(track), dtype=bool)
        for _, number, start, strand in sorted(candidates, reverse=True):
            end = start + len(profiles[number])
            if not taken[start:end].any():
                taken[start:end] = True
                hits[number].append(Hit(index, start, end, strand, float(track[start:end].sum())))
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


def _collect(attributions: Sequence[Attribution], hits: list[Hit]) -> Motif:
    """A motif of its hits."""
    counts = np.sum([_piece(attributions[hit.sequence].one_hot, hit) for hit in hits], axis=0) + 1e-6
    frequencies = counts / counts.sum(axis=1, keepdims=True)  # of the letters that are there: an N counts for none
    contributions = np.mean([_piece(attributions[hit.sequence].track, hit) for hit in hits], axis=0)
    return Motif(frequencies, contributions, hits)


def _piece(values: np.ndarray, hit: Hit) -> np.ndarray:
    """`(k, a)` of a hit, in the orientation of its motif."""
    piece = values[hit.start : hit.end]
    return piece if hit.strand == "+" else piece[::-1, ::-1]


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


class Database(NamedTuple):
    """Known motifs.

    Attributes:
        letters: of the alphabet, in the order of the rows.
        motifs: `(letters, k)` frequencies by name.
    """

    letters: str
    motifs: dict[str, np.ndarray]


def read_meme(file: str) -> Database:
    """The motifs of a file in MEME's minimal format; without an alphabet, of DNA.

    Raises:
        InputError: naming the line that cannot be read.
    """
    if importlib.util.find_spec("memelite") is None:
        raise InputError("--motifs needs memelite: pip install 'lyra-bio[motifs]'")
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or 'not text'})") from None
    letters, name, missing = "ACGT", "", 0
    found: dict[str, list[list[float]]] = {}
    for number, words in enumerate(map(str.split, lines), 1):
        where = f"{file}, line {number}"
        if missing:
            found[name].append(_frequencies(words, len(letters), where))
            missing -= 1
        elif words[:1] == ["ALPHABET="]:
            letters = "".join(words[1:])
        elif words[:1] == ["MOTIF"]:
            name = " ".join(words[1:])
            if not name or name in found:
                raise InputError(f"{where}: expected a name that no other motif has, got {name!r}")
            found[name] = []
        elif words[:1] == ["letter-probability"]:
            if found.get(name) != []:
                raise InputError(f"{where}: expected MOTIF and a name before each matrix")
            missing = _width(words, where)
    if missing or not all(found.values()):
        raise InputError(f"{file}: motif {name}: ends before its matrix does")
    if not found:
        raise InputError(f"{file}: expected motifs in MEME's format, found none")
    return Database(letters, {each: np.array(rows).T for each, rows in found.items()})


def _width(words: list[str], where: str) -> int:
    """The number of rows that the head of a matrix announces."""
    settings = dict(pairwise(words))
    if not settings.get("w=", "").isdigit() or settings["w="] == "0":
        raise InputError(f"{where}: expected w= and the number of positions of the motif")
    return int(settings["w="])


def _frequencies(words: list[str], count: int, where: str) -> list[float]:
    """A row of a matrix, which sums to one."""
    try:
        row = [float(word) for word in words]
    except ValueError:
        row = []
    if len(row) != count or not all(0 <= value <= 1 for value in row) or abs(sum(row) - 1) > 0.05:
        raise InputError(f"{where}: expected {count} frequencies that sum to 1, got {' '.join(words)!r}")
    return [value / sum(row) for value in row]


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
