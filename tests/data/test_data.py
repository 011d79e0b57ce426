"""From tables to checked, split, encoded data: what is found, and the line that each bad table gets."""

import hashlib
import json
import sys

import numpy as np
import openpyxl
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from lyra import LyraTokenizer
from lyra.data import SPLITS, DataArguments, LyraCollator, prepare
from lyra.data.columns import LABEL_COLUMNS
from lyra.errors import InputError
from lyra.training import ModelArguments

SEQUENCES = ["MKTAYIAK", "MKTAYIAR", "LLKTAYIA", "GAVLIMFW", "PSTCYNQD", "EKRHMKTA", "YIAKQRQI", "SFVKSHFS", "RQLEERLG"]
VALUES = np.arange(9) + 0.5


def write(tmp_path, columns, name="t.csv"):
    lines = [",".join(columns)] + [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n")
    return path


def table(tmp_path, labels, sequences=SEQUENCES, **columns):
    return write(tmp_path, {"sequence": sequences, "label": labels} | columns)


def found(path, **arguments):
    return prepare(DataArguments(data=str(path), **arguments))


def complaint(path, **arguments):
    with pytest.raises(InputError) as error:
        found(path, **arguments)
    text = str(error.value)
    assert "\n" not in text
    return text


# ── What is found ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("labels", "task", "names"),
    [
        ([0.5, 1, 2, 3, 4, 5, 6, 7, 8], "regression", ("label",)),
        ([3, 10, 20, 30, 40, 50, 60, 70, 80], "regression", ("label",)),
        ([0, 1, 0, 1, 0, 1, 0, 1, 0], "classification", ("0", "1")),
        ([0, 1, 2, 1, 0, 1, 2, 1, 0], "classification", ("0", "1", "2")),
        (
            ["tRNA", "IRES", "tRNA", "IRES", "tRNA", "IRES", "tRNA", "IRES", "x y"],
            "classification",
            ("IRES", "tRNA", "x y"),
        ),
        (
            ["HHHHEEEE", "CCCCCCCC", "HHHHHHHH", *["EEEECCCC"] * 3, "HHHEEECC", "CCCHHHEE", "ECECECEC"],
            "token_classification",
            ("C", "E", "H"),
        ),
        (
            [
                "00001111",
                "11110000",
                "00000000",
                "10000000",
                "01000000",
                "00010000",
                "00000001",
                "11000000",
                "10101010",
            ],
            "token_classification",
            ("0", "1"),
        ),
        (
            ["0.5 1 2 3 4 5 6 7"] * 5 + ["1 2 3 4 5 6 7 8"] * 2 + ["1 2 3 4 5 6 7 9", "1 1 1 1 1 1 1 1"],
            "token_regression",
            ("label",),
        ),
    ],
)
def test_tasks(tmp_path, labels, task, names):
    prepared = found(table(tmp_path, labels))
    assert (prepared.task.name, prepared.task.names) == (task, names)


def test_several_label_columns(tmp_path):
    columns = {"seq": SEQUENCES, "a": [0, 1] * 4 + [0], "b": [1, 0] * 4 + [1]}
    path = write(tmp_path, columns)
    assert found(path, label_columns=["a", "b"]).task.name == "multilabel"
    assert found(path, label_columns=["a", "b"], task="regression").task.names == ("a", "b")
    per_residue = {name: ["01010101"] * 5 + ["00001111"] * 4 for name in "ab"}
    path = write(tmp_path, {"seq": SEQUENCES} | per_residue)
    assert found(path, label_columns=["a", "b"], task="token_multilabel").dataset["train"][0]["labels"][1] == [1, 1]


@pytest.mark.parametrize(
    ("sequences", "alphabet"),
    [
        (["ACGTACGTAA", "CCGTACGTRY", "NNNNACGTAC"], "dna"),
        (["acguacguaa", "ccguacguaa", "uuuuacguac"], "rna"),
        (["MKTAYIAKQR", "ACGTACGTAA", "ACGTACGTCC"], "protein"),
    ],
)
def test_alphabets(tmp_path, sequences, alphabet):
    path = write(
        tmp_path,
        {"mutated_sequence": 2 * sequences, "DMS_score": np.arange(6) + 0.5, "split": ["train"] * 4 + ["val", "test"]},
    )
    assert found(path).tokenizer.alphabet == alphabet


