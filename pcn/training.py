"""Training a tagger: files of jets to a scored model in a folder."""

import copy
import json
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from huggingface_hub.errors import StrictDataclassError
from scipy.special import softmax
from transformers import PreTrainedModel, TrainingArguments, set_seed
from transformers.trainer_utils import EvalPrediction

from lyra import __version__
from lyra.errors import InputError, one_line
from lyra.files import CACHE, file_sha256, locked, move_into, write_json
from lyra.plots import plot_confusion, plot_history
from lyra.training.arguments import parse_overrides
from lyra.training.base_trainer import BaseTrainer, global_batch_size
from lyra.training.checkpoints import check_output, remove_checkpoints
from lyra.training.progress import EpochLines
from lyra.training.running import best_epoch, leave_process_group, run_trainer

from .arguments import JetArguments, PcnArguments, TrainingDefaults
from .card import model_card
from .configuration_pcn import PRESETS, PcnConfig
from .feature_extraction_pcn import PcnFeatureExtractor
from .inference import score
from .labelled import Classes, JetCollator, find_classes, store
from .metrics import scores
from .modeling_pcn import PcnForJetClassification
from .plots import plot_rejection

_VALIDATION_SHARE, _FEWEST = 0.1, 10
_SETTINGS = ("num_train_epochs", "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "seed")


@dataclass
class PcnTrainingArguments(TrainingDefaults, TrainingArguments):
    """`TrainingArguments` with this package's defaults."""

    lr_scheduler_type: str = "cosine"
    warmup_steps: float = 0.05
    eval_strategy: str = "epoch"
    save_strategy: str = "epoch"
    save_total_limit: int | None = 1
    metric_for_best_model: str = "accuracy"
    greater_is_better: bool = True
    load_best_model_at_end: bool = True
    logging_steps: float = 50
    report_to: str = "none"
    disable_tqdm: bool = False  # by default hidden where transformers' messages are
    dataloader_pin_memory: bool = False


def train(
    files: list[str],
    jets: JetArguments,
    model: PcnArguments,
    args: PcnTrainingArguments,
    command: str = "pcn.train",
    build: Callable[[PcnConfig], PreTrainedModel] = PcnForJetClassification,
) -> dict[str, Any]:
    """Trains on labelled jets, selects the epoch by validation, scores the test jets once and writes everything to
    `args.output_dir`.

    Args:
        files: of training jets.
        command: how the run was started, for the record.
        build: makes a new model of a config; to train another architecture on the same terms.

    Returns:
        The record that `metrics.json` holds, of the first process only.

    Raises:
        InputError: for wrong arguments or jets.
    """
    args = copy.copy(args)
    output, main = Path(str(args.output_dir)), args.process_index == 0
    if main:
        check_output(output, args.resume, None, overwrite=None)
    classes = find_classes(files, jets.label_column)
    config, extractor = build_config(model, jets, classes.names)
    background = choose_background(jets.background, classes.names)
    started = time.monotonic()
    with locked(output) if main else nullcontext(), _scratch(output / f"{CACHE}-{args.process_index}") as folder:
        splits, cut = _read(files, jets, extractor, classes, folder, args.seed)
        if main:
            sizes = ", ".join(f"{len(each):,} to {name}" for name, each in splits.items())
            print(
                f"jets: {sizes}; classes {', '.join(classes.names)}; {cut:,} particles beyond "
                f"{jets.max_particles} of a jet left out",
                flush=True,
            )
        fingerprint = _fingerprint(files, jets, config, args)
        set_seed(args.seed)
        network = build(config)
        if main:
            print(f"model: {network.num_parameters():,} parameters, seed {args.seed}", flush=True)
        trainer = run_trainer(output, args, fingerprint, lambda args: _build_trainer(network, args, splits))
        found = {name: _evaluate(trainer, splits[name], classes, background) for name in splits if name != "train"}
        leave_process_group()
        if not main:
            return {}
        record = {
            "task": "jet classification",
            "classes": classes.names,
            "selected_by": args.metric_for_best_model,
            "best_epoch": best_epoch(trainer),
            **{name: each[0] for name, each in found.items()},
            "n": {name: len(each) for name, each in splits.items()},
            "particles_left_out": cut,
            "parameters": network.num_parameters(),
            "data": {"files": [Path(file).name for file in files], "sha256": fingerprint["data"]},
            "hyperparameters": {name: getattr(args, name) for name in ("num_train_epochs", "learning_rate", "seed")}
            | {"batch_size": global_batch_size(args), "threads": torch.get_num_threads()}
            | asdict(model),
            "versions": {"python": platform.python_version(), "lyra-bio": __version__}
            | {name: version(name) for name in ("torch", "transformers", "datasets")},
            "command": command,
            "training_seconds": round(trainer.state.log_history[-1]["train_runtime"], 1),
            "seconds": round(time.monotonic() - started, 1),
        }
        _write(output, trainer, extractor, record, found)
    return record


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder for the time of a run; one that a killed run left is emptied."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def build_config(model: PcnArguments, jets: JetArguments, names: list[str]) -> tuple[PcnConfig, PcnFeatureExtractor]:
    """The config of a new model, and the extractor of what it reads."""
    overrides = parse_overrides(model.config_overrides or [], PcnConfig.__annotations__, "PcnConfig")
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}
    try:
        config = PRESETS[model.preset](**overrides, **labels)
        extractor = PcnFeatureExtractor(config.feature_set, config.point_set, jets.max_particles, jets.missing_tracks)
    except (ValueError, TypeError, StrictDataclassError) as error:
        reason = one_line(error.__cause__ or error)
        raise InputError(f"--config_overrides: {reason[:300]}") from None
    return config, extractor


