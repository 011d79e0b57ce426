"""Results: tasks that run, tables made from records alone, checkpoints that predict what they did."""

import csv
import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reproduce
import torch
from huggingface_hub import ModelCard
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    HfArgumentParser,
)

from lyra.data import DataArguments
from lyra.hub import build_artifact, code_sha256
from lyra.inference import load_model
from lyra.training import LyraTrainingArguments, ModelArguments, job
from lyra.training.linear import fit_linear

ROOT = Path(__file__).parents[2]

TASKS = sorted(file.stem for file in reproduce.TASKS.glob("*.yaml"))
RECORDS = sorted(reproduce.RECORDS.glob("*.json"))
CARDS = sorted(file.parent for file in (ROOT / "model_cards").glob("*/tokenizer.json"))  # Lyra's


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_flags_of_lyra_train(name, tmp_path):
    task = reproduce.read_task(name)
    assert set(task) == {"name", "title", "data", "metric", "epochs", "flags", "source", "published", "test_use"}
    for model in reproduce.MODELS:
        flags = reproduce.flags_of(task, model, tmp_path) | {"output_dir": str(tmp_path), "use_cpu": True}
        if "folds" in flags:
            flags["fold"] = 1
        HfArgumentParser((DataArguments, ModelArguments, LyraTrainingArguments)).parse_dict(flags)


def test_the_tables_are_those_of_the_records():
    assert (ROOT / "docs" / "results.md").read_text().endswith(reproduce._TABLES + reproduce.report())
    assert reproduce.short_table() in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("file", RECORDS, ids=lambda file: file.stem)
def test_records_say_what_was_done(file):
    records = json.loads(file.read_text())["records"]
    assert len({record["data"]["sha256"] for record in records}) == 1
    assert len({(r["model"], r["seed"], r["fold"]) for r in records}) == len(records)
    for record in records:
        assert record["command"].startswith(f"python scripts/research/reproduce.py {file.stem} --recipe ")
        assert record["hyperparameters"]["seed"] == record["seed"] and record["versions"]["torch"]
        assert record["n"] == records[0]["n"] or record["fold"] is not None


@pytest.fixture
def task(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    with open(tmp_path / "t.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sequence", "label"])
        for _ in range(80):
            sequence = "".join(rng.choice(list("ACGT"), 8))
            writer.writerow([sequence, sequence.count("A") + rng.normal()])
    small = {"per_device_train_batch_size": 32, "use_cpu": True}
    monkeypatch.setattr(reproduce, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(reproduce, "ROOT", tmp_path)
    monkeypatch.setattr(job, "usual_epochs", lambda *_: 2.0)
    facts = {"title": "A", "data": "t.csv", "metric": "spearman", "epochs": 1, "source": "here", "published": []}
    return facts | {"name": "t", "flags": small, "test_use": "The test split was scored once."}


@pytest.mark.parametrize("model", list(reproduce.MODELS))
def test_every_model_trains_and_is_scored_once(task, tmp_path, model, monkeypatch):
    records = reproduce.run_model(task, model, 2, tmp_path, tmp_path / "runs")
    ensembles = {name: [name, name, ensemble] for name, ensemble in reproduce._ENSEMBLES.items()}
    once = {name: [name] for name in (*reproduce.FITS, "hybrid")}
    kinds = (once | ensembles).get(model, [model] * 2)
    assert [record["model"] for record in records] == kinds
    assert all(-1 <= record["test"]["spearman"] <= 1 and record["training_seconds"] >= 0 for record in records)
    monkeypatch.setattr(reproduce, "train", None)  # nothing is trained or scored again
    assert reproduce.run_model(task, model, 2, tmp_path, tmp_path / "runs") == records
    reproduce.write_records(task, records[:1])
    reproduce.write_records(task, records)
    stored = json.loads((tmp_path / "records" / "t.json").read_text())["records"]
    assert stored == json.loads(json.dumps(records))
    assert reproduce.task_table(task, records).count("\n") == 1 + len(set(kinds))


def test_folds(task, tmp_path):
    task["flags"] |= {"folds": 2}
    records = reproduce.run_model(task, "linear", 3, tmp_path, tmp_path / "runs")
    assert [record["fold"] for record in records] == [1, 2]
    assert sum(record["n"]["test"] for record in records) == 80


def test_per_residue_and_variable_lengths_have_linear_baselines(tmp_path):
    from lyra.data import prepare

    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list("ACDEFGHIKL"), rng.integers(8, 20))) for _ in range(60)]
    labels = ["".join("01"[letter in "ACDE"] for letter in sequence) for sequence in sequences]
    (tmp_path / "residues.csv").write_text(
        "sequence,label\n" + "\n".join(map(",".join, zip(sequences, labels, strict=True)))
    )
    scores = fit_linear(prepare(DataArguments(data=str(tmp_path / "residues.csv"))), "mcc", 0).record["test"]
    assert scores["mcc"] == 1.0  # a residue's class is its letter
    counted = [f"{s},{s.count('A') / len(s)}" for s in sequences]
    (tmp_path / "whole.csv").write_text("sequence,label\n" + "\n".join(counted))
    assert (
        fit_linear(prepare(DataArguments(data=str(tmp_path / "whole.csv"))), "spearman", 0).record["test"]["spearman"]
        > 0.5
    )


def test_wrong_arguments(monkeypatch, capsys):
    for argv, message in ((["nothing"], "expected a task among"), (["gfp_relso", "--seeds", "0"], "--seeds")):
        monkeypatch.setattr(sys, "argv", ["reproduce.py", *argv])
        assert reproduce.main() == 2 and message in capsys.readouterr().err


