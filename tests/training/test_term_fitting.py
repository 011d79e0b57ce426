"""The linear term of a run: features, priors, ridge, curve, and what the run makes of them."""

import csv
import json
import sys
import tracemalloc
from itertools import product

import numpy as np
import pytest
import torch
from scipy import sparse

from lyra import LyraConfig, LyraForSequenceClassification, LyraTokenizer
from lyra.alphabet_lyra import AMINO_ACIDS, get_alphabet
from lyra.cli import main
from lyra.data import DataArguments, prepare
from lyra.inference import compute_logits, load_model
from lyra.inference.logits import logits_of_texts
from lyra.scoring import compute_metrics
from lyra.training import ModelArguments
from lyra.training.curve import Curved, bend, fit_curve
from lyra.training.features import MOST_PAIRS, AlignedFeatures, WordFeatures, possible_features
from lyra.training.linear_term import fit_linear_term, score_values
from lyra.training.model import build_model, label_fields
from lyra.training.priors import SimilarLetters, SimilarPairs, SimilarWords, independent, possible_priors, similarity
from lyra.training.ridge import PENALTIES, fit_ridge, folds_of

RNG = np.random.default_rng(0)
LETTERS = list(AMINO_ACIDS)
TINY = ["--config_overrides", "hidden_size=8", "state_size=4", "--num_train_epochs", "2", "--use_cpu", "true"]
TINY += ["--disable_tqdm", "true", "--per_device_train_batch_size", "16"]


@pytest.fixture(autouse=True)
def same_numbers(monkeypatch):
    """Whatever tests ran before."""
    monkeypatch.setattr(sys.modules[__name__], "RNG", np.random.default_rng(0))


def variants(rows=150, length=12, mutations=2):
    """Sequences of one length with a few changes of a wild type."""
    wild_type = RNG.choice(LETTERS, length)
    found = []
    for _ in range(rows):
        letters = wild_type.copy()
        letters[RNG.choice(length, mutations, replace=False)] = RNG.choice(LETTERS, mutations)
        found.append("".join(letters))
    return found


def additive(sequences, spread=1.0):
    effects = {(i, a): RNG.normal() for i in range(max(map(len, sequences))) for a in LETTERS}
    return np.array([spread * sum(effects[i, a] for i, a in enumerate(s)) for s in sequences])


def write(path, **columns):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def table(tmp_path, sequences, labels, **columns):
    return prepare(DataArguments(data=str(write(tmp_path / "t.csv", sequence=sequences, label=labels, **columns))))


def dense(prior, features):
    return prior(np.eye(features))


# ── Ridge and priors ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("prior", ["independent", "similar letters"])
def test_all_penalties_at_once_are_the_closed_form(prior):
    X = sparse.csr_matrix(RNG.random((30, 100)) * (RNG.random((30, 100)) < 0.2))
    targets = RNG.normal(size=(30, 2))
    targets[3, 1] = np.nan
    prior = independent if prior == "independent" else SimilarLetters("protein", np.arange(3, 8))
    found = fit_ridge(X, targets, prior, PENALTIES)
    S = dense(prior, 100)
    for output in range(2):
        rows = ~np.isnan(targets[:, output])
        A, y = X.toarray()[rows], targets[rows, output]
        middle, level = A.mean(0), y.mean()
        A, y = A - middle, y - level
        variances = np.einsum("rf,fg,rg->r", A, S, A)
        some = np.linspace(0, len(A) - 1, min(64, len(A))).astype(int)
        for index, penalty in enumerate(PENALTIES):
            a = np.linalg.solve(A @ S @ A.T + penalty * variances[some].mean() * np.eye(len(A)), y)
            np.testing.assert_allclose(A @ found.weights[index, :, output], A @ S @ A.T @ a, atol=0.01)
            expected = level - middle @ found.weights[index, :, output]
            assert found.intercepts[index, output] == pytest.approx(expected)


@pytest.mark.parametrize(
    "prior, features",
    [
        (SimilarLetters("protein", np.arange(3, 13)), 10 * 20),
        (SimilarPairs("protein", np.arange(3, 6)), 3 * 20 + 2 * 400),
        (SimilarWords(2), 20 + 400),
    ],
)
def test_a_prior_is_a_covariance(prior, features):
    S = dense(prior, features)
    np.testing.assert_allclose(S, S.T, atol=1e-9)
    assert np.linalg.eigvalsh(S).min() > 0


