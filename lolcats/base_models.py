"""Base models: which class loads one, and what it predicts."""

import importlib.util
from typing import Any

import transformers
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from lyra.errors import InputError, one_line

from .conversion import base_of


def load_base(name: str, revision: str | None = None, **kwargs: Any) -> PreTrainedModel:
    """A model with the class that its checkpoint names.

    Args:
        name: a folder or Hub id.
        kwargs: of `from_pretrained`, such as `dtype`.

    Raises:
        InputError: if there is none.
    """
    try:
        config = AutoConfig.from_pretrained(name, revision=revision)
        (architecture, *_) = config.architectures or [""]
        model_class = getattr(transformers, architecture, None)
        if model_class is None:
            raise InputError(f"{name}: expected a model of transformers, got {architecture or 'no architecture'}")
        return model_class.from_pretrained(name, revision=revision, **kwargs).eval()
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name}: cannot be loaded ({one_line(error)[:200]})") from None


def load_tokenizer(name: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Raises InputError if there is none."""
    try:
        return AutoTokenizer.from_pretrained(name, revision=revision)
    except Exception as error:  # the tokenizers' classes have many kinds for files that are not there
        raise InputError(f"{name}: its tokenizer cannot be loaded ({one_line(error)[:200]})") from None


def require_peft() -> None:
    """Raises InputError if the package for LoRA is not installed."""
    if importlib.util.find_spec("peft") is None:
        raise InputError("LoRA needs peft: pip install 'lyra-bio[lolcats]'")


def is_masked(model: nn.Module) -> bool:
    """Whether a language model predicts masked tokens, and not the next one.

    Raises:
        InputError: for a model that is no language model.
    """
    name = type(base_of(model)).__name__
    if name.endswith("ForMaskedLM"):
        return True
    if name.endswith(("ForCausalLM", "LMHeadModel")):
        return False
    raise InputError(f"{name}: expected a language model, causal or masked")
