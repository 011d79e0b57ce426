"""The web page in a real browser, as its users use it."""

import io
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from browser import User, needs_browser, wait_for
from hub_server import Hub

from lyra.cli import main

pytest.importorskip("gradio", reason='needs gradio: pip install "lyra-bio[app]"')
pytestmark = [needs_browser, pytest.mark.slow]

WILD_TYPE = "MKTAYIAKQRQISFVKSHFS"


class Server:
    """`lyra app` in a process of its own."""

    def __init__(self, folder, **environment):
        self.models, self.environment = folder, environment
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def start(self, *command, cwd=None):
        command = command or ("-m", "lyra", "app", "--models", str(self.models), "--port", str(self.port))
        environment = os.environ | {"GRADIO_SERVER_PORT": str(self.port)} | self.environment
        pipes = {"stdout": subprocess.PIPE, "text": True, "env": environment, "cwd": cwd}
        self.process = subprocess.Popen([sys.executable, *command], **pipes)
        self.url = re.search(r"http://\S+", self.process.stdout.readline())[0]

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(90)


class Space(Server):
    """What is run of a Space, from its files."""

    def start(self):
        super().start("app.py", cwd=self.models)


def mutants(count, seed=0):
    """Rows of a table whose labels add up."""
    rng, rows = random.Random(seed), ["sequence,label"]
    for _ in range(count):
        letters = list(WILD_TYPE)
        for place in rng.sample(range(len(letters)), 3):
            letters[place] = rng.choice("ACDEFGHIKLMNPQRSTVWY")
        rows.append(f"{''.join(letters)},{letters.count('K') - letters.count('W') + rng.random() / 10}")
    return "\n".join(rows) + "\n"


@pytest.fixture(scope="module")
def hub():
    with Hub() as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory, hub):
    folder = tmp_path_factory.mktemp("app") / "models"
    running = Server(folder, HF_HUB_OFFLINE="0", HF_ENDPOINT=hub.url, HF_HUB_DISABLE_XET="1")
    yield running
    running.end()


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    file = tmp_path_factory.mktemp("tables") / "mutants.csv"
    file.write_text(mutants(120))
    return file


@pytest.fixture(scope="module")
def trainer(server, table):
    """A user who has trained a model."""
    with User(server.url) as user:
        user.upload("train-data", table)
        found = user.wait_until("train-found", "120 rows")
        assert found and "column 'sequence', alphabet protein" in user.text("train-found")
        user.type("train-num_train_epochs", "2")
        user.type("train-name", "first model")
        user.click("train-start")
        user.wait_until("train-state", "is running", "is done")
        user.wait_until("train-state", "is done", "failed", seconds=200)
        yield user


def test_a_table_becomes_a_model_with_its_scores(trainer, server):
    assert "first model is done" in trainer.text("train-state")
    assert {"validation", "test", "linear, test"} <= set(trainer.text("train-scores").replace("\n", "\t").split("\t"))
    assert "first model" in trainer.text("train-card")
    with zipfile.ZipFile(io.BytesIO(trainer.downloaded("train-download"))) as zipped:
        assert {"model.safetensors", "metrics.json", "README.md"} <= set(zipped.namelist())
    trainer.open()  # closed and opened again
    trainer.wait_until("train-state", "first model is done")


def test_predictions_are_those_of_the_command(trainer, server, tmp_path):
    sequences = [WILD_TYPE, WILD_TYPE.replace("K", "W")]
    trainer.tab("Predict")
    trainer.choose("predict-model", "first model")
    trainer.type("predict-sequences", "\n".join(sequences))
    trainer.click("predict-start")
    found = trainer.downloaded("predict-download")
    (tmp_path / "pasted.csv").write_text("\n".join(["sequence", *sequences]) + "\n")
    (model,) = server.models.glob("visitors/*/first model/result/first model")
    assert main(["predict", str(model), str(tmp_path / "pasted.csv"), "-o", str(tmp_path / "predictions.csv")]) == 0
    assert found == (tmp_path / "predictions.csv").read_bytes()
    trainer.type("predict-sequences", f"{WILD_TYPE}\n{WILD_TYPE[:-1]}1")
    trainer.click("predict-start")
    for place in ("predict-problem", "predict-sequences"):  # below the button, and beside the field
        trainer.wait_until(place, "pasted.csv, row 2 (line 3), column 'sequence': 1 character(s) outside")
    (tmp_path / "dropped.csv").write_bytes((tmp_path / "pasted.csv").read_bytes())
    trainer.upload("predict-table", tmp_path / "dropped.csv")
    trainer.click("predict-start")
    wait_for(lambda: not trainer.text("predict-problem"), "the predictions of the table")
    assert trainer.downloaded("predict-download") == found
    clear = "button[aria-label*=emove], button[aria-label*=lear]"
    trainer.find("predict-table").find_element("css selector", clear).click()


