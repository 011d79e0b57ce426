"""The command line: from files of jets to a tagger, its predictions, scores, export and artifact."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import forked
import jet_files
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from interrupted import KILLED, interrupted
from safetensors.torch import load_file, save_file

from lyra.errors import InputError
from lyra.hub import build_artifact
from pcn.cli import main
from pcn.inference import load_model

ROOT = Path(__file__).parents[2]
LABELS = [f"label_{name}" for name in jet_files.NAMES]
FEW = ["--num_train_epochs", "2", "--config_overrides", "hidden_sizes=[8,8]", "--per_device_train_batch_size", "16"]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tagger")
    train, test = (
        jet_files.write_parquet(folder / "train.parquet", 90),
        jet_files.write_root(folder / "test.root", 60, seed=1),
    )
    jet_files.write_parquet(folder / "few.parquet", 5)
    jet_files.write_parquet(folder / "unlabelled.parquet", 20, **dict.fromkeys(LABELS))
    pq.write_table(pq.read_table(train).slice(0, 0), folder / "none.parquet")
    assert main(["train", str(train), "--test", str(test), "-o", str(folder / "model"), *FEW]) == 0
    return folder


def test_a_run_leaves_a_scored_model(tagger):
    record = json.loads((tagger / "model" / "metrics.json").read_text())
    assert record["n"] == {"train": 81, "validation": 9, "test": 60}
    assert record["test"]["jets"] == dict.fromkeys(jet_files.NAMES, 20) and record["test"]["background"] == "QCD"
    assert record["command"].startswith("pcn train train.parquet --test test.root")
    names = {path.name for path in (tagger / "model").iterdir()}
    assert names == {
        *("README.md", "config.json", "metrics.json", "model.safetensors", "plots", "preprocessor_config.json")
    }


def test_prediction_and_evaluation_agree_with_the_record(tagger, capsys):
    table = tagger / "predictions.csv"
    assert main(["predict", str(tagger / "model"), str(tagger / "test.root"), "-o", str(table)]) == 0
    rows = pd.read_csv(table)
    assert rows["event"].tolist() == list(range(60))
    true = rows[LABELS].to_numpy().argmax(1)
    accuracy = (rows["prediction"] == [jet_files.NAMES[number] for number in true]).mean()
    report = tagger / "report"
    assert main(["evaluate", str(tagger / "model"), str(tagger / "test.root"), "-o", str(report)]) == 0
    found = json.loads((report / "metrics.json").read_text())["scores"]
    record = json.loads((tagger / "model" / "metrics.json").read_text())["test"]["scores"]
    assert found["accuracy"] == pytest.approx(accuracy) == record["accuracy"]
    assert found == pytest.approx(record, abs=1e-6)
    assert (report / "rejection.png").stat().st_size > 5000


def test_the_same_seed_gives_the_same_model(tagger, tmp_path):
    files = [str(tagger / "train.parquet"), "--test", str(tagger / "test.root")]
    assert main(["train", *files, "-o", str(tmp_path / "model"), *FEW]) == 0
    first, second = ((folder / "model" / "model.safetensors").read_bytes() for folder in (tagger, tmp_path))
    assert first == second


def test_a_checkpoint_loads_where_the_package_is_not(tagger, tmp_path):
    build_artifact(tagger / "model", tmp_path / "artifact", "someone/tagger")
    inputs = {"features": torch.rand(2, 9, 16), "points": torch.rand(2, 9, 2)}
    torch.save(inputs, tmp_path / "inputs.pt")
    code = f"""
