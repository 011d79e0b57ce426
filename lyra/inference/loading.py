"""Loading a trained checkpoint with this package's own code."""

import os
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from ..configuration_lyra import LyraConfig
from ..errors import InputError, one_line
from ..modeling_lyra import LyraForSequenceClassification, LyraForTokenClassification, LyraModel
from ..tokenization_lyra import LyraTokenizer
from .checks import check_checkpoint

_HEADS = {head.__name__: head for head in (LyraForSequenceClassification, LyraForTokenClassification)}


def load_model(name: str, revision: str | None = None, bare: bool = False) -> tuple[Any, LyraTokenizer]:
    """Loads a checkpoint and its tokenizer with this package's own code, ready to predict.

    Args:
        name: a folder or a Hub id.
        revision: of the Hub repository.
        bare: whether to load [`LyraModel`] instead of the head that the checkpoint was saved with.

    Raises:
        InputError: if `name` is no Lyra checkpoint with a trained head (unless `bare`).
    """
    if Path(name).is_dir():
        check_checkpoint(Path(name))
    try:
        values, _ = LyraConfig.get_config_dict(name, revision=revision)
        if values.get("model_type") != LyraConfig.model_type:
            raise InputError(f"{name}: expected the model type 'lyra', got {values.get('model_type')!r}")
        config = LyraConfig.from_pretrained(name, revision=revision)
        architecture = (config.architectures or [""])[0]
        head = LyraModel if bare else _HEADS.get(architecture)
        if head is None:
            raise InputError(f"{name}: expected a checkpoint with a trained head, got {architecture or 'no head'}")
        model = load_weights(head, name, revision=revision)
        tokenizer = LyraTokenizer.from_pretrained(name, revision=revision)
        if tokenizer.alphabet != config.alphabet:
            raise InputError(f"{name}: the model reads {config.alphabet}, its tokenizer {tokenizer.alphabet}")
    except InputError:
        raise
    except Exception as error:  # the libraries raise many kinds; all mean that this name is no usable checkpoint
        kind = "cannot be loaded as" if Path(name).is_dir() else "no such folder, and no Hub repository with"
        raise InputError(f"{name}: {kind} a Lyra checkpoint ({one_line(error)[:300]})") from None
    return model.eval(), tokenizer


def load_weights(architecture: Any, name: str, **options: Any) -> Any:
    """A model of that class with all its weights, from safetensors only.

    Raises:
        InputError: if some are missing or have another shape, which transformers would initialise anew.
    """
    options |= {"output_loading_info": True, "ignore_mismatched_sizes": True, "use_safetensors": True}
    model, report = architecture.from_pretrained(name, **options)
    if damaged := [*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])]:
        raise InputError(f"{name}: the weights lack {sorted(damaged)[0]!r} or have it in another shape")
    return model


def load_on_device(
    name: str, revision: str | None = None, device: str | None = None, bare: bool = False
) -> tuple[Any, LyraTokenizer, PartialState | None]:
    """[`load_model`] on the device where it is to run, and the processes of `accelerate launch` or `torchrun`.

    Args:
        device: by default the GPU where there is one, of several processes each its own.

    Returns:
        Model, tokenizer and processes; None instead of a single process.
    """
    model, tokenizer = load_model(name, revision, bare)
    state = PartialState(cpu=device == "cpu") if int(os.environ.get("WORLD_SIZE", "1")) > 1 else None
    return model.to(best_device(device) if state is None or device else state.device), tokenizer, state


def best_device(name: str | None = None) -> torch.device:
    """The device of that name, by default the GPU where there is one.

    Raises:
        InputError: for a device that this machine does not have.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device: {name!r} cannot be used ({str(error).splitlines()[0]})") from None
    return device
