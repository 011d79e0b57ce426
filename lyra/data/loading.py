"""Loading a whole data set: a file, a folder with a file for each split, or a Hub data set, joined with its labels."""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError, join_quoted, one_line
from ..files import file_sha256
from .arguments import DataArguments
from .growing import GrowingRows
from .readers import header_fields
from .rows import ArrowRows, ListedRows, Locations, Row, RowLocation, Rows, as_rows, concatenate
from .schemes import SPLITS
from .split_files import SPLIT_NAMES, find_split_files
from .tables import FORMATS, SUFFIXES, read_rows, read_table, table_format

_BLOCK = 4096


@dataclass
class Table:
    """The rows of one data set in memory.

    Attributes:
        source: what the user gave.
        rows: the cells by column.
        locations: of each row.
        splits: of each row its index in `SPLITS`, where the source has them.
        sha256: of the content.
        notes: what was found on the way.
    """

    source: str
    rows: Rows
    locations: Locations
    splits: np.ndarray | None
    sha256: str
    notes: list[str] = field(default_factory=list)

    def take(self, indices: np.ndarray) -> None:
        """Leaves some rows, in place."""
        self.rows, self.locations = self.rows.take(indices), self.locations.take(indices)
        self.splits = None if self.splits is None else self.splits[indices]


def load_table(args: DataArguments) -> Table:
    """Loads a file, a folder of split files or a Hub data set, joined with `args.labels`.

    Raises:
        InputError: naming what cannot be read, or an empty table.
    """
    path = Path(args.data)
    if path.is_dir():
        table = _load_folder(path, args.cache_dir)
    elif path.exists() or any(suffix in path.name.lower() for suffix in SUFFIXES):
        rows = GrowingRows(args.cache_dir)
        locations = _read_labelled(path, rows)
        table = Table(str(path), rows.finish(), locations, None, file_sha256([path]))
    else:
        table = _load_hub(args.data, args.data_config)
    if not table.rows:
        raise InputError(f"{args.data}: the table has no rows")
    if args.labels is not None:
        _join_labels(table, args, args.labels)
    return table


def _load_folder(folder: Path, place: str | None) -> Table:
    rows, locations, splits = GrowingRows(place), [], list[str]()
    files = find_split_files(folder)
    for split, paths in files.items():
        locations += [_read_labelled(path, rows) for path in paths]
        splits += [split] * len(paths)
    return Table(
        str(folder),
        rows.finish(),
        Locations.concatenate(locations),
        _numbers(splits, locations),
        file_sha256(chain.from_iterable(files.values())),
    )


def _numbers(splits: Sequence[str], parts: Sequence[Sequence[Any]]) -> np.ndarray:
    """The split of each row, of parts that each belong to one."""
    return np.repeat([SPLITS.index(split) for split in splits], [len(part) for part in parts]).astype(np.int8)


def _read_labelled(path: Path, rows: GrowingRows) -> Locations:
    """Adds all rows of a file, those of FASTA with the `key=value` fields of their headers as columns."""
    if table_format(path) is not FORMATS["fasta"]:
        return read_table(path, rows)
    records = GrowingRows(rows.place)
    locations, found = read_table(path, records), records.finish()
    for start in range(0, len(found), _BLOCK):
        part = slice(start, start + _BLOCK)
        pairs = zip(locations[part], found[part], strict=True)
        rows.append(
            as_rows([header_fields(str(where), f"{row['id']} {row['description']}") | row for where, row in pairs])
        )
    return locations


def _load_hub(name: str, config: str | None) -> Table:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise InputError(f"{name}: no such file or folder, and not the id of a Hub data set (user/name)")
    from datasets import ClassLabel, load_dataset
    from datasets import config as datasets_config

    if datasets_config.HF_HUB_OFFLINE:
        raise InputError(f"{name}: no such file or folder, and the Hub is disabled (HF_HUB_OFFLINE)")
    try:
        dataset = load_dataset(name, config)
    except Exception as error:  # the library raises many kinds; all mean that the user's id cannot be loaded
        raise InputError(f"{name}: cannot be loaded from the Hub ({one_line(error)[:300]})") from None
    if unknown := [split for split in dataset if split not in SPLIT_NAMES]:
        raise InputError(f"{name}: expected splits named train, validation and test, got {unknown[0]!r}")
    rows, locations, splits = list[Rows](), [], [SPLIT_NAMES[split] for split in dataset]
    for split, part in dataset.items():
        table = part.with_format("arrow")[:]
        for index, (column, feature) in enumerate(part.features.items()):
            if isinstance(feature, ClassLabel):
                table = table.set_column(index, column, _class_names(table[column], feature.names))
        rows.append(ArrowRows.of(table))
        locations.append(Locations.of(f"{name} ({split})", np.zeros(len(part), np.uint32)))
    sha256 = _hash_rows([split for split, part in zip(splits, rows, strict=True) for _ in range(len(part))], rows)
    return Table(name, concatenate(rows), Locations.concatenate(locations), _numbers(splits, locations), sha256)


