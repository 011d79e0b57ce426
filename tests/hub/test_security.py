"""Files of others are data: nothing in them is run, unpickled, or taken for a formula."""

import ast
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
from interrupted import interrupted
from runs import ROOT, TRAIN, train, write_table

from lyra.cli import main
from lyra.data.tables import TableWriter, read_rows
from lyra.training.checkpoints import write_checksums

LYRA = ROOT / "lyra"


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def trap(tmp_path):
    """A pickle that must not be opened, checked to work; and the file that it would write."""
    sprung = tmp_path / "sprung"
    data = pickle.dumps(Trap(sprung))
    pickle.loads(data)
    assert sprung.exists()
    sprung.unlink()
    return data, sprung


def test_weights_are_safetensors_only(unbroken, tmp_path, trap, capsys):
    table, model = unbroken
    data, sprung = trap
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(data)
    for argv in (
        ["predict", str(folder), str(table), "-o", str(tmp_path / "p.csv")],
        ["train", str(table), "--output_dir", str(tmp_path / "o"), "--model_name_or_path", str(folder), "--use_cpu"],
    ):
        assert main(argv) == 2 and not sprung.exists()
        assert "model.safetensors" in capsys.readouterr().err
    torch.save({"x": torch.zeros(1)}, folder / "pytorch_model.bin")  # harmless, and refused all the same
    assert main(["predict", str(folder), str(table), "-o", str(tmp_path / "p.csv")]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"])
def test_resuming_unpickles_nothing(tmp_path, trap, name):
    """Even where the checksums are those of the trap."""
    data, sprung = trap
    table, out = write_table(tmp_path / "t.csv"), tmp_path / "out"
    command = ["train", table, "--output_dir", out, *TRAIN]
    interrupted("KILL", "lyra.training.callbacks:rotate_checkpoints", 1, *command)
    (checkpoint,) = out.glob("checkpoints/checkpoint-*")
    (checkpoint / name).write_bytes(data)
    write_checksums(checkpoint)
    code = main([*map(str, command), "--resume"])
    assert not sprung.exists() and code == (0 if name == "training_args.bin" else 2)


def test_the_code_of_a_checkpoint_is_not_run(unbroken, tmp_path):
    """`lyra` has its own; the Auto classes run it where the user says `trust_remote_code`."""
    table, model = unbroken
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    for file in folder.glob("*_lyra.py"):
        file.write_text("raise SystemExit('the code of the checkpoint was run')\n")
    assert main(["predict", str(folder), str(table), "-o", str(tmp_path / "p.csv")]) == 0
    assert train(table, tmp_path / "o", "--resume") == 0


def test_the_package_neither_trusts_code_nor_unpickles():
    for file in LYRA.glob("*.py"):
        tree = ast.parse(file.read_text())
        calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert not {"torch.load", "pickle.load", "pickle.loads", "np.load", "eval", "exec"} & set(calls), file
        keywords = [
            node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "trust_remote_code"
        ]
        assert not keywords, file


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_formulas_are_text(tmp_path, suffix):
    dangerous = ["=1+1", '=HYPERLINK("http://x")', "+cmd|' /C calc'!A0", "-2+3+cmd|'x'!A", "@SUM(A1)", "\tx", "=", "@"]
    harmless = ["-MKT-A", "-1.5e-05", "+", "-", "-0.5 1.0", "MKT", "a=b", "---HHH", "1", ""]
    path = tmp_path / f"t.{suffix}"
    with TableWriter(path) as writer:
        writer.write([{"=x": text, "id": "1"} for text in dangerous + harmless])
    rows = [row for _, row in read_rows(path)]
    assert [row["'=x"] for row in rows] == [f"'{text}" for text in dangerous] + harmless
    cells = re.split(r"[\n,\t]" if suffix == "tsv" else r"[\n,]", path.read_text())
    assert not [cell for cell in cells if re.match(r'"?[=@]', cell)]