def test_class_names_that_happen_to_be_as_long_as_the_sequences(tmp_path):
    sequences = ["ACGT", "CGTA", "GTAC", "TACG", "AACC", "GGTT", "ATAT", "CGCG", "AAAA"]
    prepared = found(table(tmp_path, ["good", "evil"] * 4 + ["good"], sequences=sequences))
    assert prepared.task.name == "classification"


def test_the_tables_own_splits_and_their_names(tmp_path):
    prepared = found(table(tmp_path, VALUES, split=["train"] * 5 + ["valid", "val", "test", "test"]))
    assert [len(prepared.rows[split]) for split in SPLITS] == [5, 2, 2]
    assert [row["label"] for row in prepared.rows["test"]] == ["7.5", "8.5"]


def test_a_missing_validation_split_comes_from_the_training_rows(tmp_path):
    path = table(tmp_path, VALUES, split=["train"] * 7 + ["test"] * 2)
    prepared = found(path, validation_fraction=0.3)
    assert [len(prepared.rows[split]) for split in SPLITS] == [5, 2, 2]
    assert any("2 of the 7 training rows become validation" in note for note in prepared.notes)


def test_random_splits_are_seeded_and_keep_equal_sequences_together(tmp_path):
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list("ACDE"), 3)) for _ in range(300)]  # 64 different ones
    path = table(tmp_path, rng.normal(size=300), sequences=sequences)
    one, same, other = (found(path, split_seed=seed) for seed in (0, 0, 1))
    assert [*one.rows["test"]] == [*same.rows["test"]] != [*other.rows["test"]]
    groups = [{row["sequence"] for row in one.rows[split]} for split in SPLITS]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    assert all(15 <= len(one.rows[split]) <= 60 for split in ("validation", "test"))


def test_leaks_and_conflicts_are_reported_and_dropped(tmp_path):
    sequences = [*SEQUENCES[:7], SEQUENCES[0].lower(), SEQUENCES[5]]
    path = table(tmp_path, VALUES, sequences=sequences, split=["train"] * 5 + ["validation"] * 2 + ["test"] * 2)
    kept, dropped = found(path), found(path, drop_leaked=True)
    assert any("2 rows have a sequence that is also in a later split (kept" in note for note in kept.notes)
    assert any("2 sequences appear in several rows with different labels" in note for note in kept.notes)
    assert [len(kept.rows[split]) for split in SPLITS] == [5, 2, 2]
    assert [len(dropped.rows[split]) for split in SPLITS] == [4, 1, 2]


def test_masked_residues_have_no_label(tmp_path):
    labels = ["HHHHEEEE", "CCCCCCCC", "HHHHHHHH", *["EEEECCCC"] * 3, "HHHEEECC", "CCCHHHEE", "ECECECEC"]
    path = table(tmp_path, labels, label_mask=["01111110"] * 9, split=["train"] * 7 + ["validation", "test"])
    labels = found(path).dataset["train"][0]["labels"]
    assert labels == [-100, 2, 2, 2, 1, 1, 1, -100]


def test_folders_fasta_and_joined_labels(tmp_path):
    folder = tmp_path / "splits"
    folder.mkdir()
    for name, rows in (("train", SEQUENCES[:5]), ("val", SEQUENCES[5:7]), ("test", SEQUENCES[7:])):
        (folder / f"{name}.fasta").write_text("".join(f">{s} \n{s}\n" for s in rows))
    labels = tmp_path / "labels.tsv"
    labels.write_text("id\tscore\n" + "".join(f"{s}\t{i}.5\n" for i, s in enumerate(SEQUENCES)))
    prepared = found(folder, labels=str(labels))
    assert [len(prepared.rows[split]) for split in SPLITS] == [5, 2, 2]
    assert prepared.rows["test"][0]["score"] == "7.5"
    fasta = tmp_path / "t.fa"
    fasta.write_text("".join(f">s{i} label={i}.5\n{s[:4]}\n{s[4:]}\n" for i, s in enumerate(SEQUENCES)))
    assert found(fasta).task.name == "regression"


