"""Labels per residue: gaps, masks, sequences that are scored in part, and how cells may write them."""

import json

import numpy as np
import pytest
from test_data import SEQUENCES, complaint, found, table, write

from lyra.data.cells import Cells, is_missing
from lyra.data.residues import count_entries, entries

RNG = np.random.default_rng(0)
SCORES = [[f"{x:.2f}" for x in RNG.normal(size=8)] for _ in SEQUENCES]


def labels_of(data):
    return [np.asarray(row) for split in ("train", "validation", "test") for row in data.dataset[split]["labels"]]


def in_order(data):
    """The labels by sequence, since rows are split at random."""
    sequences = [sequence for split in ("train", "validation", "test") for sequence in data.sequences[split]]
    return dict(zip(sequences, labels_of(data), strict=True))


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("0.5 1 nan", [0.5, 1, None]),
        ("[0.5, 1, NaN]", [0.5, 1, None]),
        ("0.5;1;NA", [0.5, 1, None]),
        ("0.5,1,null", [0.5, 1, None]),
        ([0.5, 1, None], [0.5, 1, None]),
        ("['H', 'E']", ["H", "E"]),
        ("HEC", ["H", "E", "C"]),
        ("012", ["0", "1", "2"]),
    ],
)
def test_entries(cell, expected):
    assert [None if is_missing(entry) else entry for entry in entries(cell)] == expected
    assert count_entries(Cells([cell])).tolist() == [len(expected)]


def test_one_decimal_number_is_one_label(tmp_path):
    assert entries("-12.75") == [-12.75] and count_entries(Cells(["0.5"])).tolist() == [1]
    data = found(table(tmp_path, [row[0] for row in SCORES]), task="token_regression", scored_residues=1)
    assert in_order(data)[SEQUENCES[4]][0] == float(SCORES[4][0])


def test_none_may_be_a_class_of_a_residue(tmp_path):
    rows = [["none", "helix", None, "sheet", "none", "none", "helix", "sheet"] for _ in SEQUENCES]
    lines = [json.dumps({"sequence": s, "label": row}) + "\n" for s, row in zip(SEQUENCES, rows, strict=True)]
    (tmp_path / "t.jsonl").write_text("".join(lines))
    data = found(tmp_path / "t.jsonl")
    assert data.task.names == ("helix", "none", "sheet")
    assert labels_of(data)[0].tolist() == [1, 0, -100, 2, 1, 1, 0, 2]


def test_columns_that_only_have_the_names_of_masks_and_counts(tmp_path):
    columns = {"resolved": ["yes", "no", *[""] * 7], "seq_scored": [""] * 9}
    assert found(table(tmp_path, [" ".join(row) for row in SCORES], **columns)).task.name == "token_regression"
    assert (
        found(table(tmp_path, np.arange(9) + 0.5, seq_scored=[""] * 9, mask=["0", "1"] * 4 + ["1"])).task.name
        == "regression"
    )


