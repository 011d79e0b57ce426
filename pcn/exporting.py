"""A tagger as ONNX, for programs without PyTorch."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lyra.errors import InputError
from lyra.files import write_then_rename

from .modeling_pcn import PcnForJetClassification

OPSET = 18
INPUTS = ("features", "points", "attention_mask")


class _Logits(nn.Module):
    def __init__(self, model: PcnForJetClassification):
        super().__init__()
        self.model = model

    def forward(self, features: Any, points: Any, attention_mask: Any) -> torch.Tensor:
        return self.model(features, points, attention_mask).logits


def example_inputs(model: PcnForJetClassification, jets: int, particles: int) -> tuple[torch.Tensor, ...]:
    """Random jets of which every second one is shorter, by the same random numbers each time."""
    random = torch.Generator().manual_seed(0)
    points = torch.randn(jets, particles, model.config.point_size, generator=random)
    features = torch.randn(jets, particles, model.config.input_size, generator=random)
    mask = torch.ones(jets, particles, dtype=torch.long)
    mask[1::2, max(1, particles // 2) :] = 0
    return features, points, mask


def export(model: PcnForJetClassification, file: Path) -> float:
    """Writes `features`, `points` and `attention_mask` to `logits`, for any number of jets and particles.

    Returns:
        The largest difference of logits from the model's own, on jets of other sizes than those traced.

    Raises:
        InputError: without the extra `onnx`.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401, what the exporter needs
    except ImportError as error:
        raise InputError(f"exporting needs {error.name}: pip install 'lyra-bio[onnx]'") from None
    module = _Logits(model.to("cpu").eval())
    sizes = {0: torch.export.Dim("jets"), 1: torch.export.Dim("particles", min=2)}
    with write_then_rename(file) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            example_inputs(model, 4, 20),
            str(partial),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(INPUTS),
            output_names=["logits"],
            dynamic_shapes=dict.fromkeys(INPUTS, sizes),
            external_data=False,
            verbose=False,
        )
        session = onnxruntime.InferenceSession(str(partial), providers=["CPUExecutionProvider"])
        other = example_inputs(model, 3, 33)
        with torch.no_grad():
            own = module(*other).numpy()
        feeds = {name: value.numpy() for name, value in zip(INPUTS, other, strict=True)}
        return float(np.abs(session.run(None, feeds)[0] - own).max())
