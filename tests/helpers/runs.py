"""Small runs of `lyra train`."""

import csv
import sys
from pathlib import Path

import numpy as np

from lyra.cli import main

ROOT = Path(__file__).parents[2]
HELPERS = Path(__file__).parent
EPOCHS = 4
TRAIN = ["--config_overrides", "hidden_size=8", "state_size=4", "--num_train_epochs", str(EPOCHS), "--use_cpu", "true"]
TRAIN += ["--disable_tqdm", "true", "--per_device_train_batch_size", "8", "--learning_rate", "0.01"]


def torchrun(processes):
    """The command before a script that runs it on several processes."""
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]


def write_table(path, rows=60):
    rng = np.random.default_rng(0)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "sequence", "label"])
        for i in range(rows):
            sequence = "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), rng.integers(5, 15)))
            writer.writerow([f"s{i}", sequence, 10 * sequence.count("A") + len(sequence)])
    return path


def train(table, output, *flags):
    return main(["train", str(table), "--output_dir", str(output), *TRAIN, *flags])


def same_weights(one, other):
    return (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
