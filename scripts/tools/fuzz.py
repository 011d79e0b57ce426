"""Coverage-guided fuzzing of what reads users' files and text: no exception but `InputError` may leave it.

    pip install atheris
    python scripts/tools/fuzz.py --runs 1200000        every target in turn, with its seed; prints a table

The targets are also run by the test suite, on random cases of hypothesis (`tests/test_fuzz.py`).
"""

import argparse
import gzip
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FORMATS = ("csv", "tsv", "jsonl", "fasta", "csv.gz", "jsonl.gz", "fa.gz")
_SEEDS = {
    "csv": [
        b'id,sequence,label\n1,MKT,0.5\n2,"A\nC",1\n',
        b"\xef\xbb\xbfsequence;y\nACGT;1\n",
        b"sequence\tsplit\nAC\ttrain\n",
    ],
    "jsonl": [b'{"sequence": "MKT", "label": [0, 1, null]}\n\n{"sequence": "A"}\n', b'{"a": {"b": 1e999}}\n'],
    "fasta": [b">s1 label=0.5 split=test\nMKT\nAAA\n>s2|x=1;y=2\nACD*\n"],
    "text": [b"MKTAYI acgt\tN-*.", "<mask><unk>é \u2003𝔸".encode()],
    "config": [
        b'{"model_type": "lyra", "hidden_size": 8, "alphabet": "dna+dna", "pooling": "mean_last"}',
        b'{"pgc_expansion_factors": [1.0, 2], "label_quantiles": [0, 1], "num_labels": 2}',
    ],
    "flags": [
        b"data: t.csv\noutput_dir: out\nlearning_rate: 1e-3\nconfig_overrides: {hidden_size: 8}\nwhere: [a=b]\n",
        b'{"recipe": "bidirectional", "seed": 1}',
    ],
}
# Values for the fields of a config.
_ODD: tuple[Any, ...] = (None, True, False, 0, 1, -1, 3, 2**63, -(2**80), 0.5, -0.5, 1e308, float("nan"), float("inf"))
_ODD += (
    "",
    "x",
    "protein",
    "dna+dna",
    "protein,J=-",
    "1",
    "mean",
    "\0",
    [],
    [1],
    [1.0, 2.0],
    [[1]],
    [None],
    {},
    {"0": "a"},
)


class Targets:
    """One function per target, each of the bytes of a case; a case that is wrongly handled raises another exception
    than `InputError`, or fails an assertion."""

    def __init__(self, folder: Path):
        from lyra import LyraTokenizer

        self.folder = folder
        self.tokenizers = [LyraTokenizer(alphabet) for alphabet in ("protein", "dna", "rna", "protein,J=-")]
        self.pairs = LyraTokenizer("dna+dna")

    def table(self, case: bytes, suffix: str) -> int:
        """The rows of a file, whatever is in it; as `lyra train` and `lyra predict` read it."""
        from lyra.data import read_rows
        from lyra.errors import InputError

        path = self.folder / f"case.{suffix}"
        # Half of the compressed cases are compressed, so that the fuzzer gets behind the checksum.
        path.write_bytes(gzip.compress(case, 1) if suffix.endswith(".gz") and len(case) % 2 else case)
        rows = 0
        try:
            for place, row in read_rows(path):
                rows += 1
                assert place.row == rows and all(isinstance(name, str) for name in row)
                json.dumps(row).encode()
        except InputError as error:
            assert "\n" not in str(error) and str(path) in str(error), str(error)
        return rows

    def text(self, case: bytes) -> None:
        """Any Unicode string: one token per character that is no white space, with its offsets; both encoders agree."""
        string = case.decode("utf-8", errors="replace")
        for tokenizer in self.tokenizers:
            encoded = tokenizer(string, return_offsets_mapping=True)
            expected = tokens_of(string)
            assert encoded["offset_mapping"] == expected, (string, encoded["offset_mapping"], expected)
            assert len(encoded["input_ids"]) == len(expected) == len(encoded["attention_mask"])
            assert max(encoded["input_ids"], default=0) < tokenizer.vocab_size
            assert tokenizer.encode_bulk([string, "AC"])[0].tolist() == encoded["input_ids"], string
        self.pairs(string, "")

    def config(self, case: bytes) -> None:
        """A checkpoint's config.json: every other case as it is, the rest as fields with odd values."""
        from lyra import LyraConfig
        from lyra.errors import InputError
        from lyra.inference import load_model

        if len(case) % 2:
            fields = [*sorted(LyraConfig.__annotations__), "num_labels", "problem_type", "id2label", "dtype"]
            pairs = zip(case[::2], case[1::2], strict=False)
            values = {fields[field % len(fields)]: _ODD[value % len(_ODD)] for field, value in pairs}
            case = json.dumps(
                {"model_type": "lyra", "architectures": ["LyraForSequenceClassification"]} | values
            ).encode()
        (self.folder / "config.json").write_bytes(case)
        (self.folder / "tokenizer_config.json").write_text("{}")
        try:
            load_model(str(self.folder))
        except InputError as error:
            assert "\n" not in str(error), str(error)

    def flags(self, case: bytes) -> None:
        """The YAML or JSON file of `lyra train`."""
        from lyra.cli import build_parser
        from lyra.cli.train import _with_recipe, given_flags
        from lyra.errors import InputError

        path = self.folder / "run.yaml"
        path.write_bytes(case)
        try:
            _with_recipe(given_flags(build_parser("train").parse_args(["train", str(path)])))
        except InputError as error:
            assert "\n" not in str(error), str(error)

    def run(self, name: str, case: bytes) -> None:
        kind, _, suffix = name.partition(":")
        if kind == "table":
            self.table(case, suffix)
        else:
            getattr(self, kind)(case)


