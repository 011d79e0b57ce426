"""Every spelling of a variant is read as the same one, and what does not fit the wild type is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyra.alphabet_lyra import get_alphabet
from lyra.variants.notation import Edit, WildType

PROTEIN = WildType("MEKTAYDDDW", get_alphabet("protein"))
RNA = WildType("ACGUUUGC", get_alphabet("rna"), offset=-1)
DNA = WildType("ACGTTTGC", get_alphabet("dna"))


@pytest.mark.parametrize(
    "spellings",
    [
        ["M1P:E2N", "E2N:M1P", "M1P,E2N", "M1P/E2N", "M1P_E2N", "M1P;E2N", "m1p e2n", "M1P:E2N:K3="],
        ["M1P:E2N", "M1_E2delinsPN", "p.[Met1Pro;Glu2Asn]", "p.Met1Pro;p.Glu2Asn", "p.M1P;p.E2N"],
        ["WT", "", "=", "p.=", "p.(=)", "p.Met1=", "K3=", "K3K", "_wt"],
        ["D7del", "D8del", "D9del", "p.Asp9del", "D8_D9delinsD"],
        ["Y6_D7insD", "D7dup", "p.Asp9dup", "D9_W10insD", "p.Asp7_Asp8insAsp"],
        ["T4_A5delinsW", "p.Thr4_Ala5delinsTrp"],
    ],
)
def test_spellings_of_one_variant(spellings):
    assert len({PROTEIN.parse(spelling) for spelling in spellings}) == 1
    assert PROTEIN.format(PROTEIN.parse(spellings[0])) == spellings[0]


@pytest.mark.parametrize(
    ("wild_type", "spellings", "mutated"),
    [
        (RNA, ["U3A", "T3A", "r.3u>a", "g.3T>A"], "ACGAUUGC"),
        (RNA, ["C1A:U4G", "r.[1c>a;4u>g]"], "AAGUGUGC"),
        (DNA, ["T4A", "g.4T>A", "c.4T>A", "n.4T>A", "U4A", "r.4u>a"], "ACGATTGC"),
        (DNA, ["T4del", "g.5del", "g.6del", "T6del"], "ACGTTGC"),
        (DNA, ["g.4_5insACG", "g.4_5delinsTACGT"], "ACGTACGTTGC"),
    ],
)
def test_nucleotides(wild_type, spellings, mutated):
    assert {wild_type.apply(wild_type.parse(spelling)) for spelling in spellings} == {mutated}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A1P", "position 1 of the wild type is M, not A"),
        ("p.Ala1Pro", "position 1 of the wild type is M, not A"),
        ("W11A", "position 11 is outside of the wild type, which has 1 to 10"),
        ("M0A", "position 0 is outside"),
        ("M1P:M1A", "position 1 is changed twice"),
        ("M1P:M1_E2del", "position 1 is changed twice"),
        ("M1", "expected mutations such as A1P:D2N or p.Ala1Pro, got 'M1'"),
        ("M1PE2N", "expected mutations"),
        ("p.Met1", "expected MAVE-HGVS"),
        ("p.Met1fs", "a fs has no single mutated sequence"),
        ("g.1A>C", "is of nucleotides, the model is not"),
        ("E2_M1del", "the positions 2 and 1 are in the wrong order"),
        ("M1_K3insA", "an insertion is between two neighbours, got 1 and 3"),
    ],
)
def test_what_does_not_fit(text, reason):
    with pytest.raises(ValueError, match=reason.replace(".", r"\.")):
        PROTEIN.parse(text)


def test_letters_outside_the_alphabet_and_proteins():
    with pytest.raises(ValueError, match="'Z' is no letter of the model's alphabet, dna"):
        DNA.parse("A1Z")
    with pytest.raises(ValueError, match="is of a protein, the model is not"):
        DNA.parse("p.Ala1Pro")
    with pytest.raises(ValueError, match="the position is not in the sequence"):
        DNA.parse("c.4+3T>A")


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 3), st.text("ACGT", max_size=3)), max_size=3))
def test_what_is_written_is_read(places):
    edits = [Edit(start, DNA.sequence[start : start + length], new) for start, length, new in places]
    try:
        variant = DNA.normalize(edits)
    except ValueError:
        return
    assert DNA.apply(DNA.parse(DNA.format(variant))) == DNA.apply(variant)
    letters = np.array(list(DNA.sequence), dtype=object)
    inserted = [""] * (len(letters) + 1)
    for start, old, new in edits:
        letters[start : start + len(old)] = ""
        inserted[start] = new
    expected = "".join(extra + letter for extra, letter in zip(inserted, [*letters, ""], strict=True))
    assert DNA.apply(variant) == expected