def test_a_scan_is_a_heat_map_that_answers_to_the_mouse(trainer, server, tmp_path):
    trainer.tab("Scan")
    trainer.choose("scan-model", "first model")
    trainer.type("scan-wild_type", WILD_TYPE)
    trainer.click("scan-start")
    trainer.wait_until("scan-state", "is done", "failed")
    wait_for(lambda: trainer.driver.find_elements("css selector", "#scan-map .hm"), "the heat map")
    hover = "document.querySelector('#scan-map .js-plotly-plot').data[0].text.flat().filter(t => t)[0]"
    shown = trainer.driver.execute_script(f"return {hover}")
    assert re.match(r"<b>\w\d+\w</b><br>prediction ", shown)
    with zipfile.ZipFile(io.BytesIO(trainer.downloaded("scan-download"))) as zipped:
        found = zipped.read("scan.csv")
    (folder,) = server.models.glob("visitors/*/scan-1")
    (model,) = server.models.glob("visitors/*/first model/result/first model")
    command = ["scan", str(model), str(folder / "inputs" / "wild_type.fasta"), "-o", str(tmp_path / "out")]
    command += ["--interval", "0.9"] if b"lower" in found else []
    assert main(command) == 0 and found == (tmp_path / "out" / "scan.csv").read_bytes()
    trainer.type("scan-positions", "3-400")
    trainer.click("scan-start")
    trainer.wait_until("scan-positions", "position 400 is outside of the wild type")  # beside its field


def test_a_plate_is_proposed(trainer, tmp_path):
    (tmp_path / "round1.csv").write_text(mutants(16, seed=1))
    trainer.tab("Propose")
    trainer.click("propose-start")
    trainer.wait_until("propose-problem", "drop a file first")
    trainer.upload("propose-data", tmp_path / "round1.csv")
    trainer.type("propose-wild_type", WILD_TYPE)
    trainer.type("propose-count", "8")
    trainer.type("propose-sites", "3,5")
    trainer.click("propose-start")
    trainer.wait_until("propose-state", "is done", "failed", seconds=200)
    with zipfile.ZipFile(io.BytesIO(trainer.downloaded("propose-download"))) as zipped:
        lines = zipped.read("plate.csv").decode().splitlines()
    assert len(lines) == 9 and lines[0].startswith("well,mutant,sequence")


def test_an_explanation_has_plots(trainer, table):
    trainer.tab("Explain")
    trainer.choose("explain-model", "first model")
    trainer.upload("explain-data", table)
    trainer.type("explain-sequences", "10")
    trainer.click("explain-start")
    trainer.wait_until("explain-state", "is done", "failed")
    with zipfile.ZipFile(io.BytesIO(trainer.downloaded("explain-download"))) as zipped:
        assert {"attributions.npz", "logo.png", "memory.png"} <= set(zipped.namelist())


def test_a_model_is_published_and_the_token_forgotten(trainer, server, hub):
    trainer.tab("Share")
    trainer.choose("share-model", "first model")
    trainer.type("share-repository", "ann/first")
    trainer.type("share-token", "hf_bob")
    trainer.click("share-start")
    trainer.wait_until("share-problem", "the token may not write there")
    trainer.wait_until("share-repository", "ann/first: ")  # beside its field
    assert trainer.find("share-token").find_element("css selector", "input").get_property("value") == ""
    trainer.type("share-token", "hf_ann")
    trainer.find("share-space").find_element("css selector", "input").click()
    trainer.click("share-start")
    trainer.wait_until("share-published", f"Published: {hub.url}/ann/first, {hub.url}/spaces/ann/first")
    assert "model.safetensors" in hub.repositories["ann/first"].at("main")[1]
    assert not any(b"hf_ann" in file.read_bytes() for file in server.models.rglob("*") if file.is_file())