def parts(tmp_path, *names):
    """A folder with two rows in each file."""
    folder = tmp_path / "splits"
    for number, name in enumerate(names):
        chosen = slice(2 * number, 2 * number + 2)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        table(tmp_path, VALUES[chosen], SEQUENCES[chosen]).rename(folder / name)
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ("train-2.csv", "train-10.csv", "valid.csv", "test_1.csv"),
        ("train-00000-of-00002.csv", "train-00001-of-00002.csv", "dev.csv", "test.csv"),
        ("train/a.csv", "train/b.csv", "val/x.csv", "testing.csv"),
    ],
)
def test_splits_in_several_files(tmp_path, names):
    prepared = found(parts(tmp_path, *names))
    sequences = [[*prepared.rows[split].column("sequence")] for split in SPLITS]
    assert sequences == [SEQUENCES[:4], SEQUENCES[4:6], SEQUENCES[6:8]]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train.csv", "train.tsv"), "two sources of the train split, train.csv and train.tsv"),
        (("train.csv", "train-1.csv"), "two sources of the train split, train-1.csv and train.csv"),
        (("train.csv", "valid.csv", "val/1.csv"), "two sources of the validation split, val and valid.csv"),
        (("train-1.csv", "train_1.tsv"), "two sources of the train split, train-1.csv and train_1.tsv"),
        (
            ("train-00000-of-00003.csv", "train-00002-of-00003.csv"),
            "expected 3 files of the train split, as train-00000-of-00003.csv says, got 2",
        ),
        (("train.csv", "test/readme.txt"), "expected tables of the test split in this folder, found none"),
        (("trains.csv", "test.csv"), "expected a file train.csv"),
    ],
)
def test_files_of_splits_that_do_not_fit(tmp_path, names, message):
    assert message in complaint(parts(tmp_path, *names))


def test_a_hub_data_set(monkeypatch):
    """What `load_dataset` returns is read like a table; the Hub itself is out of reach here."""
    splits = {"train": slice(0, 6), "valid": slice(6, 7), "test": slice(7, 9)}
    loaded = DatasetDict(
        {s: Dataset.from_dict({"seq": SEQUENCES[part], "score": VALUES[part]}) for s, part in splits.items()}
    )
    asked = []
    monkeypatch.setattr("datasets.load_dataset", lambda *name: asked.append(name) or loaded)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    prepared = found("user/name", data_config="fold_1")
    assert asked == [("user/name", "fold_1")] and prepared.source == "user/name"
    assert [len(prepared.rows[split]) for split in SPLITS] == [6, 1, 2]
    rows = [["train"] * 6 + ["validation"] + ["test"] * 2, [row for part in loaded.values() for row in part]]
    assert prepared.sha256 == hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    monkeypatch.setattr("datasets.load_dataset", lambda *name: DatasetDict({"unsplit": loaded["train"]}))
    assert "expected splits named train, validation and test, got 'unsplit'" in complaint("user/name")


