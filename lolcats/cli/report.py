"""`lolcats report`: how close a linear model is to its base model."""

import argparse

from lyra.command import quiet_loading
from lyra.errors import InputError

from .arguments import add_data_arguments, check_data_arguments, check_output, read_pieces

HELP = "compare a linear model with its base model, layer by layer and token by token"
EXAMPLE = "lolcats report linear_esm proteins.fasta -o report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="what lolcats transfer or finetune wrote, or a Hub id")
    add_data_arguments(parser)
    parser.add_argument("-o", "--output", required=True, help="a new folder for the page, tables and plots")
    parser.add_argument("--batches", type=int, default=16, help="how many to compare on. Default: 16.")


def run(arguments: argparse.Namespace) -> None:
    check_data_arguments(arguments)
    check_output(arguments.output)
    if arguments.batches < 1:
        raise InputError(f"--batches: expected at least 1, got {arguments.batches}")
    quiet_loading()
    from itertools import islice

    import torch

    from ..base_models import is_masked, load_tokenizer
    from ..checkpoints import load, load_config
    from ..fidelity import fidelity
    from ..texts import batches, collator

    torch.manual_seed(arguments.seed)
    model, config = load(arguments.folder), load_config(arguments.folder)
    tokenizer = load_tokenizer(str(config.base_model), config.base_revision)
    collate = collator(tokenizer, is_masked(model))
    data = batches(read_pieces(arguments, tokenizer), collate, arguments.batch_size, arguments.seed)
    _, losses = fidelity(model, islice(data, arguments.batches), arguments.output)
    for row in losses:
        if row["by"] == "all":
            print(f"{row['model']}: loss {row['loss']:.4f}")
    print(f"written: {arguments.output}")
