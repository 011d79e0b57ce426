"""What PCN is compared with: boosted trees on features of jets, a particle flow network and a small ParticleNet."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import nn
from tqdm import tqdm
from transformers.modeling_outputs import SequenceClassifierOutput

from pcn.columns import AXIS, FLAGS, MOMENTUM, TRACK
from pcn.configuration_pcn import PcnConfig
from pcn.features_pcn import axes_of
from pcn.jets import read_jets
from pcn.labelled import find_classes
from pcn.modeling_pcn import PcnPreTrainedModel

# ── Boosted trees ────────────────────────────────────────────────────────────────────────────────────────────────────

_LEADING = 40  # particles that correlations are computed of


def jet_features(momenta: np.ndarray, kinds: np.ndarray, tracks: np.ndarray, axis: np.ndarray) -> list[float]:
    """18 numbers of a jet: mass, multiplicity, shares of pT of five kinds, width, dispersion, three leading shares, two
    axes, the largest significance of an impact parameter, tracks above 3, and C2 and D2 (Larkoski et al. 2013, 2014).

    Args:
        momenta, kinds, tracks: `(particles, 4)`, `(particles, 5)`, `(particles, 4)`.
        axis: eta and phi of the jet.
    """
    total = momenta.sum(axis=0)
    pt = np.hypot(momenta[:, 0], momenta[:, 1])
    share = pt / pt.sum()
    eta, phi = axes_of(momenta).T
    offsets = np.stack([eta - axis[0], (phi - axis[1] + np.pi) % (2 * np.pi) - np.pi], axis=1)
    spread = np.sqrt(np.maximum(np.linalg.eigvalsh((share[:, None] * offsets).T @ offsets), 0))
    leading = np.argsort(-pt)[:_LEADING]
    distances = np.hypot(*(offsets[leading][:, None] - offsets[leading]).transpose(2, 0, 1))
    root = np.sqrt(share[leading])
    weighted = root[:, None] * distances * root
    e2 = float((share[leading, None] * distances * share[leading]).sum() / 2)
    e3 = float(np.trace(weighted @ weighted @ weighted) / 6)
    significance = np.abs(tracks[:, 0]) / np.maximum(tracks[:, 1], 1e-6)
    largest = np.sort(share)[::-1][:3]
    return [
        float(np.sqrt(max(total[3] ** 2 - (total[:3] ** 2).sum(), 0.0))),
        len(momenta),
        *(share @ kinds),
        float(share @ np.hypot(*offsets.T)),
        float(np.sqrt((share**2).sum())),
        *np.pad(largest, (0, 3 - len(largest))),
        *spread,
        float(significance.max()),
        int((significance > 3).sum()),
        e3 / e2**2 if e2 else 0.0,
        e3 / e2**3 if e2 else 0.0,
    ]


def table_of(files: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Features `(jets, 18)` and classes `(jets,)` of some files."""
    classes, rows, labels = find_classes(files, None), [], []
    for jets in tqdm(read_jets(files, lambda name: True), desc="jet features", unit=" chunks"):
        particles = [np.stack([jets.particles[name] for name in each], axis=1) for each in (MOMENTUM, FLAGS, TRACK)]
        axes = np.stack([jets.scalars[name] for name in AXIS], axis=1)
        ends = np.cumsum(jets.counts)
        for number, (begin, end) in enumerate(zip(ends - jets.counts, ends, strict=True)):
            parts = [each[begin:end].astype(np.float64) for each in particles]
            rows.append(jet_features(*parts, axes[number]))
        labels.append(classes.numbers(jets))
    return np.array(rows), np.concatenate(labels)


def fit_trees(
    train: tuple[np.ndarray, np.ndarray], validation: tuple[np.ndarray, np.ndarray], seed: int
) -> HistGradientBoostingClassifier:
    """The best of three depths by accuracy on validation; the number of trees is chosen by a tenth of training."""
    fitted: list[Any] = []
    for leaves in (15, 31, 63):
        trees = HistGradientBoostingClassifier(
            learning_rate=0.05, max_iter=600, max_leaf_nodes=leaves, early_stopping=True, random_state=seed
        )
        fitted.append(trees.fit(*train))
    return max(fitted, key=lambda trees: trees.score(*validation))


# ── Networks ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Tagger(PcnPreTrainedModel):
    """Particles to a vector of the jet by `encode`, and a read-out of three layers."""

    def __init__(self, config: PcnConfig, size: int, hidden: int):
        super().__init__(config)
        self.head = nn.Sequential(
            *(nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()),
            nn.Linear(hidden, config.num_labels),
        )

    def forward(self, features: Any, points: Any, attention_mask: Any, labels: Any = None, **_: Any) -> Any:
        logits = self.head(self.encode(features, points, attention_mask != 0))
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def encode(self, features: torch.Tensor, points: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class ParticleFlowNetwork(_Tagger):
    """Deep sets (Komiske, Metodiev, Thaler 2019): `F(mean of phi(particle))`."""

    def __init__(self, config: PcnConfig):
        super().__init__(config, 128, 100)
        self.phi = nn.Sequential(
            *(nn.Linear(config.input_size, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU()),
            *(nn.Linear(100, 128), nn.ReLU()),
        )
        self.post_init()

    def encode(self, features: torch.Tensor, points: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.phi(features) * mask[:, :, None]
        return x.sum(dim=1) / mask.sum(dim=1, keepdim=True)


class SmallParticleNet(_Tagger):
    """Two edge convolutions over the 8 nearest particles, in (eta, phi) and then in the space of the first
    convolution's outputs (Qu and Gouskos 2020), with 32 and 64 channels."""

    neighbors = 8

    def __init__(self, config: PcnConfig):
        super().__init__(config, 64, 64)
        sizes = (config.input_size, 32, 64)
        self.convs = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * a, b), nn.ReLU(), nn.Linear(b, b), nn.ReLU()) for a, b in pairwise(sizes)
        )
        self.shortcuts = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(nn.LayerNorm(b) for b in sizes[1:])
        self.post_init()

    def encode(self, features: torch.Tensor, points: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = features
        for conv, shortcut, norm in zip(self.convs, self.shortcuts, self.norms, strict=True):
            distances = torch.cdist(points, points).masked_fill(~mask[:, None, :], torch.inf)
            count = min(self.neighbors + 1, x.shape[1])
            nearest = distances.topk(count, largest=False)  # with itself
            index = nearest.indices.flatten(1)[:, :, None].expand(-1, -1, x.shape[2])
            near = x.gather(1, index).view(*nearest.indices.shape, x.shape[2])
            edges = conv(torch.cat([x[:, :, None].expand_as(near), near - x[:, :, None]], dim=-1))
            real = nearest.values.isfinite()[..., None]
            found = (edges * real).sum(dim=2) / real.sum(dim=2).clamp_min(1)
            x = points = F.relu(norm(found + shortcut(x))) * mask[:, :, None]
        return x.sum(dim=1) / mask.sum(dim=1, keepdim=True)
