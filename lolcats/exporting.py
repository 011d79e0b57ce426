"""A linear model as a folder that loads without this package: all weights merged, and one modeling file."""

from pathlib import Path
from typing import Any, cast

from torch import nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from lyra.errors import InputError
from lyra.files import made_folder, read_json, write_json, write_then_rename

from . import modeling_lolcats
from .base_models import load_tokenizer
from .checkpoints import load, load_config
from .configuration_lolcats import LolcatsConfig

_AUTO_CLASSES: tuple[Any, ...] = (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)
_CLASSES = '''

# ── The exported classes ─────────────────────────────────────────────────────────────────────────────────────────────


class {config}(transformers.{base_config}):
    """Its `lolcats` says which attention is linear."""

    model_type = "{model_type}"


class {model}(transformers.{base_model}):
    """A {base_model} with linear attention."""

    config_class = {config}
    _keep_in_fp32_modules_strict = {{"lolcats"}}

    def __init__(self, config, *args, **kwargs):
        super().__init__(config, *args, **kwargs)
        attach(self, config.lolcats["window"], config.lolcats["attention"])
'''


def export(folder: str | Path, output: str | Path) -> None:
    """Merges a checkpoint and its base model; `AutoModel….from_pretrained(output, trust_remote_code=True)` loads it.

    Its model type is its own: the Auto classes fail without trusted code, and the class of the base model warns.

    Args:
        folder: a checkpoint or Hub id, as [`load`] takes it.
        output: a folder, made if there is none.

    Raises:
        InputError: for a model that no Auto class loads.
    """
    model, settings = cast(Any, load(folder)), load_config(folder)
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    auto_class = _auto_class(model)
    output = Path(output)
    with made_folder(output):
        base_model, base_config = type(model).__name__, type(model.config).__name__
        names = {
            "config": f"Lolcats{base_config}",
            "base_config": base_config,
            "model": f"Lolcats{base_model}",
            "base_model": base_model,
            "model_type": f"lolcats_{model.config.model_type}",
        }
        code = Path(modeling_lolcats.__file__).read_text(encoding="utf-8")
        code = code.replace("import torch\n", "import torch\nimport transformers\n", 1)
        type(model).save_pretrained(model, output)
        with write_then_rename(output / "modeling_lolcats.py") as partial:
            partial.write_text(code + _CLASSES.format(**names), encoding="utf-8")
        config = read_json(output / "config.json") | {
            "model_type": names["model_type"],
            "architectures": [names["model"]],
            "auto_map": {
                "AutoConfig": f"modeling_lolcats.{names['config']}",
                auto_class: f"modeling_lolcats.{names['model']}",
            },
            "lolcats": {"window": settings.window, "attention": settings.attention},
        }
        write_json(output / "config.json", config)
        _copy_tokenizer(settings, output)


def _auto_class(model: nn.Module) -> str:
    """The name of the Auto class that loads a model."""
    for auto_class in _AUTO_CLASSES:
        if auto_class._model_mapping.get(type(model.config), None) is type(model):
            return auto_class.__name__
    raise InputError(f"{type(model).__name__}: expected a model of AutoModelForCausalLM or another Auto class")


def _copy_tokenizer(config: LolcatsConfig, output: Path) -> None:
    """The tokenizer of the base model, if it has one."""
    try:
        load_tokenizer(str(config.base_model), config.base_revision).save_pretrained(output)
    except InputError as error:
        print(f"{output}: written without a tokenizer; {error}")
