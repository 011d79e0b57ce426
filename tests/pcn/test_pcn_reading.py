"""Files of jets: formats that say the same, chunks, errors by file, jet and particle."""

import jet_files
import numpy as np
import pytest

from lyra.errors import InputError
from pcn import jets as reading
from pcn.feature_extraction_pcn import PcnFeatureExtractor
from pcn.labelled import extract, find_classes, store

WRITERS = {
    "root": jet_files.write_root,
    "parquet": jet_files.write_parquet,
    "h5": jet_files.write_hdf5,
    "npz": jet_files.write_npz,
}


def features(file):
    return [flat for _, flat in extract([file], PcnFeatureExtractor())]


@pytest.mark.parametrize("suffix", WRITERS)
def test_formats_agree(suffix, tmp_path):
    expected = features(jet_files.write_parquet(tmp_path / "expected.parquet"))[0]
    file = WRITERS[suffix](tmp_path / f"jets.{suffix}")
    found = features(file)[0]
    np.testing.assert_array_equal(found.counts, expected.counts)
    np.testing.assert_allclose(found.features, expected.features, rtol=1e-6)
    assert set(find_classes([file], None).names) == set(jet_files.NAMES)


@pytest.mark.parametrize("suffix", WRITERS)
def test_chunks_give_the_same_jets(suffix, tmp_path, monkeypatch):
    file = WRITERS[suffix](tmp_path / f"jets.{suffix}")
    whole = features(file)[0]
    monkeypatch.setattr(reading, "CHUNK", 7)
    parts = features(file)
    assert len(parts) > 1
    np.testing.assert_array_equal(np.concatenate([part.features for part in parts]), whole.features)


def test_stored_jets_are_read_back(tmp_path):
    file = jet_files.write_parquet(tmp_path / "jets.parquet")
    classes, flat = find_classes([file], None), features(file)[0]
    found, cut = store([file], PcnFeatureExtractor(), classes, tmp_path / "jets.arrow")
    assert cut == 0 and len(found) == 60 and found[4]["labels"] == 1
    np.testing.assert_array_equal(np.concatenate(list(found["features"])), flat.features.reshape(-1))


def test_a_column_of_classes(tmp_path):
    file = jet_files.write_parquet(tmp_path / "jets.parquet", kind=["b", "a"] * 30)
    classes = find_classes([file], "kind")
    assert classes.names == ["a", "b"]
    part = next(reading.read_jets([file], lambda name: name == "kind"))
    assert classes.numbers(part).tolist() == [1, 0] * 30


def test_a_column_of_classes_is_no_measurement(tmp_path):
    file = jet_files.write_parquet(tmp_path / "jets.parquet", 120)
    with pytest.raises(InputError, match="expected classes, got 120 different values"):
        find_classes([file], "event")
    file = jet_files.write_parquet(tmp_path / "jets.parquet", kind=["a", "b|c"] * 30)
    with pytest.raises(InputError, match="expected names of classes"):
        find_classes([file], "kind")


def test_unrelated_columns_are_left_alone(tmp_path):
    expected = features(jet_files.write_parquet(tmp_path / "a.parquet"))[0]
    others = {"trigger": [[1, 2]] * 60, "note": [None, "x"] * 30, "label_other": [2.5] * 60}
    found = features(jet_files.write_parquet(tmp_path / "b.parquet", **others))[0]
    np.testing.assert_array_equal(found.features, expected.features)


def test_without_tracks_those_of_the_file_are_ignored(tmp_path):
    extractor = PcnFeatureExtractor(missing_tracks="zero")
    file = jet_files.write_parquet(tmp_path / "a.parquet")
    flat = next(extract([file], extractor))[1]
    assert not flat.features[:, 7:11].any()


@pytest.mark.parametrize(
    ("changes", "said"),
    (
        ({"part_px": None}, "no column 'part_px'"),
        ({"part_d0val": None}, "no column 'part_d0val'.*--missing_tracks zero"),
        ({"part_px": [[1.0, 2.0]] * 60}, "particles in a jet and"),
        ({"part_px": [1.0] * 60}, "part_px"),
        ({"part_px": [["a"]] * 60}, "part_px"),
        ({"jet_eta": ["a"] * 60, "jet_phi": [0.0] * 60}, "column 'jet_eta': expected numbers"),
        ({"jet_eta": [float("nan")] * 60, "jet_phi": [0.0] * 60}, "jet 1: its axis is not finite"),
    ),
)
def test_columns_that_do_not_fit(tmp_path, changes, said):
    file = jet_files.write_parquet(tmp_path / "jets.parquet", **changes)
    with pytest.raises(InputError, match=said):
        features(file)


def test_a_bad_particle_is_named(tmp_path):
    energy = jet_files.columns(jet_files.some_jets(60))["part_energy"]
    energy[30][0] = 0.1
    file = jet_files.write_parquet(tmp_path / "jets.parquet", part_energy=energy)
    with pytest.raises(InputError, match=r"jets.parquet: jet 31, particle 1: the energy is less"):
        features(file)


@pytest.mark.parametrize("labels", ([0] * 60, [-1] * 60, [float("nan")] * 60, ["1"] * 60))
def test_a_jet_of_no_class_is_named(tmp_path, labels):
    file = jet_files.write_parquet(tmp_path / "jets.parquet", label_QCD=labels)
    with pytest.raises(InputError, match=r"jet 1: expected one of the columns label_|expected zeros and ones"):
        store([file], PcnFeatureExtractor(), find_classes([file], None), tmp_path / "jets.arrow")


@pytest.mark.parametrize("suffix", ("root", "parquet", "h5", "npz", "csv"))
def test_damaged_and_missing_files(suffix, tmp_path):
    file = tmp_path / f"jets.{suffix}"
    with pytest.raises(InputError, match="no such file" if suffix != "csv" else "expected a file of jets"):
        features(file)
    file.write_bytes(b"nothing of the kind" * 10)
    with pytest.raises(InputError, match=r"jets\."):
        features(file)