def test_classes_of_a_hub_data_set(monkeypatch):
    features = Features({"sequence": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    rows = {"sequence": SEQUENCES, "label": [0, 1, 0, 1, 0, 1, 0, 1, -1]}
    loaded = DatasetDict(train=Dataset.from_dict(rows, features=features).shuffle(seed=0))
    monkeypatch.setattr("datasets.load_dataset", lambda *name: loaded)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    prepared = found("user/name", missing_labels="skip")
    assert prepared.task.names == ("no", "yes") and sum(map(len, prepared.rows.values())) == 8
    of = {row["sequence"]: row["label"] for part in prepared.rows.values() for row in part}
    assert [of[s] for s in SEQUENCES[:8]] == ["no", "yes"] * 4


@pytest.mark.parametrize(
    "header", ["s{} label={}.5", "s{}|label={}.5", "s{}\tlabel={}.5", "s{} x;label={}.5;sequence=WWW"]
)
def test_labels_in_fasta_headers(tmp_path, header):
    folder = tmp_path / "splits"
    folder.mkdir()
    records = [f">{header.format(i, i)}\n{s}\n" for i, s in enumerate(SEQUENCES)]
    for name, part in (("train", slice(0, 5)), ("valid", slice(5, 7)), ("test", slice(7, 9))):
        (folder / f"{name}.fa").write_text("".join(records[part]))
    prepared = found(folder)
    assert prepared.rows["test"][1]["label"] == "8.5" and prepared.rows["test"][1]["sequence"] == SEQUENCES[8]


@pytest.mark.parametrize("column", ["set", "mask", "resolved", "partition"])
def test_columns_with_usual_names_that_mean_something_else(tmp_path, column):
    labels = ["HHHHEEEE", "CCCCCCCC", "HHHHHHHH", *["EEEECCCC"] * 3, "HHHEEECC", "CCCHHHEE", "ECECECEC"]
    prepared = found(table(tmp_path, labels, **{column: ["batch A"] * 9}))
    assert sum(len(rows) for rows in prepared.rows.values()) == 9


@pytest.mark.parametrize(
    ("labels", "names"),
    [(["0.0", "1.0"] * 4 + ["0.0"], ("0", "1")), (["True", "False"] * 4 + ["True"], ("False", "True"))],
)
def test_classes_as_programs_write_them(tmp_path, labels, names):
    task = found(table(tmp_path, labels)).task
    assert (task.name, task.names) == ("classification", names)


def test_json_lists_as_labels(tmp_path):
    path = tmp_path / "t.jsonl"
    rows = [{"sequence": s, "label": [0.5, None, *range(6)]} for s in SEQUENCES]
    path.write_text("\n".join(map(json.dumps, rows)))
    prepared = found(path)
    assert prepared.task.name == "token_regression"
    assert np.isnan(prepared.dataset["train"][0]["labels"][1])


def test_ids_are_those_of_the_tokenizer(tmp_path):
    path = table(tmp_path, VALUES, sequences=[f"{s[:3].lower()} {s[3:]}" for s in SEQUENCES])
    prepared = found(path)
    row = prepared.rows["train"][0]["sequence"]
    assert prepared.dataset["train"][0]["input_ids"] == LyraTokenizer()(row)["input_ids"]


# ── What is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_truth_values_are_no_measurements(tmp_path):
    assert "row 3 (line 4), column 'label': expected a number, got 'True'" in complaint(
        table(tmp_path, [0.5, 1, "True", 3, 4, 5, 6, 7, 8])
    )


@pytest.mark.parametrize("label", ["", "nan", "NaN", "inf", "-inf", "high", "1_000"])
def test_a_label_that_is_no_number(tmp_path, label):
    path = table(tmp_path, [0.5, 1, label, 3, 4, 5, 6, 7, 8])
    text = complaint(path)
    assert text.startswith(f"{path}, row 3 (line 4), column 'label': ") and ("number" in text or "missing" in text)


def test_text_among_integer_classes(tmp_path):
    assert "row 3 (line 4), column 'label': expected a number, got 'maybe'" in complaint(
        table(tmp_path, [0, 1, "maybe", 1, 0, 1, 0, 1, 0])
    )


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["yes"] * 9, "expected at least two classes, got only 'yes'"),
        ([1.5] * 9, "every label is 1.5, so there is nothing to learn"),
        (["yes"] * 4 + [""] + ["no"] * 4, "row 5 (line 6), column 'label': the label is missing"),
        ([f"text {i}" for i in range(9)], "9 different texts in 9 rows are neither numbers nor classes"),
    ],
)
def test_labels_without_anything_to_learn(tmp_path, labels, expected):
    assert expected in complaint(table(tmp_path, labels))


def test_decimal_commas_are_no_classes(tmp_path):
    path = tmp_path / "t.csv"
    rows = zip(SEQUENCES, ["1,5", "2,5"] * 4 + ["1,5"], strict=True)
    path.write_text("sequence;label\n" + "".join(f"{s};{label}\n" for s, label in rows))
    assert "column 'label': decimal commas as in '1,5'; --decimal , reads them" in complaint(path)


def test_residue_labels_of_another_length(tmp_path):
    labels = ["HHHHEEEE", "CCCCCCCC", "HHHHHHHH", "HHH", *["EEEECCCC"] * 3, "HHHEEECC", "CCCHHHEE"]
    # eight of nine match, so the user says what the column is
    text = complaint(table(tmp_path, labels), task="token_classification")
    assert "row 4 (line 5), column 'label': expected 8 labels, one per residue, got 3" in text


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        ("", "column 'sequence': the sequence is empty"),
        ("  ", "column 'sequence': the sequence is empty"),
        ("NaN", "column 'sequence': expected a sequence, got 'NaN'"),
        ("MKß", "2 character(s) outside the alphabet protein ('ß' x 1, '1' x 1)"),
        ("MK1T?", "3 character(s) outside the alphabet protein"),
    ],
)
def test_bad_sequences(tmp_path, sequence, expected):
    sequences = [*SEQUENCES[:2], sequence, *SEQUENCES[3:8], "1" + SEQUENCES[8]]
    path = table(tmp_path, VALUES, sequences=sequences)
    text = complaint(path)
    assert f"{path}, row 3 (line 4)" in text and expected in text


