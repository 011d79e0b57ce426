"""What can be said of the arguments of `lyra publish` before anything is loaded."""

import re
from pathlib import Path

from ..errors import InputError

_NECESSARY = ("README.md", "config.json", "metrics.json", "tokenizer_config.json")


def check_repository_name(repo_id: str) -> None:
    """Raises InputError if the name is none of a repository."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo_id, re.ASCII):
        raise InputError(f"{repo_id!r}: expected user/name")


def check_folder(folder: Path, repo_id: str) -> None:
    """Raises InputError if the name is none of a repository, or the folder none of a trained model."""
    check_repository_name(repo_id)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    if missing := [name for name in _NECESSARY if not (folder / name).is_file()]:
        raise InputError(f"{folder}: {missing[0]} is missing; publish takes the folder that `lyra train` wrote")
