"""Shared fixtures: tiny models, and no way to the network."""

import os
import socket

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models are too small for a second thread to help

from pathlib import Path

import pytest
import runs
import torch

from lyra import LyraConfig, LyraTokenizer

ROOT = Path(__file__).parents[1]
REAL_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True, scope="session")
def no_wait_for_the_disk():
    """No test cuts the power; and where several write at the same time, each would wait for all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def tokenizer():
    return LyraTokenizer()


@pytest.fixture
def tiny():
    """A factory of configs with 8 channels; what a test varies it passes."""

    def build(**kwargs):
        return LyraConfig(**{"hidden_size": 8, "state_size": 4, "hidden_dropout_prob": 0.0} | kwargs)

    return build


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """A table and the folder of a run on it that nothing disturbed."""
    folder = tmp_path_factory.mktemp("unbroken")
    table = runs.write_table(folder / "t.csv")
    assert runs.train(table, folder / "out") == 0
    return table, folder / "out"


@pytest.fixture
def real_data():
    """The path of a real table, or a skip."""

    def path(name):
        file = REAL_DATA / name
        if not file.exists():
            pytest.skip(f"real data not at {file}")
        return file

    return path
