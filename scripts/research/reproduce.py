"""Trains and scores Lyra and its baselines on the paper's tasks, by the code behind `lyra train`.

    python scripts/research/reproduce.py gfp_relso                  all models, three seeds each
    python scripts/research/reproduce.py gfp_relso --recipe paper   one row of its table
    python scripts/research/reproduce.py --table                    docs/results.md from the records

A task is a file in `scripts/research/tasks/`. Every model learns from the same rows, is selected on the validation
split and scores the test split once per seed; epochs are as many as `lyra train` would choose. A run that was
interrupted continues, one that is finished is not repeated. `--record` puts the scores into
`docs/results/<task>.json`, from which the tables are made.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from baselines import BUILDS, FITS, run_fit

from lyra.cli.flags import instance
from lyra.data import DataArguments, Prepared, prepare
from lyra.errors import InputError
from lyra.hub import example_sequences, model_card
from lyra.hub.card import SCORED_ONCE
from lyra.hub.code import LICENSE
from lyra.inference import load_model
from lyra.inference.logits import logits_of_split, to_items
from lyra.recipes import RECIPES
from lyra.scoring import compute_metrics
from lyra.training import LyraTrainingArguments, ModelArguments, train
from lyra.training.record import plot_calibration, plot_test

ROOT = Path(__file__).parents[2]
TASKS = Path(__file__).parent / "tasks"
RECORDS = ROOT / "docs" / "results"
_BASELINE = {"preset": "paper", "linear_term": "none", "learning_rate": 1e-3, "label_transform": "rank"}
MODELS: dict[str, dict[str, Any]] = {
    "linear": {},
    "term": {},
    "cnn": _BASELINE | {"config_overrides": ["hidden_size=64"]},
    "transformer": _BASELINE | {"config_overrides": ["hidden_size=48"]},
    **RECIPES,
}
_TITLES = {
    "linear": "linear",
    "term": "linear term alone",
    "cnn": "CNN",
    "transformer": "Transformer",
    "paper": "Lyra, paper's recipe",
    "bidirectional": "Lyra, bidirectional recipe",
    "ensemble": "Lyra, bidirectional, ensemble",
    "hybrid": "Lyra, default",
}
_SHORT = ("linear", "cnn", "transformer", "paper", "hybrid")  # of the README
_ENSEMBLES = {"bidirectional": "ensemble"}  # whose seeds are members, and its name
_KEPT = ("validation", "test", "n", "parameters", "best_epoch", "training_seconds", "seconds_per_1000_predictions")
_ONLY_LYRA = ("linear_term", "members")
_TABLES = "<!-- from here on written by scripts/research/reproduce.py --table -->\n\n"
_INCIDENTAL = ("data", "disable_tqdm", "ensemble")  # what does not change a run's numbers
_OPEN = {*DataArguments.__dataclass_fields__, "max_letters"}  # flags of a task that the default may have
_SOURCES = ("data", "hyperparameters", "versions", "command")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="?", help="a file of scripts/research/tasks without its ending")
    parser.add_argument("--recipe", choices=list(MODELS), help="by default all")
    parser.add_argument("--seeds", type=int, default=3, help="models per recipe, of seeds 0, 1, ...")
    parser.add_argument("--data_dir", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the tables")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "reproduce", help="where models are trained")
    parser.add_argument("--record", action="store_true", help="write docs/results/<task>.json")
    parser.add_argument(
        "--release", action="store_true", help="copy the checkpoint of the default to model_cards/<task>"
    )
    parser.add_argument("--card", action="store_true", help="only write the card and plots of model_cards/<task> anew")
    parser.add_argument("--table", action="store_true", help="write docs/results.md, print the README's table")
    arguments = parser.parse_args()
    try:
        if arguments.table:
            file = ROOT / "docs" / "results.md"
            text = file.read_text(encoding="utf-8").partition(_TABLES)[0]  # what people wrote stays
            file.write_text(text + _TABLES + report(), encoding="utf-8")
            print(short_table(), end="")
            return 0
        task = read_task(arguments.task)
        if arguments.card:
            write_card(task, arguments.data_dir)
            return 0
        if arguments.seeds < 1:
            raise InputError(f"--seeds: expected at least 1, got {arguments.seeds}")
        records, models = [], [arguments.recipe] if arguments.recipe else models_of(task, arguments.data_dir)
        for model in models:
            records += run_model(task, model, arguments.seeds, arguments.data_dir, arguments.runs)
        if arguments.record:
            write_records(task, records)
        if arguments.release:
            release(task, arguments.runs, arguments.data_dir)
    except InputError as error:
        print(f"reproduce.py: error: {error}", file=sys.stderr)
        return 2
    print(f"\n{task['title']}\n\n{task_table(task, records)}")
    return 0


def read_task(name: str | None) -> dict[str, Any]:
    """A file of `scripts/research/tasks/` with its name.

    Raises:
        InputError: if there is none of that name.
    """
    known = sorted(file.stem for file in TASKS.glob("*.yaml"))
    if name not in known:
        raise InputError(f"expected a task among {', '.join(known)}, got {name!r}")
    usual = {"name": name, "flags": {}, "epochs": None, "published": [], "test_use": SCORED_ONCE}
    return usual | yaml.safe_load((TASKS / f"{name}.yaml").read_text())


# ── Running ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def run_model(task: dict[str, Any], model: str, seeds: int, data_dir: Path, runs: Path) -> list[dict[str, Any]]:
    """Trains what is not yet trained; returns a record per seed and fold, and one per ensemble."""
    records = []
    for fold in folds_of(task):
        folder = folder_of(task, model, fold, runs)
        common = flags_of(task, model, data_dir, fold)
        if model in _ENSEMBLES:
            records += _run_ensemble(task, model, common, seeds, folder, fold)
            continue
        if model == "hybrid":
            record = run_seed(task, model, common, folder)
            records.append({"model": model, "seed": record["hyperparameters"]["seed"], "fold": fold} | record)
            continue
        for seed in range(1 if model in FITS else seeds):  # a linear model has one solution
            record = run_seed(task, model, common | {"seed": seed}, folder / str(seed))
            records.append({"model": model, "seed": seed, "fold": fold} | record)
    return records


def models_of(task: dict[str, Any], data_dir: Path) -> list[str]:
    """All models, for labels of residues without the linear term."""
    (fold, *_) = folds_of(task)
    return [model for model in MODELS if model != "term" or not load_task(task, fold, data_dir).task.per_token]


def load_task(task: dict[str, Any], fold: int | None, data_dir: Path) -> Prepared:
    """The data of a task, or of one of its folds."""
    return prepare(instance(DataArguments, flags_of(task, "hybrid", data_dir, fold)))


def folds_of(task: dict[str, Any]) -> list[int | None]:
    """The folds that are the test split in turn, or one run on the task's own split."""
    folds = task["flags"].get("folds")
    return list(range(1, folds + 1)) if folds else [None]


