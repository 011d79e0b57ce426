"""Variants as text: ProteinGym's `A1P:D2N`, MAVE-HGVS, and what lies between them.

We write ProteinGym's notation: the wild-type letter, the position from 1 and the new letter, with `:` between
mutations; of deletions and insertions HGVS's words with single letters, `A5_C7del`, `A5_C6insGH`, `A5_C6delinsG`. We
read these with `:`, `,`, `/`, `_`, `;`, `+` or a space between them, and MAVE-HGVS (Rubin et al. 2021).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from ..alphabet_lyra import AMINO_ACIDS, Alphabet
from .spelling import shorten

WILD_TYPE = "WT"
_WILD_TYPES = ("", "=", "wt", "wild_type", "wildtype", "wild-type", "_wt")
_EDIT = re.compile(
    r"(?P<first>[A-Z*-])(?P<start>-?\d+)(?:_(?P<last>[A-Z*-])(?P<end>-?\d+))?(?P<kind>delins|del|ins|dup)(?P<new>[A-Z*]*)",
    re.IGNORECASE,
)
_SUBSTITUTION = re.compile(r"(?P<first>[A-Z*-])(?P<start>-?\d+)(?P<new>[A-Z*=-])", re.IGNORECASE)
_SEPARATORS_OR_END = re.compile(r"[:,/_;+\s]+|\Z")
_HGVS = re.compile(r"(?P<prefix>[cgmnopr])\.(?P<body>.+)", re.DOTALL)


class Edit(NamedTuple):
    """A change in one place: the letters `reference` from position `start` (from 0) on become `alternative`."""

    start: int
    reference: str
    alternative: str

    @property
    def end(self) -> int:
        """The position after the last letter that changes."""
        return self.start + len(self.reference)


Variant = tuple[Edit, ...]


@dataclass(frozen=True)
class WildType:
    """The sequence that variants are changes of.

    Attributes:
        sequence: in capitals.
        alphabet: of its letters.
        offset: what is added to a position, counted from 1, in the notation: -1 counts from 0.
    """

    sequence: str
    alphabet: Alphabet
    offset: int = 0

    def parse(self, text: str) -> Variant:
        """The variant that a text names; the wild type is the empty one.

        Raises:
            ValueError: if the text cannot be read, names another letter than the wild type has there or a position
                outside, or changes one position twice.
        """
        return self.normalize(self._read(text.strip()))

    def format(self, variant: Variant) -> str:
        """The variant in ProteinGym's notation, `WT` for none."""
        return ":".join(map(self._format, variant)) or WILD_TYPE

    def apply(self, variant: Variant) -> str:
        """The mutated sequence."""
        parts, end = [], 0
        for edit in variant:
            parts += [self.sequence[end : edit.start], edit.alternative]
            end = edit.end
        return "".join(parts) + self.sequence[end:]

    def normalize(self, edits: Iterable[Edit]) -> Variant:
        """The edits in order, each as short as can be and as far to the left as it can be: one spelling of each.

        Raises:
            ValueError: if two of them change the same position.
        """
        ordered = sorted(edits)
        for one, other in pairwise(ordered):
            if one.end > other.start or one.start == other.start:
                raise ValueError(f"position {self.number(other.start)} is changed twice")
        merged: list[Edit] = []
        for edit in ordered:
            if merged and merged[-1].end == edit.start:  # what touches is one change
                before = merged.pop()
                edit = Edit(before.start, before.reference + edit.reference, before.alternative + edit.alternative)
            merged.append(edit)
        variant: list[Edit] = []
        for edit in merged:
            variant += self._shorten(edit, variant[-1].end + 1 if variant else 0)  # none moves up to the one before it
        return tuple(variant)

    # ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _read(self, text: str) -> list[Edit]:
        if text.lower() in _WILD_TYPES:
            return []
        hgvs = _HGVS.fullmatch(text)
        return self._read_hgvs(text, hgvs["prefix"], hgvs["body"]) if hgvs else self._read_letters(text)

    def _read_letters(self, text: str) -> list[Edit]:
        edits, rest = [], text
        while rest:
            if match := _EDIT.match(rest):
                edits.append(self._edit(match))
            elif match := _SUBSTITUTION.match(rest):
                new = match["first"] if match["new"] == "=" else match["new"]
                edits.append(self._at(match["first"], int(match["start"]), new))
            end = match and _SEPARATORS_OR_END.match(rest, match.end())
            if end is None:
                raise ValueError(f"expected mutations such as A1P:D2N or p.Ala1Pro, got {text!r}")
            rest = rest[end.end() :]
        return edits

    def _edit(self, match: re.Match) -> Edit:
        kind, start = match["kind"].lower(), int(match["start"])
        end = start if match["end"] is None else int(match["end"])
        return self._change(kind, [(match["first"], start), (match["last"] or match["first"], end)], match["new"])

    def _read_hgvs(self, text: str, prefix: str, body: str) -> list[Edit]:
        from mavehgvs import MaveHgvsParseError
        from mavehgvs import Variant as HgvsVariant

        is_protein = self.alphabet.letters == AMINO_ACIDS
        if (prefix == "p") != is_protein:
            raise ValueError(f"{text!r} is of {'a protein' if prefix == 'p' else 'nucleotides'}, the model is not")
        edits: list[Edit] = []
        for part in body.removeprefix("[").removesuffix("]").split(";"):
            part = part.strip().removeprefix(f"{prefix}.")
            if part in ("=", "(=)"):
                continue
            if prefix == "p" and _SUBSTITUTION.fullmatch(part):  # single letters are not MAVE-HGVS, but common
                edits += self._read_letters(part)
                continue
            try:
                edits += self._hgvs_edit(HgvsVariant(f"{prefix}.{part}"))
            except MaveHgvsParseError:
                raise ValueError(f"expected MAVE-HGVS such as p.Glu27Trp or g.48C>A, got {text!r}") from None
        return edits

    def _hgvs_edit(self, found) -> list[Edit]:
        """The edit of one variant of `mavehgvs`."""
        places = found.positions if isinstance(found.positions, tuple) else (found.positions,) * 2
        if any(place.intronic_position is not None or place.utr for place in places):
            raise ValueError(f"{found}: the position is not in the sequence")
        letters = [(place.amino_acid and _one_letter(place.amino_acid), place.position) for place in places]
        if found.variant_type == "equal":
            for letter, position in letters:
                self._at(letter, position, letter)
            return []
        if found.variant_type == "sub":
            old, new = map(_one_letter, found.sequence)
            return [self._at(old, letters[0][1], new)]
        if found.variant_type not in ("del", "ins", "dup", "delins"):
            raise ValueError(f"{found}: a {found.variant_type} has no single mutated sequence")
        new = found.sequence if isinstance(found.sequence, str) else ""
        return [self._change(found.variant_type, letters, _one_letter(new))]

    def _change(self, kind: str, places: list[tuple[str | None, int]], new: str) -> Edit:
        """A deletion, insertion, duplication or both, between two places that may be one."""
        (first, start), (last, end) = places
        self._at(first, start, "")
        self._at(last, end, "")
        if end < start:
            raise ValueError(f"the positions {start} and {end} are in the wrong order")
        here = self.index(start)
        old = self.sequence[here : self.index(end) + 1]
        if kind == "ins":
            if end != start + 1:
                raise ValueError(f"an insertion is between two neighbours, got {start} and {end}")
            return Edit(here + 1, "", self.spell(new))
        if kind == "dup":
            return Edit(here + len(old), "", old)
        return Edit(here, old, self.spell(new) if kind == "delins" else "")

    def _at(self, letter: str | None, position: int, new: str) -> Edit:
        """The edit of one position, whose letter is checked where it is named."""
        index = self.index(position)
        found = self.sequence[index]
        if letter is not None and self.spell(letter) != found:
            raise ValueError(f"position {position} of the wild type is {found}, not {letter.upper()}")
        return Edit(index, found, self.spell(new))

    def index(self, position: int) -> int:
        """The index, from 0, of a position in the notation.

        Raises:
            ValueError: if it is outside.
        """
        index = position - 1 - self.offset
        if not 0 <= index < len(self.sequence):
            first, last = self.number(0), self.number(len(self.sequence) - 1)
            raise ValueError(f"position {position} is outside of the wild type, which has {first} to {last}")
        return index

    def spell(self, text: str) -> str:
        """Letters as the wild type has them: capitals, T or U.

        Raises:
            ValueError: for one that the alphabet has not.
        """
        letters = text.upper()
        if self.alphabet.letters != AMINO_ACIDS:
            one, other = ("U", "T") if self._has_u() else ("T", "U")
            letters = letters.replace(other, one)
        for letter in letters:
            if letter not in self.alphabet.characters:
                raise ValueError(f"{letter!r} is no letter of the model's alphabet, {self.alphabet.name}")
        return letters

    def _has_u(self) -> bool:
        return "U" in self.sequence or ("T" not in self.sequence and "U" in self.alphabet.letters)

    # ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _shorten(self, edit: Edit, floor: int) -> list[Edit]:
        start, old, new = edit
        if len(old) == len(new):
            return [Edit(start + i, a, b) for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
        return [Edit(*shorten(start, old, new, self.sequence.__getitem__, floor))]

    def _format(self, edit: Edit) -> str:
        start, old, new = edit
        if len(old) == len(new) == 1:
            return f"{old}{self.number(start)}{new}"
        if old:
            last = start + len(old) - 1
            span = self._place(start) + (f"_{self._place(last)}" if last > start else "")
            return f"{span}delins{new}" if new else f"{span}del"
        if start == 0:  # before the first letter there is none to name
            return f"{self._place(0)}delins{new}{self.sequence[0]}"
        if start == len(self.sequence):
            return f"{self._place(start - 1)}delins{self.sequence[-1]}{new}"
        return f"{self._place(start - 1)}_{self._place(start)}ins{new}"

    def _place(self, index: int) -> str:
        return f"{self.sequence[index]}{self.number(index)}"

    def number(self, index: int) -> int:
        """The position in the notation of an index."""
        return index + 1 + self.offset


def _one_letter(text: str) -> str:
    """Of amino acids with three letters each; other letters as they are."""
    from fqfa.constants.iupac.protein import AA_CODES

    codes = {name: letter for letter, name in AA_CODES.items()}
    triples = [text[i : i + 3] for i in range(0, len(text), 3)]
    return "".join(codes[triple] for triple in triples) if all(triple in codes for triple in triples) else text
