"""`lolcats` as a user runs it: from a model and a table to an exported folder, and what bad input gets."""

import csv
import json

import pytest
import torch
from tiny_transformers import tiny_transformer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import lolcats
from lolcats.cli import VERBS, build_parser, main
from lolcats.modeling_lolcats import attention_layers

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "mask_token": "<mask>", "unk_token": "<unk>"}


def save_model(folder, name):
    vocabulary = {token: i for i, token in enumerate([*SPECIAL.values(), *LETTERS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=512, **SPECIAL).save_pretrained(folder)
    tiny_transformer(name).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    rows = ["".join(LETTERS[i] for i in torch.randint(20, (length,))) for length in range(30, 60)]
    (tmp_path / "t.csv").write_text("sequence,label\n" + "".join(f"{row},1\n" for row in rows))
    (tmp_path / "t.txt").write_text("\n".join(rows))
    return tmp_path


@pytest.mark.parametrize("name", ["llama", "esm"])
def test_from_a_model_to_an_export(bench, capsys, name):
    save_model(bench / "base", name)
    few = ["--steps", "3", "--batch_size", "4", "--max_length", "40"]
    assert main(["transfer", "base", "t.csv", "-o", "linear", "--window", "8", *few]) == 0
    assert "mean squared error" in capsys.readouterr().out
    assert main(["finetune", "linear", "t.txt", "-o", "tuned", "--rank", "2", *few]) == 0
    assert main(["report", "tuned", "t.csv", "-o", "report", "--batches", "2"]) == 0
    said = capsys.readouterr().out
    assert "base model: loss" in said and "linear part off: loss" in said
    files = {"report.md", "layers.csv", "losses.csv", "layers.png", "losses.png"}
    assert {file.name for file in (bench / "report").iterdir()} == files
    with open(bench / "report" / "losses.csv", newline="") as file:
        losses = {(row["by"], row["model"]): float(row["loss"]) for row in csv.DictReader(file)}
    assert losses["all", "base model"] != losses["all", "linear"] != losses["all", "linear part off"]
    assert main(["export", "tuned", "-o", "merged", "--merged"]) == 0
    assert json.loads((bench / "merged" / "config.json").read_text())["model_type"] == f"lolcats_{name}"
    assert AutoTokenizer.from_pretrained("merged").mask_token == "<mask>"


def test_blocks_one_after_the_other(bench):
    save_model(bench / "base", "llama")
    few = ["--steps", "2", "--window", "8"]
    assert main(["transfer", "base", "t.csv", "-o", "one", "--blocks", "0", *few]) == 0
    assert main(["transfer", "base", "t.csv", "-o", "both", "--blocks", "1", "--start_from", "one", *few]) == 0
    one, both = ([*attention_layers(lolcats.load(folder)).values()] for folder in ("one", "both"))
    assert torch.equal(one[0].query_map, both[0].query_map)
    assert not torch.equal(one[1].query_map, both[1].query_map)


def test_report_of_the_base_itself(bench, capsys):
    """Windows over everything leave no errors, and losses of the base."""
    save_model(bench / "base", "llama")
    assert main(["transfer", "base", "t.csv", "-o", "linear", "--window", "64", "--steps", "1"]) == 0
    assert main(["report", "linear", "t.csv", "-o", "report", "--batches", "2"]) == 0
    with open(bench / "report" / "layers.csv", newline="") as file:
        assert all(float(row["relative_error"]) < 1e-4 for row in csv.DictReader(file))
    with open(bench / "report" / "losses.csv", newline="") as file:
        losses = {row["loss"] for row in csv.DictReader(file) if row["by"] == "all"}
    assert len({round(float(loss), 3) for loss in losses}) == 1


BAD = {
    "transfer none t.csv -o out": "none: ",
    "transfer base none.csv -o out": "none.csv: no such file",
    "transfer base t.csv -o base": "base: expected a new or empty folder",
    "transfer base t.csv -o out --steps 0": "--steps: expected more than 0, got 0",
    "transfer base t.csv -o out --window 0": "window: expected an integer from 1, got 0",
    "transfer base t.csv -o out --layers 7": "layers: expected numbers below 2",
    "transfer base t.csv -o out --blocks 2": "--blocks: expected numbers from 0 to 1",
    "transfer base t.csv -o out --max_length 1": "--max_length: expected at least 2, got 1",
    "transfer base t.csv -o out --column text": "expected a column 'text', found 'sequence', 'label'",
    "transfer base t.txt -o out --column text": "t.txt is a text file and has none",
    "transfer base latin.txt -o out": "latin.txt: not UTF-8 text",
    "transfer base t.csv -o out --max_length 600": "--max_length: expected at most 512",
    "transfer base t.csv -o out --start_from one --layers 0": "--layers: not with --start_from",
    "transfer base empty.txt -o out": "empty.txt: expected texts, found none",
    "transfer base gap.csv -o out": "gap.csv, row 2 (line 3), column 'sequence': expected a text, got ''",
    "finetune base t.csv -o out": "expected a folder with lolcats_config.json",
    "report base t.csv -o out": "expected a folder with lolcats_config.json",
    "report base t.csv -o out --batches 0": "--batches: expected at least 1, got 0",
    "export base -o out --merged": "expected a folder with lolcats_config.json",
    "export base -o out": "--merged",
    "linearise base": "expected a command among transfer",
}


@pytest.mark.parametrize("command", BAD)
def test_bad_input_gets_a_line(bench, capsys, command):
    save_model(bench / "base", "llama")
    (bench / "empty.txt").write_text("\n")
    (bench / "latin.txt").write_bytes(b"Prote\xefn\n")
    (bench / "gap.csv").write_text("sequence,label\nACD,1\n,1\n")
    capsys.readouterr()
    assert main(command.split()) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("lolcats") and BAD[command] in said
    assert not (bench / "out").exists()


def test_every_verb_has_help():
    assert set(VERBS) <= set(build_parser().format_help().replace(",", " ").split())