def test_unknown_characters_can_be_read(tmp_path):
    path = table(tmp_path, VALUES, sequences=[*SEQUENCES[:8], "MK?"])
    prepared = found(path, unknown="token")
    assert any("1 character(s) outside the alphabet protein ('?' x 1), read as <unk>" in n for n in prepared.notes)


@pytest.mark.parametrize(
    ("columns", "arguments", "expected"),
    [
        (["seq", "other"], {}, "no label column among 'seq', 'other'"),
        (["protein_id", "label"], {}, "no sequence column among 'protein_id', 'label'"),
        (["seq", "label"], {"sequence_column": "s"}, "no column 's' (--sequence_column), only 'seq', 'label'"),
        (["seq", "label"], {"label_columns": ["y"]}, "no column 'y' (--label_columns), only 'seq', 'label'"),
        (["seq", "label"], {"split_column": "fold"}, "no column 'fold' (--split_column)"),
        (["seq", "label"], {"label_columns": ["label", "label"]}, "'label' is the sequence column or named twice"),
        (["seq", "label"], {"label_columns": ["seq"]}, "'seq' is the sequence column or named twice"),
        (["seq", "label"], {"mask_column": "label"}, "--mask_column: only for per-residue tasks"),
        (["seq", "label"], {"alphabet": "dnaa"}, "--alphabet: `alphabet` must be one of"),
        (["seq", "label"], {"validation_fraction": -0.1}, "--validation_fraction: expected a number between 0 and 1"),
        (["seq", "label"], {"validation_fraction": 0.5, "test_fraction": 0.5}, "expected a sum below 1"),
    ],
)
def test_columns_and_arguments(tmp_path, columns, arguments, expected):
    path = write(tmp_path, dict(zip(columns, (SEQUENCES, VALUES), strict=True)))
    assert expected in complaint(path, **arguments)


def test_bad_splits(tmp_path):
    split = ["train"] * 7 + ["tset", "test"]
    assert "row 8 (line 9), column 'split': expected train, validation or test, got 'tset'" in complaint(
        table(tmp_path, VALUES, split=split)
    )
    assert "the train split has 1 distinct label(s), at least two are needed" in complaint(
        table(tmp_path, [0] * 5 + [0, 1, 0, 1], split=["train"] * 5 + ["validation"] * 2 + ["test"] * 2)
    )
    assert "the test split has no rows" in complaint(table(tmp_path, [1.5, 2.5], sequences=SEQUENCES[:2]))


def test_other_sources(tmp_path):
    header_only = tmp_path / "t.csv"
    header_only.write_text("sequence,label\n")
    assert "the table has no rows" in complaint(header_only)
    assert "expected a file train.csv" in complaint(tmp_path)
    assert "no such file" in complaint(tmp_path / "none.csv")
    assert "the Hub is disabled" in complaint("user/name")
    assert "not the id of a Hub data set" in complaint("what is this")
    path = table(tmp_path, VALUES, id=[f"s{i}" for i in range(9)])
    labels = tmp_path / "labels.csv"
    labels.write_text("id,score\ns0,1\ns0,2\n")
    assert "row 2 (line 3), column 'id': duplicate id 's0'" in complaint(path, labels=str(labels))
    labels.write_text("id,score\ns0,1\n")
    assert "row 2 (line 3), column 'id': 's1' has no row in" in complaint(path, labels=str(labels))
    labels.write_text("id,sequence\n" + "".join(f"s{i},MK\n" for i in range(9)))
    assert "the column 'sequence' is also in" in complaint(path, labels=str(labels))
    labels.write_text("id,score\ns0,1\n")
    path = table(tmp_path, VALUES, id=["s0"] * 9)
    assert "row 2 (line 3), column 'id': duplicate id 's0'" in complaint(path, labels=str(labels))


