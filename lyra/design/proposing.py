"""`lyra propose`: from the tables of some rounds to the next plate."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..alphabet_lyra import get_alphabet
from ..conformal import check_level
from ..data.arguments import DataArguments
from ..data.cells import parse_number
from ..data.columns import SEQUENCE_COLUMNS, find_column
from ..data.letters import check_letters, read_sequences
from ..data.loading import load_table
from ..data.rows import ListedRows, Row
from ..data.tables import TableWriter, output_format, read_rows
from ..errors import InputError
from ..files import write_then_rename
from ..variants.library import read_positions
from ..variants.notation import Edit, WildType
from ..variants.scanning import read_wild_type
from .acquisition import distance
from .campaign import GREEDY, Pick, Policy, choose_plate
from .candidates import REACH, Candidates, Pool, Search, Sites, sort_out, tell
from .constraints import Constraints, read_constraints, spell
from .measured import Measured, read_rounds
from .plots import Hindsight
from .report import write_report
from .surrogate import CrossValidated, Surrogate, Trained, check_enough, fit_surrogate, rows_outside
from .wells import PLATES, wells

CONTROL = "control"


def propose(
    data: Sequence[str],
    output: str,
    count: int = 96,
    wild_type: str | None = None,
    model: str | None = None,
    pool: str | None = None,
    sites: str | None = None,
    constraints: dict[str, Any] | None = None,
    policy: Policy = GREEDY,
    controls: int = 0,
    plate: int = 96,
    interval: float = 0.9,
    columns: dict[str, str | None] | None = None,
    offset: int = 0,
    seed: int = 0,
    device: str | None = None,
) -> list[Row]:
    """Chooses what to measure next: writes the table `output`, and a page with plots beside it.

    Candidates are the rows of `pool`, every combination of letters at `sites`, or what a search finds around the wild
    type and the best measured variants. None of them was measured.

    Args:
        data: a table of sequences, or with a wild type of variants, and measurements for each round.
        count: of sequences, with the controls.
        wild_type: a FASTA file or a table of one sequence.
        model: a checkpoint folder or Hub id, instead of one trained on `data`.
        sites: positions such as `39,40,41,54`.
        constraints: the keywords of [`read_constraints`].
        controls: places for the wild type and then the best measured sequences.
        plate: wells of a plate, 96 or 384.
        interval: the probability that intervals claim.
        columns: `sequence_column`, `label_column` and `round_column`, where their names do not say it.
        offset: added to a position, counted from 1, in the notation.
        device: by default the GPU where there is one.

    Returns:
        The rows of the table.

    Raises:
        InputError: naming file, row and column, a flag, or two constraints that contradict each other.
    """
    path = Path(output)
    _check(path, count, controls, plate, wild_type, pool, sites, interval, seed)
    trained = None if model is None else Trained.load(model, device)
    alphabet, read_wild = None if trained is None else trained.tokenizer.alphabet, None
    if wild_type is not None:
        read_wild = partial(_read_wild_type, wild_type, offset)
    measured, notes = read_rounds(data, alphabet, **columns or {}, wild_type=read_wild)
    print(*notes, sep="\n", flush=True)
    wild = None if read_wild is None else read_wild(measured.alphabet)
    rules = read_constraints(wild, get_alphabet(measured.alphabet), **constraints or {})
    if rules.wild_type is not None and (forced := rules.forced()):
        numbers = ", ".join(str(rules.wild_type.number(position)) for position in forced)
        print(f"constraints: no candidate keeps the letters of the wild type at {numbers}")
    candidates = _candidates(rules, pool, sites, measured)
    _check_lengths(measured, candidates, trained)
    if trained is None:  # better now than after the training
        check_enough(measured)
        rows_outside(interval, len(measured.sequences))
    surrogate: Surrogate = trained or _fit(measured, seed, device)
    known = _control_sequences(measured, wild, policy)[:controls]
    picks = choose_plate(surrogate, candidates, measured, count - controls, policy, seed, excluded=known)
    for what, found, wanted in (("candidates", len(picks), count - controls), ("controls", len(known), controls)):
        if found < wanted:
            more = f"no more at a distance of {policy.min_distance}" if policy.min_distance > 1 else "no more"
            print(f"only {found} of {wanted} places for {what} are filled: there are {more}")
    picks += [Pick(each, surrogate.predict([each])[:, 0], np.nan, CONTROL) for each in known]
    rows = _rows(picks, surrogate, measured, wild, plate, interval)
    page, hindsight = path.with_suffix(".html"), _look_back(data[-1], measured.label)
    with write_then_rename(page) as unfinished_page, write_then_rename(path) as unfinished:
        write_report(unfinished_page, rows, measured, policy, hindsight, offset)
        with TableWriter(unfinished) as writer:
            writer.write(rows)
    print(f"written: {path}, {len(rows)} sequences; {page}")
    return rows


def _check(
    path: Path,
    count: int,
    controls: int,
    plate: int,
    wild_type: str | None,
    pool: str | None,
    sites: str | None,
    interval: float,
    seed: int,
) -> None:
    output_format(path)
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}")
    for file in (path, path.with_suffix(".html")):
        if file.exists():
            raise InputError(f"{file}: exists already")
    if plate not in PLATES:
        raise InputError(f"--plate: expected {' or '.join(map(str, PLATES))}, got {plate}")
    if seed < 0:
        raise InputError(f"--seed: expected at least 0, got {seed}")
    check_level(interval)
    if not 0 <= controls < count:
        raise InputError(f"--controls: expected fewer than the {count} sequences of -n and at least 0, got {controls}")
    if pool is not None and sites is not None:
        raise InputError("--sites: not with --pool, which has the candidates already")
    if pool is None and wild_type is None:
        raise InputError("--wild_type is missing, around which variants are searched; or give candidates by --pool")


def _read_wild_type(file: str, offset: int, alphabet: str | None) -> WildType:
    wild = read_wild_type(file, alphabet, offset)
    return replace(wild, sequence=spell(wild.sequence, wild.alphabet))


def _candidates(rules: Constraints, pool: str | None, sites: str | None, measured: Measured) -> Candidates:
    if pool is not None:
        sequences = _read_pool(pool, measured)
        _, reasons = sort_out(sequences, rules, measured.sequences)
        if reasons:
            print(f"{pool}: {reasons.total():,} of {len(sequences):,} rows are left out ({tell(reasons)})")
        return Pool(sequences, pool, rules)
    assert rules.wild_type is not None
    if sites is not None:
        return Sites(rules, read_positions(sites, rules.wild_type, "--sites"))
    if rules.max_mutations is None:
        print(f"search: at most {REACH} changes from the wild type or one of the best measured (or --max_mutations)")
    return Search(rules)


def _read_pool(file: str, measured: Measured) -> list[str]:
    """The sequences of a table, in the column of that name in the measured tables or another usual one."""
    pairs = list(read_rows(file))
    if not pairs:
        raise InputError(f"{file}: the table has no rows")
    locations, rows = [location for location, _ in pairs], [row for _, row in pairs]
    names = list(rows[0])
    same = measured.column if measured.column in names else None
    column = find_column(file, names, same, SEQUENCE_COLUMNS, "sequence")
    sequences = read_sequences(locations, ListedRows(rows).column(column), column)
    alphabet = get_alphabet(measured.alphabet)
    check_letters(locations, sequences, column, alphabet)
    return [spell(sequence, alphabet) for sequence in sequences]


def _check_lengths(measured: Measured, candidates: Candidates, trained: Trained | None) -> None:
    """Where all that was learned from has one length, positions count, and candidates must have it too."""
    known = {len(sequence) for sequence in measured.sequences}
    length = (known.pop() if len(known) == 1 else None) if trained is None else trained.config.linear_length
    if length is None:
        return
    expected = f"expected {length} as of what was learned from"
    if others := [each for each in measured.sequences if len(each) != length]:
        raise InputError(f"--data: {others[0][:20]!r} has {len(others[0])} letters, {expected}")
    if isinstance(candidates, Pool):
        if others := [each for each in candidates.sequences if len(each) != length]:
            raise InputError(f"{candidates.source}: {others[0][:20]!r} has {len(others[0])} letters, {expected}")
    elif (wild := candidates.constraints.wild_type) is not None and len(wild.sequence) != length:
        raise InputError(f"--wild_type: has {len(wild.sequence)} letters, {expected}")


def _fit(measured: Measured, seed: int, device: str | None) -> CrossValidated:
    surrogate = fit_surrogate(measured, seed, device)
    share = f"{surrogate.network_share:.0%} network, the rest linear"
    print(f"model: {len(surrogate.members)} members, {share}", flush=True)
    return surrogate


def _control_sequences(measured: Measured, wild: WildType | None, policy: Policy) -> list[str]:
    """The wild type and then the best measured sequences."""
    known = [] if wild is None else [wild.sequence]
    return list(dict.fromkeys([*known, *measured.best_first(policy.sign)]))


def _rows(
    picks: list[Pick], surrogate: Surrogate, measured: Measured, wild: WildType | None, plate: int, level: float
) -> list[Row]:
    """The table: a row for each well."""
    predicted = np.stack([pick.predicted for pick in picks], axis=1)
    limits = surrogate.limits(predicted, level)
    rows: list[Row] = []
    for index, (well, pick) in enumerate(zip(wells(len(picks), plate), picks, strict=True)):
        row: Row = {"well": well}
        if wild is not None:
            row["mutant"] = _name(pick.sequence, wild)
        row |= {measured.column: pick.sequence, "prediction": _short(pick.predicted.mean())}
        if len(predicted) > 1:
            row["std"] = _short(pick.predicted.std(ddof=1))
        if limits is not None:
            row |= {"lower": _short(limits[0][index]), "upper": _short(limits[1][index])}
        nearest = min(measured.sequences, key=lambda known: distance(pick.sequence, known))
        row |= {"acquisition": None if np.isnan(pick.value) else _short(pick.value), "reason": pick.reason}
        row |= {"nearest_measured": nearest if wild is None else _name(nearest, wild)}
        rows.append(row | {"distance": distance(pick.sequence, nearest)})
    return rows


def _name(sequence: str, wild: WildType) -> str:
    """The variant in ProteinGym's notation, which needs the wild type's length; otherwise the sequence."""
    if len(sequence) != len(wild.sequence):
        return sequence
    pairs = enumerate(zip(wild.sequence, sequence, strict=True))
    return wild.format(tuple(Edit(position, old, new) for position, (old, new) in pairs if old != new))


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _look_back(file: str, label: str) -> Hindsight | None:
    """What a plate predicted, beside what was measured; None of a table that is no plate of [`propose`]."""
    rows = (row for row in load_table(DataArguments(file)).rows if row.get("reason") != CONTROL)
    names = (label, "prediction", "lower", "upper")
    numbers = np.array([[parse_number(row.get(name)) for name in names] for row in rows], dtype=float)  # None is NaN
    known = numbers[np.isfinite(numbers[:, :2]).all(axis=1)] if len(numbers) else numbers
    return Hindsight(*known.T) if len(known) else None
