"""`lyra train`: a table of sequences and labels to a trained, scored model."""

import argparse
import dataclasses
import json
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..command import recorded
from ..data.arguments import DataArguments
from ..errors import InputError, one_line
from ..metrics import check_selection
from ..recipes import RECIPES
from ..training.arguments import ModelArguments, TrainingDefaults, check_arguments, parse_overrides
from ..training.checkpoints import check_output
from . import is_first_of_machine, is_main_process, quiet_loading
from .flags import add_fields, add_training_flags, instance
from .sources import config_fields, training_fields

HELP = "train a model on a table of sequences and labels"
EXAMPLE = "lyra train table.csv --output_dir my_model --num_train_epochs 30"
RESUMABLE = True


_CONFIGS = (".yaml", ".yml", ".json")
_NO_FLAGS = ("verb", "run", "parser", "debug", "argv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "lyra train TABLE --output_dir DIR [flags]"
    parser.add_argument(
        "data",
        nargs="?",
        help="CSV, TSV, JSONL, Parquet, XLSX or FASTA table, each also .gz; folder of split files; Hub id; or a YAML "
        "or JSON file of flags, those on the command line take precedence",
    )
    suppressed: Any = {"default": argparse.SUPPRESS}
    parser.add_argument("--output_dir", metavar="DIR", help="a new folder for the model", **suppressed)
    parser.add_argument("--output-dir", dest="output_dir", **suppressed | {"help": argparse.SUPPRESS})
    parser.add_argument(
        "--recipe",
        choices=list(RECIPES),
        help="preset training settings; other flags override them. Default: hybrid.",
        **suppressed,
    )
    parser.add_argument("--data", dest="data_flag", **suppressed | {"help": argparse.SUPPRESS})
    add_fields(parser.add_argument_group("data"), DataArguments, skip=("data",))
    add_fields(parser.add_argument_group("model"), ModelArguments)
    add_fields(parser.add_argument_group("training"), TrainingDefaults)
    skip = {"output_dir", "debug", *(field.name for field in dataclasses.fields(TrainingDefaults))}
    others = "Fields of transformers' TrainingArguments, whose documentation describes them: "
    others += ", ".join(f"--{name}" for name in training_fields() if name not in skip)
    add_training_flags(parser.add_argument_group("other Trainer arguments", others), skip)


def run(arguments: argparse.Namespace) -> None:
    run_with(arguments, _train)


def _train(*args: Any, **kwargs: Any) -> dict[str, Any]:
    from ..training import train  # late, because torch takes seconds

    return train(*args, **kwargs)


def run_with(arguments: argparse.Namespace, job: Callable[..., dict[str, Any]]) -> None:
    """Runs a job that takes what [`lyra.training.train`] takes."""
    given = _with_recipe(given_flags(arguments))
    if "output_dir" not in given:
        raise InputError("--output_dir DIR is missing")
    if "data" not in given:
        raise InputError("the table is missing, as in `lyra train table.csv --output_dir DIR`")
    data_args, model_args = instance(DataArguments, given), instance(ModelArguments, given)
    check_arguments(given)
    parse_overrides(given.get("config_overrides", []), config_fields())
    if is_main_process():
        resume, resume_from = given.get("resume", False), given.get("resume_from_checkpoint")
        overwrite = given.get("overwrite_output_dir", False)
        check_output(Path(given["output_dir"]), resume, resume_from, overwrite)
    from ..data.preparation import check

    data = check(data_args) if is_first_of_machine() else None  # the others get it from that one
    if data is not None and (chosen := given.get("metric_for_best_model")):
        check_selection(chosen, data.task)
    quiet_loading()
    from ..training import LyraTrainingArguments

    try:
        args = instance(LyraTrainingArguments, given)
    except (ValueError, ImportError) as error:
        raise InputError(one_line(error)) from None
    command = shlex.join(["lyra", arguments.verb, *recorded(arguments.argv)])
    if record := job(data_args, model_args, args, command=command, data=data):
        _print_metrics(record)
        print(f"written: {args.output_dir}")


def given_flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """The flags that the user gave, in a file and on the command line, over those in the file."""
    given = {name: value for name, value in vars(arguments).items() if name not in _NO_FLAGS and value is not None}
    if "data_flag" in given:
        given["data"] = given.pop("data_flag")
    if not str(given.get("data", "")).endswith(_CONFIGS):
        return given
    path = given.pop("data")
    in_file, unknown = arguments.parser.parse_known_args(_config_flags(path))
    if unknown:
        raise InputError(f"{path}: unknown flag {unknown[0].split('=')[0].removeprefix('--')!r}")
    if str(in_file.data_flag if "data_flag" in in_file else "").endswith(_CONFIGS):
        raise InputError(f"{path}: expected a table as `data`, got {in_file.data_flag!r}")
    return given_flags(in_file) | given


def _with_recipe(given: dict[str, Any]) -> dict[str, Any]:
    """The flags with those of the recipe that the user did not give; `config_overrides` add to the recipe's."""
    recipe = dict(RECIPES[given.pop("recipe", "hybrid")])
    overrides = [*recipe.pop("config_overrides", []), *given.get("config_overrides", [])]
    if overrides and "model_name_or_path" not in given:
        given["config_overrides"] = overrides
    return recipe | given


def _config_flags(path: str) -> list[str]:
    """The flags in a YAML or JSON file."""
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))  # JSON is YAML
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not a readable YAML or JSON file ({one_line(error)})") from None
    if not isinstance(values, dict):
        raise InputError(
            f"{path}: expected flags and their values, got {type(values).__name__}; a table ends in .jsonl"
        )
    if "help" in values:
        raise InputError(f"{path}: unknown flag 'help'")
    return _as_flags(values)


