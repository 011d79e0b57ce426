"""`lyra predict` and `lyra embed`: order, columns, formats, errors; the same numbers as one sequence at a time."""

import gzip
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from lyra import (
    LyraForMaskedLM,
    LyraForSequenceClassification,
    LyraForTokenClassification,
    LyraModel,
    LyraTokenizer,
)
from lyra.cli import main
from lyra.data.tables import read_rows

SEQUENCES = ["MKTAYIAK", "M", "LLKTAYIAKQRQISFVK", "GAVL", "PSTCYNQDEKRH"] * 3
CLASSES = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}


@pytest.fixture
def checkpoint(tiny, tmp_path):
    def save(head=LyraForSequenceClassification, **config):
        model = head(tiny(**config)).eval()
        model.save_pretrained(tmp_path / "model")
        LyraTokenizer(model.config.alphabet).save_pretrained(tmp_path / "model")
        return model

    return save


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("id,sequence,note\n" + "".join(f"{i},{s},n {i}\n" for i, s in enumerate(SEQUENCES)))
    return path


def run(command, tmp_path, table, output, *flags):
    return main([command, str(tmp_path / "model"), str(table), "-o", str(tmp_path / output), "--device", "cpu", *flags])


def single(model, sequence):
    with torch.no_grad():
        return model(**LyraTokenizer()(sequence, return_tensors="pt"))


@pytest.mark.parametrize("output", ["out.csv", "out.tsv", "out.jsonl", "out.parquet", "out.csv.gz"])
def test_regression_in_every_format(checkpoint, tmp_path, table, output, monkeypatch):
    monkeypatch.setattr("lyra.inference.reading.CHUNK_ROWS", 4)
    monkeypatch.setattr("lyra.inference.logits._BATCH_POSITIONS", 20)
    model = checkpoint(num_labels=1, label_mean=50.0, label_std=10.0, bidirectional=True)
    assert run("predict", tmp_path, table, output) == 0
    rows = [row for _, row in read_rows(tmp_path / output)]
    assert [list(row) for row in rows] == [["id", "sequence", "note", "prediction"]] * 15
    assert [row["sequence"] for row in rows] == SEQUENCES and rows[4]["note"] == "n 4"
    for row in rows:
        expected = single(model, row["sequence"]).logits.item()
        assert float(row["prediction"]) == pytest.approx(expected, rel=1e-5)


def test_classes(checkpoint, tmp_path, table):
    model = checkpoint(num_labels=2, **CLASSES)
    assert run("predict", tmp_path, table, "out.jsonl") == 0
    for _, row in read_rows(tmp_path / "out.jsonl"):
        expected = single(model, row["sequence"]).logits.softmax(-1)[0]
        assert [row["probability_no"], row["probability_yes"]] == pytest.approx(expected.tolist(), abs=1e-6)
        assert row["prediction"] == ("yes" if expected[1] > 0.5 else "no")


def test_several_labels(checkpoint, tmp_path, table):
    model = checkpoint(num_labels=2, problem_type="multi_label_classification", **CLASSES)
    assert run("predict", tmp_path, table, "out.jsonl") == 0
    for _, row in read_rows(tmp_path / "out.jsonl"):
        expected = single(model, row["sequence"]).logits.sigmoid()[0].tolist()
        assert [row["probability_no"], row["probability_yes"]] == pytest.approx(expected, abs=1e-6)
        assert row["prediction"] == ";".join(n for n, p in zip(("no", "yes"), expected, strict=True) if p > 0.5)


def test_residues(checkpoint, tmp_path, table):
    model = checkpoint(LyraForTokenClassification, num_labels=2, **CLASSES)
    assert run("predict", tmp_path, table, "out.jsonl") == 0
    for _, row in read_rows(tmp_path / "out.jsonl"):
        expected = single(model, row["sequence"]).logits.softmax(-1)[0, :, 1].tolist()
        assert row["probability_yes"] == pytest.approx(expected, abs=1e-6)
        assert row["prediction"] == ["yes" if p > 0.5 else "no" for p in expected]


def test_fasta_gzip_and_white_space(checkpoint, tmp_path):
    model = checkpoint(num_labels=1)
    path = tmp_path / "in.fa.gz"
    path.write_bytes(gzip.compress(b">a first\nmkt\nAY\n>b\nLL*\n"))
    assert run("predict", tmp_path, path, "out.csv") == 0
    rows = [row for _, row in read_rows(tmp_path / "out.csv")]
    assert [row["id"] for row in rows] == ["a", "b"] and rows[0]["description"] == "first"
    assert float(rows[0]["prediction"]) == pytest.approx(single(model, "MKTAY").logits.item(), rel=1e-5)


