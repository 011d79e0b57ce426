"""Three ways to run the S4D convolution over a sequence, and which of them is fastest.

Each is an [`SSMBackend`]: one function that makes tensors of the system, the same for every input of one length, and
one that applies them.

    fft         the convolution as a product of Fourier transforms, O(l log l);
    chunked     in chunks of T positions: inside a chunk a product with the T x T Toeplitz matrix of K, between chunks
                the state, O(l T). A sequence of one chunk needs no state at all;
    recurrent   the recurrence itself, one position at a time.

Glossary: b batch, l length, h channels, n state size, T chunk length, m number of chunks.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from .execution_lyra import channel_major, is_eager_cpu, is_plain_eager
from .ssm_lyra import (
    DiscreteSSM,
    input_matrix,
    multiply,
    output_matrix,
    power,
    powers,
    recurrence,
    s4d_kernel,
    sum_inputs,
)

# A sequence of at most so many positions is one chunk; a longer one is cut into chunks near the second number.
_LONGEST_SINGLE_CHUNK, _CHUNK = 256, 128
_SCAN_BLOCK = 32
# Elements whose spectra a CPU's cache holds.
_TILE = 1 << 19
# From so many positions on `chunked` is faster than `fft` on CPU.
_LONG = 16_384
_CACHED_LENGTHS = 4


# ── recurrent ────────────────────────────────────────────────────────────────────────────────────────────────────────


def precompute_recurrent(system: DiscreteSSM, reverse: DiscreteSSM | None, length: int) -> tuple[Any, ...]:
    """A_bar, C_bar `(h, n/2)` complex and D `(h,)` of each direction."""
    return tuple((power(each, 1), output_matrix(each), each.D) for each in (system, reverse) if each is not None)


def recurrent_convolution(u: torch.Tensor, kernels: tuple[Any, ...]) -> torch.Tensor:
    """The outputs `(b, l, h)` for the inputs u `(b, l, h)`, one position at a time; time O(l h n), no kernel."""
    outputs = recurrence(u, *kernels[0])
    if len(kernels) == 2:
        outputs = outputs + recurrence(u.flip(1), *kernels[1]).flip(1)
    return outputs


# ── fft ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def precompute_fft(system: DiscreteSSM, reverse: DiscreteSSM | None, length: int) -> tuple[torch.Tensor]:
    """The transform of the kernel (both kernels, if the second runs from the end), `(h, size/2 + 1)` complex."""
    size = _fft_size(length)
    transfer = torch.fft.rfft(s4d_kernel(system, length), n=size)
    if reverse is not None:
        # Reversing a real signal in time conjugates its transform; 2l - 1 positions keep the two sides apart.
        transfer = transfer + torch.fft.rfft(s4d_kernel(reverse, length), n=size).conj()
    return (transfer,)


def fft_convolution(u: torch.Tensor, kernels: tuple[torch.Tensor]) -> torch.Tensor:
    """The outputs `(b, l, h)` for the inputs u `(b, l, h)` by the fast Fourier transform."""
    u = u.transpose(1, 2)  # (b, h, l)
    convolve = _FFTConvolution.apply if is_plain_eager(u, *kernels) else _fft_product
    return convolve(u, *kernels).transpose(1, 2)


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
        # Every frequency but the first and the last counts twice, for its conjugate too.
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


# ── chunked ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class ChunkMatrices(NamedTuple):
    """The system over a chunk of T positions; n counts real and imaginary parts, of both directions if there are two.

    Attributes:
        toeplitz: `(h, T, T)`, from inputs (rows) to outputs (columns) of one chunk.
        input_to_state: `(h, T, n)`, from inputs to the state after the chunk; None where there is only one chunk.
        state_to_output: `(h, n, T)`, from the state before a chunk to outputs.
        decay: `(h, n/2)` complex, A_bar^T of each direction.
    """

    toeplitz: torch.Tensor
    input_to_state: torch.Tensor | None = None
    state_to_output: torch.Tensor | None = None
    decay: tuple[torch.Tensor, ...] = ()


def precompute_chunked(system: DiscreteSSM, reverse: DiscreteSSM | None, length: int) -> ChunkMatrices:
    """The matrices of [`chunked_convolution`] for sequences of l positions."""
    chunk = _chunk_length(length)
    taps = F.pad(s4d_kernel(system, chunk), (chunk - 1, 0))  # (h, 2T - 1), the tap of distance t at T - 1 + t
    if reverse is not None:
        taps = taps + F.pad(s4d_kernel(reverse, chunk).flip(-1), (0, chunk - 1))
    toeplitz = _toeplitz(taps, chunk)
    if chunk >= length:
        return ChunkMatrices(toeplitz)
    directions = [_chunk_matrices(each, chunk) for each in (system, reverse) if each is not None]
    if reverse is not None:  # the first direction, read from the end of each chunk
        to_state, to_output, decay = directions[1]
        directions[1] = (to_state.flip(1), to_output.flip(2), decay)
    to_states, to_outputs, decays = zip(*directions, strict=True)
    return ChunkMatrices(toeplitz, torch.cat(to_states, dim=2), torch.cat(to_outputs, dim=1), decays)


def chunked_convolution(u: torch.Tensor, kernels: ChunkMatrices) -> torch.Tensor:
    """The outputs `(b, l, h)` for the inputs u `(b, l, h)`: matrix products, and a scan over the states of m chunks."""
    batch, length, _ = u.shape
    toeplitz, to_state, to_output, decay = kernels
    chunk = toeplitz.shape[-1]
    u = channel_major(u, (0, -length % chunk))  # (h, b, m T)
    chunks = u.shape[-1] // chunk
    u = u.reshape(u.shape[0], batch * chunks, chunk)  # (h, b m, T)
    y = torch.bmm(u, toeplitz)  # (h, b m, T)
    if to_state is not None and to_output is not None:
        chunk_states = sum_inputs(u, to_state).unflatten(1, (batch, chunks))  # (h, b, m, directions n/2)
        forward, *backward = chunk_states.tensor_split(len(decay), dim=-1)
        scan = _Scan.apply if is_plain_eager(u, *decay) else _scan
        states = scan(forward, decay[0])  # (h, b, m, n/2), before each chunk
        if backward:
            states = torch.cat([states, scan(backward[0].flip(2), decay[1]).flip(2)], dim=-1)
        y = torch.baddbmm(y, torch.view_as_real(states).flatten(-2).flatten(1, 2), to_output)
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


def _chunk_matrices(system: DiscreteSSM, chunk: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`input_to_state`, `state_to_output` and `decay` of one direction; real and imaginary parts alternate along n."""
    power_real, power_imag = powers(system, torch.arange(chunk + 1, device=system.D.device))  # (h, n/2, T + 1)
    real, imag = multiply(system.C_bar_real.unsqueeze(-1), system.C_bar_imag.unsqueeze(-1), power_real, power_imag)
    to_output = torch.stack([real, -imag], dim=2)[..., 1:]  # (h, n/2, 2, T), C_bar A_bar^(t+1)
    decay = torch.complex(power_real[..., -1], power_imag[..., -1])
    return input_matrix(power_real[..., :-1], power_imag[..., :-1]), 2 * to_output.flatten(1, 2), decay


