"""`lyra demo`: a simulated landscape, from the table to the predictions."""

import argparse
import csv
from pathlib import Path
from typing import Any

from ..alphabet_lyra import AMINO_ACIDS
from ..errors import InputError
from . import quiet_loading

HELP = "simulate two landscapes, train on them and compare with an additive model"
EXAMPLE = "lyra demo --output_dir demo"
_ROWS = 6000
_EPOCHS = 30
_LANDSCAPES = {"polynomial of order 3": False, "sigmoid of a sum": True}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output_dir", required=True, metavar="DIR", help="a new folder")


def run(arguments: argparse.Namespace) -> None:
    demo(Path(arguments.output_dir))


def demo(output: Path) -> None:
    """Simulates two landscapes, trains on each, predicts, and prints the test metrics beside an additive model's.

    Args:
        output: a new folder for the tables, models and predictions.

    Raises:
        InputError: if `output` is in use.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output}: --output_dir is in use; choose another, or remove it")
    quiet_loading()
    from ..data import DataArguments
    from ..inference import predict
    from ..training import LyraTrainingArguments, ModelArguments, train

    rows = []
    for number, (name, saturating) in enumerate(_LANDSCAPES.items()):
        folder = output / ("saturating" if saturating else "polynomial")
        folder.mkdir(parents=True)
        print(f"\n── {name} ──", flush=True)
        table = simulate_table(folder / "variants.csv", number, saturating)
        record = train(
            DataArguments(data=str(table)),
            ModelArguments(preset="paper", config_overrides=["bidirectional=true", "dropout=0.05"]),
            LyraTrainingArguments(
                output_dir=str(folder / "model"),
                num_train_epochs=_EPOCHS,
                learning_rate=3e-3,
                lr_scheduler_type="cosine",
            ),
            command="lyra demo",
        )
        rows.append((name, "additive (one-hot ridge)", _additive_scores(table)))
        rows.append((name, f"Lyra ({record['parameters']:,} parameters)", record["test"]))
        predict(str(folder / "model"), str(table), str(folder / "predictions.csv"))
    _print_table(rows)
    print(f"\ntables, models (README.md, plots/, metrics.json) and predictions are in {output}/")


def simulate_table(path: Path, seed: int, saturating: bool, rows: int = _ROWS) -> Path:
    """Writes a table of variants of a simulated landscape; returns its path."""
    import numpy as np

    from ..data import SPLITS, TableWriter
    from ..simulation import random_landscape, simulate

    rng = np.random.default_rng(seed)
    variants = simulate(rng, random_landscape(rng, saturating=saturating), rows)
    splits = np.repeat(SPLITS, [round(0.8 * rows), round(0.1 * rows), round(0.1 * rows)])
    with TableWriter(path) as writer:
        writer.write([row | {"split": str(split)} for row, split in zip(variants, splits, strict=True)])
    return path


def _additive_scores(table: Path) -> dict[str, float]:
    """Test metrics of a ridge regression on one-hot letters, its penalty chosen within the training rows."""
    import numpy as np
    from sklearn.linear_model import RidgeCV

    from ..scoring import compute_metrics

    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    train_rows, test_rows = ([row for row in rows if row["split"] == split] for split in ("train", "test"))
    ridge = RidgeCV(alphas=np.logspace(-3, 3, 13))
    ridge.fit(_one_hot(train_rows), [float(row["label"]) for row in train_rows])
    labels = np.array([float(row["label"]) for row in test_rows])
    return compute_metrics("regression", ridge.predict(_one_hot(test_rows))[:, None], labels, ("label",))


def _one_hot(rows: list[dict[str, str]]) -> Any:
    import numpy as np

    letters = np.array([list(row["sequence"]) for row in rows])
    return (letters[..., None] == np.array(list(AMINO_ACIDS))).reshape(len(rows), -1).astype(np.float64)


def _print_table(rows: list[tuple[str, str, dict[str, float]]]) -> None:
    metrics = list(rows[0][2])
    print(f"\n{'landscape':24}{'model':28}" + "".join(f"{metric:>10}" for metric in metrics))
    for landscape, model, scores in rows:
        print(f"{landscape:24}{model:28}" + "".join(f"{scores[metric]:10.4f}" for metric in metrics))
