"""`lolcats finetune`: stage 2, LoRA."""

import argparse

from lyra.command import quiet_loading
from lyra.errors import InputError

from .arguments import add_data_arguments, check_data_arguments, check_output, read_pieces

HELP = "train LoRA matrices of a linear model by its own loss"
EXAMPLE = "lolcats finetune linear_esm proteins.fasta -o finetuned_esm"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="what lolcats transfer wrote, or a Hub id")
    add_data_arguments(parser)
    parser.add_argument("-o", "--output", required=True, help="a new folder")
    parser.add_argument("--rank", type=int, default=8, help="rank of the LoRA matrices. Default: 8.")
    parser.add_argument("--alpha", type=int, default=16, help="updates are scaled by alpha / rank. Default: 16.")
    parser.add_argument("--train_maps", action="store_true", help="train the feature maps and gates, too")
    parser.add_argument("--steps", type=int, default=1000, help="batches to learn from. Default: 1000.")
    parser.add_argument("--learning_rate", type=float, default=1e-3, help="falls linearly. Default: 0.001.")


def run(arguments: argparse.Namespace) -> None:
    check_data_arguments(arguments)
    check_output(arguments.output)
    for name in ("steps", "learning_rate"):
        if not getattr(arguments, name) > 0:
            raise InputError(f"--{name}: expected more than 0, got {getattr(arguments, name)}")
    quiet_loading()
    from ..base_models import is_masked, load_tokenizer, require_peft

    require_peft()
    from tempfile import TemporaryDirectory

    from transformers import TrainingArguments

    from ..checkpoints import load, load_config, save
    from ..finetuning import LoraArguments, finetune
    from ..texts import collator

    settings = LoraArguments(arguments.rank, arguments.alpha, arguments.train_maps)
    model, config = load(arguments.folder), load_config(arguments.folder)
    if hasattr(model, "get_base_model"):
        raise InputError(f"{arguments.folder}: has been fine-tuned already; expected what `lolcats transfer` wrote")
    tokenizer = load_tokenizer(str(config.base_model), config.base_revision)
    collate = collator(tokenizer, is_masked(model))
    with TemporaryDirectory() as temporary:
        training = TrainingArguments(
            temporary,
            max_steps=arguments.steps,
            per_device_train_batch_size=arguments.batch_size,
            learning_rate=arguments.learning_rate,
            seed=arguments.seed,
            save_strategy="no",
            report_to=[],
            logging_steps=max(1, arguments.steps // 20),
        )
        data = read_pieces(arguments, tokenizer)
        peft_model = finetune(model, settings, training, train_dataset=data, data_collator=collate)
    save(peft_model, config, arguments.output)
    print(f"written: {arguments.output}")
