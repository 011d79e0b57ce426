"""Simulated jets with JetClass's columns: Pythia 8 at leading order, a toy detector, anti-kT jets.

Not to be compared with JetClass, whose events are of MadGraph and whose detector is Delphes. What this is for: models
compared with one another on jets that everybody can make again, from a seed.

Pythia (GPL) and FastJet (GPL) are installed by the extra `pcn-simulate` and are no part of this package.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from lyra.errors import InputError
from lyra.files import file_sha256, write_then_rename

from .columns import FLAGS, LABEL_PREFIX, MOMENTUM, TRACK

RADIUS, PT_RANGE, MAX_ETA = 0.8, (500.0, 1000.0), 2.0
PT_BINS = 10
_EVENTS = 100  # generated at a time
_ROW_GROUP = 5000  # jets
_MIN_PT = 0.5  # GeV, of what the detector sees
_NEUTRINOS = (12, 14, 16)
_COMMON = (
    "Print:quiet = on",
    "Beams:eCM = 13000.",
    "PhaseSpace:pTHatMin = 425.",
    "PhaseSpace:pTHatMax = 1150.",
    # More of the hard events, which are rare: the spectrum of jets is made flat anyway.
    "PhaseSpace:bias2Selection = on",
    "PhaseSpace:bias2SelectionPow = 6.",
    "PhaseSpace:bias2SelectionRef = 425.",
    "ParticleDecays:limitTau0 = on",
    "ParticleDecays:tau0Max = 10.",  # mm
    "Random:setSeed = on",
)
_HADRONIC_W = ("24:onMode = off", "24:onIfAny = 1 2 3 4 5")


class Process(NamedTuple):
    """What a class of jets comes from.

    Attributes:
        settings: of Pythia.
        resonance: PDG number of the particle that a jet must hold, with the quarks that it decays to; None for any jet.
    """

    settings: tuple[str, ...]
    resonance: int | None


PROCESSES = {
    "QCD": Process(("HardQCD:all = on",), None),
    "Hbb": Process(
        (
            "HiggsSM:ffbar2HZ = on",
            *("23:onMode = off", "23:onIfAny = 12 14 16", "25:onMode = off", "25:onIfAny = 5"),
        ),
        25,
    ),
    "Tbqq": Process(("Top:gg2ttbar = on", "Top:qqbar2ttbar = on", *_HADRONIC_W), 6),
    "Wqq": Process(("WeakBosonAndParton:qqbar2Wg = on", "WeakBosonAndParton:qg2Wq = on", *_HADRONIC_W), 24),
}


def simulate(label: str, count: int, seed: int) -> Iterator[list[dict[str, Any]]]:
    """Jets of one class, equally many in each of ten intervals of their pT, from 500 to 1000 GeV.

    Args:
        label: a key of `PROCESSES`.
        count: of jets, a multiple of ten.
        seed: of Pythia and of the detector; the same seed gives the same jets, on the same versions.

    Yields:
        lists of jets: their columns, arrays of the particles and numbers of the jet.

    Raises:
        InputError: for a number that is no multiple of ten, or without the extra `pcn-simulate`.
    """
    if count < 1 or count % PT_BINS:
        raise InputError(f"expected a number of jets that is a multiple of {PT_BINS}, got {count}")
    process = PROCESSES[label]
    pythia = _pythia(process, seed)
    random = np.random.default_rng([seed, list(PROCESSES).index(label)])
    missing = np.full(PT_BINS, count // PT_BINS)
    while missing.any():
        chosen = []
        for jet in _jets_of(pythia.nextBatch(_EVENTS), process, random):
            place = int((jet["jet_pt"] - PT_RANGE[0]) / (PT_RANGE[1] - PT_RANGE[0]) * PT_BINS)
            if missing[place]:
                missing[place] -= 1
                chosen.append(jet | {LABEL_PREFIX + name: int(name == label) for name in PROCESSES})
        yield chosen


def _pythia(process: Process, seed: int) -> Any:
    try:
        import fastjet  # noqa: F401
        import pythia8mc
    except ImportError as error:
        raise InputError(f"simulating needs {error.name}: pip install 'lyra-bio[pcn-simulate]'") from None
    if not 1 <= seed <= 900_000_000:
        raise InputError(f"expected a seed of Pythia, from 1 to 900000000, got {seed}")
    pythia = pythia8mc.Pythia("", False)
    for setting in (*_COMMON, f"Random:seed = {seed}", *process.settings):
        if not pythia.readString(setting):
            raise RuntimeError(f"Pythia does not know {setting!r}")
    if not pythia.init():
        raise RuntimeError("Pythia cannot be initialised")
    return pythia


def _jets_of(events: Any, process: Process, random: np.random.Generator) -> Iterator[dict[str, Any]]:
    """The jets of a batch of events, an awkward array, that belong to the class."""
    for particles in _split(events.prt):
        seen = _detect(particles, random)
        for members in _cluster(seen["p"]):
            jet = _describe(seen, members)
            if (
                PT_RANGE[0] <= jet["jet_pt"] < PT_RANGE[1]
                and abs(jet["jet_eta"]) < MAX_ETA
                and (process.resonance is None or _holds(particles, process.resonance, jet))
            ):
                yield jet


def _split(events: Any) -> Iterator[dict[str, np.ndarray]]:
    """The particles of each event: `p` `(n, 4)`, `vertex` `(n, 3)` in mm, and numbers `(n,)`."""
    import awkward as ak

    ends = np.cumsum(ak.to_numpy(ak.num(events.id)))
    flat = ak.flatten(events)  # once for the whole batch: each call of awkward takes a millisecond
    columns = {name: ak.to_numpy(flat[name]) for name in ("id", "status", "daughter1", "daughter2", "m")}
    columns["p"] = np.stack([ak.to_numpy(flat.p[name]) for name in ("px", "py", "pz", "e")], axis=1)
    vertex = ak.fill_none(flat.vProd, {"px": 0.0, "py": 0.0, "pz": 0.0, "e": 0.0})
    columns["vertex"] = np.stack([ak.to_numpy(vertex[name]) for name in ("px", "py", "pz")], axis=1)
    for begin, end in zip([0, *ends[:-1]], ends, strict=True):
        yield {name: values[begin:end] for name, values in columns.items()}


# ── The detector ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _detect(particles: dict[str, np.ndarray], random: np.random.Generator) -> dict[str, np.ndarray]:
    """What a toy detector sees of the stable particles: smeared momenta `(n, 4)`, tracks `(n, 4)`, kinds `(n, 5)`.

    Resolutions: of tracks 1 % and 0.01 % of pT / GeV; of electrons and photons 5 % / sqrt(E) and 1 %; of neutral
    hadrons 80 % / sqrt(E) and 5 %, and 0.02 in each angle; of impact parameters 0.02 mm (along the beam 0.03) and 0.1
    (0.15) mm GeV / pT.
    """
    stable = (particles["status"] > 0) & ~np.isin(abs(particles["id"]), _NEUTRINOS)
    number = abs(particles["id"][stable])
    p, mass, vertex = particles["p"][stable], particles["m"][stable], particles["vertex"][stable]
    charge = _charges(particles["id"][stable])
    electron, muon, photon = number == 11, number == 13, number == 22
    charged_hadron = (charge != 0) & ~electron & ~muon
    neutral_hadron = (charge == 0) & ~photon
    pt, energy = np.hypot(p[:, 0], p[:, 1]), p[:, 3]
    resolution = np.where(charge != 0, np.hypot(0.01, 1e-4 * pt), np.hypot(0.05 / np.sqrt(energy), 0.01))
    resolution = np.where(neutral_hadron, np.hypot(0.8 / np.sqrt(energy), 0.05), resolution)
    scale = np.clip(1 + resolution * random.standard_normal(len(p)), 0.05, None)
    eta = np.arcsinh(p[:, 2] / np.maximum(pt, 1e-9)) + 0.02 * neutral_hadron * random.standard_normal(len(p))
    phi = np.arctan2(p[:, 1], p[:, 0]) + 0.02 * neutral_hadron * random.standard_normal(len(p))
    pt = pt * scale
    momentum = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=1)
    smeared = np.column_stack([momentum, np.sqrt((momentum**2).sum(1) + mass**2)])
    kept = (pt > _MIN_PT) & (abs(eta) < MAX_ETA + RADIUS)
    kinds = np.stack([charged_hadron, neutral_hadron, photon, electron, muon], axis=1)
    tracks = _tracks(p, vertex, charge, random)
    return {"p": smeared[kept], "tracks": tracks[kept], "kinds": kinds[kept], "charge": charge[kept]}


def _charges(numbers: np.ndarray) -> np.ndarray:
    """The charge of hadrons and leptons by their PDG numbers: the digits of its quarks."""
    digits = [abs(numbers) // 10**place % 10 for place in (1, 2, 3)]
    thirds = [np.where(digit == 0, 0, np.where(digit % 2 == 0, 2, -1)) for digit in digits]
    low, middle, high = thirds
    meson = np.where(digits[2] == 0, np.where(digits[1] % 2 == 0, middle - low, low - middle), 0)
    charge = np.where(digits[2] == 0, meson, low + middle + high) // 3
    charge = np.where(abs(numbers) < 100, np.where(np.isin(abs(numbers), (11, 13, 15)), -1, 0), charge)
    return charge * np.sign(numbers)


def _tracks(p: np.ndarray, vertex: np.ndarray, charge: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Impact parameters and their errors in mm, of straight lines; zero of neutral particles."""
    pt = np.maximum(np.hypot(p[:, 0], p[:, 1]), 1e-9)
    x, y, z = vertex.T
    transverse = (x * p[:, 1] - y * p[:, 0]) / pt
    longitudinal = z - (x * p[:, 0] + y * p[:, 1]) / pt * p[:, 2] / pt
    errors = np.hypot(0.02, 0.1 / pt), np.hypot(0.03, 0.15 / pt)
    noise = random.standard_normal((2, len(p)))
    columns = [transverse + errors[0] * noise[0], errors[0], longitudinal + errors[1] * noise[1], errors[1]]
    return np.stack(columns, axis=1) * (charge != 0)[:, None]


