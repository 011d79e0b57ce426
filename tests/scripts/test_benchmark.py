"""What the benchmark compares with is the same model, written plainly."""

import json
import mmap
from pathlib import Path

import pytest
import speed
import torch
import torch.nn.functional as F
from convert_original_checkpoint import convert
from reference_models import PlainLyra, Transformer, esm2_8m

BENCHMARKS = Path(__file__).parents[2] / "docs" / "benchmarks"


@pytest.mark.parametrize("alphabet, letters", [("protein", "ACDEFGHIKLMNPQRSTVWY"), ("dna", "ACGT")])
def test_the_plain_reference_is_lyra(alphabet, letters):
    plain = PlainLyra(len(letters), d=16, state_size=8).eval()
    model = convert(plain.state_dict(), alphabet, letters)
    ids = torch.randint(3, 3 + len(letters), (3, 300))
    expected = plain(F.one_hot(ids - 3, len(letters)).float())
    torch.testing.assert_close(model(ids).logits, expected, rtol=1e-4, atol=1e-4)


def test_the_transformers_are_of_the_size_that_is_said():
    assert 7e6 < esm2_8m().num_parameters() < 8.5e6
    assert Transformer(32)(torch.zeros(2, 9, dtype=torch.long)).shape == (2, 1)


def test_the_committed_report_is_what_the_script_writes(tmp_path):
    results = json.loads((BENCHMARKS / "cpu.json").read_text(encoding="utf-8"))
    assert speed.report(results) == (BENCHMARKS / "cpu.md").read_text(encoding="utf-8")
    speed.plot(results, tmp_path / "cpu.png")
    assert (tmp_path / "cpu.png").stat().st_size > 10_000


def test_the_benchmark_measures(monkeypatch):
    """Its parts on tiny shapes: every contender runs, times and memory are positive."""
    monkeypatch.setattr(speed, "ROUNDS", 1)
    for name in speed.NAMES:
        forward, train = speed.calls(name, "gfp", 2, 237, "cpu")
        seconds = speed.interleaved({"forward": forward, "train": train}, "cpu")
        assert min(seconds.values()) > 0
    # A mapping of its own: what the allocator has free would not raise the process's peak.
    with speed.PeakMemory("cpu") as peak, mmap.mmap(-1, 40_000_000) as block:
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
    assert peak.megabytes > 30
    assert len("".join(speed._letters(70_000))) == 70_000
