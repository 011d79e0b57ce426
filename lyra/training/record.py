"""What a run writes: its record, the checkpoint, predictions for the test rows, plots and the model card."""

import copy
import json
import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..configuration_lyra import LyraConfig
from ..data.arguments import DataArguments
from ..data.labels import IGNORE_INDEX
from ..data.preparation import Prepared
from ..data.tables import TableWriter
from ..errors import InputError
from ..files import move_into
from ..hub.card import example_sequences, model_card
from ..inference.logits import Predictions, to_items
from ..inference.outputs import added_columns, extend_row, prediction_columns
from ..metrics import METRICS
from ..modeling_lyra import LyraClassificationModel
from ..plots import plot_confusion, plot_history, plot_measured, plot_reliability, plot_roc
from ..scoring import compute_metrics
from .arguments import ModelArguments
from .base_trainer import global_batch_size
from .checkpoints import remove_checkpoints
from .trainer import LyraTrainingArguments

_PART = 4096  # rows that are written together


def check_new_columns(data: Prepared, config: LyraConfig, ensemble: int) -> None:
    """Raises InputError if the table already has a column that its predictions would add."""
    config = copy.copy(config)
    config.ensemble_size = ensemble
    try:
        added = added_columns(config, data.task.per_token)
        extend_row(data.source, dict.fromkeys(_columns(data)), dict.fromkeys(added))
    except InputError as error:
        hint = ", or pass --ensemble 1, which has no deviations" if ensemble > 1 and "'std" in str(error) else ""
        raise InputError(f"{error}{hint}") from None


def _columns(data: Prepared) -> list[str]:
    return list(data.rows[data.scored[-1]].names)


