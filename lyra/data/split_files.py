"""The files of each split in a folder."""

import re
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from .tables import SUFFIXES

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
_NAME = re.compile(r"(?P<split>[a-z]+)([-_](?P<number>\d+)([-_]of[-_](?P<total>\d+))?)?")


class _Source(NamedTuple):
    """A file or folder named after a split, with its number, of how many, where it has them."""

    path: Path
    number: int | None
    total: int | None


def find_split_files(folder: Path) -> dict[str, list[Path]]:
    """The files of each split: one such as `train.csv`; or several such as `train-00000-of-00002.csv`, in the order of
    their numbers; or all tables in a folder such as `train`, in the order of their names.

    Raises:
        InputError: if no file is for training, or several are for a split that do not belong together.
    """
    sources: dict[str, list[_Source]] = {}
    for path in sorted(folder.iterdir()):
        name = _NAME.fullmatch(path.name.lower().split(".")[0])
        if name and name["split"] in SPLIT_NAMES and (path.is_dir() or _is_table(path)):
            numbers = [None if name[each] is None else int(name[each]) for each in ("number", "total")]
            sources.setdefault(SPLIT_NAMES[name["split"]], []).append(_Source(path, *numbers))
    if "train" not in sources:
        raise InputError(
            f"{folder}: expected a file train.csv (or .tsv, .jsonl, .parquet, .xlsx, .fasta, also .gz) in it"
        )
    return {split: _files(folder, split, each) for split, each in sources.items()}


def _is_table(path: Path) -> bool:
    return path.is_file() and any(suffix in path.name.lower() for suffix in SUFFIXES)


def _files(folder: Path, split: str, sources: list[_Source]) -> list[Path]:
    first, *others = sources
    if others:
        _check_numbers(folder, split, sources)
    if first.total not in (None, len(sources)):
        raise InputError(
            f"{folder}: expected {first.total} files of the {split} split, as {first.path.name} says, "
            f"got {len(sources)}"
        )
    if not first.path.is_dir():
        return [each.path for each in sorted(sources, key=lambda each: each.number or 0)]
    files = sorted(filter(_is_table, first.path.iterdir()))
    if not files:
        raise InputError(f"{first.path}: expected tables of the {split} split in this folder, found none")
    return files


def _check_numbers(folder: Path, split: str, sources: list[_Source]) -> None:
    """Raises InputError if several sources are not files with a number each."""
    known: dict[int | None, Path] = {}
    for path, number, _ in sources:
        if number is None or path.is_dir() or number in known:
            other = known.get(number) or next(each.path for each in sources if each.path != path)
            one, two = sorted([path.name, other.name])
            raise InputError(
                f"{folder}: two sources of the {split} split, {one} and {two}; expected one, or files with numbers, "
                f"such as {split}-1.csv and {split}-2.csv"
            )
        known[number] = path
