"""`lolcats transfer`: stage 1, attention transfer."""

import argparse

from lyra.command import quiet_loading
from lyra.errors import InputError

from .arguments import add_data_arguments, check_data_arguments, check_output, read_pieces

HELP = "make the attention of a model linear, and train it to give the same outputs"
EXAMPLE = "lolcats transfer facebook/esm2_t6_8M_UR50D proteins.fasta -o linear_esm"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model_name", metavar="model", help="folder or Hub id of a transformers model")
    add_data_arguments(parser)
    parser.add_argument("-o", "--output", required=True, help="a new folder")
    parser.add_argument("--revision", help="commit of the model on the Hub")
    parser.add_argument(
        "--window", type=int, default=64, help="keys that are seen as the model itself sees them. Default: 64."
    )
    parser.add_argument(
        "--feature_size", type=int, help="size of the feature maps; default: that of a head, at least 64"
    )
    parser.add_argument(
        "--layers", type=int, nargs="+", metavar="N", help="layers to make linear, from 0; default: all"
    )
    parser.add_argument("--steps", type=int, default=1000, help="batches to learn from. Default: 1000.")
    parser.add_argument("--learning_rate", type=float, default=0.1, help="of each layer. Default: 0.1.")
    parser.add_argument(
        "--weight_loss",
        type=float,
        default=0.0,
        help="weight of the cross-entropy of attention weights, beside the outputs' error. Default: 0.",
    )
    parser.add_argument(
        "--blocks",
        type=int,
        nargs="+",
        metavar="N",
        help="linear layers to train now, from 0; the others stay as they are. Default: all.",
    )
    parser.add_argument("--start_from", metavar="FOLDER", help="checkpoint whose other blocks are trained already")


def run(arguments: argparse.Namespace) -> None:
    check_data_arguments(arguments)
    check_output(arguments.output)
    quiet_loading()
    import torch
    from accelerate import PartialState

    from ..attention_transfer import TransferArguments, transfer
    from ..base_models import load_base, load_tokenizer
    from ..checkpoints import load, load_config, save
    from ..configuration_lolcats import LolcatsConfig
    from ..conversion import linearize
    from ..texts import batches, collator

    for name in ("feature_size", "layers", "revision"):
        if arguments.start_from and getattr(arguments, name) is not None:
            raise InputError(f"--{name}: not with --start_from, which has its own")
    names = ("steps", "learning_rate", "weight_loss", "blocks")
    settings = TransferArguments(**{name: getattr(arguments, name) for name in names})
    torch.manual_seed(arguments.seed)
    config = LolcatsConfig(arguments.window, arguments.feature_size, arguments.layers or "all")
    tokenizer = load_tokenizer(arguments.model_name, arguments.revision)
    pieces = read_pieces(arguments, tokenizer)
    if arguments.start_from:
        model, config = load(arguments.start_from), load_config(arguments.start_from)
        if config.base_model != arguments.model_name:
            raise InputError(f"{arguments.start_from}: expected a checkpoint of {arguments.model_name}")
        if hasattr(model, "get_base_model"):
            raise InputError(f"{arguments.start_from}: has been fine-tuned; expected what `lolcats transfer` wrote")
    else:
        model = load_base(arguments.model_name, arguments.revision)
        config = linearize(model, config)
    collate = collator(tokenizer, masked=not config.is_causal and tokenizer.mask_token is not None)
    state = PartialState()
    data = batches(pieces, collate, arguments.batch_size, arguments.seed + state.process_index)
    errors = transfer(model, data, settings)
    if not state.is_main_process:
        return
    save(model, config, arguments.output)
    for name, error in errors.items():
        print(f"{name}: mean squared error {error:.4g}")
    print(f"written: {arguments.output}")