def test_words_and_pairs_of_alike_letters_are_alike():
    place = [AMINO_ACIDS.index(letter) for letter in "DEW"]
    pairs, words = dense(SimilarPairs("protein", np.arange(3, 5)), 440), dense(SimilarWords(2), 420)
    for S, start in ((pairs, 40), (words, 20)):
        dd, de, dw = (S[start + place[0] * 20 + place[0], start + place[0] * 20 + other] for other in place)
        assert dd > de > dw > 0
        assert S[start, 0] == 0  # a letter by itself says nothing of a word


def test_priors_are_for_amino_acids(tmp_path):
    data = table(tmp_path, variants(length=4), np.arange(150.0))
    for features in possible_features(data):
        assert set(possible_priors("protein", features)) == {"independent", "similar letters"}
        assert set(possible_priors("dna", features)) == {"independent"}


@pytest.mark.parametrize("part", [1, 2, 100])
def test_words_are_counted(monkeypatch, part):
    """Words do not reach into the next sequence; N is any of four letters."""
    monkeypatch.setattr("lyra.training.features._PART_TEXTS", part)
    sequences = ["A", "ACACA", "GT", "ANG", "TTTTTTT"]
    found = WordFeatures("dna").matrix(LyraTokenizer("dna").encode_bulk(sequences)).toarray()
    columns = [word for k in range(1, 5) for word in map("".join, product("ACGT", repeat=k))]
    for sequence, row in zip(sequences, found, strict=True):
        meant = [sequence.replace("N", letter) for letter in "ACGT"]
        for word, value in zip(columns, row, strict=True):
            places = len(sequence) - len(word) + 1
            count = np.mean([sum(each.startswith(word, i) for i in range(len(each))) for each in meant])
            assert value == pytest.approx(count / np.sqrt(max(places, 1)))


def test_some_amino_acids_are_alike():
    alike = similarity()
    place = AMINO_ACIDS.index
    assert alike[place("D"), place("E")] > alike[place("D"), place("W")]
    np.testing.assert_allclose(np.diag(alike), 1)


def test_a_network_that_says_nothing_does_not_shrink_the_predictions(tmp_path):
    sequences = variants(rows=150)
    data = table(tmp_path, sequences, additive(sequences))
    settings = ModelArguments(config_overrides=["hidden_size=8", "state_size=4"])
    term = fit_linear_term(data, "spearman", "positions", "none", label_fields(settings, data))
    model = build_model(settings, data, lambda head, config: head(config), term).eval()
    with torch.no_grad():
        for parameter in model.classifier.parameters():
            parameter.mul_(1e-3)  # a correlation hardly sees such a network
    record = term.join(model, data)
    assert record["network_share"] <= 0.1
    predicted = np.stack(logits_of_texts(model, data.tokenizer, data.sequences["validation"]).logits)
    assert predicted.std() > 0.5 * data.label_array("validation").std()


@pytest.mark.parametrize("metric", ["r2", "mae", "ndcg", "weight_rmse", "my_length_pearson"])
def test_choices_go_by_the_metrics_that_are_reported(metric):
    names, rng = ("weight", "my_length"), np.random.default_rng(0)
    values, labels = rng.normal(size=(2, 40, 2))
    labels[:7, 0] = np.nan
    reported = compute_metrics("regression", values, labels, names)
    expected = -reported[metric] if metric.endswith(("mae", "rmse")) else reported[metric]
    assert score_values(values, labels, names, metric) == pytest.approx(expected)
    assert score_values(values, labels, names, "spearman") == pytest.approx(
        (reported["spearman"] + reported["pearson"]) / 2
    )
    assert np.isnan(score_values(values, np.zeros((40, 2)), names, "r2"))


def test_equal_sequences_share_a_fold():
    folds = folds_of(["A", "B", "A", "C", "D", "E", "B"], seed=0)
    assert folds[0] == folds[2] and folds[1] == folds[6] and len(set(folds)) == 5


