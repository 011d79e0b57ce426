"""What a finished scan looks like: matrices and plots, read back from its table."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..data.cells import Cell, is_missing, parse_number
from ..data.rows import Row, RowLocation
from ..data.tables import read_rows
from ..errors import InputError
from .comparison import compare
from .effects import NEUTRAL
from .notation import Edit, Variant, WildType
from .plots import plot_comparison, plot_effects, plot_heat_map, plot_pair_map


class Scanned(NamedTuple):
    """One row of the table."""

    variant: Variant
    effect: float
    epistasis: float
    label: float


def read_scan(table: Path, wild_type: WildType, effect: str, label: str | None = None) -> Iterator[Scanned]:
    """The variants of a table of a scan, with the first effect and the label of each, NaN where there is none."""
    for location, row in read_rows(table):
        epistasis = row.get(effect.replace("effect", "epistasis", 1), "nan")
        measured = float("nan") if label is None else read_label(location, row, label)
        yield Scanned(wild_type.parse(str(row["mutant"])), float(row[effect]), float(epistasis), measured)


def summarise(folder: Path, table: str, wild_type: WildType, effect: str, kind: str, letters: str) -> list[str]:
    """Draws what the table holds: `effects.png`, a histogram; of singles `heat_map.png` and `effects_matrix.csv`, a row
    for each position and a column for each letter; of pairs `pair_map.png` and `pairs.npy`, the epistasis
    `(length, letters, length, letters)`.

    Args:
        effect: the column.
        kind: a key of `EFFECTS`.

    Returns:
        The names of the files.
    """
    length, index = len(wild_type.sequence), {letter: i for i, letter in enumerate(letters)}
    singles = np.full((length, len(letters)), np.nan, np.float32)
    strongest = np.full((length, length), np.nan, np.float32)
    pairs: np.memmap | None = None
    effects, files = [], ["effects.png"]
    for scanned in read_scan(folder / table, wild_type, effect):
        effects.append(scanned.effect)
        places = [(edit.start, index.get(edit.alternative, -1)) for edit in scanned.variant if _is_substitution(edit)]
        if len(places) != len(scanned.variant) or any(letter < 0 for _, letter in places):
            continue
        if len(places) == 1:
            singles[places[0]] = scanned.effect
        elif len(places) == 2 and np.isfinite(scanned.epistasis):
            if pairs is None:
                pairs = _new_array(folder / "pairs.npy", (length, len(letters)) * 2)
            (one, first), (other, second) = places
            pairs[one, first, other, second] = pairs[other, second, one, first] = scanned.epistasis
            if not abs(strongest[one, other]) >= abs(scanned.epistasis):
                strongest[one, other] = strongest[other, one] = scanned.epistasis
    plot_effects(np.array(effects), effect, NEUTRAL[kind], folder / "effects.png")
    if np.isfinite(singles).any():
        _write_matrix(folder / "effects_matrix.csv", singles, letters, wild_type)
        plot_heat_map(singles, wild_type, letters, effect, NEUTRAL[kind], folder / "heat_map.png")
        files += ["effects_matrix.csv", "heat_map.png"]
    if pairs is not None:
        pairs.flush()
        plot_pair_map(strongest, wild_type, folder / "pair_map.png")
        files += ["pairs.npy", "pair_map.png"]
    return files


def _is_substitution(edit: Edit) -> bool:
    return len(edit.reference) == len(edit.alternative) == 1


def _new_array(file: Path, shape: tuple[int, ...]) -> np.memmap:
    """An array of NaN on disk: of a long protein it would not fit in memory."""
    array = np.lib.format.open_memmap(file, "w+", np.float32, shape)
    for block in array:
        block[:] = np.nan
    return array


def _write_matrix(file: Path, matrix: np.ndarray, letters: str, wild_type: WildType) -> None:
    """Positions by letters, as logomaker reads it (`index_col=0`)."""
    with open(file, "w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(["pos", *letters])
        for position in np.flatnonzero(np.isfinite(matrix).any(axis=1)):
            cells = ["" if np.isnan(value) else f"{value:.6g}" for value in matrix[position]]
            writer.writerow([wild_type.number(int(position)), *cells])


def read_label(location: RowLocation, row: Row, column: str) -> float:
    """A measurement, NaN where there is none.

    Raises:
        InputError: if it is no number.
    """
    number = parse_number(row.get(column))
    if number is None and not is_missing(row.get(column)):
        raise InputError(f"{Cell(location, column)}: expected a number, got {row.get(column)!r}")
    return float("nan") if number is None else number


def report_measured(folder: Path, table: str, wild_type: WildType, label: str, effect: str) -> list[str]:
    """Compares the labels of a table of a scan with what it predicts: `measured.json`, `measured.png`, and a line for
    each number of edits.

    Returns:
        The names of the files.
    """
    variants, *columns = zip(*read_scan(folder / table, wild_type, effect, label), strict=True)
    effects, epistasis, labels = map(np.array, columns)
    report = compare(variants, labels, effects, epistasis)
    (folder / "measured.json").write_text(json.dumps(report, indent=2) + "\n")
    for name, found in report.items():
        print(f"measured, {name}: " + ", ".join(f"{key} {_shown(value)}" for key, value in found.items()))
    measured = np.isfinite(labels)
    title = f"Spearman {_shown(report['all']['effect'])}"
    plot_comparison(labels[measured], effects[measured], title, folder / "measured.png")
    return ["measured.json", "measured.png"]


def _shown(value: float | int | None) -> str:
    return "undefined" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
