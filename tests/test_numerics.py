"""The S4D kernel, its convolution and whole layers against plain float64 recurrences written here."""

import math

import pytest
import torch

from lyra import LyraConfig, LyraForSequenceClassification, LyraModel
from lyra.modeling_lyra import LyraS4DKernel, LyraS4DLayer, _initialize
from lyra.ssm_lyra import _fast_even_size, fft_convolution, s4d_kernel

LENGTHS = [1, 2, 3, 4, 5, 237, 1023, 1024, 1025]


def parameters(channels=3, pairs=4):
    kernel = LyraS4DKernel(LyraConfig(hidden_size=channels, state_size=2 * pairs, pgc_expansion_factors=[1.0]))
    _initialize(kernel)
    return [p.detach().double() for p in (kernel.log_dt, kernel.log_A_real, kernel.A_imag, kernel.C)]


def recurrence(log_dt, log_A_real, A_imag, C, u):
    """x[t] = exp(dt A) x[t-1] + (exp(dt A) - 1) / A u[t];  y[t] = 2 Re(C x[t]), one position at a time."""
    dt = log_dt.exp().unsqueeze(-1)
    A = torch.complex(-log_A_real.exp(), A_imag)
    A_bar = torch.exp(dt * A)
    B_bar = (A_bar - 1) / A
    C = torch.view_as_complex(C.contiguous())
    state = torch.zeros(u.shape[0], *A.shape, dtype=torch.complex128)
    outputs = []
    for t in range(u.shape[1]):
        state = A_bar * state + B_bar * u[:, t, :, None]
        outputs.append(2 * (C * state).sum(-1).real)
    return torch.stack(outputs, dim=1)


@pytest.mark.parametrize("length", LENGTHS)
def test_fp64_equals_the_recurrence(length):
    system, u = parameters(), torch.randn(2, length, 3, dtype=torch.float64)
    expected = recurrence(*system, u)
    torch.testing.assert_close(fft_convolution(u, s4d_kernel(*system, length)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("length", LENGTHS)
def test_fp32_equals_the_recurrence(length):
    system, u = parameters(), torch.randn(2, length, 3, dtype=torch.float64)
    expected = recurrence(*system, u)
    actual = fft_convolution(u.float(), s4d_kernel(*(p.float() for p in system), length))
    assert (actual - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_65536_positions_equal_the_recurrence():
    system, u = parameters(), torch.randn(1, 65_536, 3, dtype=torch.float64)
    expected = recurrence(*system, u)
    fp64 = fft_convolution(u, s4d_kernel(*system, 65_536))
    fp32 = fft_convolution(u.float(), s4d_kernel(*(p.float() for p in system), 65_536))
    assert (fp64 - expected).abs().max() <= 1e-9 * expected.abs().max()
    assert (fp32 - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_gradients_equal_those_of_the_recurrence():
    system, u = parameters(), torch.randn(2, 19, 3, dtype=torch.float64)
    inputs = [p.requires_grad_() for p in (*system, u)]
    weights = torch.randn(2, 19, 3, dtype=torch.float64)
    expected = torch.autograd.grad((weights * recurrence(*inputs[:4], u)).sum(), inputs)
    actual = torch.autograd.grad((weights * fft_convolution(u, s4d_kernel(*inputs[:4], 19))).sum(), inputs)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("length", [1, 2, 5, 64])
def test_the_reverse_kernel_runs_from_the_end(length):
    forward, backward = parameters(), parameters()
    u = torch.randn(2, length, 3, dtype=torch.float64)
    expected = recurrence(*forward, u) + recurrence(*backward, u.flip(1)).flip(1)
    kernels = s4d_kernel(*forward, length), s4d_kernel(*backward, length)
    torch.testing.assert_close(fft_convolution(u, *kernels), expected, rtol=1e-9, atol=1e-9)


def test_a_layer_equals_the_papers_equations():
    layer = LyraS4DLayer(LyraConfig(hidden_size=4, state_size=6, pgc_expansion_factors=[1.0])).double().eval()
    layer.apply(_initialize)
    x = torch.randn(2, 11, 4, dtype=torch.float64)
    kernel = layer.kernel
    u = x / (x.square().mean(-1, keepdim=True) + 1e-8).sqrt() * layer.norm.weight
    y = recurrence(kernel.log_dt, kernel.log_A_real, kernel.A_imag, kernel.C, u) + layer.D * u
    y = 0.5 * y * (1 + torch.erf(y / math.sqrt(2)))
    a, b = (y @ layer.output_linear.weight.T + layer.output_linear.bias).chunk(2, dim=-1)
    torch.testing.assert_close(layer(x, None), x + a * torch.sigmoid(b), rtol=1e-9, atol=1e-9)


def test_no_tensor_of_channels_by_state_by_length():
    """The largest tensor of a kernel of 65,536 positions stays far below h x n/2 x l."""
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, (tuple, list)) else [result]:
                if isinstance(tensor, torch.Tensor):
                    largest = max(largest, tensor.numel())
            return result

    system = [p.float() for p in parameters(channels=4, pairs=32)]
    with Watch():
        s4d_kernel(*system, 65_536)
    assert largest <= 2 * 4 * 65_536


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_convolution_is_fp32_under_autocast(tiny, dtype):
    model = LyraModel(tiny()).eval()
    layer, seen = model.encoder.layers[0], []
    original = layer.kernel.forward
    layer.kernel.forward = lambda length, dtype: seen.append(original(length, dtype)) or seen[-1]
    with torch.autocast("cpu", dtype=dtype):
        output = model(torch.randint(3, 23, (2, 50))).last_hidden_state
    assert seen[0].dtype == torch.float32
    assert torch.equal(seen[0], original(50, torch.float32))
    assert output.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_stays_near_fp32(tiny, tmp_path, dtype):
    LyraForSequenceClassification(tiny(num_labels=3)).save_pretrained(tmp_path)
    ids = torch.randint(3, 23, (4, 60))
    reference = LyraForSequenceClassification.from_pretrained(tmp_path).eval()
    low = LyraForSequenceClassification.from_pretrained(tmp_path, dtype=dtype).eval()
    assert low.lyra.encoder.layers[0].kernel.C.dtype == torch.float32
    assert low.lyra.encoder.layers[0].D.dtype == torch.float32
    assert low.classifier.weight.dtype == dtype
    torch.testing.assert_close(low(ids).logits.float(), reference(ids).logits, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_mean_of_a_long_sequence_in_low_precision(tiny, dtype):
    encoder = LyraModel(tiny()).encoder
    states = torch.full((1, 70_001, 8), 3.0, dtype=dtype)
    pooled = encoder.pool(states, torch.ones(1, 70_001, dtype=torch.bool))
    assert pooled.dtype == dtype and (pooled == 3).all()


@pytest.mark.parametrize("minimum", [1, 2, 3, 473, 2047, 131_071])
def test_fft_sizes_are_even_fast_and_sufficient(minimum):
    size = _fast_even_size(minimum)
    assert size >= minimum and size % 2 == 0 and size <= max(2, 1.2 * minimum + 2)
    for prime in (2, 3, 5):
        while size % prime == 0:
            size //= prime
    assert size == 1
