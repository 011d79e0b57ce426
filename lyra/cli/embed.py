"""`lyra embed`: a model's vectors of the sequences of a table."""

import argparse

from ..inference.checks import check_vectors_path
from . import is_main_process, quiet_loading
from .tables import add_table_arguments, check_table_arguments, table_arguments

HELP = "write embeddings of the sequences in a table"
EXAMPLE = "lyra embed my_model new_variants.fasta -o vectors.npz"
RESUMABLE = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_table_arguments(parser)
    parser.add_argument(
        "--vectors",
        choices=("mean", "residue"),
        default="mean",
        help="one vector per sequence (mean) or per residue. Default: mean.",
    )


def run(arguments: argparse.Namespace) -> None:
    check_vectors_path(arguments.output, arguments.vectors)
    check_table_arguments(arguments)
    quiet_loading()
    from ..inference import embed

    rows = embed(**table_arguments(arguments), vectors=arguments.vectors)
    if is_main_process():
        print(f"written: {arguments.output}, {rows} sequences")
