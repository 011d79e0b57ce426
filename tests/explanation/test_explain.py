"""`lyra explain` as a user runs it."""

import csv
from itertools import product

import numpy as np
import pytest
import torch
from interrupted import KILLED, interrupted

from lyra import LyraConfig, LyraForSequenceClassification, LyraTokenizer
from lyra.cli import main
from lyra.explanation.explaining import read_attributions

RNG = np.random.default_rng(0)
ALIGNED = ["ACGT" + "".join(RNG.choice(list("ACGT"), 2)) + "GGTCAATCCA" for _ in range(40)]
UNALIGNED = ["".join(RNG.choice(list("ACGT"), length)) for length in RNG.integers(10, 20, 40)]
ALWAYS = {"attributions.npz", "sequences.csv", "sequences.png", "memory.csv", "memory.png"}


def save(folder, **fields):
    torch.manual_seed(0)
    config = LyraConfig(**{"alphabet": "dna", "num_labels": 1, "hidden_size": 8, "state_size": 4} | fields)
    model = LyraForSequenceClassification(config)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    LyraTokenizer("dna").save_pretrained(folder)
    return str(folder)


def write(path, sequences):
    path.write_text("sequence\n" + "".join(f"{sequence}\n" for sequence in sequences))
    return str(path)


def read(file):
    with open(file, newline="") as lines:
        return list(csv.DictReader(lines))


def test_aligned_sequences(tmp_path, capsys):
    model = save(tmp_path / "m", linear_term="pairs", linear_length=16, linear_sites=[4, 5], ensemble_size=2)
    out = tmp_path / "out"
    assert main(["explain", model, write(tmp_path / "t.csv", ALIGNED), "-o", str(out), "--sequences", "10"]) == 0
    assert "completeness: contributions miss 0." in capsys.readouterr().out
    files = {"mean.csv", "logo.png", "linear_weights.csv", "linear_pairs.csv"}
    assert {file.name for file in out.iterdir()} == ALWAYS | files
    found, rows = read_attributions(out / "attributions.npz"), read(out / "sequences.csv")
    assert len(found) == len(rows) == 10 and [int(row["row"]) for row in rows] == sorted({int(r["row"]) for r in rows})
    for each, row in zip(found, rows, strict=True):
        assert "".join("ACGT"[i] for i in each.letters) == ALIGNED[int(row["row"]) - 1]
    mean = read(out / "mean.csv")
    assert [(row["sequences"], row["position"]) for row in mean[14:18]] == [
        ("all", "15"),
        ("all", "16"),
        ("top tenth", "1"),
        ("top tenth", "2"),
    ]
    assert float(mean[0]["A"]) == pytest.approx(np.mean([each.values[0, 0] for each in found]), rel=1e-4)
    assert float(mean[0]["C"]) == 0.0
    terms = [member.linear_term.weight for member in LyraForSequenceClassification.from_pretrained(model).members()]
    weights = torch.stack(terms).mean(0).flatten().tolist()
    assert float(read(out / "linear_weights.csv")[1]["G"]) == pytest.approx(weights[4 + 2], rel=1e-4)
    pair = read(out / "linear_pairs.csv")[6]
    assert [pair[name] for name in ("position", "other_position", "letter", "other_letter")] == ["5", "6", "C", "G"]
    assert float(pair["weight"]) == pytest.approx(weights[64 + 6], rel=1e-4)


def test_unaligned_sequences_and_motifs_of_others(tmp_path, capsys):
    model = save(tmp_path / "m", linear_term="words")
    motif = "MOTIF M1 known\nletter-probability matrix: alength= 4 w= 2 nsites= 1\n1 0 0 0\n0 0 0 1\n"
    (tmp_path / "known.meme").write_text(motif)
    flags = ["--motifs", str(tmp_path / "known.meme"), "--method", "mutagenesis"]
    out = tmp_path / "out"
    assert main(["explain", model, write(tmp_path / "t.csv", UNALIGNED), "-o", str(out), *flags]) == 0
    said = capsys.readouterr().out
    assert "motifs: " in said and "completeness" not in said
    assert {file.name for file in out.iterdir()} >= ALWAYS | {"linear_words.csv"}
    words = read(out / "linear_words.csv")
    weights = LyraForSequenceClassification.from_pretrained(model).linear_term.weight.flatten().tolist()
    assert words[4]["word"] == "AA" and words[6]["word"] == "AG" and words[20 + 16 + 1]["word"] == "CAC"
    assert [float(row["weight"]) for row in words] == pytest.approx(weights, rel=1e-4, abs=1e-6)


