"""`lyra simulate-campaign`: ways of choosing, compared on a landscape that is known."""

import argparse

from . import quiet_loading

HELP = "play rounds of measuring and choosing on a table of which everything is measured"
EXAMPLE = "lyra simulate-campaign landscape.csv -o campaigns --start 96 --batch 96 --rounds 4 --seeds 20"
RESUMABLE = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "landscape",
        help="table of sequences of one length and their measurements; or simulated: ehrlich, polynomial",
    )
    parser.add_argument("-o", "--output", required=True, help="folder for the campaigns, a table and a plot")
    parser.add_argument("--start", type=int, default=96, metavar="N", help="random sequences first. Default: 96.")
    parser.add_argument("--batch", type=int, default=96, metavar="N", help="sequences of a round. Default: 96.")
    parser.add_argument("--rounds", type=int, default=4, metavar="N", help="after the start. Default: 4.")
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="campaigns of each arm. Default: 20.")
    parser.add_argument("--arms", nargs="+", metavar="ARM", help="ways of choosing, such as 'lyra ucb'; default all")
    parser.add_argument("--sequence_column", help="column of sequences; detected by name")
    parser.add_argument("--label_column", help="column of measurements; detected by name")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted call")


def run(arguments: argparse.Namespace) -> None:
    quiet_loading()
    from ..design.simulating import ARMS, simulate_campaign

    simulate_campaign(
        arguments.landscape,
        arguments.output,
        arguments.start,
        arguments.batch,
        arguments.rounds,
        arguments.seeds,
        arguments.arms or tuple(ARMS),
        arguments.sequence_column,
        arguments.label_column,
        arguments.resume,
    )
