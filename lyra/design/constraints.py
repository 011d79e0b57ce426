"""What a proposed sequence must keep to: letters of each position, mutations, GC, motifs.

`read_constraints` takes what a user wrote and finds what contradicts; `Constraints` judges sequences.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

from rapidfuzz.distance import Hamming

from ..alphabet_lyra import Alphabet
from ..errors import InputError
from ..variants.library import read_positions
from ..variants.notation import WildType
from .coding import Coding, enzyme_sites, read_coding


@dataclass(frozen=True)
class Motif:
    """A word that must not occur, of nucleotides on neither strand.

    Attributes:
        name: as the user wrote it.
        letters: on this strand, with the alphabet's codes.
        pattern: finds it.
    """

    name: str
    letters: str
    pattern: re.Pattern


@dataclass(frozen=True)
class Constraints:
    """What a proposed sequence must keep to.

    Attributes:
        letters: of which candidates are made, as what can be made has no others; empty for any.
        wild_type: from which positions and mutations are counted; None where candidates are of any kind.
        allowed: for each position of the wild type the letters that it may have.
        forbidden: letters that may be nowhere.
        max_mutations: the most positions that may differ from the wild type.
        gc: the lowest and the highest share of G and C.
        motifs: what must not occur.
        coding: what must keep encoding the same protein.
    """

    letters: str = ""
    wild_type: WildType | None = None
    allowed: tuple[str, ...] = ()
    forbidden: str = ""
    max_mutations: int | None = None
    gc: tuple[float, float] = (0.0, 1.0)
    motifs: tuple[Motif, ...] = ()
    coding: Coding | None = None

    def violated(self, sequence: str) -> str | None:
        """The flag of the first constraint that a sequence does not keep to; None if it keeps to all."""
        if self.letters and not set(sequence) <= set(self.letters):
            return f"letters other than {self.letters}"
        if any(letter in sequence for letter in self.forbidden):
            return "--forbid"
        if self.wild_type is not None:
            if len(sequence) != len(self.wild_type.sequence):
                return "--wild_type"
            if self.coding is not None and not self.coding.is_kept(sequence):
                return "--keep_translation"
            if not self._pattern.fullmatch(sequence):
                return "--fixed, --letters"
            if self.max_mutations is not None and self.mutations(sequence) > self.max_mutations:
                return "--max_mutations"
        if not self.gc[0] <= gc_share(sequence) <= self.gc[1]:
            return "--min_gc" if gc_share(sequence) < self.gc[0] else "--max_gc"
        return next(("--avoid" for motif in self.motifs if motif.pattern.search(sequence)), None)

    @cached_property
    def _pattern(self) -> re.Pattern:
        return re.compile("".join(f"[{letters}]" for letters in self.allowed))

    def forced(self) -> list[int]:
        """Positions whose letter in the wild type cannot stay."""
        assert self.wild_type is not None
        wild = self.wild_type.sequence
        changed = (unit.start + i for unit in self.units() for i in unit.always_changed(wild))
        return list(changed)

    def fewest_mutations(self) -> int:
        """How many positions differ from the wild type at least."""
        assert self.wild_type is not None
        return sum(unit.fewest_changes(self.wild_type.sequence) for unit in self.units())

    def units(self) -> list["Unit"]:
        """What changes by itself: a codon of what is translated, and any other position."""
        assert self.wild_type is not None
        codons = {} if self.coding is None else dict(self.coding.places())
        inside = {place + i for place in codons for i in range(3)}
        units = [Unit(place, tuple(letters)) for place, letters in enumerate(self.allowed) if place not in inside]
        units += [Unit(place, self._allowed_codons(place, each)) for place, each in codons.items()]
        return sorted(units)

    def _allowed_codons(self, place: int, codons: tuple[str, ...]) -> tuple[str, ...]:
        allowed = self.allowed[place : place + 3]
        return tuple(codon for codon in codons if all(a in b for a, b in zip(codon, allowed, strict=True)))

    def mutations(self, sequence: str) -> int:
        """How many positions differ from the wild type."""
        assert self.wild_type is not None
        return Hamming.distance(sequence, self.wild_type.sequence)


class Unit(NamedTuple):
    """A place in a sequence and the words, all of one length, that it may have."""

    start: int
    words: tuple[str, ...]

    @property
    def end(self) -> int:
        return self.start + len(self.words[0])

    def fewest_changes(self, wild: str) -> int:
        """By how many letters the word that is most like the wild type differs from it."""
        return min(Hamming.distance(word, wild[self.start : self.end]) for word in self.words)

    def always_changed(self, wild: str) -> list[int]:
        """The letters, from 0, that the wild type shares with no word."""
        own = wild[self.start : self.end]
        return [i for i, letter in enumerate(own) if all(word[i] != letter for word in self.words)]


def gc_share(sequence: str) -> float:
    """The share of G and C; 0 of nothing."""
    return (sequence.count("G") + sequence.count("C")) / max(len(sequence), 1)


def read_constraints(
    wild_type: WildType | None,
    alphabet: Alphabet,
    fixed: str | None = None,
    letters: Sequence[str] = (),
    forbid: str | None = None,
    max_mutations: int | None = None,
    min_gc: float | None = None,
    max_gc: float | None = None,
    avoid: Sequence[str] = (),
    keep_translation: str | None = None,
) -> Constraints:
    """Constraints as flags give them.

    Args:
        wild_type: as [`spell`] writes it.
        fixed: positions that stay as they are, `1-10,57`.
        letters: of some positions, `10=AVILM`.
        forbid: letters that may be nowhere.
        avoid: motifs of letters, of nucleotides with the codes of IUPAC; of DNA names of restriction enzymes, too.
        keep_translation: a stretch of codons such as `1-90`, or `all`.

    Raises:
        InputError: for one that cannot be read, and for two that contradict each other, which it names.
    """
    forbidden = _read_forbidden(forbid, alphabet)
    for flag, wanted in (("--min_gc", min_gc), ("--max_gc", max_gc), ("--keep_translation", keep_translation)):
        if wanted is not None and not is_nucleotides(alphabet):
            raise InputError(f"{flag}: only for nucleotides")
    gc = (0.0 if min_gc is None else min_gc, 1.0 if max_gc is None else max_gc)
    for flag, value in (("--min_gc", gc[0]), ("--max_gc", gc[1])):
        if not 0 <= value <= 1:
            raise InputError(f"{flag}: expected a share from 0 to 1, got {value:g}")
    if gc[0] > gc[1]:
        raise InputError(f"--min_gc {gc[0]:g} and --max_gc {gc[1]:g} contradict each other")
    motifs = tuple(motif for word in avoid for motif in _read_motifs(word, alphabet))
    if wild_type is None:
        counted = {
            "fixed": fixed,
            "letters": letters,
            "max_mutations": max_mutations,
            "keep_translation": keep_translation,
        }
        for name, given in counted.items():
            if given not in (None, (), []):
                raise InputError(f"--{name}: needs --wild_type, from which positions and mutations are counted")
        return Constraints(alphabet.letters, forbidden=forbidden, gc=gc, motifs=motifs)
    if max_mutations is not None and max_mutations < 1:
        raise InputError(f"--max_mutations: expected at least 1, got {max_mutations}")
    for position, letter in enumerate(wild_type.sequence):
        if letter not in alphabet.letters:
            number = wild_type.number(position)
            raise InputError(f"--wild_type: position {number} is {letter!r}, expected letters of {alphabet.letters}")
    coding = None if keep_translation is None else read_coding(keep_translation, wild_type)
    sources = _sources(wild_type, alphabet, fixed, letters, forbidden, coding)
    allowed = tuple(_intersect(wild_type, position, each) for position, each in enumerate(sources))
    constraints = Constraints(alphabet.letters, wild_type, allowed, forbidden, max_mutations, gc, motifs, coding)
    _check_codons(constraints, sources)
    _check_mutations(constraints, sources)
    _check_gc(constraints, sources)
    _check_motifs(constraints, sources)
    return constraints


def is_nucleotides(alphabet: Alphabet) -> bool:
    return set(alphabet.letters) <= set("ACGTU")


def spell(sequence: str, alphabet: Alphabet) -> str:
    """A sequence in capitals and, of nucleotides, with the alphabet's own T or U, so that equal ones are equal."""
    text = sequence.upper()
    if is_nucleotides(alphabet):
        text = text.replace("T", "U") if "U" in alphabet.letters else text.replace("U", "T")
    return text


