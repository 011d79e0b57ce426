"""Kills training and prediction at random moments, resumes them, and compares the files with those of unbroken runs.

    python scripts/tools/faults.py --trials 20

Every trial is killed (SIGKILL) one to three times, at moments drawn between a tenth and the whole of the time that the
unbroken run took.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from lyra.alphabet_lyra import AMINO_ACIDS
from lyra.data import TableWriter
from lyra.files import file_sha256

TRAIN = ["--config_overrides", "hidden_size=16", "state_size=16", "--num_train_epochs", "6", "--use_cpu", "true"]
TRAIN += ["--per_device_train_batch_size", "16", "--disable_tqdm", "true"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20, help="of each command")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table, many = folder / "t.csv", folder / "many.csv"
        write_table(table, 2000)
        write_table(many, 40_000)
        train = ["train", str(table), *TRAIN, "--output_dir"]
        rows = [trials("lyra train", train, folder, "model.safetensors", arguments.trials, rng)]
        predict = ["predict", str(folder / "unbroken"), str(many), "-o"]
        rows.append(trials("lyra predict", predict, folder, "", arguments.trials, rng))
    print("\n| command | trials | kills | kills before the end of a run | files that differ |\n|---|---|---|---|---|")
    print("\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows))
    return int(any(row[-1] for row in rows))


def write_table(path: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list(AMINO_ACIDS), rng.integers(20, 60))) for _ in range(count)]
    with TableWriter(path) as writer:
        writer.write([{"id": i, "sequence": s, "label": s.count("A") + len(s) / 9} for i, s in enumerate(sequences)])


def trials(title: str, command: list[str], folder: Path, file: str, count: int, rng: random.Random) -> list[object]:
    """A row of the table."""
    suffix = "" if file else ".csv"
    before = time.monotonic()
    unbroken = folder / f"unbroken{suffix}"
    start([*command, str(unbroken)]).wait()
    seconds = time.monotonic() - before
    kills = effective = differing = 0
    for trial in tqdm(range(count), desc=title):
        output = folder / f"trial{trial}{suffix}"
        for _ in range(rng.randint(1, 3)):
            process = start([*command, str(output), "--resume"])
            try:
                process.wait(rng.uniform(0.1, 1.0) * seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                effective += 1
            kills += 1
        code = start([*command, str(output), "--resume"]).wait()
        differing += code != 0 or file_sha256([output / file]) != file_sha256([unbroken / file])
    return [title, count, kills, effective, differing]


def start(command: list[str]) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "lyra", *command], stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
