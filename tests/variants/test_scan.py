"""`lyra scan` as a user runs it: the table, matrices and plots, and one line for what cannot be."""

import csv
import json

import numpy as np
import pytest
import torch
from interrupted import KILLED, interrupted

from lyra import LyraConfig, LyraForSequenceClassification, LyraTokenizer
from lyra.cli import main
from lyra.conformal import fit_scores
from lyra.errors import InputError
from lyra.variants import scan

WILD_TYPE = "MEKTAYDDDWLG"


def save(folder, ensemble=1, alphabet="protein", **fields):
    torch.manual_seed(0)
    config = LyraConfig(hidden_size=8, state_size=4, ensemble_size=ensemble, alphabet=alphabet, **fields)
    LyraForSequenceClassification(config).save_pretrained(folder)
    LyraTokenizer(alphabet=alphabet).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def model(tmp_path):
    return save(tmp_path / "model", num_labels=1)


@pytest.fixture
def wild_type(tmp_path):
    file = tmp_path / "wild_type.fasta"
    file.write_text(f">wt\n{WILD_TYPE.lower()}\n")
    return str(file)


def read(file):
    with open(file, newline="") as lines:
        return list(csv.DictReader(lines))


def test_singles_are_what_predict_says(model, wild_type, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["scan", model, wild_type, "-o", str(out)]) == 0
    assert "12 x 19" not in capsys.readouterr().out
    rows = read(out / "scan.csv")
    assert len(rows) == 12 * 19 and list(rows[0]) == ["mutant", "mutated_sequence", "prediction", "effect"]
    assert rows[0]["mutant"] == "M1A" and rows[0]["mutated_sequence"] == "A" + WILD_TYPE[1:]
    assert main(["predict", model, str(out / "scan.csv"), "-o", str(tmp_path / "p.csv")]) == 2  # it has predictions
    with open(tmp_path / "t.csv", "w") as file:
        file.write("sequence\n" + "".join(f"{row['mutated_sequence']}\n" for row in rows) + WILD_TYPE + "\n")
    assert main(["predict", model, str(tmp_path / "t.csv"), "-o", str(tmp_path / "p.csv")]) == 0
    predicted = [float(row["prediction"]) for row in read(tmp_path / "p.csv")]
    np.testing.assert_allclose([float(row["prediction"]) for row in rows], predicted[:-1], atol=1e-5)
    effects = np.array(predicted[:-1]) - predicted[-1]
    np.testing.assert_allclose([float(row["effect"]) for row in rows], effects, atol=1e-5)
    matrix = read(out / "effects_matrix.csv")
    assert [row["pos"] for row in matrix] == [str(i + 1) for i in range(12)] and matrix[0]["M"] == ""
    assert float(matrix[0]["A"]) == pytest.approx(effects[0], abs=1e-5)
    assert {file.name for file in out.iterdir()} == {"scan.csv", "effects.png", "effects_matrix.csv", "heat_map.png"}


def test_intervals_are_those_of_predict(wild_type, tmp_path):
    labels = np.random.default_rng(0).normal(size=(99, 1))
    model = save(tmp_path / "c", num_labels=1, calibration=fit_scores("regression", labels * 0, None, labels))
    assert main(["scan", model, wild_type, "-o", str(tmp_path / "out"), "--interval", "0.9"]) == 0
    rows = read(tmp_path / "out" / "scan.csv")
    assert list(rows[0]) == ["mutant", "mutated_sequence", "prediction", "lower", "upper", "effect"]
    with open(tmp_path / "t.csv", "w") as file:
        file.write("sequence\n" + "".join(f"{row['mutated_sequence']}\n" for row in rows))
    assert main(["predict", model, str(tmp_path / "t.csv"), "-o", str(tmp_path / "p.csv"), "--interval", "0.9"]) == 0
    for row, predicted in zip(rows, read(tmp_path / "p.csv"), strict=True):
        assert float(row["lower"]) < float(row["prediction"]) < float(row["upper"])
        assert float(row["upper"]) == pytest.approx(float(predicted["upper"]), abs=1e-5)