# ── Batches ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_collator():
    tokenizer = LyraTokenizer()
    examples = [{"input_ids": [3, 4, 5], "labels": [0.5, float("nan"), 1.0]}, {"input_ids": [6], "labels": [2.0]}]
    batch = LyraCollator(tokenizer, per_token=True)(examples)
    assert batch["input_ids"].tolist() == [[3, 4, 5], [6, 0, 0]]
    assert batch["labels"].tolist() == [[0.5, -100, 1.0], [2.0, -100, -100]]
    outputs = [{"input_ids": [3, 4, 5], "labels": [1.0, 0.0, 1.0]}]  # as many outputs as residues
    batch = LyraCollator(tokenizer, per_token=False)(outputs)
    assert batch["labels"].shape == (1, 3) and batch["labels"].dtype == torch.float32


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("group=a", [0.5, 1.5, 2.5, 3.5]),
        ("group != a", [4.5, 5.5, 6.5, 7.5, 8.5]),
        ("label>3.5", [4.5, 5.5, 6.5, 7.5, 8.5]),
        ("label <= 3.5", [0.5, 1.5, 2.5, 3.5]),
    ],
)
def test_rows_that_fulfil_a_condition(tmp_path, condition, kept):
    path = write(tmp_path, {"sequence": SEQUENCES, "label": VALUES, "group": ["a"] * 4 + ["b"] * 5})
    prepared = found(path, where=[condition], task="regression")
    assert sorted(float(row["label"]) for rows in prepared.rows.values() for row in rows) == kept
    assert f"rows: {len(kept)} of 9 where {condition}" in prepared.notes


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("label", "--where: expected column=value"),
        ("nothing=1", "--where: .*sequence"),
        ("label>many", "--where.*expected a number after >, got 'many'"),
        ("sequence>3", r"row 1 .*'sequence': expected a number"),
        ("label=77", "no rows are left by --where"),
    ],
)
def test_bad_conditions(tmp_path, condition, message):
    with pytest.raises(InputError, match=message):
        found(table(tmp_path, VALUES), where=[condition])


def test_conditions_compare_numbers_and_booleans_as_such(tmp_path):
    path = tmp_path / "t.jsonl"
    with open(path, "w") as file:
        for i, (sequence, label) in enumerate(zip(SEQUENCES, VALUES, strict=True)):
            file.write(json.dumps({"sequence": sequence, "label": label, "fold": float(i % 2), "ok": i < 6}) + "\n")
    assert "rows: 5 of 9 where fold=0" in found(path, where=["fold=0"]).notes
    assert "rows: 6 of 9 where ok=true" in found(path, where=["ok=true"]).notes


def test_a_condition_must_leave_something_of_each_split(tmp_path):
    path = table(tmp_path, VALUES, split=["train"] * 6 + ["validation", "test", "test"])
    with pytest.raises(InputError, match="no row of the test split is left by --where 'label<7'"):
        found(path, where=["label<7"])


def test_a_threshold_makes_two_classes(tmp_path):
    prepared = found(table(tmp_path, VALUES, split=["train"] * 7 + ["val", "test"]), label_threshold=2.5)
    assert (prepared.task.name, prepared.task.names) == ("classification", ("0", "1"))
    assert prepared.dataset["train"]["labels"] == [0, 0, 0, 1, 1, 1, 1]
    with pytest.raises(InputError, match=r"row 3 .*expected a number, got 'x'"):
        found(table(tmp_path, [*VALUES[:2], "x", *VALUES[3:]]), label_threshold=2.5)


def test_folds_share_out_the_rows_with_equal_sequences_together(tmp_path):
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list("ACDE"), 3)) for _ in range(200)]
    path = table(tmp_path, rng.normal(size=200), sequences=sequences)
    tests = [found(path, folds=4, fold=k).rows["test"] for k in (1, 2, 3, 4)]
    whole = [row for rows in found(path).rows.values() for row in rows]
    assert sorted(str(row) for rows in tests for row in rows) == sorted(map(str, whole))
    for k, rows in enumerate(tests):
        others = {row["sequence"] for i, each in enumerate(tests) if i != k for row in each}
        assert rows and not others & {row["sequence"] for row in rows}


BAD_FOLDS = [{"folds": 3}, {"fold": 1}, {"folds": 3, "fold": 4}, {"folds": 1, "fold": 1}, {"folds": 99, "fold": 1}]


@pytest.mark.parametrize("flags", BAD_FOLDS)
def test_bad_folds(tmp_path, flags):
    with pytest.raises(InputError, match="--folds"):
        found(table(tmp_path, VALUES), **flags)


def test_folds_want_a_table_without_a_split(tmp_path):
    with pytest.raises(InputError, match="without a split"):
        found(table(tmp_path, VALUES, split=["train"] * 7 + ["val", "test"]), folds=3, fold=1)


@pytest.mark.parametrize(("name", "value"), [("task", "regresion"), ("unknown", "tokn")])
def test_choices_are_checked_in_python_too(name, value):
    with pytest.raises(InputError, match=f"--{name}: expected one of"):
        DataArguments(data="t.csv", **{name: value})
    with pytest.raises(InputError, match="--preset: expected one of bidirectional, paper, deep"):
        ModelArguments(preset="depe")


