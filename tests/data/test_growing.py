"""Tables in columns, whose text is in files where it is large."""

import json

import numpy as np
import pytest

from lyra.data import growing
from lyra.data.arguments import DataArguments
from lyra.data.loading import load_table
from lyra.data.rows import ArrowRows, ListedRows
from lyra.data.tables import read_table

TABLES = {
    "plain.csv": "sequence,label\n" + "".join(f"MKT{'A' * (i % 5)},{i}\n" for i in range(500)),
    "quoted.csv": 'sequence,label\n"MKT",1\n"é, \n",2\n"",3\n' * 300,
    "empty.csv": "sequence,label\n",
    "rows.jsonl": '{"sequence": "MKT"}\n{"sequence": "MKA", "label": 1}\n' * 9,
}


def read(files, place=None):
    rows = growing.GrowingRows(place)
    locations = [location for file in files for location in read_table(file, rows)]
    return rows.finish(), locations


@pytest.mark.parametrize("name", TABLES)
def test_the_rows_are_those_of_a_table_in_memory(tmp_path, monkeypatch, name):
    file = tmp_path / name
    file.write_text(TABLES[name], encoding="utf-8")
    rows, locations = read([file])
    monkeypatch.setattr(growing, "_LARGE", 0)
    found, places = read([file], str(tmp_path))
    assert [*found] == [*rows] and [*places] == [*locations] and found.names == rows.names
    last = np.arange(len(rows))[-2:]
    assert [*found.take(last)] == [*rows.take(last)]
    assert [*tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("second", ["sequence,label\nAAA,7\n", "label,sequence\n7,AAA\n", "sequence,other\nAAA,7\n"])
def test_files_follow_each_other(tmp_path, monkeypatch, second):
    files = [tmp_path / name for name in ("1.csv", "2.csv", "3.jsonl")]
    for file, text in zip(files, (TABLES["plain.csv"], second, '{"sequence": "MMM", "label": 2}\n'), strict=True):
        file.write_text(text, encoding="utf-8")
    expected = [row for file in files for row in read([file])[0]]
    for count in (2, 3):
        monkeypatch.setattr(growing, "_LARGE", 0)
        rows, locations = read(files[:count], str(tmp_path))
        assert [*rows] == expected[: 498 + count + 1] and len(locations) == len(rows)
        assert locations[500].path == str(files[1])


@pytest.mark.parametrize(
    ("name", "text", "columns"),
    [
        ("t.jsonl", '{"sequence": "MKT", "n": 1, "ok": true}\n{"sequence": "MKA", "n": null, "ok": false}\n', True),
        ("t.jsonl", '{"sequence": "MKT", "n": 1}\n{"sequence": "MKA", "n": 1.5}\n', False),
        ("t.jsonl", '{"sequence": "MKT", "n": [1]}\n', False),
        ("t.jsonl", '{"sequence": "MKT", "n": 1}\n{"n": 1, "sequence": "MKA"}\n', False),
        ("t.jsonl", f'{{"sequence": "MKT", "n": {1 << 70}}}\n', False),
        ("t.fasta", ">a label=1\nMKT\n>b label=2\nMKA\n", True),
        ("t.fasta", ">a label=1\nMKT\n>b\nMKA\n", False),
    ],
)
def test_rows_of_one_kind_become_columns(tmp_path, name, text, columns):
    file = tmp_path / name
    file.write_text(text)
    rows = load_table(DataArguments(str(file))).rows
    assert isinstance(rows, ArrowRows) == columns and isinstance(rows, ListedRows) != columns
    if name == "t.jsonl":
        expected = [json.loads(line) for line in text.splitlines()]
        assert [list(row.items()) for row in rows] == [list(row.items()) for row in expected]
        assert list(map(repr, rows)) == list(map(repr, expected))  # 1 is neither 1.0 nor True
