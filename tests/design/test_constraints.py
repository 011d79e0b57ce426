"""Constraints: what contradicts is named, and nothing that is proposed violates one."""

import re

import numpy as np
import pytest
from Bio.Seq import Seq

from lyra.alphabet_lyra import get_alphabet
from lyra.design import candidates
from lyra.design.constraints import gc_share, read_constraints
from lyra.errors import InputError
from lyra.variants.notation import WildType

RNG = np.random.default_rng(0)
PROTEIN, DNA, RNA = map(get_alphabet, ("protein", "dna", "rna"))
WILD = WildType("MKTAYIAKQR", PROTEIN)
GENE = WildType("ATGGGTCTCAAACCCGGG", DNA)

SERINE = WildType("ATGTCATAA", DNA)  # TCA, AGC and AGT are serine


@pytest.fixture(autouse=True)
def short_searches(monkeypatch):
    shorten(monkeypatch, generations=3, children=300)


def shorten(monkeypatch, generations, children):
    monkeypatch.setattr(candidates, "_GENERATIONS", generations)
    monkeypatch.setattr(candidates, "_FEWEST_CHILDREN", children)
    monkeypatch.setattr(candidates, "_CHILDREN", children)


def constraints(wild_type=WILD, **flags):
    return read_constraints(wild_type, wild_type.alphabet, **flags)


@pytest.mark.parametrize(
    ("sequence", "flags", "violated"),
    (
        ("MKTAYIAKQR", {"fixed": "1-3"}, None),
        ("MRTAYIAKQR", {"fixed": "1-3"}, "--fixed, --letters"),
        ("MKTCYIAKQR", {"forbid": "C"}, "--forbid"),
        ("MKTCYIAKQR", {"letters": ["4=AC"]}, None),
        ("MKTDYIAKQR", {"letters": ["4=AC"]}, "--fixed, --letters"),
        ("MRRAYIAKQR", {"max_mutations": 1}, "--max_mutations"),
        ("MKTAYIAKQ", {}, "--wild_type"),
        ("MKTAYIAKQR", {"avoid": ["KXA"]}, "--avoid"),
    ),
)
def test_what_is_violated_is_named(sequence, flags, violated):
    assert constraints(**flags).violated(sequence) == violated


def test_motifs_of_dna_are_looked_for_on_both_strands():
    avoid = constraints(GENE, avoid=["GAGACC"])
    assert avoid.violated(GENE.sequence) == "--avoid"  # GGTCTC, the other strand's
    assert constraints(GENE, avoid=["GGNCTC"]).violated(GENE.sequence) == "--avoid"


@pytest.mark.parametrize(
    ("wild_type", "flags", "said"),
    (
        (WILD, {"fixed": "4", "letters": ["4=VL"]}, ("--fixed 4", "--letters 4=VL")),
        (WILD, {"fixed": "2", "forbid": "K"}, ("--forbid K", "--fixed 2")),
        (WILD, {"letters": ["2=K"], "forbid": "K"}, ("--forbid K", "--letters 2=K")),
        (WILD, {"letters": ["1-3=V"], "max_mutations": 2}, ("--letters 1=V", "--max_mutations 2")),
        (GENE, {"min_gc": 0.7, "max_gc": 0.3}, ("--min_gc 0.7", "--max_gc 0.3")),
        (GENE, {"min_gc": 0.9, "letters": ["1-9=AT"]}, ("--min_gc 0.9", "letters")),
        (GENE, {"avoid": ["GGTCTC"], "fixed": "4-9"}, ("--avoid GGTCTC and --fixed", "4 to 9")),
        (WILD, {"min_gc": 0.5}, ("--min_gc: only for nucleotides",)),
        (WILD, {"keep_translation": "all"}, ("--keep_translation: only for nucleotides",)),
        (GENE, {"keep_translation": "all", "letters": ["1=C"]}, ("--keep_translation", "--letters 1=C", "position 1 ")),
        (
            GENE,
            {"keep_translation": "all", "letters": ["9=C", "7=T"]},
            ("--letters 7=T and --letters 9=C contradict",),
        ),
        (GENE, {"keep_translation": "all", "avoid": ["ATG"]}, ("--avoid ATG and --keep_translation", "1 to 3")),
        (GENE, {"keep_translation": "all", "min_gc": 0.9}, ("--min_gc 0.9 and --keep_translation", "at most 0.722")),
        (SERINE, {"keep_translation": "all", "letters": ["4=A"], "max_mutations": 2}, ("--letters 4=A and", ": 3 pos")),
        (GENE, {"keep_translation": "2-9"}, ("--keep_translation: expected a multiple of 3 letters, got 8",)),
        (GENE, {"keep_translation": "1-3,7-9"}, ("--keep_translation: expected one stretch", "'1-3,7-9'")),
        (WildType("ATGTAAGGG", DNA), {"keep_translation": "all"}, ("--keep_translation", "stop codon at 4")),
        (GENE, {"avoid": ["BsaJ7"]}, ("--avoid: expected a motif of ACGT or a restriction enzyme", "'BsaJ7'")),
        (WILD, {"letters": ["A"]}, ("--letters", "10=AVILM")),
        (WILD, {"forbid": "1"}, ("--forbid", "'1'")),
        (WILD, {"fixed": "11"}, ("--fixed", "outside")),
    ),
)
def test_contradictions_name_both_flags(wild_type, flags, said):
    with pytest.raises(InputError) as error:
        constraints(wild_type, **flags)
    assert all(text in str(error.value) for text in said)


