"""`lyra.parallel`: sequences sharded over several processes are the sequences on one."""

import forked
import pytest
import shards

from lyra import LyraConfig, LyraForSequenceClassification
from lyra.parallel import SequenceParallel


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 4])
def test_shards_are_the_whole(ranks):
    """Outputs, losses and gradients of every head; the comparisons are in `shards.py`, on each rank."""
    done = forked.run(shards.main, ranks, processes=ranks)
    assert done.codes == [0] * ranks, done.stderr[-3000:]


def test_both_strands_are_refused():
    config = LyraConfig(hidden_size=8, state_size=4, alphabet="dna", reverse_complement=True)
    with pytest.raises(ValueError, match="`model` must read one strand"):
        SequenceParallel(LyraForSequenceClassification(config))


def test_ensembles_are_refused():
    config = LyraConfig(hidden_size=8, state_size=4)
    members = [LyraForSequenceClassification(config) for _ in range(2)]
    with pytest.raises(ValueError, match="`model` must be a single model, got an ensemble"):
        SequenceParallel(LyraForSequenceClassification.as_ensemble(members))
