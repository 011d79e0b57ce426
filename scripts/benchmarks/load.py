"""Predicts a million sequences, and one record of ten million letters; prints throughput and peak memory.

    python scripts/benchmarks/load.py

The tables are random and written into a temporary folder; the models have the paper's size and random weights.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lyra import LyraConfig, LyraForSequenceClassification, LyraTokenizer
from lyra.alphabet_lyra import AMINO_ACIDS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="sequences of the table")
    parser.add_argument("--length", type=int, default=237, help="of each of them")
    parser.add_argument("--letters", type=int, default=10_000_000, help="of the long record")
    arguments = parser.parse_args()
    print("| input | output rows | seconds | throughput | peak memory |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        write_table(path / "many.csv", arguments.rows, arguments.length)
        save_model(path / "protein", "protein")
        measure(
            f"{arguments.rows:,} proteins of {arguments.length}", path, "protein", "many.csv", arguments.rows, "rows"
        )
        write_record(path / "long.fasta", arguments.letters)
        for bidirectional in (False, True):
            save_model(path / "dna", "dna", bidirectional=bidirectional)
            title = f"one record of {arguments.letters:,} letters, {'both directions' if bidirectional else 'causal'}"
            measure(title, path, "dna", "long.fasta", arguments.letters, "letters")
    return 0


def save_model(folder: Path, alphabet: str, **fields: bool) -> None:
    LyraForSequenceClassification(LyraConfig(alphabet=alphabet, num_labels=1, **fields)).save_pretrained(folder)
    LyraTokenizer(alphabet).save_pretrained(folder)


def write_table(path: Path, rows: int, length: int) -> None:
    rng = np.random.default_rng(0)
    letters = np.frombuffer(AMINO_ACIDS.encode(), dtype=np.uint8)
    with open(path, "w") as file:
        file.write("id,sequence\n")
        for start in range(0, rows, 10_000):
            drawn = letters[rng.integers(len(letters), size=(min(10_000, rows - start), length), dtype=np.uint8)]
            file.writelines(f"s{start + i},{row.tobytes().decode()}\n" for i, row in enumerate(drawn))


def write_record(path: Path, letters: int) -> None:
    rng = np.random.default_rng(0)
    alphabet = np.frombuffer(b"ACGT", dtype=np.uint8)
    with open(path, "w") as file:
        file.write(">long\n")
        for start in range(0, letters, 1 << 20):
            drawn = alphabet[rng.integers(4, size=min(1 << 20, letters - start), dtype=np.uint8)]
            file.write(drawn.tobytes().decode() + "\n")


def measure(title: str, folder: Path, model: str, source: str, items: int, unit: str) -> None:
    """Runs `lyra predict` in a process of its own and prints a row; checks that no row is lost or moved."""
    output = folder / "out.csv"
    command = [sys.executable, "-m", "lyra", "predict", str(folder / model), str(folder / source), "-o", str(output)]
    before = time.monotonic()
    process = subprocess.Popen([*command, "--device", "cpu"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - before
    if status:
        raise SystemExit(f"lyra predict ended with status {status}")
    csv.field_size_limit(sys.maxsize)
    with open(output, newline="") as file:
        names = [row["id"] for row in csv.DictReader(file)]
    expected = ["long"] if unit == "letters" else [f"s{i}" for i in range(items)]
    if names != expected:
        raise SystemExit("rows were lost or moved")
    rate = f"{items / seconds:,.0f} {unit}/s"
    print(f"| {title} | {len(names):,} | {seconds:.0f} | {rate} | {usage.ru_maxrss / 1024:,.0f} MB |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
