"""Motifs of 6 to 10 letters planted at random places: are they found again by what a model has learned?

4,000 random sequences of 100 letters hold each motif or not; the label is the sum of their effects and noise. The
default of `lyra train` with `--max_letters 8e6` learns from them, `lyra explain` explains 1,000, and of each motif the
share is counted of the sequences that hold it in which a hit covers at least half of its place.

    python scripts/research/experiments/motifs.py
"""

import argparse
import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from learners import DOCS, ROOT, load, run, table

from lyra.cli import main as lyra
from lyra.simulation import PlantedMotif, simulate_motifs

MOTIFS = [PlantedMotif("TGACTC", 1.0), PlantedMotif("CACGTGGA", -1.5), PlantedMotif("GATAAGCTAC", 2.0)]
SEEDS, ROWS = (0, 1, 2), 4000
FLAGS = ["--max_letters", "8e6", "--disable_tqdm", "true", "--resume"]

Hit = tuple[int, int]


def work(seed: int, folder: Path) -> dict[str, Any]:
    """What is found again of each motif, and of how many hits there is none."""
    folder = folder / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = simulate_motifs(np.random.default_rng(seed), MOTIFS, ROWS)
    with open(folder / "table.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["sequence", "label"])
        writer.writerows([row["sequence"], row["label"]] for row in rows)
    if lyra(["train", str(folder / "table.csv"), "--output_dir", str(folder / "model"), "--seed", str(seed), *FLAGS]):
        raise SystemExit(f"seed {seed}: training failed")
    if lyra(["explain", str(folder / "model"), str(folder / "table.csv"), "-o", str(folder / "learned"), "--resume"]):
        raise SystemExit(f"seed {seed}: explaining failed")
    record = json.loads((folder / "model" / "metrics.json").read_text())
    explained = [int(row["row"]) for row in _read(folder / "learned" / "sequences.csv")]
    hits = _hits(folder / "learned" / "motif_hits.csv")
    result: dict[str, Any] = {"spearman": round(record["test"]["spearman"], 4), "motifs": len(hits)}
    for number, motif in enumerate(MOTIFS):
        there = [(row, start) for row in explained if (start := rows[row - 1]["starts"][number]) >= 0]
        shares = [np.mean([_covers(of_row.get(row, []), start, motif) for row, start in there]) for of_row in hits]
        result[motif.letters] = round(float(max(shares, default=0.0)), 4)
    return result


def _read(file: Path) -> list[dict[str, str]]:
    with open(file, newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _hits(file: Path) -> list[dict[int, list[Hit]]]:
    """Of each motif that was found, its places in each row, from 0, the end not included."""
    found: dict[str, dict[int, list[Hit]]] = {}
    for hit in _read(file):
        place = (int(hit["start"]) - 1, int(hit["end"]))
        found.setdefault(hit["motif"], {}).setdefault(int(hit["row"]), []).append(place)
    return list(found.values())


def _covers(hits: list[Hit], start: int, motif: PlantedMotif) -> bool:
    size = len(motif.letters)
    return any(2 * (min(end, start + size) - max(first, start)) >= size for first, end in hits)


def report() -> str:
    rows = load("motifs")
    words = [motif.letters for motif in MOTIFS]
    head = ["seed", "test Spearman", "motifs found", *(f"{word} found again" for word in words)]
    lines = [
        [row["seed"], f"{row['spearman']:.3f}", row["motifs"], *(f"{row[word]:.1%}" for word in words)] for row in rows
    ]
    return table(head, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "motifs", help="where models are trained")
    folder = parser.parse_args().runs
    run("motifs", [{"seed": seed} for seed in SEEDS], lambda seed: work(seed, folder))
    if (plot := folder / str(SEEDS[0]) / "learned" / "motifs.png").exists():
        shutil.copy(plot, DOCS / "motifs.png")
    print(report())


if __name__ == "__main__":
    main()
