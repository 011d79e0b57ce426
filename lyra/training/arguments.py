"""The arguments of training, and what can be said of them before torch is loaded."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError, check_choices


@dataclass
class ModelArguments:
    """Which model to train."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Checkpoint to start from; by default a new model."}
    )
    model_revision: str | None = field(
        default=None, metadata={"help": "Branch, tag or commit of a checkpoint on the Hub; a commit never changes."}
    )
    preset: str = field(
        default="bidirectional",
        metadata={
            "help": "Architecture of a new model: two bidirectional state space layers, the paper's, or the deep one.",
            "choices": ("bidirectional", "paper", "deep"),
        },
    )
    config_overrides: list[str] | None = field(
        default=None,
        metadata={"help": "Fields of LyraConfig for a new model, as hidden_size=128 bidirectional=true ..."},
    )
    linear_term: str = field(
        default="auto",
        metadata={
            "help": "What adds up beside the network, in a new model of whole sequences: letters at positions, also at "
            "pairs of them, words, or what cross-validation prefers.",
            "choices": ("auto", "none", "positions", "pairs", "words"),
        },
    )
    global_epistasis: str = field(
        default="auto",
        metadata={
            "help": "The curve over the linear term of a regression: of any form, only rising, or none. It is left out "
            "where cross-validation finds that it does not help, and below 200 rows.",
            "choices": ("auto", "monotone", "none"),
        },
    )
    reverse_complement: str = field(
        default="none",
        metadata={
            "help": "Of DNA: read a random strand in training, average both strands in prediction, or both of these.",
            "choices": ("none", "train", "predict", "both"),
        },
    )
    label_transform: str = field(
        default="auto",
        metadata={
            "help": "What a regression learns: standardised labels, normal scores of their ranks, or by default the "
            "mean of both (standardised labels where all but a few are equal). Predictions are in label units.",
            "choices": ("auto", "standardize", "rank"),
        },
    )
    class_weights: str = field(
        default="none",
        metadata={
            "help": "Weights of the classes in the loss; balanced: inversely proportional to their frequency.",
            "choices": ("none", "balanced"),
        },
    )
    ensemble: int | None = field(
        default=None,
        metadata={
            "help": "Members of an ensemble: models with consecutive seeds from --seed, in one checkpoint; by default "
            "three for a new model if training is cheap, and one if --num_train_epochs or --max_steps is given."
        },
    )

    def __post_init__(self):
        check_choices(self)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@dataclass
class TrainingDefaults:
    """Fields of `TrainingArguments` with defaults that were chosen on validation splits, and some of our own."""

    learning_rate: float = field(default=2e-3, metadata={"help": "Learning rate of AdamW."})
    weight_decay: float = field(default=0.01, metadata={"help": "Weight decay; none for the state space parameters."})
    num_train_epochs: float | None = field(
        default=None, metadata={"help": "Number of epochs; by default by the number of rows and their length."}
    )
    max_letters: float = field(
        default=100e6,
        metadata={
            "help": "Letters of training sequences that a model may read, over all epochs, if --num_train_epochs is "
            "not given."
        },
    )
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Learning rate schedule."})
    warmup_steps: float = field(default=0.05, metadata={"help": "Steps of warm-up, or below 1 their share."})
    per_device_train_batch_size: int = field(default=64, metadata={"help": "Sequences per device and step."})
    per_device_eval_batch_size: int = field(default=256, metadata={"help": "Sequences per device in evaluation."})
    train_sampling_strategy: str = field(
        default="group_by_length",
        metadata={
            "help": "Order of the training data; by default similar lengths share a batch.",
            "choices": ["random", "sequential", "group_by_length"],
        },
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "When to score the validation split."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save a checkpoint to resume from."})
    logging_strategy: str = field(default="epoch", metadata={"help": "When to log the training loss."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints kept besides the best."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Select the best epoch by validation."})
    metric_for_best_model: str | None = field(
        default=None,
        metadata={"help": "Validation metric to select by; default spearman, mcc or auroc, depending on the task."},
    )
    report_to: str | None = field(default="none", metadata={"help": "Experiment trackers."})
    # By default hidden where transformers' messages are, which the command line hides.
    disable_tqdm: bool | None = field(default=False, metadata={"help": "Hide the bar with the time left."})
    dataloader_pin_memory: bool = field(
        default_factory=_has_gpu, metadata={"help": "Pin memory; by default where there is a GPU."}
    )
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata={"help": "Search for unused parameters in several processes; Lyra has none."}
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={
            "help": "Stop after this many evaluations without a better validation metric; by default after a third of "
            "the epochs where their number is not given."
        },
    )
    resume: bool = field(default=False, metadata={"help": "Continue an interrupted run in output_dir."})
    overwrite_output_dir: bool = field(default=False, metadata={"help": "Replace the run that is in output_dir."})


