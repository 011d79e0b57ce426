"""The diagonal state space model S4D, as in the papers, as pure functions on tensors.

Papers:
    S4D: Gu, Gupta, Goel, Ré 2022, "On the Parameterization and Initialization of Diagonal State Space Models",
        arXiv 2206.11893 (kernel: section 3.1; zero-order hold: equation 4; S4D-Lin initialisation: section 4.2)
    Lyra: Ramesh, Siddiqui, Gu, Mitzenmacher, Sabeti 2025, arXiv 2503.16351

Each of h channels has its own system with n/2 conjugate pairs of states,

    x'(t) = A x(t) + B u(t),    y(t) = 2 Re(C x(t)) + D u(t),    B = 1.

A zero-order hold of step dt makes it a recurrence. B_bar is the same for every position, so C takes it up
(C_bar = C B_bar) and the input enters the state as it is:

    x[t] = A_bar x[t-1] + u[t],    y[t] = 2 Re(C_bar x[t]) + D u[t],
    A_bar = exp(dt A),    C_bar = C (exp(dt A) - 1) / A,

which is the convolution of u with the kernel

    K[t] = 2 Re sum_n C_bar_n A_bar_n^t,    plus D at t = 0.                                                (K)

The map from inputs and an initial state to outputs and a final state is linear. However the outputs from a zero state
are computed, `state_to_output` adds what an initial state contributes, and `input_to_state` gives the final state.

Glossary: b batch, l length, h channels, n state size.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F

from .execution_lyra import block_length, channel_major, first_positions


class DiscreteSSM(NamedTuple):
    """`x[t] = A_bar x[t-1] + u[t]`, `y[t] = 2 Re(C_bar x[t]) + D u[t]`, one system per channel.

    Real and imaginary parts are separate because the kernel is made of real matrix products, which every compiler
    takes.

    Attributes:
        log_A_bar_real, log_A_bar_imag: `(h, n/2)` logarithm of A_bar, dt A.
        C_bar_real, C_bar_imag: `(h, n/2)` output matrix.
        D: `(h,)` skip connection.
    """

    log_A_bar_real: torch.Tensor
    log_A_bar_imag: torch.Tensor
    C_bar_real: torch.Tensor
    C_bar_imag: torch.Tensor
    D: torch.Tensor


def discretize(
    log_dt: torch.Tensor, log_A_real: torch.Tensor, A_imag: torch.Tensor, C: torch.Tensor, D: torch.Tensor
) -> DiscreteSSM:
    """The zero-order hold (S4D, equation 4).

    Args:
        log_dt: `(h,)` logarithm of the step size.
        log_A_real: `(h, n/2)` logarithm of minus the real part of A.
        A_imag: `(h, n/2)` imaginary part of A.
        C: `(h, n/2, 2)` real and imaginary part of C.
        D: `(h,)`.
    """
    # In complex numbers: A = -exp(log_A_real) + 1j * A_imag;  B_bar = (exp(dt * A) - 1) / A;  C_bar = C * B_bar
    dt = log_dt.exp().unsqueeze(-1)  # (h, 1)
    A_real = -log_A_real.exp()  # (h, n/2)
    real, imag = A_real * dt, A_imag * dt  # (h, n/2), dt A
    # exp(dt A) - 1 with expm1 and the half angle: the difference itself loses four digits in fp32 at the smallest steps
    step_real = torch.expm1(real) * torch.cos(imag) - 2 * torch.sin(imag / 2).square()
    step_imag = torch.exp(real) * torch.sin(imag)
    norm = A_real.square() + A_imag.square()
    B_bar_real = (step_real * A_real + step_imag * A_imag) / norm
    B_bar_imag = (step_imag * A_real - step_real * A_imag) / norm
    C_real, C_imag = C.unbind(-1)
    return DiscreteSSM(real, imag, *multiply(C_real, C_imag, B_bar_real, B_bar_imag), D)


def s4d_kernel(system: DiscreteSSM, length: int) -> torch.Tensor:
    """The convolution kernel K of equation (K), `(h, l)`."""
    kernel = vandermonde_product(system, system.C_bar_real, system.C_bar_imag, length)
    return kernel + F.pad(system.D.unsqueeze(-1), (0, length - 1))


def vandermonde_product(system: DiscreteSSM, C_real: torch.Tensor, C_imag: torch.Tensor, length: int) -> torch.Tensor:
    """`2 Re sum_n C_n A_bar_n^t` for t = 0 ... l - 1, without a tensor of size channels x state x length.

    With T near sqrt(l), the powers of t = iT + j are products of l/T coarse and T fine ones, so the sum is one batched
    product of (l/T, n) by (n, T) matrices. Time O(h n l), memory O(h (n sqrt(l) + l)).

    Args:
        C_real, C_imag: `(..., h, n/2)`.

    Returns:
        `(..., h, l)`.
    """
    block = block_length(length)
    rows = length // block + 2  # never 1, a size that the compiler would make a constant
    fine_real, fine_imag = powers(system, torch.arange(block, device=C_real.device))  # (h, n/2, T)
    coarse_real, coarse_imag = powers(system, torch.arange(rows, device=C_real.device) * block)  # (h, n/2, l/T)
    real, imag = multiply(C_real.unsqueeze(-1), C_imag.unsqueeze(-1), coarse_real, coarse_imag)
    left = torch.cat([real, -imag], dim=-2)  # (..., h, n, l/T)
    right = torch.cat([fine_real, fine_imag], dim=-2)  # (h, n, T)
    return first_positions((2 * left.transpose(-1, -2) @ right).flatten(-2), length)  # (..., h, l)


def recurrence(u: torch.Tensor, A_bar: torch.Tensor, C_bar: torch.Tensor, D: torch.Tensor) -> torch.Tensor:
    """The outputs `(b, l, h)` for the inputs u `(b, l, h)` from a zero state, one position at a time.

    Args:
        A_bar, C_bar: `(h, n/2)` complex; D: `(h,)`.
    """
    state = torch.zeros(u.shape[0], *A_bar.shape, dtype=A_bar.dtype, device=u.device)  # (b, h, n/2)
    outputs = []
    for position in u.unbind(1):  # (b, h)
        state = A_bar * state + position.unsqueeze(-1)
        outputs.append(2 * (C_bar * state).real.sum(-1) + D * position)
    return torch.stack(outputs, dim=1)


def state_to_output(system: DiscreteSSM, state: torch.Tensor, length: int) -> torch.Tensor:
    """What an initial state contributes to the outputs at the next l positions, `2 Re(C_bar A_bar^(t+1) x)`.

    Args:
        state: `(b, h, n/2)` complex.

    Returns:
        `(b, l, h)`.
    """
    first = output_matrix(system) * power(system, 1) * state  # (b, h, n/2)
    return vandermonde_product(system, first.real, first.imag, length).transpose(1, 2)


def input_to_state(system: DiscreteSSM, u: torch.Tensor, state: torch.Tensor | None = None) -> torch.Tensor:
    """The state after the last position of u `(b, l, h)`, from a state before the first one or from zero.

    Returns:
        `(b, h, n/2)` complex.
    """
    length = u.shape[1]
    block = block_length(length)
    u = channel_major(u, (-length % block, 0))  # zeros before the start leave a zero state as it is
    chunks = u.shape[-1] // block
    fine = powers(system, torch.arange(block, device=u.device))  # (h, n/2, T)
    coarse = powers(system, torch.arange(chunks - 1, -1, -1, device=u.device) * block)  # (h, n/2, m)
    chunk_states = sum_inputs(u.unflatten(-1, (chunks, block)).flatten(1, 2), input_matrix(*fine))  # (h, b m, n/2)
    weights = torch.complex(*coarse).transpose(1, 2).unsqueeze(1)  # (h, 1, m, n/2)
    last = (chunk_states.unflatten(1, (-1, chunks)) * weights).sum(2).transpose(0, 1)  # (b, h, n/2)
    return last if state is None else advance(system, state, length) + last


def advance(system: DiscreteSSM, state: torch.Tensor, length: int) -> torch.Tensor:
    """What remains of a state `(b, h, n/2)` after l positions without input."""
    return power(system, length) * state


def powers(system: DiscreteSSM, steps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A_bar^t for every t in `steps`, real and imaginary part, each `(h, n/2, steps)`."""
    decay = torch.exp(system.log_A_bar_real.unsqueeze(-1) * steps)
    angle = system.log_A_bar_imag.unsqueeze(-1) * steps
    return decay * torch.cos(angle), decay * torch.sin(angle)