def _read_letters(text: str, alphabet: Alphabet, flag: str) -> str:
    """Plain letters of the alphabet, each once."""
    letters = "".join(dict.fromkeys(spell("".join(text.replace(",", " ").split()), alphabet)))
    for letter in letters:
        if letter not in alphabet.letters:
            raise InputError(f"{flag}: expected letters of {alphabet.letters}, got {letter!r}")
    return letters


def _read_forbidden(forbid: str | None, alphabet: Alphabet) -> str:
    letters = _read_letters(forbid or "", alphabet, "--forbid")
    if set(letters) >= set(alphabet.letters):
        raise InputError("--forbid: no letter is left")
    return letters


def _read_motifs(word: str, alphabet: Alphabet) -> list[Motif]:
    """A motif, or the sites of a restriction enzyme."""
    is_dna = is_nucleotides(alphabet) and "T" in alphabet.letters
    if not word.strip():
        raise InputError("--avoid: expected a motif such as GGTCTC, got nothing")
    sites = enzyme_sites(word) if is_dna and word != word.upper() else ()
    texts = sites or (spell(word, alphabet),)
    for letter in "".join(texts):
        if letter not in alphabet.letters and letter not in alphabet.codes:
            enzyme = " or a restriction enzyme such as BsaI" * is_dna
            raise InputError(f"--avoid: expected a motif of {alphabet.letters}{enzyme}, got {word!r}")
    return [_motif(word, text, alphabet, is_dna) for text in texts]