def test_pairs_and_their_epistasis(model, wild_type, tmp_path):
    flags = ["--pairs", "--positions", "1-3,12", "--letters", "ACD", "--max_distance", "2", "--offset", "-1"]
    assert main(["scan", model, wild_type, "-o", str(tmp_path / "out"), *flags]) == 2  # 12 is outside from 0 on
    flags[2] = "0-2,11"
    assert main(["scan", model, wild_type, "-o", str(tmp_path / "out"), *flags]) == 0
    rows = read(tmp_path / "out" / "scan.csv")
    assert len(rows) == 3 * 9 and rows[0]["mutant"] == "M0A:E1A" and rows[-1]["mutant"] == "E1D:K2D"
    assert main(["scan", model, wild_type, "-o", str(tmp_path / "singles"), "--offset", "-1"]) == 0
    singles = {row["mutant"]: float(row["effect"]) for row in read(tmp_path / "singles" / "scan.csv")}
    pairs = np.load(tmp_path / "out" / "pairs.npy")
    assert pairs.shape == (12, 20, 12, 20)
    for row in rows:
        beyond = float(row["effect"]) - sum(singles[mutation] for mutation in row["mutant"].split(":"))
        assert float(row["epistasis"]) == pytest.approx(beyond, abs=1e-5)
    assert pairs[0, 0, 1, 0] == pairs[1, 0, 0, 0] == pytest.approx(float(rows[0]["epistasis"]))
    assert "latent_epistasis" not in rows[0]  # the model adds up in the units of its labels


def test_every_combination_of_four_sites(wild_type, tmp_path):
    names = {0: "low", 1: "LABEL_1", 2: "nonstd"}
    model = save(tmp_path / "model", id2label=names, problem_type="single_label_classification", ensemble=2)
    flags = ["--sites", "1,2,5,12", "--letters", "ACDE"]
    assert main(["scan", model, wild_type, "-o", str(tmp_path / "out"), *flags]) == 0
    rows = read(tmp_path / "out" / "scan.csv")
    assert len({row["mutated_sequence"] for row in rows}) == len(rows) == 256
    assert {"prediction", "prediction_sd_LABEL_1", "effect_nonstd", "latent_epistasis_low"} <= set(rows[0])
    assert "probability_nonstd" in rows[0]


def test_a_list_with_measurements(model, wild_type, tmp_path, capsys):
    table = tmp_path / "list.csv"
    spellings = ["WT", "M1A", "E2C", "M1A:E2C", "p.[Met1Ala;Glu2Cys]", "K3del", "M1A,K3L", "K3L", "E2C/K3L"]
    table.write_text("hgvs,activity,note\n" + "".join(f'"{text}",{i},x\n' for i, text in enumerate(spellings)))
    flags = ["--variants", str(table), "--label_column", "activity"]
    assert main(["scan", model, wild_type, "-o", str(tmp_path / "out"), *flags]) == 0
    rows = read(tmp_path / "out" / "scan.csv")
    assert [row["mutant"] for row in rows[:6]] == ["WT", "M1A", "E2C", "M1A:E2C", "M1A:E2C", "K3del"]
    assert rows[3]["prediction"] == rows[4]["prediction"] and rows[3]["note"] == "x"
    found = json.loads((tmp_path / "out" / "measured.json").read_text())
    assert found["2 edits"]["n_epistasis"] == 4 and found["1 edits"]["n"] == 4
    assert "measured, 2 edits: n 4" in capsys.readouterr().out
    assert (tmp_path / "out" / "measured.png").exists()


