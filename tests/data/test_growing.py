"""Tables whose text is in files."""

import numpy as np
import pytest

from lyra.data import growing
from lyra.data.tables import read_table

TABLES = {
    "plain.csv": "sequence,label\n" + "".join(f"MKT{'A' * (i % 5)},{i}\n" for i in range(500)),
    "quoted.csv": 'sequence,label\n"MKT",1\n"é, \n",2\n"",3\n' * 300,
    "empty.csv": "sequence,label\n",
    "rows.jsonl": '{"sequence": "MKT"}\n{"sequence": "MKA", "label": 1}\n' * 9,
}


@pytest.mark.parametrize("name", TABLES)
def test_the_rows_are_those_of_a_table_in_memory(tmp_path, monkeypatch, name):
    file = tmp_path / name
    file.write_text(TABLES[name], encoding="utf-8")
    rows, locations = read_table(file)
    monkeypatch.setattr(growing, "_LARGE", 0)
    found, places = read_table(file, str(tmp_path))
    assert [*found] == [*rows] and [*places] == [*locations] and found.names == rows.names
    last = np.arange(len(rows))[-2:]
    assert [*found.take(last)] == [*rows.take(last)]
    assert [*tmp_path.iterdir()] == [file]