# ── Jets ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _cluster(p: np.ndarray) -> list[np.ndarray]:
    """The numbers of the particles in each anti-kT jet above the lowest pT."""
    import fastjet

    inputs = []
    for number, (px, py, pz, energy) in enumerate(p):
        inputs.append(fastjet.PseudoJet(px, py, pz, energy))
        inputs[-1].set_user_index(number)
    # The sequence must outlive its jets.
    sequence = fastjet.ClusterSequence(inputs, fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS))
    jets = sequence.inclusive_jets(PT_RANGE[0])
    return [np.array([particle.user_index() for particle in jet.constituents()]) for jet in jets]


def _describe(seen: dict[str, np.ndarray], members: np.ndarray) -> dict[str, Any]:
    """The columns of a jet, its particles by falling pT."""
    p = seen["p"][members]
    order = np.argsort(-np.hypot(p[:, 0], p[:, 1]), kind="stable")
    p, members = p[order], members[order]
    total = p.sum(axis=0)
    jet_pt = float(np.hypot(total[0], total[1]))
    jet_eta, jet_phi = float(np.arcsinh(total[2] / jet_pt)), float(np.arctan2(total[1], total[0]))
    eta, phi = np.arcsinh(p[:, 2] / np.hypot(p[:, 0], p[:, 1])), np.arctan2(p[:, 1], p[:, 0])
    columns = {name: p[:, i].astype(np.float32) for i, name in enumerate(MOMENTUM)}
    columns |= {name: seen["tracks"][members, i].astype(np.float32) for i, name in enumerate(TRACK)}
    columns |= {name: seen["kinds"][members, i].astype(np.float32) for i, name in enumerate(FLAGS)}
    columns["part_charge"] = seen["charge"][members].astype(np.float32)
    columns["part_deta"] = (np.sign(jet_eta or 1.0) * (eta - jet_eta)).astype(np.float32)
    columns["part_dphi"] = wrapped(phi - jet_phi).astype(np.float32)
    mass = float(np.sqrt(max(total[3] ** 2 - (total[:3] ** 2).sum(), 0.0)))
    return columns | {
        "jet_pt": jet_pt,
        "jet_eta": jet_eta,
        "jet_phi": jet_phi,
        "jet_energy": float(total[3]),
        "jet_mass": mass,
        "jet_nparticles": len(members),
    }


