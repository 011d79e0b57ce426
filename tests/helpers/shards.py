"""Every head on sequences sharded over the ranks of a gloo group, for `test_parallel.py`.

Each rank also reads the whole sequences by itself and compares: outputs, loss, and the gradients that
DistributedDataParallel averages.
"""

import gc

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from lyra import (
    LyraConfig,
    LyraForMaskedLM,
    LyraForSequenceClassification,
    LyraForTokenClassification,
    LyraModel,
)
from lyra.losses_lyra import IGNORE_INDEX
from lyra.parallel import SequenceParallel

LENGTH, BATCH, PAD = 301, 3, 0
# Where the shards start: even, and with one shorter than the halo of the PGC stack.
STARTS = {2: [[0, 150], [0, 299]], 4: [[0, 75, 150, 225], [0, 100, 101, 260]]}
SETTINGS = {
    "paper": {},
    "both directions": {"bidirectional": True, "num_hidden_layers": 2, "pooling": "mean_last"},
    "highest": {"pooling": "max", "final_norm": True, "pgc_expansion_factors": [1.0], "num_hidden_layers": 3},
    "first, chunked": {"pooling": "first", "ssm_backend": "chunked", "bidirectional": True},
    "no convolutions": {"pgc_expansion_factors": [], "pooling": "last"},
    "dropout": {"hidden_dropout_prob": 0.3},
    "words and a curve": {"linear_term": "words", "global_epistasis": "free", "problem_type": "regression"},
    "positions": {"linear_term": "positions", "linear_length": LENGTH},
}
HEADS = {
    LyraForSequenceClassification: lambda ids: torch.arange(BATCH) % 2,
    LyraForTokenClassification: lambda ids: torch.where((ids == PAD) | (ids > 15), IGNORE_INDEX, ids % 2),
    LyraForMaskedLM: lambda ids: torch.where(ids % 3 == 1, ids, IGNORE_INDEX),
}


def close(got, expected, where):
    error = (got - expected).norm() / expected.norm().clamp(min=1e-6)
    assert error < 3e-5, f"{where}: {error:.1e}"


def compare(head, settings, starts):
    """One head with one config in one division."""
    torch.manual_seed(0)
    rank = dist.get_rank()
    config = LyraConfig(**{"hidden_size": 8, "state_size": 8, "hidden_dropout_prob": 0.0, "num_labels": 2} | settings)
    model = head(config)
    for layer in model.lyra.encoder.layers:
        layer.gated_residual.dropout.p = 0  # leaves the dropout that is tied along the length
    if getattr(model, "linear_term", None) is not None:
        torch.nn.init.normal_(model.linear_term.weight)
    if getattr(model, "curve", None) is not None:
        torch.nn.init.normal_(model.curve.height)
    ids = torch.randint(3, 23, (BATCH, LENGTH))
    if config.linear_length is None:
        ids[1, 60:] = PAD  # ends in the first shard; later ranks have nothing of it
        ids[2, 160:] = PAD
    labels = HEADS[head](ids)
    if config.problem_type == "regression":
        shape = (BATCH, 2) if head is LyraForSequenceClassification else (BATCH, LENGTH, 2)
        labels = labels if head is LyraForMaskedLM else torch.randn(shape)
    end = [*starts, LENGTH][rank + 1]
    shard = slice(starts[rank], end)
    parallel = DistributedDataParallel(SequenceParallel(model), find_unused_parameters=False)
    own = labels if head is LyraForSequenceClassification else labels[:, shard]
    torch.manual_seed(rank)  # that of the first rank must count
    output = parallel(ids[:, shard], own)
    output.loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    where = f"{head.__name__} {settings} {starts}"
    model.zero_grad()
    torch.manual_seed(0)
    whole = model(ids, labels=labels)
    whole.loss.backward()
    expected = whole.logits if head is LyraForSequenceClassification else whole.logits[:, shard]
    close(output.logits, expected, f"{where} logits")
    close(output.loss, whole.loss, f"{where} loss")
    for name, parameter in model.named_parameters():
        close(gradients[name], parameter.grad, f"{where} {name}")
    bare = LyraModel(config).eval()
    for parameter in bare.parameters():
        dist.broadcast(parameter.detach(), 0)
    got, expected = SequenceParallel(bare)(ids[:, shard]), bare(ids)
    close(got.last_hidden_state, expected.last_hidden_state[:, shard], f"{where} hidden states")
    close(got.pooler_output, expected.pooler_output, f"{where} pooled")


def refuse():
    """Shards that do not fit end in an error on every rank, not in a process that waits."""
    model = SequenceParallel(LyraModel(LyraConfig(hidden_size=8, state_size=4)))
    for shape in ((1 + dist.get_rank(), 5), (1, dist.get_rank())):
        try:
            model(torch.ones(shape, dtype=torch.long))
        except ValueError as error:
            assert "`input_ids` must have the same batch size on every rank" in str(error)
        else:
            raise AssertionError(f"{shape} was taken")


def main(ranks):
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    for starts in STARTS[ranks]:
        for settings in SETTINGS.values():
            for head in HEADS:
                compare(head, settings, starts)
    refuse()
    dist.barrier()
    gc.collect()  # threads of what wrapped the models must not outlive the group
    dist.destroy_process_group()
