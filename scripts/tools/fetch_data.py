"""Brings the public table of a task from its original source and converts it to our CSV.

    python scripts/tools/fetch_data.py --list                  tasks, their tables, licences and sources
    python scripts/tools/fetch_data.py gfp_relso cpp_deepcpp   writes data/gfp_relso.csv.gz and data/cpp_deepcpp.csv.gz
    python scripts/research/reproduce.py gfp_relso --data_dir data

A source is one or more files of a public repository at a fixed commit. The SHA-256 of every download is checked before
anything reads it, and that of the converted rows before they are written, so the table is exactly the one that the
results in `docs/results/` come from. A table that is already there is only checked. The data remain under the licences
of their sources.

To add a table, write an entry of `SOURCES`.
"""

import argparse
import csv
import gzip
import hashlib
import io
import sys
import urllib.request
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote, unquote

import yaml
from tqdm import tqdm

from lyra.errors import InputError, OutputError, one_line
from lyra.files import file_sha256, locked, write_then_rename

ROOT = Path(__file__).parents[2]
TASKS = ROOT / "scripts" / "research" / "tasks"
BASE_URL = "https://raw.githubusercontent.com"
COLUMNS = ("sequence", "label", "split")
TIMEOUT = 60  # seconds without a byte

Row = tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """Where a table comes from."""

    files: dict[str, str]  # owner/repository@commit/path of each download, and its SHA-256
    convert: Callable[..., Iterable[Row]]  # of the downloads in order
    sha256: str  # of the converted CSV, uncompressed
    licence: str
    extras: tuple[str, ...] = ()  # columns after `sequence`, `label`, `split`


# ── Converters ───────────────────────────────────────────────────────────────────────────────────────────────────────


def convert_splits(*paths: Path, splits: tuple[str, ...]) -> Iterator[Row]:
    """One file of a header, sequences and labels per split."""
    for path, split in zip(paths, splits, strict=True):
        for row in read_csv(path)[1:]:
            yield (row[0], row[1], split)


def convert_gfp(genotypes: Path, test: Path) -> Iterator[Row]:
    """Our table was made without ReLSO's training file, which we could not get: its training rows are the measured
    genotypes that are not in ReLSO's test file."""
    test_rows = read_csv(test)
    wild_type = [Counter(column).most_common(1)[0][0] for column in zip(*(row[0] for row in test_rows), strict=True)]
    train_rows = []
    for mutations, _, brightness, _ in read_csv(genotypes, "\t")[1:]:
        if mutations:  # our table is without the wild type itself
            letters = wild_type.copy()
            for mutation in mutations.split(":"):  # SA108D: the S is constant, positions are counted from 0
                letters[int(mutation[2:-1])] = mutation[-1].replace("*", "X")
            train_rows.append(["".join(letters), repr(pandas_float(brightness))])
    return split_by_test(train_rows, test_rows)


def convert_gb1(landscape: Path, test: Path) -> Iterator[Row]:
    """As for GFP, the training rows are the measured variants that are not in ReLSO's test file."""
    test_rows = read_csv(test)
    s = test_rows[0][0]
    with zipfile.ZipFile(landscape) as archive, archive.open("four_mutations_full_data.csv") as file:
        variants = list(csv.DictReader(io.TextIOWrapper(file, "utf-8")))
    # ReLSO writes the four letters one position after the sites 39, 40, 41 and 54 that were mutated.
    train_rows = [[s[:39] + v["Variants"][:3] + s[42:54] + v["Variants"][3] + s[55:], v["Fitness"]] for v in variants]
    return split_by_test(train_rows, test_rows)


def convert_flip_gb1(path: Path, split: str) -> Iterator[Row]:
    with zipfile.ZipFile(path) as archive, archive.open(f"splits/{split}.csv") as file:
        for row in csv.DictReader(io.TextIOWrapper(file, "utf-8")):
            yield (row["sequence"], row["target"], "validation" if row["validation"] else row["set"])


def convert_flip_secondary_structure(path: Path) -> Iterator[Row]:
    with zipfile.ZipFile(path) as archive:
        sequences, structures, masks = (
            read_fasta(io.TextIOWrapper(archive.open(f"splits/{name}.fasta"), "utf-8"))
            for name in ("sequences", "sampled", "mask")
        )
        for (_, sequence), (header, structure), (_, mask) in zip(sequences, structures, masks, strict=True):
            _, subset, validation = header.split()
            split = "validation" if validation == "VALIDATION=True" else subset.removeprefix("SET=")
            yield (sequence, structure, split, mask)


