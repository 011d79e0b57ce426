"""`lyra propose`: what to measure next."""

import argparse

from ..errors import InputError
from . import quiet_loading

HELP = "choose what to measure next: a plate of variants, with constraints"
EXAMPLE = "lyra propose --data round1.csv round2.csv --wild_type wild_type.fasta -n 96 -o plate.csv"
_CONSTRAINTS = ("fixed", "letters", "forbid", "max_mutations", "min_gc", "max_gc", "avoid", "keep_translation")
_POLICY = ("acquisition", "beta", "min_distance", "explore", "minimize")
_COLUMNS = ("sequence_column", "label_column", "round_column")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", nargs="+", required=True, metavar="TABLE", help="what was measured, by rounds")
    parser.add_argument("-n", "--count", type=int, default=96, metavar="N", help="sequences to choose. Default: 96.")
    parser.add_argument("-o", "--output", required=True, help="table to write; a page with plots comes beside it")
    parser.add_argument("--model", help="checkpoint folder or Hub id, instead of one trained on the data")
    for name in _COLUMNS:
        what = name.removesuffix("_column")
        parser.add_argument(f"--{name}", help=f"of --data: column of the {what}" + _FOUND[what])
    parser.add_argument("--seed", type=int, default=0, help="the same seed chooses the same plate. Default: 0.")
    parser.add_argument("--device", help="device to run on, such as cpu or cuda; default: the GPU if there is one")
    _add_candidates(parser.add_argument_group("candidates"))
    _add_choice(parser.add_argument_group("choice"))


_FOUND = {
    "sequence": "; detected by name",
    "label": "; detected by name",
    "round": "; by default each table is a round",
}


def _add_candidates(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--wild_type", metavar="FILE", help="FASTA, or a table of one row; the search starts from it")
    group.add_argument("--pool", metavar="TABLE", help="candidates, instead of a search")
    group.add_argument("--sites", help="every combination of letters at these positions, such as 39,40,41,54")
    group.add_argument(
        "--max_mutations",
        type=int,
        metavar="M",
        help="the most positions that differ from --wild_type; by default a search stays near what was measured",
    )
    group.add_argument("--fixed", help="positions that stay as they are, such as 1-10,57")
    group.add_argument(
        "--letters", nargs="+", default=[], metavar="P=LETTERS", help="letters of a position, such as 10=AVILM"
    )
    group.add_argument(
        "--forbid", metavar="LETTERS", help="letters that no candidate has, even where the wild type has them"
    )
    group.add_argument("--min_gc", type=float, metavar="SHARE", help="of nucleotides: the least share of G and C")
    group.add_argument("--max_gc", type=float, metavar="SHARE", help="of nucleotides: the largest share of G and C")
    group.add_argument(
        "--avoid",
        nargs="+",
        default=[],
        metavar="MOTIF",
        help="words that no candidate has; of DNA on neither strand, and also names of restriction enzymes",
    )
    group.add_argument(
        "--keep_translation",
        nargs="?",
        const="all",
        metavar="RANGE",
        help="positions that must give the same protein, such as 1-90; without a value the whole gene",
    )
    group.add_argument("--offset", type=int, default=0, help="added to positions counted from 1. Default: 0.")


def _add_choice(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--acquisition",
        default="greedy",
        help="the best prediction (greedy), its upper confidence bound (ucb), the say of one member for each place "
        "(ts), or the expected improvement (ei). Default: greedy.",
    )
    group.add_argument("--beta", type=float, default=1.0, help="standard deviations that ucb adds. Default: 1.")
    group.add_argument("--minimize", action="store_true", help="smaller values are better")
    group.add_argument(
        "--min_distance", type=int, default=1, metavar="N", help="letters by which any two differ. Default: 1."
    )
    group.add_argument(
        "--explore", type=float, default=0.0, metavar="SHARE", help="of places: by the uncertainty alone. Default: 0."
    )
    group.add_argument(
        "--controls",
        type=int,
        default=0,
        metavar="N",
        help="places for the wild type and the best measured; default 0",
    )
    group.add_argument("--plate", type=int, default=96, help="wells of a plate, 96 or 384. Default: 96.")
    group.add_argument(
        "--interval", type=float, default=0.9, metavar="LEVEL", help="probability of the intervals. Default: 0.9."
    )


def run(arguments: argparse.Namespace) -> None:
    if arguments.count < 1:
        raise InputError(f"-n: expected at least 1, got {arguments.count}")
    quiet_loading()
    from ..design.campaign import Policy
    from ..design.proposing import propose

    propose(
        arguments.data,
        arguments.output,
        arguments.count,
        arguments.wild_type,
        arguments.model,
        arguments.pool,
        arguments.sites,
        {name: getattr(arguments, name) for name in _CONSTRAINTS},
        Policy(**{name: getattr(arguments, name) for name in _POLICY}),
        arguments.controls,
        arguments.plate,
        arguments.interval,
        {name: getattr(arguments, name) for name in _COLUMNS},
        arguments.offset,
        arguments.seed,
        arguments.device,
    )
