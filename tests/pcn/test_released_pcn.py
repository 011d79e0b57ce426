"""The released tagger: `pcn train` on the simulated jets of docs/pcn.md."""

import json
from pathlib import Path

import numpy as np

from lyra.hub import build_artifact
from pcn.inference import evaluate, load_model

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "model_cards" / "pcn_jets"


def test_the_released_tagger_says_what_it_did():
    example = json.loads((FOLDER / "example.json").read_text())
    record, probabilities, _ = evaluate(*load_model(str(FOLDER)), [str(ROOT / example["jets"])], None, "QCD")
    np.testing.assert_allclose(probabilities[:4], example["probabilities"], atol=1e-4)
    assert abs(record["scores"]["accuracy"] - example["scores"]["accuracy"]) < 0.01  # a jet on the edge


def test_its_artifact_has_code_and_card(tmp_path):
    build_artifact(FOLDER, tmp_path / "hub", "pcn_jets")
    record = json.loads((FOLDER / "metrics.json").read_text())
    assert (tmp_path / "hub" / "modeling_pcn.py").exists() and not list(FOLDER.glob("*.py"))
    card = (tmp_path / "hub" / "README.md").read_text()
    assert f"{record['test']['scores']['accuracy']:.4f}" in card and "simulated" in card
