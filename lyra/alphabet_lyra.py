"""Letters of proteins, DNA and RNA, the codes that mean several letters, and the vector of each token.

Ambiguity codes follow the IUPAC-IUB recommendations (1984) for nucleotides and the IUPAC-IUBMB one-letter
notation for amino acids.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache

# The order fixes the ids 0, 1 and 2 in every alphabet, and with them the rows of saved weights.
PAD_TOKEN, UNK_TOKEN, MASK_TOKEN = "<pad>", "<unk>", "<mask>"
SPECIAL_TOKENS = (PAD_TOKEN, UNK_TOKEN, MASK_TOKEN)

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
NUCLEOTIDE_CODES = {
    "R": "AG",
    "Y": "CT",
    "S": "CG",
    "W": "AT",
    "K": "GT",
    "M": "AC",
    "B": "CGT",
    "D": "AGT",
    "H": "ACT",
    "V": "ACG",
    "N": "ACGT",
}
# What stands opposite on the other strand; a base of a code's complement is one of the code's bases' complements.
_COMPLEMENTS = dict(zip("ACGTURYSWKMBDHVN", "TGCAAYRSWMKVHDBN", strict=True))


@dataclass(frozen=True)
class Alphabet:
    """The letters of one kind of sequence.

    Attributes:
        name: as [`get_alphabet`] takes it.
        letters: the letters with a one-hot vector each, in the order of the vector's entries.
        codes: letters that mean one or more of `letters`, each with those it means.
        silent: letters that carry no residue (gap, stop); their vector is zero.
    """

    name: str
    letters: str
    codes: dict[str, str]
    silent: str

    @property
    def members(self) -> tuple["Alphabet", ...]:
        """The alphabets of the letters at one position: this one, or the two of a [`PairAlphabet`]."""
        return (self,)

    @property
    def characters(self) -> tuple[str, ...]:
        """Every character that may appear in a sequence."""
        return (*self.letters, *self.codes, *self.silent)

    @property
    def tokens(self) -> tuple[str, ...]:
        """Every token of the vocabulary; its index is its id."""
        return (*SPECIAL_TOKENS, *self.characters)

    def reverse_complement(self, sequence: str) -> str:
        """The other strand of a sequence of nucleotides, in capitals.

        Raises:
            ValueError: if the letters have no complements.
        """
        if not set(self.letters) <= set(_COMPLEMENTS) or len(self.letters) != 4:
            raise ValueError(f"the letters of {self.name} have no complements; only those of dna and rna have")
        own = str.maketrans(_COMPLEMENTS | {"A": self.letters[-1]})
        return sequence.upper().translate(own)[::-1]

    def vector(self, token: str) -> list[float]:
        """The encoding of one token: the mean of the one-hot vectors of the letters that it means."""
        members = token if token in self.letters else self.codes.get(token, "")
        return [1 / len(members) if letter in members else 0.0 for letter in self.letters]

    def vectors(self) -> list[list[float]]:
        """The encodings of all tokens, `(vocabulary, letters)`."""
        return [self.vector(token) for token in self.tokens]


@dataclass(frozen=True)
class PairAlphabet(Alphabet):
    """Two aligned sequences, such as a target and its guide, as one: every token is a pair of letters.

    The vector of a token is that of its first letter followed by that of its second, so that two kinds of nucleotides
    make eight entries. Of the ambiguity codes only N and the synonym of T or U are read, since the vocabulary holds
    every pair.

    Attributes:
        first, second: the alphabets of the two sequences.
    """

    first: Alphabet
    second: Alphabet

    @property
    def members(self) -> tuple[Alphabet, ...]:
        return (self.first, self.second)

    @property
    def tokens(self) -> tuple[str, ...]:
        return (*SPECIAL_TOKENS, *(a + b for a in self.first.characters for b in self.second.characters))

    def vector(self, token: str) -> list[float]:
        one, other = (token[0], token[1]) if len(token) == 2 else ("", "")
        return self.first.vector(one) + self.second.vector(other)

    def align(self, sequence: str, partner: str, offset: int = 0) -> str:
        """The text of two sequences, without white space: their letters in turn, gaps where the partner has none.

        Args:
            sequence: the longer one.
            partner: begins at position `offset` of it.

        Raises:
            ValueError: if the partner extends past the end of the sequence.
        """
        if offset + len(partner) > len(sequence):
            raise ValueError(
                f"a partner of {len(partner)} letters at offset {offset} extends past the end of the sequence of "
                f"{len(sequence)}"
            )
        aligned = ("-" * offset + partner).ljust(len(sequence), "-")
        return "".join(map("".join, zip(sequence, aligned, strict=True)))


def _nucleotides(name: str, letters: str, synonym: str) -> Alphabet:
    base = letters[-1]
    codes = {synonym: base} | {code: members.replace("T", base) for code, members in NUCLEOTIDE_CODES.items()}
    return Alphabet(name, letters, codes, silent="-.")


ALPHABETS = {
    "protein": Alphabet(
        "protein",
        AMINO_ACIDS,
        {"X": AMINO_ACIDS, "B": "DN", "Z": "EQ", "J": "IL", "U": "C", "O": "K"},
        silent="-.*",
    ),
    "dna": _nucleotides("dna", "ACGT", synonym="U"),
    "rna": _nucleotides("rna", "ACGU", synonym="T"),
}
# All codes over all codes would not fit the tokenizer's bytes.
_PAIRED = {
    name: replace(
        ALPHABETS[name],
        name=f"{name} in pairs (letters, N, gap)",
        codes={code: ALPHABETS[name].codes[code] for code in synonym + "N"},
        silent="-",
    )
    for name, synonym in (("dna", "U"), ("rna", "T"))
}


@lru_cache
def get_alphabet(name: str) -> Alphabet:
    """Returns an alphabet by its name.

    Args:
        name: `"protein"`, `"dna"` or `"rna"`; one of them and letters to be read as another one of it, as in
            `"protein,J=-"`; `"dna+dna"` and the like for two aligned sequences of nucleotides; or the letters of a
            custom alphabet, in upper case, so that they are never a name.

    Raises:
        ValueError: if it is none of these.
    """
    if name in ALPHABETS:
        return ALPHABETS[name]
    base, comma, changes = name.partition(",")
    if comma and base in ALPHABETS:
        return _with_synonyms(name, ALPHABETS[base], changes.split(","))
    first, plus, second = name.partition("+")
    if plus and {first, second} <= set(_PAIRED):
        pair = _PAIRED[first], _PAIRED[second]
        return PairAlphabet(name, pair[0].letters + pair[1].letters, {}, "", *pair)
    printable = all("!" <= letter <= "~" for letter in name)
    if not name or not printable or name != name.upper() or len(set(name)) != len(name):
        raise ValueError(
            f"`alphabet` must be one of {', '.join(map(repr, ALPHABETS))}, with letters to be read as others such as "
            "'protein,J=-', two aligned sequences such as 'dna+dna', or the letters of a custom alphabet as distinct "
            f"upper-case ASCII characters such as 'HPNC', got {name!r}"
        )
    return Alphabet(name, name, {}, silent="".join(gap for gap in "-." if gap not in name))


def _with_synonyms(name: str, alphabet: Alphabet, changes: list[str]) -> Alphabet:
    for change in changes:
        letter, _, meaning = change.partition("=")
        if not re.fullmatch("[!-~]=[!-~]", change) or letter != letter.upper() or letter in alphabet.letters:
            raise ValueError(f"`alphabet` {name!r}: expected a character, = and what it is read as, got {change!r}")
        if meaning not in alphabet.characters or meaning == letter:
            raise ValueError(f"`alphabet` {name!r}: {letter!r} cannot be read as {meaning!r}")
        codes = {code: members for code, members in alphabet.codes.items() if code != letter}
        silent = alphabet.silent.replace(letter, "")
        if meaning in silent:
            silent += letter
        else:
            codes[letter] = codes.get(meaning, meaning)
        alphabet = replace(alphabet, name=name, codes=codes, silent=silent)
    return alphabet


__all__ = ["ALPHABETS", "SPECIAL_TOKENS", "Alphabet", "PairAlphabet", "get_alphabet"]
