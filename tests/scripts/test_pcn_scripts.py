"""The scripts behind docs/pcn.md run."""

from pathlib import Path

import jet_files
import numpy as np
import pcn_memory
import pcn_speed
import pytest
import taggers
from jet_baselines import fit_trees, table_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    """Files of jets as `pcn simulate` writes them, with its four classes."""
    for number, name in enumerate(("train", "validation", "test", "qcd")):
        jets = jet_files.some_jets(80, seed=number)
        labels = {f"label_{label}": [int(i % 4 == c) for i in range(80)] for c, label in enumerate(taggers.CLASSES)}
        axes = {"jet_eta": [0.0] * 80, "jet_phi": [0.0] * 80}
        jet_files.write_columns(tmp_path / f"{name}.parquet", jet_files.columns(jets) | labels | axes)
    return tmp_path


def test_a_comparison_and_its_table(folder, monkeypatch):
    monkeypatch.setattr(taggers, "RECORDS", folder / "records")
    models = {
        "PCN, ours": taggers.Variant(overrides=("hidden_sizes=[8,8]",)),
        "PFN": taggers.MODELS["PFN"],
        "boosted trees": None,
    }
    monkeypatch.setattr(taggers, "MODELS", models)
    monkeypatch.setattr("sys.argv", ["taggers.py", "compare", "--jets", str(folder), "--seeds", "1", "--epochs", "1"])
    assert taggers.main() == 0
    assert len(list((folder / "records" / "compare").iterdir())) == 3
    table = taggers.comparison(taggers.read("compare"))
    assert table.count("\n") == 5 and "| PFN | " in table
    assert taggers.main() == 0  # all there: nothing is run again


def test_missing_jets_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(taggers, "RECORDS", tmp_path / "records")
    monkeypatch.setattr("sys.argv", ["taggers.py", "ablation", "--jets", str(tmp_path)])
    assert taggers.main() == 2
    assert "train.parquet: no such file" in capsys.readouterr().err


def test_trees_see_what_prongs_there_are(tmp_path):
    train = table_of([str(jet_files.write_parquet(tmp_path / "train.parquet", 300, **AXES))])
    assert train[0].shape == (300, 18) and np.isfinite(train[0]).all()
    assert fit_trees(train, train, 0).score(*train) > 0.8


AXES = {"jet_eta": [0.0] * 300, "jet_phi": [0.0] * 300}


def test_the_benchmark_measures_every_preset():
    pytest.importorskip("torch_geometric", reason="needs torch_geometric")
    found = pcn_speed.measure(2, 8)
    assert len(found) == 4 and all(seconds > 0 for seconds in found.values())


@pytest.mark.slow
def test_memory_is_measured_of_every_file(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["pcn_memory.py", "--jets", "20", "60"])
    assert pcn_memory.main() == 0
    rows = capsys.readouterr().out.splitlines()[-2:]
    assert [row.split(" | ")[0] for row in rows] == ["| 20", "| 60"]
    assert all(int(row.split(" | ")[2].replace(",", "")) > 100 for row in rows)  # MB, of which torch needs more


def test_the_page_shows_what_was_recorded():
    page = (ROOT / "docs" / "pcn.md").read_text(encoding="utf-8")
    for make, name in ((taggers.comparison, "compare"), (taggers.ablation, "ablation")):
        if records := taggers.read(name):
            assert make(records) in page
