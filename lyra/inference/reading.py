"""The rows of a table to predict for, in chunks of bounded size, checked."""

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from tqdm.auto import tqdm

from ..alphabet_lyra import get_alphabet
from ..data.columns import PAIR_COLUMNS, SEQUENCE_COLUMNS, find_column
from ..data.letters import align_pairs, check_letters, read_sequences
from ..data.readers import Row, RowLocation
from ..data.tables import read_rows
from ..errors import InputError
from ..tokenization_lyra import LyraTokenizer

CHUNK_ROWS = 4096
_CHUNK_LETTERS = 1 << 22


class Chunk(NamedTuple):
    """Consecutive rows of a table.

    Attributes:
        texts: their sequences as the tokenizer reads them.
    """

    locations: list[RowLocation]
    rows: list[Row]
    texts: list[str]


class ChunkReader:
    """Reads a table in chunks.

    Args:
        source: the table.
        tokenizer: of the model.
        sequence_column, pair_column: found by their names by default.
        unknown: `"error"` stops at a character outside the alphabet, `"token"` reads it as `<unk>`.

    Raises:
        InputError: naming file, row and column, here or while reading.
    """

    def __init__(
        self,
        source: str,
        tokenizer: LyraTokenizer,
        sequence_column: str | None = None,
        pair_column: str | None = None,
        unknown: str = "error",
    ):
        self.alphabet, self.pair_offset = get_alphabet(tokenizer.alphabet), tokenizer.pair_offset
        self.unknown = unknown
        rows = read_rows(source)
        first = next(rows, None)
        if first is None:
            raise InputError(f"{source}: the table has no rows")
        self._rows = chain([first], rows)
        names = list(first[1])
        self.columns = [find_column(source, names, sequence_column, SEQUENCE_COLUMNS, "sequence")]
        if len(self.alphabet.members) == 2:
            self.columns.append(find_column(source, names, pair_column, PAIR_COLUMNS, "pair"))
        elif pair_column is not None:
            raise InputError(f"--pair_column: this model takes single sequences; its alphabet is {tokenizer.alphabet}")

    def chunks(self, quiet: bool = False) -> Iterator[Chunk]:
        """The chunks, with a progress bar unless `quiet`."""
        locations: list[RowLocation] = []
        rows: list[Row] = []
        letters = 0
        for location, row in tqdm(self._rows, desc="rows", unit=" rows", mininterval=1, delay=1, disable=quiet):
            locations.append(location)
            rows.append(row)
            letters += len(str(row.get(self.columns[0])))
            if len(rows) >= CHUNK_ROWS or letters >= _CHUNK_LETTERS:
                yield self._check(locations, rows)
                locations, rows, letters = [], [], 0
        if rows:
            yield self._check(locations, rows)

    def _check(self, locations: list[RowLocation], rows: list[Row]) -> Chunk:
        sequences = [read_sequences(locations, rows, column) for column in self.columns]
        for column, letters, member in zip(self.columns, sequences, self.alphabet.members, strict=True):
            check_letters(locations, letters, column, member, self.unknown)
        texts = align_pairs(locations, self.columns[-1], sequences, self.alphabet, self.pair_offset)
        return Chunk(locations, rows, texts)