def test_odd_letters_of_a_wild_type_are_refused():
    for letter in "*X-":
        with pytest.raises(
            InputError, match=rf"--wild_type: position 3 is '{re.escape(letter)}', expected letters of ACDEF"
        ):
            constraints(WildType(f"MK{letter}A", PROTEIN))


def test_motifs_of_rna_know_its_codes():
    gene = WildType("AUGGGUCUC", RNA)
    assert constraints(gene, avoid=["GGNCUC"]).violated(gene.sequence) == "--avoid"
    assert constraints(gene, avoid=["GGNCTC"]).violated(gene.sequence) == "--avoid"
    assert constraints(gene, avoid=["GAGACC"]).violated(gene.sequence) is None  # it has one strand


def test_a_search_mends_what_the_wild_type_violates():
    """A restriction site in a long gene, and a share of G and C that takes many mutations."""
    rng = np.random.default_rng(0)
    start = "".join(rng.choice(list("ACGT"), 300))
    gene = WildType(start[:150] + "GGTCTC" + start[150:], DNA)
    rules = constraints(gene, avoid=["GGTCTC"], max_mutations=2)
    assert all(
        "GGTCTC" not in each for each in candidates.Search(rules).find([], lambda each: rng.random(len(each)), rng)
    )
    poor = WildType("AATTATCATTAATTATAATC" * 60, DNA)  # more mutations than any small number
    rules = constraints(poor, min_gc=0.4)
    assert all(
        gc_share(each) >= 0.4 for each in candidates.Search(rules).find([], lambda each: rng.random(len(each)), rng)
    )
    with pytest.raises(InputError, match="could not be changed to keep to --min_gc with all other constraints"):
        candidates.Search(constraints(poor, min_gc=0.4, max_mutations=2)).find([], len, rng)


def test_enzymes_are_known_by_name():
    assert constraints(GENE, avoid=["BsaI"]).violated(GENE.sequence) == "--avoid"  # GGTCTC
    assert constraints(GENE, avoid=["EcoRI"]).violated(GENE.sequence) is None
    assert [motif.letters for motif in constraints(GENE, avoid=["DrdV", "HpyUM037X"]).motifs] == [
        *("CATGNAC", "TNGGNAG", "GTGGNAG")
    ]
    assert constraints(GENE, avoid=["drdv"]).motifs[0].letters == "DRDV"  # a motif in lower case
    assert constraints(GENE, avoid=["ggnctc"]).motifs[0].letters == "GGNCTC"
    assert constraints(GENE, avoid=["BsaI"]).violated("ATGGAGACCAAACCCGGG") == "--avoid"  # on the other strand


@pytest.mark.parametrize("alphabet", (DNA, RNA))
def test_what_is_translated_stays_the_same(alphabet):
    """A gene between two flanks, with a site and too few G and C to begin with."""
    gene = "GCCATGGCTAAAAGATTATCATTAGGTCTCTCAAATAAATTTCGTGAATTATAATTT"
    wild = WildType(gene if alphabet is DNA else gene.replace("T", "U"), alphabet)
    rules = constraints(wild, keep_translation="4-54", avoid=["GGTCTC"], min_gc=0.4, fixed="1-3", letters=["55-57=AC"])
    rng = np.random.default_rng(0)
    found = candidates.Search(rules).find([], lambda each: rng.random(len(each)), rng)
    assert len(found) > 200
    proteins = {str(Seq(each[3:54]).translate()) for each in found}
    assert proteins == {"MAKRLSLGLSNKFREL*"}
    for each in found:
        assert gc_share(each) >= 0.4 and "GGUCUC" not in each.replace("T", "U")
        assert each[:3] == wild.sequence[:3] and set(each[54:]) <= set("AC")
    again = candidates.Search(rules).find([], len_of, np.random.default_rng(0))
    assert again == candidates.Search(rules).find([], len_of, np.random.default_rng(0))
    assert constraints(wild, keep_translation="4-54").violated(wild.sequence[:5] + "C" + wild.sequence[6:]) == (
        "--keep_translation"
    )


def len_of(sequences):
    return np.array([gc_share(each) for each in sequences])


def test_what_cannot_be_solved_is_an_error():
    rules = constraints(GENE, keep_translation="all", min_gc=0.72, max_mutations=1)
    with pytest.raises(InputError, match="could not be changed to keep to --min_gc with all other constraints"):
        candidates.Search(rules).find([], len_of, RNG)