def _motif(name: str, text: str, alphabet: Alphabet, is_dna: bool) -> Motif:
    strands = {text, alphabet.reverse_complement(text)} if is_dna else {text}
    pattern = "|".join(sorted(_expression(strand, alphabet.codes) for strand in strands))
    return Motif(name, text, re.compile(pattern))


def _expression(text: str, codes: dict[str, str]) -> str:
    return "".join(f"[{codes[letter]}]" if letter in codes else letter for letter in text)


# ── What a position may be ───────────────────────────────────────────────────────────────────────────────────────────

_Sources = dict[str, str]  # the letters that each flag leaves


def _sources(
    wild_type: WildType,
    alphabet: Alphabet,
    fixed: str | None,
    letters: Sequence[str],
    forbidden: str,
    coding: Coding | None,
) -> list[_Sources]:
    """For each position what each flag leaves of the alphabet."""
    found: list[_Sources] = [{"the alphabet": alphabet.letters} for _ in wild_type.sequence]
    if forbidden:
        left = "".join(letter for letter in alphabet.letters if letter not in forbidden)
        for each in found:
            each[f"--forbid {forbidden}"] = left
    for position in [] if fixed is None else read_positions(fixed, wild_type, "--fixed"):
        found[position][f"--fixed {wild_type.number(position)}"] = wild_type.sequence[position]
    for text in letters:
        where, equals, wanted = text.partition("=")
        if not equals or not wanted:
            raise InputError(f"--letters: expected a position and its letters such as 10=AVILM, got {text!r}")
        spelled = _read_letters(wanted, alphabet, f"--letters {text}")
        for position in read_positions(where, wild_type, "--letters"):
            found[position][f"--letters {wild_type.number(position)}={wanted}"] = spelled
    for place, codons in () if coding is None else coding.places():
        for i in range(3):
            found[place + i]["--keep_translation"] = "".join({codon[i] for codon in codons})
    return found


