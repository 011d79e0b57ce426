"""The S4D kernel, its back ends and whole layers against plain float64 recurrences written here."""

import copy
import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import peft
import pytest
import torch
import torch.nn.functional as F
from accelerate import cpu_offload
from torch.autograd import forward_ad

from lyra import LyraConfig, LyraForSequenceClassification, LyraModel
from lyra.fused_lyra import LyraRMSNorm, _dropout_scale, _GatedResidual
from lyra.modeling_lyra import LyraDepthwiseConv, LyraS4DKernel, LyraS4DLayer, _initialize
from lyra.ssm_backends_lyra import SSM_BACKENDS, SSMBackend, _fast_even_size, select_backend
from lyra.ssm_lyra import discretize, input_to_state, s4d_kernel, state_to_output

# One chunk, the borders of what is one, several chunks, several blocks of chunks.
LENGTHS = [1, 2, 3, 4, 5, 237, 256, 257, 1023, 1024, 1025, 5000]


def parameters(channels=3, pairs=4):
    kernel = LyraS4DKernel(LyraConfig(hidden_size=channels, state_size=2 * pairs, pgc_expansion_factors=[1.0]))
    _initialize(kernel)
    own = [p.detach().double() for p in (kernel.log_dt, kernel.log_A_real, kernel.A_imag, kernel.C)]
    return [*own, torch.randn(channels, dtype=torch.float64)]


def recurrence(log_dt, log_A_real, A_imag, C, D, u):
    """x[t] = exp(dt A) x[t-1] + (exp(dt A) - 1) / A u[t];  y[t] = 2 Re(C x[t]) + D u[t], one position at a time."""
    dt = log_dt.exp().unsqueeze(-1)
    A = torch.complex(-log_A_real.exp(), A_imag)
    A_bar = torch.exp(dt * A)
    B_bar = (A_bar - 1) / A
    C = torch.view_as_complex(C.contiguous())
    state = torch.zeros(u.shape[0], *A.shape, dtype=torch.complex128)
    outputs = []
    for t in range(u.shape[1]):
        state = A_bar * state + B_bar * u[:, t, :, None]
        outputs.append(2 * (C * state).sum(-1).real + D * u[:, t])
    return torch.stack(outputs, dim=1)


def run(backend, u, system, reverse=None):
    prepare, convolve = SSM_BACKENDS[backend]
    reverse = None if reverse is None else discretize(*reverse)
    return convolve(u, prepare(discretize(*system), reverse, u.shape[1]))


def both_ways(system, reverse, u):
    return recurrence(*system, u) + recurrence(*reverse, u.flip(1)).flip(1)


