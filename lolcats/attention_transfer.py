"""Stage 1: feature maps learn the outputs of the attention that they replace (section 3.1)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm.auto import tqdm

from lyra.errors import InputError

from .conversion import base_of, implementation
from .modeling_lolcats import TEACHER, LolcatsAttention, attention_layers, real_keys, softmax_weights


@dataclass
class TransferArguments:
    """Settings of attention transfer."""

    steps: int = field(default=1000, metadata={"help": "Batches to learn from."})
    learning_rate: float = field(default=1e-1, metadata={"help": "Of every layer's own AdamW; falls to zero linearly."})
    weight_loss: float = field(
        default=0.0, metadata={"help": "Weight of the cross-entropy of attention weights, beside the outputs' error."}
    )
    blocks: list[int] | None = field(
        default=None, metadata={"help": "Numbers of linear layers to train, from 0; by default all. Others stay."}
    )

    def __post_init__(self) -> None:
        for name in ("steps", "learning_rate"):
            if not getattr(self, name) > 0:
                raise InputError(f"--{name}: expected more than 0, got {getattr(self, name)}")
        if self.weight_loss < 0:
            raise InputError(f"--weight_loss: expected at least 0, got {self.weight_loss}")


class _Learner:
    """The optimizer of one layer, and its errors."""

    def __init__(self, own: LolcatsAttention, settings: TransferArguments) -> None:
        self.weight_loss = settings.weight_loss
        self.parameters = list(own.parameters())
        for parameter in self.parameters:
            parameter.grad = None  # of whoever had them before
        self.optimizer = torch.optim.AdamW(self.parameters, settings.learning_rate, weight_decay=0.0)
        self.schedule = torch.optim.lr_scheduler.LinearLR(self.optimizer, 1.0, 0.0, settings.steps)
        self.errors: list[Tensor] = []

    def observe(
        self,
        own: LolcatsAttention,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        scale: float,
        mask: Tensor | None,
        teacher: Tensor,
    ) -> None:
        """Adds the gradients of this layer: nothing flows to other layers, so that each can be trained alone."""
        with torch.enable_grad():
            q, k, v = q.detach(), k.detach(), v.detach()
            error = output_error(own(q, k, v, scale, mask), teacher.detach(), k, mask)
            loss = error + self.weight_loss * weight_error(own, q, k, scale, mask) if self.weight_loss else error
            loss.backward()
        self.errors.append(error.detach())

    def step(self, accelerator: Accelerator) -> None:
        for parameter in self.parameters:
            parameter.grad = accelerator.reduce(parameter.grad, "mean")
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()


def transfer(model: nn.Module, batches: Iterable[dict[str, Tensor]], settings: TransferArguments) -> dict[str, float]:
    """Trains the feature maps and gates of a linear model; the model itself is frozen and is not changed.

    Every layer learns from the inputs that the model itself gives it, by its own optimizer.

    Args:
        model: of [`linearize`]; on several processes each gives its own batches, and gradients are averaged.
        batches: at least `settings.steps` of them, as the model takes them.

    Returns:
        the mean squared error of each layer over the last tenth of the steps, by its name.

    Raises:
        InputError: for blocks that the model does not have, or too few batches.
    """
    accelerator = Accelerator()
    base = base_of(model)
    if not hasattr(base, "hf_device_map"):
        base = base.to(accelerator.device)  # type: ignore[arg-type]
    layers = attention_layers(base)
    chosen = _choose(list(layers), settings.blocks)
    learners = {name: _Learner(layers[name], settings) for name in chosen}
    if accelerator.num_processes > 1:
        for own in layers.values():
            for tensor in own.state_dict().values():
                torch.distributed.broadcast(tensor, 0)
    was_training, needed = base.training, {p: p.requires_grad for p in base.parameters()}
    base.requires_grad_(False).eval()
    for name, learner in learners.items():
        layers[name].requires_grad_(True).observer = learner.observe
    bar = tqdm(total=settings.steps, desc="attention transfer", disable=not accelerator.is_main_process)
    try:
        with implementation(base, TEACHER), bar:
            for _, batch in zip(range(settings.steps), batches, strict=False):
                _forward(base, {name: each.to(base.device) for name, each in batch.items()})
                for learner in learners.values():
                    learner.step(accelerator)
                bar.update()
                latest = torch.stack([learner.errors[-1] for learner in learners.values()])
                bar.set_postfix(error=f"{float(latest.mean()):.4g}")
    finally:
        for name in learners:
            layers[name].observer = None
        for parameter, requires_grad in needed.items():
            parameter.requires_grad_(requires_grad)
        base.train(was_training)
    if bar.n < settings.steps:
        raise InputError(f"expected {settings.steps} batches, got {bar.n}")
    last = max(1, settings.steps // 10)
    return {name: float(torch.stack(learner.errors[-last:]).mean()) for name, learner in learners.items()}


@torch.no_grad()
def _forward(base: nn.Module, batch: dict[str, Any]) -> None:
    base(**{name: value for name, value in batch.items() if name != "labels"})


def _choose(names: list[str], blocks: list[int] | None) -> list[str]:
    if not names:
        raise InputError("expected a model that `linearize` made linear")
    if wrong := [number for number in blocks or () if not 0 <= number < len(names)]:
        raise InputError(f"--blocks: expected numbers from 0 to {len(names) - 1}, the linear layers, got {wrong[0]}")
    return names if blocks is None else [names[number] for number in sorted(set(blocks))]


def output_error(student: Tensor, teacher: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    """The mean squared error of the outputs of all heads at real positions, before the output projection."""
    real = real_keys(k, mask)[:, None, :, None]
    squares = (student - teacher.to(student.dtype)).square() * real
    return squares.sum() / (real.sum() * student.shape[1] * student.shape[-1])


def weight_error(own: LolcatsAttention, q: Tensor, k: Tensor, scale: float, mask: Tensor | None) -> Tensor:
    """The cross-entropy of attention weights against the softmax, in nats, a mean over heads and real positions."""
    real = real_keys(k, mask)
    expected = softmax_weights(own, q, k, scale, mask)
    found = own.weights(q, k, scale, mask).clamp_min(1e-12)
    return -(expected * found.log()).sum(-1).mul(real[:, None]).sum() / (real.sum() * q.shape[1])
