"""`lyra propose`: from tables of rounds to a plate."""

import csv
import re

import numpy as np
import pytest
from runs import write_table

from lyra import LyraConfig, LyraForSequenceClassification, LyraTokenizer
from lyra.alphabet_lyra import get_alphabet
from lyra.cli import main
from lyra.design import Campaign, Policy, Pool, candidates, propose, surrogate
from lyra.design.acquisition import ACQUISITIONS, Beliefs, choose, distance
from lyra.design.campaign import choose_plate
from lyra.design.measured import average, read_rounds
from lyra.design.proposing import _look_back
from lyra.design.surrogate import fit_surrogate
from lyra.design.wells import wells
from lyra.errors import InputError
from lyra.simulation import random_landscape
from lyra.training import job
from lyra.variants.notation import WildType

LANDSCAPE = random_landscape(np.random.default_rng(1), length=12, order=1, positions=6)
WILD = LANDSCAPE.wild_type
MUTATIONS = sorted({mutation for each in LANDSCAPE.coefficients for mutation in each})


def variants(count, seed):
    """Random ones, each different."""
    rng, found = np.random.default_rng(seed), {}
    while len(found) < count:
        letters = list(WILD)
        for index in rng.choice(len(MUTATIONS), rng.integers(1, 5), replace=False):
            position, letter = MUTATIONS[index]
            letters[position] = letter
        found["".join(letters)] = None
    return list(found)


