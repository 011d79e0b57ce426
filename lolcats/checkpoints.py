"""Folders of linear models: what was learned, beside the name of the model that it belongs to.

    lolcats_config.json    LolcatsConfig
    lolcats.safetensors    feature maps and gates
    adapter/               LoRA weights, a PEFT folder; only after stage 2

There is no config.json, so that a plain `from_pretrained` fails and never gives the softmax model in their place.
"""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from lyra.errors import InputError, one_line
from lyra.files import made_folder, read_json, write_json, write_then_rename

from .base_models import load_base, require_peft
from .configuration_lolcats import LolcatsConfig
from .conversion import base_of, refuse_plain_saving
from .modeling_lolcats import attach, attention_layers

WEIGHTS_FILE = "lolcats.safetensors"
ADAPTER_FOLDER = "adapter"


def save(model: nn.Module, config: LolcatsConfig, folder: str | Path) -> None:
    """Writes the feature maps and gates of a model, and its adapter if it is a PEFT model.

    Args:
        config: what [`linearize`] returned.
    """
    folder = Path(folder)
    tensors = {
        f"{name}.{key}": tensor.detach().cpu().contiguous()
        for name, own in attention_layers(base_of(model)).items()
        for key, tensor in own.state_dict().items()
    }
    with made_folder(folder):
        with write_then_rename(folder / WEIGHTS_FILE) as partial:
            save_file(tensors, partial)
        if hasattr(model, "get_base_model"):
            model.save_pretrained(folder / ADAPTER_FOLDER)  # type: ignore[operator]
            file = folder / ADAPTER_FOLDER / "adapter_config.json"
            # With the name of the base model, a plain `from_pretrained` of the adapter would give it softmax attention.
            write_json(file, read_json(file) | {"base_model_name_or_path": None})
        config.save(folder)


def load(folder: str | Path, **kwargs: Any) -> PreTrainedModel:
    """The linear model of a folder or Hub id: its base model, with what was learned.

    Args:
        kwargs: of `from_pretrained` of the base model, such as `dtype` and `device_map`.

    Returns:
        a PEFT model after stage 2, whose `get_base_model()` is the transformers model.

    Raises:
        InputError: if a file is missing or does not fit the base model.
    """
    folder = _local(folder)
    config = LolcatsConfig.load(folder)
    if config.base_model is None:
        raise InputError(f"{folder}: expected base_model in its config, got None")
    model = load_base(config.base_model, config.base_revision, **kwargs)
    try:
        attach(model, config.window, config.attention)
    except (AttributeError, TypeError) as error:
        raise InputError(f"{folder}: does not fit its base model {config.base_model} ({one_line(error)})") from None
    refuse_plain_saving(model)
    _fill(model, folder / WEIGHTS_FILE)
    if (folder / ADAPTER_FOLDER).is_dir():
        require_peft()
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, folder / ADAPTER_FOLDER)
    return model.eval()


def load_config(folder: str | Path) -> LolcatsConfig:
    """The config of a folder or Hub id; raises InputError if it has none."""
    return LolcatsConfig.load(_local(folder))


def _fill(model: PreTrainedModel, file: Path) -> None:
    """Copies feature maps and gates from a file, and raises InputError unless they are those of the model."""
    if not file.is_file():
        raise InputError(f"{file}: missing")
    found = read_weights(file)
    expected = {
        f"{name}.{key}": parameter
        for name, own in attention_layers(model).items()
        for key, parameter in own.named_parameters()
    }
    if different := sorted(found.keys() ^ expected.keys()):
        raise InputError(f"{file}: expected the weights of {len(expected)} parameters; {different[0]} is in one only")
    for name, parameter in expected.items():
        if parameter.shape != found[name].shape:
            raise InputError(f"{file}: {name}: expected {tuple(parameter.shape)}, got {tuple(found[name].shape)}")
        if parameter.is_meta:
            raise InputError(
                f"{name}: its layer is offloaded; expected a device_map that keeps linear layers in memory"
            )
        parameter.data.copy_(found[name])


def read_weights(file: Path) -> dict[str, Tensor]:
    """Raises InputError if the file is damaged."""
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file}: damaged ({one_line(error)})") from None


def _local(folder: str | Path) -> Path:
    """A folder, or one downloaded from the Hub."""
    if Path(folder).exists():
        return Path(folder)
    if str(folder).count("/") != 1:
        raise InputError(f"{folder}: no such folder")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(folder)))
    except Exception as error:  # the library has many kinds for a repository that it does not reach
        raise InputError(
            f"{folder}: neither a folder nor a repository that can be reached ({one_line(error)})"
        ) from None
