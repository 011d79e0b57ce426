"""Reading every format, and the one line that each unreadable file gets."""

import csv
import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lyra.data.tables import TableWriter, read_rows
from lyra.errors import InputError
from lyra.files import write_then_rename

ROWS = [{"sequence": "MKT", "label": "1.5"}, {"sequence": "NA", "label": "-2"}]
CSV = "sequence,label\nMKT,1.5\nNA,-2\n"


def rows(path):
    return [row for _, row in read_rows(path)]


def message(path):
    with pytest.raises(InputError) as error:
        rows(path)
    text = str(error.value)
    assert "\n" not in text and str(path) in text
    return text


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", CSV),
        ("t.csv", CSV.replace("\n", "\r\n")),
        ("t.csv", CSV.replace(",", ";")),
        ("t.csv", "\ufeff" + CSV),
        ("t.csv", CSV.replace("MKT", '"MKT"').replace("NA,", "\nNA,")),
        ("t.tsv", CSV.replace(",", "\t")),
        ("t.jsonl", "\n".join(map(json.dumps, ROWS))),
    ],
)
def test_text_formats(tmp_path, name, content, gz):
    path = tmp_path / (name + ".gz" * gz)
    path.write_bytes(gzip.compress(content.encode()) if gz else content.encode())
    assert rows(path) == ROWS  # "NA" is a peptide


@pytest.mark.parametrize("gz", [False, True])
def test_parquet(tmp_path, gz):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_pylist([{"sequence": "MK", "label": [0, 1]}]), path)
    if gz:
        compressed = tmp_path / "t.parquet.gz"
        compressed.write_bytes(gzip.compress(path.read_bytes()))
        path = compressed
    assert rows(path) == [{"sequence": "MK", "label": [0, 1]}]


def test_fasta(tmp_path):
    path = tmp_path / "t.fasta"
    path.write_text(">a label=1 x\nMK\nT\n\n>b\n>c  two words\nLL\n")
    assert rows(path) == [
        {"id": "a", "description": "label=1 x", "sequence": "MKT"},
        {"id": "b", "description": "", "sequence": ""},
        {"id": "c", "description": "two words", "sequence": "LL"},
    ]
    assert [(place.row, place.line) for place, _ in read_rows(path)] == [(1, 1), (2, 5), (3, 6)]


def test_places_count_rows_and_lines(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('a,b\n1,"two\nlines"\n\n3,4\n')
    assert [str(place) for place, _ in read_rows(path)] == [f"{path}, row 1 (line 3)", f"{path}, row 2 (line 5)"]


def test_a_field_of_a_megabyte(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("sequence\n" + "ACGT" * 300_000 + "\n")
    assert len(rows(path)[0]["sequence"]) == 1_200_000


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("t.csv", b"", "the table is empty"),
        ("t.csv", b"a,b\n1,2\n1,2,3\n", "row 2 (line 3): expected 2 fields as in the header, got 3"),
        ("t.csv", b"a,b,a\n1,2,3\n", "the column 'a' is named twice"),
        ("t.csv", b"a,b\n1,\xff\n", "line 2: not UTF-8 text (byte 0xff)"),
        ("t.csv", "a,b\n1,2\n".encode("utf-16"), "line 1: not UTF-8 text"),
        ("t.csv", b'a,b\n1,"2\n', "unexpected end of data"),
        ("t.csv.gz", CSV.encode(), "not gzip"),
        ("t.csv.gz", gzip.compress(CSV.encode() * 100, mtime=0)[:-20], "damaged or cut off"),
        ("t.jsonl", b'{"a": 1}\n{"a": \n', "row 2 (line 2): not valid JSON"),
        ("t.jsonl", b"[1, 2]\n", "row 1 (line 1): expected a JSON object, got list"),
        ("t.jsonl", b'{"a": 1, "a": 2}\n', "row 1 (line 1): the column 'a' is named twice"),
        ("t.jsonl", b'{"a": {"b": 1, "b": 2}}\n', "row 1 (line 1): the column 'b' is named twice"),
        ("t.jsonl", b'{"a": "\\ud800"}\n', "row 1 (line 1): not valid JSON"),
        ("t.jsonl", b'{"a": ' + b"1" * 5000 + b"}\n", "row 1 (line 1): not valid JSON"),
        ("t.parquet", b"PAR1 no", "not a readable Parquet file"),
        ("t.fasta", b"MKT\n", "line 1: expected a FASTA header that starts with '>', got 'MKT'"),
        ("t.xls", b"", "expected a file ending in .csv, .tsv"),
        ("t.fasta", b">a\nACG\xc3", "t.fasta, line 2: not UTF-8 text (byte 0xc3)"),
        ("t.fasta", b">caf\xe9", "not UTF-8 text (byte 0xe9)"),
        ("table", b"", "got no suffix"),
    ],
)
def test_unreadable_files(tmp_path, name, content, expected):
    path = tmp_path / name
    path.write_bytes(content)
    assert expected in message(path)


def test_missing_files_and_folders(tmp_path):
    assert "no such file" in message(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "got a directory" in message(tmp_path / "folder.csv")


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.parquet", "t.csv.gz"])
def test_written_tables_read_back(tmp_path, name):
    new = [{"sequence": "M,K\t", "prediction": np.float32(0.1)}, {"sequence": "L", "prediction": np.float32(2)}]
    with TableWriter(tmp_path / name) as writer:
        writer.write(new[:1])
        writer.write(new[1:])
    read = rows(tmp_path / name)
    assert [row["sequence"] for row in read] == ["M,K\t", "L"]
    assert [np.float32(row["prediction"]) for row in read] == [np.float32(0.1), np.float32(2)]
    if name == "t.csv":
        with open(tmp_path / name, newline="") as file:
            assert list(csv.reader(file))[1] == ["M,K\t", "0.1"]


def test_per_residue_entries_in_a_cell(tmp_path):
    with TableWriter(tmp_path / "t.csv") as writer:
        writer.write([{"classes": ["H", "E"], "numbers": [np.float32(0.5), np.float32(1)]}])
    assert rows(tmp_path / "t.csv") == [{"classes": "HE", "numbers": "0.5 1.0"}]


def test_nested_json_stays_as_it_is(tmp_path):
    nested = {"sequence": "MK", "meta": {"k": 1, "list": [{"a": 2}]}}
    (tmp_path / "t.jsonl").write_text(json.dumps(nested))
    assert rows(tmp_path / "t.jsonl") == [nested]


@pytest.mark.parametrize(
    ("name", "later"),
    [
        ("t.csv", {"a": 1, "x": 2}),
        ("t.parquet", {"a": 1, "x": 2}),
        ("t.parquet", {"a": 1.5}),
        ("t.parquet", {"a": "b"}),
    ],
)
def test_rows_that_do_not_fit_the_first_are_refused(tmp_path, name, later):
    with pytest.raises(InputError, match="jsonl output takes such rows"), TableWriter(tmp_path / name) as writer:
        writer.write([{"a": 1}])
        writer.write([later])


def test_nothing_is_left_half_written(tmp_path):
    with pytest.raises(RuntimeError), write_then_rename(tmp_path / "out.csv") as partial:
        partial.write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="cannot be written"), write_then_rename(tmp_path / "none" / "out.csv"):
        pass


@pytest.mark.parametrize("name", ["t.fasta", "t.parquet.gz", "t.txt"])
def test_formats_that_cannot_be_written(tmp_path, name):
    with pytest.raises(InputError, match=name):
        TableWriter(tmp_path / name)
