"""`lyra publish`: a trained model to the Hugging Face Hub."""

import argparse
from pathlib import Path

from ..hub.checks import check_folder
from . import quiet_loading

HELP = "upload a trained model to the Hugging Face Hub"
EXAMPLE = "lyra publish my_model user/name --dry_run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="what lyra train wrote")
    parser.add_argument("repo_id", metavar="user/name", help="repository on the Hub")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument(
        "--license", help="licence identifier of the model on the Hub; default: the one in its card, or apache-2.0"
    )
    parser.add_argument("--commit_message", default="A model by lyra", help="Default: A model by lyra.")
    parser.add_argument("--space", action="store_true", help="also make a Space, a web page where everybody can try it")
    parser.add_argument("--dry_run", action="store_true", help="check, and list what would be uploaded")


def run(arguments: argparse.Namespace) -> None:
    check_folder(Path(arguments.folder), arguments.repo_id)
    quiet_loading()
    from ..hub import publish

    names = ("folder", "repo_id", "private", "license", "commit_message", "dry_run", "space")
    publish(**{name: getattr(arguments, name) for name in names})