def test_a_curve_straightens_what_saturates():
    X = sparse.csr_matrix(RNG.normal(size=(400, 5)))
    latent = X @ np.array([1.0, -1, 0.5, 2, 0])
    target = np.tanh(latent)
    target = (target - target.mean()) / target.std()
    ridge = fit_ridge(X, target[:, None], independent, (1e-3,))
    curved = fit_curve(X, target, independent, 1e-3, ridge.causes[0, :, 0], ridge.intercepts[0, 0])
    plain = ((ridge.predict(X)[0, :, 0] - target) ** 2).mean()
    assert ((curved.predict(X) - target) ** 2).mean() < plain / 10
    latent = X @ curved.weights + curved.intercept
    assert latent.mean() == pytest.approx(0, abs=1e-9) and latent.std() == pytest.approx(1)


def test_a_monotone_curve_rises_where_a_free_one_would_fall():
    X = sparse.csr_matrix(RNG.normal(size=(400, 3)))
    latent = X @ np.array([1.0, -1, 0.5])
    target = np.where(latent < 0.5, latent, 1 - latent)  # rises and falls
    ridge = fit_ridge(X, target[:, None], independent, (1e-3,))
    start = (X, target, independent, 1e-3, ridge.causes[0, :, 0], ridge.intercepts[0, 0])
    places = sparse.csr_matrix(np.linspace(-3, 3, 100)[:, None])
    curves = {monotone: fit_curve(*start, monotone).curve for monotone in (False, True)}
    steps = {monotone: np.diff(Curved(np.ones(1), 0.0, curve).predict(places)) for monotone, curve in curves.items()}
    assert steps[False].min() < 0 < steps[True].min()


def test_the_slopes_of_a_curve_are_right():
    curve, x = RNG.normal(size=(3, 8)), RNG.normal(size=7)
    values, slopes, gradients = bend(x, curve)
    step = 1e-6
    np.testing.assert_allclose((bend(x + step, curve)[0] - values) / step, slopes, rtol=1e-3, atol=1e-4)
    for place in np.ndindex(3, 8):
        moved = curve.copy()
        moved[place] += step
        changes = (bend(x, moved)[0] - values) / step
        found = [gradients(row)[place] for row in np.eye(len(x))]
        np.testing.assert_allclose(changes, found, rtol=1e-3, atol=1e-4)


# ── Features ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_possible_depends_on_the_lengths(tmp_path):
    def names(sequences):
        return [features.name for features in possible_features(table(tmp_path, sequences, range(len(sequences))))]

    aligned = variants()
    assert names(aligned) == ["positions", "pairs"]
    assert names([*aligned, aligned[0] + "A"]) == ["words"]
    many = variants(length=30)
    assert MOST_PAIRS < 30 * 29 / 2 and names(many) == ["positions"]
    assert names(["".join(RNG.choice(LETTERS, 40)) for _ in range(60)]) == ["positions", "words"]


@pytest.mark.parametrize("kind", ["positions", "pairs", "words"])
@pytest.mark.parametrize(
    ("letters", "both_strands"), [("ACDEFGHIKLMNPQRSTVWYX-", False), ("ACGTN", False), ("ACGTN", True)]
)
def test_columns_are_those_of_the_model(tmp_path, kind, letters, both_strands):
    sequences = ["".join(RNG.choice(list(letters), 6)) for _ in range(40)]
    data = table(tmp_path, sequences, RNG.normal(size=40))
    term = fit_linear_term(data, "spearman", kind, "none", {"label_mean": 0.0, "label_std": 1.0}, both_strands)
    ids = torch.tensor(np.stack(data.token_ids("train"))).long()
    config = {"alphabet": data.tokenizer.alphabet, "num_labels": 1, "hidden_size": 8, "state_size": 4}
    config["reverse_complement"] = both_strands
    model = LyraForSequenceClassification(LyraConfig(**config, **term.fields)).eval()
    term.share_out(model, 0.0)
    (features,) = (each for each in possible_features(data, both_strands) if each.name == kind)
    centred = features.matrix(data.token_ids("train")) @ term.weights + features.offset @ term.weights
    np.testing.assert_allclose(model.linear_term(ids, None).detach(), centred, rtol=1e-4, atol=1e-4)


# ── Runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_a_very_large_table_is_sampled(tmp_path, monkeypatch, kind):
    sequences = variants(rows=400)
    values = additive(sequences)
    data = table(tmp_path, sequences, values if kind == "regression" else np.where(values > 0, "high", "low"))
    monkeypatch.setattr("lyra.training.linear_term._MOST_ROWS", 100)
    settings = label_fields(ModelArguments(), data)
    fitted = {}
    for entries in (1 << 25, 1000, 1):
        monkeypatch.setattr("lyra.training.linear_term._MOST_ENTRIES", entries)
        term = fit_linear_term(data, data.task.spec.selected_by, "positions", "none", settings)
        fitted[entries] = term.chosen["rows"]
        assert np.isfinite(term.weights).all()
    assert fitted[1 << 25] == len(data.rows["train"]) > fitted[1000] > fitted[1] == 100
    assert "fitted to 100 rows" in term.describe()


def train(path, output, *flags):
    assert main(["train", str(path), "--output_dir", str(output), *TINY, *flags]) == 0
    return json.loads((output / "metrics.json").read_text())


def test_additive_effects_are_found_at_once(tmp_path, capsys):
    sequences = variants(rows=300)
    path = write(tmp_path / "t.csv", sequence=sequences, label=100 * additive(sequences) - 7)
    record = train(path, tmp_path / "out")
    assert record["test"]["spearman"] > 0.9 and record["test"]["r2"] > 0.8
    term = record["linear_term"]
    assert term["features"] in ("positions", "pairs") and term["test"]["spearman"] > 0.9
    assert record["hyperparameters"]["label_transform"] == "mean of both"
    said = capsys.readouterr().out
    assert "linear term: p" in said and "linear term alone: validation spearman" in said
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Beside the network stands a linear term" in card
    model, tokenizer = load_model(str(tmp_path / "out"))
    with open(tmp_path / "out" / "predictions.csv") as file:
        rows = list(csv.DictReader(file))
    found = compute_logits(model, tokenizer, [row["sequence"] for row in rows]).logits
    np.testing.assert_allclose([float(row["prediction"]) for row in rows], np.concatenate(found), rtol=1e-4, atol=1e-3)
    other = write(tmp_path / "other.csv", sequence=[sequences[0], sequences[1] + "A"])
    assert main(["predict", str(tmp_path / "out"), str(other), "--output", str(tmp_path / "p.csv")]) == 2
    message = capsys.readouterr().err
    assert "row 2 (line 3), column 'sequence': expected 12 letters, as all training sequences have, got 13" in message


@pytest.mark.parametrize("task", ["classes", "several numbers", "several labels", "pairs"])
def test_every_kind_of_sequence_task_has_one(tmp_path, task):
    sequences, flags = variants(rows=500), []
    value = additive(sequences)
    columns = {"sequence": sequences, "label": np.digitize(value, np.quantile(value, [1 / 3, 2 / 3]))}
    if task == "several numbers":
        other = [f"{x:.3f}" for x in additive(sequences)]
        columns |= {"label": value, "other": other}
        flags = ["--label_columns", "label", "other"]
    if task == "several labels":
        columns |= {"label": (value > 0).astype(int), "other": (additive(sequences) > 0).astype(int)}
        flags = ["--label_columns", "label", "other"]
    if task == "pairs":
        guides = ["".join(RNG.choice(list("ACGT"), 6)) for _ in sequences]
        targets = ["".join(RNG.choice(list("ACGT"), 8)) for _ in sequences]
        columns = {"sequence": targets, "guide": guides}
        matches = [sum(map(str.__eq__, target, guide)) for target, guide in zip(targets, guides, strict=True)]
        columns["label"] = [count + 0.5 for count in matches]
        flags = ["--pair_column", "guide"]
    record = train(write(tmp_path / "t.csv", **columns), tmp_path / "out", *flags)
    chance = {"pairs": 0.5, "several labels": 0.6}.get(task, 0.4)
    assert record["linear_term"]["test"][record["selected_by"]] > chance
    assert 0 <= record["linear_term"]["network_share"] <= 1