def _as_flags(values: dict[str, Any]) -> list[str]:
    """Flags and their values as on the command line."""
    flags = []
    for name, value in values.items():
        if value is None:
            continue
        if name == "config_overrides" and isinstance(value, dict):
            value = [f"{field}={json.dumps(setting)}" for field, setting in value.items()]
        elif isinstance(value, dict):
            value = json.dumps(value)
        flags += [f"--{name}", *map(str, value)] if isinstance(value, list) else [f"--{name}={value}"]
    return flags


def _print_metrics(record: dict[str, Any]) -> None:
    chosen = f"epoch {record['best_epoch']:g}" if "best_epoch" in record else f"{len(record['members'])} members"
    print(f"\nselected by validation {record['selected_by']}, {chosen}")
    from ..hub.card import score_columns

    columns = score_columns(record)
    names = list(dict.fromkeys(name for scores in columns.values() for name in scores))
    width = max(map(len, names), default=0)
    print("  ".join([" " * width, *(f"{title:>10}" for title in columns)]))
    for name in names:
        cells = ["-" if scores.get(name) is None else f"{scores[name]:.4f}" for scores in columns.values()]
        aligned = (f"{cell:>{max(10, len(title))}}" for cell, title in zip(cells, columns, strict=True))
        print("  ".join([f"{name:{width}}", *aligned]))
    if term := record.get("linear_term"):
        key = record["selected_by"]
        splits = [split for split in ("validation", "test") if split in term]
        alone = ", ".join(f"{split} {key} {term[split].get(key, math.nan):.4f}" for split in splits)
        print(f"linear term alone: {alone}; weight of the network beside it: {term['network_share']}")
    if "coverage" in (found := record.get("calibration") or {}):
        kind, of = ("intervals", f"{found['width']:.2f} standard deviations wide") if "width" in found else ("sets", "")
        of = of or f"{found['size']:.2f} values on average"
        print(f"{found['level']:.0%} {kind}: hold {found['coverage']:.1%} of the test labels, {of}")
    for warning in record.get("warnings", []):
        print(f"warning: {warning}")
