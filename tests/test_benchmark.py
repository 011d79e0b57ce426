"""What the benchmark compares with is the same model, written plainly."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from convert_original_checkpoint import convert
from reference_models import PlainLyra, Transformer, esm2_8m


@pytest.mark.parametrize("alphabet, letters", [("protein", "ACDEFGHIKLMNPQRSTVWY"), ("dna", "ACGT")])
def test_the_plain_reference_is_lyra(alphabet, letters):
    plain = PlainLyra(len(letters), d=16, state_size=8).eval()
    model = convert(plain.state_dict(), alphabet, letters)
    ids = torch.randint(3, 3 + len(letters), (3, 300))
    expected = plain(F.one_hot(ids - 3, len(letters)).float())
    torch.testing.assert_close(model(ids).logits, expected, rtol=1e-4, atol=1e-4)


def test_the_others_are_of_the_size_that_is_said():
    assert 7e6 < esm2_8m().num_parameters() < 8.5e6
    assert Transformer(32)(torch.zeros(2, 9, dtype=torch.long)).shape == (2, 1)
