"""Numbers beside each sequence: read out, saved, required; informative ones help and noise does not hurt."""

import csv
import json

import numpy as np
import pytest
import torch
from runs import TRAIN

from lyra import LyraConfig, LyraForSequenceClassification, LyraTokenizer
from lyra.cli import main
from lyra.hub import build_artifact
from lyra.inference import load_model
from lyra.inference.logits import compute_logits
from lyra.inference.streaming import stream

LETTERS = list("ACDEFGHIKLMNPQRSTVWY")


def model_of(**settings):
    extra = {"extra_features": ["T", "pH"], "extra_means": [300.0, 7.0], "extra_stds": [10.0, 0.5]}
    model = LyraForSequenceClassification(LyraConfig(hidden_size=8, state_size=4, num_labels=1, **extra, **settings))
    torch.nn.init.normal_(model.extra_term.weight)
    return model.eval()


def test_a_number_adds_what_its_weight_says():
    model, ids = model_of(), torch.randint(4, 20, (3, 12))
    values = torch.tensor([[300.0, 7.0], [310.0, 7.0], [300.0, 6.5]])
    with torch.no_grad():
        logits = model(ids, extra_features=values).logits[:, 0]
        usual = model(ids, extra_features=values[:1].expand(3, 2)).logits[:, 0]
    weight = model.extra_term.weight[:, 0].detach()
    torch.testing.assert_close(logits - usual, torch.tensor([0.0, weight[0], -weight[1]]), rtol=1e-4, atol=1e-5)


def test_they_are_required():
    model, ids = model_of(), torch.randint(4, 20, (3, 12))
    with pytest.raises(ValueError, match="this model reads T, pH of each sequence, got none"):
        model(ids)
    with pytest.raises(ValueError, match="got 3"):
        model(ids, extra_features=torch.zeros(3, 3))
    plain = LyraForSequenceClassification(LyraConfig(hidden_size=8, state_size=4, num_labels=1)).eval()
    with pytest.raises(ValueError, match="this model reads none"):
        plain(ids, extra_features=torch.zeros(3, 2))
    with pytest.raises(ValueError, match="reads extra features"):
        stream(model, ["ACD"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"extra_features": ["a"]}, "`extra_means` must be given together"),
        ({"extra_features": ["a"], "extra_means": [0.0], "extra_stds": [0.0]}, "`extra_stds` must be positive"),
        ({"extra_features": ["a"], "extra_means": [0.0, 1.0], "extra_stds": [1.0]}, "`extra_means` must be a finite"),
        ({"extra_features": [], "extra_means": [], "extra_stds": []}, "`extra_features` must be names"),
    ],
)
def test_a_config_that_makes_no_model(fields, message):
    with pytest.raises(Exception, match=message):
        LyraConfig(num_labels=1, **fields)


def test_an_ensemble_reads_them(tmp_path):
    members = [model_of() for _ in range(2)]
    ensemble = LyraForSequenceClassification.as_ensemble(members).eval()
    values = np.array([[305.0, 7.2]], np.float32)
    tokenizer = LyraTokenizer("protein")
    alone = [compute_logits(member, tokenizer, ["ACDEF"], values).logits[0] for member in members]
    together = compute_logits(ensemble, tokenizer, ["ACDEF"], values)
    np.testing.assert_allclose(together.logits[0], np.mean(alone, axis=0), rtol=1e-5)
    ensemble.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, _ = load_model(str(tmp_path))
    np.testing.assert_array_equal(compute_logits(loaded, tokenizer, ["ACDEF"], values).logits[0], together.logits[0])


