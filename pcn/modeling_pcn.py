"""PyTorch Particle Chebyshev Network (Semlani, Relan, Ramesh 2023, arXiv 2309.08630).

Glossary of the shape comments: b batch, n particles, f features, d dimensions, h channels, k neighbours, p polynomials.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import ModelOutput, can_return_tuple

from .configuration_pcn import PcnConfig
from .graph_pcn import JetGraph, build_graph, chebyshev_polynomials, scaled_laplacian

_GROUP = 16  # jets


class PcnChebyshevConv(nn.Module):
    """`sum_p T_p(L') x W_p + bias` (Defferrard et al. 2016): the polynomials of the neighbours, and one linear map."""

    def __init__(self, in_channels: int, out_channels: int, order: int):
        super().__init__()
        self.order = order
        self.linear = nn.Linear(order * in_channels, out_channels)  # of T_0 x, T_1 x, ... side by side

    def forward(self, x: torch.Tensor, polynomials: torch.Tensor) -> torch.Tensor:
        """`(b, n, in)` to `(b, n, out)`, given `(b, n, n, p)`. The product with the polynomials comes where there are
        fewer channels: before the linear map or after it."""
        with torch.autocast(device_type=x.device.type, enabled=False):
            wide = x.to(polynomials.dtype)
            weight, bias = self.linear.weight.to(wide.dtype), self.linear.bias.to(wide.dtype)
            if x.shape[2] < len(weight):
                y = F.linear(self._polynomials_of(wide, polynomials), weight, bias)
            else:
                y = polynomials.flatten(2) @ self._mapped(wide, weight) + bias
        return y.to(x.dtype)

    def _polynomials_of(self, x: torch.Tensor, polynomials: torch.Tensor) -> torch.Tensor:
        """`T_p x` side by side, `(b, n, p in)`. They are symmetric, so that rows may be summed over for columns."""
        b, n, channels = x.shape
        return (polynomials.flatten(2).transpose(1, 2) @ x).view(b, n, self.order * channels)

    def _mapped(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """`x W_p` of all p, `(b, n p, out)`: one product with the polynomials then also sums over p."""
        out = len(weight)
        by_order = weight.view(out, self.order, -1).permute(2, 1, 0).flatten(1)  # (in, p out)
        return (x @ by_order).view(x.shape[0], x.shape[1] * self.order, out)


class PcnEdgeConv(nn.Module):
    """`max_j theta(x_i - x_j) + phi(x_i)` over the neighbours j of i (Wang et al. 2019)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.theta = nn.Linear(in_channels, out_channels)
        self.phi = nn.Linear(in_channels, out_channels)

    def forward(self, x: torch.Tensor, graph: JetGraph) -> torch.Tensor:
        """`(b, n, in)` to `(b, n, out)`. Never a `(b, n, n, out)` tensor: theta is linear, so that the maximum over j
        is `theta x_i` less the minimum of `theta x_j`, over those near i and those that i is near to."""
        mapped = F.linear(x, self.theta.weight)  # (b, n, h)
        b, n, h = mapped.shape
        k = graph.neighbors.shape[2]
        largest = torch.finfo(mapped.dtype).max
        first = torch.arange(b, device=x.device)[:, None] * n  # row of the first particle of each jet
        rows = (graph.neighbors.flatten(1) + first).flatten()  # (b n k,)
        absent = ~graph.valid.flatten()[:, None]  # (b n k, 1)
        near = mapped.flatten(0, 1).index_select(0, rows).masked_fill(absent, largest)
        near = near.view(b * n, k, h).amin(dim=1)
        sources = mapped.flatten(0, 1).repeat_interleave(k, dim=0).masked_fill(absent, largest)
        lowest = near.scatter_reduce(0, rows[:, None].expand(-1, h), sources, reduce="amin").view(b, n, h)
        has_neighbors = graph.adjacency.sum(dim=2, keepdim=True) > 0
        farthest = mapped - torch.where(has_neighbors, lowest, 0) + self.theta.bias
        return torch.where(has_neighbors, farthest, 0) + self.phi(x)


