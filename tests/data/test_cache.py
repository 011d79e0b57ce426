"""Prepared data in files while a run lasts."""

import numpy as np
import pytest

from lyra.data.arguments import DataArguments
from lyra.data.cache import Cache, _read, _write
from lyra.data.preparation import prepare
from lyra.errors import InputError

FLAGS = [{}, {"label_columns": ["label", "other"]}, {"feature_columns": ["other"]}]


@pytest.fixture
def table(tmp_path):
    rng, file = np.random.default_rng(0), tmp_path / "t.csv"
    rows = ("".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), rng.integers(3, 9))) for _ in range(50))
    file.write_text("sequence,label,other\n" + "".join(f"{row},{i}.5,{i % 7}.25\n" for i, row in enumerate(rows)))
    return file


def same(one, other):
    for split in ("train", "validation", "test"):
        assert one.dataset[split].features == other.dataset[split].features
        assert one.dataset[split][:] == other.dataset[split][:]
        assert [*one.rows[split]] == [*other.rows[split]] and [*one.sequences[split]] == [*other.sequences[split]]
        assert (one.label_array(split) == other.label_array(split)).all()
        assert all(map(np.array_equal, one.token_ids(split), other.token_ids(split)))


@pytest.mark.parametrize("flags", FLAGS)
def test_a_run_finds_in_files_what_prepare_gives(tmp_path, table, flags):
    args = DataArguments(str(table), **flags)
    with Cache(tmp_path / "run") as cache:
        found = cache.prepare(args)
        assert [*(tmp_path / "run").rglob("train.arrow")]
        same(found, prepare(args))
    assert not [*(tmp_path / "run").iterdir()]


@pytest.mark.parametrize("flags", FLAGS)
def test_other_processes_map_it_into_memory(tmp_path, table, flags):
    prepared = prepare(DataArguments(str(table), **flags))
    _write(prepared, tmp_path)
    found = _read(tmp_path)
    same(prepared, found)
    assert not found.numbers["train"].flags.writeable  # of the file, and not a copy
    _write(InputError("t.csv: wrong"), tmp_path)
    assert str(_read(tmp_path)) == "t.csv: wrong"


def test_what_a_killed_run_left_goes(tmp_path, table):
    with Cache(tmp_path) as cache:
        left = cache.folder / "0"
        left.mkdir(parents=True)
        with Cache(tmp_path) as again:
            assert not left.exists() and again.prepare(DataArguments(str(table))).dataset["train"]