@pytest.mark.parametrize("backend", SSM_BACKENDS)
@pytest.mark.parametrize("length", LENGTHS)
def test_fp64_equals_the_recurrence(backend, length):
    system, u = parameters(), torch.randn(2, length, 3, dtype=torch.float64)
    torch.testing.assert_close(run(backend, u, system), recurrence(*system, u), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backend", SSM_BACKENDS)
@pytest.mark.parametrize("length", LENGTHS)
def test_fp32_equals_the_recurrence(backend, length):
    system, u = parameters(), torch.randn(2, length, 3, dtype=torch.float64)
    expected = recurrence(*system, u)
    actual = run(backend, u.float(), [p.float() for p in system])
    assert (actual - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.slow
def test_65536_positions_equal_the_recurrence():
    system, reverse = parameters(pairs=32), parameters(pairs=32)
    u = torch.randn(1, 65_536, 3, dtype=torch.float64)
    expected = both_ways(system, reverse, u)
    for backend in SSM_BACKENDS:
        if backend != "recurrent":
            fp64 = run(backend, u, system, reverse)
            assert (fp64 - expected).abs().max() <= 1e-9 * expected.abs().max(), backend
        fp32 = run(backend, u.float(), [p.float() for p in system], [p.float() for p in reverse])
        assert (fp32 - expected).abs().max() <= 1e-4 * expected.abs().max(), backend


@pytest.mark.parametrize("backend", SSM_BACKENDS)
@pytest.mark.parametrize("length", [1, 19, 300])
def test_gradients_equal_those_of_the_recurrence(backend, length):
    system, reverse = parameters(), parameters()
    u = torch.randn(2, length, 3, dtype=torch.float64)
    inputs = [p.requires_grad_() for p in (u, *system, *reverse)]
    weights = torch.randn(2, length, 3, dtype=torch.float64)
    expected = torch.autograd.grad((weights * both_ways(system, reverse, u)).sum(), inputs)
    actual = torch.autograd.grad((weights * run(backend, u, system, reverse)).sum(), inputs)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-9 * e.abs().max().item())


def test_gradients_at_65536_positions():
    system = [p.requires_grad_() for p in parameters()]
    u = torch.randn(1, 65_536, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(1, 65_536, 3, dtype=torch.float64)
    expected = torch.autograd.grad((weights * run("fft", u, system)).sum(), [u, *system])
    chunked = torch.autograd.grad((weights * run("chunked", u, system)).sum(), [u, *system])
    for a, e in zip(chunked, expected, strict=True):
        assert (a - e).abs().max() <= 1e-9 * e.abs().max()
    for backend in ("fft", "chunked"):
        single = [p.detach().float().requires_grad_() for p in (u, *system)]
        actual = torch.autograd.grad((weights.float() * run(backend, single[0], single[1:])).sum(), single)
        for a, e in zip(actual, expected, strict=True):
            assert (a - e).abs().max() <= 1e-4 * e.abs().max(), backend


@pytest.mark.parametrize("backend", ["fft", "chunked"])
@pytest.mark.parametrize("length", [7, 300])
def test_second_derivatives(backend, length):
    system, u = [p.requires_grad_() for p in parameters(2, 2)], torch.randn(2, length, 2, dtype=torch.float64)
    u.requires_grad_()

    def curvature(function):
        gradients = torch.autograd.grad(function().square().sum(), [u, *system], create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in gradients), [u, *system])

    actual, expected = curvature(lambda: run(backend, u, system)), curvature(lambda: run("recurrent", u, system))
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-8, atol=1e-8 * e.abs().max().item())


@pytest.mark.parametrize("backend", SSM_BACKENDS)
@pytest.mark.parametrize("length", [1, 2, 5, 64, 257, 1000])
def test_the_reverse_kernel_runs_from_the_end(backend, length):
    forward, backward = parameters(), parameters()
    u = torch.randn(2, length, 3, dtype=torch.float64)
    torch.testing.assert_close(
        run(backend, u, forward, backward), both_ways(forward, backward, u), rtol=1e-9, atol=1e-9
    )