def power(system: DiscreteSSM, step: int) -> torch.Tensor:
    """A_bar^t for one t, `(h, n/2)` complex."""
    return torch.polar(torch.exp(system.log_A_bar_real * step), system.log_A_bar_imag * step)


def output_matrix(system: DiscreteSSM) -> torch.Tensor:
    """C_bar, `(h, n/2)` complex."""
    return torch.complex(system.C_bar_real, system.C_bar_imag)


def input_matrix(power_real: torch.Tensor, power_imag: torch.Tensor) -> torch.Tensor:
    """A_bar^(T-1-s) `(h, T, n)`, from the inputs of T positions to the state after them, given A_bar^0 ... A_bar^(T-1),
    each `(h, n/2, T)`; real and imaginary parts alternate along n."""
    return torch.stack([power_real, power_imag], dim=2).flip(-1).flatten(1, 2).transpose(1, 2)


def sum_inputs(u: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """The state `(h, rows, n/2)` complex after each chunk of u `(h, rows, T)`, from a zero state before it."""
    return torch.view_as_complex(torch.bmm(u, matrix).unflatten(-1, (-1, 2)))


def multiply(
    a_real: torch.Tensor, a_imag: torch.Tensor, b_real: torch.Tensor, b_imag: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The complex product of a and b by their parts."""
    return a_real * b_real - a_imag * b_imag, a_real * b_imag + a_imag * b_real


__all__ = ["DiscreteSSM", "advance", "discretize", "input_to_state", "recurrence", "s4d_kernel", "state_to_output"]
