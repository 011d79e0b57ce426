"""`lyra tune`: settings by validation, and a model trained with the best ones."""

import argparse
from typing import Any

from ..errors import InputError
from ..training.search_space import read_space
from . import train
from .sources import config_fields, training_fields

HELP = "search training settings by validation, then train with the best"
EXAMPLE = "lyra tune table.csv --output_dir my_model --trials 30"
RESUMABLE = True

BACKENDS = ("optuna", "ray")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    train.add_arguments(parser)
    parser.usage = "lyra tune TABLE --output_dir DIR [flags]"
    group = parser.add_argument_group("search")
    group.add_argument("--trials", type=int, default=30, help="settings to try. Default: 30.")
    group.add_argument("--hours", type=float, help="begin no further trial after so many hours")
    group.add_argument(
        "--space",
        metavar="FILE",
        help="YAML file of what to search: of each field a list of values, or low, high and log. Default: learning "
        "rate, weight decay, dropout, width and depth.",
    )
    group.add_argument("--backend", choices=BACKENDS, default="optuna", help="ray: on a cluster. Default: optuna.")


def run(arguments: argparse.Namespace) -> None:
    given = train.given_flags(arguments)
    if given["trials"] < 1:
        raise InputError(f"--trials: expected at least 1, got {given['trials']}")
    if not given.get("hours", 1) > 0:
        raise InputError(f"--hours: expected more than 0, got {given['hours']:g}")
    space = read_space(given.get("space"), {*config_fields(), *training_fields()})

    def job(*args: Any, **kwargs: Any) -> dict[str, Any]:
        from ..training import tune  # late, because torch takes seconds

        return tune(*args, space, given["trials"], given.get("hours"), given["backend"], **kwargs)

    train.run_with(arguments, job)
