"""What Lyra is compared with: a linear model, the linear term alone (global epistasis), a CNN and a Transformer."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from reference_models import build_cnn, build_transformer

from lyra import LyraConfig
from lyra.data import DataArguments, Prepared, prepare
from lyra.errors import InputError
from lyra.inference.logits import logits_of_split, to_items, to_values
from lyra.scoring import compute_metrics
from lyra.training import ModelArguments
from lyra.training.linear import FittedBaseline, fit_linear
from lyra.training.linear_term import fit_linear_term
from lyra.training.model import build_model, label_fields

BUILDS = {"cnn": build_cnn, "transformer": build_transformer}
_LINEAR_ROWS = 200_000


def run_fit(model: str, data_args: DataArguments, metric: str, seed: int, folder: Path, command: str) -> None:
    """Fits one of `FITS` and writes `metrics.json` and `predictions.npy`: values or probabilities `(items, outputs)` of
    the test split.

    Raises:
        InputError: if there is nothing to fit.
    """
    data = prepare(data_args)
    fitted = FITS[model](data, metric, seed)
    if fitted is None:
        raise InputError(f"{data.source}: no {model} model can be fitted")
    record = fitted.record | {
        "n": {split: len(rows) for split, rows in data.rows.items()},
        "data": {"name": Path(data.source).name, "sha256": data.sha256},
        "versions": {"numpy": np.__version__, "torch": torch.__version__},
        "command": command,
    }
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "predictions.npy", to_values(data.task.kind, fitted.logits))
    (folder / "metrics.json").write_text(json.dumps(record, indent=2), encoding="utf-8")


def _fit_plain(data: Prepared, metric: str, seed: int) -> FittedBaseline | None:
    return fit_linear(data, metric, seed, _LINEAR_ROWS)


def _fit_term(data: Prepared, metric: str, seed: int) -> FittedBaseline | None:
    """The linear term of a default run, with its curve and without a network; for labels of whole sequences."""
    if data.task.per_token:
        return None
    started, settings = time.monotonic(), ModelArguments()
    term = fit_linear_term(data, metric, "auto", "auto", label_fields(settings, data))
    if term is None:
        return None
    seconds = time.monotonic() - started
    model = build_model(settings, data, lambda head, config: head(_smallest(config)), term).eval()
    term.share_out(model, 0.0)
    before = time.monotonic()
    logits = {s: to_items(logits_of_split(model, data, s).logits) for s in ("validation", "test")}
    per_thousand = 1000 * (time.monotonic() - before) / sum(map(len, logits.values()))
    scores = {
        split: compute_metrics(data.task.kind, each, data.label_array(split), data.task.names)
        for split, each in logits.items()
    }
    record = scores | {
        "parameters": term.weights.size
        + term.intercepts.size
        + sum(each.size for each in (term.curves or {}).values()),
        "training_seconds": round(seconds, 1),
        "seconds_per_1000_predictions": round(per_thousand, 4),
        "hyperparameters": term.chosen | {"seed": seed},
    }
    return FittedBaseline(record, logits["test"])


def _smallest(config: LyraConfig) -> LyraConfig:
    """Of a network that counts for nothing."""
    config.hidden_size = config.state_size = 8
    return config


FITS = {"linear": _fit_plain, "term": _fit_term}
