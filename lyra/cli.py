"""The command line: `lyra train`, `lyra predict`, `lyra embed`, `lyra publish`, `lyra demo`."""

import argparse
import difflib
import json
import os
import shlex
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from . import __version__
from .recipes import RECIPES
from .runs import Terminated, end_on_sigterm
from .tables import InputError, one_line

_OTHERS_MAY_SPEAK = 2  # seconds
_USAGE = """usage: lyra COMMAND ...

  lyra train TABLE --output_dir DIR       train a model on a table of sequences and labels
  lyra train TABLE --recipe ours ...      the same, with this project's recipe instead of the paper's
  lyra train CONFIG.yaml [--flag ...]     the same, with the flags in a YAML or JSON file
  lyra predict MODEL TABLE -o OUT         add a model's predictions to a table
  lyra embed MODEL TABLE -o OUT           write a model's vectors of a table's sequences
  lyra publish DIR USER/NAME              upload a trained model to the Hugging Face Hub
  lyra demo --output_dir DIR              simulate a landscape, train on it and compare with an additive model

lyra COMMAND --help lists the flags of a command.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code: 0, 2 for bad input with one line on standard error, 130 or 143
    when stopped by Ctrl-C or SIGTERM."""
    argv = list(sys.argv[1:] if argv is None else argv)
    commands = {"train": _train, "predict": _predict, "embed": _embed, "publish": _publish, "demo": _demo}
    if not argv or argv[0] in ("-h", "--help"):
        print(_USAGE, end="")
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"lyra {__version__}")
        return 0
    if argv[0] not in commands:
        print(f"lyra: error: expected a command among {', '.join(commands)}, got {argv[0]!r}", file=sys.stderr)
        return 2
    try:
        end_on_sigterm()
        _quiet_loading()
        commands[argv[0]](argv[1:])
    except InputError as error:
        return _fail(argv[0], str(error))
    except OSError as error:  # a full disk, say, in the middle of the work
        return _fail(argv[0], one_line(error))
    except KeyboardInterrupt as error:
        told = isinstance(error, Terminated)
        what = "told to end (SIGTERM)" if told else "interrupted"
        return _fail(argv[0], what + "; --resume continues" * (argv[0] in ("train", "predict")), 143 if told else 130)
    return 0


