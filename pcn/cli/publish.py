"""`pcn publish`: a tagger to the Hugging Face Hub."""

import argparse

from lyra.command import quiet_loading

HELP = "upload a trained tagger to the Hugging Face Hub, with the code that loads it"
EXAMPLE = "pcn publish my_tagger user/name --dry_run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="what `pcn train` wrote")
    parser.add_argument("repo_id", metavar="user/name", help="repository, made if it is new")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--dry_run", action="store_true", help="only check and list what would be uploaded")


def run(arguments: argparse.Namespace) -> None:
    quiet_loading()
    from ..publishing import publish

    publish(arguments.folder, arguments.repo_id, arguments.private, arguments.dry_run)
