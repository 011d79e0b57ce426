"""What attention transfer is worth: tiny models trained on the spot, and each part of the method left out in turn.

    python scripts/research/lolcats_quality.py copy       a decoder that repeats what it read: attention at its sharpest
    python scripts/research/lolcats_quality.py protein    an encoder of the proteins of ../shared/data

All of a task's students come from one teacher, are given the same processor time and are scored on the same data, which
none has seen. A record per task goes to `docs/lolcats/`.
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import EsmConfig, EsmForMaskedLM, LlamaConfig, LlamaForCausalLM

from lolcats.attention_transfer import TransferArguments, transfer
from lolcats.configuration_lolcats import LolcatsConfig
from lolcats.conversion import linearize
from lolcats.fidelity import compare_layers
from lolcats.finetuning import LoraArguments, add_lora
from lolcats.modeling_lolcats import attention_layers
from lyra.data.tables import read_rows

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "docs" / "lolcats"
_TEST_BATCHES = 8
_LORA_RATE = 1e-3
Batch = dict[str, Tensor]


class Task(NamedTuple):
    """A teacher and its data.

    Attributes:
        build: a new teacher.
        steps: that it is trained for, at `learning_rate`.
        batches: of training (0) and test data (1), without end.
        window: of the students.
        transfer_steps: of stage 1.
        lora_seconds: processor time of stage 2.
        feature_size: of the students' maps.
    """

    build: Callable[[], nn.Module]
    steps: int
    learning_rate: float
    batches: Callable[[int], Iterator[Batch]]
    window: int
    transfer_steps: int
    lora_seconds: float
    feature_size: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("copy", "protein"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data_dir", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the tables")
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    task = copying() if arguments.task == "copy" else proteins(arguments.data_dir)
    record = {"task": arguments.task, "seed": arguments.seed, "torch": torch.__version__} | compare(task)
    RECORDS.mkdir(parents=True, exist_ok=True)
    (RECORDS / f"{arguments.task}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"\n{table(record)}")
    return 0


def table(record: dict[str, Any]) -> str:
    """Markdown: losses, and what share of the gap between the untrained student and the teacher each closes."""
    losses = record["losses"]
    gap = losses["linear, untrained"] - losses["teacher"]
    rows = ["| | loss (nats) | gap closed | CPU seconds |", "|---|---|---|---|"]
    for name, loss in losses.items():
        closed = (losses["linear, untrained"] - loss) / gap if gap else float("nan")
        rows.append(f"| {name} | {loss:.3f} | {closed:.1%} | {record['seconds'].get(name, 0.0):.0f} |")
    return "\n".join(rows) + "\n"


# ── Tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_SYMBOLS, _HALF = 64, 48
_ALPHABET = "ACDEFGHIKLMNPQRSTVWY"
_PAD, _MASK, _UNKNOWN = 0, 1, 2
_LENGTH, _SPAN, _VARIANTS = 192, 40, 100


def copying() -> Task:
    """Random symbols, a separator, and the same symbols again: each is 49 positions back, far outside the window."""

    def build() -> nn.Module:
        sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
        special = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
        return LlamaForCausalLM(LlamaConfig(vocab_size=_SYMBOLS, max_position_embeddings=256, **sizes, **special))

    def batches(part: int) -> Iterator[Batch]:
        random = torch.Generator().manual_seed(part)
        while True:
            half = torch.randint(1, _SYMBOLS, (32, _HALF), generator=random)
            ids = torch.cat([half, torch.zeros(32, 1, dtype=torch.long), half], dim=1)
            labels = ids.clone()
            labels[:, : _HALF + 1] = -100
            yield {"input_ids": ids, "labels": labels}

    return Task(build, 400, 3e-3, batches, window=16, transfer_steps=300, lora_seconds=60, feature_size=64)


def proteins(data_dir: Path) -> Task:
    """Masked stretches of the variants of ProteinGym's proteins, longer than the window: what a stretch is can only be
    told from far away. Of each assay every fifth variant is for testing."""
    parts: list[list[Tensor]] = [[], []]
    for file in sorted((data_dir / "more" / "proteingym_singles").glob("*.csv.gz")):
        rows = islice(read_rows(file), _VARIANTS)
        for number, (_, row) in enumerate(rows):
            parts[number % 5 == 4].append(_encode(row["sequence"]))

    def build() -> nn.Module:
        sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
        tokens = {"vocab_size": 3 + len(_ALPHABET), "pad_token_id": _PAD, "mask_token_id": _MASK}
        kind = {"position_embedding_type": "absolute", "token_dropout": False, "max_position_embeddings": 1026}
        return EsmForMaskedLM(EsmConfig(**sizes, **tokens, **kind))

    def batches(part: int) -> Iterator[Batch]:
        random = torch.Generator().manual_seed(part)
        while True:
            chosen = [parts[part][i] for i in torch.randint(len(parts[part]), (16,), generator=random).tolist()]
            pieces = [ids[:_LENGTH] for ids in chosen]
            ids = nn.utils.rnn.pad_sequence(pieces, batch_first=True, padding_value=_PAD)
            begin = (torch.rand(len(ids), 1, generator=random) * (ids != _PAD).sum(1, keepdim=True)).long()
            distance = torch.arange(ids.shape[1]) - begin
            masked = (distance >= 0) & (distance < _SPAN) & (ids != _PAD)
            labels = ids.masked_fill(~masked, -100)
            yield {
                "input_ids": ids.masked_fill(masked, _MASK),
                "attention_mask": (ids != _PAD).long(),
                "labels": labels,
            }

    return Task(build, 1200, 3e-3, batches, window=8, transfer_steps=800, lora_seconds=60, feature_size=128)


def _encode(sequence: str) -> Tensor:
    return torch.tensor([3 + _ALPHABET.find(letter) if letter in _ALPHABET else _UNKNOWN for letter in sequence])


# ── Students ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def compare(task: Task) -> dict[str, Any]:
    """Losses in nats, and of each student the processor time of its training."""
    teacher = task.build()
    _train(teacher, task, steps=task.steps)
    losses, seconds = {"teacher": evaluate(teacher, task)}, {}

    def keep(name: str, model: nn.Module, spent: float) -> None:
        losses[name], seconds[name] = evaluate(model, task), round(spent, 1)
        print(f"{name}: {losses[name]:.4f} nats, {spent:.0f} s", flush=True)

    student = make_linear(teacher, task)
    keep("linear, untrained", student, 0.0)
    errors = {"untrained": relative_errors(student, task)}
    settings, started = TransferArguments(steps=task.transfer_steps), time.process_time()
    transfer(student, task.batches(0), settings)
    first = time.process_time() - started
    errors["transfer"] = relative_errors(student, task)
    keep("transfer", student, first)
    tuned = add_lora(copy.deepcopy(student), LoraArguments())
    keep("transfer + LoRA", tuned, first + _train(tuned, task, seconds=task.lora_seconds))
    whole = first + task.lora_seconds
    for name, has_linear_part in (("LoRA without transfer", True), ("window + LoRA", False)):
        other = make_linear(teacher, task)
        for own in attention_layers(other).values():
            own.linear = has_linear_part
        if not has_linear_part:
            keep("window", other, 0.0)
        other = add_lora(other, LoraArguments())
        keep(name, other, _train(other, task, seconds=whole))
    return {
        "losses": {name: round(loss, 4) for name, loss in losses.items()},
        "seconds": seconds,
        "relative_errors": errors,
        "parameters": sum(parameter.numel() for parameter in teacher.parameters()),
        "window": task.window,
        "feature_size": task.feature_size,
    }


def make_linear(teacher: nn.Module, task: Task) -> Any:
    torch.manual_seed(0)
    student = copy.deepcopy(teacher)
    linearize(student, LolcatsConfig(window=task.window, feature_size=task.feature_size))
    return student


def _train(model: nn.Module, task: Task, steps: int = 0, seconds: float = 0.0) -> float:
    """Trains for some steps (the teacher) or some processor time; returns the time it took."""
    rate = task.learning_rate if steps else _LORA_RATE
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], rate, weight_decay=0.0)
    model.train()
    started, step = time.process_time(), 0
    for step, batch in enumerate(task.batches(0), 1):
        spent = time.process_time() - started
        done = step / steps if steps else spent / seconds
        if done > 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, step / 50) * (1 - done)
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            print(f"  step {step}: {loss.item():.4f}", file=sys.stderr, flush=True)
    model.eval()
    return time.process_time() - started


@torch.no_grad()
def evaluate(model: nn.Module, task: Task) -> float:
    """The mean loss over the test batches."""
    model.eval()
    return sum(float(model(**batch).loss) for batch in islice(task.batches(1), _TEST_BATCHES)) / _TEST_BATCHES


def relative_errors(model: Any, task: Task) -> list[float]:
    """Of each layer: the error of the outputs of all heads over their size, given the teacher's inputs."""
    return [row["relative_error"] for row in compare_layers(model, list(islice(task.batches(1), 2)))]


if __name__ == "__main__":
    sys.exit(main())