def random_flags(rng, length):
    """Flags of which some contradict."""
    flags = {}
    if rng.random() < 0.5:
        start = int(rng.integers(1, length + 1))
        flags["fixed"] = f"{start}-{min(length, start + int(rng.integers(4)))}"
    if rng.random() < 0.5:
        flags["letters"] = [f"{rng.integers(1, length + 1)}={''.join(rng.choice(list('ACGT'), 2, replace=False))}"]
    if rng.random() < 0.3:
        flags["forbid"] = str(rng.choice(list("ACGT")))
    if rng.random() < 0.7:
        flags["max_mutations"] = int(rng.integers(1, 5))
    if rng.random() < 0.4:
        flags |= {"min_gc": float(rng.uniform(0, 0.5)), "max_gc": float(rng.uniform(0.5, 1))}
    if rng.random() < 0.4:
        flags["avoid"] = ["".join(rng.choice(list("ACGTN"), 4))]
    return flags


def test_no_candidate_violates_random_constraints(monkeypatch):
    """Of sets of constraints that contradict, too: they give an error, and never a candidate."""
    shorten(monkeypatch, generations=2, children=8)
    rng = np.random.default_rng(0)
    found = empty = 0
    for _ in range(10_000):
        wild = WildType("".join(rng.choice(list("ACGT"), 12)), DNA)
        try:
            rules = constraints(wild, **random_flags(rng, 12))
            proposed = candidates.Search(rules).find([wild.sequence], lambda each: rng.random(len(each)), rng)
        except InputError:
            empty += 1
            continue
        found += 1
        assert wild.sequence not in proposed and len(set(proposed)) == len(proposed)
        for each in proposed:
            assert rules.violated(each) is None
            # Once more, by other words than the constraint's own.
            assert len(each) == 12 and rules.gc[0] <= gc_share(each) <= rules.gc[1]
            assert (
                rules.max_mutations is None
                or sum(a != b for a, b in zip(each, wild.sequence, strict=False)) <= rules.max_mutations
            )
            assert all(a in b for a, b in zip(each, rules.allowed, strict=False))
    assert found > 4000 and empty > 100


def test_no_gene_violates_random_constraints(monkeypatch):
    shorten(monkeypatch, generations=2, children=8)
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(100):
        wild = WildType("".join(rng.choice(list("ACG"), 12)), DNA)  # no stop codon without T
        try:
            rules = constraints(wild, keep_translation="all", **random_flags(rng, 12))
            proposed = candidates.Search(rules).find([wild.sequence], lambda each: rng.random(len(each)), rng)
        except InputError:
            continue
        found += 1
        assert all(rules.violated(each) is None for each in proposed)
        assert {str(Seq(each).translate()) for each in proposed} == {str(Seq(wild.sequence).translate())}
    assert found > 20


def test_a_search_begins_with_all_neighbours_of_the_best():
    """Of a sequence with fewer neighbours than half of a generation."""
    rules, best = constraints(GENE), "ATGGGTCTCAAACCCGGT"
    found = candidates.Search(rules).find([best], lambda each: np.array([s == best for s in each], float), RNG)
    neighbours = {best[:i] + letter + best[i + 1 :] for i in range(18) for letter in "ACGT"} - {best}
    assert neighbours <= set(found)


@pytest.mark.parametrize("coding", (None, "all"))
def test_a_search_stays_near_what_was_measured(coding):
    """Where nothing says how far it may go: what it wants most is many changes away from all of it."""
    rules, rng = constraints(GENE, keep_translation=coding), np.random.default_rng(0)
    starts = ["ATGGGACTAAAGCCAGGA", GENE.sequence]
    nearest = set()
    for each in candidates.Search(rules).find(["ATGGGTCTCAAACCC", starts[0]], len_of, rng):
        differ = [[a != b for a, b in zip(each, start, strict=True)] for start in starts]
        changes = np.reshape(differ, (2, -1, 3 if coding else 1)).any(axis=2).sum(axis=1)
        nearest.add(int(changes.argmin()))
        assert changes.min() <= 2
    assert nearest == {0, 1}


def test_an_empty_set_says_what_emptied_it():
    rules = constraints(max_mutations=1, forbid="W")
    with pytest.raises(InputError, match=r"pool\.csv: no candidates are left \(2 by --forbid, 1 measured already\)"):
        candidates.keep(["WKTAYIAKQR", "MWTAYIAKQR", "MKTAYIAKQR"], rules, {"MKTAYIAKQR"}, "pool.csv")


def test_combinations_are_all_and_only_of_the_sites():
    found = candidates.Sites(constraints(letters=["2=KR", "4=AVL"]), [1, 3]).find([], len, RNG)
    assert len(found) == 6 and {each[1] for each in found} == {"K", "R"} and all(each[4:] == "YIAKQR" for each in found)
    with pytest.raises(InputError, match="combinations, more than"):
        candidates.Sites(constraints(), [0, 1, 2, 3, 4, 5])