def convert_mpsa(path: Path) -> Iterator[Row]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield (row["x"], row["y"], row["set"].replace("training", "train"), row["tot_ct"], row["ex_ct"])


def convert_cas13a(path: Path) -> Iterator[Row]:
    extras = ("guide_seq", "guide_pos_nt", "type", "guide_target_hamming_dist", "crrna_block")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            target = row["target_before"] + row["target_at_guide"] + row["target_after"]
            yield (target, row["out_logk_measurement"], "", *(row[name] for name in extras))


def convert_cppredfl(sequences: Path, classes: Path) -> Iterator[Row]:
    with open(sequences, encoding="utf-8") as file:
        for (_, sequence), label in zip(read_fasta(file), classes.read_text().split(), strict=True):
            yield (sequence, label, "")


def convert_deepcpp(*paths: Path) -> Iterator[Row]:
    for path, split in zip(paths, ("train", "test"), strict=True):
        with open(path, encoding="utf-8") as file:
            for header, sequence in read_fasta(file):
                yield (sequence, "1" if header.startswith("pos") else "0", split)


def convert_ncrna(*paths: Path) -> Iterator[Row]:
    for path, split in zip(paths, ("train", "validation", "test"), strict=True):
        with open(path, encoding="utf-8") as file:
            for header, sequence in read_fasta(file):
                name, family = header.split()
                yield (sequence, family, split, name)


def convert_disoflag(*paths: Path) -> Iterator[Row]:
    """Records of nine lines: id, sequence, and a 0 or 1 per residue for disorder and each of six functions."""
    subsets = (("train", "train"), ("dev", "validation"), ("DP94", "test"), ("DP93", "test"))
    for path, (subset, split) in zip(paths, subsets, strict=True):
        lines = path.read_text(encoding="utf-8").split()
        for i in range(0, len(lines), 9):
            name, sequence, *labels = lines[i : i + 9]
            yield (sequence, labels[0], split, *labels, subset, name.removeprefix(">"))


def split_by_test(rows: Iterable[list[str]], test_rows: list[list[str]]) -> Iterator[Row]:
    """Rows whose sequence is not in the test set as the training set, then the test set."""
    held_out = {row[0] for row in test_rows}
    train_rows = (row for row in rows if row[0] not in held_out)
    yield from chain(((*row, "train") for row in train_rows), ((*row, "test") for row in test_rows))


def read_csv(path: Path, delimiter: str = ",") -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter=delimiter))


