"""A state dict of the published implementation becomes a checkpoint with the same outputs."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from convert_original_checkpoint import main
from transformers import AutoModelForSequenceClassification, AutoTokenizer

LETTERS = {"protein": "ILVFMCAGPTSYWQNHEDKR", "dna": "ACGT", "rna": "ATCG"}


def published_state_dict(letters, d=16, pairs=4, labels=1, scale="weight"):
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    def linear(name, a, b):
        return {f"{name}.weight": random(b, a) / a**0.5, f"{name}.bias": random(b)}

    state = (
        linear("encoder", letters, d) | {f"norm.{scale}": random(d), "s4d.D": random(d)} | linear("decoder", d, labels)
    )
    for name, channels in (("pgc1", d // 4), ("pgc2", 2 * d)):
        state |= linear(f"{name}.in_proj", d, 2 * channels) | linear(f"{name}.out_proj", channels, d)
        state |= {f"{name}.in_norm.{scale}": random(2 * channels), f"{name}.out_norm.{scale}": random(d)}
        state |= {f"{name}.conv.weight": random(channels, 1, 3), f"{name}.conv.bias": random(channels)}
        state[f"{name}.flash_conv.weights"] = state[f"{name}.conv.weight"].squeeze(1)
    kernel = {"C": random(d, pairs, 2), "log_dt": torch.empty(d).uniform_(-7, -2.3, generator=generator)}
    kernel |= {"log_A_real": random(d, pairs) - 1, "A_imag": 3 * torch.arange(float(pairs)).repeat(d, 1)}
    state |= {f"s4d.kernel.{name}": value for name, value in kernel.items()}
    output = linear("s4d.output_linear.0", d, 2 * d)
    output["s4d.output_linear.0.weight"] = output["s4d.output_linear.0.weight"].unsqueeze(-1)
    return state | output


def published_forward(state, one_hot):
    """The paper's equations in float64 on `(b, l, letters)`, with the materialised kernel."""
    w = {name: value.double() for name, value in state.items()}

    def norm(x, name):
        scale = w[f"{name}.scale"] if f"{name}.scale" in w else w[f"{name}.weight"]
        return x / (x.square().mean(-1, keepdim=True) + 1e-8).sqrt() * scale

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = linear(one_hot.double(), "encoder")
    for name in ("pgc1", "pgc2"):
        a, gate = norm(linear(x, f"{name}.in_proj"), f"{name}.in_norm").chunk(2, -1)
        conv, bias = w[f"{name}.conv.weight"], w[f"{name}.conv.bias"]
        a = F.conv1d(a.transpose(1, 2), conv, bias, padding=1, groups=len(conv)).transpose(1, 2)
        x = norm(linear(gate * a, f"{name}.out_proj"), f"{name}.out_norm")
    length = x.shape[1]
    A = torch.complex(-w["s4d.kernel.log_A_real"].exp(), w["s4d.kernel.A_imag"])
    dtA = A * w["s4d.kernel.log_dt"].exp().unsqueeze(-1)
    C = torch.view_as_complex(w["s4d.kernel.C"].contiguous()) * (dtA.exp() - 1) / A
    K = 2 * torch.einsum("hn,hnl->hl", C, (dtA.unsqueeze(-1) * torch.arange(length)).exp()).real
    u = norm(x, "norm").transpose(1, 2)
    y = torch.fft.irfft(torch.fft.rfft(u, n=2 * length) * torch.fft.rfft(K, n=2 * length), n=2 * length)[..., :length]
    y = F.gelu(y + u * w["s4d.D"].unsqueeze(-1))
    y = F.glu(F.conv1d(y, w["s4d.output_linear.0.weight"], w["s4d.output_linear.0.bias"]), dim=1)
    return linear((x + y.transpose(1, 2)).mean(1), "decoder")


def run(tmp_path, state, alphabet, letters=None):
    torch.save(state, tmp_path / "state.pt")
    places = [str(tmp_path / "state.pt"), str(tmp_path / "out")]
    return main([*places, "--alphabet", alphabet, "--letters", letters or LETTERS[alphabet]])


@pytest.mark.parametrize(
    ("alphabet", "labels", "scale"), [("protein", 1, "weight"), ("dna", 3, "scale"), ("rna", 2, "weight")]
)
def test_exact(tmp_path, alphabet, labels, scale):
    letters = LETTERS[alphabet]
    state = published_state_dict(len(letters), labels=labels, scale=scale)
    assert run(tmp_path, state, alphabet) == 0
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    indices = torch.randint(0, len(letters), (3, 50))
    texts = ["".join(letters[i] for i in row) for row in indices]
    ids = AutoTokenizer.from_pretrained(tmp_path / "out")(texts, return_tensors="pt")
    expected = published_forward(state, F.one_hot(indices, len(letters)))
    torch.testing.assert_close(model(**ids).logits.double(), expected, rtol=1e-5, atol=1e-5)
    assert model.config.num_labels == labels


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("s4d.kernel.C"), "s4d.kernel.C"),
        (lambda s: s.update(extra=torch.ones(1)), "unknown key 'extra'"),
        (lambda s: s.update({"decoder.bias": torch.ones(7)}), "'decoder.bias': expected shape (1,), got (7,)"),
        (lambda s: s.update(model=[1]), "expected a dictionary of tensors"),
    ],
)
def test_a_wrong_state_dict_is_named(tmp_path, capsys, change, message):
    state = published_state_dict(20)
    change(state)
    assert run(tmp_path, state, "protein") == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_wrong_letters_are_named(tmp_path, capsys):
    assert run(tmp_path, published_state_dict(20), "protein", "ACDE") == 2
    assert "--letters: expected each of ACDEFGHIKLMNPQRSTVWY once, got ACDE" in capsys.readouterr().err


def test_code_in_a_pickle_is_not_run(tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    assert run(tmp_path, {"encoder.weight": Evil()}, "protein") == 2
    assert "not a PyTorch state dict" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
