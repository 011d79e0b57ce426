"""Where does Lyra break? Landscapes of twelve sites that no polynomial of low degree fits.

Each site of a sequence of 40 is the wild type's letter or another one. `sigmoid`: of a sum of effects; `all`: whether
the first k sites are all mutated; `parity`: whether the number of mutations among the first k sites is odd. Where
nothing was learned, the test R2 is 0.
"""

import numpy as np
from learners import cnn, encode, fit, load, lyra, over_seeds, run, save, shown, table, transformer
from matplotlib.figure import Figure

from lyra.alphabet_lyra import AMINO_ACIDS

KINDS = ("sigmoid 1", "all 2", "all 4", "parity 2", "parity 3", "parity 4", "parity 6")
SEEDS, SITES, LENGTH, SIZE = (0,), 12, 40, 3000
MODELS = {"Lyra": lyra, "Transformer": transformer, "CNN": cnn}
STEPS, LEARNING_RATE = 1000, 2e-3


def landscape(kind: str, rng: np.random.Generator, mutated: np.ndarray) -> np.ndarray:
    """Labels of variants, `(n, sites)` booleans."""
    name, order = kind.split()
    first = mutated[:, : int(order)]
    if name == "sigmoid":
        return 1 / (1 + np.exp(-(mutated @ rng.normal(scale=3, size=SITES))))
    return first.all(axis=1).astype(float) if name == "all" else first.sum(axis=1) % 2.0


def work(kind: str, model: str, seed: int, steps: int) -> dict[str, float]:
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    wild, mutant = rng.choice(list(AMINO_ACIDS), LENGTH), rng.choice(list(AMINO_ACIDS), LENGTH)
    sites = rng.permutation(LENGTH)[:SITES]  # in no order, so that those that interact are apart
    mutant[sites] = [rng.choice([b for b in AMINO_ACIDS if b != a]) for a in wild[sites]]
    codes = rng.permutation(2**SITES)  # every variant once, in random order
    mutated = (codes[:, None] >> np.arange(SITES)) % 2 == 1
    rows = []
    for labels, choice in zip(landscape(kind, rng, mutated), mutated, strict=True):
        letters = wild.copy()
        letters[sites[choice]] = mutant[sites[choice]]
        rows.append({"sequence": "".join(letters), "label": float(labels)})
    train, validation, test = encode(rows[:SIZE]), encode(rows[SIZE : SIZE + 500]), encode(rows[SIZE + 500 :])
    return fit(MODELS[model], train, validation, test, steps, LEARNING_RATE, seed)


def report() -> str:
    rows = load("nonpolynomial")
    cells = [[kind, *(shown(rows, "r2", kind=kind, model=model) for model in MODELS)] for kind in KINDS]
    return table(["landscape", *MODELS], cells)


def main() -> None:
    jobs = [
        {"kind": kind, "model": model, "seed": seed, "steps": STEPS}
        for seed in SEEDS
        for kind in KINDS
        for model in MODELS
    ]
    rows = run("nonpolynomial", jobs, work)
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axis = figure.subplots()
    for i, model in enumerate(MODELS):
        means, deviations = zip(*(over_seeds(rows, "r2", kind=kind, model=model) for kind in KINDS), strict=True)
        axis.bar(np.arange(len(KINDS)) + 0.27 * (i - 1), means, 0.25, yerr=deviations, label=model)
    axis.set(xticks=range(len(KINDS)), xticklabels=KINDS, ylabel="test R2")
    axis.legend(loc="upper right")
    save(figure, "nonpolynomial")
    print(report())


if __name__ == "__main__":
    main()
