"""The graph of a jet: nearest neighbours, Laplacian and its Chebyshev polynomials.

Glossary of the shape comments: b batch, n particles, d dimensions, k neighbours, p polynomials.
"""

from typing import NamedTuple

import torch


class JetGraph(NamedTuple):
    """The neighbours of every particle.

    Attributes:
        neighbors: `(b, n, k)`, the nearest ones of each.
        valid: `(b, n, k)`, false where there are fewer.
        adjacency: `(b, n, n)`, 1 between two particles of which one is near the other, 0 elsewhere and on the diagonal.
    """

    neighbors: torch.Tensor
    valid: torch.Tensor
    adjacency: torch.Tensor


def build_graph(points: torch.Tensor, features: torch.Tensor, mask: torch.Tensor, k: int) -> JetGraph:
    """Connects each particle with its k nearest ones. Of particles at the same distance the one comes first whose
    points are smaller, or at the same place whose features are, so that the order of the particles does not matter.

    Args:
        points: `(b, n, d)`, zero at pads.
        features: `(b, n, f)`, zero at pads.
        mask: `(b, n)`, true at real particles.
    """
    # Particles at the same place are told apart by one number, a sum of their features with fixed odd weights.
    weights = torch.arange(2, 2 + features.shape[2], dtype=points.dtype, device=points.device).sqrt()
    key = (features.to(points.dtype) * weights).sum(dim=2, keepdim=True)
    ranks = _ranks(torch.cat([points, key], dim=-1))[:, None, :]  # (b, 1, n)
    distances = _squared_distances(points)
    itself = torch.eye(points.shape[1], dtype=torch.bool, device=points.device)
    distances = distances.masked_fill(itself | ~mask[:, None, :], torch.inf)
    places = torch.arange(points.shape[1], device=points.device)
    found, valid = [], []
    adjacency = torch.zeros_like(itself).expand_as(distances)
    for _ in range(k):
        lowest = distances.amin(dim=2, keepdim=True)  # (b, n, 1)
        nearest = ranks.masked_fill(distances != lowest, points.shape[1]).argmin(dim=2, keepdim=True)
        chosen = places == nearest  # (b, n, n)
        found.append(nearest)
        valid.append(lowest.isfinite() & mask[:, :, None])
        adjacency = adjacency | chosen & valid[-1]
        distances = distances.masked_fill(chosen, torch.inf)
    adjacency = adjacency | adjacency.transpose(1, 2)
    return JetGraph(torch.cat(found, dim=2), torch.cat(valid, dim=2), adjacency.to(points.dtype))


def _ranks(columns: torch.Tensor) -> torch.Tensor:
    """`(b, n, c)` to `(b, n)`: before how many others a row does not come, by the first column in which they differ."""
    before = equal = None
    for column in columns.unbind(-1):
        here, there = column[:, :, None], column[:, None, :]
        if before is None or equal is None:
            before, equal = there < here, there == here
        else:
            before, equal = before | (equal & (there < here)), equal & (there == here)
    assert before is not None
    return before.sum(dim=2)


def _squared_distances(points: torch.Tensor) -> torch.Tensor:
    """`(b, n, d)` to `(b, n, n)`. By differences: products of the momenta of a jet would lose what is near."""
    total = points.new_zeros(())
    for coordinate in points.unbind(-1):
        total = total + (coordinate[:, :, None] - coordinate[:, None, :]).square()
    return total


def scaled_laplacian(adjacency: torch.Tensor, lambda_max: float, mask: torch.Tensor) -> torch.Tensor:
    """`2 L / lambda_max - I` with `L = I - D^-1/2 A D^-1/2`, `(b, n, n)`; zero rows at pads, and a particle without
    neighbours has the row of I in L."""
    degree = adjacency.sum(dim=2)
    inverse_root = torch.where(degree > 0, degree.clamp_min(1).rsqrt(), 0)
    normalized = inverse_root[:, :, None] * adjacency * inverse_root[:, None, :]
    diagonal = torch.diag_embed((2 / lambda_max - 1) * mask.to(adjacency.dtype))
    return diagonal - 2 / lambda_max * normalized


def chebyshev_polynomials(laplacian: torch.Tensor, order: int, mask: torch.Tensor) -> torch.Tensor:
    """`T_0 .. T_{p-1}` of a scaled Laplacian, by `T_k = 2 L' T_{k-1} - T_{k-2}`.

    Returns:
        `(b, n, n, p)`: for each particle, for each that it sees, the polynomials. All layers share them.
    """
    polynomials = [torch.diag_embed(mask.to(laplacian.dtype)), laplacian]
    while len(polynomials) < order:
        polynomials.append(2 * laplacian @ polynomials[-1] - polynomials[-2])
    return torch.stack(polynomials[:order], dim=-1)
