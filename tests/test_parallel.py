"""`lyra.parallel`: sequences in pieces on several processes are the sequences on one."""

import subprocess
import sys
from pathlib import Path

import pytest

from lyra import LyraConfig, LyraForSequenceClassification
from lyra.parallel import SequenceParallel


@pytest.mark.parametrize("ranks", [2, 4])
def test_pieces_are_the_whole(ranks):
    """Outputs, losses and gradients of every head; the comparisons are in `pieces.py`, on each rank."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
    script = Path(__file__).with_name("pieces.py")
    result = subprocess.run([*command, str(script), str(ranks)], capture_output=True, text=True, timeout=250)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.strip() == "compared 36"


def test_ensembles_are_refused():
    config = LyraConfig(hidden_size=8, state_size=4)
    members = [LyraForSequenceClassification(config) for _ in range(2)]
    with pytest.raises(ValueError, match="`model` must be a single model, got an ensemble"):
        SequenceParallel(LyraForSequenceClassification.as_ensemble(members))