@pytest.mark.parametrize("vectors", ["mean", "residue"])
def test_embeddings(checkpoint, tmp_path, table, vectors, monkeypatch):
    monkeypatch.setattr("lyra.inference.reading.CHUNK_ROWS", 4)
    model = checkpoint(num_labels=1).lyra
    for output in ("out.npz", "out.parquet"):
        assert run("embed", tmp_path, table, output, "--vectors", vectors) == 0
    archive = np.load(tmp_path / "out.npz")
    assert archive["lengths"].tolist() == [1 if vectors == "mean" else len(s) for s in SEQUENCES]
    pieces = np.split(archive["embeddings"], np.cumsum(archive["lengths"])[:-1])
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    for piece, row in zip(pieces, rows, strict=True):
        states = single(model, row["sequence"]).last_hidden_state[0].numpy()
        expected = states.mean(0, keepdims=True) if vectors == "mean" else states
        np.testing.assert_allclose(piece, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(np.reshape(row["embedding"], expected.shape), piece)


@pytest.mark.parametrize(
    ("content", "flags", "expected"),
    [
        ("id,sequence\n1,MK\n2,M?K\n", [], "row 2 (line 3), column 'sequence': 1 character(s) outside the alphabet"),
        ("id,sequence\n1,MK\n2,\n", [], "row 2 (line 3), column 'sequence': the sequence is empty"),
        ("id,name\n1,MK\n", [], "no sequence column among 'id', 'name'"),
        ("id,sequence\n", [], "the table has no rows"),
        ("sequence,prediction\nMK,1\n", [], "row 1 (line 2): the input already has a column 'prediction'"),
        ("sequence\nMK\n", ["--sequence_column", "s"], "no column 's' (--sequence_column)"),
        ("sequence\nMK\n", ["--device", "cuda:9"], "--device: 'cuda:9' cannot be used"),
        ("sequence\nMK\n", ["-o", "in.csv"], "in.csv: the output would replace the input"),
        ("sequence\nMK\n", ["-o", "out.xls"], "out.xls: expected a name ending in"),
    ],
)  # fmt: skip
def test_bad_input(checkpoint, tmp_path, capsys, content, flags, expected, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint(num_labels=1)
    (tmp_path / "in.csv").write_text(content)
    before = set(tmp_path.iterdir())
    assert main(["predict", "model", "in.csv", "-o", "out.csv", *flags]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(error) == 1 and expected in error[0]
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("header", ["sequence", '"sequence"'])
def test_rows_are_counted_over_blocks_and_chunks(checkpoint, tmp_path, capsys, monkeypatch, header):
    monkeypatch.setattr("lyra.data.readers._BATCH_BYTES", 30)
    monkeypatch.setattr("lyra.data.readers._BATCH_ROWS", 7)
    monkeypatch.setattr("lyra.inference.reading.CHUNK_ROWS", 3)
    checkpoint(num_labels=1)
    table = tmp_path / "in.csv"
    table.write_text(header + "\n" + "MKTA\n" * 25)
    assert run("predict", tmp_path, table, "out.csv") == 0
    assert sum(1 for _ in read_rows(tmp_path / "out.csv")) == 25
    table.write_text(header + "\n" + "MKTA\n" * 22 + "M?\n" + "MKTA\n" * 9)
    assert run("predict", tmp_path, table, "other.csv") == 2
    assert "in.csv, row 23 (line 24), column 'sequence'" in capsys.readouterr().err


def test_unknown_letters_can_be_read(checkpoint, tmp_path):
    checkpoint(num_labels=1)
    (tmp_path / "in.csv").write_text("sequence\nM?K\n")
    assert run("predict", tmp_path, tmp_path / "in.csv", "out.csv", "--unknown", "token") == 0


def test_checkpoints_that_cannot_predict(checkpoint, tmp_path, table, capsys):
    checkpoint(LyraForMaskedLM)
    assert run("predict", tmp_path, table, "out.csv") == 2
    assert "expected a checkpoint with a trained head, got LyraForMaskedLM" in capsys.readouterr().err
    checkpoint(LyraModel)
    assert run("predict", tmp_path, table, "out.csv") == 2
    assert run("embed", tmp_path, table, "out.npz") == 0
    for change, expected in (
        (lambda tensors: tensors.pop("classifier.weight"), "the weights lack 'classifier.weight'"),
        (
            lambda tensors: tensors.update({"classifier.bias": torch.zeros(7)}),
            "'classifier.bias' or have it in another",
        ),
        (lambda tensors: tensors.update({"classifier.bias": torch.tensor([float("nan")])}), "are not finite numbers"),
    ):
        checkpoint(num_labels=1)
        file = tmp_path / "model" / "model.safetensors"
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file, metadata={"format": "pt"})
        assert run("predict", tmp_path, table, "out.csv") == 2
        assert expected in capsys.readouterr().err
    (tmp_path / "model" / "model.safetensors").write_bytes(b"damaged")
    assert run("predict", tmp_path, table, "out.csv") == 2
    assert "model.safetensors: damaged" in capsys.readouterr().err
    checkpoint(num_labels=1)
    (tmp_path / "model" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert run("embed", tmp_path, table, "out.npz") == 2
    assert "expected the model type 'lyra', got 'bert'" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


# ── What the model was trained on ────────────────────────────────────────────────────────────────────────────────────


def test_the_columns_of_the_training_table_come_first(checkpoint, tmp_path, capsys):
    trained_on = {"columns": ["variant"], "letters": "".join(sorted(set("".join(SEQUENCES))))}
    model = checkpoint(num_labels=1, training_data=trained_on)
    path = tmp_path / "in.csv"
    path.write_text("sequence,variant\nMKTAYIAK,MKTAYIAR\n")
    assert run("predict", tmp_path, path, "a.csv") == 0
    ((_, row),) = read_rows(tmp_path / "a.csv")
    assert float(row["prediction"]) == pytest.approx(single(model, "MKTAYIAR").logits.item(), rel=1e-5)
    assert "in training it was" not in capsys.readouterr().out
    path.write_text("sequence\nMKTAYIAK\n")
    assert run("predict", tmp_path, path, "b.csv") == 0
    assert "the sequence column is 'sequence'; in training it was 'variant'" in capsys.readouterr().out
    path.write_text("text\nMKTAYIAK\n")
    for verb, output in (("predict", "c.csv"), ("embed", "c.npz")):
        assert run(verb, tmp_path, path, output) == 2
        assert "the model was trained on column 'variant'" in capsys.readouterr().err


def test_the_pair_column_is_remembered(checkpoint, tmp_path, capsys):
    model = checkpoint(
        alphabet="dna+dna", num_labels=1, training_data={"columns": ["target", "grna"], "letters": "ACGT"}
    )
    path = tmp_path / "in.csv"
    path.write_text("grna,target,guide\nAC,ACGT,TTTT\n")
    assert run("predict", tmp_path, path, "a.csv") == 0
    ((_, row),) = read_rows(tmp_path / "a.csv")
    with torch.no_grad():
        expected = model(**LyraTokenizer("dna+dna")("ACGT", "AC", return_tensors="pt")).logits.item()
    assert float(row["prediction"]) == pytest.approx(expected, rel=1e-5)
    path.write_text("target,other\nACGT,AC\n")
    assert run("predict", tmp_path, path, "b.csv") == 2
    assert "the model was trained on column 'grna'" in capsys.readouterr().err


DNA = "ACGTTGCAAGGCTTAACCGGATATCGCGAATTCCGGAAGGTTCCN"


@pytest.mark.parametrize(
    ("letters", "code"), [("ACDEFGHIKLMNPQRSTVWY", 2), (None, 0)], ids=["trained on proteins", "unknown"]
)
def test_nucleotides_for_a_protein_model(checkpoint, tmp_path, capsys, letters, code):
    checkpoint(num_labels=1, training_data=letters and {"columns": ["sequence"], "letters": letters})
    path = tmp_path / "in.csv"
    path.write_text(f"sequence\nGATTACA\n{DNA}\n{DNA[::-1]}\n")
    assert run("predict", tmp_path, path, "a.csv") == code
    error = capsys.readouterr().err
    assert "row 2 (line 3): 100% of the letters of the long sequences are A, C, G, T, U or N, as of DNA or RNA" in error
    assert error.count("as of DNA or RNA") == 1 and (tmp_path / "a.csv").exists() == (code == 0)
    path.write_text(f"sequence\nGATTACA\n{DNA[:20]}\n{SEQUENCES[2] * 3}\n")
    assert run("predict", tmp_path, path, "b.csv") == 0
    assert "DNA" not in capsys.readouterr().err


def test_embeddings_as_csv(checkpoint, tmp_path, table, capsys):
    checkpoint(num_labels=1, hidden_size=8)
    assert run("embed", tmp_path, table, "v.csv") == 0 and run("embed", tmp_path, table, "v.npz") == 0
    rows = [row for _, row in read_rows(tmp_path / "v.csv")]
    assert list(rows[0]) == ["id", "sequence", "note", *(f"embedding_{i}" for i in range(8))]
    values = np.array([[float(row[f"embedding_{i}"]) for i in range(8)] for row in rows], dtype=np.float32)
    np.testing.assert_array_equal(values, np.load(tmp_path / "v.npz")["embeddings"])
    assert run("embed", tmp_path, tmp_path / "v.csv", "w.csv") == 2
    assert "already has a column 'embedding_0'" in capsys.readouterr().err
    assert not (tmp_path / "w.csv").exists()
