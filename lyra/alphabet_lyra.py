"""Letters of proteins, DNA and RNA, the codes that stand for several letters, and the vector of each token.

Ambiguity codes follow the IUPAC-IUB recommendations (1984) for nucleotides and the IUPAC-IUBMB one-letter
notation for amino acids.
"""

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Alphabet:
    """The letters of one kind of sequence.

    Attributes:
        name: `"protein"`, `"dna"`, `"rna"`, or the letters themselves for a custom alphabet.
        letters: the letters with a one-hot vector each, in the order of the vector's entries.
        codes: letters that stand for one or more of `letters`, each with those it stands for.
        silent: letters that carry no residue (gap, stop); their vector is zero.
    """

    name: str
    letters: str
    codes: dict[str, str]
    silent: str

    @property
    def tokens(self) -> tuple[str, ...]:
        """Every token of the vocabulary; its index is its id."""
        return (*SPECIAL_TOKENS, *self.letters, *self.codes, *self.silent)

    def vector(self, token: str) -> list[float]:
        """The encoding of one token: the mean of the one-hot vectors of the letters that it stands for."""
        members = token if token in self.letters else self.codes.get(token, "")
        return [1 / len(members) if letter in members else 0.0 for letter in self.letters]

    def vectors(self) -> list[list[float]]:
        """The encodings of all tokens, `(vocabulary, letters)`."""
        return [self.vector(token) for token in self.tokens]


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


@lru_cache
def get_alphabet(name: str) -> Alphabet:
    """Returns a named alphabet, or the custom one whose letters are `name` (upper case, so never a name).

    Raises:
        ValueError: if `name` is neither a known name nor a string of distinct upper-case ASCII characters.
    """
    if name in ALPHABETS:
        return ALPHABETS[name]
    printable = all("!" <= letter <= "~" for letter in name)
    if not name or not printable or name != name.upper() or len(set(name)) != len(name):
        raise ValueError(
            f"`alphabet` must be one of {', '.join(map(repr, ALPHABETS))}, or the letters of a custom alphabet as "
            f"distinct upper-case ASCII characters such as 'HPNC', got {name!r}"
        )
    return Alphabet(name, name, {}, silent="".join(gap for gap in "-." if gap not in name))


__all__ = ["ALPHABETS", "SPECIAL_TOKENS", "Alphabet", "get_alphabet"]
