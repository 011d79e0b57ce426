"""`lolcats export`: a folder that loads without this package."""

import argparse

from lyra.command import quiet_loading

from .arguments import check_output

HELP = "write full weights and one modeling file, which load without this package"
EXAMPLE = "lolcats export finetuned_esm -o merged_esm --merged"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="what lolcats transfer or finetune wrote, or a Hub id")
    parser.add_argument("-o", "--output", required=True, help="a new folder")
    parser.add_argument(
        "--merged", action="store_true", required=True, help="base model, LoRA and maps in one, as large as the model"
    )


def run(arguments: argparse.Namespace) -> None:
    check_output(arguments.output)
    quiet_loading()
    from ..exporting import export

    export(arguments.folder, arguments.output)
    print(f"written: {arguments.output}")
