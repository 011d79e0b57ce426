"""One long sequence on 1, 2 and 4 processes (`lyra.parallel`): bytes moved, seconds and memory of a training step.

    python scripts/benchmarks/parallel.py

Bytes are what each process receives in forward and backward, without the averaging of the gradients, whose size is
that of the model. Times are of processes that share this machine's cores, as ratios to one process in the same run.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import torch
import torch.distributed as dist

from lyra import LyraConfig, LyraForTokenClassification
from lyra.parallel import SequenceParallel

REPEATS = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[4096, 65_536, 1_048_576])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker)
        return 0
    print("| length | processes | bytes received by each | step, s | of one process | peak memory of each, MB |")
    print("|---|---|---|---|---|---|")
    for length in arguments.lengths:
        alone = None
        for ranks in arguments.ranks:
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
            done = subprocess.run([*command, __file__, "--worker", str(length)], capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(done.stderr[-2000:])
            found = json.loads(done.stdout.splitlines()[-1])
            alone = alone or found["seconds"]
            ratio = f"{found['seconds'] / alone:.2f}"
            print(
                f"| {length:,} | {ranks} | {found['bytes']:,} | {found['seconds']:.2f} | {ratio} | {found['memory']} |"
            )
    return 0


def worker(length: int) -> None:
    """A rank: a few steps of a token head of the paper's size that reads in both directions."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    received = count_bytes(ranks)
    torch.manual_seed(0)
    model = SequenceParallel(LyraForTokenClassification(LyraConfig(alphabet="dna", bidirectional=True)))
    ids = torch.randint(3, 7, (1, length))
    piece = ids.tensor_split(ranks, dim=1)[rank]
    times = []
    for _ in range(REPEATS):
        received.clear()
        dist.barrier()
        before = time.monotonic()
        model(piece, piece % 2).loss.backward()
        dist.barrier()
        times.append(time.monotonic() - before)
    if rank == 0:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps({"bytes": sum(received), "seconds": min(times), "memory": memory}))
    dist.destroy_process_group()


def count_bytes(ranks: int) -> list[int]:
    """A list that gets the bytes of every collective from now on."""
    received: list[int] = []
    gather, reduce, broadcast = dist.all_gather, dist.all_reduce, dist.broadcast

    def all_gather(parts: list[torch.Tensor], tensor: torch.Tensor, **options: Any) -> Any:
        received.append((ranks - 1) * tensor.nbytes)
        return gather(parts, tensor, **options)

    def all_reduce(tensor: torch.Tensor, **options: Any) -> Any:
        received.append(2 * (ranks - 1) * tensor.nbytes // ranks)  # of a ring
        return reduce(tensor, **options)

    def from_one(tensor: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        received.append(tensor.nbytes if ranks > 1 else 0)
        return broadcast(tensor, *arguments, **options)

    dist.all_gather, dist.all_reduce, dist.broadcast = all_gather, all_reduce, from_one
    return received


if __name__ == "__main__":
    sys.exit(main())
