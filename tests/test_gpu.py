"""What only a CUDA device can show: the same numbers as on the CPU, no waiting inside a step, CUDA graphs."""

import copy

import pytest
import torch

from lyra import LyraForSequenceClassification, LyraForTokenClassification
from lyra.ssm_backends_lyra import SSM_BACKENDS
from lyra.ssm_lyra import discretize

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture
def restored_sync_mode():
    yield
    torch.cuda.set_sync_debug_mode("default")


def padded_ids(batch, length):
    ids = torch.randint(3, 23, (batch, length))
    ids[0, length // 2 :] = 0
    return ids


def gradients(model, ids, weights):
    model.zero_grad()
    logits = model(ids).logits
    (logits * weights).sum().backward()
    return [logits, *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("backend", ["fft", "chunked"])
@pytest.mark.parametrize("length", [57, 237, 1000, 65_536])
def test_back_ends_equal_the_cpu(backend, length):
    torch.manual_seed(0)
    h, pairs = 8, 16
    system = [
        torch.empty(h).uniform_(-6.9, -2.3),
        torch.full((h, pairs), -0.7),
        3.14 * torch.arange(float(pairs)).repeat(h, 1),
        torch.randn(h, pairs, 2),
        torch.randn(h),
    ]
    u = torch.randn(2, length, h)

    def run(device, dtype, backend):
        inputs = [p.to(device, dtype).requires_grad_() for p in (u, *system)]
        prepare, convolve = SSM_BACKENDS[backend]
        y = convolve(inputs[0], prepare(discretize(*inputs[1:]), None, length))
        return [y, *torch.autograd.grad(y.square().sum(), inputs)]

    for actual, expected in zip(run("cuda", torch.float32, backend), run("cpu", torch.float64, "fft"), strict=True):
        assert (actual.cpu() - expected).abs().max() <= 2e-4 * expected.abs().max()


@pytest.mark.parametrize("backend", ["auto", "chunked"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_padded_batch_and_its_gradients_equal_the_cpu(tiny, backend, bidirectional):
    model = LyraForTokenClassification(tiny(num_labels=2, ssm_backend=backend, bidirectional=bidirectional))
    ids = padded_ids(8, 300)
    weights = torch.randn(8, 300, 2) * (ids != 0).unsqueeze(-1)
    expected = gradients(model, ids, weights)
    actual = gradients(copy.deepcopy(model).cuda(), ids.cuda(), weights.cuda())
    real = ids != 0
    torch.testing.assert_close(actual[0].cpu()[real], expected[0][real], rtol=1e-3, atol=1e-4)
    for a, e in zip(actual[1:], expected[1:], strict=True):
        assert (a.cpu() - e).abs().max() <= 1e-3 * e.abs().max()


@pytest.mark.parametrize(
    "labels",
    [
        {"num_labels": 1, "label_mean": 1.0, "label_std": 2.0},
        {"num_labels": 2, "problem_type": "regression", "label_mean": [1.0, 2.0], "label_std": [2.0, 3.0]},
        {"num_labels": 3},
    ],
)
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "ssm_backend": "chunked"}])
def test_a_step_never_waits_for_the_gpu(tiny, labels, options, restored_sync_mode):
    model = LyraForSequenceClassification(tiny(hidden_dropout_prob=0.2, **labels, **options)).cuda().train()
    optimizer = torch.optim.AdamW(model.parameters())
    ids = padded_ids(16, 100).cuda()
    target = torch.randn(16, labels["num_labels"], device="cuda")
    if labels["num_labels"] == 3:
        target = torch.randint(3, (16,), device="cuda")
    count = torch.tensor(16, device="cuda")
    for step in range(3):
        torch.cuda.set_sync_debug_mode("error" if step else "default")  # the first may set things up
        loss = model(ids, labels=target, num_items_in_batch=count).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.cuda.set_sync_debug_mode("default")  # the next line waits
    assert loss.isfinite()


@pytest.mark.parametrize("training", [False, True])
def test_both_strands_equal_the_cpu_and_never_wait(tiny, training, restored_sync_mode):
    settings = {"alphabet": "dna", "reverse_complement": True, "linear_term": "words", "num_labels": 1}
    model = LyraForSequenceClassification(tiny(**settings)).train(training)
    ids = torch.randint(3, 7, (8, 100))
    ids[0, 50:] = 0
    cuda, moved = copy.deepcopy(model).cuda(), ids.cuda()
    cuda(moved)
    torch.cuda.set_sync_debug_mode("error")
    logits = cuda(moved).logits
    torch.cuda.set_sync_debug_mode("default")
    if not training:
        torch.testing.assert_close(logits.cpu(), model(ids).logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("training", [False, True])
def test_cuda_graphs_through_compile(tiny, training):
    counters = torch._dynamo.utils.counters
    counters.clear()
    model = LyraForSequenceClassification(tiny(num_labels=1)).cuda().train(training)
    compiled = torch.compile(model, mode="reduce-overhead")
    ids = padded_ids(4, 64).cuda()
    expected = gradients(model, ids, 1) if training else [model(ids).logits]
    for _ in range(3):
        torch.compiler.cudagraph_mark_step_begin()
        if training:
            model.zero_grad()
            logits = compiled(ids).logits
            logits.sum().backward()
            actual = [logits.clone(), *(p.grad.clone() for p in model.parameters())]
        else:
            with torch.no_grad():
                actual = [compiled(ids).logits.clone()]
    assert counters["inductor"]["cudagraph_skips"] == 0
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-3, atol=1e-4)


def test_autocast_keeps_the_convolution_in_fp32(tiny):
    layer = LyraForSequenceClassification(tiny(num_labels=1)).cuda().eval().lyra.encoder.layers[0]
    u = torch.randn(2, 50, 8, device="cuda")
    with torch.no_grad(), torch.autocast("cuda", dtype=torch.bfloat16):
        inside = layer.convolve(u)
    with torch.no_grad():
        assert torch.equal(inside, layer.convolve(u))


def test_segments_equal_the_whole(tiny):
    model = LyraForTokenClassification(tiny(num_labels=1)).cuda().eval().lyra
    ids = torch.randint(3, 23, (2, 500), device="cuda")
    with torch.no_grad():
        first = model(ids[:, :200], use_cache=True)
        second = model(ids[:, 200:], cache_params=first.cache_params)
        whole = model(ids)
    states = torch.cat([first.last_hidden_state, second.last_hidden_state], dim=1)
    torch.testing.assert_close(states, whole.last_hidden_state, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(second.pooler_output, whole.pooler_output, rtol=1e-4, atol=1e-4)
