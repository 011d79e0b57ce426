"""The rows of a table to predict for, in chunks of bounded size, checked."""

import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from ..alphabet_lyra import AMINO_ACIDS, get_alphabet
from ..data.columns import PAIR_COLUMNS, SEQUENCE_COLUMNS, find_column
from ..data.extras import read_extra_features
from ..data.letters import MOSTLY_NUCLEOTIDES, align_pairs, check_letters, nucleotide_share, read_sequences
from ..data.rows import Locations, Rows
from ..data.tables import read_batches
from ..errors import InputError, join_quoted
from ..tokenization_lyra import LyraTokenizer

CHUNK_ROWS = 4096
_CHUNK_LETTERS = 1 << 22


def rows_per_chunk(length: int) -> int:
    """How many sequences of a length make a chunk."""
    return max(1, min(CHUNK_ROWS, _CHUNK_LETTERS // length))


class Chunk(NamedTuple):
    """Consecutive rows of a table.

    Attributes:
        texts: their sequences as the tokenizer reads them.
        extra_features: that the model reads, `(rows, features)`, or None.
    """

    locations: Locations
    rows: Rows
    texts: list[str]
    extra_features: np.ndarray | None


class ChunkReader:
    """Reads a table in chunks.

    Args:
        source: the table.
        tokenizer: of the model.
        trained_on: what the config says of the training data.
        sequence_column, pair_column: by default those of the training data, or else found by their names.
        unknown: `"error"` stops at a character outside the alphabet, `"token"` reads it as `<unk>`.
        length: that all sequences must have, of a model of aligned ones.
        extra_features: columns of numbers that the model reads, too.

    Attributes:
        columns: of the sequences.
        names: of all columns of the first row.

    Raises:
        InputError: naming file, row and column, here or while reading.
    """

    def __init__(
        self,
        source: str,
        tokenizer: LyraTokenizer,
        trained_on: dict[str, Any] | None,
        sequence_column: str | None = None,
        pair_column: str | None = None,
        unknown: str = "error",
        length: int | None = None,
        extra_features: Sequence[str] | None = None,
    ):
        self.length, self.extra_features = length, extra_features
        self.alphabet, self.pair_offset = get_alphabet(tokenizer.alphabet), tokenizer.pair_offset
        self.unknown = unknown
        batches = read_batches(source)
        first = next((batch for batch in batches if len(batch[0])), None)
        if first is None:
            raise InputError(f"{source}: the table has no rows")
        self._batches = chain([first], batches)
        self.names = names = list(first[0][0])
        trained = [*(trained_on or {}).get("columns", []), None, None]
        self._letters = (trained_on or {}).get("letters")
        self._suspected = False
        self.columns = [_find(source, names, sequence_column, trained[0], SEQUENCE_COLUMNS, "sequence")]
        if len(self.alphabet.members) == 2:
            self.columns.append(_find(source, names, pair_column, trained[1], PAIR_COLUMNS, "pair"))
        elif pair_column is not None:
            raise InputError(f"--pair_column: this model takes single sequences; its alphabet is {tokenizer.alphabet}")
        if missing := [name for name in extra_features or () if name not in names]:
            raise InputError(
                f"{source}: no column {missing[0]!r}, which the model reads (--feature_columns in training), only "
                f"{join_quoted(names)}"
            )

    def chunks(self, quiet: bool = False) -> Iterator[Chunk]:
        """The chunks, with a progress bar unless `quiet`."""
        with tqdm(desc="rows", unit=" rows", mininterval=1, delay=1, disable=quiet) as progress:
            for rows, locations in self._batches:
                for indices in _cut([len(str(cell)) for cell in rows.column(self.columns[0])]):
                    chunk = self._check(locations.take(indices), rows.take(indices))
                    progress.update(len(chunk.rows))
                    yield chunk

    def _check(self, locations: Locations, rows: Rows) -> Chunk:
        sequences = [read_sequences(locations, rows.column(name), name) for name in self.columns]
        for column, letters, member in zip(self.columns, sequences, self.alphabet.members, strict=True):
            check_letters(locations, letters, column, member, self.unknown)
        if self.length is not None:
            self._check_lengths(locations, sequences[0])
        if self.alphabet.letters == AMINO_ACIDS:
            self._check_kind(locations, sequences[0])
        texts = list(align_pairs(locations, self.columns[-1], sequences, self.alphabet, self.pair_offset))
        extra = None
        if self.extra_features is not None:
            extra = read_extra_features(locations, rows, self.extra_features)
        return Chunk(locations, rows, texts, extra)

    def _check_lengths(self, locations: Locations, sequences: Sequence[str]) -> None:
        for index, sequence in enumerate(sequences):
            if len(sequence) != self.length:
                raise InputError(
                    f"{locations[index]}, column {self.columns[0]!r}: expected {self.length} letters, as all training "
                    f"sequences have, got {len(sequence)}; the model's linear term knows positions (lyra train "
                    "--linear_term words or none takes any length)"
                )

    def _check_kind(self, locations: Locations, sequences: Sequence[str]) -> None:
        """Nucleotides are letters of a protein, too, and a protein model would predict something for them."""
        share, index = nucleotide_share(sequences)
        if share < MOSTLY_NUCLEOTIDES or self._suspected:
            return
        found = f"{locations[index]}: {share:.0%} of the letters of the long sequences are A, C, G, T, U or N"
        if self._letters and not set(self._letters.upper()) <= set("ACGTUN"):
            raise InputError(f"{found}, as of DNA or RNA; the model was trained on proteins")
        print(f"warning: {found}, as of DNA or RNA; the model reads proteins", file=sys.stderr)
        self._suspected = True


def _cut(lengths: list[int]) -> Iterator[np.ndarray]:
    """The indices of sequences of these lengths, in chunks that are as long as they may be."""
    start = letters = 0
    for stop, length in enumerate(lengths, start=1):
        letters += length
        if stop - start >= CHUNK_ROWS or letters >= _CHUNK_LETTERS or stop == len(lengths):
            yield np.arange(start, stop)
            start, letters = stop, 0


def _find(
    source: str, names: list[str], given: str | None, trained: str | None, usual: tuple[str, ...], what: str
) -> str:
    """The column that the user named, or that of the training data, or one with a usual name."""
    if given is None and trained in names:
        return str(trained)
    try:
        found = find_column(source, names, given, usual, what)
    except InputError as error:
        told = "" if given or not trained else f"; the model was trained on column {trained!r}"
        raise InputError(f"{error}{told}") from None
    if given is None and trained is not None:
        print(f"{source}: the {what} column is {found!r}; in training it was {trained!r}")
    return found
