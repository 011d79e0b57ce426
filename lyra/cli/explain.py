"""`lyra explain`: what a model has learned."""

import argparse

from ..errors import InputError
from ..inference.checks import check_model_path
from . import quiet_loading
from .tables import add_run_arguments, add_sequence_arguments

HELP = "write what a model has learned: contributions of letters, logos, motifs, weights, how far it looks"
EXAMPLE = "lyra explain my_model table.csv -o learned"
RESUMABLE = True
_NAMES = ("method", "label", "sequences", "motifs", "sequence_column", "unknown", "device", "revision", "resume")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model_name", metavar="model", help="checkpoint folder or Hub id")
    parser.add_argument("source", metavar="input", help="table of sequences, such as the one trained on")
    parser.add_argument("-o", "--output", required=True, help="folder for tables and plots")
    parser.add_argument(
        "--method",
        choices=("gradients", "mutagenesis"),
        default="gradients",
        help="how contributions are found: integrated gradients, or every substitution. Default: gradients.",
    )
    parser.add_argument("--label", metavar="NAME", help="which output or class, where there are several")
    parser.add_argument(
        "--sequences", type=int, default=1000, metavar="N", help="at most so many, drawn at random. Default: 1000."
    )
    parser.add_argument(
        "--motifs",
        metavar="MEME",
        help="known motifs of DNA (MEME format), to compare the discovered ones with (Tomtom)",
    )
    add_sequence_arguments(parser)
    add_run_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    check_model_path(arguments.model_name, arguments.source)
    if not arguments.output:
        raise InputError("--output: expected a folder, got an empty name")
    quiet_loading()
    from ..explanation import explain

    settings = {name: getattr(arguments, name) for name in _NAMES}
    explain(arguments.model_name, arguments.source, arguments.output, **settings)
