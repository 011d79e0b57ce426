"""The sequences of a table: without white space, their alphabet, characters outside it, aligned pairs."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..alphabet_lyra import Alphabet, PairAlphabet
from ..errors import InputError
from .cells import Cell, Cells
from .rows import RowLocation
from .strings import Strings

_LARGE_SHARE = 0.9  # DNA and RNA are recognised by this share of plain letters
MOSTLY_NUCLEOTIDES = 0.95  # no protein of more than a few residues has this share of such letters
_LONG = 30
_MISSING = ("nan", "NaN", "None", "null")  # as programs write them; NA and NAN are peptides
_NO_SEQUENCE = f"^({'|'.join(_MISSING)})?$"


def read_sequences(locations: Sequence[RowLocation], cells: Cells, column: str) -> Strings:
    """The sequences of a column without white space.

    Raises:
        InputError: naming the first row whose sequence is missing or empty.
    """
    if cells.is_text and cells.array is not None and not cells.array.null_count:
        texts = Strings(cells.array)
        suspect = texts.lengths <= max(map(len, _MISSING))
        if all("!" <= letter <= "~" for letter in texts.letters) and not cells.matches(_NO_SEQUENCE, suspect).any():
            return texts
    plain = cells.matches("^[!-~]+$") & ~cells.matches(_NO_SEQUENCE)
    odd = {index: _clean(Cell(locations[index], column), cells[index]) for index in np.flatnonzero(~plain).tolist()}
    return Strings.of(odd.get(index, cell) for index, cell in enumerate(cells))


def _clean(cell: Cell, value: Any) -> str:
    if not isinstance(value, str) or value in _MISSING:
        raise InputError(f"{cell}: expected a sequence, got {value!r}")
    sequence = "".join(value.split())
    if not sequence:
        raise InputError(f"{cell}: the sequence is empty")
    return sequence


def detect_alphabet(sequences: Sequence[str]) -> str:
    """`"dna"` or `"rna"` where nine letters in ten are A, C, G, T, U or N (of a protein a third), else `"protein"`."""
    counts: Counter[str] = Counter()
    for letter, count in Strings.of(sequences).letters.items():
        counts[letter.upper()] += count
    if sum(counts[letter] for letter in "ACGTUN") < _LARGE_SHARE * sum(counts.values()):
        return "protein"
    return "rna" if counts["U"] > counts["T"] else "dna"


def nucleotide_share(sequences: Sequence[str]) -> tuple[float, int]:
    """The share of A, C, G, T, U and N in the long sequences of a table, 0 without any; and which has most of them."""
    shares = {
        index: sum(map(sequence.upper().count, "ACGTUN")) / len(sequence)
        for index, sequence in enumerate(sequences)
        if len(sequence) >= _LONG
    }
    if not shares:
        return 0.0, 0
    lengths = {index: len(sequences[index]) for index in shares}
    mean = sum(shares[index] * lengths[index] for index in shares) / sum(lengths.values())
    return mean, max(shares, key=lambda index: shares[index])


def check_letters(
    locations: Sequence[RowLocation],
    sequences: Sequence[str],
    column: str,
    alphabet: Alphabet,
    unknown: str | None = None,
) -> list[str]:
    """Finds characters outside an alphabet.

    Args:
        unknown: `"error"`, or `"token"` to read them as `<unk>`, where the user has that choice.

    Returns:
        A note about them, if there are any.

    Raises:
        InputError: if there are any and `unknown` is not `"token"`.
    """
    if unknown not in (None, "error", "token"):
        raise InputError(f"--unknown: expected error or token, got {unknown!r}")
    allowed = {*alphabet.characters, *(letter.lower() for letter in alphabet.characters)}
    texts = Strings.of(sequences)
    illegal = texts.letters.keys() - allowed
    if not illegal:
        return []
    counts = Counter[str]()
    first: list[str] = []
    for location, sequence in zip(locations, texts, strict=True):
        if not illegal.isdisjoint(sequence):
            counts.update(letter for letter in sequence if letter in illegal)
            first += [str(location)] if len(first) < 3 else []
    shown = ", ".join(f"{letter!r} x {count}" for letter, count in counts.most_common(5))
    message = f"column {column!r}: {sum(counts.values())} character(s) outside the alphabet {alphabet.name} ({shown})"
    if unknown != "token":
        choice = "; --unknown token reads them as <unk>" * (unknown is not None)
        raise InputError(f"{first[0]}, {message}; first rows: {'; '.join(first)}{choice}")
    return [f"sequences: {message}, read as <unk>; first rows: {'; '.join(first)}"]


def align_pairs(
    locations: Sequence[RowLocation], column: str, sequences: Sequence[Strings], alphabet: Alphabet, offset: int
) -> Strings:
    """The texts of the sequences of a table as the tokenizer reads them: of pairs those of `PairAlphabet.align`.

    Args:
        column: of the second sequences.
        sequences: one list, or of pairs two.

    Raises:
        InputError: naming the row where the second sequence extends past the end of the first.
    """
    if not isinstance(alphabet, PairAlphabet):
        return sequences[0]
    texts = []
    for location, sequence, partner in zip(locations, *sequences, strict=True):
        try:
            texts.append(alphabet.align(sequence, partner, offset))
        except ValueError as error:
            raise InputError(f"{location}, column {column!r}: {error}") from None
    return Strings.of(texts)
