"""`lyra predict`: a model's predictions for a table."""

import argparse

from . import is_main_process, quiet_loading
from .tables import add_table_arguments, check_table_arguments, table_arguments

HELP = "add a model's predictions to a table"
EXAMPLE = "lyra predict my_model new_variants.csv -o predicted.csv"
RESUMABLE = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_table_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    from ..data.tables import output_format

    output_format(arguments.output)
    check_table_arguments(arguments)
    quiet_loading()
    from ..inference import predict

    rows = predict(**table_arguments(arguments))
    if is_main_process():
        print(f"written: {arguments.output}, {rows} rows")
