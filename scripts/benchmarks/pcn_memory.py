"""Peak memory of `pcn predict` on ROOT files of more and more jets.

    python scripts/benchmarks/pcn_memory.py                 20,000, 80,000 and 320,000 jets

Each file is read by a process of its own, with a small untrained model; jets of 40 particles.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import awkward as ak
import numpy as np
import uproot
from tqdm import tqdm

from pcn.columns import FLAGS, MOMENTUM, TRACK
from pcn.configuration_pcn import PcnConfig
from pcn.feature_extraction_pcn import PcnFeatureExtractor
from pcn.modeling_pcn import PcnForJetClassification

_PARTICLES, _CHUNK = 40, 20_000
_PREDICT = """
import resource, sys
from pcn.cli import main
assert main(["predict", *sys.argv[1:]]) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jets", type=int, nargs="+", default=[20_000, 80_000, 320_000])
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        PcnForJetClassification(PcnConfig.ours(hidden_sizes=(8, 8))).save_pretrained(model)
        PcnFeatureExtractor("invariant16", "angles").save_pretrained(model)
        rows = [(number, *measure(model, Path(folder), number)) for number in arguments.jets]
    print("| jets | file, MB | peak, MB | of the first |\n|---|---|---|---|")
    for number, size, peak in rows:
        print(f"| {number:,} | {size / 1e6:,.0f} | {peak / 1e6:,.0f} | {peak / rows[0][2]:.2f} |")
    return 0


def measure(model: Path, folder: Path, number: int) -> tuple[int, int]:
    """Bytes of the file, and at most of the process that reads it."""
    file = folder / f"{number}.root"
    with uproot.recreate(file) as root:
        for begin in tqdm(range(0, number, _CHUNK), desc=f"{number:,} jets", unit=" chunks"):
            chunk = random_jets(np.random.default_rng(begin), min(_CHUNK, number - begin))
            if begin:
                root["tree"].extend(chunk)
            else:
                root["tree"] = chunk
    command = [sys.executable, "-c", _PREDICT, str(model), str(file), "-o", str(folder / f"{number}.csv")]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return file.stat().st_size, 1024 * int(done.stdout.splitlines()[-1])


def random_jets(random: np.random.Generator, number: int) -> dict[str, ak.Array]:
    shape = (number * _PARTICLES,)
    p = random.normal(size=(3, *shape)) * 10 + 20
    values = dict(zip(MOMENTUM, [*p, np.sqrt((p**2).sum(axis=0) + 0.02)], strict=True))
    values |= {name: (random.random(shape) < 0.2).astype(float) for name in FLAGS}
    values |= {name: random.random(shape) for name in TRACK}
    return {name: ak.unflatten(each.astype(np.float32), _PARTICLES) for name, each in values.items()}


if __name__ == "__main__":
    sys.exit(main())
