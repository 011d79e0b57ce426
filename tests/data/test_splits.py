"""Random splits: rare classes, groups, columns of folds; and what is said of a split that lacks a class."""

import json
from collections import Counter

import numpy as np
import pytest
from test_data import complaint, found, write

from lyra.data.schemes import DROPPED, TRAIN
from lyra.data.splits import check_leaks
from lyra.data.strings import Strings

RNG = np.random.default_rng(0)
LETTERS = list("ACDEFGHIKLMNPQRSTVWY")


def sequences(rows):
    return ["".join(RNG.choice(LETTERS, 12)) for _ in range(rows)]


def test_random_splits_have_every_class(tmp_path):
    labels = ["1"] * 13 + ["0"] * 487
    for seed in range(5):
        data = found(write(tmp_path, {"sequence": sequences(500), "label": labels}), split_seed=seed)
        counts = {split: Counter(data.label_array(split).tolist()) for split in data.rows}
        assert counts["test"][1] == counts["validation"][1] == 1 and counts["train"][1] == 11
        assert sum(counts["test"].values()) == 50


def test_folds_share_every_class(tmp_path):
    path = write(tmp_path, {"sequence": sequences(100), "label": ["yes"] * 10 + ["no"] * 90})
    for fold in range(1, 6):
        data = found(path, folds=5, fold=fold)
        assert Counter(data.label_array("test").tolist()) == {0: 18, 1: 2}


def test_rare_labels_of_several_outputs_are_shared(tmp_path):
    rare = [1] * 10 + [0] * 190
    path = write(tmp_path, {"sequence": sequences(200), "a": rare, "b": [i % 2 for i in range(200)]})
    for seed in range(5):
        data = found(path, label_columns=["a", "b"], split_seed=seed)
        assert data.label_array("test")[:, 0].sum() == data.label_array("validation")[:, 0].sum() == 1


def test_many_small_classes_do_not_inflate_a_split(tmp_path):
    labels = [f"c{i // 3}" for i in range(147)] + ["big"] * 353
    data = found(write(tmp_path, {"sequence": sequences(500), "label": labels}))
    assert len(data.rows["test"]) == len(data.rows["validation"]) == 50


@pytest.mark.parametrize("seed", range(3))
def test_the_only_group_of_a_class_stays_in_training(tmp_path, seed):
    genes = [f"g{i % 20}" for i in range(200)]
    labels = ["yes" if gene == "g3" else "no" for gene in genes]
    columns = {"sequence": sequences(200), "label": labels, "gene": genes}
    data = found(write(tmp_path, columns), group_column="gene", split_seed=seed)
    assert Counter(data.label_array("train").tolist())[1] == 10
    assert "split: no test row has class 'yes'" in data.notes


def test_a_giant_group_stays_in_training(tmp_path):
    genes = ["giant"] * 160 + [f"g{i % 5}" for i in range(20)]
    columns = {"sequence": sequences(180), "label": np.arange(180) + 0.5, "gene": genes}
    path = write(tmp_path, columns)
    data = found(path, group_column="gene")
    assert {row["gene"] for row in data.rows["train"]} >= {"giant"} and len(data.rows["test"]) in range(8, 20)
    assert any("rows were wanted for validation" in note for note in data.notes)
    two = write(tmp_path, columns | {"gene": ["a", "b"] * 90})
    assert "at least three different values of 'gene' are needed" in complaint(two, group_column="gene")


def test_groups_of_any_kind_of_cell(tmp_path):
    rows = [{"sequence": s, "label": i + 0.5, "gene": [i % 6] if i % 7 else None} for i, s in enumerate(sequences(60))]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = found(tmp_path / "t.jsonl", group_column="gene")
    sides = [{str(row["gene"]) for row in data.rows[split]} - {"None"} for split in data.rows]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]


def test_peptides_that_look_missing_stay_together(tmp_path):
    columns = {"sequence": ["NAN"] * 30 + ["NA"] * 30 + sequences(60), "label": np.arange(120) + 0.5}
    data = found(write(tmp_path, columns))
    seen = [set(data.sequences[split]) for split in data.rows]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]


def test_groups_stay_on_one_side(tmp_path):
    genes = [f"g{i % 20}" for i in range(200)]
    path = write(tmp_path, {"sequence": sequences(200), "label": np.arange(200) + 0.5, "gene": genes})
    data = found(path, group_column="gene")
    sides = [{row["gene"] for row in data.rows[split]} for split in ("train", "validation", "test")]
    assert not sides[0] & sides[1] and not sides[1] & sides[2] and not sides[0] & sides[2]
    assert all(15 <= len(data.rows[split]) <= 30 for split in ("validation", "test"))
    assert any("rows of one 'gene' together" in note for note in data.notes)
    folds = [{row["gene"] for row in found(path, group_column="gene", folds=4, fold=f).rows["test"]} for f in (1, 2)]
    assert not folds[0] & folds[1]


def test_groups_join_equal_sequences(tmp_path):
    repeated = sequences(30)
    columns = {"sequence": repeated * 2, "label": np.arange(60) + 0.5, "gene": [f"g{i // 2}" for i in range(60)]}
    data = found(write(tmp_path, columns), group_column="gene")
    seen = [set(data.sequences[split]) for split in data.rows]
    genes = [{row["gene"] for row in data.rows[split]} for split in data.rows]
    assert not genes[0] & genes[1] and not genes[0] & genes[2] and not genes[1] & genes[2]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]


def test_groups_that_a_given_split_separates_are_counted(tmp_path):
    splits = ["train"] * 20 + ["validation"] * 5 + ["test"] * 5
    columns = {"sequence": sequences(30), "label": np.arange(30) + 0.5, "split": splits, "gene": ["a"] * 21 + ["b"] * 9}
    notes = found(write(tmp_path, columns), group_column="gene").notes
    assert "split: 2 values of 'gene' have rows in more than one split of the table" in notes


@pytest.mark.parametrize("written", [str, lambda fold: f"{fold}.0"])
def test_a_column_of_folds(tmp_path, written):
    columns = {
        "sequence": sequences(50),
        "label": np.arange(50) + 0.5,
        "fold_modulo_5": [written(i % 5) for i in range(50)],
    }
    path = write(tmp_path, columns)
    data = found(path, split_column="fold_modulo_5", fold="3")
    assert [float(row["label"]) for row in data.rows["test"]] == [i + 0.5 for i in range(50) if i % 5 == 3]
    assert len(data.rows["validation"]) == 4
    assert "expected a value of column 'fold_modulo_5' such as '0', '1'" in complaint(
        path, split_column="fold_modulo_5", fold="7"
    )
    assert "--fold says which is the test split" in complaint(path, split_column="fold_modulo_5")
    assert "expected --folds with it, or --split_column" in complaint(path, fold="3")


def test_a_class_that_a_split_lacks_is_said(tmp_path):
    splits = ["train"] * 20 + ["validation"] * 5 + ["test"] * 5
    labels = ["x", "y"] * 10 + ["x"] * 5 + ["x", "y"] * 2 + ["x"]
    notes = found(write(tmp_path, {"sequence": sequences(30), "label": labels, "split": splits})).notes
    assert "split: no validation row has class 'y'" in notes and not any("no test row" in note for note in notes)


def test_repeated_rows_that_all_are_left_out_are_no_duplicates():
    splits, notes = np.array([DROPPED, DROPPED, TRAIN], np.int8), []
    found = check_leaks(splits, Strings.of(["MKT", "mkt", "MKA"]), np.array([1.0, 2.0, 3.0]), False, notes)
    assert (found == splits).all() and not notes