def test_the_space_of_a_model_predicts_and_scans(trainer, server, hub, tmp_path):
    """After it was published."""
    for name, (content, _) in hub.repositories["spaces/ann/first"].at("main")[1].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    space = Space(tmp_path)
    try:
        with User(space.url, button="predict-start") as user:
            assert [tab.text for tab in user.driver.find_elements("css selector", "[role=tab]")] == ["Predict", "Scan"]
            user.type("predict-sequences", WILD_TYPE)
            user.click("predict-start")
            predicted = user.downloaded("predict-download")
            user.tab("Scan")
            user.type("scan-wild_type", WILD_TYPE)
            user.click("scan-start")
            user.wait_until("scan-state", "is done", "failed")
            with zipfile.ZipFile(io.BytesIO(user.downloaded("scan-download"))) as zipped:
                assert len(zipped.read("scan.csv").splitlines()) == 1 + 19 * len(WILD_TYPE)
    finally:
        space.end()
    trainer.tab("Predict")
    trainer.type("predict-sequences", WILD_TYPE)
    trainer.click("predict-start")
    trainer.wait_until("predict-rows", WILD_TYPE)
    assert predicted == trainer.downloaded("predict-download")


def test_faulty_tables_say_where(server, tmp_path):
    (tmp_path / "faulty.csv").write_text("sequence,label\nMKTA,1\nMK1A,2\n")
    with User(server.url) as user:
        user.upload("train-data", tmp_path / "faulty.csv")
        user.wait_until("train-found", "⚠ faulty.csv, row 2 (line 3), column 'sequence'")
        user.click("train-start")
        user.wait_until("train-problem", "⚠ faulty.csv, row 2 (line 3), column 'sequence'")
        (tmp_path / "flags.yaml").write_text("data: /etc/passwd\noutput_dir: /tmp/elsewhere\n")
        user.driver.refresh()
        wait_for(lambda: user.find("train-start").is_displayed(), "the page")
        user.upload("train-data", tmp_path / "flags.yaml")
        user.wait_until("train-found", "flags.yaml: expected a file ending in .csv")


def test_users_do_not_see_each_other_and_paths_do_not_lead_out(trainer, server):
    with User(server.url, width=400, height=800) as other:
        assert not other.find("train-job").is_displayed() if other.driver.find_elements("id", "train-job") else True
        wider = "return document.documentElement.scrollWidth - window.innerWidth"
        assert other.driver.execute_script(wider) <= 0  # a narrow screen needs no sideways scrolling
        other.tab("Predict")
        for name in ("first model", "../../etc", "/etc/passwd"):
            other.choose("predict-model", name)
            other.type("predict-sequences", WILD_TYPE)
            other.click("predict-start")
            other.wait_until("predict-problem", f"expected one of the list or a Hub id such as user/name, got '{name}'")


def test_addresses_do_not_lead_out(trainer, server):
    """Nor do they list the folders of visitors, whose names nobody else knows."""
    (metrics,) = server.models.glob("visitors/*/first model/result/first model/metrics.json")
    (server.models / "key.txt").write_text("of the server")
    visitors = server.models / "visitors"
    for path in (visitors, metrics.parent, server.models / "key.txt", visitors / ".." / "key.txt", "/etc/passwd"):
        with pytest.raises(HTTPError, match=r"403|404"):
            urlopen(f"{server.url}/gradio_api/file={quote(str(path))}", timeout=30)
    urlopen(f"{server.url}/gradio_api/file={quote(str(metrics))}", timeout=30)


def test_a_killed_server_finds_its_runs_again(table, tmp_path):
    server = Server(tmp_path / "models")
    try:
        with User(server.url, profile=tmp_path / "profile") as user:
            user.upload("train-data", table)
            user.wait_until("train-found", "120 rows")
            user.type("train-num_train_epochs", "4000")
            user.click("train-start")
            wait_for(lambda: [*server.models.rglob("complete.json")], "a checkpoint", 200)
            wait_for(lambda: user.driver.find_elements("css selector", "#train-curve .js-plotly-plot"), "the curve")
            wait_for(lambda: "% " in user.text("train-bar") or " %" in user.text("train-bar"), "the bar")
            server.end(signal.SIGKILL)
            (log,) = server.models.glob("visitors/*/train-1/log.txt")
            wait_for(lambda: "terminated (SIGTERM)" in log.read_text(), "the end of the worker")
            server.start()
            user.open()
            user.wait_until("train-state", "train-1 stopped: the page was closed in the meantime")
            kept = sorted(file.parent.name for file in server.models.rglob("complete.json"))
            user.click("train-resume")
            user.wait_until("train-state", "is running")
            wait_for(lambda: sorted(f.parent.name for f in server.models.rglob("complete.json")) != kept, "more", 200)
            assert "epoch 1/4000" not in log.read_text().split("terminated (SIGTERM)")[1]
            user.click("train-stop")
            user.wait_until("train-state", "train-1 stopped: stopped")
    finally:
        began = time.monotonic()
        server.end()
        assert time.monotonic() - began < 60
