"""A new model for some data, or a checkpoint with a new head."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from .. import modeling_lyra
from ..configuration_lyra import EXTRA_FIELDS, LABEL_FIELDS, LINEAR_FIELDS, LyraConfig
from ..data.labels import IGNORE_INDEX
from ..data.preparation import Prepared
from ..errors import InputError
from ..inference.loading import load_model
from ..modeling_lyra import LyraClassificationModel
from ..strands_lyra import has_complements
from .arguments import ModelArguments, parse_overrides
from .linear_term import LinearTerm

_QUANTILES = 256
# Of the config those that do not follow from the data.
_FREE_FIELDS = {*LyraConfig.attribute_map, *LyraConfig.__annotations__} - {
    "alphabet",
    "ensemble_size",
    "training_data",
    "reverse_complement",
    *LABEL_FIELDS,
    *LINEAR_FIELDS,
    *EXTRA_FIELDS,
}
# What `--preset` starts from; the fields of LyraConfig itself are the paper's.
_PRESETS: dict[str, Callable[..., LyraConfig]] = {
    "bidirectional": LyraConfig.two_way,
    "paper": LyraConfig,
    "deep": LyraConfig.deep,
}

Build = Callable[[type[LyraClassificationModel], LyraConfig], LyraClassificationModel]


def _training_data(data: Prepared) -> dict[str, Any]:
    lengths = data.lengths("train")
    return {
        "columns": list(data.sequence_columns),
        "letters": data.letters,
        "lengths": [int(lengths.min()), int(lengths.max())],
    }


def build_model(
    model_args: ModelArguments, data: Prepared, build: Build, term: LinearTerm | None = None
) -> LyraClassificationModel:
    """The model to train.

    Args:
        build: makes a new model of a head's class and a config.
        term: its linear term, which joins the network after training.

    Raises:
        InputError: if the flags make no model, or it does not fit the data.
    """
    head: type[LyraClassificationModel] = getattr(modeling_lyra, data.task.spec.head)
    labels = dict(enumerate(data.task.names))
    fields: dict[str, Any] = {
        "id2label": labels,
        "label2id": {name: i for i, name in labels.items()},
        "problem_type": data.task.spec.problem_type,
        **dict.fromkeys(LABEL_FIELDS),
        **dict.fromkeys(LINEAR_FIELDS),
        **_extra_fields(data),
        **_strand_fields(model_args, data),
        **label_fields(model_args, data),
        **(term.fields if term else {}),
        "ensemble_size": 1,
        "training_data": _training_data(data),
    }
    if model_args.model_name_or_path is not None:
        if model_args.config_overrides:
            raise InputError("--config_overrides: only for a new model, not with --model_name_or_path")
        start, revision = model_args.model_name_or_path, model_args.model_revision
        _, tokenizer = load_model(start, revision, bare=True)
        for name, flag in (("alphabet", "--alphabet"), ("pair_offset", "--pair_offset")):
            known, given = getattr(tokenizer, name), getattr(data.tokenizer, name)
            if known != given:
                raise InputError(f"--model_name_or_path: {start} has {name} {known}, these data {given} ({flag})")
        safely = {"revision": revision or "main", "use_safetensors": True, "ignore_mismatched_sizes": True}
        return head.from_pretrained(start, **safely, **fields)
    overrides = parse_overrides(model_args.config_overrides or [], _FREE_FIELDS)
    try:
        config = _PRESETS[model_args.preset](alphabet=data.tokenizer.alphabet, **fields | overrides)
    except Exception as error:  # the strict dataclass has its own kinds; the last line names field and value
        message = str(error).strip().splitlines()[-1].strip().removeprefix("ValueError: ")
        raise InputError(f"--config_overrides: {message}") from None
    try:
        model = build(head, config)
    except (RuntimeError, MemoryError, OverflowError) as error:
        raise InputError(f"--config_overrides: a model of this size cannot be built ({error})") from None
    if term is not None:
        term.prepare(model)
    return model


def _extra_fields(data: Prepared) -> dict[str, Any]:
    """The fields of the config that say which numbers beside each sequence the model reads."""
    if not data.extra_columns:
        return dict.fromkeys(EXTRA_FIELDS)
    values = data.extra["train"].astype(float)
    numbers = {"extra_means": values.mean(axis=0).tolist(), "extra_stds": values.std(axis=0).tolist()}
    return {"extra_features": list(data.extra_columns)} | numbers


def _strand_fields(model_args: ModelArguments, data: Prepared) -> dict[str, Any]:
    """The field of the config that says which strands a model reads; of a checkpoint it stays unless one is given."""
    wanted = model_args.reverse_complement
    if wanted == "none":
        return {}
    if not has_complements(data.tokenizer.alphabet):
        found = data.tokenizer.alphabet
        raise InputError(f"--reverse_complement {wanted}: only for single sequences of DNA; the alphabet is {found}")
    return {"reverse_complement": True if wanted == "both" else wanted}


def label_fields(model_args: ModelArguments, data: Prepared) -> dict[str, Any]:
    """The fields of the config that follow from the training labels."""
    kind = data.task.kind
    if kind == "regression" and model_args.class_weights != "none":
        raise InputError(f"--class_weights: only for classification tasks; the task is {data.task.name}")
    labels = data.label_array("train").astype(float).reshape(-1, data.task.num_outputs)
    return _FIELDS[kind](model_args, data, labels)


def _scale_fields(model_args: ModelArguments, data: Prepared, labels: np.ndarray) -> dict[str, Any]:
    mean, std = _label_scale(data, labels)
    standardised = {"label_mean": _one_or_list(mean), "label_std": _one_or_list(std)}
    if model_args.label_transform == "standardize":
        return standardised
    quantiles = [_label_quantiles(values) for values in labels.T]
    # Where all but a few labels are equal, what is left is below what single precision tells apart.
    useless = [not q[-1] - q[0] > 1e-6 * max(map(abs, q)) for q in quantiles]
    if any(useless) and model_args.label_transform == "rank":
        output = useless.index(True)
        raise InputError(
            f"{data.source}, column {data.task.names[output]!r}: all but a few labels are {quantiles[output][0]:g}, so "
            "that their ranks carry no information; --label_transform standardize"
        )
    ranked = {"label_quantiles": _one_or_list(quantiles)}
    if model_args.label_transform == "rank":
        return ranked
    return standardised if any(useless) else standardised | ranked


def _class_weights(model_args: ModelArguments, data: Prepared, labels: np.ndarray) -> dict[str, Any]:
    if model_args.class_weights == "none":
        return {}
    classes, present = np.arange(len(data.task.names)), labels[labels != IGNORE_INDEX]
    if len(missing := np.setdiff1d(classes, present)):
        raise InputError(f"--class_weights: no training row has class {data.task.names[int(missing[0])]!r}")
    return {"class_weights": compute_class_weight("balanced", classes=classes, y=present).tolist()}


def _positive_weights(model_args: ModelArguments, data: Prepared, labels: np.ndarray) -> dict[str, Any]:
    if model_args.class_weights == "none":
        return {}
    return {"class_weights": (np.sum(labels == 0, axis=0) / np.sum(labels == 1, axis=0)).tolist()}


# By the kind of task.
_FIELDS = {"regression": _scale_fields, "classification": _class_weights, "multilabel": _positive_weights}


def _one_or_list(values: list[Any]) -> Any:
    """As the config has it: the value of one output, or those of several."""
    return values[0] if len(values) == 1 else values


def _label_scale(data: Prepared, labels: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each output of the training labels `(n, outputs)`."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = np.nanmean(labels, axis=0), np.nanstd(labels, axis=0)
    for name, m, s in zip(data.task.names, mean, std, strict=True):
        # The model computes in single precision, which has seven digits and ends at 3e38.
        if not 1e-30 < s < 1e30 or s < 1e-6 * abs(m):
            raise InputError(
                f"{data.source}, column {name!r}: labels with mean {m:g} and standard deviation {s:g} do not fit "
                "single precision; subtract an offset or choose another unit"
            )
    return mean.tolist(), std.tolist()


def _label_quantiles(labels: np.ndarray) -> list[float]:
    """Quantiles of one output at the probabilities (i + 1/2) / count."""
    return np.nanquantile(labels, (np.arange(_QUANTILES) + 0.5) / _QUANTILES).tolist()
