"""What the README and the docstrings show runs and prints what they say."""

import contextlib
import doctest
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lyra
from lyra import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "my_model" not in block]


@pytest.mark.parametrize("block", BLOCKS)
def test_readme_code_prints_what_its_comments_say(block, tmp_path):
    if "torchrun" in block:
        (tmp_path / "block.py").write_text(block)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        done = subprocess.run([*command, str(tmp_path / "block.py")], capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr[-2000:]
        return
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(block, {})
    for promised in re.findall(r"\)  # (Parameters: .*)|^# (Parameters: .*)", block, re.MULTILINE):
        assert "".join(promised) in printed.getvalue()


EXAMPLES = [lyra.LyraModel.forward, *(getattr(lyra, name) for name in lyra.__all__)]


@pytest.mark.parametrize("owner", [owner for owner in EXAMPLES if ">>>" in (owner.__doc__ or "")])
def test_docstring_examples(owner):
    text = owner.__doc__.replace("```python", "").replace("```", "")
    example = doctest.DocTestParser().get_doctest(text, {}, owner.__name__, None, 0)
    assert doctest.DocTestRunner(verbose=False).run(example).failed == 0


def test_every_flag_in_the_readme_exists(capsys):
    shown = ""
    for command in ("train", "predict", "embed", "publish", "demo"):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        shown += capsys.readouterr().out
    foreign = {"--alphabet", "--letters", "--data_dir"}  # of scripts
    foreign |= {"--multi_gpu", "--num_processes", "--config_file", "--machine_rank", "--main_process_ip"}  # accelerate
    foreign |= {"--nproc_per_node"}  # torchrun
    for flag in set(re.findall(r"--[a-z_]+\b", README)) - foreign:
        assert flag in shown, flag


def test_the_package_version_stands_in_every_file():
    for file in ("CHANGELOG.md", "CITATION.cff"):
        assert lyra.__version__ in (ROOT / file).read_text(encoding="utf-8")
