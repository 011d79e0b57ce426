"""Time and memory of a training step from 1,024 to 65,536 letters, Lyra against a Transformer of its width.

Both read one random DNA sequence; the Transformer has two layers and memory-efficient attention. Each length and model
runs in a process of its own, so that the highest memory is its own; the least of three steps counts.
"""

import resource
import subprocess
import sys
import time

import torch
from learners import lyra, run, save
from matplotlib.figure import Figure
from reference_models import Transformer

LENGTHS = (1024, 4096, 16384, 65536)
MODELS = ("Lyra", "Transformer")


def measure(model: str, length: int) -> tuple[float, float]:
    """Seconds of a step and MB above those of the loaded libraries."""
    torch.manual_seed(0)
    ids = torch.randint(3, 7, (1, length))
    module = lyra(alphabet="dna", num_hidden_layers=1, bidirectional=False) if model == "Lyra" else Transformer(21)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        output = module(ids)
        (output.logits if model == "Lyra" else output).sum().backward()
        seconds.append(time.perf_counter() - started)
        if sum(seconds) > 60:
            break
    return min(seconds), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def work(model: str, length: int) -> dict[str, float]:
    printed = subprocess.run(
        [sys.executable, __file__, model, str(length)], capture_output=True, text=True, check=True
    ).stdout
    seconds, megabytes = map(float, printed.split()[-2:])
    return {"seconds": round(seconds, 4), "megabytes": round(megabytes, 1)}


def main() -> None:
    if len(sys.argv) == 3:
        print(*measure(sys.argv[1], int(sys.argv[2])))
        return
    rows = run("length", [{"model": model, "length": length} for length in LENGTHS for model in MODELS], work)
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for axis, value in zip(figure.subplots(1, 2), ("seconds", "megabytes"), strict=True):
        for model in MODELS:
            axis.plot(LENGTHS, [row[value] for row in rows if row["model"] == model], marker="o", label=model)
        axis.set(xscale="log", yscale="log", xlabel="letters", ylabel=f"{value}, a training step")
    figure.axes[0].legend()
    save(figure, "length")


if __name__ == "__main__":
    main()
