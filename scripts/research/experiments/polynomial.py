"""Does Lyra learn multilinear polynomials better than a Transformer or a CNN of its size?

The landscapes are those of `lyra.simulation`: 12 of 40 positions vary, with interactions up to a degree. Selected and
scored (R2) on noiseless fitness, over the degree and the number of training variants.
"""

import numpy as np
from learners import cnn, encode, fit, load, lyra, over_seeds, run, save, shown, table, transformer
from matplotlib.figure import Figure

from lyra.simulation import random_landscape, simulate

DEGREES, SIZES, SEEDS = (1, 3, 5), (1000, 4000, 16000), (0,)
MODELS = {"Lyra": lyra, "Transformer": transformer, "CNN": cnn}
STEPS, LEARNING_RATE = 1000, 2e-3


def work(degree: int, size: int, model: str, seed: int, steps: int) -> dict[str, float]:
    rng = np.random.default_rng([seed, degree])
    rows = simulate(rng, random_landscape(rng, order=degree), 19000)
    for row in rows[16000:]:
        row["label"] = row["fitness"]
    train, validation, test = encode(rows[:size]), encode(rows[16000:17000]), encode(rows[17000:])
    return fit(MODELS[model], train, validation, test, steps, LEARNING_RATE, seed)


def report() -> str:
    rows = load("polynomial")
    header = ["degree", "training variants", *MODELS]
    return table(
        header,
        [
            [degree, size, *(shown(rows, "r2", degree=degree, size=size, model=model) for model in MODELS)]
            for degree in DEGREES
            for size in SIZES
        ],
    )


def main() -> None:
    jobs = [
        {"degree": degree, "size": size, "model": model, "seed": seed, "steps": STEPS}
        for seed in SEEDS
        for degree in DEGREES
        for size in SIZES
        for model in MODELS
    ]
    rows = run("polynomial", jobs, work)
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    for axis, degree in zip(figure.subplots(1, 3, sharey=True), DEGREES, strict=True):
        for model in MODELS:
            means = [over_seeds(rows, "r2", degree=degree, size=size, model=model) for size in SIZES]
            axis.errorbar(SIZES, *zip(*means, strict=True), marker="o", capsize=3, label=model)
        axis.set(xscale="log", xlabel="training variants", title=f"degree {degree}")
    figure.axes[0].set_ylabel("test R2")
    figure.axes[0].legend()
    save(figure, "polynomial")
    print(report())


if __name__ == "__main__":
    main()
