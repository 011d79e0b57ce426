"""`lyra simulate-campaign`: rounds on a landscape that is known."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from lyra.cli import main
from lyra.design import candidates, simulate_campaign
from lyra.design.ehrlich import Ehrlich, random_ehrlich
from lyra.design.landscapes import SIMULATED
from lyra.design.simulating import table

LETTERS = "ACDEFGHIKL"
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def landscape(tmp_path):
    """All words of three letters; the effects of the letters add up."""
    effects = np.random.default_rng(0).random((3, len(LETTERS)))
    rows = [
        f"{''.join(word)},{sum(effects[i, LETTERS.index(letter)] for i, letter in enumerate(word))}"
        for word in product(LETTERS, repeat=3)
    ]
    (tmp_path / "l.csv").write_text("\n".join(["sequence,label", *rows]) + "\n")
    return str(tmp_path / "l.csv")


def test_ridge_finds_the_best_of_an_additive_landscape(landscape, tmp_path, capsys, monkeypatch):
    output = tmp_path / "o"
    arms = ["--arms", "random", "ridge greedy"]
    more = ["--start", "50", "--batch", "20", "--rounds", "2", "--seeds", "3", *arms]
    assert main(["simulate-campaign", landscape, "-o", str(output), *more]) == 0
    runs = [json.loads(file.read_text()) for file in sorted((output / "runs").iterdir())]
    best = {(run["arm"], run["seed"]): run["best"] for run in runs}
    assert len(best) == 6 and all(each == sorted(each) and len(each) == 3 for each in best.values())
    assert all(best["ridge greedy", seed][-1] == 1 for seed in range(3))
    assert all(best["ridge greedy", seed][0] == best["random", seed][0] < 1 for seed in range(3))
    record = json.loads((output / "campaign.json").read_text())
    assert record["best"]["random"][1] == best["random", 1] and record["batch"] == 20 and record["versions"]["torch"]
    assert "| ridge greedy | 3 |" in (output / "campaign.md").read_text() and (output / "campaign.png").is_file()

    assert main(["simulate-campaign", landscape, "-o", str(output), *more]) == 2
    assert "--resume continues the campaigns there" in capsys.readouterr().err
    kept = (output / "runs" / "random_0.json").stat().st_mtime_ns
    (output / "runs" / "random_1.json").unlink()
    assert main(["simulate-campaign", landscape, "-o", str(output), *more, "--resume"]) == 0
    assert json.loads((output / "runs" / "random_1.json").read_text())["best"] == best["random", 1]
    assert (output / "runs" / "random_0.json").stat().st_mtime_ns == kept
    assert main(["simulate-campaign", landscape, "-o", str(output), *more, "--resume", "--batch", "21"]) == 2
    assert "cannot resume: batch changed" in capsys.readouterr().err
    text = Path(landscape).read_text().replace("label", "label,other", 1).splitlines()
    Path(landscape).write_text("\n".join([text[0], *(f"{line},{number}" for number, line in enumerate(text[1:]))]))
    for label in ("label", "other"):
        output = tmp_path / "labels"
        last = main(["simulate-campaign", landscape, "-o", str(output), *more, "--label_column", label, "--resume"])
    assert last == 2 and "cannot resume: label_column changed" in capsys.readouterr().err
    monkeypatch.setattr("lyra.design.simulating.versions", dict)
    command = ["simulate-campaign", landscape, "-o", str(output), *more, "--label_column", "label", "--resume"]
    assert main(command) == 2
    assert "cannot resume: versions changed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    (
        (["--start", "5"], "--start: expected at least 10, got 5"),
        (["--arms", "best"], "--arms: expected some of random, ridge greedy, lyra greedy, lyra ucb, lyra ts"),
        (["--rounds", "20"], "has 1000 sequences, a campaign measures 2016"),
    ),
)
def test_bad_flags_end_with_a_line(landscape, tmp_path, capsys, more, said):
    assert main(["simulate-campaign", landscape, "-o", str(tmp_path / "o"), *more]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "o").exists()


@pytest.mark.parametrize("name", sorted(SIMULATED))
def test_simulated_landscapes_are_played(name, tmp_path, monkeypatch):
    """From one start, and no further than the maximum."""
    monkeypatch.setattr(candidates, "_CHILDREN", 300)
    arms = ("random", "ridge greedy")
    found = simulate_campaign(name, str(tmp_path / "o"), 60, 60, 2, 2, arms)
    assert name == "ehrlich" or found["ridge greedy"][:, -1].mean() > found["random"][:, -1].mean()
    assert all((each > 0).all() and (each <= 1).all() for each in found.values())
    assert (found["random"][:, 0] == found["ridge greedy"][:, 0]).all()


@pytest.mark.parametrize("name", sorted(SIMULATED))
def test_a_start_does_not_depend_on_the_landscape_of_its_seed(name, monkeypatch):
    drawn = []
    real = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: drawn.append(seed) or real(seed))
    SIMULATED[name](3)
    assert drawn and 3 not in drawn


def test_an_ehrlich_function_is_its_definition():
    function = Ehrlich(8, ("AC", "DE"), ((0, 2), (0, 1)), dict.fromkeys("ACD", "ACDE") | {"E": "CDE"}, 2)
    assert function.value("AACCDDEE") == 1  # A.C, DE
    assert function.value("AACCDDDD") == 0.5  # half of the second motif
    assert function.value("AACCCCCC") == 0  # nothing of the second
    assert function.value("DDEAACCC") == 0  # E may not be followed by A
    coarse = Ehrlich(8, ("ACDE",), ((0, 1, 2, 3),), dict.fromkeys("ACDE", "ACDE"), 2)
    assert [coarse.value(each) for each in ("AAAAAAAA", "ACCCCCCC", "ACDDDDDD", "ACDEEEEE")] == [0, 0.5, 0.5, 1]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        function = random_ehrlich(rng, "ACDEFGHIKLMNPQRSTVWY", length=30, motifs=3, motif_length=5, quantization=5)
        assert function.value(solution(function)) == 1 and len(solution(function)) == 30
        values = {function.value(function.sample(rng)) for _ in range(50)}
        assert max(values) < 1 and all(round(each * 125, 9).is_integer() for each in values)
    with pytest.raises(ValueError, match="do not fit"):
        random_ehrlich(np.random.default_rng(0), "ACGT", motifs=2)


def solution(function):
    """A sequence of value 1: the motifs one after the other, their gaps filled by repeating letters."""
    span, text = function.length // len(function.motifs), ""
    for motif, spacing in zip(function.motifs, function.spacings, strict=True):
        ends = (*spacing[1:], span)
        text += "".join(letter * (end - begin) for letter, begin, end in zip(motif, spacing, ends, strict=True))
    return text + text[-1] * (function.length - len(text))


def test_lyra_plays(landscape, tmp_path, monkeypatch):
    """One round, by the mean of the members and by one member for each place."""
    monkeypatch.setattr("lyra.training.job.usual_epochs", lambda *_: 2.0)
    monkeypatch.setattr("lyra.design.surrogate._processes", lambda *_: 1)
    found = simulate_campaign(landscape, str(tmp_path / "o"), 20, 20, 1, 1, ("lyra greedy", "lyra ts"))
    assert all(best[0, 1] > max(best[0, 0], 0.9) for best in found.values())
    assert "finds the maximum" in table(found)


def test_an_unknown_landscape_ends_with_a_line(tmp_path, capsys):
    assert main(["simulate-campaign", "hills", "-o", str(tmp_path / "o")]) == 2
    assert "hills: expected a table, or one of polynomial, ehrlich" in capsys.readouterr().err
    assert main(["simulate-campaign", "ehrlich", "-o", str(tmp_path / "o"), "--label_column", "y"]) == 2
    assert "--label_column: not with a simulated landscape" in capsys.readouterr().err
    assert main(["simulate-campaign", "polynomial", "-o", str(tmp_path / "o"), "--start", "70000"]) == 2
    assert (
        "polynomial: has 65536 sequences, a campaign measures 70384" in capsys.readouterr().err
        and not (tmp_path / "o").exists()
    )


@pytest.mark.parametrize("file", sorted((DOCS / "campaigns").glob("*.json")), ids=lambda file: file.stem)
def test_the_page_shows_the_records(file):
    best = json.loads(file.read_text())["best"]
    page = (DOCS / "design.md").read_text(encoding="utf-8")
    assert table({arm: np.array(values) for arm, values in best.items()}) in page
    assert file.with_suffix(".png").exists() and f"campaigns/{file.stem}.png" in page