def wrapped(angle: np.ndarray) -> np.ndarray:
    """An angle in [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _holds(particles: dict[str, np.ndarray], resonance: int, jet: dict[str, Any]) -> bool:
    """Whether all quarks that one such particle decays to are inside the jet."""
    for number in np.flatnonzero(abs(particles["id"]) == resonance):
        quarks = _quarks(particles, int(number))
        p = particles["p"][quarks]
        if len(quarks) and (_distances(p, jet["jet_eta"], jet["jet_phi"]) < RADIUS).all():
            return True
    return False


def _quarks(particles: dict[str, np.ndarray], number: int) -> list[int]:
    """The quarks that the last copy of a particle decays to, over W bosons; none of an earlier copy."""
    daughters = range(particles["daughter1"][number], particles["daughter2"][number] + 1)
    names = [particles["id"][daughter] for daughter in daughters]
    if particles["id"][number] in names or not names:
        return []
    found = []
    for daughter, name in zip(daughters, names, strict=True):
        if abs(name) == 24:
            while particles["id"][particles["daughter1"][daughter]] == name:  # until its last copy
                daughter = int(particles["daughter1"][daughter])
            found += _quarks(particles, daughter)
        elif abs(name) <= 5:
            found.append(daughter)
    return found


def _distances(p: np.ndarray, eta: float, phi: float) -> np.ndarray:
    """Distances in (eta, phi) from an axis."""
    own = np.arcsinh(p[:, 2] / np.maximum(np.hypot(p[:, 0], p[:, 1]), 1e-9))
    return np.hypot(own - eta, wrapped(np.arctan2(p[:, 1], p[:, 0]) - phi))


# ── The file ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_jets(file: Path, classes: Sequence[str], count: int, seed: int) -> str:
    """Simulates `count` jets of each class into a Parquet file; returns its SHA-256.

    Raises:
        InputError: as [`simulate`]; OutputError if the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer: Any = None
    with write_then_rename(file) as partial, tqdm(total=count * len(classes), desc="simulating", unit=" jets") as bar:
        try:
            for label in classes:
                for rows in _row_groups(label, count, seed, bar):
                    table = pa.Table.from_pylist(rows)
                    writer = writer or pq.ParquetWriter(partial, table.schema)
                    writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()
    return file_sha256([file])


def _row_groups(label: str, count: int, seed: int, bar: Any) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    for jets in simulate(label, count, seed):
        rows += jets
        bar.update(len(jets))
        if len(rows) >= _ROW_GROUP:
            yield rows
            rows = []
    if rows:
        yield rows