def _intersect(wild_type: WildType, position: int, sources: _Sources) -> str:
    """The letters that all flags leave, in the order of the alphabet."""
    left = [letter for letter in sources["the alphabet"] if all(letter in each for each in sources.values())]
    if left:
        return "".join(left)
    for (one, first), (other, second) in combinations(sources.items(), 2):
        if not set(first) & set(second):
            number = wild_type.number(position)
            raise InputError(f"{one} and {other} contradict each other: position {number} can have no letter")
    raise InputError(f"{' and '.join(list(sources)[1:])} contradict each other: no letter is left")


def _check_codons(constraints: Constraints, sources: list[_Sources]) -> None:
    """Raises InputError if the letters of the three positions of a codon, each possible by itself, give none."""
    wild = constraints.wild_type
    assert wild is not None
    for start, words in constraints.units():
        if not words:
            others = _flags_at(sources, range(start, start + 3), but="--keep_translation")
            where = f"position {wild.number(start)} can have no codon"
            raise InputError(f"--keep_translation and {others} contradict each other: {where}")


def _check_mutations(constraints: Constraints, sources: list[_Sources]) -> None:
    """Raises InputError if more positions must change than may."""
    assert constraints.wild_type is not None
    most, fewest = constraints.max_mutations, constraints.fewest_mutations()
    if most is not None and fewest > most:
        wild = constraints.wild_type.sequence
        unit = next(unit for unit in constraints.units() if unit.fewest_changes(wild))
        places = range(unit.start, unit.end)
        flags = dict.fromkeys(flag for i in places for flag, left in sources[i].items() if wild[i] not in left)
        raise InputError(
            f"{' and '.join(flags)} and --max_mutations {most} contradict each other: {fewest} positions of the wild "
            "type have letters that they may not have"
        )


def _check_gc(constraints: Constraints, sources: list[_Sources]) -> None:
    """Raises InputError if the letters of the positions cannot reach the share of G and C."""
    low, high = constraints.gc
    shares = [[sum(letter in "GC" for letter in word) for word in unit.words] for unit in constraints.units()]
    least, most = sum(map(min, shares)) / len(sources), sum(map(max, shares)) / len(sources)
    if low <= most and least <= high:
        return
    flag, reached = (
        (f"--min_gc {low:g}", f"at most {most:.3g}") if most < low else (f"--max_gc {high:g}", f"at least {least:.3g}")
    )
    raise InputError(f"{flag} and {_flags_at(sources, range(len(sources)))} contradict each other: {reached}")


def _check_motifs(constraints: Constraints, sources: list[_Sources]) -> None:
    """Raises InputError if a motif is where nothing may change."""
    assert constraints.wild_type is not None
    still = list("." * len(sources))
    for unit in constraints.units():
        if len(unit.words) == 1:
            still[unit.start : unit.end] = unit.words[0]
    for motif in constraints.motifs:
        if match := motif.pattern.search("".join(still)):
            places = [constraints.wild_type.number(position) for position in (match.start(), match.end() - 1)]
            raise InputError(
                f"--avoid {motif.name} and {_flags_at(sources, range(*match.span()))} contradict each other: it is at "
                f"{places[0]} to {places[1]}, where nothing may change"
            )


def _flags_at(sources: list[_Sources], places: range, but: str = "") -> str:
    """The flags that say what the letters at some places may be; without their values if they are many."""
    flags = dict.fromkeys(flag for place in places for flag in sources[place] if flag.startswith("--") and flag != but)
    return " and ".join(flags if len(flags) <= 3 else dict.fromkeys(flag.split()[0] for flag in flags))