def test_booleans_are_a_mask(tmp_path):
    mask = [True, False] * 4
    rows = [
        {"sequence": s, "label": [float(x) for x in row], "mask": mask}
        for s, row in zip(SEQUENCES, SCORES, strict=True)
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert np.isnan(labels_of(found(tmp_path / "t.jsonl"))[0]).tolist() == [not kept for kept in mask]


def test_missing_numbers_are_not_measured(tmp_path):
    rows = [list(row) for row in SCORES]
    rows[0][2] = rows[3][7] = "nan"
    rows[5] = ["nan"] * 8
    data = found(table(tmp_path, [" ".join(row) for row in rows]))
    assert data.task.name == "token_regression"
    labels = in_order(data)
    assert np.flatnonzero(np.isnan(labels[SEQUENCES[0]])).tolist() == [2] and np.isnan(labels[SEQUENCES[5]]).all()
    assert "labels: 62 of 72 labels of residues are there; the others are treated as missing" in data.notes
    (empty,) = [note for note in data.notes if "no residue has one" in note]
    assert "in 1 rows" in empty and "row 6 (line 7)" in empty


def test_missing_digits_do_not_make_classes_numbers(tmp_path):
    data = found(table(tmp_path, ["0 1 nan 0 1 1 0 1"] * 4 + ["1 1 0 0 1 nan 0 0"] * 5))
    assert data.task.name == "token_classification" and data.task.names == ("0", "1")
    assert labels_of(data)[0].tolist().count(-100) == 1


@pytest.mark.parametrize("how", ["column", "flag", "number", "mask"])
def test_labels_of_the_first_residues(tmp_path, how):
    path = tmp_path / "t.jsonl"
    name = {"column": "seq_scored", "flag": "measured"}.get(how)
    with open(path, "w") as file:
        for sequence, scores in zip(SEQUENCES, SCORES, strict=True):
            row = {"sequence": sequence, "label": list(map(float, scores[:5]))} | ({name: 5} if name else {})
            row |= {"mask": "10111000"} if how == "mask" else {}
            file.write(json.dumps(row) + "\n")
    flags = {"flag": {"scored_residues": "measured"}, "number": {"scored_residues": "5"}}.get(how, {})
    data = found(path, **flags, **({"task": "token_regression"} if how == "mask" else {}))
    labels = in_order(data)[SEQUENCES[2]]
    expected = [*map(float, SCORES[2][:5]), *[np.nan] * 3]
    if how == "mask":
        expected[1] = np.nan
    np.testing.assert_allclose(labels, expected)


def test_what_a_mask_hides_is_not_read(tmp_path):
    rows = [" ".join(["?" if i == 1 else x for i, x in enumerate(row)]) for row in SCORES]
    path = table(tmp_path, [f'"[{row.replace(" ", ", ")}]"' for row in rows], label_mask=["10111111"] * 9)
    data = found(path, task="token_regression")
    assert all(np.flatnonzero(np.isnan(row)).tolist() == [1] for row in labels_of(data))


@pytest.mark.parametrize(
    ("labels", "flags", "message"),
    [
        (["0.1 0.2 0.3 x 0.5 0.6 0.7 0.8"], {}, "column 'label', residue 4: expected a number, got 'x'; --mask_column"),
        (["0.1 0.2 0.3"], {}, "expected 8 labels, one per residue, got 3; use --scored_residues"),
        ([""], {}, "the label is missing; --missing_labels skip"),
        (
            [],
            {"scored_residues": "length"},
            "'length': expected the number of residues with labels, from 0 to 8, got '9'",
        ),
        ([], {"scored_residues": "7"}, "one per scored residue, got 9"),
    ],
)
def test_bad_labels_of_residues(tmp_path, labels, flags, message):
    rows = [" ".join(row) for row in SCORES]
    rows[1 : 1 + len(labels)] = [label + " " if label == "" else label for label in labels]
    if flags.get("scored_residues") == "7":
        rows[1] += " 0.5"
    path = write(tmp_path, {"sequence": SEQUENCES, "label": rows, "length": [8, 9, *[8] * 7]})
    assert message in complaint(path, task="token_regression", **flags)


def test_scored_residues_are_for_labels_per_residue(tmp_path):
    assert "only for per-residue tasks" in complaint(table(tmp_path, np.arange(9) + 0.5), scored_residues="4")


def test_digits_that_lost_their_first_zeros(tmp_path):
    digits = ["".join(map(str, RNG.integers(0, 2, len(sequence)))) for sequence in SEQUENCES]
    as_numbers = [str(int(text)) for text in digits]
    message = complaint(table(tmp_path, as_numbers))
    assert "column 'label'" in message and "lost zeros at the start" in message
    assert found(table(tmp_path, as_numbers), task="regression").task.name == "regression"


def test_lists_of_another_length_are_named(tmp_path):
    half = [f"0.5 {0.25 + i}" for i, _ in enumerate(SEQUENCES)]
    message = complaint(table(tmp_path, half))
    assert "row 1 (line 2), column 'label': 2 labels for the 8 residues" in message and "--scored_residues" in message
    assert message == complaint(table(tmp_path, half, other=half), label_columns=["label", "other"])


def test_a_list_shorter_than_the_scored_residues(tmp_path):
    cells = [" ".join(scores[:5]) for scores in SCORES]
    cells[1] = " ".join(SCORES[1][:3])
    path = table(tmp_path, cells)
    assert "row 2 (line 3), column 'label': 3 labels for the 8 residues" in complaint(path, scored_residues="5")
    message = complaint(path, scored_residues="5", task="token_regression")
    assert "expected 8 labels, one per residue, or 5, one per scored residue, got 3" in message


def test_integers_of_residues_say_how_they_were_read(tmp_path):
    cells = [" ".join(map(str, RNG.integers(0, 10, len(sequence)))) for sequence in SEQUENCES]
    notes = found(table(tmp_path, cells)).notes
    assert "labels: the digits of residues are read as classes; --task token_regression reads numbers" in notes
    assert found(table(tmp_path, [";".join("HEC"[int(x) % 3] for x in cell.split()) for cell in cells])).task.per_token
