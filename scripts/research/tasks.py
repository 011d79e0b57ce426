"""Lyra's default on every table of a folder, beside what users would otherwise take.

    python scripts/research/tasks.py                      all tables, what is not done yet
    python scripts/research/tasks.py rna cas9_hl60        some families and tables
    python scripts/research/tasks.py --table              docs/tasks.md and its plot, from the records

The models are those of `reproduce.py`. The tasks that it describes run as there. Of every other table at most 20,000
training rows are taken, at random, and a model may read 10 million letters in training (`--max_letters`), so that all
of it is affordable on two cores; Lyra's default has no other flag. A record per task goes to `docs/tasks/`; a task that
has one is not run again.
"""

import argparse
import csv
import gzip
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from comparison import TestSet, compare, outcome, read_predictions
from matplotlib.figure import Figure
from reproduce import ROOT, TASKS, folder_of, folds_of, load_task, read_task, run_model

from lyra.errors import InputError

MODELS = {
    "linear": "linear",
    "term": "epistasis",
    "cnn": "CNN",
    "transformer": "Transformer",
    "paper": "Lyra, paper",
    "hybrid": "Lyra, default",
}
BASELINES = ("linear", "term", "cnn", "transformer")
RECORDS = ROOT / "docs" / "tasks"
_MOST_ROWS, _MOST_LETTERS = 20_000, 10_000_000
_FIRST = "the fifteen"  # the family of what reproduce.py describes
_TABLES = "<!-- from here on written by scripts/research/tasks.py --table -->\n\n"
_MARKERS = {"win": "o", "tie": ".", "loss": "x"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="families or tables; by default all")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS), help="by default all")
    parser.add_argument("--data_dir", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the tables")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "reproduce", help="where models are trained")
    parser.add_argument("--table", action="store_true", help="write docs/tasks.md and docs/images/tasks.png")
    arguments = parser.parse_args()
    if arguments.table:
        write_page()
        return 0
    data_dir, runs = arguments.data_dir.resolve(), arguments.runs.resolve()
    try:
        tasks = choose_tasks(arguments.names, data_dir)
    except InputError as error:
        print(f"tasks.py: error: {error}", file=sys.stderr)
        return 2
    failed = []
    for task in tasks:
        if is_done(task, arguments.models):
            continue
        print(f"\n══ {task['name']} ({task['family']})", flush=True)
        try:
            run_task(task, arguments.models, data_dir, runs)
        except InputError as error:
            print(f"tasks.py: error: {error}", file=sys.stderr)
            failed.append(task["name"])
    if failed:
        print(f"tasks.py: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


# ── Tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def choose_tasks(names: list[str], data_dir: Path) -> list[dict[str, Any]]:
    """The tasks of these names or families, as `reproduce.read_task` has them, with their `family`."""
    found = [read_task(file.stem) | {"family": _FIRST} for file in sorted(TASKS.glob("*.yaml"))]
    found += [_task_of_table(file, data_dir) for file in sorted((data_dir / "more").glob("*/*.csv.gz"))]
    if unknown := set(names) - {task[key] for task in found for key in ("name", "family")}:
        raise InputError(f"expected names or families of tables in {data_dir}, got {', '.join(sorted(unknown))}")
    return [task for task in found if not names or task["name"] in names or task["family"] in names]


def _task_of_table(file: Path, data_dir: Path) -> dict[str, Any]:
    name = file.name.removesuffix(".csv.gz")
    return {
        "name": name,
        "family": file.parent.name,
        "data": str(file.relative_to(data_dir)),
        "metric": None,
        "epochs": None,
        "flags": {"max_letters": _MOST_LETTERS},
    }


def _sampled(file: Path, folder: Path) -> Path:
    """The table, or if it is longer one with some of its training rows, written to a folder."""
    with gzip.open(file, "rt", newline="", encoding="utf-8") as source:
        rows = list(csv.DictReader(source))
    train = [i for i, row in enumerate(rows) if row.get("split", "") in ("", "train")]  # without splits: of all
    if len(train) <= _MOST_ROWS:
        return file
    left_out = set(np.random.default_rng(0).permutation(train)[_MOST_ROWS:])
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file.name.removesuffix(".gz")
    with open(target, "w", newline="", encoding="utf-8") as sample:
        writer = csv.DictWriter(sample, rows[0])
        writer.writeheader()
        writer.writerows(row for i, row in enumerate(rows) if i not in left_out)
    return target


# ── Running ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def is_done(task: dict[str, Any], models: list[str]) -> bool:
    """Whether the record of a task has these models; labels of residues have no linear term."""
    record = _recorded(task)
    missing = set(models) - record.get("models", {}).keys()
    return not missing or (missing == {"term"} and record["kind"].startswith("token"))


def _recorded(task: dict[str, Any]) -> dict[str, Any]:
    file = RECORDS / f"{task['name']}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def run_task(task: dict[str, Any], models: list[str], data_dir: Path, runs: Path) -> None:
    """Trains what is not trained, and writes the record of the task; models that it has stay in it."""
    csv.field_size_limit(sys.maxsize)
    if task["family"] != _FIRST:
        task = task | {"data": str(_sampled(data_dir / task["data"], runs / "tables"))}
    folds = folds_of(task)
    data = [load_task(task, fold, data_dir) for fold in folds]
    spec = data[0].task.spec
    task["metric"] = task["metric"] or spec.selected_by
    wanted = [model for model in MODELS if model in models or model in _recorded(task).get("models", {})]
    wanted = [model for model in wanted if model != "term" or not spec.per_token]
    records = {model: run_model(task, model, 1, data_dir, runs) for model in wanted}
    tests = []
    for number, (fold, each) in enumerate(zip(folds, data, strict=True)):
        folders = {model: _folder(runs, task, model, fold) for model in wanted}
        predictions = {model: read_predictions(folder, each.task.names) for model, folder in folders.items()}
        lengths = [len(ids) for ids in each.dataset["test"]["input_ids"]]
        tests.append(TestSet(predictions, each.label_array("test"), lengths if spec.per_token else [1] * len(lengths)))
        for model, found in zip(wanted, tests[-1].scores(task["metric"], spec.kind), strict=True):
            _check(task, model, records[model][number], found)
    record = {
        "task": task["name"],
        "family": task["family"],
        "kind": data[0].task.name,
        "metric": task["metric"],
        "rows": {split: len(data[0].rows[split]) for split in ("train", "validation")}
        | {"test": sum(len(test.sizes) for test in tests)},
        "models": {model: _summary(task["metric"], each) for model, each in records.items()},
        "sources": {key: records[wanted[-1]][0][key] for key in ("data", "versions")},
    }
    if "hybrid" in wanted:
        found = compare(task["metric"], spec.kind, tests, "hybrid")
        record["differences"] = {model: [round(value, 4) for value in each] for model, each in found.items()}
    RECORDS.mkdir(exist_ok=True)
    (RECORDS / f"{task['name']}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(_line(record))


def _folder(runs: Path, task: dict[str, Any], model: str, fold: int | None) -> Path:
    folder = folder_of(task, model, fold, runs)
    return folder if model == "hybrid" else folder / "0"


def _check(task: dict[str, Any], model: str, record: dict[str, Any], found: float) -> None:
    """Raises InputError if the predictions of a run have another score than its record."""
    recorded = record["test"].get(task["metric"], np.nan)
    if abs(np.nan_to_num(found) - np.nan_to_num(recorded)) > 1e-3:
        raise InputError(f"{task['name']}, {model}: its predictions score {found:.4f}, its record says {recorded:.4f}")


def _summary(metric: str, records: list[dict[str, Any]]) -> dict[str, Any]:
    """What the record of a task says of a model; scores are means over the folds, zero where undefined."""
    settings = records[0]["hyperparameters"]
    scores = {s: round(float(np.mean([r[s].get(metric, 0.0) for r in records])), 4) for s in ("validation", "test")}
    return scores | {
        "epochs": settings.get("epochs"),
        "members": len(records[0].get("members", [0])),
        "parameters": records[0]["parameters"],
        "training_seconds": round(sum(record["training_seconds"] for record in records), 1),
    }


# ── The page ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_page() -> None:
    """Writes `docs/tasks.md`, below what people wrote, and its plot."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(RECORDS.glob("*.json"))]
    records = [record for record in found if record.get("differences")]
    file = ROOT / "docs" / "tasks.md"
    text = file.read_text(encoding="utf-8").partition(_TABLES)[0]
    file.write_text(text + _TABLES + report(records), encoding="utf-8")
    plot(records, ROOT / "docs" / "images" / "tasks.png")


def report(records: list[dict[str, Any]]) -> str:
    """The tables of `docs/tasks.md`."""
    published = _published()
    parts = ["## Wins, ties, losses\n\n" + _counts(records)]
    for family in _families(records):
        chosen = [record for record in records if record["family"] == family]
        head = ["task", "metric", "train", "test", *MODELS.values(), "over the best baseline", "published"]
        rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        rows += [f"{_line(record)} {published.get(record['task'], '')} |" for record in chosen]
        parts.append(f"## {family.capitalize().replace('_', ' ')}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _families(records: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys([_FIRST, *sorted(record["family"] for record in records)]))


def _published() -> dict[str, str]:
    """What others report for a table: of ProteinGym's assays on its random folds, which are not our split."""
    published = yaml.safe_load((Path(__file__).parent / "published.yaml").read_text(encoding="utf-8"))
    for file in TASKS.glob("*.yaml"):
        published[file.stem] = ", ".join(
            f"{each['name']} {_value(each['value'])}" for each in read_task(file.stem)["published"]
        )
    with open(Path(__file__).parent / "proteingym.csv", newline="") as assays:
        for row in csv.DictReader(assays):
            shown = (row["onehot_random"], row["npt_random"], row["kermut_random"])
            published[row["assay"]] = "One-Hot {}, ProteinNPT {}, Kermut {}".format(*shown)
    return published


def _value(value: Any) -> str:
    """Of several outputs their mean, as the scores beside it."""
    return f"{np.mean(list(value.values())):.3f}" if isinstance(value, dict) else f"{value:.3f}"


def _line(record: dict[str, Any]) -> str:
    scores = {model: each["test"] for model, each in record["models"].items()}
    best = max(scores, key=lambda model: scores[model])
    shown = {model: f"{value:.3f}" for model, value in scores.items()}
    shown[best] = f"**{shown[best]}**"
    cells = [record["task"], record["metric"], str(record["rows"]["train"]), str(record["rows"]["test"])]
    cells += [shown.get(model, "") for model in MODELS]
    if "differences" in record and (rival := best_baseline(record)):
        value, low, high = record["differences"][rival]
        cells.append(f"{outcome(record['differences'][rival])} {value:+.3f} ({low:+.3f} to {high:+.3f})")
    return "| " + " | ".join(cells) + " |"


def best_baseline(record: dict[str, Any]) -> str | None:
    """The one with the best test score, which favours the baselines."""
    present = [model for model in BASELINES if model in record["models"]]
    return max(present, key=lambda model: record["models"][model]["test"], default=None)


def _counts(records: list[dict[str, Any]]) -> str:
    rows = ["| Lyra's default against | tasks | wins | ties | losses | higher score |", "|---|---|---|---|---|---|"]
    against = {title: model for model, title in MODELS.items() if model != "hybrid"} | {
        "the best of the first four": None
    }
    for title, model in against.items():
        pairs = [record["differences"].get(model or best_baseline(record)) for record in records]
        differences = [each for each in pairs if each is not None]
        counts = Counter(map(outcome, differences))
        higher = sum(value > 0 for value, _, _ in differences)
        shown = [counts["win"], counts["tie"], counts["loss"], higher]
        rows.append(f"| {title} | {len(differences)} | " + " | ".join(map(str, shown)) + " |")
    return "\n".join(rows) + "\n"


def plot(records: list[dict[str, Any]], path: Path) -> None:
    """Each task a mark: the test score of the best baseline against Lyra's, by family and outcome."""
    figure = Figure(figsize=(7.2, 6), layout="constrained")
    axis = figure.subplots()
    for number, family in enumerate(_families(records)):
        for kind, marker in _MARKERS.items():
            points = [
                (record["models"][best_baseline(record)]["test"], record["models"]["hybrid"]["test"])
                for record in records
                if record["family"] == family and outcome(record["differences"][best_baseline(record)]) == kind
            ]
            label = family.replace("_", " ") if kind == "win" else None
            axis.scatter(
                *np.array(points or [(np.nan, np.nan)]).T, marker=marker, color=f"C{number}", s=28, label=label
            )
    low, high = axis.get_xlim()
    axis.plot([low, high], [low, high], color="gray", linewidth=0.8)
    axis.set(xlabel="best baseline, test score", ylabel="Lyra's default, test score")
    axis.set_title("filled: win, small: tie, cross: loss (95 % of a paired bootstrap)", fontsize=10)
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