# ── Tables ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Single mutants whose labels are in no way like those of other positions, but like a zero-shot score."""
    rng = np.random.default_rng(0)
    wild_type, path = rng.choice(LETTERS, 40), tmp_path_factory.mktemp("t") / "t.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sequence", "label", "zero_shot", "noise", "constant", "word"])
        for position in range(40):
            for letter in rng.choice([each for each in LETTERS if each != wild_type[position]], 8, replace=False):
                mutant = wild_type.copy()
                mutant[position] = letter
                label = rng.normal()
                writer.writerow(["".join(mutant), label, 50 + label + 0.5 * rng.normal(), rng.normal(), 7, "hot"])
    return path


def spearman(table, folder, *flags):
    modulo = ["--split", "modulo", "--num_train_epochs", "2", "--ensemble", "1"]
    assert main(["train", str(table), "--output_dir", str(folder), *TRAIN, *modulo, *flags]) == 0
    return json.loads((folder / "metrics.json").read_text())["test"]["spearman"]


def test_an_informative_column_helps_and_noise_does_not_hurt(table, tmp_path):
    without = spearman(table, tmp_path / "a")
    informed = spearman(table, tmp_path / "b", "--feature_columns", "zero_shot")
    noisy = spearman(table, tmp_path / "c", "--feature_columns", "noise")
    assert informed > without + 0.4 and informed > 0.7
    assert noisy > without - 0.15


def test_without_a_linear_term_the_network_learns_them(table, tmp_path):
    flags = ["--linear_term", "none", "--num_train_epochs", "30", "--learning_rate", "0.02"]
    assert spearman(table, tmp_path / "m", "--feature_columns", "zero_shot", "noise", *flags) > 0.6


def test_the_card_says_how_to_give_them(table, tmp_path):
    spearman(table, tmp_path / "m", "--feature_columns", "zero_shot", "noise")
    build_artifact(tmp_path / "m", tmp_path / "artifact", "someone/model")
    card = (tmp_path / "m" / "README.md").read_text()
    assert "Beside each sequence it reads `zero_shot`, `noise`, in their own units." in card
    snippet = card.split("```python\n")[1].split("```")[0]
    exec(snippet.replace('"m"', repr(str(tmp_path / "m"))), {})


def test_predict_reads_them(table, tmp_path, capsys):
    spearman(table, tmp_path / "m", "--feature_columns", "zero_shot")
    asked = ["predict", str(tmp_path / "m"), str(table), "-o", str(tmp_path / "p.csv")]
    assert main(asked) == 0
    with open(tmp_path / "p.csv", newline="") as file, open(tmp_path / "m" / "predictions.csv", newline="") as other:
        predicted = {row["sequence"]: float(row["prediction"]) for row in csv.DictReader(file)}
        tested = {row["sequence"]: float(row["prediction"]) for row in csv.DictReader(other)}
    assert {key: predicted[key] for key in tested} == pytest.approx(tested, rel=1e-5)
    text = table.read_text()
    (tmp_path / "no.csv").write_text(text.replace("zero_shot", "other"))
    asked[2] = str(tmp_path / "no.csv")
    assert main(asked) == 2 and "no column 'zero_shot', which the model reads" in capsys.readouterr().err
    first = text.splitlines()[1].split(",")
    asked[2] = str(tmp_path / "gap.csv")
    (tmp_path / "gap.csv").write_text(f"{text.splitlines()[0]}\n{','.join([*first[:2], '', *first[3:]])}\n")
    (tmp_path / "p.csv").unlink()
    assert main(asked) == 2 and "row 1 (line 2), column 'zero_shot': expected a number" in capsys.readouterr().err
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("constant", "column 'constant': a feature that is 7 in all training rows"),
        ("word", "row 1 (line 2), column 'word': expected a number (--feature_columns), got 'hot'"),
        ("missing", "no column 'missing' (--feature_columns)"),
        ("label", "--feature_columns: 'label' is a column of sequences or labels"),
    ],
)
def test_columns_that_are_no_features(table, tmp_path, column, message, capsys):
    flags = ["--output_dir", str(tmp_path / "m"), *TRAIN, "--feature_columns", column]
    assert main(["train", str(table), *flags]) == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "m").exists()