def test_interrupted_scans_go_on(model, wild_type, tmp_path, monkeypatch):
    command = ["scan", model, wild_type, "--sites", "1,2,3", "-o"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    code, said = interrupted("KILL", "lyra.variants.scanning:_write_rows", 2, *command, tmp_path / "out")
    assert code == KILLED, said
    assert (tmp_path / "out" / ".partial-scan.csv").is_dir()
    assert main([*command, str(tmp_path / "out"), "--resume"]) == 0
    resumed, whole = read(tmp_path / "out" / "scan.csv"), read(tmp_path / "whole" / "scan.csv")
    assert [row["mutant"] for row in resumed] == [row["mutant"] for row in whole]
    for column in ("prediction", "effect", "epistasis"):
        values = [[float(row[column]) for row in rows] for rows in (resumed, whole)]
        np.testing.assert_allclose(*values, atol=1e-5)
    assert main([*command[:-2], "1,2,4", "-o", str(tmp_path / "out")]) == 0


def test_from_python(model, wild_type, tmp_path):
    assert scan(model, wild_type, str(tmp_path / "out"), sites="1,2", letters="ACD") == 9


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--pairs", "--sites", "1,2"], "--pairs and --sites: a scan is of one kind"),
        (["--max_distance", "3"], "--max_distance: only with --pairs"),
        (["--pairs", "--max_distance", "0"], "--max_distance: expected at least 1, got 0"),
        (["--label_column", "y"], "--label_column: only with --variants"),
        (["--positions", "5-2"], "--positions: expected the smaller position first, got '5-2'"),
        (["--positions", "a"], "--positions: expected positions such as 20-60,75, got 'a'"),
        (["--positions", "3-40"], "--positions: position 40 is outside of the wild type, which has 1 to 12"),
        (["--sites", "1,1"], "--sites: position 1 is named twice"),
        (["--letters", "A7"], "--letters: '7' is no letter of the model's alphabet, protein"),
        (["--letters", "AAC"], "--letters: expected different letters, such as ACDEF, got 'AAC'"),
        (
            ["--variants", "list.csv"],
            "list.csv, row 2 (line 3), column 'mutant': position 1 of the wild type is M, not A",
        ),
        (["--variants", "none.csv"], "none.csv: no such file"),
        (["--interval", "0.9"], "--interval: the model has no intervals; it was not calibrated in training"),
        (["--interval", "90"], "--interval: expected a level between 0 and 1, such as 0.9, got 90"),
        (["--effect", "log2"], "--effect log2: needs positive predictions, that of the wild type is -"),
    ],
)
def test_one_line_for_bad_flags(model, wild_type, tmp_path, monkeypatch, capsys, flags, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.csv").write_text("mutant\nM1A\nA1C\n")
    assert main(["scan", model, wild_type, "-o", "out", *flags]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith(f"lyra scan: error: {said}") and "\n" not in error
    assert not (tmp_path / "out").exists()


def test_one_line_for_bad_wild_types(tmp_path, capsys):
    model = save(tmp_path / "model", num_labels=1, linear_term="positions", linear_length=12)
    for text, said in (
        (">a\nMEK\n>b\nMEK\n", "expected one wild-type sequence, got several"),
        (">a\nMEK\n", "expected 12 letters, as all training sequences have, got 3"),
        (">a\nM7K\n", "character(s) outside the alphabet protein ('7' x 1)"),
    ):
        (tmp_path / "w.fasta").write_text(text)
        assert main(["scan", model, str(tmp_path / "w.fasta"), "-o", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err
    (tmp_path / "w.fasta").write_text(f">a\n{WILD_TYPE}\n")
    (tmp_path / "list.csv").write_text("mutant\nK3del\n")
    flags = ["--variants", str(tmp_path / "list.csv"), "-o", str(tmp_path / "out")]
    assert main(["scan", model, str(tmp_path / "w.fasta"), *flags]) == 2
    assert "K3del changes the length, which the model's linear term knows as 12" in capsys.readouterr().err


def test_chunks_are_of_bounded_size(model, wild_type, tmp_path, monkeypatch):
    monkeypatch.setattr("lyra.inference.reading.CHUNK_ROWS", 50)
    assert scan(model, wild_type, str(tmp_path / "out")) == 12 * 19
    rows = read(tmp_path / "out" / "scan.csv")
    assert len(rows) == 12 * 19 and len({row["mutant"] for row in rows}) == 12 * 19


def test_an_unknown_effect_is_named(model, wild_type, tmp_path):
    with pytest.raises(InputError, match="expected one of difference, ratio, log2, got 'fold'"):
        scan(model, wild_type, str(tmp_path / "out"), effect="fold")
    assert not (tmp_path / "out").exists()