def run_record(
    data: Prepared,
    data_args: DataArguments,
    model_args: ModelArguments,
    args: LyraTrainingArguments,
    model: LyraClassificationModel,
    predictions: dict[str, Predictions],
) -> dict[str, Any]:
    """What `metrics.json` says of a run, except for its training.

    Args:
        predictions: for the splits that are scored.
    """
    scores = {
        split: compute_metrics(data.task.kind, to_items(each.logits), data.label_array(split), data.task.names)
        for split, each in predictions.items()
    }
    return {
        "task": data.task.name,
        "outputs": list(data.task.names),
        "extra_features": dict(zip(data.extra_columns, data.extra["train"].mean(axis=0).tolist(), strict=True)),
        "alphabet": data.tokenizer.alphabet,
        "selected_by": args.metric_for_best_model,
        "validation": scores["validation"],
        "test": scores.get("test", {}),
        "n": {split: len(data.rows[split]) for split in data.rows},
        "labelled_residues": _labelled_residues(data),
        "parameters": model.num_parameters(),
        "data": {
            "name": Path(data.source).name if os.path.exists(data.source) else data.source,
            "hub_id": None if os.path.exists(data.source) else data.source,
            "sha256": data.sha256,
            "notes": [note.replace(data.source, Path(data.source).name) for note in data.notes[1:]],
        },
        "hyperparameters": {
            "seed": args.seed,
            "split_seed": data_args.split_seed,
            "epochs": args.num_train_epochs,
            "batch_size": global_batch_size(args),
            "optimizer": str(getattr(args.optim, "value", args.optim)),
            "learning_rate": args.learning_rate,
            "lr_scheduler_type": str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)),
            "warmup_steps": args.warmup_steps,
            "weight_decay": args.weight_decay,
            "max_grad_norm": args.max_grad_norm,
            "early_stopping_patience": args.early_stopping_patience,
            "preset": model_args.preset,
            "config_overrides": " ".join(model_args.config_overrides or []),
            "linear_term": model_args.linear_term,
            "global_epistasis": model_args.global_epistasis,
            "label_transform": _label_transform(model) if data.task.kind == "regression" else None,
            "class_weights": model_args.class_weights if data.task.kind != "regression" else None,
            "start_from": model_args.model_name_or_path and Path(model_args.model_name_or_path).name,
            "threads": torch.get_num_threads(),
        },
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of Python and the packages that models are trained with."""
    packages = {name: version(name) for name in ("torch", "transformers", "datasets", "accelerate")}
    return {"python": platform.python_version(), "lyra-bio": __version__} | packages


def _label_transform(model: LyraClassificationModel) -> str:
    config = model.config
    if config.label_quantiles is None:
        return "standardize"
    return "rank" if config.label_mean is None else "mean of both"


def _labelled_residues(data: Prepared) -> dict[str, int] | None:
    """The residues of each split that have a label, where residues have labels."""
    if not data.task.per_token:
        return None
    return {split: int((~np.isnan(data.label_values(split))).any(axis=1).sum()) for split in data.rows}


def write_run(
    output: Path,
    model: LyraClassificationModel,
    data: Prepared,
    predictions: Predictions | None,
    record: dict[str, Any],
    history: list[dict[str, float]],
) -> None:
    """Writes everything to a folder inside, moves it into place and removes the checkpoints of the finished run.

    Args:
        predictions: for the test split, where there is one.
    """
    partial = output / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "plots").mkdir(parents=True)
    model.save_pretrained(partial)
    shutil.copymode(partial / "config.json", partial / "model.safetensors")  # safetensors writes for the owner only
    data.tokenizer.save_pretrained(partial)
    if history:
        plot_history(history, record["selected_by"], record["best_epoch"], partial / "plots" / "training.png")
    plot = None
    if predictions is not None:
        _write_predictions(partial / "predictions.csv", model, data, predictions)
        plot = plot_test(partial / "plots", data, to_items(predictions.logits), record)
        plot = plot and f"plots/{plot}"
    reliability = plot_calibration(partial / "plots", data.task.kind, record)
    example = example_sequences(data.tokenizer.alphabet, data.tokenizer.pair_offset, model.config.linear_length)
    card = model_card(record, output.absolute().name, type(model).__name__, example, plot, reliability)
    card.save(partial / "README.md")
    (partial / "metrics.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    move_into(partial, output)  # before the checkpoints go
    remove_checkpoints(output)


def _write_predictions(file: Path, model: LyraClassificationModel, data: Prepared, predictions: Predictions) -> None:
    blank, rows = dict.fromkeys(_columns(data)), data.rows["test"]
    with TableWriter(file) as writer:
        for span in (slice(start, start + _PART) for start in range(0, len(rows), _PART)):
            added = prediction_columns(predictions.take(span), model.config, data.task.per_token)
            writer.write([blank | row | new for row, new in zip(rows[span], added, strict=True)])


def plot_test(folder: Path, data: Prepared, values: np.ndarray, record: dict[str, Any]) -> str | None:
    """Plots the predictions for the test rows, as [`to_items`] has them; returns the name of the first file, if any."""
    labels, names = data.label_array("test"), data.task.names
    if data.task.kind == "regression":
        return _plot_regression(folder, data, values, labels.reshape(values.shape), record)
    if data.task.kind == "multilabel":
        drawn = plot_roc(values, labels.reshape(values.shape), names, _score(record, "auroc"), folder / "roc.png")
        return "roc.png" if drawn else None
    present = labels != IGNORE_INDEX
    plot_roc(values[present], labels[present], names, _score(record, "auroc"), folder / "roc.png")
    title = _score(record, record["selected_by"])
    plot_confusion(values[present], labels[present], names, title, folder / "confusion.png")
    return "confusion.png"


_AXES = {
    "regression": ("level of the intervals", "labels inside"),
    "classification": ("probability of the predicted class", "predictions that are right"),
    "multilabel": ("probability of the predicted value", "predictions that are right"),
}


def plot_calibration(folder: Path, kind: str, record: dict[str, Any]) -> str | None:
    """Plots how well intervals or probabilities hold; returns where, relative to the model's folder."""
    points = (record.get("calibration") or {}).get("reliability")
    if not points:
        return None
    plot_reliability(points, *_AXES[kind], folder / "reliability.png")
    return "plots/reliability.png"


def _plot_regression(
    folder: Path, data: Prepared, values: np.ndarray, labels: np.ndarray, record: dict[str, Any]
) -> str:
    names, selected = data.task.names, record["selected_by"]
    items = "residues" if data.task.per_token else "sequences"
    files = ["measured.png"] if len(names) == 1 else [f"measured_{i}.png" for i in range(len(names))]
    for i, (name, file) in enumerate(zip(names, files, strict=True)):
        present = ~np.isnan(labels[:, i])
        title = _score(record, selected) if len(names) == 1 else f"{name}: {_score(record, selected, f'{name}_')}"
        plot_measured(values[present, i], labels[present, i], items, title, folder / file)
    return files[0]


def _score(record: dict[str, Any], metric: str, output: str = "") -> str:
    """A test score as the title of a plot."""
    title = METRICS[metric].title if metric in METRICS else metric
    value = record["test"].get(output + metric)
    return "test" if value is None else f"test {title} {value:.3f}"
