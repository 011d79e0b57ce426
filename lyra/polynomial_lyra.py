"""A model as a polynomial of its input: what each letter does, each pair of letters, and so on.

Over k sites with some letters each, every function is a sum of terms of the sites in a set, for all sets,

    f(x) = sum over sets S of sites, f_S(letters of x at S)

which is unique once each f_S is fixed: to a mean of zero over the letters of any of its sites (the background-averaged,
or for two letters Walsh-Hadamard, coefficients: Poelwijk, Krishna and Ranganathan 2016; Faure et al. 2024), or to zero
where any site has its first letter (the coefficients relative to a wild type). The paper's account of epistasis (Ramesh
et al. 2025, section 3) is of such polynomials.

Glossary: k sites, t tokens of a site, o outputs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from numbers import Integral
from typing import Any

import torch

REFERENCES = ("mean", "first")
_MOST_VALUES = 1 << 22
_BATCH_POSITIONS = 1 << 16


@dataclass
class LyraPolynomial:
    """The polynomial of a model over some sites.

    Attributes:
        coefficients: of each set of sites (indices into `sites`, ascending) up to the order, `(t, ..., o)` with an axis
            for each of its sites; of the empty set `(o,)`.
        variance: `(k + 1, o)`, the share that each order has in the variance over all sequences, in full whatever the
            order of the coefficients.
        sites: the positions.
        tokens: the ids of the letters at each site.
    """

    coefficients: dict[tuple[int, ...], torch.Tensor]
    variance: torch.Tensor
    sites: list[int]
    tokens: list[list[int]]


@torch.no_grad()
def expand(
    function: Callable[[torch.Tensor], torch.Tensor],
    input_ids: torch.Tensor,
    sites: Sequence[int],
    tokens: Sequence[Sequence[int]],
    order: int,
    reference: str,
) -> LyraPolynomial:
    """The polynomial of a function of ids over some sites of one sequence.

    Args:
        function: `(b, l)` ids to `(b, o)`.
        input_ids: `(l,)`, the letters elsewhere.
        sites: different positions.
        tokens: of each site at least two ids.
        order: of the largest sets whose coefficients are returned.
        reference: one of `REFERENCES`.

    Raises:
        ValueError: naming the argument that cannot be used.
    """
    places, choices = as_integers(sites, "sites"), [as_integers(each, "tokens") for each in _listed(tokens, "tokens")]
    _check(input_ids, places, choices, order, reference)
    values = _evaluate(function, input_ids, places, choices)  # (t, ..., t, o)
    averaged = _transform(values, "mean")
    shares = torch.zeros(len(sites) + 1, values.shape[-1], dtype=values.dtype)
    coefficients = {}
    chosen = averaged if reference == "mean" else _transform(values, reference)
    for size in range(len(sites) + 1):
        for subset in combinations(range(len(sites)), size):
            shares[size] += _term(averaged, subset).square().flatten(0, -2).mean(dim=0) if size else 0
            if size <= order:
                coefficients[subset] = _term(chosen, subset).float()
    total = shares.sum(dim=0)
    shares = torch.where(total > 0, shares / total, 0)
    return LyraPolynomial(coefficients, shares.float(), places, choices)


def _listed(values: Any, name: str) -> list[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"`{name}` must be a list, got {values!r}")
    return list(values)


def as_integers(values: Any, name: str) -> list[int]:
    """A list or tensor as a list of integers; raises ValueError, naming the argument, if it is none."""
    found = _listed(values.tolist() if isinstance(values, torch.Tensor) else values, name)
    if not all(isinstance(value, Integral) and not isinstance(value, bool) for value in found):
        raise ValueError(f"`{name}` must be integers, got {found}")
    return [int(value) for value in found]


def _check(input_ids: torch.Tensor, sites: list[int], tokens: list[list[int]], order: int, reference: str) -> None:
    length = input_ids.shape[-1]
    if input_ids.dim() != 1:
        raise ValueError(f"`input_ids` must be one sequence, (length,), got shape {tuple(input_ids.shape)}")
    if not sites or len(set(sites)) < len(sites) or not all(0 <= site < length for site in sites):
        raise ValueError(f"`sites` must be different positions from 0 to {length - 1}, got {sites}")
    if len(tokens) != len(sites) or any(len(set(each)) < max(2, len(each)) for each in tokens):
        raise ValueError(f"`tokens` must be at least two different ids for each of {len(sites)} sites, got {tokens}")
    if not isinstance(order, int) or not 0 <= order <= len(sites):
        raise ValueError(f"`order` must be from 0 to the number of sites, {len(sites)}, got {order}")
    if reference not in REFERENCES:
        raise ValueError(f"`reference` must be one of {REFERENCES}, got {reference!r}")
    count = 1
    for each in tokens:
        count *= len(each) + 1
    if count > _MOST_VALUES:
        raise ValueError(f"`sites` and `tokens` make {count} coefficients, more than {_MOST_VALUES}; take fewer")


def _evaluate(
    function: Callable[[torch.Tensor], torch.Tensor],
    input_ids: torch.Tensor,
    sites: list[int],
    tokens: list[list[int]],
) -> torch.Tensor:
    """The function of every combination of tokens, `(t, ..., t, o)` in fp64 on the CPU."""
    grids = torch.meshgrid(*(torch.tensor(each) for each in tokens), indexing="ij")
    choices = torch.stack([grid.flatten() for grid in grids], dim=1)  # (combinations, k)
    found = []
    for part in choices.split(max(1, _BATCH_POSITIONS // len(input_ids))):
        ids = input_ids.repeat(len(part), 1)
        ids[:, sites] = part.to(ids)
        found.append(function(ids).double().cpu())
    return torch.cat(found).view(*map(len, tokens), -1)


def _transform(values: torch.Tensor, reference: str) -> torch.Tensor:
    """Along each axis but the last: what the reference has, then what each token has beyond it."""
    for axis in range(values.dim() - 1):
        base = values.mean(axis, keepdim=True) if reference == "mean" else values.narrow(axis, 0, 1)
        values = torch.cat([base, values - base], dim=axis)
    return values


def _term(transformed: torch.Tensor, subset: tuple[int, ...]) -> torch.Tensor:
    """The term of a set of sites, of what `_transform` returns."""
    axes = range(transformed.dim() - 1)
    return transformed[tuple(slice(1, None) if axis in subset else 0 for axis in axes)]


__all__ = ["LyraPolynomial", "as_integers", "expand"]
