"""What the documentation shows runs, and prints what it says."""

import contextlib
import csv
import doctest
import importlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import nbformat
import numpy as np
import pytest
import write_reference
from nbclient import NotebookClient
from runs import torchrun, write_table

import lolcats.cli
import lyra
import pcn.cli
from lyra.cli import build_parser, main
from lyra.design import candidates, surrogate
from lyra.training import job

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r'^```(python|bash|yaml|text)(?: title="(.*?)")?\n(.*?)^```', re.DOTALL | re.MULTILINE)
RUNNABLE = [page for page in PAGES if BLOCK.search(page.read_text(encoding="utf-8"))]


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A working folder with the tables that the pages name."""
    monkeypatch.chdir(tmp_path)
    write_table(Path("table.csv"))
    with open("table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    Path("new_variants.csv").write_text("id,sequence\n" + "".join(f"{r['id']},{r['sequence']}\n" for r in rows[:20]))
    fasta = "".join(f">{row['id']}\n{row['sequence']}\n" for row in rows)
    Path("new_variants.fasta").write_text(fasta)
    Path("sequences.fasta").write_text(fasta)
    Path("labels.csv").write_text("id,label\n" + "".join(f"{row['id']},{row['label']}\n" for row in rows))
    rng = np.random.default_rng(0)
    pairs = ["".join(rng.choice(list("ACGT"), 12)) for _ in range(40)]
    lines = (f"{s},{s[2:9][::-1]},{s.count('A') + i / 100}\n" for i, s in enumerate(pairs))
    Path("pairs.csv").write_text("sequence,guide,label\n" + "".join(lines))
    wild_type = rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 30)
    with open("mutants.csv", "w") as file, open("new_mutants.csv", "w") as unmeasured:
        file.write("sequence,label,zero_shot\n")
        unmeasured.write("sequence\n")
        for position in range(30):
            for letter in "ADKW":
                mutant = "".join([*wild_type[:position], letter, *wild_type[position + 1 :]])
                score = rng.normal()
                file.write(f"{mutant},{score + 0.3 * rng.normal()},{score}\n")
                unmeasured.write(f"{mutant}\n")
    lines = Path("mutants.csv").read_text().splitlines()
    Path("round1.csv").write_text("\n".join(lines[:41]) + "\n")
    Path("round2.csv").write_text("\n".join([lines[0], *lines[41:71]]) + "\n")
    monkeypatch.setattr(surrogate, "_processes", lambda *_: 1)  # so that these processes see the next line
    monkeypatch.setattr(candidates, "_GENERATIONS", 2)
    monkeypatch.setattr(job, "usual_epochs", lambda *_: 2.0)
    peaks = ["".join(rng.choice(list("ACGT"), 30)) for _ in range(60)]
    Path("peaks.csv").write_text(
        "sequence,label\n" + "".join(f"{s},{s.count('GC') + i / 100}\n" for i, s in enumerate(peaks))
    )
    Path("wild_type.fasta").write_text(f">wild type\n{rows[0]['sequence']}\n")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run_one_after_the_other(page, bench):
    for language, title, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language in ("yaml", "text"):
            if not title:
                continue  # what is printed
            (bench / title).write_text(block)
        elif language == "bash":
            for command in re.sub(r"\s+#.*", "", block.replace("\\\n", " ")).strip().splitlines():
                run_command(command)
        elif title:  # a file, which has a test of its own
            assert f'--8<-- "{title}"' in block and (ROOT / title).exists()
        else:
            run_python(block, bench)


PROGRAMS = {"lyra": main, "lolcats": lolcats.cli.main, "pcn": pcn.cli.main}


def run_command(command):
    program, *arguments = shlex.split(command)
    if program == "accelerate":
        device = ["--use_cpu", "true"] if "train" in arguments else ["--device", "cpu"]
        launch = [sys.executable, "-m", "accelerate.commands.launch", *arguments[1:], *device]
        done = subprocess.run(launch, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr[-2000:]
        return
    assert program in PROGRAMS, command
    output = dict(pairwise(arguments)).get("--output_dir")
    if output and "--resume" not in arguments:  # a page may train the same model twice
        shutil.rmtree(output, ignore_errors=True)
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = PROGRAMS[program](arguments)
    assert code == 0, (command, said.getvalue())


def run_python(block, folder):
    if "torchrun" in block:
        (folder / "block.py").write_text(block)
        done = subprocess.run([*torchrun(2), str(folder / "block.py")], capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr[-2000:]
        return
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(block, {"__name__": "page"})
    for promised in re.findall(r"^ *print\(.*\)  # (.*)$", block, re.MULTILINE):
        if re.fullmatch(r"[\w\[\](){}:,. ]+", promised) and not promised.startswith("for a "):
            assert promised in printed.getvalue(), promised


EXAMPLES = [
    lyra.LyraModel.forward,
    *(getattr(lyra, name) for name in lyra.__all__),
    *(pcn.PcnModel.forward, pcn.PcnFeatureExtractor),
]


@pytest.mark.parametrize("owner", [owner for owner in EXAMPLES if ">>>" in (owner.__doc__ or "")])
def test_docstring_examples(owner):
    text = owner.__doc__.replace("```python", "").replace("```", "")
    scope = vars(importlib.import_module(owner.__module__)).copy()
    example = doctest.DocTestParser().get_doctest(text, scope, owner.__name__, None, 0)
    assert doctest.DocTestRunner(verbose=False).run(example).failed == 0


def test_every_flag_in_the_documentation_exists():
    parsers = (build_parser(), lolcats.cli.build_parser(), pcn.cli.build_parser())
    verbs = [verb for parser in parsers for verb in parser._subparsers._group_actions[0].choices.values()]
    known = {option for verb in verbs for action in verb._actions for option in action.option_strings} | {"--version"}
    foreign = {"--data_dir", "--runs", "--record", "--table", "--seeds"}  # of scripts
    foreign |= {"--multi_gpu", "--num_processes", "--config_file", "--machine_rank", "--main_process_ip", "--use_cpu"}
    foreign |= {"--nproc_per_node", "--device", "--card", "--release"}
    for page in PAGES:
        if page.stem != "bad_inputs":
            flags = set(re.findall(r"(?<![\w-])--[a-z_]+\b", page.read_text(encoding="utf-8")))
            assert flags <= known | foreign, (page.name, flags - known - foreign)


def test_the_command_line_reference_is_that_of_the_parsers():
    assert (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8") == write_reference.reference()


def test_the_files_named_in_the_documentation_exist():
    """Above all those of "where to change what"."""
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]:
        for name in re.findall(
            r"`((?:lyra|lolcats|pcn|tests|scripts|docs|examples|model_cards)/[\w./]*)`", page.read_text("utf-8")
        ):
            assert (ROOT / name).exists(), (page.name, name)


def test_where_to_change_what_names_what_is_there():
    section = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Where to change what")[2]
    named = re.findall(r"`([A-Z_]+)` in `(lyra/[\w./]+)`", section)
    assert len(named) >= 8
    for name, file in named:
        assert re.search(rf"^{name}\b", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), (name, file)


@pytest.mark.slow
def test_the_example_trains(bench):
    command = [sys.executable, str(ROOT / "examples" / "finetune.py"), "table.csv", "trained"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "eval_spearman" in done.stdout and (bench / "trained" / "model.safetensors").exists()
    assert len((ROOT / "examples" / "finetune.py").read_text().splitlines()) < 50


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # where `lyra` is
    notebook = nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # the outputs are made, not kept
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    text = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "selected by validation spearman" in text
    assert any("image/png" in output.get("data", {}) for output in notebook.cells[-1].outputs)


def test_the_package_version_is_in_every_file():
    for file in ("CHANGELOG.md", "CITATION.cff"):
        assert lyra.__version__ in (ROOT / file).read_text(encoding="utf-8")
