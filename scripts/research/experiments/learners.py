"""What the experiments share: models of similar size, one training loop, tables and plots in `docs/`."""

import copy
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.nn.utils import clip_grad_norm_
from tqdm.auto import tqdm

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "scripts" / "benchmarks"))

import reference_models  # noqa: E402
import speed  # noqa: E402

from lyra import LyraConfig, LyraForSequenceClassification, LyraTokenizer  # noqa: E402
from lyra.data import pad  # noqa: E402
from lyra.scoring import compute_metrics  # noqa: E402
from lyra.training import parameter_groups  # noqa: E402

table = speed.table
DOCS = ROOT / "docs" / "experiments"
BATCH = 64

Split = tuple[torch.Tensor, torch.Tensor]  # ids (n, l) and labels (n,)
Model = LyraForSequenceClassification


def lyra(**settings: Any) -> Model:
    """Two bidirectional S4D layers and little dropout, unless the settings say otherwise."""
    defaults = {"num_labels": 1, "bidirectional": True, "num_hidden_layers": 2, "hidden_dropout_prob": 0.05}
    return LyraForSequenceClassification(LyraConfig(**defaults | settings))


def cnn() -> Model:
    return reference_models.build_cnn(LyraForSequenceClassification, LyraConfig(num_labels=1, hidden_dropout_prob=0.05))


def transformer() -> Model:
    config = LyraConfig(num_labels=1, hidden_dropout_prob=0.05, hidden_size=48)
    return reference_models.build_transformer(LyraForSequenceClassification, config)


def encode(rows: list[dict[str, Any]]) -> Split:
    """Rows of `sequence` and `label`, all of one length."""
    ids = pad(LyraTokenizer().encode_bulk(row["sequence"] for row in rows), 0)
    return ids, torch.tensor([row["label"] for row in rows], dtype=torch.float32)


def fit(
    build: Callable[[], Model], train: Split, validation: Split, test: Split, steps: int, lr: float, seed: int
) -> dict[str, float]:
    """Trains a new model with AdamW and a cosine schedule; selects among five states, and scores the test split once.

    Labels are standardised by the training split.

    Returns:
        `spearman` and `r2` of the test split, `parameters` and `seconds`.
    """
    torch.manual_seed(seed)
    model = build()
    mean, std = train[1].mean(), train[1].std()
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.01), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.05)
    started, best, selected = time.monotonic(), -np.inf, model.state_dict()
    order = torch.randperm(len(train[0]))
    for step in range(steps):
        if (step + 1) * BATCH % len(order) < BATCH:
            order = torch.randperm(len(train[0]))
        rows = order[torch.arange(step * BATCH, (step + 1) * BATCH) % len(order)]
        loss = model(train[0][rows], labels=(train[1][rows] - mean) / std).loss
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % max(1, steps // 5) == 0:
            r2 = _score(model, *validation, mean, std)["r2"]
            if r2 > best:
                best, selected = r2, copy.deepcopy(model.state_dict())
    model.load_state_dict(selected)
    seconds = round(time.monotonic() - started, 1)
    return _score(model, *test, mean, std) | {"parameters": model.num_parameters(), "seconds": seconds}


@torch.inference_mode()
def _score(
    model: Model, ids: torch.Tensor, labels: torch.Tensor, mean: torch.Tensor, std: torch.Tensor
) -> dict[str, float]:
    model.eval()
    values = torch.cat([model(part).logits for part in ids.split(256)]) * std + mean
    model.train()
    scores = compute_metrics("regression", values.numpy(), labels.numpy(), ("label",))
    return {key: round(scores.get(key, 0.0), 4) for key in ("spearman", "r2")}


def run(name: str, jobs: list[dict[str, Any]], work: Callable[..., dict[str, Any]]) -> list[dict[str, Any]]:
    """Does the jobs that `docs/experiments/<name>.json` does not yet hold, and adds them to it.

    Returns:
        A row per job: its settings and its results.
    """
    file = DOCS / f"{name}.json"
    rows = json.loads(file.read_text()) if file.exists() else []
    for job in tqdm(jobs, desc=name):
        if not any(job.items() <= row.items() for row in rows):
            rows.append(job | work(**job))
            DOCS.mkdir(parents=True, exist_ok=True)
            file.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
    return rows


def load(name: str) -> list[dict[str, Any]]:
    """The rows of `docs/experiments/<name>.json`."""
    return json.loads((DOCS / f"{name}.json").read_text())


def shown(rows: list[dict[str, Any]], value: str, **settings: Any) -> str:
    """`over_seeds` as text."""
    mean, deviation = over_seeds(rows, value, **settings)
    return f"{mean:.3f}" + (f" ± {deviation:.3f}" if deviation else "")


def over_seeds(rows: list[dict[str, Any]], value: str, **settings: Any) -> tuple[float, float]:
    """Mean and standard deviation of a value over the rows with these settings."""
    values = [row[value] for row in rows if settings.items() <= row.items()]
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def save(figure: Figure, name: str) -> None:
    figure.savefig(DOCS / f"{name}.png", dpi=120)
