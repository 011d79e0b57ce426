"""PCN beside other taggers, on simulated jets, and what each of its parts is worth.

    pcn simulate -o jets/train.parquet --jets 20000 --seed 1
    pcn simulate -o jets/validation.parquet --jets 4000 --seed 2
    pcn simulate -o jets/test.parquet --jets 10000 --seed 3
    pcn simulate -o jets/qcd.parquet --jets 40000 --seed 4 --classes QCD
    python scripts/research/taggers.py compare      models, three seeds each; the test jets are scored once per seed
    python scripts/research/taggers.py ablation     variants, on a quarter of the jets, by validation only
    python scripts/research/taggers.py --table      the tables of docs/pcn.md, from the records

Every model learns from the same jets for as many epochs (trees: until a tenth of them gets no better) and is selected
by accuracy on the validation jets. A run that has a record is not repeated.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from jet_baselines import ParticleFlowNetwork, SmallParticleNet, fit_trees, table_of

from lyra.errors import InputError
from lyra.files import file_sha256, write_json
from pcn.arguments import JetArguments, PcnArguments
from pcn.inference import score
from pcn.modeling_pcn import PcnForJetClassification
from pcn.training import PcnTrainingArguments, train

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "docs" / "pcn"
CLASSES = ("QCD", "Hbb", "Tbqq", "Wqq")


class Variant(NamedTuple):
    """A network and its settings.

    Attributes:
        preset: of PCN, or of what another network reads.
        overrides: of its config.
        build: the network.
        learning_rate: chosen on validation.
    """

    preset: str = "ours"
    overrides: tuple[str, ...] = ()
    build: Callable[[Any], Any] = PcnForJetClassification
    learning_rate: float = 2e-3


MODELS = {
    "boosted trees": None,
    "PFN": Variant(build=ParticleFlowNetwork),
    "small ParticleNet": Variant(build=SmallParticleNet),
    "PCN, published": Variant("published", learning_rate=1e-3),
    "PCN, ours": Variant(),
}
ABLATION = {
    "ours (K = 4)": Variant(),
    "K = 1": Variant(overrides=("chebyshev_order=1",)),
    "K = 2": Variant(overrides=("chebyshev_order=2",)),
    "K = 16": Variant(overrides=("chebyshev_order=16",)),
    "neighbours by momentum": Variant(overrides=("point_set=momentum",)),
    "7 neighbours": Variant(overrides=("num_neighbors=7",)),
    "mean and maximum": Variant(overrides=('pooling=["mean","max"]',)),
    "maximum": Variant(overrides=('pooling=["max"]',)),
    "no perceptron of particles": Variant(overrides=("embedding_sizes=[]",)),
    "linear read-out": Variant(overrides=("classifier_sizes=[]",)),
    "no norm": Variant(overrides=("layer_norm=false",)),
    "no residual": Variant(overrides=("residual=false",)),
    "edge convolutions": Variant(overrides=("edge_convolutions=true",)),
    "raw16": Variant(overrides=("feature_set=raw16",)),
    "published, invariant16": Variant("published", ("feature_set=invariant16",)),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("compare", "ablation"))
    parser.add_argument("--models", nargs="+", help="by default all")
    parser.add_argument("--seeds", type=int, default=3, help="of the comparison; the ablation has one")
    parser.add_argument("--epochs", type=float, default=10)
    parser.add_argument("--jets", type=Path, default=Path("jets"), help="folder of the simulated jets")
    parser.add_argument("--table", action="store_true", help="print the tables of docs/pcn.md")
    arguments = parser.parse_args()
    if arguments.table:
        print(f"{comparison(read('compare'))}\n{ablation(read('ablation'))}")
        return 0
    if arguments.what is None:
        parser.error("expected compare or ablation")
    known = MODELS if arguments.what == "compare" else ABLATION
    seeds = range(arguments.seeds if arguments.what == "compare" else 1)
    for name in arguments.models or known:
        for seed in seeds:
            file = RECORDS / arguments.what / f"{name.replace(' ', '_').replace(',', '')}_{seed}.json"
            if file.exists():
                continue
            print(f"\n══ {name}, seed {seed}", flush=True)
            try:
                record = run(known[name], arguments.jets, seed, arguments.epochs, arguments.what == "compare")
            except InputError as error:
                print(f"taggers.py: error: {error}", file=sys.stderr)
                return 2
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, {"model": name} | record)
    return 0


def run(variant: Variant | None, folder: Path, seed: int, epochs: float, is_scored: bool) -> dict[str, Any]:
    """A record of validation and, where wanted, test scores."""
    names = ("train", "validation", *(("test", "qcd") if is_scored else ()))
    files = {name: str(folder / f"{name}.parquet") for name in names}
    if missing := [file for file in files.values() if not Path(file).is_file()]:
        raise InputError(f"{missing[0]}: no such file; simulate it first")
    tests = [files["test"], files["qcd"]] if is_scored else []
    if variant is None:
        return run_trees(files, tests, seed)
    jets = JetArguments(validation=[files["validation"]], test=tests or None)
    model = PcnArguments(variant.preset, list(variant.overrides))
    with TemporaryDirectory() as output:
        if not is_scored:
            files["train"] = _quarter(files["train"], Path(output))
        args = PcnTrainingArguments(
            str(Path(output) / "run"), num_train_epochs=epochs, seed=seed, learning_rate=variant.learning_rate
        )
        record = train([files["train"]], jets, model, args, "scripts/research/taggers.py", variant.build)
    kept = ("validation", "test", "n", "parameters", "best_epoch", "training_seconds", "hyperparameters", "versions")
    return {name: record[name] for name in kept if name in record} | {"data": record["data"]}


def _quarter(file: str, folder: Path) -> str:
    """Every fourth jet of a file, for the ablation."""
    table = pq.read_table(file)
    pq.write_table(table.take(list(range(0, len(table), 4))), folder / "quarter.parquet")
    return str(folder / "quarter.parquet")


def run_trees(files: dict[str, str], tests: list[str], seed: int) -> dict[str, Any]:
    tables = {"train": table_of([files["train"]]), "validation": table_of([files["validation"]])}
    trees = fit_trees(tables["train"], tables["validation"], seed)
    scored = {"validation": tables["validation"]} | ({"test": table_of(tests)} if tests else {})
    found = {name: score(trees.predict_proba(x), y, list(CLASSES), "QCD")[0] for name, (x, y) in scored.items()}
    used = [files["train"], files["validation"], *tests]
    data = {"files": [Path(file).name for file in used], "sha256": file_sha256(used)}
    return found | {"n": {"train": len(tables["train"][1])}, "parameters": None, "data": data, "seed": seed}


# ── Tables ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def read(what: str) -> dict[str, list[dict[str, Any]]]:
    """The records by model."""
    found: dict[str, list[dict[str, Any]]] = {}
    for file in sorted((RECORDS / what).glob("*.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        found.setdefault(record["model"], []).append(record)
    return found


def comparison(records: dict[str, list[dict[str, Any]]]) -> str:
    head = ["model", "parameters", "seeds", "balanced accuracy", "AUC (one against one)"]
    head += ["QCD rejection at 50 %: Hbb", "Tbqq", "Wqq"]
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name in (name for name in MODELS if name in records):
        each = records[name]
        parameters = each[0]["parameters"]
        cells = [name, f"{parameters:,}" if parameters else "", str(len(each))]
        cells += [_spread([r["test"]["scores"][key] for r in each]) for key in ("balanced_accuracy", "auc_ovo")]
        cells += [_rejection(each, signal) for signal in ("Hbb", "Tbqq", "Wqq")]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _rejection(records: list[dict[str, Any]], signal: str) -> str:
    rows = [
        row for r in records for row in r["test"]["rejections"] if row["signal"] == signal and row["efficiency"] == 0.5
    ]
    if any("bound" in row for row in rows):
        return f"> {min(row.get('bound', row.get('rejection')) for row in rows):,.0f}"
    return f"{np.mean([row['rejection'] for row in rows]):,.1f}"


def ablation(records: dict[str, list[dict[str, Any]]]) -> str:
    rows = ["| variant | parameters | validation accuracy |", "|---|---|---|"]
    for name in (name for name in ABLATION if name in records):
        record = records[name][0]
        rows.append(f"| {name} | {record['parameters']:,} | {record['validation']['scores']['accuracy']:.4f} |")
    return "\n".join(rows) + "\n"


def _spread(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}"


if __name__ == "__main__":
    sys.exit(main())