def test_the_fft_in_tiles(monkeypatch):
    """Many sequences to a tile, one, and some channels of one: the same numbers and gradients."""
    system = [p.requires_grad_() for p in parameters()]
    u = torch.randn(5, 40, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(5, 40, 3, dtype=torch.float64)
    results = []
    for elements in (10**9, 300, 120, 80, 1):
        monkeypatch.setattr("lyra.ssm_backends_lyra._TILE", elements)
        y = run("fft", u, system)
        results.append([y, *torch.autograd.grad((weights * y).sum(), [u, *system])])
    for result in results[1:]:
        for a, e in zip(result, results[0], strict=True):
            torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cut", [1, 2, 100, 299])
def test_states_carry_everything_across_a_cut(cut):
    system, u = parameters(), torch.randn(2, 300, 3, dtype=torch.float64)
    whole, ssm = recurrence(*system, u), discretize(*system)
    state = input_to_state(ssm, u[:, :cut])
    second = run("fft", u[:, cut:], system) + state_to_output(ssm, state, 300 - cut)
    torch.testing.assert_close(second, whole[:, cut:], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(input_to_state(ssm, u[:, cut:], state), input_to_state(ssm, u), rtol=1e-9, atol=1e-9)


def test_auto_chooses_by_batch_and_length():
    chosen = {shape: select_backend(torch.empty(*shape, 64)) for shape in ((1, 20), (256, 120), (1, 237), (1, 65_536))}
    assert list(chosen.values()) == ["chunked", "chunked", "fft", "chunked"]
    assert select_backend(torch.empty(256, 20, 64, device="meta")) == "fft"


@pytest.mark.parametrize("backend", SSM_BACKENDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_every_backend_gives_the_same_model(tiny, backend, bidirectional):
    torch.manual_seed(1)
    config = tiny(bidirectional=bidirectional, num_labels=2, num_hidden_layers=2)
    reference = LyraForSequenceClassification(config).double()
    other = copy.deepcopy(config)
    other.ssm_backend = backend
    model = LyraForSequenceClassification(other).double()
    model.load_state_dict(reference.state_dict())
    ids = torch.randint(3, 23, (3, 300))
    ids[1, 200:], ids[2, :50] = 0, 0
    weights = torch.randn(3, 2, dtype=torch.float64)
    for each in (reference, model):
        (each(ids).logits * weights).sum().backward()
    torch.testing.assert_close(model(ids).logits, reference(ids).logits, rtol=1e-9, atol=1e-9)
    for a, e in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(a.grad, e.grad, rtol=1e-9, atol=1e-9)


def test_a_layer_equals_the_papers_equations():
    layer = LyraS4DLayer(LyraConfig(hidden_size=4, state_size=6, pgc_expansion_factors=[1.0]), 0).double().eval()
    layer.apply(_initialize)
    x = torch.randn(2, 11, 4, dtype=torch.float64)
    kernel = layer.kernel
    u = x / (x.square().mean(-1, keepdim=True) + 1e-8).sqrt() * layer.norm.weight
    y = recurrence(kernel.log_dt, kernel.log_A_real, kernel.A_imag, kernel.C, layer.D, u)
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
        s4d_kernel(discretize(*system), 65_536)
    assert largest <= 2 * 4 * 65_536


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_convolution_is_fp32_under_autocast(tiny, dtype):
    model = LyraModel(tiny()).eval()
    layer, seen = model.encoder.layers[0], []
    layer.kernel.register_forward_hook(lambda module, args, output: seen.append(output))
    u = torch.randn(2, 50, 8)
    expected = layer.convolve(u)
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(layer.convolve(u), expected)
        output = model(torch.randint(3, 23, (2, 50))).last_hidden_state
    assert seen and {each.dtype for system in seen for each in system} == {torch.float32}
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
    pooled = encoder._finalize(encoder.pooler.update(None, states, torch.ones(1, 70_001, dtype=torch.bool)), states)
    assert pooled.dtype == dtype and (pooled == 3).all()


@pytest.mark.parametrize("minimum", [1, 2, 3, 473, 2047, 131_071])
def test_fft_sizes_are_even_fast_and_sufficient(minimum):
    size = _fast_even_size(minimum)
    assert size >= minimum and size % 2 == 0 and size <= max(2, 1.2 * minimum + 2)
    for prime in (2, 3, 5):
        while size % prime == 0:
            size //= prime
    assert size == 1


# ── What is written by hand for the CPU ──────────────────────────────────────────────────────────────────────────────


def pairs_of_gradients(inputs, ours, plain, second=False):
    """Gradients, or gradients of a function of them, of both."""
    results = []
    for function in (ours, plain):
        gradients = torch.autograd.grad(function(*inputs).sin().sum(), inputs, create_graph=second)
        if second:
            gradients = torch.autograd.grad(sum(g.square().sum() for g in gradients), inputs)
        results.append(gradients)
    return zip(*results, strict=True)


@pytest.mark.parametrize("second", [False, True])
def test_rms_norm(second):
    norm = LyraRMSNorm(6, eps=1e-8).double()
    x = torch.randn(3, 5, 6, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(6))
        x[0, 0] = 0

    def plain(x, weight):
        return x / (x.square().mean(-1, keepdim=True) + 1e-8).sqrt() * weight

    inputs = (x, norm.weight)
    torch.testing.assert_close(norm(x), plain(*inputs), rtol=1e-9, atol=1e-9)
    if second:  # whose curvature at zero is beyond any precision
        inputs = (x.detach()[1:].requires_grad_(), norm.weight)
    for a, e in pairs_of_gradients(inputs, lambda x, weight: norm(x), plain, second):
        torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("dropping", [False, True])
def test_gated_residual(second, dropping):
    hidden, z = (torch.randn(2, 5, c, dtype=torch.float64, requires_grad=True) for c in (4, 8))
    scale = torch.tensor([0.0, 1.25]).double()[torch.randint(2, (2, 5, 4))] if dropping else None

    def plain(hidden, z):
        return hidden + F.glu(z, dim=-1) * (1 if scale is None else scale)

    def ours(hidden, z):
        return _GatedResidual.apply(hidden, z, scale)

    torch.testing.assert_close(ours(hidden, z), plain(hidden, z), rtol=1e-9, atol=1e-9)
    for a, e in pairs_of_gradients((hidden, z), ours, plain, second):
        torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5])
def test_dropout_scale(p):
    scale = _dropout_scale(torch.empty(1001, 1001), p)
    assert len(scale.unique()) == 2 and scale.min() == 0
    assert abs((scale == 0).float().mean().item() - p) < 0.002
    assert abs(scale.mean().item() - 1) < 0.003
    assert _dropout_scale(torch.empty(10), 0.9999999).isfinite().all()
    assert abs(torch.corrcoef(torch.stack([scale.flatten()[:-1], scale.flatten()[1:]]))[0, 1].item()) < 0.005
    torch.manual_seed(3)
    first = _dropout_scale(torch.empty(5, 7), p)
    torch.manual_seed(3)
    assert torch.equal(first, _dropout_scale(torch.empty(5, 7), p))


@pytest.mark.parametrize("size", [1, 3, 7])
def test_depthwise_convolution(size):
    ours, library = LyraDepthwiseConv(6, size), torch.nn.Conv1d(6, 6, size, padding=size // 2, groups=6)
    ours.load_state_dict(library.state_dict())
    x = torch.randn(2, 11, 6)
    torch.testing.assert_close(ours(x), library(x.transpose(1, 2)).transpose(1, 2), rtol=1e-5, atol=1e-5)


@pytest.fixture
def made(monkeypatch):
    """The lengths for which operators of `fft` were made."""
    lengths, (make, convolve) = [], SSM_BACKENDS["fft"]
    counted = lambda *args: lengths.append(args[-1]) or make(*args)  # noqa: E731
    monkeypatch.setitem(SSM_BACKENDS, "fft", SSMBackend(counted, convolve))
    return lengths


def test_kernels_are_computed_once_at_evaluation(tiny, made):
    model = LyraModel(tiny(bidirectional=True, num_hidden_layers=2, ssm_backend="fft")).eval()

    @torch.no_grad()
    def count(length, batch=2):
        made.clear()
        model(torch.randint(3, 23, (batch, length)))
        return len(made)

    assert [count(30), count(30), count(30, batch=5), count(31), count(30)] == [2, 0, 0, 2, 0]
    ids = torch.randint(3, 23, (2, 30))
    model.encoder.layers[0].kernel.C.data.mul_(2)  # which leaves no trace but the values
    with torch.no_grad():
        changed = model(ids).last_hidden_state
    torch.testing.assert_close(changed, copy.deepcopy(model)(ids).last_hidden_state)
    assert count(30) == 0 and count(30, batch=3) == 0
    model.double()
    assert count(30) == 2
    model.train()
    assert count(30) == 2 and count(30) == 2


def test_few_lengths_are_kept_and_none_is_saved(tiny, made):
    model = LyraModel(tiny(ssm_backend="fft")).eval()
    size = len(pickle.dumps(model))
    with torch.no_grad():
        for length in (*range(10, 30), 26, 27, 28, 29):
            model(torch.randint(3, 23, (1, length)))
    assert made == list(range(10, 30)) and len(pickle.dumps(model)) == size


def test_threads_share_a_model(tiny):
    model = LyraModel(tiny()).eval()
    batches = [torch.randint(3, 23, (1, length)) for length in range(65, 85)]
    with torch.no_grad():
        expected = [model(ids).pooler_output for ids in batches]

    @torch.no_grad()
    def serve(i):
        return [torch.equal(model(ids).pooler_output, e) for ids, e in zip(batches, expected, strict=True)]

    with ThreadPoolExecutor(8) as pool:
        assert all(all(each) for each in pool.map(serve, range(24)))


def test_offloaded_and_adapted_kernels_are_not_stale(tiny):
    """The kernel's parameters are on another device, or another copy of them counts."""
    ids = torch.randint(3, 23, (2, 30))
    model = LyraForSequenceClassification(tiny(num_labels=1)).eval()
    adapted = peft.get_peft_model(
        copy.deepcopy(model), peft.LoraConfig(target_modules=["output_linear"], modules_to_save=["kernel"])
    ).eval()
    with torch.no_grad():
        expected = model(ids).logits
        for name, parameter in adapted.named_parameters():
            if "modules_to_save" in name:
                parameter.mul_(1.5)
        assert (adapted(ids).logits - expected).abs().max() > 1e-4
        with adapted.disable_adapter():
            torch.testing.assert_close(adapted(ids).logits, expected)
        offloaded = cpu_offload(model, execution_device="cpu")
        for _ in range(2):
            torch.testing.assert_close(offloaded(ids).logits, expected)


def test_gradients_of_each_sequence_by_torch_func(tiny):
    """`vmap` over ids, as private training uses it, at lengths of every back end."""
    for length in (20, 100, 300, 1100):
        model = LyraForSequenceClassification(tiny(num_labels=1, ssm_backend="auto" if length < 300 else "chunked"))
        parameters = {name: p.detach() for name, p in model.named_parameters()}
        ids, labels = torch.randint(3, 23, (3, length)), torch.randn(3)

        def loss(parameters, ids, labels, model=model):
            output = torch.func.functional_call(model, parameters, (ids.unsqueeze(0),))
            return (output.logits.squeeze() - labels).square()

        each = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(parameters, ids, labels)
        sum(loss(dict(model.named_parameters()), *pair) for pair in zip(ids, labels, strict=True)).backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(each[name].sum(0), parameter.grad, rtol=1e-3, atol=1e-4)


def test_transforms_of_some_parameters(tiny):
    """`vmap` over one parameter at a time, batched gradients and forward mode: the plain formulas step in."""
    model = LyraModel(tiny(pgc_residual=True))
    for length in (20, 100, 300):
        ids = torch.randint(3, 23, (1, length))
        for name, parameter in model.named_parameters():
            stacked = torch.stack([parameter.detach(), 2 * parameter.detach()])
            both = torch.func.vmap(lambda p, name=name, ids=ids: torch.func.functional_call(model, {name: p}, (ids,)))
            output = both(stacked).pooler_output
            torch.testing.assert_close(output[0], model(ids).pooler_output, rtol=1e-4, atol=1e-5)
    embeds = torch.randn(1, 100, 8, requires_grad=True)
    pooled = model(inputs_embeds=embeds).pooler_output
    rows = torch.autograd.grad(pooled, embeds, torch.eye(8).unsqueeze(1), is_grads_batched=True, retain_graph=True)[0]
    torch.testing.assert_close(rows[3], torch.autograd.grad(pooled[0, 3], embeds)[0], rtol=1e-4, atol=1e-6)
    tangent = torch.randn_like(embeds)
    with forward_ad.dual_level():
        dual = model(inputs_embeds=forward_ad.make_dual(embeds.detach(), tangent)).pooler_output
        change = forward_ad.unpack_dual(dual).tangent
    torch.testing.assert_close(change[0], (rows[:, 0] * tangent).sum((1, 2)), rtol=1e-3, atol=1e-4)