# Values outside are refused.
_LIMITS = {
    "num_train_epochs": (0, math.inf),
    "max_letters": (0, math.inf),
    "learning_rate": (0, 10),
    "per_device_train_batch_size": (0, 1 << 20),
    "per_device_eval_batch_size": (0, 1 << 20),
    "gradient_accumulation_steps": (0, 1 << 20),
}


def check_arguments(values: Mapping[str, Any]) -> None:
    """Checks arguments of training, all of them or those that are known, by their names.

    Raises:
        InputError: naming the first one that cannot be used.
    """
    for name, (low, high) in _LIMITS.items():
        if values.get(name) is not None and not low < values[name] < high:
            raise InputError(f"--{name}: expected a number above {low} and below {high:g}, got {values[name]}")
    if not 0 <= values.get("weight_decay", 0) < 10:
        raise InputError(f"--weight_decay: expected a number from 0 to 10, got {values['weight_decay']}")
    patience = values.get("early_stopping_patience")
    if patience is not None and patience < 1:
        raise InputError(f"--early_stopping_patience: expected at least 1, got {patience}")
    if values.get("overwrite_output_dir") and (values.get("resume") or values.get("resume_from_checkpoint")):
        raise InputError("--overwrite_output_dir: not with --resume or --resume_from_checkpoint")
    ensemble = values.get("ensemble")
    ensemble = 1 if ensemble is None else ensemble
    if ensemble < 1 or (ensemble > 1 and values.get("resume_from_checkpoint")):
        raise InputError(
            f"--ensemble must be at least 1, got {ensemble}; it continues with --resume, not --resume_from_checkpoint"
        )
    for name, seed in (("seed", values.get("seed", 42) + ensemble - 1), ("split_seed", values.get("split_seed", 0))):
        if not 0 <= seed < 2**32:
            raise InputError(f"--{name}: expected a number from 0 to 2**32 - 1, got {seed}")
    if values.get("dataloader_num_workers", 0) < 0 or values.get("max_steps", -1) == 0:
        raise InputError("--dataloader_num_workers must be at least 0, and --max_steps must not be 0")
    never = "no" in (values.get("eval_strategy"), values.get("save_strategy"))
    if not values.get("load_best_model_at_end", True) or never:
        raise InputError(
            "--load_best_model_at_end, --eval_strategy, --save_strategy: cannot be disabled, because the best epoch is "
            "selected on validation"
        )
    if values.get("label_smoothing_factor", 0) != 0 or values.get("prediction_loss_only"):
        raise InputError("--label_smoothing_factor and --prediction_loss_only: not supported")


def parse_overrides(overrides: Sequence[str], known: Collection[str], config: str = "LyraConfig") -> dict[str, Any]:
    """Fields of the config and their values, from `field=value` each.

    Raises:
        InputError: for one that is none of the known fields.
    """
    parsed = {}
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals or name not in known:
            raise InputError(f"--config_overrides: expected field=value with a field of {config}, got {override!r}")
        try:
            parsed[name] = json.loads(text)
        except json.JSONDecodeError:
            parsed[name] = text
    return parsed
