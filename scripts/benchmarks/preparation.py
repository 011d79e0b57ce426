"""Time and memory of preparing a table for training, beside the code of before, and what the loading of batches costs.

    python scripts/benchmarks/preparation.py [--rows 1000000] [--growth 5000000 10000000] [--output_dir docs/benchmarks]

Writes `preparation.md` and `preparation.json`. The tables are simulated: proteins of 50 letters, each with a number.
The code of before is that of a commit, which git has; both sides prepare the same file in processes of their own, in
turn.
Run it on an idle machine: it takes about ten minutes and 700 MB of disk.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
BEFORE = "1b22ee7"  # the last commit that kept each row as a dictionary
LENGTH, ROUNDS, BLOCK = 50, 3, 100_000
STEPS = 20

# What a process measures: the time without imports, and memory with those that it needs, each when it is needed.
IMPORTS = """
import json, resource
import lyra.tokenization_lyra, datasets, lyra.data.preparation
print(json.dumps({"imports_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""
PREPARE = """
import json, resource, sys, time
from lyra.data.arguments import DataArguments
from lyra.data.preparation import check, encode
start = time.perf_counter()
data = check(DataArguments(sys.argv[1]))
seconds = time.perf_counter() - start
import lyra.tokenization_lyra, datasets
start = time.perf_counter()
data = encode(data)
seconds += time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "peak_mb": peak, "rows": len(data.sequences["train"])}))
"""
LOAD = """
import json, sys, tempfile, time
import torch
from lyra.data.arguments import DataArguments
from lyra.data.preparation import prepare
from lyra.training.arguments import ModelArguments
from lyra.training.model import build_model
from lyra.training.trainer import LyraTrainingArguments, build_trainer
torch.set_num_threads(1)
data, steps = prepare(DataArguments(sys.argv[1])), int(sys.argv[2])
args = LyraTrainingArguments(tempfile.mkdtemp(), use_cpu=True, num_train_epochs=1, metric_for_best_model="spearman")
model = build_model(ModelArguments(), data, lambda head, config: head(config), None).train()
start = time.perf_counter()
batches = iter(build_trainer(data, args, model=model).get_train_dataloader())
batch = next(batches)
first = time.perf_counter() - start
loading = stepping = 0.0
for _ in range(steps):
    start = time.perf_counter()
    batch = next(batches)
    middle = time.perf_counter()
    model(**batch).loss.backward()
    loading, stepping = loading + middle - start, stepping + time.perf_counter() - middle
mean = {"loading_ms": 1000 * loading / steps, "step_ms": 1000 * stepping / steps}
print(json.dumps({"first_batch_seconds": first} | mean))
"""
FIRST_STEP = """
import json, resource, sys, tempfile, time
start = time.perf_counter()
from transformers import Trainer
from lyra.cli import main
take_step = Trainer.training_step
class FirstStep(BaseException): pass
def first_step(*arguments, **named):
    take_step(*arguments, **named)
    raise FirstStep
Trainer.training_step = first_step
try:
    main(["train", sys.argv[1], "--output_dir", tempfile.mkdtemp() + "/model", "--use_cpu"])
except FirstStep:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": time.perf_counter() - start, "peak_mb": peak}))
"""


def simulate(file: Path, rows: int, variants: bool = False) -> None:
    """Writes a table of random proteins, or of variants of one with up to five changes, and numbers."""
    rng, letters = np.random.default_rng(0), np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", "S1")
    wild_type = rng.choice(letters, LENGTH)
    with open(file, "w", encoding="ascii") as out:
        out.write("sequence,label\n")
        for start in range(0, rows, BLOCK):
            count = min(BLOCK, rows - start)
            drawn = rng.choice(letters, (count, LENGTH))
            if variants:
                drawn = np.where(rng.random((count, LENGTH)).argsort().argsort() < 5, drawn, wild_type)
            sequences = drawn.view(f"S{LENGTH}")[:, 0].astype(str)
            labels = np.char.mod("%.4f", rng.normal(size=count))
            out.write("\n".join(map(",".join, zip(sequences, labels, strict=True))) + "\n")


def code_of(commit: str, folder: Path) -> Path:
    """The files of a commit."""
    packed = subprocess.run(["git", "archive", commit, "lyra"], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=BytesIO(packed)) as files:
        files.extractall(folder, filter="data")
    return folder


def measure(program: str, code: Path, *arguments: object) -> dict[str, Any]:
    """What a program says that runs the package in a folder."""
    environment = os.environ | {"PYTHONPATH": str(code), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, env=environment, cwd=code, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(rows: int, before: Path, folder: Path) -> dict[str, dict[str, float]]:
    """Medians of both sides on one table."""
    file = folder / f"{rows}.csv"
    simulate(file, rows)
    found: dict[str, list[dict[str, Any]]] = {"before": [], "now": []}
    for _ in range(ROUNDS):
        for name, code in (("before", before), ("now", ROOT)):
            found[name].append(measure(PREPARE, code, file) | measure(IMPORTS, code))
            print(f"{rows:,} rows, {name}: {found[name][-1]}", flush=True)
    return {name: medians(runs) for name, runs in found.items()}


def medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each number that several processes measured."""
    return {key: statistics.median(each[key] for each in runs) for key in runs[0]}


def grow(sizes: list[int], folder: Path) -> list[dict[str, Any]]:
    """What larger tables take now, and the loading of their batches."""
    found = []
    for rows in sizes:
        file = folder / f"{rows}.csv"
        simulate(file, rows)
        prepared = medians([measure(PREPARE, ROOT, file) for _ in range(ROUNDS)])
        found.append({"table_rows": rows} | prepared | measure(LOAD, ROOT, file, STEPS))
        print(found[-1], flush=True)
        file.unlink()
    return found


def start_training(rows: int, folder: Path) -> dict[str, dict[str, float]]:
    """What `lyra train` takes, imports and linear term included, until its first step is done."""
    found = {}
    for name, variants in (("unrelated proteins", False), ("variants of one protein", True)):
        simulate(folder / "start.csv", rows, variants)
        found[name] = measure(FIRST_STEP, ROOT, folder / "start.csv")
        print(name, found[name], flush=True)
    return found


def report(record: dict[str, Any]) -> str:
    """The page."""
    before, now = record["compared"]["before"], record["compared"]["now"]
    machine = ", ".join(f"{name} {text}" for name, text in record["versions"].items())
    lines = [
        "# Preparing a table",
        "",
        f"A CSV of {record['rows']:,} proteins of {LENGTH} letters, each with a number: read, checked, split and",
        f"encoded. One thread of {record['machine']}; medians of {ROUNDS} processes on each side, in turn; {machine}.",
        "Memory is the most that a process had, its imports included.",
        "",
        "| | seconds | memory, MB | of which imports |",
        "|---|---|---|---|",
        *(
            f"| {name} | {side['seconds']:.1f} | {side['peak_mb']:,.0f} | {side['imports_mb']:,.0f} |"
            for name, side in ((f"before (commit {BEFORE})", before), ("now", now))
        ),
        f"| ratio | {before['seconds'] / now['seconds']:.1f} | {before['peak_mb'] / now['peak_mb']:.1f} | |",
        "",
        "Other tables, now; the last columns are batches of 64 rows in training: the time until the first one is",
        "there, and then that of each one, beside a step of the default model.",
        "",
        "| rows | seconds | memory, MB | first batch, s | loading a batch, ms | step, ms | overhead |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in record["growth"]:
        cells = [f"{each['table_rows']:,}", f"{each['seconds']:.1f}", f"{each['peak_mb']:,.0f}"]
        cells += [f"{each['first_batch_seconds']:.1f}", f"{each['loading_ms']:.1f}", f"{each['step_ms']:.0f}"]
        lines.append(f"| {' | '.join(cells)} | {each['loading_ms'] / each['step_ms']:.1%} |")
    lines += [
        "",
        f"`lyra train` without flags on {record['start_rows']:,} rows, until its first step is done, with imports,",
        "preparation and the choice and fit of the linear term.",
        "",
        "| | seconds | memory, MB |",
        "|---|---|---|",
        *(f"| {name} | {each['seconds']:.1f} | {each['peak_mb']:,.0f} |" for name, each in record["start"].items()),
    ]
    return "\n".join([*lines, "", "Command: `python scripts/benchmarks/preparation.py`.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--growth", type=int, nargs="+", default=[10_000, 2_500_000, 5_000_000, 10_000_000])
    parser.add_argument("--start", type=int, default=100_000, help="rows of the tables that training begins with")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "docs" / "benchmarks")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        compared = compare(arguments.rows, code_of(BEFORE, folder / "before"), folder)
        growth = grow(arguments.growth, folder)
        start = start_training(arguments.start, folder)
    packages = ("torch", "transformers", "datasets", "pyarrow", "numpy")
    record = {
        "rows": arguments.rows,
        "compared": compared,
        "growth": growth,
        "start_rows": arguments.start,
        "start": start,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
    }
    (arguments.output_dir / "preparation.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (arguments.output_dir / "preparation.md").write_text(report(record), encoding="utf-8")
    print(report(record))


if __name__ == "__main__":
    main()
