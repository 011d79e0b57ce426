"""The diagonal state space model S4D as pure functions on tensors, and three ways to run it over a sequence.

Papers:
    S4D: Gu, Gupta, Goel, Ré 2022, "On the Parameterization and Initialization of Diagonal State Space Models",
        arXiv 2206.11893 (kernel: section 3.1; zero-order hold: equation 4; S4D-Lin initialisation: section 4.2)
    Lyra: Ramesh, Siddiqui, Gu, Mitzenmacher, Sabeti 2025, arXiv 2503.16351

Each of h channels has its own system with n/2 conjugate pairs of states,

    x'(t) = A x(t) + B u(t),    y(t) = 2 Re(C x(t)) + D u(t),    B = 1.

A zero-order hold of step dt makes it a recurrence (`DiscreteSSM`, where C has taken up the gain of the input)

    x[t] = z x[t-1] + u[t],    y[t] = 2 Re(C x[t]) + D u[t],    z = exp(dt A),    C <- C (exp(dt A) - 1) / A,

which is the convolution of u with the kernel

    K[t] = 2 Re sum_n C_n z_n^t,    plus D at t = 0.                                                        (K)

The same numbers come from three paths; each is a pair of functions, one that makes tensors of the system (`operators`,
the same for every input of one length) and one that applies them:

    recurrent   the recurrence itself, one position at a time;
    fft         the convolution as a product of Fourier transforms, O(l log l);
    chunked     in chunks of T positions: inside a chunk a product with the T x T Toeplitz matrix of K, between chunks
                the state, O(l T). A sequence of one chunk needs no state at all.

The map from u and the first state to y and the last state is linear, so whatever path computes y from a zero state,
`state_response` adds what an earlier state contributes and `end_state` gives the state to carry on.

Glossary: b batch, l length, h channels, n state size, T chunk length, m number of chunks.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

# Under the compiler lengths may be symbols; up to 65,536 this is within a factor of 2 of the best block.
_COMPILED_BLOCK = 64
# A sequence of at most so many positions is one chunk; a longer one is cut into chunks near the second number.
_LONGEST_SINGLE_CHUNK, _CHUNK = 256, 128
_SCAN_BLOCK = 32
# Elements whose spectra a CPU's cache holds.
_TILE = 1 << 19
_LONG = 16_384


class DiscreteSSM(NamedTuple):
    """`x[t] = z x[t-1] + u[t]`, `y[t] = 2 Re(C x[t]) + D u[t]`, one system per channel.

    Real and imaginary parts stand apart because the kernel is made of real matrix products, which every compiler takes.

    Attributes:
        log_z_real, log_z_imag: `(h, n/2)` logarithm of z, dt A.
        C_real, C_imag: `(h, n/2)` what is read from the states.
        D: `(h,)` what is read from the input.
    """

    log_z_real: torch.Tensor
    log_z_imag: torch.Tensor
    C_real: torch.Tensor
    C_imag: torch.Tensor
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
    dt = log_dt.exp().unsqueeze(-1)  # (h, 1)
    A_real = -log_A_real.exp()  # (h, n/2)
    log_z_real, log_z_imag = A_real * dt, A_imag * dt  # (h, n/2)
    # expm1, because exp(dt A) - 1 loses four digits in fp32 at the smallest steps
    step_real = torch.expm1(log_z_real) * torch.cos(log_z_imag) - 2 * torch.sin(log_z_imag / 2).square()
    step_imag = torch.exp(log_z_real) * torch.sin(log_z_imag)
    norm = A_real.square() + A_imag.square()
    gain_real = (step_real * A_real + step_imag * A_imag) / norm
    gain_imag = (step_imag * A_real - step_real * A_imag) / norm
    C_real, C_imag = C.unbind(-1)
    return DiscreteSSM(log_z_real, log_z_imag, *_multiply(C_real, C_imag, gain_real, gain_imag), D)


def s4d_kernel(system: DiscreteSSM, length: int) -> torch.Tensor:
    """The convolution kernel K of equation (K), `(h, l)`."""
    kernel = _vandermonde(system, system.C_real, system.C_imag, length)
    return kernel + F.pad(system.D.unsqueeze(-1), (0, length - 1))


def state_response(system: DiscreteSSM, state: torch.Tensor, length: int) -> torch.Tensor:
    """What the outputs at the next l positions owe to a state, `2 Re(C z^(t+1) x)`.

    Args:
        state: `(b, h, n/2)` complex.

    Returns:
        `(b, l, h)`.
    """
    first = _output_matrix(system) * _power(system, 1) * state  # (b, h, n/2)
    return _vandermonde(system, first.real, first.imag, length).transpose(1, 2)


def end_state(system: DiscreteSSM, u: torch.Tensor, state: torch.Tensor | None = None) -> torch.Tensor:
    """The state after the last position of u `(b, l, h)`, from a state before the first one or from zero.

    Returns:
        `(b, h, n/2)` complex.
    """
    length = u.shape[1]
    block = _block_length(length)
    u = _channel_major(u, (-length % block, 0))  # zeros before the start leave a zero state as it is
    chunks = u.shape[-1] // block
    fine = _powers(system, torch.arange(block, device=u.device))  # (h, n/2, T)
    coarse = _powers(system, torch.arange(chunks - 1, -1, -1, device=u.device) * block)  # (h, n/2, m)
    left = _left_behind(u.unflatten(-1, (chunks, block)).flatten(1, 2), _collecting(*fine))  # (h, b m, n/2)
    weights = torch.complex(*coarse).transpose(1, 2).unsqueeze(1)  # (h, 1, m, n/2)
    last = (left.unflatten(1, (-1, chunks)) * weights).sum(2).transpose(0, 1)  # (b, h, n/2)
    return last if state is None else advance(system, state, length) + last


def advance(system: DiscreteSSM, state: torch.Tensor, length: int) -> torch.Tensor:
    """What is left of a state `(b, h, n/2)` after l positions without input."""
    return _power(system, length) * state


# ── recurrent ────────────────────────────────────────────────────────────────────────────────────────────────────────


def recurrent_operators(system: DiscreteSSM, reverse: DiscreteSSM | None, length: int) -> tuple[Any, ...]:
    """z, C `(h, n/2)` complex and D `(h,)` of each direction."""
    return tuple((_power(each, 1), _output_matrix(each), each.D) for each in (system, reverse) if each is not None)


def recurrent_convolution(u: torch.Tensor, operators: tuple[Any, ...]) -> torch.Tensor:
    """The outputs `(b, l, h)` for the inputs u `(b, l, h)`, one position at a time; time O(l h n), no kernel."""
    outputs = _recurrence(u, *operators[0])
    if len(operators) == 2:
        outputs = outputs + _recurrence(u.flip(1), *operators[1]).flip(1)
    return outputs


def _recurrence(u: torch.Tensor, z: torch.Tensor, C: torch.Tensor, D: torch.Tensor) -> torch.Tensor:
    state = torch.zeros(u.shape[0], *z.shape, dtype=z.dtype, device=u.device)
    outputs = []
    for position in u.unbind(1):  # (b, h)
        state = z * state + position.unsqueeze(-1)
        outputs.append(2 * (C * state).real.sum(-1) + D * position)
    return torch.stack(outputs, dim=1)


# ── fft ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def fft_operators(system: DiscreteSSM, reverse: DiscreteSSM | None, length: int) -> tuple[torch.Tensor]:
    """The transform of the kernel (both kernels, if the second runs from the end), `(h, size/2 + 1)` complex."""
    size = _fft_size(length)
    transfer = torch.fft.rfft(s4d_kernel(system, length), n=size)
    if reverse is not None:
        # Reversing a real signal in time conjugates its transform; 2l - 1 positions keep the two sides apart.
        transfer = transfer + torch.fft.rfft(s4d_kernel(reverse, length), n=size).conj()
    return (transfer,)


def fft_convolution(u: torch.Tensor, operators: tuple[torch.Tensor]) -> torch.Tensor:
    """The outputs `(b, l, h)` for the inputs u `(b, l, h)` by the fast Fourier transform."""
    u = u.transpose(1, 2)  # (b, h, l)
    convolve = _FFTConvolution.apply if runs_eagerly(u, *operators) else _fft_product
    return convolve(u, *operators).transpose(1, 2)


def _fft_product(u: torch.Tensor, transfer: torch.Tensor) -> torch.Tensor:
    length = u.shape[-1]
    size = _fft_size(length)
    return torch.fft.irfft(torch.fft.rfft(u, n=size) * transfer, n=size)[..., :length]


class _FFTConvolution(torch.autograd.Function):
    """`_fft_product` in tiles that fit the cache, with a backward of real transforms; autograd's own takes complex
    ones of twice the work."""

    @staticmethod
    def forward(ctx, u, transfer):
        ctx.save_for_backward(u, transfer)
        if u.device.type != "cpu":
            return _fft_product(u, transfer)
        y = torch.empty_like(u)
        for rows, channels in _tiles(u):
            y[rows, channels] = _fft_product(u[rows, channels], transfer[channels])
        return y

    @staticmethod
    def backward(ctx, grad):
        u, transfer = ctx.saved_tensors
        length = u.shape[-1]
        size = _fft_size(length)
        # Every frequency but the first and the last stands for itself and its conjugate.
        weights = torch.full((size // 2 + 1,), 2 / size, dtype=u.dtype, device=u.device)
        weights[0] = weights[-1] = 1 / size

        def gradients(grad: torch.Tensor, u: torch.Tensor, transfer: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            spectrum = torch.fft.rfft(grad, n=size)
            grad_u = torch.fft.irfft(spectrum * transfer.conj(), n=size).narrow(-1, 0, length)
            return grad_u, (torch.fft.rfft(u, n=size).conj() * spectrum).sum(-3) * weights

        # To be differentiated once more, or batched; or where there is one tile.
        if torch.is_grad_enabled() or not is_eager_cpu(grad):
            return gradients(grad, u, transfer)
        grad_u, grad_transfer = torch.empty_like(u), torch.zeros_like(transfer)
        for rows, channels in _tiles(u):
            part = gradients(grad[rows, channels], u[rows, channels], transfer[channels])
            grad_u[rows, channels] = part[0]
            grad_transfer[channels] += part[1]
        return grad_u, grad_transfer


def _tiles(u: torch.Tensor) -> Iterator[tuple[slice, slice]]:
    """Parts of u `(b, h, l)` whose spectra a CPU can keep in its cache."""
    batch, channels, length = u.shape
    rows = max(1, _TILE // (channels * length))
    columns = max(1, _TILE // length)
    for i in range(0, batch, rows):
        for j in range(0, channels, columns):
            yield slice(i, i + rows), slice(j, j + columns)


# ── chunked ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class ChunkOperators(NamedTuple):
    """The system over a chunk of T positions; n counts real and imaginary parts, of both directions if there are two.

    Attributes:
        toeplitz: `(h, T, T)`, from inputs (rows) to outputs (columns) of one chunk.
        collect: `(h, T, n)`, from inputs to the state that they leave; None where there is only one chunk.
        emit: `(h, n, T)`, from the state that enters a chunk to outputs.
        decay: `(h, n/2)` complex, z^T of each direction.
    """

    toeplitz: torch.Tensor
    collect: torch.Tensor | None = None
    emit: torch.Tensor | None = None
    decay: tuple[torch.Tensor, ...] = ()


def chunk_operators(system: DiscreteSSM, reverse: DiscreteSSM | None, length: int) -> ChunkOperators:
    """The matrices of [`chunked_convolution`] for sequences of l positions."""
    chunk = _chunk_length(length)
    taps = F.pad(s4d_kernel(system, chunk), (chunk - 1, 0))  # (h, 2T - 1), the tap of distance t at T - 1 + t
    if reverse is not None:
        taps = taps + F.pad(s4d_kernel(reverse, chunk).flip(-1), (0, chunk - 1))
    toeplitz = _toeplitz(taps, chunk)
    if chunk >= length:
        return ChunkOperators(toeplitz)
    # The second direction is the first one read from the end of each chunk.
    parts = [_chunk_states(each, chunk) for each in (system, reverse) if each is not None]
    if reverse is not None:
        collect, emit, decay = parts[1]
        parts[1] = (collect.flip(1), emit.flip(2), decay)
    collects, emits, decays = zip(*parts, strict=True)
    return ChunkOperators(toeplitz, torch.cat(collects, dim=2), torch.cat(emits, dim=1), decays)


def chunked_convolution(u: torch.Tensor, operators: ChunkOperators) -> torch.Tensor:
    """The outputs `(b, l, h)` for the inputs u `(b, l, h)`: matrix products, and a scan over the states of m chunks."""
    batch, length, _ = u.shape
    toeplitz, collect, emit, decay = operators
    chunk = toeplitz.shape[-1]
    u = _channel_major(u, (0, -length % chunk))  # (h, b, m T)
    chunks = u.shape[-1] // chunk
    u = u.reshape(u.shape[0], batch * chunks, chunk)  # (h, b m, T)
    y = torch.bmm(u, toeplitz)  # (h, b m, T)
    if collect is not None and emit is not None:
        left = _left_behind(u, collect).unflatten(1, (batch, chunks))  # (h, b, m, n/2)
        forth, *back = left.tensor_split(len(decay), dim=-1)
        scan = _Scan.apply if runs_eagerly(u, *decay) else _scan
        entering = scan(forth, decay[0])
        if back:
            entering = torch.cat([entering, scan(back[0].flip(2), decay[1]).flip(2)], dim=-1)
        y = torch.baddbmm(y, torch.view_as_real(entering).flatten(-2).flatten(1, 2), emit)
    return y.view(u.shape[0], batch, chunks * chunk)[..., :length].permute(1, 2, 0)


def _chunk_length(length: int) -> int:
    """Near the best chunk for long sequences, and such that little of the last one is empty."""
    return length if length <= _LONGEST_SINGLE_CHUNK else math.ceil(length / round(length / _CHUNK))


def _toeplitz(taps: torch.Tensor, size: int) -> torch.Tensor:
    """`(h, T, T)` with taps[T - 1 + t - s] in row s, column t, from taps `(h, 2T - 1)`."""
    # A look-up, because the backward of `unfold` takes several times as long.
    steps = torch.arange(size, device=taps.device)
    distance = steps - steps.unsqueeze(-1)  # (T, T), t - s
    return taps.index_select(1, (size - 1 + distance).flatten()).unflatten(1, (size, size))


def _chunk_states(system: DiscreteSSM, chunk: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`collect`, `emit` and `decay` of one direction; real and imaginary parts alternate along n."""
    power_real, power_imag = _powers(system, torch.arange(chunk + 1, device=system.D.device))  # (h, n/2, T + 1)
    real, imag = _multiply(system.C_real.unsqueeze(-1), system.C_imag.unsqueeze(-1), power_real, power_imag)
    emit = torch.stack([real, -imag], dim=2)[..., 1:]  # (h, n/2, 2, T), C z^(t+1)
    decay = torch.complex(power_real[..., -1], power_imag[..., -1])
    return _collecting(power_real[..., :-1], power_imag[..., :-1]), 2 * emit.flatten(1, 2), decay


