"""Time and memory of a training step from 1,024 to 65,536 letters, Lyra against a Transformer of its width.

Both read one random DNA sequence; Lyra is the paper's model, the Transformer has two layers and memory-efficient
attention. Every length and model has a process of its own; the least time of at most three steps counts.
"""

import time
from collections.abc import Callable

import torch
from learners import load, lyra, reference_models, run, save, speed, table
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

LENGTHS = (1024, 4096, 16384, 65536)
MODELS = ("Lyra", "Transformer")


def work(model: str, length: int) -> dict[str, float]:
    return speed.in_a_fresh_process(measure, model, length)


def measure(model: str, length: int) -> dict[str, float]:
    """Seconds of a step, and MB beyond the model and its input."""
    paper = lyra(alphabet="dna", num_hidden_layers=1, bidirectional=False)
    step = _step(paper if model == "Lyra" else reference_models.Transformer(21))
    step(torch.randint(3, 7, (1, 64)))  # loads libraries
    ids = torch.randint(3, 7, (1, length))
    seconds: list[float] = []
    with speed.PeakMemory("cpu") as peak:
        while len(seconds) < 3 and sum(seconds) < 60:
            started = time.perf_counter()
            step(ids)
            seconds.append(time.perf_counter() - started)
    return {"seconds": round(min(seconds), 4), "megabytes": round(peak.megabytes, 1)}


def _step(model: torch.nn.Module) -> Callable[[torch.Tensor], None]:
    def step(ids: torch.Tensor) -> None:
        output = model(ids)
        getattr(output, "logits", output).sum().backward()

    return step


def report() -> str:
    values = {(row["model"], row["length"]): row for row in load("length")}
    rows = []
    for length in LENGTHS:
        ours, theirs = (values[model, length] for model in MODELS)
        ratios = [f"{theirs[key] / ours[key]:.1f}" for key in ("seconds", "megabytes")]
        rows.append([f"{length:,}", *(f"{each['seconds']:.3f}" for each in (ours, theirs)), ratios[0]])
        rows[-1] += [*(f"{each['megabytes']:.0f}" for each in (ours, theirs)), ratios[1]]
    return table(["letters", "Lyra, s", "Transformer, s", "ratio", "Lyra, MB", "Transformer, MB", "ratio"], rows)


def main() -> None:
    rows = run("length", [{"model": model, "length": length} for length in LENGTHS for model in MODELS], work)
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for axis, value in zip(figure.subplots(1, 2), ("seconds", "megabytes"), strict=True):
        for model in MODELS:
            axis.plot(LENGTHS, [row[value] for row in rows if row["model"] == model], marker="o", label=model)
        axis.set(xscale="log", yscale="log", xlabel="letters", ylabel=f"{value}, a training step")
        axis.yaxis.set_minor_formatter(NullFormatter())
    figure.axes[0].legend()
    save(figure, "length")
    print(report())


if __name__ == "__main__":
    main()
