"""`lyra scan`: what variants of a wild type do."""

import argparse
from typing import Any

from ..conformal import check_level
from ..errors import InputError
from ..inference.checks import check_model_path, check_paths
from . import is_main_process, quiet_loading
from .tables import add_run_arguments

HELP = "predict what variants do: all singles, pairs or combinations of a wild type, a list, a VCF file"
EXAMPLE = "lyra scan my_model wild_type.fasta -o effects"
RESUMABLE = True
_OF_WILD_TYPES = (
    "positions",
    "letters",
    "pairs",
    "max_distance",
    "sites",
    "variants",
    "variant_column",
    "label_column",
    "offset",
    "interval",
)
_OF_GENOMES = ("vcf", "bed", "genome", "window", "strand")
_OF_BOTH = ("effect", "device", "revision", "resume")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model_name", metavar="model", help="checkpoint folder or Hub id")
    parser.add_argument(
        "wild_type", nargs="?", help="the sequence that variants are changes of: FASTA, or a table of one row"
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        help="folder for the table, matrices and plots; of --vcf and --bed a .vcf file or a table",
    )
    parser.add_argument("--positions", help="positions to change, such as 20-60,75. Default: all.")
    parser.add_argument("--letters", help="letters to change them to, such as ACDEF. Default: all.")
    parser.add_argument("--pairs", action="store_true", help="all pairs of singles, and their epistasis")
    parser.add_argument("--max_distance", type=int, metavar="N", help="with --pairs: between the two positions")
    parser.add_argument("--sites", help="every combination of letters at these positions, such as 39,40,41,54")
    parser.add_argument("--variants", metavar="TABLE", help="the variants that a table names, such as A1P:D2N")
    parser.add_argument("--variant_column", help="of --variants; detected by name")
    parser.add_argument("--label_column", help="of --variants: what was measured, to compare")
    parser.add_argument(
        "--offset",
        type=int,
        help="added to positions counted from 1; -1 counts from 0. Default: 0.",
    )
    parser.add_argument(
        "--interval",
        type=float,
        metavar="LEVEL",
        help="add intervals, or sets of classes, that hold the measured label with this probability, such as 0.9",
    )
    parser.add_argument("--vcf", metavar="FILE", help="variants in a genome, also .gz, instead of a wild type")
    parser.add_argument("--bed", metavar="FILE", help="regions of a genome, to predict window by window")
    parser.add_argument("--genome", metavar="FASTA", help="of --vcf and --bed; plain, or compressed by bgzip")
    parser.add_argument("--window", type=int, metavar="N", help="letters around a variant; default: the model's length")
    parser.add_argument(
        "--strand", choices=("both", "forward"), help="of a genome: mean of both strands, or one. Default: both."
    )
    parser.add_argument(
        "--effect",
        choices=("difference", "ratio", "log2"),
        default="difference",
        help="how a prediction is compared with the wild type's. Default: difference.",
    )
    add_run_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    common = {name: getattr(arguments, name) for name in _OF_BOTH}
    genomes = {name: value for name in _OF_GENOMES if (value := getattr(arguments, name)) is not None}
    own = {
        name: value for name in _OF_WILD_TYPES if (value := getattr(arguments, name)) is not None and value is not False
    }
    if arguments.interval is not None:
        check_level(arguments.interval)
    if not genomes:
        if arguments.wild_type is None:
            raise InputError("the wild type is missing, as in `lyra scan model wild_type.fasta -o effects`")
        check_model_path(arguments.model_name, arguments.wild_type)
        quiet_loading()
        from ..variants import scan

        scan(arguments.model_name, arguments.wild_type, arguments.output, **own, **common)
        return
    _check_genome_flags(arguments, genomes, own)
    check_paths(arguments.model_name, genomes.get("vcf") or genomes["bed"], arguments.output)
    quiet_loading()
    from ..variants import scan_genome

    count = scan_genome(arguments.model_name, output=arguments.output, **genomes, **common)
    if is_main_process():
        print(f"written: {arguments.output}, {count} {'alternatives' if 'vcf' in genomes else 'windows'}")


def _check_genome_flags(arguments: argparse.Namespace, genomes: dict[str, Any], own: dict[str, Any]) -> None:
    """Raises InputError for flags that do not go together."""
    if ("vcf" in genomes) == ("bed" in genomes):
        raise InputError("--genome: expected variants by --vcf or regions by --bed, one of them")
    flag = "--vcf" if "vcf" in genomes else "--bed"
    if "genome" not in genomes:
        raise InputError(f"{flag}: the genome is missing, as in --genome genome.fa")
    if arguments.wild_type is not None:
        raise InputError(f"{flag}: takes no wild type, got {arguments.wild_type}")
    if own:
        raise InputError(f"--{next(iter(own))}: not with {flag}")