def _collecting(power_real: torch.Tensor, power_imag: torch.Tensor) -> torch.Tensor:
    """z^(T-1-s) `(h, T, n)`, from inputs to the state that they leave, from z^0 ... z^(T-1), each `(h, n/2, T)`."""
    return torch.stack([power_real, power_imag], dim=2).flip(-1).flatten(1, 2).transpose(1, 2)


def _left_behind(u: torch.Tensor, collect: torch.Tensor) -> torch.Tensor:
    """The state `(h, rows, n/2)` complex that each chunk of u `(h, rows, T)` leaves."""
    return torch.view_as_complex(torch.bmm(u, collect).unflatten(-1, (-1, 2)))


class _Scan(torch.autograd.Function):
    """`_scan` with the same scan from the other end as its backward."""

    @staticmethod
    def forward(ctx, left, decay):
        states = _scan(left, decay)
        ctx.save_for_backward(states, decay)
        return states

    @staticmethod
    def backward(ctx, grad):
        states, decay = ctx.saved_tensors
        scan = _Scan.apply if runs_eagerly(grad) else _scan
        grad_left = scan(grad.flip(2), decay.conj()).flip(2)  # from every later state
        return grad_left, (grad_left * states.conj()).sum((1, 2))


def _scan(left: torch.Tensor, decay: torch.Tensor) -> torch.Tensor:
    """The state that enters each chunk, x[i+1] = decay x[i] + left[i] from x[0] = 0.

    Blocks of chunks are scanned side by side from zero, then the states between blocks by the same function, so that
    the number of steps grows with log m.

    Args:
        left: `(h, b, m, n/2)` complex, what each chunk leaves behind.
        decay: `(h, n/2)` complex.
    """
    chunks = left.shape[2]
    if chunks <= _SCAN_BLOCK:
        return _scan_block(left, decay)[0]
    blocks = math.ceil(chunks / _SCAN_BLOCK)
    left = torch.cat([left, left.new_zeros(1).expand(*left.shape[:2], blocks * _SCAN_BLOCK - chunks, left.shape[3])], 2)
    local, ends = _scan_block(left.unflatten(2, (blocks, -1)).flatten(1, 2), decay)  # (h, b blocks, S, n/2)
    powers = [torch.ones_like(decay)]
    for _ in range(_SCAN_BLOCK):
        powers.append(powers[-1] * decay)
    entering = _scan(ends.unflatten(1, (-1, blocks)), powers.pop())  # (h, b, blocks, n/2)
    states = torch.addcmul(local, torch.stack(powers, dim=1).unsqueeze(1), entering.flatten(1, 2).unsqueeze(2))
    return states.unflatten(1, (-1, blocks)).flatten(2, 3)[:, :, :chunks]


