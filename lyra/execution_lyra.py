"""How operations run: one by one on plain tensors, or under a compiler, a tracer or a function transform.

Several files have two versions of a computation: one written by hand for plain CPU tensors, and the formula as it is,
which a GPU or a compiler fuses and which transforms can batch and differentiate again. This file decides between them.
"""

import torch
import torch.nn.functional as F

# Under the compiler lengths may be symbols; up to 65,536 positions this is within a factor of 2 of the best block.
_COMPILED_BLOCK = 64


def is_plain_eager(*tensors: torch.Tensor) -> bool:
    """Whether operations on the tensors run one by one on plain values: not under the compiler or a tracer, and not
    batched or carrying tangents for `torch.func` and its kin."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    return not _is_transformed(tensors)


def _is_transformed(tensors: tuple[torch.Tensor, ...]) -> bool:
    """Whether a function transform is active. torch has no public way to ask; where a version lacks the private ones,
    it counts as active, since the plain formulas are right everywhere."""
    try:
        if torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0:
            return True
        return any(torch._C._functorch.is_legacy_batchedtensor(x) for x in tensors)
    except AttributeError:
        return True


def is_eager_cpu(*tensors: torch.Tensor) -> bool:
    """Whether work that a GPU or a compiler would fuse is worth doing by hand, and a look at values costs nothing."""
    return tensors[0].device.type == "cpu" and is_plain_eager(*tensors)


def at_least_fp32(x: torch.Tensor) -> torch.Tensor:
    """`x` in fp32, or in fp64 where it has that."""
    return x if x.dtype == torch.float64 else x.float()


def reduce_mask(mask: torch.Tensor) -> torch.Tensor | None:
    """A mask, or None if it hides nothing, where finding that out costs nothing."""
    return None if is_eager_cpu(mask) and mask.all() else mask


def block_length(length: int) -> int:
    """A power of two near sqrt(length)."""
    return _COMPILED_BLOCK if torch.compiler.is_compiling() else 1 << ((length - 1).bit_length() + 1) // 2


def first_positions(x: torch.Tensor, length: int) -> torch.Tensor:
    """`x[..., :length]`."""
    if torch.compiler.is_compiling():  # which cannot prove of a symbolic length that the slice is inside
        return x.index_select(-1, torch.arange(length, device=x.device))
    return x[..., :length]


def channel_major(u: torch.Tensor, pad: tuple[int, int]) -> torch.Tensor:
    """`(b, l, h)` to `(h, b, l)`, with zeros before and after."""
    u = u.permute(2, 0, 1)
    return F.pad(u, pad) if any(pad) else u.contiguous()


__all__ = [
    "at_least_fp32",
    "block_length",
    "channel_major",
    "first_positions",
    "is_eager_cpu",
    "is_plain_eager",
    "reduce_mask",
]
