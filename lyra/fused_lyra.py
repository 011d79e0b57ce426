"""Norm and gate of the Lyra blocks, written for few passes over memory.

On a CPU these steps cost as much as the matrix products between them, and the library's versions several times as much:
the backward of its `rms_norm`, a gated linear unit followed by dropout and addition, a random number per element. A GPU
or a compiler fuses the plain formulas, which are therefore kept beside them.

Glossary: b batch, l length, d channels.
"""

import torch
import torch.nn.functional as F
from torch import nn

from .execution_lyra import at_least_fp32, is_eager_cpu, is_plain_eager


class LyraRMSNorm(nn.Module):
    """`x / sqrt(mean(x^2) + eps) * weight` over the channels, with the mean in fp32 or better."""

    def __init__(self, channels: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(..., d)` to `(..., d)`."""
        wide = at_least_fp32(x)
        weight = self.weight.to(wide.dtype)
        if is_eager_cpu(wide, weight):
            return _RMSNorm.apply(wide, weight, self.eps).to(x.dtype)
        return F.rms_norm(wide, weight.shape, weight, self.eps).to(x.dtype)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x * _inverse_rms(x, eps) * weight

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        with torch.autocast("cpu", enabled=False):
            inverse = _inverse_rms(x, ctx.eps)  # (..., 1)
            product = grad * x
            if torch.is_grad_enabled() or not is_plain_eager(grad):  # to be differentiated once more, or batched
                along = (product * weight).sum(-1, keepdim=True) * inverse.pow(3) / -x.shape[-1]  # (..., 1)
                grad_weight = (product * inverse).sum(tuple(range(x.dim() - 1)))
                return torch.addcmul(grad * weight * inverse, x, along), grad_weight, None
            # The two reductions over (rows, channels) as products with a vector.
            grad_weight = inverse.flatten() @ product.flatten(0, -2)
            along = (product @ weight).unsqueeze(-1) * inverse.pow(3) / -x.shape[-1]
            return (grad * weight).mul_(inverse).addcmul_(x, along), grad_weight, None


def _inverse_rms(x: torch.Tensor, eps: float) -> torch.Tensor:
    """`1 / sqrt(mean(x^2) + eps)` over the last dimension, which stays with size 1."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return torch.rsqrt(norm.square() / x.shape[-1] + eps)


class LyraGatedResidual(nn.Module):
    """`hidden_states + dropout(GLU(z))`."""

    def __init__(self, dropout_prob: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout_prob)

    def forward(self, hidden_states: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """`(b, l, d)` and `(b, l, 2d)` to `(b, l, d)`."""
        if not is_eager_cpu(hidden_states, z) or hidden_states.dtype != z.dtype:
            return hidden_states + self.dropout(F.glu(z, dim=-1))
        dropping = self.dropout.training and self.dropout.p > 0
        scale = _dropout_scale(hidden_states, self.dropout.p) if dropping else None
        return _GatedResidual.apply(hidden_states, z, scale)


class _GatedResidual(torch.autograd.Function):
    """`hidden_states + scale * GLU(z)`."""

    @staticmethod
    def forward(ctx, hidden_states, z, scale):
        ctx.save_for_backward(z, scale)
        value, gate = z.chunk(2, dim=-1)
        y = gate.sigmoid().mul_(value)
        return (y if scale is None else y.mul_(scale)).add_(hidden_states)

    @staticmethod
    def backward(ctx, grad):
        z, scale = ctx.saved_tensors
        value, gate = z.chunk(2, dim=-1)
        opening = gate.sigmoid()
        if torch.is_grad_enabled() or not is_plain_eager(grad):  # to be differentiated once more, or batched
            grad_value = (grad if scale is None else grad * scale) * opening
            return grad, torch.cat([grad_value, grad_value * value * (1 - opening)], dim=-1), None
        grad_z = torch.empty_like(z)
        grad_value, grad_gate = grad_z.chunk(2, dim=-1)
        torch.mul(grad, opening, out=grad_value)
        if scale is not None:
            grad_value.mul_(scale)
        torch.mul(grad_value, value, out=grad_gate)
        grad_gate.mul_(opening.neg_().add_(1))
        return grad, grad_z, None


def _dropout_scale(like: torch.Tensor, p: float) -> torch.Tensor:
    """0 with probability p (to 2^-16), otherwise 1 / (1 - p), from 16 random bits each: the library's generator takes
    several times as long on CPU."""
    dropped = min(round(p * 2**16), 2**16 - 1)  # of the 2^16 values
    words = torch.empty(-(-like.numel() // 4), dtype=torch.int64, device=like.device).random_(-(2**63), None)
    keep = words.view(torch.int16)[: like.numel()].view(like.shape) >= dropped - 2**15
    return keep.to(like.dtype).mul_(2**16 / (2**16 - dropped))


__all__ = ["LyraGatedResidual", "LyraRMSNorm"]
