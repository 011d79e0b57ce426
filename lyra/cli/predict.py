"""`lyra predict`: a model's predictions for a table."""

import argparse

from . import is_main_process, quiet_loading
from .tables import add_table_arguments, check_table_arguments, table_arguments

HELP = "add a model's predictions to a table"
EXAMPLE = "lyra predict my_model new_variants.csv -o predicted.csv"
RESUMABLE = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_table_arguments(parser)
    parser.add_argument(
        "--interval",
        type=float,
        metavar="LEVEL",
        help="add intervals, or sets of classes, that hold the measured label with this probability, such as 0.9",
    )
    parser.add_argument(
        "--nearest",
        metavar="TABLE",
        help="training table; add each sequence's identity to the most similar one there",
    )


def run(arguments: argparse.Namespace) -> None:
    from ..conformal import check_level
    from ..data.tables import output_format

    output_format(arguments.output)
    if arguments.interval is not None:
        check_level(arguments.interval)
    check_table_arguments(arguments)
    quiet_loading()
    from ..inference import predict

    rows = predict(**table_arguments(arguments), interval=arguments.interval, nearest=arguments.nearest)
    if is_main_process():
        print(f"written: {arguments.output}, {rows} rows")