def test_a_release_is_complete_and_holds_no_data(task, tmp_path):
    reproduce.run_model(task, "hybrid", 2, tmp_path, tmp_path / "runs")
    reproduce.release(task, tmp_path / "runs", tmp_path)
    folder = tmp_path / "model_cards" / "t"
    assert {file.name for file in folder.iterdir()} == {
        *("README.md", "config.json", "example.json", "metrics.json", "model.safetensors", "plots"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    text = "".join(file.read_text() for file in folder.iterdir() if file.suffix in (".md", ".json"))
    with open(tmp_path / "t.csv") as file:
        assert not any(row["sequence"] in text for row in csv.DictReader(file))


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """The released checkpoints with code, as `make artifacts` and `lyra publish` build them."""
    output = tmp_path_factory.mktemp("hub")
    for folder in CARDS:
        build_artifact(folder, output / folder.name, folder.name)
    return output


@pytest.mark.parametrize("name", [folder.name for folder in CARDS])
def test_released_checkpoints_predict_what_they_did(artifacts, name):
    folder = ROOT / "model_cards" / name
    assert not list(folder.glob("*.py")) and "local_files_only" not in (folder / "tokenizer_config.json").read_text()
    card = ModelCard.load(artifacts / name / "README.md")
    assert (card.data.license, card.data["code_sha256"]) == ("apache-2.0", code_sha256())
    assert "](plots/" in card.text and (folder / "plots").is_dir()
    assert (
        sum(file.stat().st_size for file in (artifacts / name).rglob("*")) < 1_600_000
    )  # three members, plots and the code
    example = json.loads((folder / "example.json").read_text())
    model, tokenizer = load_model(str(folder))
    assert example["sequences"] == reproduce.example_sequences(*_alphabet(folder), model.config.linear_length)
    with torch.no_grad():
        logits = model(**tokenizer(*example["sequences"], return_tensors="pt")).logits[0].numpy()
    expected = np.array(example["logits"], dtype=np.float32)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    if reproduce._machine().items() <= example.items():
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)  # processors differ in the last bit
    head = AutoModelForTokenClassification if model.per_token else AutoModelForSequenceClassification
    loaded = head.from_pretrained(folder).eval()  # `lyra` is imported
    tokens = AutoTokenizer.from_pretrained(folder)(*example["sequences"], return_tensors="pt")
    with torch.no_grad():
        np.testing.assert_allclose(loaded(**tokens).logits[0].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_built_artifacts_load_where_lyra_is_not_installed(artifacts):
    """In a process that cannot import `lyra`; a class that is registered here would be taken instead of theirs."""
    program = """
import json, sys
from pathlib import Path
sys.modules["lyra"] = None
import numpy, torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer
for folder in map(Path, sys.argv[1:]):
    example = json.loads((folder / "example.json").read_text())
    (architecture,) = AutoConfig.from_pretrained(folder, trust_remote_code=True).architectures
    head = AutoModelForTokenClassification if "Token" in architecture else AutoModelForSequenceClassification
    model, report = head.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"], (folder, report)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    with torch.no_grad():
        logits = model.eval()(**tokenizer(*example["sequences"], return_tensors="pt")).logits[0]
    numpy.testing.assert_allclose(logits.numpy(), example["logits"], rtol=1e-4, atol=1e-5)
"""
    command = [sys.executable, "-c", program, *map(str, sorted(artifacts.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def _alphabet(folder):
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    return settings["alphabet"], settings["pair_offset"]


@pytest.mark.parametrize("name", ["polynomial", "nonpolynomial", "gfp", "length", "positions", "epistasis", "motifs"])
def test_the_experiments_tables_are_those_of_their_records(name, monkeypatch):
    experiment = importlib.import_module(name)
    assert experiment.report() in (ROOT / "docs" / "experiments.md").read_text()
    assert (ROOT / "docs" / "experiments" / f"{name}.png").exists()


def test_experiments_learn_and_are_not_repeated(tmp_path, monkeypatch):
    learners, polynomial = (importlib.import_module(name) for name in ("learners", "polynomial"))
    rng = np.random.default_rng(0)
    rows = polynomial.simulate(rng, polynomial.random_landscape(rng, order=1), 400)
    splits = [learners.encode(rows[start : start + 100]) for start in (0, 200, 300)]
    small = lambda: learners.lyra(hidden_size=16, state_size=8)  # noqa: E731
    monkeypatch.setattr(learners, "DOCS", tmp_path)
    work = lambda seed: learners.fit(small, *splits, steps=60, lr=1e-2, seed=seed)  # noqa: E731
    (row,) = learners.run("additive", [{"seed": 0}], work)
    assert row["r2"] > 0.3
    assert learners.run("additive", [{"seed": 0}], None) == [row] == learners.load("additive")


def test_the_ablations_differ_where_they_should(monkeypatch):
    gfp = importlib.import_module("gfp")
    ids = torch.randint(3, 23, (2, 30))
    answers, weights = {}, None
    for name, build in gfp.PARTS.items():
        torch.manual_seed(0)
        model = build().eval()
        answers[name] = model(ids).logits
        if name in ("full", "additive gate", "standard convolution"):  # the same weights, another product
            assert weights is None or all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
            weights = list(model.parameters())
    assert len({tuple(answer.flatten().tolist()) for answer in answers.values()}) == len(gfp.PARTS)
