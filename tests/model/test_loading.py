"""Loading: every Auto class from every head's checkpoint, also where the package cannot be imported, bit-identical."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

import lyra
from lyra import (
    LyraConfig,
    LyraForMaskedLM,
    LyraForSequenceClassification,
    LyraForTokenClassification,
    LyraModel,
    LyraTokenizer,
)

HEADS = {
    AutoModel: LyraModel,
    AutoModelForMaskedLM: LyraForMaskedLM,
    AutoModelForSequenceClassification: LyraForSequenceClassification,
    AutoModelForTokenClassification: LyraForTokenClassification,
}
CODE = {file.name for file in Path(lyra.__file__).parent.glob("*_lyra.py")}


def save(model, folder):
    model.save_pretrained(folder)
    LyraTokenizer(model.config.alphabet).save_pretrained(folder)


@pytest.mark.parametrize("saved", HEADS.values())
@pytest.mark.parametrize("auto", HEADS)
@pytest.mark.parametrize("pooling", ["mean", "mean_last"])
def test_every_auto_class_loads_from_every_head(tiny, tmp_path, saved, auto, pooling):
    model = saved(tiny(bidirectional=True, num_labels=3, pooling=pooling)).eval()
    save(model, tmp_path)
    loaded = auto.from_pretrained(tmp_path).eval()
    assert type(loaded) is HEADS[auto]
    trunk = model if saved is LyraModel else model.lyra
    other = loaded if auto is AutoModel else loaded.lyra
    for (name, a), (_, b) in zip(trunk.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    ids = torch.randint(0, 32, (2, 9))
    assert torch.equal(trunk(ids).pooler_output, other(ids).pooler_output)


@pytest.mark.parametrize("saved", HEADS.values())
def test_a_checkpoint_has_exactly_the_files_that_travel(tiny, tmp_path, saved):
    save(saved(tiny()), tmp_path)
    files = {path.name for path in tmp_path.iterdir()}
    assert {name for name in files if name.endswith(".py")} == CODE
    assert files - CODE == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    auto_map = json.loads((tmp_path / "config.json").read_text())["auto_map"]
    assert set(auto_map) == {"AutoConfig", *(auto.__name__ for auto in HEADS)}


def test_without_the_package(tiny, tmp_path):
    """Another process, in which `import lyra` fails, gets the same numbers from every Auto class and resaves them."""
    config = tiny(bidirectional=True, num_labels=3, alphabet="rna")
    model = LyraForTokenClassification(config).eval()
    save(model, tmp_path / "saved")
    ids = LyraTokenizer("rna")(["ACGU", "NN"], padding=True, return_tensors="pt")
    expected = {"logits": model(**ids).logits, "pooled": model.lyra(**ids).pooler_output}
    torch.save(expected, tmp_path / "expected.pt")
    program = """
        import sys
        sys.modules["lyra"] = None  # so that importing it fails
        import torch
        from transformers import (AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification,
            AutoModelForTokenClassification, AutoTokenizer)
        folder, other = sys.argv[1] + "/saved", sys.argv[1] + "/resaved"
        expected = torch.load(sys.argv[1] + "/expected.pt")
        for path in (folder, other):
            tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=True)
            ids = tokenizer(["ACGU", "NN"], padding=True, return_tensors="pt")
            model = AutoModelForTokenClassification.from_pretrained(path, trust_remote_code=True).eval()
            assert torch.equal(model(**ids).logits, expected["logits"])
            base = AutoModel.from_pretrained(path, trust_remote_code=True).eval()
            assert torch.equal(base(**ids).pooler_output, expected["pooled"])
            for auto in (AutoModelForMaskedLM, AutoModelForSequenceClassification):
                auto.from_pretrained(path, trust_remote_code=True)
            assert AutoConfig.from_pretrained(path, trust_remote_code=True).alphabet == "rna"
            model.save_pretrained(other)
            tokenizer.save_pretrained(other)
        assert not any(name == "lyra" or name.startswith("lyra.") for name in sys.modules if sys.modules[name])
    """
    environment = {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert {path.name for path in (tmp_path / "resaved").glob("*.py")} == CODE


def test_the_files_that_travel_need_torch_and_transformers_only():
    program = """
        import sys
        for name in ("datasets", "accelerate", "evaluate", "scipy", "sklearn", "matplotlib", "pyarrow"):
            sys.modules[name] = None
        from lyra import LyraForSequenceClassification, LyraTokenizer
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_constructors_work_on_the_meta_device(tiny):
    for head in HEADS.values():
        with torch.device("meta"):
            assert all(p.is_meta for p in head(tiny(bidirectional=True)).parameters())


def test_loading_does_not_touch_the_random_state_of_loaded_tensors(tiny, tmp_path):
    """Only what the checkpoint lacks is initialised."""
    LyraModel(tiny()).save_pretrained(tmp_path)
    one = LyraForSequenceClassification.from_pretrained(tmp_path, num_labels=4)
    other = LyraForSequenceClassification.from_pretrained(tmp_path, num_labels=4)
    for a, b in zip(one.lyra.parameters(), other.lyra.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.classifier.weight, other.classifier.weight)
    assert torch.equal(one.lyra.embeddings.encodings[3:23], torch.eye(20))


def test_another_number_of_labels_on_reload(tiny, tmp_path):
    LyraForSequenceClassification(tiny(num_labels=1, label_mean=2.0, label_std=3.0)).save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(
        tmp_path, num_labels=5, problem_type="single_label_classification", ignore_mismatched_sizes=True
    )
    assert loaded(torch.tensor([[3, 4]])).logits.shape == (1, 5)
    assert loaded.config.problem_type == "single_label_classification"
    inferred = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3, ignore_mismatched_sizes=True)
    outputs = inferred(torch.tensor([[3, 4]]), labels=torch.tensor([2]))
    assert outputs.logits.abs().max() < 2 and outputs.loss.isfinite()  # classes, without the old labels' scale
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert (again.config.label_mean, again.config.label_std, again.config.problem_type) == (2.0, 3.0, "regression")


def test_config_round_trip(tiny, tmp_path):
    config = LyraConfig.deep(alphabet="HPNC", d_model=16, pool="last", label_mean=[1.0, 2.0], label_std=[1.0, 0.5])
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is LyraConfig
    a, b = config.to_dict(), loaded.to_dict()
    assert {k: v for k, v in a.items() if k != "_name_or_path"} == {k: v for k, v in b.items() if k != "_name_or_path"}