def perceptron(sizes: Sequence[int]) -> nn.Sequential:
    """Linear maps from each size to the next, a ReLU after each; of a single size it is the identity."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers)


def _should_group(features: torch.Tensor) -> bool:
    """Whether to compute jets of like numbers of particles together. Time goes with the square of the longest jet of a
    batch; but a GPU would wait for the lengths, and an exported graph has none."""
    return features.device.type == "cpu" and not torch.compiler.is_compiling() and len(features) >= 2 * _GROUP


@dataclass
class PcnModelOutput(ModelOutput):
    """Output of [`PcnModel`].

    Attributes:
        last_hidden_state: `(batch_size, particles, channels)`, zero at pads.
        pooler_output: `(batch_size, channels * poolings)`.
    """

    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None


class PcnPreTrainedModel(PreTrainedModel):
    config_class = PcnConfig
    base_model_prefix = "pcn"
    main_input_name = "features"
    _no_split_modules = ["PcnLayer"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """torch's defaults."""
        if isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, a=5**0.5)
            bound = 1 / module.in_features**0.5
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)


class PcnLayer(nn.Module):
    """A Chebyshev convolution, and an edge convolution after it where the config has them."""

    def __init__(self, config: PcnConfig, in_channels: int, out_channels: int, is_last: bool):
        super().__init__()
        self.residual = config.residual and in_channels == out_channels
        self.conv = PcnChebyshevConv(in_channels, out_channels, config.chebyshev_order)
        self.norm = nn.LayerNorm(out_channels) if config.layer_norm else nn.Identity()
        has_edges = config.edge_convolutions and not is_last
        self.edge_conv = PcnEdgeConv(out_channels, out_channels) if has_edges else None

    def forward(self, x: torch.Tensor, polynomials: torch.Tensor, graph: JetGraph, mask: torch.Tensor) -> torch.Tensor:
        """`(b, n, in)` to `(b, n, out)`, zero at pads."""
        y = F.relu(self.norm(self.conv(x, polynomials)))
        if self.residual:
            y = x + y
        if self.edge_conv is not None:
            y = F.relu(self.edge_conv(y, graph))
        return y.masked_fill(~mask[:, :, None], 0)