def folder_of(task: dict[str, Any], model: str, fold: int | None, runs: Path) -> Path:
    """Where a model is trained; its seeds, where there may be several, are folders inside."""
    return runs / task["name"] / model / (f"fold{fold}" if fold else "all")


def flags_of(task: dict[str, Any], model: str, data_dir: Path, fold: int | None = None) -> dict[str, Any]:
    """The flags of a run: of the default those that say what the table means, and no other."""
    common = {"data": str(data_dir / task["data"]), "disable_tqdm": not sys.stderr.isatty()} | MODELS[model]
    common |= {"fold": fold} if fold else {}
    if model == "hybrid":
        return common | {name: value for name, value in task["flags"].items() if name in _OPEN}
    own = {"num_train_epochs": task["epochs"], "metric_for_best_model": task["metric"], "ensemble": 1}
    return common | own | task["flags"]


def _run_ensemble(
    task: dict[str, Any], model: str, common: dict[str, Any], seeds: int, folder: Path, fold: int | None
) -> list[dict[str, Any]]:
    whole = run_seed(task, model, common | {"seed": 0, "ensemble": seeds}, folder)
    trained = sum(1 for _ in (folder / "members").glob("*/metrics.json")) or 1
    if trained != seeds:
        raise InputError(f"{folder}: holds {trained} seeds, --seeds is {seeds}; give {trained}, or another --runs")
    if seeds == 1:
        return [{"model": model, "seed": 0, "fold": fold} | whole]
    members = [json.loads((folder / "members" / str(seed) / "metrics.json").read_text()) for seed in range(seeds)]
    singles = [{"model": model, "seed": seed, "fold": fold} | _trimmed(m) for seed, m in enumerate(members)]
    return [*singles, {"model": _ENSEMBLES[model], "seed": 0, "fold": fold} | whole]