def read_fasta(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Headers without the > and sequences."""
    header, parts = "", list[str]()
    for line in chain(lines, [">"]):
        if line.startswith(">"):
            if header:
                yield header, "".join(parts)
            header, parts = line[1:].strip(), []
        else:
            parts.append(line.strip())


def pandas_float(text: str) -> float:
    """A number as pandas read it by default before version 1.2: scaling by powers of ten could miss the last bit. The
    training labels of our GFP table were read so."""
    whole, _, decimals = text.partition(".")
    value, power, places = float(int(whole + decimals)), 10.0, len(decimals)
    while places:
        if places & 1:
            value /= power
        power *= power
        places >>= 1
    return value


# ── Sources ──────────────────────────────────────────────────────────────────────────────────────────────────────────

# Files, and folders of files, at fixed commits.
FLIP = "J-SNACKKB/FLIP@62cace8735f5610e2743cf06ce0f944b37fffaa6/splits"
RELSO = (
    "KrishnaswamyLab/ReLSO-Guided-Generative-Protein-Design-using-Regularized-Transformers"
    "@f2fee841da406bb38f080af4445b5f790af31c43/data"
)
CAS9 = "White-Cement/CrnnCrispr@6562a065520a47b2a7f128120246d219c0aff9e7/datasets/WT（n=55603）.csv"
CAS13A = (
    "sameedmsiddiqui/lyra@538bac4f7bfb2e182581852abff0a1c9709ac4ab/datasets/ADAPT/"
    "CCF_merged_pairs_annotated.curated.median.tsv.gz"
)
CPP924 = "spaenigs/peptidereactor@17efcb993505934f5b9c2d63f5cc040bb244dde9/data/cpp_cppredfl"
DEEPCPP = "GGCL7/DeepCPP@3eb1aeac6cd548297c70be6774bfa1d342c72923/Data"
DISOFLAG = "YihePang/DisoFLAG@a78875ab7cfd705ce0b32b415253ba30fa6134b5/dataset"
GB1_LANDSCAPE = f"{FLIP}/gb1/four_mutations_full_data.csv.zip"
GB1_TEST = f"{RELSO}/mut_data/GB1_WU_test_data.csv"
GFP_GENOTYPES = (
    "gitter-lab/nn4dms@434e354828f306cbb6796033ef1169cbe5207350/source_data/avgfp/"
    "amino_acid_genotypes_to_brightness.tsv"
)
GFP_TEST = f"{RELSO}/mut_data/GFP_test_data.csv"
GUE_PROMOTERS = "wds-seu/DeepGene@486343e5212361d6cd7ed03c624f430ed3d5f02e/data/GUE/prom/prom_core_all"
MAVENN = "jbkinney/mavenn@4553944e31b195f0d83dc4a95cdca94d606d97b4/mavenn/examples/datasets"
NCRNA = "emalgorithm/ncRNA-family-prediction@91924d03bd279ac8c1f7c6c94ae10570460ab7e4/data"

FLIP_GB1 = {f"{FLIP}/gb1/splits.zip": "00a3c3d5be56ce35adfbec838db8ff549be369525e151a6978133da34b9fd86f"}

# By the name of the table, which is the `data` of a task. Every converter was run on the files of its source, and gave
# our table byte for byte.
SOURCES = {
    "gfp_relso.csv.gz": Source(
        {
            GFP_GENOTYPES: "5581230b9888f9960708a4769ce1c9b4453561f0b5f0374525445b4a984d54d5",
            GFP_TEST: "475d346bbeabdbb173247f34b6e1b91a8bbb10294d7650a4d4a6e7dca985ebec",
        },
        convert_gfp,
        "d1113a4ca461f5e150a96208426ecedb0ea67b7e74028fb98979c19dc174d4b7",
        "MIT, Apache-2.0",
    ),
    "gb1_wu_relso.csv.gz": Source(
        {
            GB1_LANDSCAPE: "85692d808dcd3ae54fa2ac31f4e590858d4582369b6c7b05df299b9b6c383bff",
            GB1_TEST: "dd8dad3bb1c493e9e87fe7f6763a1e57dcdcc8112af7ea042f996edc0da4b33a",
        },
        convert_gb1,
        "96e66660cae73e50d8a55ba88ea17402319c0da9b912498b98e4aed03b528650",
        "AFL-3.0, Apache-2.0",
    ),
    "gifford_relso.csv.gz": Source(
        {
            f"{RELSO}/gifford_data/train_data.csv": "b6a27cfecc057b4badc49a62f505cd44fea88b55cd63485d7d6f08c5f7eff0a7",
            f"{RELSO}/gifford_data/test_data.csv": "1519a042157751c8039ab6e3deac865dea932ab8230353d3158439e5cdacf56d",
        },
        partial(convert_splits, splits=("train", "test")),
        "abf62738979e9f94cfb9b82c1ec456c5e35a7b89ecd48d4773f73fbb1cddb111",
        "Apache-2.0",
    ),
    "flip_gb1_two_vs_rest.csv.gz": Source(
        FLIP_GB1,
        partial(convert_flip_gb1, split="two_vs_rest"),
        "c59796b462b11d7f4bfca956fc1da9eb75c19ae7afe8dfe0df4af81dec6800ac",
        "AFL-3.0",
    ),
    "flip_gb1_three_vs_rest.csv.gz": Source(
        FLIP_GB1,
        partial(convert_flip_gb1, split="three_vs_rest"),
        "0445e4e98d6d1c51422efdeab76b0f8318bda5c702e2136d27aa904af20d1034",
        "AFL-3.0",
    ),
    "flip_gb1_low_vs_high.csv.gz": Source(
        FLIP_GB1,
        partial(convert_flip_gb1, split="low_vs_high"),
        "6696dc51ade4e25cb285075a34488a3495dfd0e8e0625fd9aec821515cae1f68",
        "AFL-3.0",
    ),
    "flip_secondary_structure.csv.gz": Source(
        {f"{FLIP}/secondary_structure/splits.zip": "2e9bbbfd18a055bcac7edd4e059a6bf4bb35ca3ad8f8fa4fc3106422652a4726"},
        convert_flip_secondary_structure,
        "27a771bb5d88b79d0733387031d0b92e795617e184ffd22646b69675acacb515",
        "AFL-3.0",
        ("label_mask",),
    ),
    "mavenn_mpsa.csv.gz": Source(
        {f"{MAVENN}/mpsa_data.csv.gz": "df1251425d7bae15cbae5922c9b05e7765344fc4bb13970fb44b51370c09cf74"},
        convert_mpsa,
        "098ce4c7f7c7f108f53cab5a3fa09cf15e67d7afcad280e98b0a3bb3a99386f2",
        "MIT",
        ("tot_ct", "ex_ct"),
    ),
    "cas9_deephf_wt.csv.gz": Source(
        {CAS9: "6d62138bd23d72873bc4781f78f7f5abe0b3bd1a9357dca08d5e57c3a9ffee39"},
        partial(convert_splits, splits=("",)),
        "d156cc2812626ed6d64b956a426be9747dbfbb10e2359900b5518c461755b0fb",
        "none stated",
    ),
    "cas13a_adapt_median.csv.gz": Source(
        {CAS13A: "9b3793579d2c55e278a6324643ce4cd90b403d1181a1dcec57b172cc6fc8afb7"},
        convert_cas13a,
        "d9b99b2d4b7e561267e5ab1de61cac685fa78e5c3eea0faf1c5a84dce8310fb0",
        "CC BY-NC 4.0",
        ("guide", "guide_pos", "type", "hamming", "crrna_block"),
    ),
    "cpp_cppredfl.csv.gz": Source(
        {
            f"{CPP924}/seqs.fasta": "90814885db6c7d46ec2abd1fb445d568843c9f25c0fd02ce77e3a26ca5b7e3a3",
            f"{CPP924}/classes.txt": "da4273c57a5b4ae17d764c063e0e01a23b37bf4bc9fd35781e405b229efee81d",
        },
        convert_cppredfl,
        "37361fcede3a713bf657e0e98afaa2c2158b67db29f84fd1be55123c79bde627",
        "MIT",
    ),
    "cpp_deepcpp.csv.gz": Source(
        {
            f"{DEEPCPP}/train.txt": "2ac1cab49403edf4858697b44eb40d68c0439887df51819635fdc30e88006199",
            f"{DEEPCPP}/test.txt": "394b653b64139a79529b62cf4743db0d3557154af553d1198f9754642fa319a0",
        },
        convert_deepcpp,
        "7a9e2a84881ad1c9d2434134798d13747e38ccd0912b17b2217832d87f468cd2",
        "none stated",
    ),
    "gue_prom_core_all.csv.gz": Source(
        {
            f"{GUE_PROMOTERS}/train.csv": "a36e0bbf2b59e01479bb904534d310041b493fec9221ccd74b518893d74054ed",
            f"{GUE_PROMOTERS}/dev.csv": "98dd5d2b5df3c93cad9fa0a4a36078d28fa95b7bf9ab73fb2e5ba1fa74877f2b",
            f"{GUE_PROMOTERS}/test.csv": "b1babbb52abd0fb5328eccc4ce8ab60d0a58d28bdc88c30f8e2140cf1684ce0c",
        },
        partial(convert_splits, splits=("train", "validation", "test")),
        "fd54670b7d4ae14b4d20e75f7ab445897380d4092a2a7fa36f7530218ad0fb2a",
        "Apache-2.0",
    ),
    "ncrna_family_13.csv.gz": Source(
        {
            f"{NCRNA}/train.fasta": "ab30163af4027637459d4af4e22a6eef59d5763c9491eda0b0450480f60350ba",
            f"{NCRNA}/val.fasta": "082163b33e02ce577013c55bae79f7c289b89d2df7aaaead1e555af22d29bc40",
            f"{NCRNA}/test_13_classes.fasta": "4af288aa17dc5cbe05aecd49bce23462610831f495cc5adf1006c1bfd577b8f2",
        },
        convert_ncrna,
        "8f21e98b41359cb6302708a00823ab3004e4d5842e11244c26480235e1a2ee95",
        "none stated",
        ("id",),
    ),
    "disoflag.csv.gz": Source(
        {
            f"{DISOFLAG}/train_data.txt": "6f8f0d9f9f446fac9838e5a2b4d746e068943daa36f54052a74b3379aede2f8f",
            f"{DISOFLAG}/dev_data.txt": "dc98f9eea0c407b8514d35258c3f818b14f6b377f1a1a2bf53767bc99c26481a",
            f"{DISOFLAG}/DP94.txt": "399e92ec4aecbd5710af73cd213ee2cf3257600eb2e9ea0a17ac3f9bfed42e02",
            f"{DISOFLAG}/DP93.txt": "86d86eebe2915cded49fb88b18527e619e346b980bb96ba4f35c1c5b88cef1f3",
        },
        convert_disoflag,
        "7dda44851a6af321b15058aed106f184222e88a740d76fcbe288f9c68f2d1297",
        "MIT",
        ("label_IDR", "label_PB", "label_DB", "label_RB", "label_IB", "label_LB", "label_DFL", "subset", "id"),
    ),
}


# ── Fetching ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="a file of scripts/research/tasks without its ending")
    parser.add_argument("--list", action="store_true", help="print the tasks, their tables, licences and sources")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "data", help="folder of the tables")
    parser.add_argument("--base_url", default=BASE_URL, help="a mirror of raw.githubusercontent.com")
    arguments = parser.parse_args(argv)
    try:
        if not arguments.tasks and not arguments.list:
            raise InputError("expected a TASK or --list")
        if arguments.list:
            for task, table in task_tables().items():
                source = SOURCES[table]
                repositories = ", ".join(sorted({file.partition("@")[0] for file in source.files}))
                print(f"{task:28} {table:33} {source.licence:18} {repositories}")
        # Two tasks can share a table; all names are looked up before the first download.
        for table in dict.fromkeys(find_table(task) for task in arguments.tasks):
            fetch_table(table, arguments.output_dir, arguments.base_url)
    except InputError as error:
        print(f"fetch_data.py: error: {error}", file=sys.stderr)
        return 2
    return 0


def task_tables() -> dict[str, str]:
    """The name of every task's table."""
    return {file.stem: yaml.safe_load(file.read_text())["data"] for file in sorted(TASKS.glob("*.yaml"))}


def find_table(task: str) -> str:
    tables = task_tables()
    if task not in tables:
        raise InputError(f"expected a task among {', '.join(tables)}, got {task!r}")
    if tables[task] not in SOURCES:
        raise InputError(f"{task}: SOURCES has no entry for {tables[task]}")
    return tables[task]


def fetch_table(table: str, output_dir: Path, base_url: str) -> None:
    """Writes a table unless it is already there.

    Raises:
        InputError: if a file cannot be downloaded, a checksum differs, or another file of that name is there.
    """
    source, target = SOURCES[table], output_dir / table
    if target.exists():
        check_table(target, source.sha256)
        print(f"{target}: already there")
        return
    try:
        with locked(output_dir), TemporaryDirectory(prefix=".partial-", dir=output_dir) as folder:
            downloads = []
            for i, (file, sha256) in enumerate(source.files.items()):
                downloads.append(Path(folder) / str(i))
                download(file_url(file, base_url), downloads[-1], sha256)
            content = to_csv(source.convert(*downloads), source.extras)
            if (actual := hashlib.sha256(content).hexdigest()) != source.sha256:
                raise InputError(f"{table}: the converted rows have SHA-256 {actual}, expected {source.sha256}")
            with write_then_rename(target) as partial_file:
                write_gzip(partial_file, content)
    except OSError as error:
        raise OutputError(f"{output_dir}: cannot be written ({error.strerror or one_line(error)})") from None
    print(f"{target}: written, {len(content)} bytes uncompressed")


def file_url(file: str, base_url: str) -> str:
    return f"{base_url.rstrip('/')}/{quote(file.replace('@', '/', 1))}"


def download(url: str, path: Path, sha256: str) -> None:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response, open(path, "wb") as file:
            size = int(response.headers.get("Content-Length") or 0) or None
            name = unquote(url.rpartition("/")[2])
            with tqdm(total=size, desc=name, unit="B", unit_scale=True, disable=None) as progress:  # on a terminal only
                while block := response.read(1 << 16):
                    file.write(block)
                    progress.update(len(block))
    except (OSError, HTTPException, ValueError) as error:  # ValueError: what is no URL
        raise InputError(f"{url}: cannot be downloaded ({one_line(error)})") from None
    if (actual := file_sha256([path])) != sha256:
        raise InputError(f"{url}: the download has SHA-256 {actual}, expected {sha256}")


def check_table(path: Path, sha256: str) -> None:
    try:
        actual = hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({one_line(error)}); remove it to fetch it again") from None
    if actual != sha256:
        raise InputError(f"{path}: its rows have SHA-256 {actual}, expected {sha256}; remove it to fetch it again")


def to_csv(rows: Iterable[Row], extras: tuple[str, ...]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow((*COLUMNS, *extras))
    writer.writerows(rows)
    return text.getvalue().encode()


def write_gzip(path: Path, content: bytes) -> None:
    """Without name and time, and flushed before the end, as our own files were written: the records in `docs/results/`
    give their SHA-256. Another zlib may compress differently, so what is checked is the content."""
    with open(path, "wb") as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as compressed:
        compressed.write(content)
        compressed.flush()


if __name__ == "__main__":
    sys.exit(main())
