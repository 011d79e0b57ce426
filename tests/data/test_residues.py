"""Labels per residue: gaps, masks, sequences that are scored in part, and how cells may write them."""

import json

import numpy as np
import pytest
from test_data import SEQUENCES, complaint, found, table, write

from lyra.data.cells import is_missing
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
    assert count_entries(cell) == len(expected)


def test_one_decimal_number_is_one_label():
    assert count_entries("-12.75") == count_entries("0.5") == 1


def test_missing_numbers_are_not_measured(tmp_path):
    rows = [list(row) for row in SCORES]
    rows[0][2] = rows[3][7] = "nan"
    rows[5] = ["nan"] * 8
    data = found(table(tmp_path, [" ".join(row) for row in rows]))
    assert data.task.name == "token_regression"
    labels = in_order(data)
    assert np.flatnonzero(np.isnan(labels[SEQUENCES[0]])).tolist() == [2] and np.isnan(labels[SEQUENCES[5]]).all()
    assert "labels: 62 of 72 are there, the others count as not measured" in data.notes
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
        (["0.1 0.2 0.3"], {}, "expected 8 labels, one per residue, got 3; --scored_residues says how many"),
        ([""], {}, "the label is missing; --missing_labels skip"),
        (
            [],
            {"scored_residues": "length"},
            "'length': expected the number of residues with labels, from 0 to 8, got '9'",
        ),
        ([], {"scored_residues": "7"}, "expected 8 labels, one per residue, got 9"),
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