class _Scan(torch.autograd.Function):
    """`_scan` with the same scan from the other end as its backward."""

    @staticmethod
    def forward(ctx, chunk_states, decay):
        states = _scan(chunk_states, decay)
        ctx.save_for_backward(states, decay)
        return states

    @staticmethod
    def backward(ctx, grad):
        states, decay = ctx.saved_tensors
        scan = _Scan.apply if is_plain_eager(grad) else _scan
        grad_chunk = scan(grad.flip(2), decay.conj()).flip(2)  # from every later state
        return grad_chunk, (grad_chunk * states.conj()).sum((1, 2))


def _scan(chunk_states: torch.Tensor, decay: torch.Tensor) -> torch.Tensor:
    """The state before each chunk, x[i+1] = decay x[i] + chunk_states[i] from x[0] = 0.

    Blocks of chunks are scanned side by side from zero, then the states between blocks by the same function, so that
    the number of steps grows with log m.

    Args:
        chunk_states: `(h, b, m, n/2)` complex, the state after each chunk from a zero state before it.
        decay: `(h, n/2)` complex.
    """
    chunks = chunk_states.shape[2]
    if chunks <= _SCAN_BLOCK:
        return _scan_block(chunk_states, decay)[0]
    blocks = math.ceil(chunks / _SCAN_BLOCK)
    missing = blocks * _SCAN_BLOCK - chunks
    zeros = chunk_states.new_zeros(1).expand(*chunk_states.shape[:2], missing, chunk_states.shape[3])
    padded = torch.cat([chunk_states, zeros], 2)
    local, ends = _scan_block(padded.unflatten(2, (blocks, -1)).flatten(1, 2), decay)  # (h, b blocks, S, n/2)
    decays = [torch.ones_like(decay)]
    for _ in range(_SCAN_BLOCK):
        decays.append(decays[-1] * decay)
    initial = _scan(ends.unflatten(1, (-1, blocks)), decays.pop())  # (h, b, blocks, n/2)
    states = torch.addcmul(local, torch.stack(decays, dim=1).unsqueeze(1), initial.flatten(1, 2).unsqueeze(2))
    return states.unflatten(1, (-1, blocks)).flatten(2, 3)[:, :, :chunks]


