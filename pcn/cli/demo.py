"""`pcn demo`: the main job on embedded jets."""

import argparse
from pathlib import Path

from lyra.command import quiet_loading

HELP = "train and score a tagger on 1,600 simulated jets that come with the package, in two minutes"
EXAMPLE = "pcn demo -o pcn_demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output_dir", required=True, metavar="DIR", help="a new folder for the model")


def run(arguments: argparse.Namespace) -> None:
    quiet_loading()
    from ..arguments import JetArguments, PcnArguments
    from ..metrics import report
    from ..training import PcnTrainingArguments, train

    # What `pcn simulate --jets 400 --seed 7` gave, shuffled.
    data = Path(__file__).parents[1] / "data"
    jets = JetArguments(test=[str(data / "demo_test.parquet")])
    args = PcnTrainingArguments(arguments.output_dir, num_train_epochs=12, per_device_train_batch_size=32)
    if record := train([str(data / "demo_train.parquet")], jets, PcnArguments(), args, "pcn demo"):
        print(f"\nepoch {record['best_epoch']:g}, test jets:\n{report(record['test'])}")
        print(f"written: {arguments.output_dir}; so few jets make a poor tagger, docs/pcn.md has better ones")
