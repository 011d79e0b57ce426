"""`pcn train`: files of jets to a trained, scored tagger."""

import argparse
import shlex

from lyra.cli.flags import add_fields, instance
from lyra.command import quiet_loading, recorded
from lyra.errors import InputError, one_line

from ..arguments import JetArguments, PcnArguments, TrainingDefaults, check_arguments

HELP = "train a tagger on files of labelled jets"
EXAMPLE = "pcn train train.parquet --test test.parquet -o my_tagger"
RESUMABLE = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="ROOT, Parquet, HDF5 or NPZ files of training jets")
    parser.add_argument("-o", "--output_dir", required=True, metavar="DIR", help="a new folder for the model")
    add_fields(parser.add_argument_group("jets"), JetArguments)
    add_fields(parser.add_argument_group("model"), PcnArguments)
    add_fields(parser.add_argument_group("training"), TrainingDefaults)


def run(arguments: argparse.Namespace) -> None:
    given = {name: value for name, value in vars(arguments).items() if name != "debug"}  # the Trainer has its own
    check_arguments(arguments)
    jets, model = instance(JetArguments, given), instance(PcnArguments, given)
    quiet_loading()
    from ..metrics import report
    from ..training import PcnTrainingArguments, train

    try:
        args = instance(PcnTrainingArguments, given)
    except (ValueError, ImportError) as error:
        raise InputError(one_line(error)) from None
    command = shlex.join(["pcn", "train", *recorded(arguments.argv)])
    if record := train(arguments.files, jets, model, args, command):
        split = "test" if "test" in record else "validation"
        print(f"\nselected by validation {record['selected_by']}, epoch {record['best_epoch']:g}; {split} jets:")
        print(report(record[split]))
        print(f"written: {arguments.output_dir}")
