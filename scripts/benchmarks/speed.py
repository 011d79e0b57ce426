"""Speed and memory of lyra, beside a plain implementation of the same model and two Transformers.

    python scripts/benchmarks/speed.py [--device cpu|cuda] [--output_dir docs/benchmarks]

Writes `<device>.md`, `<device>.json` and `<device>.png`. All contenders of a row run in this process, in turn, round
by round; times are medians over rounds. Peak memory is taken in fresh processes. On CPU two threads are
used. GFP variants come from ../shared/data where that is, and are simulated otherwise. Run it on an idle machine: it
takes about a quarter of an hour.
"""

import argparse
import csv
import gc
import gzip
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from reference_models import PlainLyra, Transformer, esm2_8m
from tqdm import tqdm

from lyra import LyraConfig, LyraForSequenceClassification, LyraForTokenClassification, LyraTokenizer
from lyra.alphabet_lyra import get_alphabet
from lyra.ssm_backends_lyra import SSM_BACKENDS, select_backend
from lyra.ssm_lyra import s4d_kernel

ROOT = Path(__file__).parents[2]
GFP = ROOT.parent / "shared" / "data" / "gfp_relso.csv.gz"
THREADS = 2
ROUNDS, FEWEST_ROUNDS = 7, 3
SECONDS = 45.0  # after which a row has no more than the fewest rounds
LETTERS = {"gfp": "protein", "protein": "protein", "dna": "dna"}
LENGTHS = [57, 237, 1024, 4096, 16_384, 65_536]
NAMES = {
    "lyra": "lyra",
    "plain": "plain Lyra",
    "transformer": "Transformer, width 64, 2 layers, SDPA",
    "esm": "ESM-2 8M architecture (HF)",
}
# Where one call of a contender would take minutes or more memory than a laptop has.
LONGEST = {"cpu": {"transformer": 16_384, "esm": 237}, "cuda": {"transformer": 65_536, "esm": 16_384}}
MOST_LETTERS = {"cpu": {"esm": 16_384}, "cuda": {}}
LETTERS_PER_BATCH = 16_384
SHARING_SECONDS = 12.0


# ── Measuring ────────────────────────────────────────────────────────────────────────────────────────────────────────


def interleaved(contenders: dict[str, Callable[[], Any]], device: str) -> dict[str, float]:
    """Median seconds of each contender, one call each in turn; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    begin = time.perf_counter()
    for i in range(1 + ROUNDS):
        if i > FEWEST_ROUNDS and time.perf_counter() - begin > SECONDS:
            break
        for name, call in contenders.items():
            _synchronize(device)
            start = time.perf_counter()
            call()
            _synchronize(device)
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(each[1:]) for name, each in times.items()}


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def ids_of(kind: str, batch: int, length: int, device: str) -> torch.Tensor:
    """`(b, l)` ids of variants of one protein, random proteins or random DNA."""
    torch.manual_seed(0)
    letters = len(get_alphabet(LETTERS[kind]).letters)
    if kind != "gfp":
        return torch.randint(3, 3 + letters, (batch, length), device=device)
    if GFP.exists():
        with gzip.open(GFP, "rt") as file:
            sequences = [row["sequence"] for row in islice(csv.DictReader(file), batch)]
        ids = np.stack(LyraTokenizer("protein").encode_bulk(sequences)).astype(np.int64)
        return torch.from_numpy(ids).to(device)
    ids = torch.randint(3, 3 + letters, (1, length)).repeat(batch, 1)
    for row in ids:  # four substitutions each, as avGFP variants have on average
        row[torch.randint(length, (4,))] = torch.randint(3, 3 + letters, (4,))
    return ids.to(device)


def calls(name: str, kind: str, batch: int, length: int, device: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Forward and training step (loss, backward, AdamW) of one contender."""
    ids = ids_of(kind, batch, length, device)
    alphabet = get_alphabet(LETTERS[kind])
    torch.manual_seed(0)
    inputs = ids
    if name == "lyra":
        config = LyraConfig(alphabet=alphabet.name, num_labels=1)
        model: torch.nn.Module = LyraForSequenceClassification(config)
    elif name == "plain":
        model = PlainLyra(len(alphabet.letters))
        inputs = torch.tensor(alphabet.vectors(), device=device)[ids]
    elif name == "transformer":
        model = Transformer(len(alphabet.tokens))
    else:
        model = esm2_8m()
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters())
    labels = torch.randn(batch, 1, device=device)

    def run() -> torch.Tensor:
        output = model(inputs)
        return output if isinstance(output, torch.Tensor) else output.logits

    def forward() -> None:
        model.eval()
        with torch.no_grad():
            run()

    def train() -> None:
        model.train()
        optimizer.zero_grad()
        F.mse_loss(run(), labels).backward()
        optimizer.step()

    return forward, train