@pytest.fixture(autouse=True)
def _short_training(monkeypatch):
    """Two epochs, in this process, and short searches."""
    monkeypatch.setattr(candidates, "_GENERATIONS", 4)
    monkeypatch.setattr(candidates, "_CHILDREN", 300)
    monkeypatch.setattr(job, "usual_epochs", lambda *_: 2.0)
    monkeypatch.setattr(surrogate, "_processes", lambda *_: 1)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Two rounds, some of the first measured again in the second, and the wild type."""
    folder, sequences = tmp_path_factory.mktemp("rounds"), variants(60, 0)
    for name, own in (("one.csv", sequences[:40]), ("two.csv", sequences[35:])):
        write(folder / name, own, [LANDSCAPE.fitness(each) for each in own])
    (folder / "wild.fasta").write_text(f">wild\n{WILD}\n")
    return folder


def write(file, sequences, values):
    with open(file, "w", newline="") as lines:
        rows = csv.writer(lines)
        rows.writerow(["sequence", "label"])
        rows.writerows(zip(sequences, values, strict=True))


def read(file):
    with open(file, newline="") as lines:
        return list(csv.DictReader(lines))


def flags(tables, output, *more):
    rounds = [str(tables / "one.csv"), str(tables / "two.csv")]
    wild = ["--wild_type", str(tables / "wild.fasta")]
    return ["propose", "--data", *rounds, *wild, "-o", str(output), *more]


def test_a_plate(tables, tmp_path, monkeypatch, capsys):
    """Constraints hold, nothing is measured twice, controls are the wild type and the best; the same seed gives the
    same plate; and what was measured for a plate can be compared with what it said."""
    monkeypatch.setattr("lyra.design.candidates._GENERATIONS", 3)
    more = ["-n", "12", "--controls", "2", "--max_mutations", "3", "--fixed", "1-2", "--forbid", "W", "--device", "cpu"]
    assert main(flags(tables, tmp_path / "a.csv", *more)) == 0
    said = capsys.readouterr().out
    assert "60 sequences, alphabet protein, in 2 round(s); 5 replicates averaged" in said and "5 members" in said
    plate = read(tmp_path / "a.csv")
    assert [row["well"] for row in plate] == [f"A{number}" for number in range(1, 13)]
    known = {row["sequence"]: float(row["label"]) for name in ("one", "two") for row in read(tables / f"{name}.csv")}
    for row in plate[:10]:
        assert row["sequence"] not in known and row["reason"] == "exploit" and row["sequence"][:2] == WILD[:2]
        assert 1 <= distance(row["sequence"], WILD) <= 3 and "W" not in row["sequence"]
        assert row["mutant"].count(":") + 1 == distance(row["sequence"], WILD)
        assert int(row["distance"]) == min(distance(row["sequence"], each) for each in known)
        assert float(row["lower"]) <= float(row["prediction"]) <= float(row["upper"])
    predicted = [float(row["prediction"]) for row in plate[:10]]
    assert predicted == sorted(predicted, reverse=True)
    assert plate[10]["mutant"] == "WT" and plate[11]["sequence"] == max(known, key=known.__getitem__)
    assert main(flags(tables, tmp_path / "b.csv", *more)) == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    page = (tmp_path / "a.html").read_text()
    assert "Next plate: 12 sequences" in page and "Looking back" not in page and plate[0]["mutant"] in page

    with open(tmp_path / "filled.csv", "w", newline="") as lines:
        rows = csv.DictWriter(lines, [*plate[0], "label"])
        rows.writeheader()
        rows.writerows(row | {"label": LANDSCAPE.fitness(row["sequence"])} for row in plate)
    arguments = flags(tables, tmp_path / "c.csv", "-n", "4", "--device", "cpu")
    arguments.insert(arguments.index("--wild_type"), str(tmp_path / "filled.csv"))
    assert main(arguments) == 0
    assert "Looking back" in (tmp_path / "c.html").read_text()
    assert not {row["sequence"] for row in read(tmp_path / "c.csv")} & {row["sequence"] for row in plate}


def test_sites_and_pools(tables, tmp_path):
    wild, data = str(tables / "wild.fasta"), [str(tables / "one.csv")]
    rows = propose(data, str(tmp_path / "s.csv"), 5, wild, sites="3,4", constraints={"letters": ["3=AC"]}, device="cpu")
    assert all(row["sequence"][2] in "AC" and row["sequence"][4:] == WILD[4:] for row in rows)
    new = variants(80, 5)
    write_pool = [*new, *[row["sequence"] for row in read(tables / "one.csv")]]
    write(tmp_path / "pool.csv", [each.lower() for each in write_pool], [0] * len(write_pool))
    rows = propose(data, str(tmp_path / "p.csv"), 200, pool=str(tmp_path / "pool.csv"), plate=96, device="cpu")
    known = {row["sequence"] for row in read(tables / "one.csv")}
    assert {row["sequence"] for row in rows} == set(new) - known and "mutant" not in rows[0]


def test_a_pool_says_which_rows_are_no_candidates(tables, tmp_path, capsys):
    """Its column is named as in the measured table, in capitals; letters that cannot be made are left out."""
    new = variants(90, 5)
    measured = read(tables / "one.csv")
    text = "AASeq,label\n" + "".join(f"{row['sequence']},{row['label']}\n" for row in measured)
    (tmp_path / "one.csv").write_text(text)
    odd = [WILD[:-1] + letter for letter in "X*-"]
    (tmp_path / "pool.csv").write_text("\n".join(["AASeq", *odd, measured[0]["sequence"], *new[:20]]) + "\n")
    command = ["propose", "--data", str(tmp_path / "one.csv"), "--sequence_column", "AASeq", "-n", "20"]
    more = ["--pool", str(tmp_path / "pool.csv"), "--min_distance", "3", "--device", "cpu"]
    assert main([*command, *more, "-o", str(tmp_path / "p.csv")]) == 0
    said = capsys.readouterr().out
    assert "3 by letters other than ACDEFGHIKLMNPQRSTVWY" in said and " measured already" in said
    assert "of 20 places for candidates are filled: there are no more at a distance of 3" in said
    assert not {row["AASeq"] for row in read(tmp_path / "p.csv")} & set(odd)


def test_a_round_may_be_a_folder(tables, tmp_path):
    (tmp_path / "rounds").mkdir()
    for split, name in (("train", "one"), ("test", "two")):
        (tmp_path / "rounds" / f"{split}.csv").write_bytes((tables / f"{name}.csv").read_bytes())
    rows = propose(
        [str(tmp_path / "rounds")], str(tmp_path / "p.csv"), 2, str(tables / "wild.fasta"), sites="3", device="cpu"
    )
    assert len(rows) == 2


def test_a_table_that_cannot_be_written_leaves_no_page(tables, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lyra.design.proposing.TableWriter.write", fail)
    assert main(flags(tables, tmp_path / "p.csv", "--sites", "3", "-n", "2", "--device", "cpu")) == 2
    assert not list(tmp_path.iterdir())


def test_intervals_of_a_low_level_are_in_order():
    """Where the quantiles of both ends cross."""
    rng = np.random.default_rng(0)
    model = surrogate.CrossValidated([], None, np.arange(30) % 5, rng.random(30), 0.0)
    for level in (0.05, 0.3, 0.9):
        lower, upper = model.limits(rng.random((5, 50)), level)
        assert (lower <= upper).all()


def test_a_trained_model(tables, tmp_path, capsys):
    train = ["train", str(write_table(tmp_path / "t.csv")), "--output_dir", str(tmp_path / "m"), "--use_cpu", "true"]
    train += ["--num_train_epochs", "1", "--linear_term", "words", "--config_overrides", "hidden_size=8"]
    assert main(train) == 0
    model = ["--model", str(tmp_path / "m"), "-n", "5", "--interval", "0.5", "--device", "cpu"]
    assert main(flags(tables, tmp_path / "a.csv", *model)) == 0
    row = read(tmp_path / "a.csv")[0]
    assert "std" not in row and float(row["lower"]) <= float(row["prediction"]) <= float(row["upper"])
    capsys.readouterr()
    assert main(flags(tables, tmp_path / "b.csv", *model, "--acquisition", "ucb")) == 2
    assert "--acquisition ucb: the model is no ensemble" in capsys.readouterr().err

    (tmp_path / "long.csv").write_text(f"sequence\n{WILD}A\n")  # words have any length
    assert main([*flags(tables, tmp_path / "l.csv", *model), "--pool", str(tmp_path / "long.csv")]) == 2
    assert "1 by --wild_type" in capsys.readouterr().err
    alone = ["propose", "--data", str(tables / "one.csv"), "--pool", str(tmp_path / "long.csv"), *model]
    assert main([*alone, "-o", str(tmp_path / "l.csv")]) == 0

    (tmp_path / "plate.csv").write_text(f"sequence,prediction,label\n{WILD},1,2\n{WILD},2,\n")
    hindsight = _look_back(str(tmp_path / "plate.csv"), "label")
    assert hindsight.measured.tolist() == [2] and np.isnan(hindsight.lower).all()


@pytest.mark.parametrize(
    ("more", "said"),
    (
        (["--seed", "-1"], "--seed: expected at least 0, got -1"),
        (["--interval", "7"], "--interval: expected a level between 0 and 1, such as 0.9, got 7"),
        (["--round_column", "rnd"], "--round_column: no table has a column 'rnd'"),
        (["--pool", "x.csv", "--sites", "1,2"], "--sites: not with --pool"),
        (["--acquisition", "best"], "--acquisition: expected one of greedy, ucb, ts, ei, got 'best'"),
        (["--controls", "96"], "--controls: expected fewer than the 96 sequences of -n"),
        (["--plate", "24"], "--plate: expected 96 or 384, got 24"),
        (["-n", "0"], "-n: expected at least 1, got 0"),
        (["--explore", "2"], "--explore: expected a share from 0 to 1, got 2"),
        (["--fixed", "3", "--letters", "3=WY"], "contradict each other: position 3 can have no letter"),
        (["--sites", "1,2,3,4,5,6"], "--sites: 64,000,000 combinations, more than 5,000,000"),
        (["--interval", "0.99", "--sites", "3"], "--interval 0.99: needs more measured sequences than 60"),
    ),
)
def test_bad_flags_end_with_a_line(tables, tmp_path, capsys, more, said):
    assert main(flags(tables, tmp_path / "o.csv", *more)) == 2
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_lengths_must_be_those_measured(tables, tmp_path):
    (tmp_path / "long.fasta").write_text(f">long\n{WILD}A\n")
    with pytest.raises(InputError, match="--wild_type: has 13 letters, expected 12 as of what was learned from"):
        propose([str(tables / "one.csv")], str(tmp_path / "o.csv"), wild_type=str(tmp_path / "long.fasta"))
    with pytest.raises(InputError, match="--wild_type is missing"):
        propose([str(tables / "one.csv")], str(tmp_path / "o.csv"))


def test_rounds_and_replicates(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("sequence,label,round\nACD,1,1\nacd,3,2\nACE,5,2\nACF,,2\n")
    measured, notes = read_rounds([str(table)], round_column="round")
    assert measured.sequences == ["ACD", "ACE"] and measured.values.tolist() == [2, 5]
    assert measured.errors[0] == pytest.approx(1) and np.isnan(measured.errors[1])
    assert (
        measured.rounds.tolist() == [1, 2] and "3 measurements of 'label'; 1 rows without one are left out" in notes[0]
    )
    later = tmp_path / "later.csv"
    later.write_text("sequence,label\nACG,1\n")  # a round of one sequence
    measured, _ = read_rounds([str(table), str(later)], round_column="round")
    assert measured.rounds.tolist() == [1, 2, 3] and measured.best_first(-1)[0] == "ACG"


@pytest.mark.parametrize(
    ("rows", "said"),
    (
        ("ACD,1,one\nACE,2,2\n", "column 'round': expected a number, got 'one'"),
        ("ACD,1,1.5\n", "column 'round': expected the number of a round from 1, got 1.5"),
        ("ACD,1,inf\n", "column 'round': expected a number, got 'inf'"),
        ("ACD,x,1\n", "column 'label': expected a number, got 'x'"),
        ("ACD,,1\n", "no row has a measurement in column 'label'"),
        ("AC1,1,1\n", "'1'"),
    ),
)
def test_wrong_rows_are_named(tmp_path, rows, said):
    table = tmp_path / "t.csv"
    table.write_text("sequence,label,round\n" + rows)
    with pytest.raises(InputError, match=re.escape(said)):
        read_rounds([str(table)], round_column="round")


def test_variants_are_read_where_there_are_no_sequences(tables, tmp_path, capsys):
    """A table of a deep mutational scan gives the plate that its sequences give; positions are counted from 2."""
    wild = WildType(WILD, get_alphabet("protein"), offset=1)
    lines = ["mutant,label"]
    for row in read(tables / "one.csv"):
        edits = [(i, a, b) for i, (a, b) in enumerate(zip(WILD, row["sequence"], strict=True)) if a != b]
        lines.append(f"{':'.join(f'{a}{i + 2}{b}' for i, a, b in edits)},{row['label']}")
    (tmp_path / "dms.csv").write_text("\n".join(lines) + "\n")
    plates = []
    for name, data in (("a.csv", tmp_path / "dms.csv"), ("b.csv", tables / "one.csv")):
        command = ["propose", "--data", str(data), "--wild_type", str(tables / "wild.fasta"), "--offset", "1"]
        assert main([*command, "-n", "5", "--device", "cpu", "-o", str(tmp_path / name)]) == 0
        plates.append(read(tmp_path / name))
    assert plates[0] == plates[1]
    assert all(wild.apply(wild.parse(row["mutant"])) == row["sequence"] for row in plates[0])

    (tmp_path / "wrong.csv").write_text("mutant,label\nW1A,1\n")
    command = ["propose", "--data", str(tmp_path / "wrong.csv"), "-o", str(tmp_path / "c.csv")]
    assert main([*command, "--wild_type", str(tables / "wild.fasta")]) == 2
    assert "wrong.csv, row 1 (line 2), column 'mutant': " in capsys.readouterr().err
    (tmp_path / "pool.csv").write_text(f"sequence\n{WILD}\n")
    assert main([*command, "--pool", str(tmp_path / "pool.csv")]) == 2
    assert "no column of sequences; those of column 'mutant' need --wild_type" in capsys.readouterr().err


def test_tables_have_one_label(tmp_path):
    (tmp_path / "a.csv").write_text("sequence,label\nACD,1\n")
    (tmp_path / "b.csv").write_text("sequence,fitness\nACE,1\n")
    with pytest.raises(InputError, match=r"column 'fitness', but in .*a\.csv in 'label'; they need one name"):
        read_rounds([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")])


def test_t_and_u_are_one_letter(tmp_path):
    """In measured tables, pools and wild types."""
    rng = np.random.default_rng(0)
    sequences = list(dict.fromkeys("".join(rng.choice(list("ACGT"), 8)) for _ in range(40)))
    write(tmp_path / "r.csv", sequences, [each.count("T") + each.count("G") / 10 for each in sequences])
    new = [each[::-1].replace("T", "U").lower() for each in sequences]
    write(tmp_path / "pool.csv", [*new, sequences[0].replace("T", "U")], [0] * (len(new) + 1))
    data, pool = [str(tmp_path / "r.csv")], str(tmp_path / "pool.csv")
    rows = propose(data, str(tmp_path / "p.csv"), 80, pool=pool, device="cpu")
    found = [row["sequence"] for row in rows]
    assert not set(found) & set(sequences) and len(set(found)) == len(found) and "U" not in "".join(found)
    (tmp_path / "w.fasta").write_text(">w\n" + sequences[0].replace("T", "U") + "\n")
    rows = propose(
        data,
        str(tmp_path / "s.csv"),
        5,
        str(tmp_path / "w.fasta"),
        sites="1,2",
        constraints={"avoid": ["GGA"]},
        controls=1,
        device="cpu",
    )
    assert rows[4]["mutant"] == "WT" and not any(
        "GGA" in row["sequence"] or "TCC" in row["sequence"] for row in rows[:4]
    )


def test_members_of_a_trained_ensemble():
    config = LyraConfig(hidden_size=8, state_size=4, num_labels=1)
    singles = [LyraForSequenceClassification(config).eval() for _ in range(3)]
    ensemble = LyraForSequenceClassification.as_ensemble(singles)
    members = [surrogate._single(ensemble), *ensemble.members()[1:]]
    tokenizer = LyraTokenizer("protein")
    found, own = (surrogate._predict(each, tokenizer, ["ACD", "MKTAY"]) for each in (members, singles))
    np.testing.assert_allclose(found, own, atol=1e-6)


def test_too_few_measurements():
    with pytest.raises(InputError, match="3 measured sequences, expected at least 10"):
        fit_surrogate(average(["AC", "AD", "AE"], [1, 2, 3], [1] * 3, "label", "protein"), 0)
    sequences = variants(12, 0)
    with pytest.raises(InputError, match="'label' is the same for nearly all"):
        fit_surrogate(average(sequences, [0] * 11 + [1], [1] * 12, "label", "protein"), 0)
    with pytest.raises(InputError, match="--device"):
        fit_surrogate(average(sequences, range(12), [1] * 12, "label", "protein"), 0, "nowhere")


# ── Acquisition ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_acquisitions():
    members = np.array([[0.0, 1.0, 2.0], [0.0, 3.0, 2.0]])
    beliefs = Beliefs(members, members.mean(axis=0), members.std(axis=0, ddof=1), 2.0, 2.0)
    values = {name: rule(beliefs) for name, rule in ACQUISITIONS.items()}
    assert values["greedy"].tolist() == [[0, 2, 2]]
    np.testing.assert_allclose(values["ucb"], [[0, 2 + 2 * 2**0.5, 2]])
    assert values["ts"].tolist() == members.tolist()
    draws = np.random.default_rng(0).normal(beliefs.mean[1], beliefs.std[1], 400_000)
    assert values["ei"][0, 1] == pytest.approx(np.maximum(draws - 2, 0).mean(), abs=0.01)
    assert values["ei"][0, 0] == pytest.approx(0, abs=1e-9)


def test_choosing_keeps_its_distance():
    values, sequences = np.array([[4.0, 3.0, 2.0, 1.0]]), ["AAAA", "AAAC", "AACC", "CCCC"]
    assert choose(values, sequences, [0, 0, 0], 2) == [(0, 0), (2, 0), (3, 0)]
    assert choose(values, sequences, [0, 0, 0], 4) == [(0, 0), (3, 0)]
    assert distance("ACD", "AC") == 1 and distance("ACD", "CAD") == 2


class Known:
    """A surrogate of two members that say the fitness, more or less."""

    def predict(self, sequences):
        values = np.array([LANDSCAPE.fitness(each) for each in sequences])
        return np.stack([values + 0.1, values - 0.1 - 0.01 * np.arange(len(values))])

    def limits(self, predicted, level):
        return None


def test_exploration_and_minimum():
    sequences = variants(50, 3)
    values = [LANDSCAPE.fitness(each) for each in sequences]
    measured = average(sequences[:10], values[:10], [1] * 10, "label", "protein", "")
    picks = choose_plate(Known(), Pool(sequences), measured, 10, Policy(explore=0.3), 0)
    assert [pick.reason for pick in picks] == ["exploit"] * 7 + ["explore"] * 3
    picks = choose_plate(Known(), Pool(sequences), measured, 4, Policy(explore=0.1), 0)
    assert [pick.reason for pick in picks] == ["exploit"] * 3 + ["explore"]
    least = choose_plate(Known(), Pool(sequences), measured, 1, Policy(minimize=True), 0)
    means = {each: Known().predict(sequences[10:]).mean(axis=0)[i] for i, each in enumerate(sequences[10:])}
    assert least[0].sequence == min(means, key=means.__getitem__)
    assert least[0].predicted.mean() == pytest.approx(means[least[0].sequence])


def test_campaign_finds_the_best():
    sequences = variants(200, 4)
    best = max(sequences, key=LANDSCAPE.fitness)
    campaign = Campaign(Pool(sequences), "protein", fit=lambda measured, seed: Known())
    campaign.measure([each for each in sequences if each != best][:20], range(20))
    assert campaign.propose(1)[0].sequence == best
    campaign.measure([best], [1.0])
    assert best not in {pick.sequence for pick in campaign.propose(100)}


# ── Surrogate ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def fitted():
    patch = pytest.MonkeyPatch()
    patch.setattr(job, "usual_epochs", lambda *_: 2.0)
    patch.setattr(surrogate, "_processes", lambda *_: 1)
    sequences = variants(80, 6)
    values = np.array([LANDSCAPE.fitness(each) for each in sequences])
    noise = np.random.default_rng(0).normal(0, 0.1 * values.std(), 80)
    found = fit_surrogate(average(sequences, values + noise, [1] * 80, "label", "protein", ""), 0, "cpu")
    patch.undo()
    return found


def test_an_additive_landscape_is_left_to_the_linear_term(fitted):
    """Networks of two epochs would be worse."""
    new = variants(300, 7)
    predicted = fitted.predict(new)
    assert fitted.network_share == 0 and predicted.shape == (5, 300)
    assert np.corrcoef(predicted.mean(axis=0), [LANDSCAPE.fitness(each) for each in new])[0, 1] > 0.9
    with_networks = surrogate._predict(fitted.members, fitted.tokenizer, new)
    np.testing.assert_allclose(predicted, with_networks, atol=1e-5)


def test_intervals_cover(fitted):
    new = variants(400, 8)
    values = np.array([LANDSCAPE.fitness(each) for each in new])
    noisy = values + np.random.default_rng(1).normal(0, 0.1 * values.std(), 400)
    lower, upper = fitted.limits(fitted.predict(new), 0.9)
    assert 0.8 < ((lower <= noisy) & (noisy <= upper)).mean() <= 1
    narrower = fitted.limits(fitted.predict(new), 0.5)
    assert (lower <= narrower[0]).all() and (narrower[1] <= upper).all()


def test_wells():
    assert wells(14)[11:] == ["A12", "B1", "B2"] and wells(97)[96] == "2:A1"
    assert wells(384, 384)[-1] == "P24"


def test_a_campaign_of_rna_takes_dna_letters():
    campaign = Campaign(Pool(["ACTG", "actt", "GGTA"]), "rna", fit=lambda measured, seed: Equal())
    campaign.measure(["ACTG", "ACTT"], [1, 2])
    assert [pick.sequence for pick in campaign.propose(3)] == ["GGUA"]
    with pytest.raises(ValueError, match="expected a finite value, got nan for 'GG'"):
        campaign.measure(["GG"], [float("nan")])
    with pytest.raises(ValueError, match="'Z' in 'GZ' is no letter of the alphabet rna"):
        campaign.measure(["GZ"], [1])


class Equal:
    """Thinks the same of all."""

    def predict(self, sequences):
        return np.zeros((2, len(sequences)))
