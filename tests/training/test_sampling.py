"""The order of rows in an epoch."""

import numpy as np
import pytest
import torch
from transformers.trainer_pt_utils import get_length_grouped_indices

from lyra.training.sampling import LengthSampler


@pytest.mark.parametrize(("rows", "batch_size"), [(3, 8), (100, 8), (1000, 4), (5000, 16)])
@pytest.mark.parametrize("longest", [1, 40])
def test_the_order_is_that_of_transformers(rows, batch_size, longest):
    lengths = np.random.default_rng(rows).integers(0, longest, rows)
    sampler = LengthSampler(lengths, batch_size, torch.Generator().manual_seed(3))
    found = get_length_grouped_indices(lengths.tolist(), batch_size, generator=torch.Generator().manual_seed(3))
    assert list(sampler) == found and len(sampler) == rows