import sys
sys.modules["pcn"] = sys.modules["lyra"] = None
import torch
from transformers import AutoFeatureExtractor, AutoModelForSequenceClassification
options = {{"trust_remote_code": True}}
model = AutoModelForSequenceClassification.from_pretrained({str(tmp_path / "artifact")!r}, **options)
AutoFeatureExtractor.from_pretrained({str(tmp_path / "artifact")!r}, **options)
torch.save(model(**torch.load({str(tmp_path / "inputs.pt")!r})).logits, {str(tmp_path / "logits.pt")!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    model, _ = load_model(str(tagger / "model"))
    assert torch.equal(torch.load(tmp_path / "logits.pt"), model(**inputs).logits)


@pytest.mark.parametrize("lost", (True, False), ids=("missing", "of another shape"))
def test_weights_that_do_not_fit_are_named(tagger, tmp_path, lost):
    """transformers would initialise them anew."""
    shutil.copytree(tagger / "model", tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    bias = weights.pop("classifier.bias")
    changed = weights if lost else weights | {"classifier.bias": bias[:1].clone()}
    save_file(changed, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"the weights lack 'classifier\.bias' or have it"):
        load_model(str(tmp_path / "model"))


def test_a_run_killed_before_its_first_checkpoint_is_in_nobodys_way(tagger, tmp_path):
    command = ["train", str(tagger / "train.parquet"), "-o", str(tmp_path / "model"), *FEW]
    assert interrupted("KILL", "pcn.training:_read", 1, *command, program="pcn")[0] == KILLED
    assert list((tmp_path / "model").iterdir())  # the features that it had extracted, among others
    assert main(command) == 0


def train_on_cpu(command):
    os.environ["ACCELERATE_USE_CPU"] = "true"  # as `accelerate launch --cpu` sets it
    sys.exit(main(command))


@pytest.mark.slow
def test_two_processes_train_what_one_does(tagger, tmp_path):
    """Of the same global batch, to what the order of sums changes."""
    records = {}
    for processes in (1, 2):
        output = tmp_path / str(processes)
        command = ["train", str(tagger / "train.parquet"), *FEW]
        command += ["--validation", str(tagger / "test.root"), "-o", str(output)]
        command += ["--per_device_train_batch_size", str(18 // processes)]  # 90 jets, five full batches
        done = forked.run(train_on_cpu, command, processes=processes)
        assert done.codes == [0] * processes, done.stderr[-3000:]
        assert done.stdout.count("written: ") == 1
        records[processes] = json.loads((output / "metrics.json").read_text())
    assert records[2]["hyperparameters"]["batch_size"] == records[1]["hyperparameters"]["batch_size"]
    assert records[2]["validation"]["jets"] == records[1]["validation"]["jets"]
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in "12")
    # The mean: of gradients that are nearly zero Adam makes steps as large as of any other.
    differences = torch.cat([(two[name] - value).abs().flatten() for name, value in one.items()])
    assert differences.mean() < 5e-4


def test_publishing_lists_what_would_go(tagger, capsys):
    assert main(["publish", str(tagger / "model"), "someone/tagger", "--dry_run"]) == 0
    said = capsys.readouterr().out
    assert "modeling_pcn.py" in said and "graph_pcn.py" in said and "LICENSE" in said


@pytest.mark.slow
def test_onnx_gives_the_same_logits(tagger, tmp_path, capsys):
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    assert main(["export", str(tagger / "model"), "-o", str(tmp_path / "tagger.onnx")]) == 0
    difference = float(capsys.readouterr().out.rsplit(": ", 1)[1])
    assert difference < 1e-5


@pytest.mark.parametrize(
    ("command", "said"),
    (
        ("train missing.parquet -o new", "missing.parquet: no such file"),
        ("train {train} -o new --preset best", "invalid choice"),
        ("train {train} -o new --config_overrides layers=3", "expected field=value"),
        ("train {train} -o new --config_overrides num_neighbors=0", "num_neighbors"),
        ("train {train} -o new --background W", "--background: expected one of QCD, Hbb, Tbqq"),
        ("train {train} -o new --label_column kind", "no column 'kind'"),
        ("train {train} -o new --num_train_epochs 0", "--num_train_epochs: expected a number above 0"),
        ("train {train} -o {model}", "--resume an interrupted run"),
        ("train {train} -o new --seed -1", "--seed: expected a number from 0"),
        ("train {train} -o new --weight_decay nan", "--weight_decay: expected a number from 0"),
        ("train {train} -o new --config_overrides model_type=x", "a field of PcnConfig"),
        ("train {train} -o new --learning_rate 1e30 --num_train_epochs 1", "training diverged"),
        ("train {train} -o new --validation {unlabelled}", "no column 'label_QCD' with a class for each jet"),
        ("train {train} -o new --label_column part_px", "does not have one value for each jet"),
        ("train {few} -o new", "fewer than 10 jets; pass --validation"),
        ("predict {model} {train} -o new.csv --batch_size 0", "--batch_size: expected at least 1"),
        ("predict {model} {none} -o new.csv", "no jets"),
        ("predict {train} {train} -o new.csv", "expected the folder or Hub id of a PCN model"),
        ("predict {model} {train} -o new.xyz", "new.xyz"),
        ("evaluate {model} {train} -o {model}", "exists already"),
        ("export {model} -o new.pt", "ends in .onnx"),
        ("publish {train} someone/tagger --dry_run", "README.md is missing"),
        ("simulate -o new.csv", "ends in .parquet"),
        ("simulate -o new.parquet --classes Z", "--classes: expected some of QCD"),
    ),
)
def test_bad_input_gets_a_line_and_leaves_nothing(tagger, tmp_path, monkeypatch, capsys, command, said):
    monkeypatch.chdir(tmp_path)
    places = {name: tagger / f"{name}.parquet" for name in ("train", "few", "none", "unlabelled")}
    places["model"] = tagger / "model"
    assert main([part.format(**places) for part in command.split()]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ("KILL", "TERM"))
def test_an_interrupted_run_goes_on_to_the_same_model(tagger, tmp_path, kind):
    files = [str(tagger / "train.parquet"), "--test", str(tagger / "test.root"), "-o", str(tmp_path / "model")]
    where = "lyra.training.progress:EpochLines.on_step_end"
    code, _ = interrupted(kind, where, 8, "train", *files, *FEW, program="pcn")  # in the second epoch of six steps
    assert code == (KILLED if kind == "KILL" else 143)
    assert main(["train", *files, *FEW, "--resume"]) == 0
    first, second = ((folder / "model" / "model.safetensors").read_bytes() for folder in (tagger, tmp_path))
    assert first == second
    assert not [path for path in (tmp_path / "model").iterdir() if path.name.startswith(".")]