def _scan_block(left: torch.Tensor, decay: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One chunk after the other; also the state after the last."""
    state = torch.zeros_like(left[:, :, 0])
    states = []
    for each in left.unbind(2):
        states.append(state)
        state = torch.addcmul(each, decay.unsqueeze(1), state)
    return torch.stack(states, dim=2), state


PATHS: dict[str, tuple[Any, Any]] = {
    "recurrent": (recurrent_operators, recurrent_convolution),
    "fft": (fft_operators, fft_convolution),
    "chunked": (chunk_operators, chunked_convolution),
}


def fastest_path(u: torch.Tensor) -> str:
    """The path that `ssm_backend="auto"` takes for u `(b, l, h)`; measured in docs/benchmarks, "paths".

    On CPU `chunked` for short sequences, where one Toeplitz product is all there is, and for very long ones, where the
    kernel of l taps that `fft` needs costs more than the convolution; `fft` between them, and on other devices.
    """
    # Under the compiler lengths may be symbols, on which no choice can depend.
    if torch.compiler.is_compiling() or u.device.type != "cpu":
        return "fft"
    batch, length, _ = u.shape
    short = length <= 64 or (length <= 128 and batch >= 64)
    return "chunked" if short or length >= _LONG else "fft"


# ── Where things run ─────────────────────────────────────────────────────────────────────────────────────────────────


def runs_eagerly(*tensors: torch.Tensor) -> bool:
    """Whether operations on the tensors run one by one on plain values: not under the compiler or a tracer, and not
    batched or carrying tangents for `torch.func` and its kin."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    if torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0:
        return False
    return not any(torch._C._functorch.is_legacy_batchedtensor(x) for x in tensors)


def is_eager_cpu(*tensors: torch.Tensor) -> bool:
    """Where work that a GPU or a compiler would fuse is worth doing by hand, and a look at values costs nothing."""
    return tensors[0].device.type == "cpu" and runs_eagerly(*tensors)


def at_least_fp32(x: torch.Tensor) -> torch.Tensor:
    return x if x.dtype == torch.float64 else x.float()


# ── Powers of z ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _vandermonde(system: DiscreteSSM, C_real: torch.Tensor, C_imag: torch.Tensor, length: int) -> torch.Tensor:
    """`2 Re sum_n C_n z_n^t` for t = 0 ... l - 1, without a tensor of size channels x state x length.

    With T near sqrt(l), the powers z^(iT + j) are products of l/T coarse and T fine ones, so the sum is one batched
    product of (l/T, n) by (n, T) matrices. Time O(h n l), memory O(h (n sqrt(l) + l)).

    Args:
        C_real, C_imag: `(..., h, n/2)`.

    Returns:
        `(..., h, l)`.
    """
    block = _block_length(length)
    rows = length // block + 2  # never 1, a size that the compiler would make a constant
    fine_real, fine_imag = _powers(system, torch.arange(block, device=C_real.device))  # (h, n/2, T)
    coarse_real, coarse_imag = _powers(system, torch.arange(rows, device=C_real.device) * block)  # (h, n/2, l/T)
    real, imag = _multiply(C_real.unsqueeze(-1), C_imag.unsqueeze(-1), coarse_real, coarse_imag)
    left = torch.cat([real, -imag], dim=-2)  # (..., h, n, l/T)
    right = torch.cat([fine_real, fine_imag], dim=-2)  # (h, n, T)
    kernel = (2 * left.transpose(-1, -2) @ right).flatten(-2)  # (..., h, l/T T)
    if torch.compiler.is_compiling():  # which cannot prove of a symbolic length that the slice is inside
        return kernel.index_select(-1, torch.arange(length, device=kernel.device))
    return kernel[..., :length]


def _powers(system: DiscreteSSM, steps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """z^t for every t in `steps`, real and imaginary part, each `(h, n/2, steps)`."""
    decay = torch.exp(system.log_z_real.unsqueeze(-1) * steps)
    angle = system.log_z_imag.unsqueeze(-1) * steps
    return decay * torch.cos(angle), decay * torch.sin(angle)


def _power(system: DiscreteSSM, step: int) -> torch.Tensor:
    """z^t for one t, `(h, n/2)` complex."""
    return torch.polar(torch.exp(system.log_z_real * step), system.log_z_imag * step)


def _output_matrix(system: DiscreteSSM) -> torch.Tensor:
    """C, `(h, n/2)` complex."""
    return torch.complex(system.C_real, system.C_imag)


def _multiply(
    a_real: torch.Tensor, a_imag: torch.Tensor, b_real: torch.Tensor, b_imag: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The complex product of a and b by their parts."""
    return a_real * b_real - a_imag * b_imag, a_real * b_imag + a_imag * b_real


def _channel_major(u: torch.Tensor, pad: tuple[int, int]) -> torch.Tensor:
    """`(b, l, h)` to `(h, b, l)`, with zeros before and after."""
    u = u.permute(2, 0, 1)
    return F.pad(u, pad) if any(pad) else u.contiguous()


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


__all__ = [
    "PATHS",
    "DiscreteSSM",
    "advance",
    "at_least_fp32",
    "discretize",
    "end_state",
    "fastest_path",
    "is_eager_cpu",
    "runs_eagerly",
    "s4d_kernel",
    "state_response",
]