# ── Tables as people have them ───────────────────────────────────────────────────────────────────────────────────────


def test_decimal_commas(tmp_path):
    path = tmp_path / "t.csv"
    rows = zip(SEQUENCES, VALUES, strict=True)
    path.write_text("sequence;label;note\n" + "".join(f"{s};{v:.1f};a,b\n".replace(".", ",") for s, v in rows))
    data = found(path, decimal=",")
    assert sorted(np.concatenate([data.label_array(split) for split in SPLITS])) == VALUES.tolist()
    assert data.rows["train"][0]["note"] == "a,b"


def test_lists_with_decimal_commas(tmp_path):
    lists = ["[" + "; ".join(f"{v:.1f}".replace(".", ",") for v in range(8)) + "]" for _ in SEQUENCES]
    path = tmp_path / "t.tsv"
    path.write_text("sequence\tlabel\n" + "".join(f"{s}\t{row}\n" for s, row in zip(SEQUENCES, lists, strict=True)))
    assert found(path, decimal=",", task="token_regression").label_array("test").tolist() == list(range(8))


def test_points_in_labels_with_decimal_commas_are_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("sequence;label\n" + "".join(f"{s};1.05{i}\n" for i, s in enumerate(SEQUENCES)))
    assert "row 1 (line 2), column 'label': expected a decimal comma and no point" in complaint(path, decimal=",")


def test_spreadsheets(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["id", "sequence", None, "label"])
    for i, (sequence, value) in enumerate(zip(SEQUENCES, VALUES.tolist(), strict=True)):
        book.active.append([f"s{i}", sequence, "", value])
    book.active.append([None, None, None, None])
    book.save(tmp_path / "t.xlsx")
    data = found(tmp_path / "t.xlsx")
    assert sum(map(len, data.rows.values())) == 9 and set(data.rows["train"][0]) == {"id", "sequence", "label"}
    book.active["B4"] = "MK?"
    book.save(tmp_path / "t.xlsx")
    assert "row 3 (line 4), column 'sequence'" in complaint(tmp_path / "t.xlsx")
    (tmp_path / "t.xlsx").write_text("no")
    assert "not a readable .xlsx file" in complaint(tmp_path / "t.xlsx")


def test_spreadsheets_need_an_extra(tmp_path, monkeypatch):
    (tmp_path / "t.xlsx").write_text("")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    assert "pip install openpyxl" in complaint(tmp_path / "t.xlsx")


def test_rows_without_a_label_are_skipped(tmp_path):
    path = table(tmp_path, ["", *VALUES[1:8], "NA"])
    assert "row 1 (line 2), column 'label': the label is missing (got ''); --missing_labels skip" in complaint(path)
    data = found(path, missing_labels="skip")
    assert sum(map(len, data.rows.values())) == 7
    assert "rows: 2 of 9 have no label and are left out" in data.notes
    assert "no rows are left by --missing_labels" in complaint(table(tmp_path, [""] * 9), missing_labels="skip")


def test_labels_joined_by_columns_of_different_names(tmp_path):
    sequences = write(tmp_path, {"id": [f"p{i}" for i in range(9)], "sequence": SEQUENCES}, "s.csv")
    labels = write(tmp_path, {"gene": [f"p{i}" for i in range(9)][::-1], "label": VALUES}, "l.csv")
    data = found(sequences, labels=str(labels), id_column="gene", sequence_id_column="id")
    row = next(row for split in SPLITS for row in data.rows[split] if row["id"] == "p0")
    assert row["label"] == "8.5" and row["sequence"] == SEQUENCES[0]
    own = {"id": [f"p{i}" for i in range(9)], "gene": ["g"] * 9, "sequence": SEQUENCES}
    kept = found(write(tmp_path, own, "o.csv"), labels=str(labels), id_column="gene", sequence_id_column="id")
    assert all(row["gene"] == "g" for split in SPLITS for row in kept.rows[split])
    few = write(tmp_path, {"id": [f"p{i}" for i in range(8)], "label": VALUES[:8]}, "few.csv")
    assert "'p8' has no row in" in complaint(sequences, labels=str(few))
    skipped = found(sequences, labels=str(few), missing_labels="skip")
    assert "rows: 1 of 9 have no label and are left out" in skipped.notes
    message = complaint(sequences, labels=str(labels), id_column="gene")
    assert "s.csv: no column 'gene'" in message and "--sequence_id_column" in message


