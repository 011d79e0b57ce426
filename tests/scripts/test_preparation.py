"""The benchmark of preparing tables."""

import json
from pathlib import Path

import preparation

PAGES = Path(__file__).parents[2] / "docs" / "benchmarks"


def test_the_committed_page_is_what_the_script_writes():
    record = json.loads((PAGES / "preparation.json").read_text(encoding="utf-8"))
    assert preparation.report(record) == (PAGES / "preparation.md").read_text(encoding="utf-8")


def test_the_benchmark_measures(tmp_path, monkeypatch):
    """What a larger table takes, on a tiny one; the code of before needs the history, which a copy may lack."""
    monkeypatch.setattr(preparation, "ROUNDS", 1)
    (found,) = preparation.grow([2000], tmp_path)
    assert found["rows"] < found["table_rows"] == 2000
    assert found["seconds"] > 0 and found["peak_mb"] > 0 and found["step_ms"] > 0
    started = preparation.start_training(300, tmp_path)
    assert len(started) == 2 and all(each["seconds"] > 0 for each in started.values())
