"""What is saved loads to the same numbers, and never as the softmax model by mistake."""

import json
import subprocess
import sys

import pytest
import torch
from tiny_transformers import padded_batch, tiny_transformer
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, LlamaForCausalLM

from lolcats import LolcatsConfig, export, linearize, load, save
from lolcats.finetuning import LoraArguments, add_lora, projections
from lolcats.modeling_lolcats import attention_layers
from lyra.errors import InputError


def saved(tmp_path, name="llama", lora=False):
    """A base model, a linear model of it with random maps, and where that is saved."""
    tiny_transformer(name).save_pretrained(tmp_path / "base")
    auto_class = AutoModelForMaskedLM if name == "esm" else AutoModelForCausalLM
    model = auto_class.from_pretrained(tmp_path / "base").eval()
    config = linearize(model, LolcatsConfig(window=8, feature_size=4))
    if lora:
        model = add_lora(model, LoraArguments(rank=2)).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if ".lolcats." in key or "lora" in key:
                parameter.normal_()
    save(model, config, tmp_path / "saved")
    return model, tmp_path / "saved"


@torch.no_grad()
@pytest.mark.parametrize("name", ["llama", "esm", "gpt2"])
@pytest.mark.parametrize("lora", [False, True])
def test_saved_and_loaded(tmp_path, name, lora):
    model, folder = saved(tmp_path, name, lora)
    batch = padded_batch(name != "esm")
    assert {file.name for file in folder.iterdir()} == {"lolcats_config.json", "lolcats.safetensors"} | (
        {"adapter"} if lora else set()
    )
    loaded = load(folder)
    assert torch.equal(loaded(**batch).logits, model(**batch).logits)


def test_plain_loading_fails(tmp_path):
    _, folder = saved(tmp_path, lora=True)
    with pytest.raises((OSError, ValueError)):
        AutoModelForCausalLM.from_pretrained(folder)
    with pytest.raises((OSError, ValueError, TypeError)):
        AutoModelForCausalLM.from_pretrained(folder / "adapter")


_LOAD = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM
sys.modules["lolcats"] = sys.modules["lyra"] = None  # as if they were not installed
auto_class = {"esm": AutoModelForMaskedLM}.get(sys.argv[2], AutoModelForCausalLM)
model = auto_class.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
batch = torch.load(sys.argv[1] + "/batch.pt")
with torch.no_grad():
    torch.save(model(**batch).logits, sys.argv[1] + "/logits.pt")
    if sys.argv[2] != "esm":
        torch.save(model.generate(batch["input_ids"], max_new_tokens=5, do_sample=False), sys.argv[1] + "/ids.pt")
"""


@torch.no_grad()
@pytest.mark.parametrize("name, lora", [("llama", True), ("esm", False), ("gpt2", True)])
def test_exports_load_without_the_package(tmp_path, name, lora, monkeypatch):
    model, folder = saved(tmp_path, name, lora)
    out = tmp_path / "export"
    export(folder, out)
    batch = padded_batch(name != "esm")
    torch.save(batch, out / "batch.pt")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    subprocess.run([sys.executable, "-c", _LOAD, str(out), name], check=True, cwd=tmp_path)
    real = batch["attention_mask"].bool()
    expected = model(**batch).logits[real]
    torch.testing.assert_close(torch.load(out / "logits.pt")[real], expected, atol=1e-4, rtol=1e-4)
    if name != "esm":
        assert torch.equal(
            torch.load(out / "ids.pt"), model.generate(batch["input_ids"], max_new_tokens=5, do_sample=False)
        )
    with pytest.raises(ValueError, match=r"trust_remote_code|lolcats"):
        AutoModelForCausalLM.from_pretrained(out, trust_remote_code=False)


def test_an_export_as_its_base_class_warns(tmp_path, caplog):
    _, folder = saved(tmp_path)
    export(folder, tmp_path / "export")
    from transformers.utils import logging

    logging.set_verbosity_warning()
    logging.enable_propagation()
    LlamaForCausalLM.from_pretrained(tmp_path / "export")
    assert "lolcats" in caplog.text


def test_projections_of_each_kind_of_attention():
    for name, expected in (
        ("llama", ["q_proj", "k_proj", "v_proj", "o_proj"]),
        ("bert", ["query", "key", "value", "dense"]),
        ("gpt2", ["c_attn", "c_proj"]),
        ("esm", ["query", "key", "value", "dense"]),
    ):
        model = tiny_transformer(name)
        linearize(model)
        found = [each.rpartition(".")[2] for each in projections(model)]
        assert found == expected * 2, name


def test_lora_trains_maps_only_when_asked():
    for train_maps in (False, True):
        model = tiny_transformer("llama")
        linearize(model)
        peft_model = add_lora(model, LoraArguments(train_maps=train_maps))
        trained = {name for name, parameter in peft_model.named_parameters() if parameter.requires_grad}
        assert any("lora_A" in name for name in trained)
        assert any(".lolcats." in name for name in trained) == train_maps
        assert all("lora_" in name or ".lolcats." in name for name in trained)


def test_damaged_folders_are_named(tmp_path):
    _, folder = saved(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        load(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"expected a folder with lolcats_config\.json"):
        load(tmp_path / "base")
    settings = json.loads((folder / "lolcats_config.json").read_text())
    for change, message in (
        ({"window": 0}, "window: expected an integer from 1"),
        ({"base_model": str(tmp_path / "gone")}, "cannot be loaded"),
        ({"colour": 1}, "damaged"),
        ({"attention": dict(list(settings["attention"].items())[:1])}, "is in one only"),
    ):
        (folder / "lolcats_config.json").write_text(json.dumps(settings | change))
        with pytest.raises(InputError, match=message):
            load(folder)
    (folder / "lolcats_config.json").write_text(json.dumps(settings | {"attention": {"model.layers.7.self_attn": {}}}))
    with pytest.raises(InputError, match="does not fit its base model"):
        load(folder)
    (folder / "lolcats_config.json").write_text(json.dumps(settings))
    (folder / "lolcats.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"lolcats\.safetensors: damaged"):
        load(folder)


def test_adapters_attach_to_what_is_linear_already():
    model = tiny_transformer("llama")
    config = linearize(model)
    peft_model = add_lora(model, LoraArguments())
    assert attention_layers(peft_model.get_base_model()).keys() == config.attention.keys()
    fresh = tiny_transformer("llama")
    from peft import LoraConfig, get_peft_model

    wrapped = get_peft_model(fresh, LoraConfig(target_modules=["q_proj"]))
    assert linearize(wrapped).attention.keys() == config.attention.keys()
    ids = torch.randint(5, 40, (1, 70))
    assert wrapped(input_ids=ids).logits.isfinite().all()
