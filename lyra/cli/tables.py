"""The flags of the verbs that read a table with a model."""

import argparse
from typing import Any

from ..inference.checks import check_paths

_NAMES = ("model_name", "source", "output", "sequence_column", "pair_column", "unknown", "device", "revision", "resume")


def add_table_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags, under the names of the parameters of `predict` and `embed`."""
    parser.add_argument("model_name", metavar="model", help="checkpoint folder or Hub id")
    parser.add_argument(
        "source", metavar="input", help="table of sequences: CSV, TSV, JSONL, Parquet, XLSX or FASTA, also .gz"
    )
    parser.add_argument("-o", "--output", required=True, help="file to write, in the format of its suffix")
    add_sequence_arguments(parser)
    parser.add_argument("--pair_column", help="second sequences of a model of pairs; detected by name")
    add_run_arguments(parser)


def add_sequence_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of every verb that reads a column of sequences."""
    parser.add_argument("--sequence_column", help="column of sequences; detected by name")
    parser.add_argument(
        "--unknown",
        choices=("error", "token"),
        default="error",
        help="letters outside the alphabet: stop, or read as <unk>. Default: error.",
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of every verb that predicts."""
    parser.add_argument(
        "--device", help="device to run on, such as cpu, cuda or cuda:1; default: the GPU if there is one"
    )
    parser.add_argument("--revision", help="of a Hub repository: branch, tag or commit")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted call")


def check_table_arguments(arguments: argparse.Namespace) -> None:
    """Raises InputError for what can be seen before the model is loaded."""
    check_paths(arguments.model_name, arguments.source, arguments.output)


def table_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in _NAMES}