def run_seed(task: dict[str, Any], model: str, flags: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The record of one run, trained if its folder has none; an ensemble grows to the members wanted.

    Raises:
        InputError: if the folder holds a run with other flags.
    """
    file, settings_file = folder / "metrics.json", folder.with_suffix(".json")
    settings = {k: v for k, v in flags.items() if k not in _INCIDENTAL} | {"data": Path(task["data"]).name}
    if settings_file.exists() and json.loads(settings_file.read_text()) != settings:
        raise InputError(f"{settings_file}: the run beside it has other settings; remove both, or give another --runs")
    folder.parent.mkdir(parents=True, exist_ok=True)
    settings_file.write_text(json.dumps(settings))
    if not file.exists() or len(json.loads(file.read_text()).get("members", ())) < flags.get("ensemble", 1) > 1:
        print(f"\n── {task['name']}, {model}, {folder.relative_to(folder.parents[1])}", flush=True)
        resume = any(folder.glob("checkpoints/checkpoint-*")) or (folder / "members").is_dir()
        given = flags | {"output_dir": str(folder), "resume": resume}
        data_args, model_args, args = (
            instance(each, given) for each in (DataArguments, ModelArguments, LyraTrainingArguments)
        )
        command = f"python scripts/research/reproduce.py {task['name']} --recipe {model}"
        if model in FITS:
            run_fit(model, data_args, task["metric"], flags["seed"], folder, command)
        elif model in BUILDS:
            train(data_args, model_args, args, command, BUILDS[model])
        else:
            train(data_args, model_args, args, command)
    return _trimmed(json.loads(file.read_text()))


def _trimmed(record: dict[str, Any]) -> dict[str, Any]:
    """What of a run's record a table, and who wants to repeat it, needs."""
    kept = {key: record[key] for key in (*_KEPT, *_ONLY_LYRA, *_SOURCES) if key in record}
    kept["data"] = {key: record["data"][key] for key in ("name", "sha256")}
    return kept


def write_records(task: dict[str, Any], records: list[dict[str, Any]]) -> None:
    """Merges records into those of the task, a newer one over an older one of the same model, seed and fold."""
    file = RECORDS / f"{task['name']}.json"
    earlier = json.loads(file.read_text())["records"] if file.exists() else []
    merged = {(r["model"], r["seed"], r["fold"]): r for r in [*earlier, *records]}
    lines = ",\n".join(json.dumps(record) for record in merged.values())
    RECORDS.mkdir(exist_ok=True)
    file.write_text(f'{{"task": "{task["name"]}", "metric": "{task["metric"]}", "records": [\n{lines}\n]}}\n')


# ── Releasing ────────────────────────────────────────────────────────────────────────────────────────────────────────


def release(task: dict[str, Any], runs: Path, data_dir: Path) -> None:
    """Copies the checkpoint of the default to `model_cards/`, of folds the one with the best validation score, with a
    stored prediction and without code."""
    trained = runs / task["name"] / "hybrid"
    files = [*trained.glob("*/metrics.json")]
    records = {file.parent: json.loads(file.read_text()) for file in files}
    if not records:
        raise InputError(f"--release: no trained models of the default recipe in {runs / task['name']}")
    folder = max(records, key=lambda each: records[each]["validation"][task["metric"]])
    target = ROOT / "model_cards" / task["name"]
    shutil.rmtree(target, ignore_errors=True)
    model, tokenizer = load_model(str(folder))
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    shutil.copymode(target / "config.json", target / "model.safetensors")  # safetensors writes for the owner only
    for code in target.glob("*.py"):  # which `make artifacts` and `lyra publish` add
        code.unlink()
    shutil.copy(folder / "metrics.json", target)
    sequences = example_sequences(tokenizer.alphabet, tokenizer.pair_offset, model.config.linear_length)
    with torch.no_grad():
        logits = model(**tokenizer(*sequences, return_tensors="pt")).logits[0]
    example = {"sequences": sequences, "logits": logits.tolist()}
    (target / "example.json").write_text(json.dumps(example | _machine(), indent=2) + "\n")
    write_card(task, data_dir)


def write_card(task: dict[str, Any], data_dir: Path) -> None:
    """Writes the card of a released checkpoint, with plots of its predictions for the test rows.

    Nothing of the data goes along: no predictions, and a generated sequence in the example.

    Raises:
        InputError: if the checkpoint has another test score than its record.
    """
    target = ROOT / "model_cards" / task["name"]
    record = json.loads((target / "metrics.json").read_text())
    model, tokenizer = load_model(str(target))
    fold = next((fold for fold in folds_of(task) if fold and _is_fold(record, fold)), None)
    data = load_task(task, fold, data_dir)
    logits = to_items(logits_of_split(model, data, "test").logits)
    scores = compute_metrics(data.task.kind, logits, data.label_array("test"), data.task.names)
    if abs(scores[task["metric"]] - record["test"][task["metric"]]) > 1e-4:
        raise InputError(f"{target}: test {task['metric']} {scores[task['metric']]}, its record says otherwise")
    shutil.rmtree(target / "plots", ignore_errors=True)
    (target / "plots").mkdir()
    plot = plot_test(target / "plots", data, logits, record)
    reliability = plot_calibration(target / "plots", data.task.kind, record)
    example = example_sequences(tokenizer.alphabet, tokenizer.pair_offset, model.config.linear_length)
    plots = plot and f"plots/{plot}", reliability
    card = model_card(record, task["name"], type(model).__name__, example, *plots, test_use=task["test_use"])
    card.data.license = LICENSE
    card.save(target / "README.md")


def _is_fold(record: dict[str, Any], fold: int) -> bool:
    return any(f"test is fold {fold} of" in note for note in record["data"]["notes"])


def _machine() -> dict[str, str]:
    """What the last bits of a prediction depend on."""
    return {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}


# ── Tables ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def task_table(task: dict[str, Any], records: list[dict[str, Any]]) -> str:
    """The table of one task: a row per model, mean and standard deviation over seeds (of folds the mean of each)."""
    metric = task["metric"]
    head = (
        f"model, validation {metric}, test {metric}, models, epochs, parameters, training in s, 1000 predictions in s"
    )
    rows = [f"| {head.replace(', ', ' | ')} |", "|---" * 8 + "|"]
    for model, chosen in _by_model(records).items():
        first, seeds = chosen[0], len({record["seed"] for record in chosen})
        cells = [_TITLES[model], *(mean_and_spread(chosen, split, metric) for split in ("validation", "test"))]
        cells.append(f"{len(first['members'])} in one" if "members" in first else str(seeds))
        epochs = first["hyperparameters"].get("epochs")  # of a linear model none
        cells += ["" if epochs is None else f"{epochs:g}", f"{first['parameters']:,}"]
        seconds, per_thousand = (float(np.median([record[key] for record in chosen])) for key in _KEPT[-2:])
        rows.append(f"| {' | '.join(cells)} | {seconds:.0f} | {per_thousand:.2f} |")
    return "\n".join(rows)


def by_seed(records: list[dict[str, Any]], split: str, metric: str) -> list[float]:
    """A score of each seed, where there are folds the mean over them."""
    seeds = sorted({record["seed"] for record in records})
    return [float(np.mean([r[split].get(metric, np.nan) for r in records if r["seed"] == seed])) for seed in seeds]


def mean_and_spread(records: list[dict[str, Any]], split: str, metric: str) -> str:
    """As the tables show it, nothing where there are no records."""
    if not records:
        return ""
    scores = by_seed(records, split, metric)
    return f"{np.mean(scores):.3f}" + (f" ± {np.std(scores, ddof=1):.3f}" if len(scores) > 1 else "")


def load_records() -> dict[str, list[dict[str, Any]]]:
    """The records of every task that has some."""
    return {file.stem: json.loads(file.read_text())["records"] for file in sorted(RECORDS.glob("*.json"))}


def _by_model(records: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The records of each model that has some, in the order of the tables."""
    found = {model: [record for record in records if record["model"] == model] for model in _TITLES}
    return {model: chosen for model, chosen in found.items() if chosen}


def report() -> str:
    """The tables of `docs/results.md`, from the tasks and the records alone."""
    loaded = load_records()
    tasks = {name: read_task(name) for name in loaded}
    parts = [summary_table(loaded), "## Task by task\n"]
    for name, records in loaded.items():
        task, n = tasks[name], records[0]["n"]
        parts.append(
            f"### `{name}`\n\n{task['title']}. {n['train']} / {n['validation']} / {n['test']} rows to train, validate, "
            f"test; selected and scored by {task['metric']}. Source: {task['source']}.\n\n"
            f"{task_table(task, records)}\n"
        )
        for entry in task["published"]:
            values = entry["value"]
            shown = ", ".join(f"{k} {v}" for k, v in values.items()) if isinstance(values, dict) else values
            parts.append(f"Published: {entry['name']} {shown} ({entry['note']}).\n")
        if len(task["flags"].get("label_columns", [])) > 1:
            parts.append(f"{_outputs_table(task, records)}\n")
    return "\n".join(parts)


def short_table() -> str:
    """A row for each task with the models of `_SHORT`."""
    rows = [f"| task | metric | {' | '.join(_TITLES[model] for model in _SHORT)} |", "|---" * (2 + len(_SHORT)) + "|"]
    for name, records in load_records().items():
        metric, by_model = read_task(name)["metric"], _by_model(records)
        rows.append(f"| {name} | {metric} | {' | '.join(_cells(by_model, _SHORT, metric))} |")
    return "\n".join(rows) + "\n"


def summary_table(loaded: dict[str, list[dict[str, Any]]]) -> str:
    """Test scores of every task and model; the best in bold."""
    trained = _by_model([record for records in loaded.values() for record in records])
    rows = ["| task | metric | " + " | ".join(_TITLES[model] for model in trained) + " |"]
    rows.append("|---" * (len(trained) + 2) + "|")
    for name, records in loaded.items():
        metric = read_task(name)["metric"]
        cells = _cells(_by_model(records), list(trained), metric)
        rows.append(f"| [`{name}`](#{name}) | {metric} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _cells(by_model: dict[str, list[dict[str, Any]]], models: Sequence[str], metric: str) -> list[str]:
    """Test scores of some models, nothing where one was not trained, the best in bold."""
    cells = [mean_and_spread(by_model.get(model, []), "test", metric) for model in models]
    means = [np.mean(by_seed(by_model[model], "test", metric)) if model in by_model else -np.inf for model in models]
    best = int(np.argmax(means))
    cells[best] = f"**{cells[best]}**"
    return cells


def _outputs_table(task: dict[str, Any], records: list[dict[str, Any]]) -> str:
    """Test scores of each output of a multi-label task."""
    columns, metric = task["flags"]["label_columns"], task["metric"]
    rows = [f"| test {metric} | " + " | ".join(c.removeprefix("label_") for c in columns) + " |"]
    rows.append("|---" * (len(columns) + 1) + "|")
    for model, chosen in _by_model(records).items():
        cells = [mean_and_spread(chosen, "test", f"{column}_{metric}") for column in columns]
        rows.append(f"| {_TITLES[model]} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