def _class_names(column: pa.ChunkedArray, names: list[str]) -> pa.ChunkedArray:
    """The names of classes; none where the index says, by -1, that there is no label."""
    return pc.take(pa.array(names), pc.if_else(pc.less(column, 0), None, column))


def _hash_rows(splits: list[str], parts: list[Rows]) -> str:
    """A SHA-256 over the splits of all rows and these, as JSON."""
    digest, separator = hashlib.sha256(f"[{json.dumps(splits)}, [".encode()), ""
    for row in chain.from_iterable(parts):
        digest.update((separator + json.dumps(row, default=str, sort_keys=True)).encode())
        separator = ", "
    digest.update(b"]]")
    return digest.hexdigest()


def _join_labels(table: Table, args: DataArguments, labels: str) -> None:
    """Adds the columns of `--labels` to the rows of the same id, in place."""
    by_id: dict[str, Row] = {}
    for location, row in read_rows(labels):
        key = _id(location, row, args.id_column, labels, "--id_column")
        if key in by_id:
            raise InputError(f"{location}, column {args.id_column!r}: duplicate id {key!r}")
        by_id[key] = row
    column, flag = args.sequence_id_column, "--sequence_id_column"
    if column is None:
        column, flag = args.id_column, "--id_column, or --sequence_id_column where it has another name there"
    _check_ids(table, column, by_id, labels, args)
    seen: set[str] = set()
    rows = list(table.rows)
    for index, (location, row) in enumerate(zip(table.locations, table.rows, strict=True)):
        key = _id(location, row, column, args.data, flag)
        if key not in by_id:
            continue  # a row without labels, which is left out later
        if key in seen:
            raise InputError(f"{location}, column {column!r}: duplicate id {key!r}")
        seen.add(key)
        joined = {name: cell for name, cell in by_id[key].items() if name != args.id_column}
        if shared := sorted(set(row) & set(joined)):
            raise InputError(f"{labels}: the column {shared[0]!r} is also in {args.data}; rename one")
        rows[index] = row | joined
    table.rows = ListedRows(rows)
    table.sha256 = file_sha256([args.data, labels]) if os.path.isfile(args.data) else table.sha256


def _check_ids(table: Table, column: str, by_id: dict[str, Row], labels: str, args: DataArguments) -> None:
    """Raises InputError if no id of a sequence has labels, or some have none and that is not allowed."""
    if any(column not in row for row in table.rows):
        return  # told with the row
    ids = [str(row[column]) for row in table.rows]
    without = [index for index, key in enumerate(ids) if key not in by_id]
    if len(without) == len(ids) and by_id:
        raise InputError(
            f"{args.data}, column {column!r}: none of its {len(ids)} ids is in column {args.id_column!r} of {labels}; "
            f"one is {ids[0]!r} here, {next(iter(by_id))!r} there"
        )
    if without and args.missing_labels != "skip":
        others = f", nor have {len(without) - 1} others" if len(without) > 1 else ""
        raise InputError(
            f"{table.locations[without[0]]}, column {column!r}: {ids[without[0]]!r} has no row in {labels}{others}; "
            "--missing_labels skip leaves such rows out"
        )
    if spare := len(by_id) - len(set(ids) & set(by_id)):
        table.notes.append(f"labels: {spare} rows of {labels} have no sequence in {args.data}")


def _id(location: RowLocation, row: Row, column: str, source: str, flag: str) -> str:
    if column not in row:
        raise InputError(f"{source}: no column {column!r} ({flag}), only {join_quoted(row)}")
    return str(row[column])