def _fail(command: str, message: str, code: int = 2) -> int:
    if rank := _rank():
        # What all processes found, the first one says; its launcher then ends the others.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(_OTHERS_MAY_SPEAK)
        message = f"process {rank}: {message}"
    print(f"lyra {command}: error: {' '.join(message.splitlines())}", file=sys.stderr)
    return code


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _quiet_loading() -> None:
    """Switches off the library's bars and reports of loading one small file, which break up the command's own lines."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    # Of a dimension of size 1, which has no stride.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")


def _train(argv: list[str]) -> None:
    # Here, because predicting needs none of the Trainer and the plots.
    from transformers import HfArgumentParser

    from .data import DataArguments
    from .training import LyraTrainingArguments, ModelArguments, train

    class Parser(HfArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise InputError(message)  # without the usage of some two hundred flags

    flags = list(argv)
    if flags and flags[0].endswith((".yaml", ".yml", ".json")):
        flags = _config_flags(flags[0]) + flags[1:]
    elif flags and not flags[0].startswith("-"):
        flags = ["--data", *flags]
    flags = _recipe_flags(flags)
    parser = Parser(
        (DataArguments, ModelArguments, LyraTrainingArguments),  # type: ignore[arg-type]
        prog="lyra train",
        allow_abbrev=False,
    )
    _add_recipe(parser)
    if not any(flag.split("=")[0] in ("--output_dir", "--output-dir") for flag in flags) and not {"-h", "--help"} & set(
        flags
    ):
        raise InputError("--output_dir DIR is missing")
    try:
        data_args, model_args, args, _, unknown = parser.parse_args_into_dataclasses(
            flags, return_remaining_strings=True
        )
    except (ValueError, ImportError) as error:
        raise InputError(one_line(error)) from None
    if unknown:
        known = [option for action in parser._actions for option in action.option_strings]
        close = difflib.get_close_matches(unknown[0].split("=")[0], known, n=1)
        raise InputError(f"unknown argument {unknown[0]!r}" + (f"; did you mean {close[0]}?" if close else ""))
    record = train(data_args, model_args, args, command=shlex.join(["lyra", "train", *_recorded(argv)]))
    if record:
        _print_metrics(record)
        print(f"written: {args.output_dir}")


def _recorded(argv: list[str]) -> list[str]:
    """The arguments as the record has them, which may be published: without tokens, and of an absolute path only the
    last part."""
    shown: list[str] = []
    for argument in argv:
        flag, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        if (shown and shown[-1].endswith("token")) or (equals and flag.endswith("token")):
            value = "..."
        shown.append(flag + equals + (Path(value).name if os.path.isabs(value) else value))
    return shown


def _predict(argv: list[str]) -> None:
    from .inference import predict

    parser = _table_parser("lyra predict", "Adds a model's predictions to a table.")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted prediction")
    arguments = parser.parse_args(argv)
    rows = predict(**vars(arguments))
    if _rank() == 0:
        print(f"written: {arguments.output}, {rows} rows")


def _embed(argv: list[str]) -> None:
    from .inference import embed

    parser = _table_parser("lyra embed", "Writes a model's vectors of a table's sequences.")
    parser.add_argument(
        "--vectors", choices=("mean", "residue"), default="mean", help="one per sequence or per residue"
    )
    arguments = parser.parse_args(argv)
    rows = embed(**vars(arguments))
    print(f"written: {arguments.output}, {rows} sequences")


def _publish(argv: list[str]) -> None:
    from .hub import publish

    parser = _Parser(prog="lyra publish", description="Checks a trained model and uploads it.", allow_abbrev=False)
    parser.add_argument("folder", help="what lyra train wrote")
    parser.add_argument("repo_id", metavar="user/name", help="repository on the Hub")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--commit_message", default="A model by lyra")
    parser.add_argument("--dry_run", action="store_true", help="check, and list what would be uploaded")
    publish(**vars(parser.parse_args(argv)))


def _demo(argv: list[str]) -> None:
    from .demo import demo

    parser = _Parser(prog="lyra demo", description="Simulates a landscape, trains on it and predicts.")
    parser.add_argument("--output_dir", required=True, help="a new folder")
    demo(Path(parser.parse_args(argv).output_dir))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def _table_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """The flags that `predict` and `embed` share, under the names of their parameters."""
    parser = _Parser(prog=prog, description=description, allow_abbrev=False)
    parser.add_argument("model_name", metavar="model", help="checkpoint folder or Hub id")
    parser.add_argument(
        "source", metavar="input", help="table of sequences: CSV, TSV, JSONL, Parquet or FASTA, also .gz"
    )
    parser.add_argument("-o", "--output", required=True, help="file to write, in the format of its suffix")
    parser.add_argument("--sequence_column", help="column of sequences; found by its name")
    parser.add_argument("--pair_column", help="second sequences of a model of pairs; found by its name")
    parser.add_argument("--unknown", choices=("error", "token"), default="error", help="letters outside the alphabet")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; the GPU where there is one")
    parser.add_argument("--revision", help="of a Hub repository")
    return parser


def _recipe_flags(flags: list[str]) -> list[str]:
    """The flags with those of `--recipe`, so that what the user says himself counts."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    _add_recipe(parser)
    parser.add_argument("--config_overrides", "--config-overrides", nargs="+", default=[])
    parser.add_argument("--model_name_or_path", "--model-name-or-path")
    chosen, _ = parser.parse_known_args(flags)
    recipe = dict(RECIPES[chosen.recipe])
    overrides = recipe.pop("config_overrides", [])
    merged = [*overrides, *chosen.config_overrides] if overrides and chosen.model_name_or_path is None else None
    return _as_flags(recipe) + flags + _as_flags({"config_overrides": merged})


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recipe",
        choices=list(RECIPES),
        default="paper",
        help="Settings that the other flags add to or override: the paper's, or this project's better ones.",
    )


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
        raise InputError(f"{path}: expected flags and their values, got {type(values).__name__}")
    return _as_flags(values)


def _as_flags(values: dict[str, Any]) -> list[str]:
    """Flags and their values as they would stand on the command line."""
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
    rows = [(key, record["validation"].get(key), value) for key, value in record["test"].items()]
    width = max(len(key) for key, *_ in rows)
    chosen = f"epoch {record['best_epoch']:g}" if "best_epoch" in record else f"{len(record['members'])} members"
    print(f"\nselected by validation {record['selected_by']}, {chosen}")
    print(f"{'':{width}}  validation      test")
    for key, validation, test in rows:
        print(f"{key:{width}}  {'-' if validation is None else f'{validation:10.4f}':>10}{test:10.4f}")