def _scan_block(chunk_states: torch.Tensor, decay: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One chunk after the other; also the state after the last."""
    state = torch.zeros_like(chunk_states[:, :, 0])
    states = []
    for each in chunk_states.unbind(2):
        states.append(state)
        state = torch.addcmul(each, decay.unsqueeze(1), state)
    return torch.stack(states, dim=2), state


# ── Which ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class SSMBackend(NamedTuple):
    """One way to run the convolution.

    Attributes:
        prepare: the precomputed kernel of a system, and of a second one that runs from the end, for l positions.
        convolve: the outputs `(b, l, h)` for the inputs `(b, l, h)`, given that kernel.
    """

    prepare: Callable[[DiscreteSSM, DiscreteSSM | None, int], Any]
    convolve: Callable[[torch.Tensor, Any], torch.Tensor]


SSM_BACKENDS = {
    "fft": SSMBackend(precompute_fft, fft_convolution),
    "chunked": SSMBackend(precompute_chunked, chunked_convolution),
    "recurrent": SSMBackend(precompute_recurrent, recurrent_convolution),
}


def select_backend(u: torch.Tensor) -> str:
    """The back end that `ssm_backend="auto"` takes for u `(b, l, h)`; measured in docs/benchmarks, "back ends".

    On CPU `chunked` for short sequences, where one Toeplitz product is all there is, and for very long ones, where the
    kernel of l taps that `fft` needs costs more than the convolution; `fft` between them, and on other devices.
    """
    # Under the compiler lengths may be symbols, on which no choice can depend.
    if torch.compiler.is_compiling() or u.device.type != "cpu":
        return "fft"
    batch, length, _ = u.shape
    short = length <= 64 or (length <= 128 and batch >= 64)
    return "chunked" if short or length >= _LONG else "fft"


class KernelCache:
    """The precomputed kernels of the last few lengths in evaluation, made again when the systems' values change.

    Values are compared, since a change through `parameter.data`, or of which parameter is used, leaves no other trace.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        # The systems and their kernels, replaced together and never changed: threads may share a model.
        self._entry: tuple[list[torch.Tensor], dict[tuple[str, int], Any]] = ([], {})

    def get(self, backend: str, length: int, systems: Sequence[DiscreteSSM | None]) -> Any:
        """The precomputed kernel of the systems of both directions, as `prepare` of a back end makes them."""
        tensors = [tensor for system in systems if system is not None for tensor in system]
        known, kernels = self._entry
        if not _all_equal(tensors, known):
            known, kernels = tensors, {}
        if (backend, length) not in kernels:
            latest = list(kernels.items())[1 - _CACHED_LENGTHS :]
            prepared = SSM_BACKENDS[backend].prepare(*systems, length)  # type: ignore[arg-type, call-arg]
            kernels = dict([*latest, ((backend, length), prepared)])
            self._entry = (known, kernels)
        return kernels[backend, length]

    def __getstate__(self) -> dict[str, Any]:
        return {}  # no part of a pickled or copied model

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.clear()


def _all_equal(tensors: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return len(tensors) == len(others) and all(
        one.dtype == other.dtype and torch.equal(one, other) for one, other in zip(tensors, others, strict=True)
    )


__all__ = ["SSM_BACKENDS", "KernelCache", "SSMBackend", "select_backend"]
