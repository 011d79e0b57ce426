"""The diagonal state space model S4D as pure functions on tensors.

Papers:
    S4D: Gu, Gupta, Goel, Ré 2022, "On the Parameterization and Initialization of Diagonal State Space Models",
        arXiv 2206.11893 (kernel: section 3.1; zero-order hold: equation 4; S4D-Lin initialisation: section 4.2)
    Lyra: Ramesh, Siddiqui, Gu, Mitzenmacher, Sabeti 2025, arXiv 2503.16351

Each of h channels has its own system with n/2 conjugate pairs of states,

    x'(t) = A x(t) + B u(t),    y(t) = 2 Re(C x(t)) + D u(t),    B = 1,

discretised with step dt by a zero-order hold, which makes the map u -> y a convolution with

    K[t] = 2 Re sum_n C_n (exp(dt A_n) - 1) / A_n exp(t dt A_n)

Glossary: b batch, l length, h channels, n state size, A and C as above, dt step size.
"""

import math
from functools import lru_cache

import torch

# Under the compiler lengths may be symbols; up to 65,536 this is within a factor of 2 of the best block.
_COMPILED_BLOCK = 64


def s4d_kernel(
    log_dt: torch.Tensor, log_A_real: torch.Tensor, A_imag: torch.Tensor, C: torch.Tensor, length: int
) -> torch.Tensor:
    """The convolution kernel K of equation (K) above, without a tensor of size channels x state x length.

    With T near sqrt(l), the powers exp((iT + j) dt A) are products of l/T coarse and T fine ones, so K is one batched
    product of (l/T, n) by (n, T) matrices per channel. Time O(h n l), memory O(h (n sqrt(l) + l)).

    Args:
        log_dt: `(h,)` logarithm of the step size.
        log_A_real: `(h, n/2)` logarithm of minus the real part of A.
        A_imag: `(h, n/2)` imaginary part of A.
        C: `(h, n/2, 2)` real and imaginary part of C.
        length: l, at least 1.

    Returns:
        `(h, l)` in the dtype of the parameters.
    """
    dt = log_dt.exp().unsqueeze(-1)  # (h, 1)
    A_real = -log_A_real.exp()  # (h, n/2)
    dtA_real, dtA_imag = A_real * dt, A_imag * dt  # (h, n/2)
    C_real, C_imag = _discretize(C, A_real, A_imag, dtA_real, dtA_imag)  # (h, n/2)

    block = _block_length(length)
    rows = length // block + 2  # never 1, a size that the compiler would make a constant
    fine_real, fine_imag = _powers(dtA_real, dtA_imag, torch.arange(block, device=C.device))  # (h, n/2, T)
    coarse_real, coarse_imag = _powers(dtA_real, dtA_imag, torch.arange(rows, device=C.device) * block)  # (h, n/2, l/T)
    C_real, C_imag = C_real.unsqueeze(-1), C_imag.unsqueeze(-1)
    left = torch.cat(
        [C_real * coarse_real - C_imag * coarse_imag, -(C_real * coarse_imag + C_imag * coarse_real)], dim=1
    )  # (h, n, l/T)
    right = torch.cat([fine_real, fine_imag], dim=1)  # (h, n, T)
    kernel = (2 * left.transpose(1, 2) @ right).flatten(1)  # (h, l/T T)
    if torch.compiler.is_compiling():  # which cannot prove of a symbolic length that the slice is inside
        return kernel.index_select(1, torch.arange(length, device=kernel.device))
    return kernel[:, :length]


def fft_convolution(u: torch.Tensor, kernel: torch.Tensor, reverse_kernel: torch.Tensor | None = None) -> torch.Tensor:
    """Causal convolution of every channel with its kernel by the fast Fourier transform, O(l log l).

    Args:
        u: `(b, l, h)`.
        kernel: `(h, l)`; `y[t] = sum_s kernel[s] u[t - s]`.
        reverse_kernel: `(h, l)`, added as `sum_s reverse_kernel[s] u[t + s]`.

    Returns:
        `(b, l, h)`.
    """
    length = u.shape[1]
    size = _fft_size(length)
    transfer = torch.fft.rfft(kernel, n=size)  # (h, size/2 + 1)
    if reverse_kernel is not None:
        # Reversing a real signal in time conjugates its transform; 2l - 1 positions keep the two sides apart.
        transfer = transfer + torch.fft.rfft(reverse_kernel, n=size).conj()
    spectrum = torch.fft.rfft(u.transpose(1, 2), n=size)  # (b, h, size/2 + 1)
    return torch.fft.irfft(spectrum * transfer, n=size)[..., :length].transpose(1, 2)


def _discretize(
    C: torch.Tensor, A_real: torch.Tensor, A_imag: torch.Tensor, dtA_real: torch.Tensor, dtA_imag: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """C (exp(dt A) - 1) / A, real and imaginary part, each `(h, n/2)`."""
    # expm1, because exp(dt A) - 1 loses four digits in fp32 at the smallest steps
    step_real = torch.expm1(dtA_real) * torch.cos(dtA_imag) - 2 * torch.sin(dtA_imag / 2).square()
    step_imag = torch.exp(dtA_real) * torch.sin(dtA_imag)
    norm = A_real.square() + A_imag.square()
    B_real = (step_real * A_real + step_imag * A_imag) / norm
    B_imag = (step_imag * A_real - step_real * A_imag) / norm
    C_real, C_imag = C.unbind(-1)
    return C_real * B_real - C_imag * B_imag, C_real * B_imag + C_imag * B_real


def _powers(dtA_real: torch.Tensor, dtA_imag: torch.Tensor, steps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """exp(t dt A) for every t in `steps`, real and imaginary part, each `(h, n/2, steps)`."""
    decay = torch.exp(dtA_real.unsqueeze(-1) * steps)
    angle = dtA_imag.unsqueeze(-1) * steps
    return decay * torch.cos(angle), decay * torch.sin(angle)


def _block_length(length: int) -> int:
    """A power of two near sqrt(length)."""
    return _COMPILED_BLOCK if torch.compiler.is_compiling() else 1 << ((length - 1).bit_length() + 1) // 2


def _fft_size(length: int) -> int:
    """Where the circular convolution no longer wraps: at least 2l - 1, even, and fast to transform."""
    return 2 * length if torch.compiler.is_compiling() else _fast_even_size(2 * length - 1)


@lru_cache
def _fast_even_size(minimum: int) -> int:
    """The smallest even number of the form 2^i 3^j 5^k that is at least `minimum`."""
    sizes = []
    for five in range(math.ceil(math.log(minimum + 1, 5)) + 1):
        for three in range(math.ceil(math.log(minimum + 1, 3)) + 1):
            odd = 5**five * 3**three
            sizes.append(odd << max(1, (-(-minimum // odd) - 1).bit_length()))
    return min(sizes)


__all__ = ["fft_convolution", "s4d_kernel"]