def in_a_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Memory that earlier work has left to the process would hide what later work takes."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def peak_memory(work: int, name: str, kind: str, batch: int, length: int, device: str) -> float:
    """MB that two forwards (work 0) or two training steps (work 1) take beyond the model and its inputs."""
    torch.set_num_threads(THREADS)
    calls(name, kind, 1, 64, device)[work]()  # loads libraries
    call = calls(name, kind, batch, length, device)[work]
    gc.collect()
    with PeakMemory(device) as peak:
        call()
        call()
    return peak.megabytes


class PeakMemory:
    """Highest use of memory inside the block, in all and beyond that at its start."""

    def __init__(self, device: str):
        self.device = device
        self.highest = self.megabytes = 0.0

    def __enter__(self) -> "PeakMemory":
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self._start = torch.cuda.memory_allocated()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
            self._start = _status("VmRSS")
        return self

    def __exit__(self, *exception: Any) -> None:
        peak = torch.cuda.max_memory_allocated() if self.device == "cuda" else _status("VmHWM")
        self.highest, self.megabytes = peak / 1e6, (peak - self._start) / 1e6


def _status(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


# ── Sections ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def models(device: str) -> list[dict[str, Any]]:
    """Forward and training step of every contender over kinds of data and lengths."""
    shapes = [("gfp", 256, 237), ("dna", 256, 237), ("protein", 16, 237)]
    shapes += [("protein", _batch(length), length) for length in LENGTHS]
    shapes += [("protein", 256, 237), ("dna", 1, 65_536)]
    if device == "cuda":
        shapes += [("gfp", 512, 237), ("protein", 512, 237)]
    rows = []
    for kind, batch, length in tqdm(shapes, desc="models"):
        names = [
            name
            for name in NAMES
            if length <= LONGEST[device].get(name, length)
            and batch * length <= MOST_LETTERS[device].get(name, batch * length)
        ]
        both = {name: calls(name, kind, batch, length, device) for name in names}
        for i, work in enumerate(("forward", "train")):
            seconds = interleaved({name: pair[i] for name, pair in both.items()}, device)
            rows.append({"work": work, "data": kind, "batch": batch, "length": length, "seconds": seconds})
    return rows


def _batch(length: int) -> int:
    return min(256, max(1, LETTERS_PER_BATCH // length))


def memory(device: str) -> list[dict[str, Any]]:
    """Peak memory of lyra and of the plain reference."""
    rows = []
    for kind, batch, length in tqdm([("gfp", 256, 237), ("protein", 1, 65_536), ("dna", 1, 65_536)], desc="memory"):
        for i, work in enumerate(("forward", "train")):
            megabytes = {
                name: in_a_fresh_process(peak_memory, i, name, kind, batch, length, device)
                for name in ("lyra", "plain")
            }
            rows.append({"work": work, "data": kind, "batch": batch, "length": length, "megabytes": megabytes})
    return rows


def kernel(device: str) -> dict[str, float]:
    """Seconds of the kernel of 65,536 taps alone, as both compute it."""
    length = LENGTHS[-1]
    plain = PlainLyra(20).to(device).s4d.kernel
    layer = LyraForSequenceClassification(LyraConfig()).to(device).lyra.encoder.layers[0]
    with torch.no_grad():
        return interleaved(
            {
                "lyra": lambda: s4d_kernel(layer.systems(torch.float32)[0], length),
                "plain": lambda: plain(length),
            },
            device,
        )


def backends(device: str) -> list[dict[str, Any]]:
    """The convolution alone by each back end, prepared (evaluation) and with its operators and gradients (training)."""
    torch.manual_seed(0)
    layer = LyraForSequenceClassification(LyraConfig()).to(device).lyra.encoder.layers[0]
    parameters = [*layer.kernel.parameters(), layer.D]
    rows = []
    shapes = [(b, n) for n in (32, 64, 128, 237, 512, 1024, 4096, 8192, 16_384, 65_536) for b in (1, 16, 256)]
    for batch, length in tqdm([shape for shape in shapes if shape[0] * shape[1] <= 1 << 17], desc="back ends"):
        u = torch.randn(batch, length, 64, device=device, requires_grad=True)
        evaluation: dict[str, Callable[[], Any]] = {}
        training: dict[str, Callable[[], Any]] = {}
        for name, (prepare, convolve) in SSM_BACKENDS.items():
            if name == "recurrent" and length > 64:
                continue
            with torch.no_grad():
                ready = prepare(*layer.systems(torch.float32), length)

            def evaluate(convolve=convolve, ready=ready, u=u) -> None:
                with torch.no_grad():
                    convolve(u, ready)

            def train(convolve=convolve, prepare=prepare, u=u, length=length) -> None:
                y = convolve(u, prepare(*layer.systems(torch.float32), length))
                torch.autograd.grad(y.sum(), [u, *parameters])

            evaluation[name], training[name] = evaluate, train
        chosen = select_backend(u)
        for work, contenders in (("evaluation", evaluation), ("training", training)):
            seconds = interleaved(contenders, device)
            rows.append({"work": work, "batch": batch, "length": length, "seconds": seconds, "auto": chosen})
    return rows


def windows(device: str) -> list[dict[str, Any]]:
    """The training step with the PGC stack by distinct windows and position by position."""
    rows = []
    shapes = [("gfp", 1), ("gfp", 4), ("gfp", 64), ("gfp", 256), ("dna", 4), ("protein", 4), ("protein", 256)]
    for kind, batch in tqdm(shapes, desc="windows"):
        _, train = calls("lyra", kind, batch, 237, device)

        def forced(deduplicate: bool, train: Callable[[], Any] = train) -> None:
            with mock.patch("lyra.modeling_lyra.should_deduplicate", lambda ids: deduplicate):
                train()

        seconds = interleaved({"windows": lambda: forced(True), "positions": lambda: forced(False)}, device)
        rows.append({"data": kind, "batch": batch, "length": 237, "seconds": seconds})
    return rows


def tokenisation() -> dict[str, float]:
    """Letters per second of `encode_bulk` and of the call of the same tokenizer, a `PreTrainedTokenizerFast`."""
    rng = np.random.default_rng(0)
    sequences = ["".join(row) for row in rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), (2000, 237))]
    tokenizer = LyraTokenizer("protein")
    seconds = interleaved(
        {
            "lyra": lambda: tokenizer.encode_bulk(sequences),
            "fast tokenizer": lambda: tokenizer(sequences, return_attention_mask=False),
        },
        "cpu",
    )
    return {name: 2000 * 237 / each for name, each in seconds.items()}


def streaming(device: str) -> list[dict[str, Any]]:
    """Seconds and peak memory of `lyra.inference.stream` over random DNA."""
    return [row for bidirectional in (False, True) for row in in_a_fresh_process(_streaming, bidirectional, device)]


def _streaming(bidirectional: bool, device: str) -> list[dict[str, Any]]:
    from lyra.inference import stream

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    head = LyraForSequenceClassification if bidirectional else LyraForTokenClassification
    model = head(LyraConfig(alphabet="dna", num_labels=1, bidirectional=bidirectional)).to(device).eval()
    lengths = (1_000_000, 2_000_000, 4_000_000, 5_000_000, 8_000_000, 10_000_000)
    seconds: dict[int, list[float]] = {letters: [] for letters in lengths}
    megabytes: dict[int, float] = {}
    for i in range(3):  # the first round warms up, on the shortest
        for letters in lengths[:1] if i == 0 else lengths:
            with PeakMemory(device) as peak:
                start = time.perf_counter()
                emitted = sum(part.logits.shape[0] for part in stream(model, _letters(letters)))
                seconds[letters].append(time.perf_counter() - start)
            assert emitted == (1 if bidirectional else letters)
            megabytes[letters] = peak.highest
    seconds[lengths[0]].pop(0)
    return [
        {
            "bidirectional": bidirectional,
            "letters": letters,
            "seconds": statistics.median(seconds[letters]),
            "megabytes": megabytes[letters],
        }
        for letters in lengths
    ]


def _letters(count: int) -> Iterator[str]:
    rng = np.random.default_rng(0)
    alphabet = np.frombuffer(b"ACGT", dtype=np.uint8)
    for start in range(0, count, 50_000):
        yield alphabet[rng.integers(0, 4, min(50_000, count - start))].tobytes().decode()


def trainer(device: str) -> dict[str, float]:
    """Seconds per step of 64 GFP variants: the Trainer, from the table to the update, and a bare loop on tensors."""
    from transformers import TrainerCallback

    from lyra.data import DataArguments, LyraCollator, prepare
    from lyra.training import LyraTrainer, LyraTrainingArguments, parameter_groups

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.times: list[float] = []

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            _synchronize(device)
            self.times.append(time.perf_counter())

    vocabulary = get_alphabet("protein").tokens
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.csv"
        with open(table, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["sequence", "label"])
            for row in ids_of("gfp", 4096, 237, "cpu").tolist():
                writer.writerow(["".join(vocabulary[i] for i in row), float(np.random.default_rng(row).normal())])
        data = prepare(DataArguments(data=str(table)))
        tokenizer, clock = LyraTokenizer("protein"), Clock()
        model = LyraForSequenceClassification(LyraConfig(num_labels=1, label_mean=0.0, label_std=1.0)).to(device)
        rows = data.dataset["train"]
        batch = LyraCollator(tokenizer, per_token=False)([rows[i] for i in range(len(rows))])
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        optimizer = torch.optim.AdamW(parameter_groups(model, 0.01), lr=1e-3)

        def bare() -> list[float]:
            model.train()
            times = []
            for start in range(0, len(rows) - 64, 64):
                _synchronize(device)
                times.append(time.perf_counter())
                model(**{name: each[start : start + 64] for name, each in batch.items()}).loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
            return times

        args = LyraTrainingArguments(
            output_dir=folder,
            num_train_epochs=1,
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
            disable_tqdm=True,
            use_cpu=device == "cpu",
        )
        steps: dict[str, list[float]] = {"trainer": [], "bare loop": []}
        for _ in range(3):
            steps["bare loop"] += np.diff(bare())[2:].tolist()
            clock.times = []
            LyraTrainer(
                model, args, task=data.task, train_dataset=rows, processing_class=tokenizer, callbacks=[clock]
            ).train()
            steps["trainer"] += np.diff(clock.times)[2:].tolist()
    return {name: statistics.median(each) for name, each in steps.items()}


def sharing() -> list[dict[str, Any]]:
    """Seconds of a training step of 64 x 100 residues with two threads, alone and beside another on the same cores, by
    how long threads that wait spin (GOMP_SPINCOUNT; None is the library's own)."""
    rows: list[dict[str, Any]] = []
    given = os.environ.pop("GOMP_SPINCOUNT", None)
    for count in tqdm((None, 1000, 2000, 5000, 10_000), desc="sharing cores"):
        if count is not None:
            os.environ["GOMP_SPINCOUNT"] = str(count)  # the processes below are started with it
        steps = {}
        for processes in (1, 2):
            with multiprocessing.get_context("spawn").Pool(processes) as pool:
                steps[processes] = statistics.mean(pool.map(_step_seconds, [SHARING_SECONDS] * processes, chunksize=1))
        rows.append({"spin_count": count, "alone": steps[1], "two at once": steps[2]})
    os.environ.pop("GOMP_SPINCOUNT", None)
    if given is not None:
        os.environ["GOMP_SPINCOUNT"] = given
    return rows


def _step_seconds(seconds: float) -> float:
    torch.set_num_threads(THREADS)
    _, train = calls("lyra", "protein", 64, 100, "cpu")
    times: list[float] = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        train()
        times.append(time.perf_counter() - start)
    return statistics.median(times[len(times) // 2 :])  # by then the other process has started, too


def roofline(device: str) -> list[dict[str, Any]]:
    """Each step of the model at b = 512, l = 237: bytes that it must move over the time that it takes."""
    batch, length, d = 512, 237, 64
    model = LyraForSequenceClassification(LyraConfig()).to(device).eval()
    encoder, x = model.lyra.encoder, torch.randn(batch, length, d, device=device)
    layer = encoder.layers[0]
    system, _ = layer.systems(torch.float32)
    big = torch.empty(1 << 28, device=device)
    steps: dict[str, tuple[Callable[[], Any], int]] = {"copy (the bandwidth)": (lambda: big.clone(), 2 * big.numel())}
    for i, block in enumerate(encoder.pgc):
        steps[f"PGC {i + 1}"] = (lambda block=block: block(x, None), 2 * x.numel())
    for name in ("fft", "chunked"):
        prepare, convolve = SSM_BACKENDS[name]
        ready = prepare(system, None, length)
        steps[f"S4D convolution, {name}"] = (lambda c=convolve, r=ready: c(x, r), 2 * x.numel())
    steps["S4D layer"] = (lambda: layer(x, None), 2 * x.numel())
    with torch.no_grad():
        seconds = interleaved({name: call for name, (call, _) in steps.items()}, device)
    return [
        {"step": name, "seconds": seconds[name], "GB/s": 4 * elements / seconds[name] / 1e9}
        for name, (_, elements) in steps.items()
    ]


# ── Report ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def targets(results: dict[str, Any]) -> list[tuple[str, float, str, bool]]:
    """What was asked for: work, figure reached, figure wanted, whether that is it."""

    def speed(work: str, data: str, batch: int, length: int, against: str = "plain") -> float:
        seconds = next(
            row["seconds"]
            for row in results["models"]
            if (row["work"], row["data"], row["batch"], row["length"]) == (work, data, batch, length)
        )
        return seconds[against] / seconds["lyra"]

    def saved(data: str) -> float:
        megabytes = next(
            row["megabytes"]
            for row in results["memory"]
            if (row["work"], row["data"], row["length"]) == ("train", data, 65_536)
        )
        return megabytes["plain"] / megabytes["lyra"]

    if results["machine"]["device"] == "cuda":
        least = [
            ("training step, b = 512 GFP variants, l = 237", speed("train", "gfp", 512, 237), 10),
            ("forward, b = 1 protein, l = 65,536", speed("forward", "protein", 1, 65_536), 10),
        ]
        return [(work, ratio, f"at least {wanted}", ratio >= wanted) for work, ratio, wanted in least]
    tokens, steps = results["tokenisation"], results["trainer"]
    least = [
        ("kernel alone, l = 65,536", results["kernel"]["plain"] / results["kernel"]["lyra"], 100),
        ("forward, b = 1 protein, l = 65,536", speed("forward", "protein", 1, 65_536), 20),
        ("forward, b = 1 DNA, l = 65,536", speed("forward", "dna", 1, 65_536), 20),
        ("training step, b = 1 protein, l = 65,536", speed("train", "protein", 1, 65_536), 10),
        ("training step, b = 1 DNA, l = 65,536", speed("train", "dna", 1, 65_536), 10),
        ("forward, b = 256 GFP variants, l = 237", speed("forward", "gfp", 256, 237), 3),
        ("training step, b = 256 GFP variants, l = 237", speed("train", "gfp", 256, 237), 5),
        ("training step, b = 256 DNA, l = 237", speed("train", "dna", 256, 237), 5),
        ("training step, b = 256 random proteins, l = 237", speed("train", "protein", 256, 237), 2),
        ("memory of a training step, b = 1 protein, l = 65,536", saved("protein"), 10),
        ("memory of a training step, b = 1 DNA, l = 65,536", saved("dna"), 10),
        ("forward against ESM-2 8M size, b = 16, l = 237", speed("forward", "protein", 16, 237, "esm"), 50),
        ("bulk tokenisation against the fast tokenizer", tokens["lyra"] / tokens["fast tokenizer"], 100),
    ]
    doublings = [float(text) for row in results["streaming"] if (text := doubling(results, row))]
    memory = {(row["bidirectional"], row["letters"]): row["megabytes"] for row in results["streaming"]}
    memory_growth = max(memory[both, 10_000_000] / memory[both, 1_000_000] for both in (False, True))
    most = [
        ("streaming, time for 2l over time for l, l = 1M to 5M, the worst", max(doublings), 2.1),
        ("streaming, memory of 10M letters over that of 1M, the worse direction", memory_growth, 1.1),
        ("step in the Trainer over step in a bare loop", steps["trainer"] / steps["bare loop"], 1.25),
    ]
    return [(work, ratio, f"at least {wanted}", ratio >= wanted) for work, ratio, wanted in least] + [
        (work, ratio, f"at most {wanted}", ratio <= wanted) for work, ratio, wanted in most
    ]


def table(header: list[str], rows: list[list[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def milliseconds(seconds: dict[str, float], name: str) -> str:
    return f"{1e3 * seconds[name]:,.1f}" if name in seconds else "–"


def report(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    machine = results["machine"]
    device = machine["device"]
    parts = [
        f"# Speed and memory on {device.upper()}",
        f"Written by `python scripts/benchmarks/speed.py --device {device}` at commit {machine['commit']} on "
        f"{machine['date']}: {machine['name']}, {machine['threads']} threads, Python {machine['python']}, torch "
        f"{machine['torch']}, transformers {machine['transformers']}. GFP variants: {machine['gfp']}. "
        "Milliseconds, medians of interleaved rounds; every ratio is of two figures of this run.",
        f"![time against length]({device}.png)",
        "## What was asked for",
        table(
            ["work", "plain / lyra", "asked for", ""],
            [
                [
                    work,
                    f"{ratio:.1f}" if ratio >= 10 else f"{ratio:.2f}",
                    wanted,
                    "reached" if yes else "**not reached**",
                ]
                for work, ratio, wanted, yes in targets(results)
            ],
        ),
        "## Models",
        "Every contender is given what it reads (ids, or one-hot letters); a step is loss, backward and AdamW. Where "
        "there is a –, a call takes minutes or more than this machine's memory. In the forward rows lyra has its "
        "kernels from the round before, as it keeps them while the weights stay (on CPU); the plain model makes them "
        "each time.",
        table(
            ["work", "data", "b", "l", *NAMES.values(), "plain / lyra"],
            [
                [row["work"], row["data"], row["batch"], row["length"]]
                + [milliseconds(row["seconds"], name) for name in NAMES]
                + [f"{row['seconds']['plain'] / row['seconds']['lyra']:.1f}"]
                for row in results["models"]
            ],
        ),
        "## Memory",
        "Peak beyond the model and its inputs, MB, each in a fresh process.",
        table(
            ["work", "data", "b", "l", "lyra", "plain Lyra", "plain / lyra"],
            [
                [row["work"], row["data"], row["batch"], row["length"]]
                + [f"{row['megabytes'][name]:,.0f}" for name in ("lyra", "plain")]
                + [f"{row['megabytes']['plain'] / row['megabytes']['lyra']:.1f}"]
                for row in results["memory"]
            ],
        ),
        "## Back ends",
        'The S4D convolution alone, h = 64, n = 64, and the one that `ssm_backend="auto"` takes. Evaluation has its '
        "operators ready, as the model keeps them between calls on CPU; training makes them and has all gradients.",
        table(
            ["work", "b", "l", *SSM_BACKENDS, "auto"],
            [
                [row["work"], row["batch"], row["length"]]
                + [milliseconds(row["seconds"], name) for name in SSM_BACKENDS]
                + [row["auto"]]
                for row in results["backends"]
            ],
        ),
    ]
    if device == "cuda":
        parts += [
            "## Roofline",
            "What a step must read and write at least, over its time.",
            table(
                ["step, b = 512, l = 237", "ms", "GB/s"],
                [[row["step"], f"{1e3 * row['seconds']:.3f}", f"{row['GB/s']:,.0f}"] for row in results["roofline"]],
            ),
        ]
    else:
        parts += [
            "## Windows",
            "The training step with the PGC stack once per distinct window, and position by position.",
            table(
                ["data", "b", "l", "windows", "positions", "ratio"],
                [
                    [row["data"], row["batch"], row["length"]]
                    + [milliseconds(row["seconds"], name) for name in ("windows", "positions")]
                    + [f"{row['seconds']['positions'] / row['seconds']['windows']:.2f}"]
                    for row in results["windows"]
                ],
            ),
        ]
    tokens, steps = results["tokenisation"], results["trainer"]
    parts += [
        "## Tokenisation",
        f"`encode_bulk` {tokens['lyra'] / 1e6:,.0f} million letters a second; calling the tokenizer, a Hugging Face "
        f"`PreTrainedTokenizerFast` with its own threads, on the same list {tokens['fast tokenizer'] / 1e6:,.1f} "
        f"million: {tokens['lyra'] / tokens['fast tokenizer']:.0f} times.",
        "## Streaming",
        "`lyra.inference.stream` over random DNA: a causal token head in one pass, a bidirectional sequence head in "
        "two. Means of two rounds; memory is the highest of the whole process, with its libraries.",
        table(
            ["bidirectional", "letters", "seconds", "against half of them", "MB"],
            [
                [
                    row["bidirectional"],
                    f"{row['letters']:,}",
                    f"{row['seconds']:.2f}",
                    doubling(results, row),
                    f"{row['megabytes']:.0f}",
                ]
                for row in results["streaming"]
            ],
        ),
        "## Trainer",
        f"A step of 64 GFP variants: {1e3 * steps['trainer']:.1f} ms in the Trainer, {1e3 * steps['bare loop']:.1f} ms "
        f"in a bare loop on ready tensors: {steps['trainer'] / steps['bare loop']:.2f} times.",
    ]
    if "sharing" in results:
        parts += [
            "## Two training runs on the same cores",
            "A training step of 64 x 100 residues with two threads, alone and with another such process on the same "
            "two cores, by the spin count of OpenMP's waiting threads (`GOMP_SPINCOUNT`; the command `lyra` sets 5000 "
            "where nothing is set).",
            table(
                ["GOMP_SPINCOUNT", "alone, ms", "two at once, ms", "ratio"],
                [
                    [row["spin_count"] or "not set"]
                    + [milliseconds(row, name) for name in ("alone", "two at once")]
                    + [f"{row['two at once'] / row['alone']:.1f}"]
                    for row in results["sharing"]
                ],
            ),
        ]
    return "\n\n".join(parts) + "\n"


def doubling(results: dict[str, Any], row: dict[str, Any]) -> str:
    """Time over that for half as many letters."""
    half = [
        other["seconds"]
        for other in results["streaming"]
        if (2 * other["letters"], other["bidirectional"]) == (row["letters"], row["bidirectional"])
    ]
    return f"{row['seconds'] / half[0]:.2f}" if half else ""


def plot(results: dict[str, Any], file: Path) -> None:
    """Time of forward and training step against length."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True)
    for axis, work in zip(axes, ("forward", "train"), strict=True):
        rows = [
            row
            for row in results["models"]
            if (row["work"], row["data"], row["batch"]) == (work, "protein", _batch(row["length"]))
        ]
        rows.sort(key=lambda row: row["length"])
        for name, label in NAMES.items():
            points = [
                (row["length"], 1e6 * row["seconds"][name] / (row["batch"] * row["length"]))
                for row in rows
                if name in row["seconds"]
            ]
            axis.loglog(*zip(*points, strict=True), marker="o", label=label)
        axis.set_title({"forward": "forward", "train": "training step"}[work])
        axis.set_xlabel("length of the sequences")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("microseconds per letter")
    axes[0].legend(fontsize=8)
    figure.suptitle(f"Random proteins, some {LETTERS_PER_BATCH:,} letters a batch, {results['machine']['name']}")
    figure.tight_layout()
    figure.savefig(file, dpi=120)


def machine(device: str) -> dict[str, Any]:
    name = torch.cuda.get_device_name() if device == "cuda" else _cpu_name()
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "device": device,
        "name": name,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "commit": commit or "unknown",
        "date": time.strftime("%Y-%m-%d"),
        "gfp": "real" if GFP.exists() else "simulated",
    }


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "docs" / "benchmarks")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device: this machine has no CUDA device")
    if args.device == "cpu":
        torch.set_num_threads(THREADS)
    results: dict[str, Any] = {"machine": machine(args.device)}
    results["tokenisation"] = tokenisation()
    results["kernel"] = kernel(args.device)
    results["models"] = models(args.device)
    results["memory"] = memory(args.device)
    results["backends"] = backends(args.device)
    section = roofline if args.device == "cuda" else windows
    results[section.__name__] = section(args.device)
    results["streaming"] = streaming(args.device)
    results["trainer"] = trainer(args.device)
    if args.device == "cpu":
        results["sharing"] = sharing()
    args.output_dir.mkdir(parents=True, exist_ok=True)
    stem = args.output_dir / args.device
    stem.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(report(results), encoding="utf-8")
    plot(results, stem.with_suffix(".png"))
    print(report(results))


if __name__ == "__main__":
    sys.exit(main())
