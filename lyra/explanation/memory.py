"""How far a model looks: the impulse responses of its state space layers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ..modeling_lyra import LyraClassificationModel
from ..ssm_lyra import s4d_kernel

_LONGEST = 1 << 14  # positions, of a model that does not know how long its training sequences were
_SHARE = 0.9


class Response(NamedTuple):
    """The channels of a layer in one direction.

    Attributes:
        layer: from 1.
        direction: `"forward"`, from earlier positions, or `"backward"`, from later ones.
        kernel: `(channels, distances)`, what is left of an input so many positions before, from 0 on.
    """

    layer: int
    direction: str
    kernel: np.ndarray

    @property
    def memory(self) -> np.ndarray:
        """`(channels,)`, the number of positions, its own included, that hold nine tenths of the absolute responses."""
        return (self.shares < _SHARE).sum(axis=1) + 1

    @property
    def shares(self) -> np.ndarray:
        """`(channels, distances)`, the part of the sum of absolute responses within a distance."""
        size = np.abs(self.kernel).cumsum(axis=1)
        return size / np.maximum(size[:, -1:], 1e-30)


@torch.no_grad()
def responses(model: LyraClassificationModel) -> list[Response]:
    """Of every layer and direction, as far as the longest training sequence reaches; of an ensemble those of its first
    member."""
    _, longest = (model.config.training_data or {}).get("lengths", (None, None))
    found = []
    for number, layer in enumerate(model.lyra.encoder.layers, 1):
        systems = layer.systems(torch.float64)  # type: ignore[operator]
        for direction, system in zip(("forward", "backward"), systems, strict=True):
            if system is not None:
                alone = system._replace(D=torch.zeros_like(system.D))  # the skip connection looks nowhere
                found.append(Response(number, direction, s4d_kernel(alone, longest or _LONGEST).cpu().numpy()))
    return found


def memory_lengths(found: Sequence[Response]) -> list[dict[str, Any]]:
    """How far each channel of each layer looks: `layer`, `direction`, `channel` and `memory`, in positions."""
    return [
        {"layer": each.layer, "direction": each.direction, "channel": channel, "memory": int(memory)}
        for each in found
        for channel, memory in enumerate(each.memory)
    ]
