"""`lolcats publish` against a server on the loopback, and what a colleague then downloads."""

import json
import os
import subprocess
import sys

import pytest
from hub_server import Hub
from huggingface_hub import ModelCard
from tiny_transformers import tiny_transformer

from lolcats import LolcatsConfig, linearize, save
from lolcats.cli import main

PROGRAM = "import sys; from lolcats.cli import main; sys.exit(main(sys.argv[1:]))"
DOWNLOAD = "from lolcats.checkpoints import load_config; print(load_config('ann/linear').window)"


@pytest.fixture
def folder(tmp_path):
    model = tiny_transformer("llama")
    config = linearize(model, LolcatsConfig(window=8, base_model="ann/base"))
    save(model, config, tmp_path / "linear")
    return tmp_path / "linear"


def test_publish_and_download(folder, tmp_path):
    with Hub() as hub:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
        environment = kept | settings | {"HF_TOKEN": "hf_ann"}
        command = [sys.executable, "-c", PROGRAM, "publish", str(folder), "ann/linear"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        assert 'lolcats.load("ann/linear")' in done.stdout
        _, files = hub.repositories["ann/linear"].at("main")
        assert set(files) == {"README.md", "lolcats_config.json", "lolcats.safetensors"}
        card = ModelCard(files["README.md"][0].decode())
        assert card.data.base_model == "ann/base" and card.data.library_name == "lolcats"
        assert "(2 layers, a window of 8)" in card.text
        done = subprocess.run([sys.executable, "-c", DOWNLOAD], capture_output=True, text=True, env=environment)
        assert done.stdout == "8\n", done.stderr


def test_a_dry_run_reaches_for_no_network(folder, capsys):
    assert main(["publish", str(folder), "ann/linear", "--dry_run"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("README.md", "lolcats_config.json", "lolcats.safetensors"))


def test_what_is_not_fit_to_publish(folder, tmp_path, capsys):
    settings = json.loads((folder / "lolcats_config.json").read_text())
    (folder / "lolcats_config.json").write_text(json.dumps(settings | {"base_model": str(tmp_path)}))
    for arguments, message in (
        ([str(folder), "ann/linear"], "the base model is a local folder"),
        ([str(folder), "linear"], "'linear': expected user/name"),
        ([str(tmp_path), "ann/linear"], "expected a folder with lolcats_config.json"),
    ):
        assert main(["publish", *arguments, "--dry_run"]) == 2
        assert message in capsys.readouterr().err
