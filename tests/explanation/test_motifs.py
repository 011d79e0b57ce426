"""Motifs: planted ones are found where they are, and noise has none."""

import numpy as np
import pytest

from lyra.errors import InputError
from lyra.explanation.attribution import Attribution
from lyra.explanation.motifs import Hit, _collect, compare_motifs, find_motifs, read_meme, write_meme
from lyra.simulation import PlantedMotif, simulate_motifs

MOTIFS = [PlantedMotif("TGACTC", 1.0), PlantedMotif("CACGTGGA", -1.5), PlantedMotif("GATAAGCTAC", 2.0)]


def attributions(rows, noise=0.03):
    """What a model would give that has learned the planted motifs."""
    rng, found = np.random.default_rng(1), []
    for row in rows:
        letters = np.array(["ACGT".index(letter) for letter in row["sequence"]])
        values = noise * rng.normal(size=(len(letters), 4))
        for motif, start in zip(MOTIFS, row["starts"], strict=True):
            if start >= 0:
                places = start + np.arange(len(motif.letters))
                values[places, letters[places]] += motif.effect / len(motif.letters)
        found.append(Attribution(values, letters, 0.0, 0.0, 0.0))
    return found


@pytest.fixture(scope="module")
def rows():
    return simulate_motifs(np.random.default_rng(0), MOTIFS, 300)


@pytest.fixture(scope="module")
def found(rows):
    return find_motifs(attributions(rows))


def test_planted_motifs_are_found_where_they_are(rows, found):
    assert {motif.consensus("ACGT") for motif in found} == {motif.letters for motif in MOTIFS}
    for motif in found:
        (number,) = (i for i, each in enumerate(MOTIFS) if each.letters == motif.consensus("ACGT"))
        there = {(i, row["starts"][number]) for i, row in enumerate(rows) if row["starts"][number] >= 0}
        hits = {(hit.sequence, hit.start) for hit in motif.hits}
        assert len(there & hits) >= 0.95 * len(there) and len(hits - there) <= 0.05 * len(hits)
        mean = np.mean([hit.contribution for hit in motif.hits])
        assert mean == pytest.approx(MOTIFS[number].effect, rel=0.1)


def test_what_occurs_twice_is_one_motif(rows, found):
    twice = find_motifs(attributions(rows[:150]) * 2)
    assert {motif.consensus("ACGT") for motif in twice} == {motif.letters for motif in MOTIFS}


def test_motifs_of_both_strands_are_one(rows):
    one = attributions(rows)
    other = [Attribution(each.values[::-1, ::-1], 3 - each.letters[::-1], 0.0, 0.0, 0.0) for each in one[:150]]
    found = find_motifs(one[150:] + other, both_strands=True)
    assert len(found) == 3
    for motif in found:
        strands = (
            {hit.strand for hit in motif.hits if hit.sequence < 150},
            {hit.strand for hit in motif.hits if hit.sequence >= 150},
        )
        assert strands in (({"+"}, {"-"}), ({"-"}, {"+"}))


@pytest.mark.parametrize("width", [1, 3, 5])
def test_noise_has_none(width):
    rng = np.random.default_rng(3)
    noise = attributions([row | {"starts": [-1, -1, -1]} for row in simulate_motifs(rng, [], 300)])
    if width > 1:  # neighbours are alike
        tracks = [np.convolve(rng.normal(size=len(each.letters)), np.ones(width), "same") for each in noise]
        noise = [each._replace(values=track[:, None] * each.one_hot) for each, track in zip(noise, tracks, strict=True)]
    assert find_motifs(noise) == []
    assert find_motifs([each._replace(values=0 * each.values) for each in noise]) == []
    short = [Attribution(each.values[:5], each.letters[:5], 0.0, 0.0, 0.0) for each in noise]
    assert find_motifs(short) == []


def test_a_file_of_motifs_is_read_back_and_compared(found, tmp_path):
    write_meme(tmp_path / "m.meme", found, "ACGT")
    letters, database = read_meme(str(tmp_path / "m.meme"))
    assert letters == "ACGT"
    assert list(database) == [f"motif_{i} {motif.consensus('ACGT')}" for i, motif in enumerate(found, 1)]
    for motif, matrix in zip(found, database.values(), strict=True):
        np.testing.assert_allclose(matrix, motif.frequencies.T, atol=1e-5)
    compared = compare_motifs(found, database, both_strands=True)
    assert [row["target"].split()[0] for row in compared] == [row["motif"] for row in compared]
    assert all(0 <= row["p_value"] < 0.05 for row in compared)


def test_letters_that_are_unknown_count_for_none(found):
    attributions_of_n = [Attribution(np.ones((12, 4)), np.array([0, -1, *[2] * 10]), 1.0, 1.0, 0.0)] * 3
    motif = _collect(attributions_of_n, [Hit(i, 0, 3, "+", 3.0) for i in range(3)])
    np.testing.assert_allclose(motif.frequencies, [[1, 0, 0, 0], [0.25] * 4, [0, 0, 1, 0]], atol=1e-5)


HEAD = "MOTIF a\nletter-probability matrix: alength= 4 w= 2 nsites= 1\n"


@pytest.mark.parametrize(
    "content, message",
    [
        ("", r"m\.meme: expected motifs in MEME's format, found none"),
        ("MOTIF a\nletter-probability matrix\n", "line 2: expected w="),
        ("letter-probability matrix: w= 1\n1 0 0 0\n", "line 1: expected MOTIF and a name"),
        (HEAD + "1 x 0 0\n", "line 3: expected 4 frequencies that sum to 1, got '1 x 0 0'"),
        (HEAD + "1 0 0\n", "line 3: expected 4 frequencies"),
        (HEAD + "nan 0 0 1\n", "line 3: expected 4 frequencies"),
        (HEAD + "900 0 0 100\n", "line 3: expected 4 frequencies"),
        (HEAD + "1 0 0 0\n", "motif a: ends before its matrix does"),
        (HEAD + "1 0 0 0\n" * 2 + HEAD, "line 5: expected a name that no other motif has"),
    ],
)
def test_other_files_are_refused(content, message, tmp_path):
    (tmp_path / "m.meme").write_text(content)
    with pytest.raises(InputError, match=message):
        read_meme(str(tmp_path / "m.meme"))


def test_a_file_that_is_not_there():
    with pytest.raises(InputError, match=r"none\.meme: cannot be read \(No such file or directory\)"):
        read_meme("none.meme")
