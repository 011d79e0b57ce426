"""Time of linear attention against PyTorch's own (scaled_dot_product_attention), forward, in one run.

    python scripts/benchmarks/lolcats_speed.py            on a CPU or, where there is one, a GPU
    python scripts/benchmarks/lolcats_speed.py --lengths 256 1024

Prints both sides at each length, and the first length from which linear attention is faster. `--save` writes the record
that docs/lolcats.md shows.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from lolcats.modeling_lolcats import LolcatsAttention, LolcatsCacheLayer

ROOT = Path(__file__).parents[2]
_HEADS, _SIZE, _WINDOW = 4, 64, 64


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    lengths = [256, 512, 1024, 2048, 4096, 8192, 16384, 65536]
    parser.add_argument("--lengths", type=int, nargs="+", default=lengths, help="positions")
    parser.add_argument("--save", action="store_true", help="write docs/lolcats/speed.json")
    arguments = parser.parse_args()
    record = measure(arguments.lengths)
    print(f"{record['device']}, {record['threads']} threads, torch {record['torch']}\n")
    print(f"{table(record)}\n{conclusion(record)}")
    if arguments.save:
        file = ROOT / "docs" / "lolcats" / "speed.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


@torch.no_grad()
def measure(lengths: list[int]) -> dict[str, Any]:
    """Seconds of both sides for decoder and encoder, the least of several calls, and bytes of a decoder's cache."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = []
    for causal in (True, False):
        attention = LolcatsAttention(_HEADS, _SIZE, _SIZE, _WINDOW, causal).to(device)
        for length in lengths:
            q, k, v = (torch.randn(1, _HEADS, length, _SIZE, device=device) for _ in range(3))

            def linear(q=q, k=k, v=v, attention=attention):
                return attention(q, k, v, _SIZE**-0.5, None)

            def softmax(q=q, k=k, v=v, causal=causal):
                return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

            seconds = {"linear": _fastest(linear, device), "softmax": _fastest(softmax, device)}
            rows.append({"causal": causal, "length": length} | {name: float(f"{s:.4g}") for name, s in seconds.items()})
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "heads": _HEADS,
        "head_size": _SIZE,
        "window": _WINDOW,
        "rows": rows,
        "cache_bytes": {str(length): _cache_bytes(length) for length in lengths},
    }


def _fastest(function: Callable[[], Any], device: str) -> float:
    """The least seconds of two to ten calls, after one to warm up."""
    times: list[float] = []
    function()
    while len(times) < 2 or (len(times) < 10 and sum(times) < 5):
        started = time.perf_counter()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times)


def _cache_bytes(length: int) -> dict[str, int]:
    """What a layer of a decoder remembers after so many tokens, linear and softmax."""
    attention, cache = LolcatsAttention(_HEADS, _SIZE, _SIZE, _WINDOW, causal=True), LolcatsCacheLayer(_WINDOW)
    q, k, v = (torch.randn(1, _HEADS, length, _SIZE) for _ in range(3))
    attention.cache_layer = cache
    attention(q, *cache.update(k, v), _SIZE**-0.5, None)
    kept = [cache.keys, cache.values, *([cache.state.values, cache.state.norms] if cache.state else [])]
    return {"linear": sum(x.untyped_storage().nbytes() for x in kept), "softmax": 2 * k.nbytes}


def table(record: dict[str, Any]) -> str:
    """Markdown: seconds of both sides, their ratio, and a decoder's memory."""
    sides = {
        causal: {row["length"]: row for row in record["rows"] if row["causal"] == causal} for causal in (True, False)
    }
    head = ["positions", *("linear (s)", "softmax (s)", "ratio") * 2, "cache, linear / softmax (kB)"]
    lines = [
        "| | decoder | | | encoder | | | decoder |",
        "|---" * len(head) + "|",
        f"| {' | '.join(head)} |",
    ]
    for length in sides[True]:
        cells = [f"{length:,}"]
        for rows in sides.values():
            row = rows[length]
            cells += [f"{row['linear']:.4f}", f"{row['softmax']:.4f}", f"{row['softmax'] / row['linear']:.2f}"]
        kept = record["cache_bytes"][str(length)]
        lines.append(f"| {' | '.join(cells)} | {kept['linear'] // 1024:,} / {kept['softmax'] // 1024:,} |")
    return "\n".join(lines) + "\n"


def conclusion(record: dict[str, Any]) -> str:
    """From which length linear attention is faster, and how its time grows."""
    said = []
    for causal, title in ((True, "decoder"), (False, "encoder")):
        rows = [row for row in record["rows"] if row["causal"] == causal]
        slower = max((row["length"] for row in rows if row["softmax"] <= row["linear"]), default=0)
        faster = next((f"{row['length']:,}" for row in rows if row["length"] > slower), "no length")
        seconds = {row["length"]: row["linear"] for row in rows}
        said.append(f"{title}: linear is faster from {faster} on")
        if {16384, 65536} <= seconds.keys():
            said[-1] += f"; time at 65,536 over 16,384: {seconds[65536] / seconds[16384]:.2f}"
    return "\n".join(said)


if __name__ == "__main__":
    sys.exit(main())
