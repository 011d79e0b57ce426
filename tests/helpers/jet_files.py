"""Small jets, made on the spot: classes that differ in their numbers of prongs."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pcn.columns import FLAGS, LABEL_PREFIX, MOMENTUM, TRACK

NAMES = ("QCD", "Hbb", "Tbqq")


def momenta(number, prongs=1, seed=0):
    """`(number, 4)`: particles around one or several directions."""
    random = np.random.default_rng(seed)
    axis_eta, axis_phi = random.uniform(-1.5, 1.5), random.uniform(-3, 3)
    prong = random.integers(prongs, size=number)
    eta = axis_eta + 0.4 * np.cos(2 * np.pi * prong / prongs) * (prongs > 1) + 0.05 * random.standard_normal(number)
    phi = axis_phi + 0.4 * np.sin(2 * np.pi * prong / prongs) * (prongs > 1) + 0.05 * random.standard_normal(number)
    pt = random.exponential(30, number) + 1
    p = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=1)
    return np.column_stack([p, np.sqrt((p**2).sum(1) + 0.02)])


def columns(jets, seed=0):
    """Columns of a list of `(class, momenta)`; of particles lists of arrays."""
    random = np.random.default_rng(seed)
    found = {name: [p[:, i] for _, p in jets] for i, name in enumerate(MOMENTUM)}
    kinds = [np.eye(5)[random.integers(5, size=len(p))] for _, p in jets]
    found |= {name: [each[:, i] for each in kinds] for i, name in enumerate(FLAGS)}
    tracks = [random.uniform(0, 0.5, (len(p), 4)) for _, p in jets]
    found |= {name: [each[:, i] for each in tracks] for i, name in enumerate(TRACK)}
    found |= {LABEL_PREFIX + name: [int(name == label) for label, _ in jets] for name in NAMES}
    return found | {"event": list(range(len(jets)))}


def some_jets(count, seed=0):
    """A list of `(class, momenta)`: one, two or three prongs."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 25, size=count)
    return [(NAMES[i % 3], momenta(int(size), 1 + i % 3, seed * 1000 + i)) for i, size in enumerate(sizes)]


def write_parquet(path, count=60, seed=0, **changes):
    """A file of such jets; `changes` replace columns, None leaves one out."""
    return write_columns(path, columns(some_jets(count, seed), seed) | changes)


def write_columns(path, found):
    pq.write_table(pa.table({name: values for name, values in found.items() if values}), path)
    return path


def write_root(path, count=60, seed=0):
    import awkward as ak
    import uproot

    with uproot.recreate(path) as file:
        found = columns(some_jets(count, seed), seed)
        file["tree"] = {name: ak.Array(values) for name, values in found.items()}
    return path


def write_hdf5(path, count=60, seed=0):
    import h5py

    with h5py.File(path, "w") as file:
        for name, values in _padded(count, seed).items():
            file[name] = values
    return path


def write_npz(path, count=60, seed=0):
    np.savez(path, **_padded(count, seed))
    return path


def _padded(count, seed):
    found = columns(some_jets(count, seed), seed)
    longest = max(map(len, found["part_px"]))
    return {
        name: np.stack([np.pad(each, (0, longest - len(each))) for each in values])
        if name.startswith("part_")
        else np.array(values)
        for name, values in found.items()
    }