NAMES = [*(f"table:{suffix}" for suffix in FORMATS), "text", "config", "flags"]


def seeds_of(name: str) -> list[bytes]:
    """The valid cases that a target starts from."""
    kind = name.partition(":")[2].removesuffix(".gz") or name
    return _SEEDS[{"tsv": "csv", "fa": "fasta"}.get(kind, kind)]


def tokens_of(text: str) -> list[tuple[int, int]]:
    """The spans of the tokens of a text: special tokens written out, and characters that are no white space. That is as
    Unicode has it; Python counts four more control characters."""
    return [match.span() for match in re.finditer(r"<pad>|<unk>|<mask>|[\S\x1c-\x1f]", text)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1_200_000, help="cases, over all targets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=NAMES, help="only this one, in this process")
    arguments = parser.parse_args()
    if arguments.target:
        fuzz(arguments.target, arguments.runs, arguments.seed)  # does not return
    rows = ["| target | cases | seconds | code reached | crashes |", "|---|---|---|---|---|"]
    failed = False
    for name in NAMES:
        runs = arguments.runs // len(NAMES)
        command = [sys.executable, __file__, "--target", name, "--runs", str(runs), "--seed", str(arguments.seed)]
        before = time.monotonic()
        result = subprocess.run(command, capture_output=True, text=True)
        done = re.findall(r"^Done (\d+)", result.stderr, re.MULTILINE)
        reached = re.findall(r"cov: (\d+)", result.stderr)
        failed |= bool(result.returncode)
        crash = "0" if result.returncode == 0 else result.stderr.strip()[-2000:]
        rows.append(
            f"| {name} | {(done or ['?'])[-1]} | {time.monotonic() - before:.0f} | {(reached or ['?'])[-1]} | {crash} |"
        )
        print(rows[-1], flush=True)
    print("\n".join(rows))
    return int(failed)


def fuzz(name: str, runs: int, seed: int) -> None:
    """Lets atheris run one target."""
    import atheris

    with atheris.instrument_imports(include=["lyra"]):
        pass

    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        work, corpus = Path(folder, "work"), Path(folder, "corpus")
        work.mkdir()
        corpus.mkdir()
        for number, seed_case in enumerate(seeds_of(name)):
            (corpus / str(number)).write_bytes(seed_case)
        targets: Any = Targets(work)
        options = [f"-runs={runs}", f"-seed={seed}", "-max_len=512", "-timeout=20", f"-artifact_prefix={folder}/"]
        atheris.Setup([sys.argv[0], *options, str(corpus)], lambda case: targets.run(name, case))
        atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