def choose_background(chosen: str | None, names: list[str]) -> str:
    """The class that others are told from."""
    if chosen is None:
        return "QCD" if "QCD" in names else names[0]
    if chosen not in names:
        raise InputError(f"--background: expected one of {', '.join(names)}, got {chosen!r}")
    return chosen


def _read(
    files: list[str], jets: JetArguments, extractor: PcnFeatureExtractor, classes: Classes, folder: Path, seed: int
) -> tuple[dict[str, Dataset], int]:
    """The jets of each split, and how many particles were left out."""
    wanted = {"train": files, "validation": jets.validation or [], "test": jets.test or []}
    splits: dict[str, Dataset] = {}
    cut = 0
    for name, chosen in wanted.items():
        if chosen:
            splits[name], more = store(chosen, extractor, classes, folder / f"{name}.arrow")
            cut += more
            if not len(splits[name]):
                raise InputError(f"{chosen[0]}: no jets")
    if "validation" not in splits:
        if len(splits["train"]) < _FEWEST:
            raise InputError(f"{files[0]}: fewer than {_FEWEST} jets; pass --validation, or more")
        halves = splits["train"].train_test_split(test_size=_VALIDATION_SHARE, seed=seed)
        splits |= {"train": halves["train"], "validation": halves["test"]}
    return {name: splits[name] for name in wanted if name in splits}, cut


def _fingerprint(files: list[str], jets: JetArguments, config: PcnConfig, args: PcnTrainingArguments) -> dict[str, Any]:
    """What must not change when a run is resumed."""
    others = [*(jets.validation or []), *(jets.test or [])]
    kept = {name: value for name, value in asdict(jets).items() if name not in ("validation", "test")}
    fingerprint = {
        "data": file_sha256([*files, *others]),
        "data options": kept,
        "model settings": config.to_diff_dict(),
        "training settings": {name: getattr(args, name) for name in _SETTINGS} | {"batch": global_batch_size(args)},
    }
    return json.loads(json.dumps(fingerprint, default=str))  # as a file has it


def _build_trainer(network: PreTrainedModel, args: Any, splits: dict[str, Dataset]) -> BaseTrainer:
    trainer = BaseTrainer(
        model=network,
        args=args,
        train_dataset=splits["train"],
        eval_dataset=splits["validation"],
        data_collator=JetCollator(network.config.input_size, network.config.point_size),
        compute_metrics=_metrics,
    )
    for callback in EpochLines.replaced:
        trainer.remove_callback(callback)
    return trainer


def _metrics(prediction: EvalPrediction) -> dict[str, float]:
    return scores(_probabilities(prediction), np.asarray(prediction.label_ids))


def _probabilities(prediction: Any) -> np.ndarray:
    """Raises InputError if there are none."""
    found = softmax(np.asarray(prediction.predictions), axis=1)
    if not np.isfinite(found).all():
        raise InputError("training diverged: its predictions are not finite numbers; try a lower --learning_rate")
    return found


def _evaluate(
    trainer: BaseTrainer, split: Dataset, classes: Classes, background: str
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    prediction = trainer.predict(split)  # type: ignore[arg-type]
    found = _probabilities(prediction)
    return score(found, np.asarray(prediction.label_ids), classes.names, background)


def _write(
    output: Path,
    trainer: BaseTrainer,
    extractor: PcnFeatureExtractor,
    record: dict[str, Any],
    found: dict[str, tuple[dict[str, Any], np.ndarray, np.ndarray]],
) -> None:
    """Fills the folder of a run, as a whole, and removes its checkpoints."""
    partial = output / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "plots").mkdir(parents=True)
    trainer.model.save_pretrained(partial)  # type: ignore[union-attr]
    shutil.copymode(partial / "config.json", partial / "model.safetensors")  # safetensors writes for the owner only
    extractor.save_pretrained(partial)
    history, selected = trainer.state.log_history, record["selected_by"]
    plot_history(history, selected, record["best_epoch"], partial / "plots" / "training.png")
    split = list(found)[-1]
    scored, probabilities, labels = found[split]
    names = record["classes"]
    plot_rejection(probabilities, labels, names, scored["background"], partial / "plots" / "rejection.png")
    title = f"{split}: accuracy {scored['scores']['accuracy']:.3f}"
    logits = np.log(np.maximum(probabilities, 1e-30))
    plot_confusion(logits, labels, tuple(names), title, partial / "plots" / "confusion.png")
    write_json(partial / "metrics.json", record)
    model_card(record, output.absolute().name).save(partial / "README.md")
    move_into(partial, output)
    remove_checkpoints(output)
