"""Settings of a training run; no torch, so that the command line checks them at once."""

import math
from dataclasses import dataclass, field
from typing import Any

from lyra.errors import InputError


@dataclass
class JetArguments:
    """Which jets, and what is known of them."""

    validation: list[str] | None = field(
        default=None,
        metadata={"help": "Files of jets to select the epoch by; by default a tenth of the training jets."},
    )
    test: list[str] | None = field(default=None, metadata={"help": "Files of jets that are scored once, at the end."})
    label_column: str | None = field(
        default=None, metadata={"help": "Column of classes; by default columns label_NAME of zeros and ones."}
    )
    background: str | None = field(
        default=None, metadata={"help": "Class that others are told from; by default QCD, or else the first."}
    )
    max_particles: int = field(default=128, metadata={"help": "Particles of highest pT that are kept of a jet."})
    missing_tracks: str = field(
        default="error",
        metadata={"help": "Without columns of impact parameters: error, or zero.", "choices": ("error", "zero")},
    )


@dataclass
class PcnArguments:
    """What to train."""

    preset: str = field(
        default="ours",
        metadata={"help": "Architecture and features.", "choices": ("ours", "published", "published_edges")},
    )
    config_overrides: list[str] | None = field(
        default=None, metadata={"help": "Fields of PcnConfig, as chebyshev_order=8 num_neighbors=5."}
    )


@dataclass
class TrainingDefaults:
    """Defaults of `TrainingArguments` that are those of this package."""

    num_train_epochs: float = field(default=20, metadata={"help": "Passes over the training jets."})
    per_device_train_batch_size: int = field(default=64, metadata={"help": "Jets per step and device."})
    per_device_eval_batch_size: int = field(default=256, metadata={"help": "Jets scored at a time."})
    learning_rate: float = field(default=2e-3, metadata={"help": "Highest rate; falls to zero by a cosine."})
    weight_decay: float = field(default=0.01, metadata={"help": "Of AdamW."})
    seed: int = field(default=0, metadata={"help": "Of initial weights and the order of jets."})
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Epochs without a better validation score after which to stop."}
    )
    resume: bool = field(default=False, metadata={"help": "Continue an interrupted run."})


def check_arguments(settings: Any) -> None:
    """Raises InputError for numbers that make no sense."""
    positive = ("num_train_epochs", "learning_rate", "max_particles", "early_stopping_patience")
    for name in (*positive, "per_device_train_batch_size", "per_device_eval_batch_size"):
        if not 0 < getattr(settings, name, 1) < math.inf:
            raise InputError(f"--{name}: expected a number above 0, got {getattr(settings, name)}")
    if not 0 <= getattr(settings, "weight_decay", 0) < math.inf:
        raise InputError(f"--weight_decay: expected a number from 0, got {settings.weight_decay}")
    if not 0 <= getattr(settings, "seed", 0) < 2**32:
        raise InputError(f"--seed: expected a number from 0 to 2**32 - 1, got {settings.seed}")