def test_an_interrupted_call_goes_on(tmp_path, capsys):
    model, table = save(tmp_path / "m"), write(tmp_path / "t.csv", 3 * ALIGNED)
    arguments = ["explain", model, table, "-o", str(tmp_path / "out"), "--device", "cpu"]
    code, _ = interrupted("KILL", "lyra.explanation.explaining:_save", 3, *arguments)
    assert code == KILLED and not (tmp_path / "out" / "attributions.npz").exists()
    assert main([*arguments, "--resume"]) == 0
    assert "resuming: 2 parts are done" in capsys.readouterr().out
    assert main([*arguments[:4], str(tmp_path / "whole")]) == 0
    one, other = (dict(np.load(tmp_path / name / "attributions.npz")) for name in ("out", "whole"))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_what_cannot_be_used_gets_a_line(tmp_path, capsys):
    model, table = save(tmp_path / "m"), write(tmp_path / "t.csv", ALIGNED)
    (tmp_path / "empty.meme").write_text("MEME version 4\n")
    for flags, said in (
        (["--sequences", "0"], "--sequences: expected at least 1, got 0"),
        (["--label", "b"], "--label: expected one of LABEL_0, got 'b'"),
        (["--motifs", str(tmp_path / "empty.meme")], "empty.meme: expected motifs in MEME's format, found none"),
        (["--motifs", str(tmp_path / "none.meme")], "none.meme: cannot be read (No such file or directory)"),
    ):
        assert main(["explain", model, table, "-o", str(tmp_path / "out"), *flags]) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_motifs_are_written_with_their_places(tmp_path, capsys):
    word, words = "TTGCATT", ["".join(letters) for letters in product("ACGT", repeat=3)]
    config = LyraConfig(alphabet="dna", num_labels=1, hidden_size=8, state_size=4, linear_term="words")
    model = LyraForSequenceClassification(config)
    with torch.no_grad():
        for parameter in model.classifier.parameters():
            parameter.zero_()
        for start in range(len(word) - 2):
            model.linear_term.weight[4 + 16 + words.index(word[start : start + 3])] = 1.0
    model.save_pretrained(tmp_path / "m")
    LyraTokenizer("dna").save_pretrained(tmp_path / "m")
    sequences = ["".join(RNG.choice(list("ACGT"), length)) for length in RNG.integers(50, 60, 40)]
    planted = [sequence[:10] + word + sequence[17:] for sequence in sequences]
    matrix = "\n".join(" ".join("1" if letter == each else "0" for each in "ACGT") for letter in word)
    (tmp_path / "known.meme").write_text(f"MOTIF M1\nletter-probability matrix: w= 7\n{matrix}\n")
    out = tmp_path / "out"
    flags = ["--motifs", str(tmp_path / "known.meme"), "--method", "mutagenesis", "-o", str(out)]
    assert main(["explain", str(tmp_path / "m"), write(tmp_path / "t.csv", planted), *flags]) == 0
    assert "motifs: TTGCATT" in capsys.readouterr().out
    hits = [row for row in read(out / "motif_hits.csv") if row["motif"] == "motif_1"]
    assert {row["row"] for row in hits if (row["start"], row["end"]) == ("11", "17")} == {str(i + 1) for i in range(40)}
    assert "MOTIF motif_1 TTGCATT" in (out / "motifs.meme").read_text() and (out / "motifs.png").exists()
    assert read(out / "tomtom.csv")[0]["target"] == "M1"
    plain = save(tmp_path / "plain")  # what an earlier call wrote does not stay
    assert main(["explain", plain, write(tmp_path / "a.csv", ALIGNED), "-o", str(out)]) == 0
    left = {file.name for file in out.iterdir()}
    assert not left & {"motifs.meme", "motif_hits.csv", "linear_words.csv", "tomtom.csv"}


def test_neither_the_table_nor_the_motifs_are_replaced(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = save(tmp_path / "m")
    write(tmp_path / "sequences.csv", ALIGNED)
    assert main(["explain", model, "sequences.csv", "-o", "."]) == 2
    assert "sequences.csv: the output would replace the input" in capsys.readouterr().err
    assert (tmp_path / "sequences.csv").read_text().startswith("sequence\nACGT")
    (tmp_path / "out" / "logo.png").mkdir(parents=True)
    assert main(["explain", model, "sequences.csv", "-o", "out"]) == 2
    assert "logo.png: expected a file to write, got a directory" in capsys.readouterr().err
    assert main(["explain", model, "sequences.csv", "-o", ""]) == 2
    assert "--output: expected a folder" in capsys.readouterr().err


def test_the_end_of_a_call_can_be_resumed(tmp_path, capsys, monkeypatch):
    model, table, out = save(tmp_path / "m"), write(tmp_path / "t.csv", ALIGNED), tmp_path / "out"

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as interruption:
        interruption.setattr("lyra.explanation.explaining.plot_memory", stop)
        assert main(["explain", model, table, "-o", str(out)]) == 130
    assert [file.name for file in out.iterdir()] == [".partial-attributions.npz"]
    assert main(["explain", model, table, "-o", str(out), "--sequences", "3", "--resume"]) == 2
    assert "cannot resume: sequences changed" in capsys.readouterr().err
    assert main(["explain", model, table, "-o", str(out), "--resume"]) == 0
    assert "resuming: 2 parts are done" in capsys.readouterr().out
    assert {file.name for file in out.iterdir()} == ALWAYS | {"mean.csv", "logo.png"}


def test_logos_of_many_positions_are_left_out(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lyra.explanation.explaining._MEAN_LETTERS", 10)
    out = tmp_path / "out"
    assert main(["explain", save(tmp_path / "m"), write(tmp_path / "t.csv", ALIGNED), "-o", str(out)]) == 0
    assert "no logo.png: the sequences have 16 positions" in capsys.readouterr().out
    assert {file.name for file in out.iterdir()} == ALWAYS | {"mean.csv"}
