"""`pcn export`: a tagger as ONNX."""

import argparse

from lyra.command import quiet_loading
from lyra.errors import InputError

HELP = "write a tagger as ONNX, for any number of jets and particles"
EXAMPLE = "pcn export my_tagger -o tagger.onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="folder or Hub id of a trained tagger")
    parser.add_argument("-o", "--output", required=True, help="a new .onnx file")


def run(arguments: argparse.Namespace) -> None:
    if not arguments.output.endswith(".onnx"):
        raise InputError(f"{arguments.output}: expected a name that ends in .onnx")
    from ..outputs import check_output

    output = check_output(arguments.output)
    quiet_loading()
    from ..exporting import export
    from ..inference import load_model

    difference = export(load_model(arguments.model)[0], output)
    print(f"written: {arguments.output}; largest difference of its logits from the model's: {difference:.1e}")
