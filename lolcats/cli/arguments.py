"""Arguments that several verbs have."""

import argparse
from pathlib import Path
from typing import Any

from lyra.errors import InputError


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", help="table of sequences or texts (CSV, FASTA, JSON lines, Parquet, ...), or .txt")
    parser.add_argument("--column", help="column of texts; default: sequence or text")
    parser.add_argument("--max_length", type=int, default=512, help="tokens of a piece of text. Default: 512.")
    parser.add_argument("--batch_size", type=int, default=8, help="pieces in a batch. Default: 8.")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the data. Default: 0.")


def check_data_arguments(arguments: argparse.Namespace) -> None:
    """Raises InputError for sizes below 1 or 2, or a file that does not exist."""
    for name, least in (("max_length", 2), ("batch_size", 1)):
        if getattr(arguments, name) < least:
            raise InputError(f"--{name}: expected at least {least}, got {getattr(arguments, name)}")
    if not Path(arguments.data).is_file():
        raise InputError(f"{arguments.data}: no such file")


def check_output(output: str) -> None:
    """Raises InputError for a folder that holds something already."""
    if not output:
        raise InputError("--output: expected a folder, got an empty name")
    if Path(output).is_file() or (Path(output).is_dir() and any(Path(output).iterdir())):
        raise InputError(f"{output}: expected a new or empty folder")


def read_pieces(arguments: argparse.Namespace, tokenizer: Any) -> Any:
    from ..texts import Pieces, read_texts

    if arguments.max_length > tokenizer.model_max_length:
        longest = tokenizer.model_max_length
        raise InputError(f"--max_length: expected at most {longest}, what the model reads, got {arguments.max_length}")
    return Pieces(read_texts(arguments.data, arguments.column), tokenizer, arguments.max_length)
