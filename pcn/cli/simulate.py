"""`pcn simulate`: jets to try things on."""

import argparse

from lyra.errors import InputError

HELP = "simulate jets of several classes with Pythia 8 and a toy detector"
EXAMPLE = "pcn simulate -o train.parquet --jets 20000 --seed 1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", required=True, help="a new Parquet file")
    parser.add_argument("--jets", type=int, default=1000, help="of each class, a multiple of 10. Default: 1000.")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="by default QCD Hbb Tbqq Wqq, which are all")
    parser.add_argument("--seed", type=int, default=1, help="the same one gives the same jets. Default: 1.")


def run(arguments: argparse.Namespace) -> None:
    from ..outputs import check_output
    from ..simulation import PROCESSES, write_jets

    classes = arguments.classes or list(PROCESSES)
    if unknown := [name for name in classes if name not in PROCESSES]:
        raise InputError(f"--classes: expected some of {', '.join(PROCESSES)}, got {unknown[0]!r}")
    output = check_output(arguments.output)
    if output.suffix != ".parquet":
        raise InputError(f"{output}: expected a name that ends in .parquet")
    digest = write_jets(output, classes, arguments.jets, arguments.seed)
    print(f"written: {output}, SHA-256 {digest}")