class PcnModel(PcnPreTrainedModel):
    """The network without a head: a vector for each particle and one for the jet."""

    def __init__(self, config: PcnConfig):
        super().__init__(config)
        embedding_sizes = [config.input_size, *config.embedding_sizes]
        self.embeddings = perceptron(embedding_sizes)
        sizes = [embedding_sizes[-1], *config.hidden_sizes]
        last = len(config.hidden_sizes) - 1
        self.layers = nn.ModuleList(PcnLayer(config, sizes[i], sizes[i + 1], i == last) for i in range(last + 1))
        self.pooled_size = sizes[-1] * len(config.pooling)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        features: torch.FloatTensor,
        points: torch.FloatTensor,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> PcnModelOutput:
        r"""
        Args:
            features (`torch.FloatTensor` of shape `(batch_size, particles, 16)`):
                Of [`PcnFeatureExtractor`].
            points (`torch.FloatTensor` of shape `(batch_size, particles, dimensions)`):
                Where the particles are; those near each other are connected.
            attention_mask (`torch.Tensor` of shape `(batch_size, particles)`, *optional*):
                Non-zero at real particles; without it all are.

        Returns:
            [`PcnModelOutput`].

        Raises:
            ValueError: if shapes do not fit.

        Example:

        ```python
        >>> import torch
        >>> from pcn import PcnConfig, PcnModel

        >>> PcnModel(PcnConfig())(torch.rand(2, 30, 16), torch.rand(2, 30, 3)).pooler_output.shape
        torch.Size([2, 64])
        ```
        """
        self._check_shapes(features, points, attention_mask)
        mask = features.new_ones(features.shape[:2]).bool() if attention_mask is None else attention_mask != 0
        # What is in a pad may be anything, even not a number.
        x, points = (each.masked_fill(~mask[:, :, None], 0) for each in (features, points))  # type: ignore[assignment]
        if not _should_group(x):
            return self._encode(x, points, mask)
        order = mask.sum(dim=1).argsort()
        parts = [self._encode_cropped(x[rows], points[rows], mask[rows]) for rows in order.split(_GROUP)]
        back = order.argsort()
        return PcnModelOutput(
            last_hidden_state=torch.cat([part.last_hidden_state for part in parts])[back],
            pooler_output=torch.cat([part.pooler_output for part in parts])[back],
        )

    def _encode_cropped(self, features: torch.Tensor, points: torch.Tensor, mask: torch.Tensor) -> Any:
        """`_encode` without the positions that are pads in all jets."""
        places = torch.arange(1, mask.shape[1] + 1)
        longest = max(1, int((mask * places).max()))
        output = self._encode(features[:, :longest], points[:, :longest], mask[:, :longest])
        pads = features.shape[1] - longest
        output["last_hidden_state"] = F.pad(output["last_hidden_state"], (0, 0, 0, pads))
        return output

    def _encode(self, features: torch.Tensor, points: torch.Tensor, mask: torch.Tensor) -> PcnModelOutput:
        """All layers and the pooling; zeros at pads, mask true at real particles."""
        graph, polynomials = self._look_around(features, points, mask)
        x = self.embeddings(features.to(self.dtype))
        for layer in self.layers:
            x = layer(x, polynomials, graph, mask)
        return PcnModelOutput(last_hidden_state=x, pooler_output=self._pool(x, mask))

    @torch.no_grad()
    def _look_around(
        self, features: torch.Tensor, points: torch.Tensor, mask: torch.Tensor
    ) -> tuple[JetGraph, torch.Tensor]:
        """The graph and its polynomials, in single precision at least: neighbours in bfloat16 would be others."""
        wide = points.to(torch.promote_types(points.dtype, torch.float32))
        with torch.autocast(device_type=points.device.type, enabled=False):
            graph = build_graph(wide, features, mask, self.config.num_neighbors)
            laplacian = scaled_laplacian(graph.adjacency, self.config.lambda_max, mask)
            return graph, chebyshev_polynomials(laplacian, self.config.chebyshev_order, mask)

    def _pool(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """`(b, n, h)` to `(b, poolings h)`; zeros of a jet without particles."""
        counts = mask.sum(dim=1, keepdim=True).clamp_min(1)
        lowest = torch.finfo(x.dtype).min
        pooled = {
            "mean": lambda: x.sum(dim=1) / counts.to(x.dtype),
            "max": lambda: x.masked_fill(~mask[:, :, None], lowest).amax(dim=1).masked_fill(~mask.any(1)[:, None], 0),
        }
        return torch.cat([pooled[name]() for name in self.config.pooling], dim=-1)

    def _check_shapes(self, features: torch.Tensor, points: torch.Tensor, mask: torch.Tensor | None) -> None:
        if features.dim() != 3 or features.shape[2] != self.config.input_size or not features.shape[1]:
            expected = f"(batch, particles, {self.config.input_size}) with one particle or more"
            raise ValueError(f"`features`: expected the shape {expected}, got {tuple(features.shape)}")
        if points.shape != (*features.shape[:2], self.config.point_size):
            expected = f"({features.shape[0]}, {features.shape[1]}, {self.config.point_size})"
            raise ValueError(f"`points`: expected the shape {expected}, got {tuple(points.shape)}")
        if mask is not None and mask.shape != features.shape[:2]:
            expected = f"({features.shape[0]}, {features.shape[1]})"
            raise ValueError(f"`attention_mask`: expected the shape {expected}, got {tuple(mask.shape)}")


class PcnForJetClassification(PcnPreTrainedModel):
    """The network with a read-out of the jet's vector: logits of the classes."""

    def __init__(self, config: PcnConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.pcn = PcnModel(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        sizes = [self.pcn.pooled_size, *config.classifier_sizes]
        self.dense = perceptron(sizes)
        self.classifier = nn.Linear(sizes[-1], config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        features: torch.FloatTensor,
        points: torch.FloatTensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        r"""
        Args:
            features, points, attention_mask: as of [`PcnModel`].
            labels (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
                Numbers of the classes.

        Returns:
            `SequenceClassifierOutput`: `logits` `(batch_size, num_labels)`, and with `labels` the cross-entropy.
        """
        output = self.pcn(features, points, attention_mask, return_dict=True)
        logits = self.classifier(self.dropout(self.dense(output.pooler_output)))
        loss = None if labels is None else F.cross_entropy(logits.float(), labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


__all__ = ["PcnForJetClassification", "PcnModel", "PcnPreTrainedModel"]