def test_a_curve_that_only_rises_can_be_asked_for(tmp_path, capsys):
    sequences = variants(rows=400, mutations=4)
    value = additive(sequences)
    path = write(tmp_path / "t.csv", sequence=sequences, label=np.tanh((value - value.mean()) / 2))
    record = train(path, tmp_path / "out", "--global_epistasis", "monotone")
    model, _ = load_model(str(tmp_path / "out"))
    assert record["linear_term"]["curve"] == model.config.global_epistasis == "monotone"
    # The model takes absolute values; a curve that was fitted without bounds would have other signs.
    assert (model.curve.slope >= 0).all() and (model.curve.height >= 0).all() and model.curve.height.max() > 0
    flags = ["--linear_term", "none", "--global_epistasis", "monotone"]
    assert main(["train", str(path), "--output_dir", str(tmp_path / "no"), *TINY, *flags]) == 2
    assert "only over the linear term of a regression" in capsys.readouterr().err and not (tmp_path / "no").exists()


@pytest.mark.parametrize(("share", "members"), [(0.5, 2), (0.0, 1)])
def test_an_ensemble_has_one_term(tmp_path, share, members, monkeypatch, capsys):
    monkeypatch.setattr("lyra.training.linear_term._SHARES", (share,))
    sequences = variants()
    path = write(tmp_path / "t.csv", sequence=sequences, label=additive(sequences))
    record = train(path, tmp_path / "out", "--ensemble", "2")
    shares, out = record["linear_term"]["network_share"], capsys.readouterr().out
    assert shares == ([0.5, 0.5] if members == 2 else 0.0)
    model, _ = load_model(str(tmp_path / "out"))
    assert len(model.members()) == members and ("one is kept" in out) == (members == 1)
    predicted = (tmp_path / "out" / "predictions.csv").read_text().splitlines()[0]
    assert ("std" in predicted) == (members == 2)  # a column of zeros would say that the predictions are certain
    assert train(path, tmp_path / "out", "--ensemble", "2", "--resume")["test"] == record["test"]


@pytest.mark.parametrize(
    ("sequences", "flags", "message"),
    [
        (
            ["ACD", "ACDE", "CDE", "D"] * 10,
            ["--linear_term", "positions"],
            "the training sequences have no such features",
        ),
        (["ACDE", "ACDF"] * 20, ["--linear_term", "letters"], "choose from"),
    ],
)
def test_terms_that_do_not_fit_are_named(tmp_path, capsys, sequences, flags, message):
    path = write(tmp_path / "t.csv", sequence=sequences, label=RNG.normal(size=40))
    assert main(["train", str(path), "--output_dir", str(tmp_path / "out"), *TINY, *flags]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_sequences_that_are_alike_have_none(tmp_path, capsys):
    splits = ["train"] * 30 + ["validation"] * 5 + ["test"] * 5
    sequences = ["ACDE"] * 30 + ["ACDF"] * 5 + ["ACDG"] * 5
    path = write(tmp_path / "t.csv", sequence=sequences, label=RNG.normal(size=40), split=splits)
    record = train(path, tmp_path / "out")
    assert "linear_term" not in record and "linear term: none" in capsys.readouterr().out


def test_pairs_of_unrelated_sequences_stay_sparse():
    rng = np.random.default_rng(0)
    letters, reference = rng.integers(3, 23, (1000, 20)), rng.integers(3, 23, 20)
    features = AlignedFeatures("protein", reference, range(20))
    tracemalloc.start()
    matrix = features.matrix(list(letters))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert matrix.shape == (1000, 20 * 20 + 190 * 400)
    assert peak < 1000 * 190 * 400 * 8 / 4  # a quarter of the products, written out


def test_both_strands_of_dna_are_predicted_alike(tmp_path):
    sequences = ["".join(RNG.choice(list("ACGT"), RNG.integers(20, 40))) for _ in range(200)]
    other = get_alphabet("dna").reverse_complement
    labels = [(each.count("ACG") + other(each).count("ACG")) / 4 for each in sequences]
    path = write(tmp_path / "t.csv", sequence=sequences, label=labels)
    record = train(path, tmp_path / "out", "--reverse_complement", "both", "--alphabet", "dna")
    assert record["linear_term"]["features"] == "words" and record["linear_term"]["test"]["spearman"] > 0.9
    model, tokenizer = load_model(str(tmp_path / "out"))
    assert model.config.reverse_complement is True
    one, two = (compute_logits(model, tokenizer, each).logits for each in (sequences, list(map(other, sequences))))
    np.testing.assert_array_equal(np.ravel(one), np.ravel(two))