def test_columns_that_are_not_used_are_named(tmp_path):
    others = {"other": SEQUENCES[::-1], "stability": VALUES, "fold_5": [*range(5), *range(4)], "constant": [1] * 9}
    path = table(tmp_path, VALUES, name=[f"n {i}" for i in range(9)], **others)
    notes = found(path).notes
    assert "columns: sequences that are not used: 'other' (--pair_column)" in notes
    assert "columns: folds that are not used: 'fold_5' (--split_column and --fold)" in notes
    assert "columns: numbers that are not used: 'stability' (--label_columns or --feature_columns)" in notes
    assert not any("stability" in note for note in found(path, where=["stability>0"]).notes if "not used" in note)


@pytest.mark.parametrize(
    ("labels", "task", "note"),
    [
        (
            [0, 1, 2],
            "classification",
            "labels: the 3 different integers are read as classes; --task regression reads numbers",
        ),
        (
            [3, 5, 7],
            "regression",
            "labels: the 3 different integers are read as numbers; --task classification reads classes",
        ),
    ],
)
def test_digits_say_how_they_were_read(tmp_path, labels, task, note):
    data = found(table(tmp_path, labels * 3))
    assert data.task.name == task and note in data.notes
    assert not any("integers" in note for note in found(table(tmp_path, labels * 3), task=task).notes)


def test_every_name_of_a_column_is_listed(tmp_path):
    message = complaint(write(tmp_path, {"sequence": SEQUENCES, "foo": VALUES}))
    assert all(name in message for name in LABEL_COLUMNS)


# ── Spellings and alignments ─────────────────────────────────────────────────────────────────────────────────────────


def test_classes_are_counted_and_spellings_noticed(tmp_path):
    notes = found(table(tmp_path, ["yes", "no", "Yes"] * (len(SEQUENCES) // 3) + ["no"] * (len(SEQUENCES) % 3))).notes
    assert any(note.startswith("labels: classes 'Yes' ") and "'no'" in note for note in notes)
    assert any("'Yes' and 'yes' are different classes" in note or "'Yes', 'yes'" in note for note in notes)


def test_the_alignment_of_pairs_is_said(tmp_path):
    columns = {"sequence": ["ACGTACGT", "ACGTTTTT", "GGGTACGT"] * 4, "guide": ["ACG", "CCC", "GGG"] * 4}
    path = write(tmp_path, columns | {"label": [i / 7 for i in range(12)]})
    notes = found(path, pair_column="guide", pair_offset=2).notes
    assert "pairs: 'guide' begins 2 letters after the start of 'sequence' (--pair_offset)" in notes


def test_labels_of_other_sequences_are_no_labels(tmp_path):
    sequences = write(tmp_path, {"id": [f"sp|{i}" for i in range(9)], "sequence": SEQUENCES[:9]}, "s.csv")
    labels = write(tmp_path, {"id": [str(i) for i in range(9)], "label": [i / 9 for i in range(9)]}, "l.csv")
    message = complaint(sequences, labels=str(labels), missing_labels="skip")
    assert "none of its 9 ids" in message and "'sp|0' here, '0' there" in message


def test_rows_of_labels_without_a_sequence_are_counted(tmp_path):
    sequences = write(tmp_path, {"id": [str(i) for i in range(9)], "sequence": SEQUENCES[:9]}, "s.csv")
    labels = write(tmp_path, {"id": [str(i) for i in range(12)], "label": [i / 9 for i in range(12)]}, "l.csv")
    assert f"labels: 3 rows of {labels} have no sequence in {sequences}" in found(sequences, labels=str(labels)).notes


def test_lines_before_the_header(tmp_path):
    (tmp_path / "sep.csv").write_text(
        "sep=;\nsequence;label\n" + "".join(f"{s};0.{i}\n" for i, s in enumerate(SEQUENCES))
    )
    assert found(tmp_path / "sep.csv").task.name == "regression"
    (tmp_path / "title.csv").write_text("My plate,,\nsequence,label,x\nACD,1,2\n")
    assert "the first line must name the columns" in complaint(tmp_path / "title.csv")
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for line in [[], [], ["sequence", "label"], *([s, i / 7] for i, s in enumerate(SEQUENCES))]:
        book.active.append(line)
    book.save(tmp_path / "blank.xlsx")
    assert len(found(tmp_path / "blank.xlsx").rows["train"]) > 0
