"""Processor time of a training step of PCN, a jet, against the same network with PyTorch Geometric's ChebConv.

    python scripts/benchmarks/pcn_speed.py                64 jets of 64 particles
    python scripts/benchmarks/pcn_speed.py --particles 128

One run, one thread. Both sides find the nearest neighbours and train on the same random jets; the least of several
steps counts.
"""

import argparse
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from pcn.configuration_pcn import PRESETS
from pcn.modeling_pcn import PcnForJetClassification

_ROUNDS, _CLASSES = 5, 10


class Geometric(nn.Module):
    """The published network, all jets of a batch as one sparse graph."""

    def __init__(self, order: int):
        from torch_geometric.nn import ChebConv

        super().__init__()
        self.convs = nn.ModuleList(ChebConv(size, 64, order) for size in (16, 64, 64))
        self.classifier = nn.Linear(64, _CLASSES)

    def forward(self, features: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        jets, particles = features.shape[:2]
        itself = torch.eye(particles, dtype=torch.bool)
        near = torch.cdist(points, points).masked_fill(itself, torch.inf).topk(3, largest=False).indices
        adjacency = torch.zeros(jets, particles, particles, dtype=torch.bool).scatter_(2, near, True)
        jet, source, target = (adjacency | adjacency.transpose(1, 2)).nonzero(as_tuple=True)
        edges = torch.stack([source, target]) + jet * particles
        x = features.flatten(0, 1)
        for conv in self.convs:
            x = F.relu(conv(x, edges))
        return self.classifier(x.view(jets, particles, -1).mean(dim=1))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--particles", type=int, default=64)
    parser.add_argument("--jets", type=int, default=64, help="of a batch")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(arguments.jets, arguments.particles)
    reference = rows["PyTorch Geometric, K = 16"]
    print(f"torch {torch.__version__}, {arguments.jets} jets of {arguments.particles} particles, one thread\n")
    print("| training step | ms of processor time a jet | PyTorch Geometric / this |\n|---|---|---|")
    for name, seconds in rows.items():
        print(f"| {name} | {1e3 * seconds:.2f} | {reference / seconds:.1f} |")
    return 0


def measure(jets: int, particles: int) -> dict[str, float]:
    """Seconds of processor time a jet."""
    features, labels = torch.randn(jets, particles, 16), torch.randint(_CLASSES, (jets,))
    points = torch.randn(jets, particles, 3)
    steps: dict[str, Callable[[], torch.Tensor]] = {}
    for name, preset in PRESETS.items():
        model = PcnForJetClassification(preset(num_labels=_CLASSES)).train()
        own = points[..., : model.config.point_size]
        steps[f"{name}, K = {model.config.chebyshev_order}"] = lambda model=model, own=own: (
            model(features, own, labels=labels).loss
        )
    geometric = Geometric(16).train()
    steps["PyTorch Geometric, K = 16"] = lambda: F.cross_entropy(geometric(features, points), labels)
    found = dict.fromkeys(steps, float("inf"))
    for _ in range(_ROUNDS):
        for name, step in steps.items():
            started = time.process_time()
            step().backward()
            found[name] = min(found[name], (time.process_time() - started) / jets)
    return found


if __name__ == "__main__":
    sys.exit(main())
