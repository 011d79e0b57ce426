"""Neighbours, Laplacian, Chebyshev and edge convolutions: equal to their definitions and to PyTorch Geometric's."""

import pytest
import torch

from pcn.graph_pcn import build_graph, chebyshev_polynomials, scaled_laplacian
from pcn.modeling_pcn import PcnChebyshevConv, PcnEdgeConv


def graph_of(points, k=3, mask=None, features=None):
    mask = torch.ones(points.shape[:2], dtype=torch.bool) if mask is None else mask
    features = torch.zeros(*points.shape[:2], 1) if features is None else features
    return build_graph(points, features, mask, k), mask


def test_neighbors_are_the_nearest_both_ways():
    points = torch.rand(1, 12, 2, dtype=torch.float64)
    graph, _ = graph_of(points)
    distances = torch.cdist(points, points)[0].fill_diagonal_(torch.inf)
    expected = torch.zeros(12, 12, dtype=torch.float64)
    expected.scatter_(1, distances.topk(3, largest=False).indices, 1.0)
    assert torch.equal(graph.adjacency[0], torch.maximum(expected, expected.T))


@pytest.mark.parametrize("particles", (1, 2, 3, 4))
def test_few_particles_have_fewer_neighbors(particles):
    graph, _ = graph_of(torch.rand(1, particles, 3))
    assert graph.adjacency.sum() == particles * (particles - 1)
    assert graph.valid.sum() == particles * min(3, particles - 1)


@pytest.mark.parametrize("lambda_max", (2.0, 2.5))
@pytest.mark.parametrize("order", (1, 2, 5, 16))
@pytest.mark.parametrize("particles", (1, 2, 9))
@pytest.mark.parametrize(("before", "after"), ((4, 6), (6, 4)))  # which is less decides what is multiplied first
def test_chebyshev_convolution_is_that_of_pytorch_geometric(order, lambda_max, particles, before, after):
    geometric = pytest.importorskip("torch_geometric.nn", reason="needs torch_geometric")
    points = torch.rand(1, particles, 3, dtype=torch.float64)
    x = torch.randn(1, particles, before, dtype=torch.float64)
    graph, mask = graph_of(points)
    own = PcnChebyshevConv(before, after, order).double()
    theirs = geometric.ChebConv(before, after, order).double()
    with torch.no_grad():
        for number, linear in enumerate(theirs.lins):
            linear.weight.copy_(own.linear.weight[:, before * number : before * (number + 1)])
        theirs.bias.copy_(own.linear.bias)
    edges = graph.adjacency[0].nonzero().T
    expected = theirs(x[0], edges, lambda_max=torch.tensor(lambda_max, dtype=torch.float64))
    polynomials = chebyshev_polynomials(scaled_laplacian(graph.adjacency, lambda_max, mask), order, mask)
    torch.testing.assert_close(own(x, polynomials)[0], expected, rtol=0, atol=1e-10)


def test_edge_convolution_is_its_formula():
    points, x = torch.rand(2, 9, 2, dtype=torch.float64), torch.randn(2, 9, 4, dtype=torch.float64)
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, 5:] = False
    graph, _ = graph_of(points, mask=mask)
    conv = PcnEdgeConv(4, 6).double()
    found = conv(x, graph)
    for b, i in mask.nonzero().tolist():
        near = graph.adjacency[b, i].nonzero()[:, 0]
        expected = conv.theta(x[b, i] - x[b, near]).amax(dim=0) + conv.phi(x[b, i])
        torch.testing.assert_close(found[b, i], expected, rtol=0, atol=1e-12)


def test_an_edge_convolution_without_neighbors_is_phi():
    x = torch.randn(1, 1, 4)
    conv = PcnEdgeConv(4, 6)
    graph, _ = graph_of(torch.rand(1, 1, 2))
    torch.testing.assert_close(conv(x, graph), conv.phi(x))


def test_order_of_particles_does_not_matter_even_on_a_lattice():
    axis = torch.arange(4.0)
    points = torch.cartesian_prod(axis, axis)[None]  # most distances are equal
    points = torch.cat([points, points[:, :3]], dim=1)  # and some places taken twice
    features = torch.randn(1, 19, 5)
    graph, _ = graph_of(points, features=features)
    for seed in range(5):
        order = torch.randperm(19, generator=torch.Generator().manual_seed(seed))
        other, _ = graph_of(points[:, order], features=features[:, order])
        assert torch.equal(other.adjacency, graph.adjacency[:, order][:, :, order])


def test_pads_have_no_part():
    points = torch.rand(1, 6, 2)
    mask = torch.tensor([[True] * 4 + [False] * 2])
    graph, _ = graph_of(points, mask=mask)
    laplacian = scaled_laplacian(graph.adjacency, 2.0, mask)
    assert not graph.adjacency[0, 4:].any() and not laplacian[0, 4:].any() and not laplacian[0, :, 4:].any()
    assert not chebyshev_polynomials(laplacian, 4, mask)[0, 4:].any()
