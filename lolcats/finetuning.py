"""Stage 2: LoRA on the projections of the layers made linear, by the model's own loss (section 3.2)."""

from dataclasses import dataclass, field
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel, Trainer, TrainingArguments
from transformers.pytorch_utils import Conv1D

from lyra.errors import InputError

from .modeling_lolcats import attention_layers


@dataclass
class LoraArguments:
    """What stage 2 trains."""

    rank: int = field(default=8, metadata={"help": "Rank of the LoRA matrices."})
    alpha: int = field(default=16, metadata={"help": "LoRA's alpha: updates are scaled by alpha / rank."})
    train_maps: bool = field(default=False, metadata={"help": "Train the feature maps and gates, too."})

    def __post_init__(self) -> None:
        for name in ("rank", "alpha"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name}: expected at least 1, got {getattr(self, name)}")


def add_lora(model: PreTrainedModel, settings: LoraArguments) -> PeftModel:
    """A PEFT model with LoRA on the query, key, value and output projections of each linear layer; all else is frozen.

    Raises:
        InputError: for a model that was not made linear.
    """
    names = projections(model)
    if not names:
        raise InputError("expected a model that `linearize` made linear")
    peft_model = get_peft_model(model, LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=names))
    for own in attention_layers(model).values():
        own.requires_grad_(settings.train_maps)
    return peft_model


def projections(model: PreTrainedModel) -> list[str]:
    """The names of the projections of the linear layers."""
    found = []
    for name in attention_layers(model):
        places = [name]
        parent = name.rpartition(".")[0]
        if name.endswith(".self"):  # BERT and its kin project the output in a module beside
            places.append(f"{parent}.output")
        for place in places:
            children = model.get_submodule(place).named_modules(prefix=place)
            found += [child for child, module in children if isinstance(module, (nn.Linear, Conv1D))]
    return found


def finetune(model: PreTrainedModel, settings: LoraArguments, training: TrainingArguments, **kwargs: Any) -> PeftModel:
    """Trains with the HF Trainer.

    Args:
        model: of [`linearize`], its maps trained by [`transfer`].
        kwargs: of the Trainer: `train_dataset`, `data_collator` and so on.
    """
    peft_model = add_lora(model, settings)
    Trainer(model=peft_model, args=training, **kwargs).train()
    return peft_model.eval()
