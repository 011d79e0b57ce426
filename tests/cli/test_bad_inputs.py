"""`docs/bad_inputs.md` is what the code says."""

import sys
from pathlib import Path

import bad_inputs
import pytest


@pytest.mark.slow
def test_every_bad_input_gets_its_line_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad_inputs.make_model()
    written = bad_inputs.document()  # checks code, number of lines and what is left behind
    assert sum(map(len, bad_inputs.CASES.values())) >= 60
    if sys.version_info[:2] == (3, 11):  # some of the words are Python's
        assert written == (Path(__file__).parents[2] / "docs" / "bad_inputs.md").read_text()
