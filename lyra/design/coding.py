"""Genes: codons that give the same protein, the sites of restriction enzymes, and changes that keep to all constraints.

Codons and enzymes are Biopython's; the solver is DNA Chisel (Zulkower and Rosser 2020).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..alphabet_lyra import get_alphabet
from ..errors import InputError
from ..variants.library import read_positions
from ..variants.notation import WildType

if TYPE_CHECKING:
    from .constraints import Constraints

WHOLE = "all"


@dataclass(frozen=True)
class Coding:
    """A stretch of codons.

    Attributes:
        start: its first position, from 0.
        protein: what it encodes, `*` for a stop codon.
        codons: for each residue the codons that give it, in the letters of the wild type.
    """

    start: int
    protein: str
    codons: tuple[tuple[str, ...], ...]

    def places(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """The first position of each codon, and what it may be."""
        return zip(range(self.start, self.start + 3 * len(self.codons), 3), self.codons, strict=True)

    def is_kept(self, sequence: str) -> bool:
        """Whether a sequence gives the same protein."""
        return self._pattern.match(sequence, self.start) is not None

    @cached_property
    def _pattern(self) -> re.Pattern:
        return re.compile("".join(f"(?:{'|'.join(codons)})" for codons in self.codons))


def read_coding(text: str, wild_type: WildType) -> Coding:
    """The codons of a stretch such as `1-90`, or of all.

    Raises:
        InputError: unless it is one stretch of whole codons of which no but the last stops.
    """
    flag, sequence, letters = "--keep_translation", wild_type.sequence, wild_type.alphabet.letters
    places = range(len(sequence)) if text == WHOLE else read_positions(text, wild_type, flag)
    start, stop = places[0], places[-1] + 1
    if len(places) != stop - start:
        raise InputError(f"{flag}: expected one stretch such as 1-90, got {text!r}")
    if len(places) % 3:
        raise InputError(f"{flag}: expected a multiple of 3 letters, got {len(places)}")
    residues = _residues(letters)
    protein = "".join(residues[sequence[place : place + 3]] for place in range(start, stop, 3))
    if (early := protein[:-1].find("*")) >= 0:
        where = wild_type.number(start + 3 * early)
        raise InputError(f"{flag}: the wild type has a stop codon at {where}, before the end of what is translated")
    return Coding(start, protein, tuple(tuple(each for each in residues if residues[each] == own) for own in protein))


def _residues(letters: str) -> dict[str, str]:
    """The standard genetic code, `*` of codons that stop."""
    _dnachisel()
    from Bio.Data.CodonTable import unambiguous_dna_by_id, unambiguous_rna_by_id

    table = (unambiguous_rna_by_id if "U" in letters else unambiguous_dna_by_id)[1]
    return table.forward_table | dict.fromkeys(table.stop_codons, "*")


def enzyme_sites(name: str) -> tuple[str, ...]:
    """What a restriction enzyme finds, in the codes of IUPAC; nothing if none has that name.

    Raises:
        InputError: if the library of enzymes is not installed.
    """
    dna = get_alphabet("dna")
    if set(name.upper()) <= {*dna.letters, *dna.codes} and name.islower():
        return ()  # a motif in lower case, which needs no library
    _dnachisel()
    from Bio import Restriction

    sites = {str(enzyme): enzyme.site for enzyme in Restriction.AllEnzymes}  # type: ignore[attr-defined]
    return tuple(sites[name].split("|")) if name in sites else ()


def solve(sequence: str, constraints: "Constraints", rng: np.random.Generator) -> str | None:
    """A sequence like the given one that keeps to the constraints; None if none is found."""
    chisel, wild = _dnachisel(), constraints.wild_type
    assert wild is not None
    with _seeded(rng):
        problem = chisel.DnaOptimizationProblem(
            _as_dna(sequence), constraints=_specifications(chisel, constraints, wild), logger=None
        )
        try:
            problem.resolve_constraints()
        except chisel.NoSolutionError:
            return None
    found: str = problem.sequence
    return found.replace("T", "U") if "U" in wild.alphabet.letters else found


def _specifications(chisel: ModuleType, constraints: "Constraints", wild: WildType) -> list[Any]:
    """The constraints in the words of DNA Chisel."""
    coding, codes = constraints.coding, {frozenset(meant): code for code, meant in get_alphabet("dna").codes.items()}
    assert coding is not None
    allowed = [frozenset(_as_dna(letters)) for letters in constraints.allowed]
    stretch = chisel.Location(coding.start, coding.start + 3 * len(coding.codons))
    found = [
        chisel.EnforceSequence(sequence="".join(codes[each] if len(each) > 1 else min(each) for each in allowed)),
        chisel.EnforceTranslation(location=stretch, translation=coding.protein),
        chisel.EnforceGCContent(mini=constraints.gc[0], maxi=constraints.gc[1]),
    ]
    strand = "both" if "T" in wild.alphabet.letters else 1
    found += [chisel.AvoidPattern(_as_dna(motif.letters), strand=strand) for motif in constraints.motifs]
    if constraints.max_mutations is not None:
        everywhere = chisel.Location(0, len(wild.sequence))
        target = _as_dna(wild.sequence)
        found.append(chisel.AvoidChanges(constraints.max_mutations, location=everywhere, target_sequence=target))
    return found


def _as_dna(sequence: str) -> str:
    return sequence.replace("U", "T")


@contextmanager
def _seeded(rng: np.random.Generator) -> Iterator[None]:
    """DNA Chisel draws from NumPy's global generator, whose state comes back afterwards."""
    before = np.random.get_state()
    np.random.seed(rng.integers(2**32))
    try:
        yield
    finally:
        np.random.set_state(before)


def _dnachisel() -> ModuleType:
    try:
        import dnachisel
    except ModuleNotFoundError as error:
        raise InputError(f"codons and restriction enzymes need {error.name}: pip install 'lyra-bio[dna]'") from None
    return dnachisel
