"""`lyra publish` and `--push_to_hub` against a server on the loopback, and what a colleague then loads."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hub_server import Hub
from huggingface_hub import ModelCard
from runs import write_table

import lyra
from lyra.cli import main
from lyra.hub import code_sha256, model_card
from lyra.inference import compute_logits, load_model

LYRA = Path(lyra.__file__).parent
TRAIN = ["--config_overrides", "hidden_size=8", "state_size=4", "--num_train_epochs", "1", "--use_cpu", "true"]
TRAIN += ["--disable_tqdm", "true"]
# All command lines of a test in one process, so that the libraries are loaded once; retries do not wait.
SESSION = """
import contextlib, io, json, os, sys, time
from lyra.cli import main
time.sleep = lambda seconds: None
for line in sys.stdin:
    token, *argv = json.loads(line)
    os.environ.pop("HF_TOKEN", None)
    if token: os.environ["HF_TOKEN"] = token
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(argv)
    errors = [line for line in err.getvalue().splitlines() if line.startswith("lyra")]
    print(json.dumps([code, out.getvalue(), errors]), flush=True)
"""
LOAD = """
import sys, torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
name, revision = sys.argv[1:]
pinned = {"trust_remote_code": True, "revision": revision}
tokenizer = AutoTokenizer.from_pretrained(name, **pinned)
model = AutoModelForSequenceClassification.from_pretrained(name, **pinned).eval()
with torch.no_grad():
    print(model(**tokenizer("MKTAYIAK", return_tensors="pt")).logits.item())
print(pipeline("text-classification", name, **pinned)("MKTAYIAK")[0]["score"])
assert "lyra" not in sys.modules
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("data") / "t.csv")


@pytest.fixture(scope="module")
def trained(table):
    folder = table.parent / "trained"
    assert main(["train", str(table), "--output_dir", str(folder), *TRAIN]) == 0
    return folder


@pytest.fixture
def model(trained, tmp_path):
    """A copy to change."""
    return Path(shutil.copytree(trained, tmp_path / "model"))


def environment(url, home, token=None):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    settings = {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return kept | settings | ({"HF_TOKEN": token} if token else {})


@contextlib.contextmanager
def session(url, home):
    """A function for exit code, output and error lines of a command line, given after the token it has."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-c", SESSION]
    with subprocess.Popen(command, text=True, env=environment(url, home), **pipes) as process:

        def run(token, *argv):
            print(json.dumps([token, *map(str, argv)]), file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        yield run


@pytest.mark.slow
def test_publish_and_load(trained, tmp_path):
    with Hub() as hub, session(hub.url, tmp_path / "a") as run:
        code, said, errors = run("hf_ann", "publish", trained, "ann/gfp")
        assert (code, errors) == (0, [])
        sha, files = hub.repositories["ann/gfp"].at("main")
        assert not hub.repositories["ann/gfp"].private
        assert f"published: {hub.url}/ann/gfp" in said and sha in said and "not uploaded: predictions.csv" in said
        expected = {str(file.relative_to(trained)) for file in trained.rglob("*") if file.is_file()}
        assert set(files) == expected - {"predictions.csv"} | {"LICENSE"}
        card = files["README.md"][0].decode()
        assert 'name = "ann/gfp"  # this folder or Hub repository' in card
        metadata = ModelCard(card).data
        assert metadata.pipeline_tag == "text-classification" and metadata.license == "apache-2.0"
        assert metadata["code_sha256"] == code_sha256()
        assert all(
            files[name][0] == (trained / name).read_bytes() for name in files if name not in ("README.md", "LICENSE")
        )

        command = [sys.executable, "-c", LOAD, "ann/gfp", sha]  # another user, without a token
        loaded = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment(hub.url, tmp_path / "b")
        )
        assert loaded.returncode == 0, loaded.stderr
        answers = list(map(float, loaded.stdout.split()))
    own, tokenizer = load_model(str(trained))
    assert answers == pytest.approx([compute_logits(own, tokenizer, ["MKTAYIAK"]).logits[0].item()] * 2, rel=1e-5)


@pytest.mark.slow
def test_repeated_interrupted_and_refused(trained, tmp_path):
    publish = ("publish", trained)
    with Hub() as hub, session(hub.url, tmp_path) as run:
        assert [run("hf_ann", *publish, "ann/gfp")[0] for _ in range(2)] == [0, 0]
        assert sum(method == "PUT" for method, _ in hub.log) == 3  # weights and two plots, once

        hub.large.clear()
        hub.cut_uploads = 1000
        code, _, errors = run("hf_ann", *publish, "ann/new")
        assert code == 2 and len(errors) == 1 and "ann/new: nothing was published" in errors[0]
        assert hub.repositories["ann/new"].at("main")[1] == {}
        hub.cut_uploads = 1  # a short one is repeated by itself
        code, _, errors = run("hf_ann", *publish, "ann/new", "--private")
        assert code == 2 and "ann/new: exists and is public" in errors[0]
        assert run("hf_ann", *publish, "ann/new")[0] == 0
        assert len(hub.repositories["ann/new"].at("main")[1]) == len(hub.repositories["ann/gfp"].at("main")[1])

        other = hub.repositories["ann/bert"] = type(hub.repositories["ann/gfp"])("ann", False)
        other.commits.append(("1" * 40, {"config.json": (b"{}", False)}))
        cases = {
            (None, "ann/x"): "no Hugging Face token found: run `hf auth login`, or set HF_TOKEN",
            ("hf_wrong", "ann/x"): "the token: the Hub returned 401",
            ("hf_reader", "ann/x"): "ann/x: the Hub returned 403",
            ("hf_ann", "bob/x"): "bob/x: the Hub returned 403",
            ("hf_ann", "ann/bert"): "ann/bert: this repository already contains another model",
            ("hf_ann", "ann/broken-x"): "ann/broken-x: the Hub returned 500",
            ("hf_ann", "x"): "'x': expected user/name",
            ("hf_ann", "ann/x--y..z"): "not a valid repository name",
        }
        for (token, name), expected in cases.items():
            code, _, errors = run(token, *publish, name)
            assert code == 2 and len(errors) == 1 and expected in errors[0], (errors, expected)
        assert other.at("main")[0] == "1" * 40
        assert run("hf_ann", *publish, "ann/secret", "--private")[0] == 0
        assert hub.repositories["ann/secret"].private
    with session(hub.url, tmp_path) as run:  # the server is gone
        code, _, errors = run("hf_ann", *publish, "ann/gfp")
    assert code == 2 and len(errors) == 1 and "nothing was published" in errors[0]


@pytest.mark.slow
def test_a_space_has_all_that_it_needs(trained, tmp_path):
    """tests/app/test_page.py opens one."""
    pytest.importorskip("gradio", reason='needs gradio: pip install "lyra-bio[app]"')
    with Hub() as hub, session(hub.url, tmp_path) as run:
        first = run("hf_ann", "publish", trained, "ann/gfp", "--space")
        again = run("hf_ann", "app", "--space", "ann/gfp")
        assert first[0] == again[0] == 0, (first, again)
        assert f"published: {hub.url}/spaces/ann/gfp" in first[1]
        space = hub.repositories["spaces/ann/gfp"]
        (_, made), (_, published), (_, updated) = space.commits[1:]
        assert set(made) == {"README.md"} and published == updated
        assert run("hf_ann", "publish", trained, "ann/secret", "--private")[0] == 0
        assert run("hf_ann", "app", "--space", "ann/secret")[0] == 0
        assert hub.repositories["spaces/ann/secret"].private and not space.private  # as its model
        other = hub.repositories["spaces/ann/own"] = type(space)("ann", False)
        other.commits.append(("1" * 40, {"app.py": (b"", False)}))
        cases = {
            ("hf_bob", "ann/gfp"): "ann/gfp: the Hub returned 403",
            ("hf_ann", "ann/none"): "ann/none: the Hub returned 404",
            ("hf_ann", "gfp"): "'gfp': expected user/name",
        }
        for (token, name), expected in cases.items():
            code, _, errors = run(token, "app", "--space", name)
            assert code == 2 and len(errors) == 1 and expected in errors[0], (errors, expected)
        code, _, errors = run("hf_ann", "publish", trained, "ann/own", "--space")
        assert code == 2 and "ann/own: this repository already contains another space" in errors[0]
    card = ModelCard(published["README.md"][0].decode()).data.to_dict()
    expected = {"sdk": "gradio", "app_file": "app.py", "models": ["ann/gfp"], "license": "apache-2.0", "title": "gfp"}
    assert expected.items() <= card.items() and card["sdk_version"] and card["python_version"]
    requirements = published["requirements.txt"][0].decode()
    assert f"torch=={torch.__version__.partition('+')[0]}\n" in requirements and "\nplotly==" in requirements
    assert "gradio" not in requirements
    weights = (trained / "model.safetensors").read_bytes()
    assert published["models/gfp/model.safetensors"] == (weights, True)
    own = {str(file.relative_to(LYRA.parent)) for file in LYRA.rglob("*.*") if file.suffix != ".pyc"}
    assert own == {name for name in published if name.startswith("lyra/")}


@pytest.mark.slow
def test_push_to_hub(table, tmp_path):
    train = ("train", table, *TRAIN, "--push_to_hub", "true", "--output_dir")
    with Hub() as hub, session(hub.url, tmp_path) as run:
        results = [
            run("hf_ann", *train, tmp_path / "splicing"),
            run("hf_ann", *train, tmp_path / "m", "--hub_model_id", "ann/other", "--hub_private_repo", "true"),
            run(None, *train, tmp_path / "none"),
            run("hf_ann", *train, tmp_path / "broken", "--hub_model_id", "ann/broken-m"),
        ]
        assert [code for code, *_ in results] == [0, 0, 2, 2]
        files = hub.repositories["ann/splicing"].at("main")[1]
        record = json.loads((tmp_path / "splicing" / "metrics.json").read_text())
        assert ModelCard(files["README.md"][0].decode()).data.eval_results and record["test"]
        assert len(hub.repositories["ann/splicing"].commits) == 2  # one upload, and no checkpoints
        assert hub.repositories["ann/other"].private
    assert "no Hugging Face token" in results[2][2][0] and not (tmp_path / "none").exists()
    assert "the model is in" in results[3][2][0] and (tmp_path / "broken" / "model.safetensors").exists()
    assert str(tmp_path) not in (tmp_path / "splicing" / "metrics.json").read_text()


def test_a_dry_run_reaches_for_nothing(trained, capsys):
    """Here HF_HUB_OFFLINE is set and there is no token."""
    assert main(["publish", str(trained), "ann/gfp", "--dry_run"]) == 0
    listed = capsys.readouterr().out
    assert f"  model.safetensors  {(trained / 'model.safetensors').stat().st_size:,} bytes" in listed
    assert "not uploaded: predictions.csv" in listed


def edit(name, old, new):
    def change(folder):
        text = (folder / name).read_text()
        assert re.search(old, text)
        (folder / name).write_text(re.sub(old, new, text, count=1))

    return change


def remove(name):
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (remove("metrics.json"), "model: metrics.json is missing"),
        (remove("README.md"), "model: README.md is missing"),
        (edit("config.json", "auto_map", "auto_cap"), "config.json: auto_map is missing"),
        (edit("README.md", "library_name", "library_name: [x"), "README.md: the metadata cannot be read"),
        (edit("README.md", "library_name: transformers", "library_name: keras"), "expected library_name: transformers"),
        (edit("README.md", r"value: -?[\d.]+", "value: 0.987"), "README.md: the card says"),
        (edit("metrics.json", r'"test": {\s+"spearman": [^,]+', '"test": {"spearman": NaN'), "expected test scores"),
        (
            edit("metrics.json", '"command": "', '"command": "python /home/ann/x.py '),
            "contains a local path, /home/ann",
        ),
        (edit("metrics.json", '"command": "', r'"command": "C:\\\\\\\\lab '), "contains a local path, C:"),
        (edit("README.md", "## Data", "## Data\n\nin /data/lab/t.csv"), "contains a local path, /data/lab"),
        (edit("README.md", "## Data", "## Data of carla"), "README.md: the name of the user, carla"),
        (
            edit("metrics.json", '"command": "', '"command": "lyra train carla '),
            "metrics.json: the name of the user, carla",
        ),
        (edit("metrics.json", '"command": "', '"command": "hf_' + "a1B2" * 8 + " "), "contains a Hugging Face token"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 99), "model.safetensors: damaged"),
        (lambda folder: shutil.rmtree(folder), "model: no such folder"),
    ],
)
def test_folders_that_are_not_fit_to_publish(model, capsys, monkeypatch, change, expected):
    monkeypatch.setattr("getpass.getuser", lambda: "carla")
    assert main(["publish", str(model), "ann/gfp", "--dry_run"]) == 0
    change(model)
    capsys.readouterr()
    assert main(["publish", str(model), "ann/gfp", "--dry_run"]) == 2
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1


@pytest.mark.parametrize("user", ["test", "lyra", "model", "data", "mean", None])
def test_user_names_that_are_words_of_the_card(model, monkeypatch, user):
    def name():
        if user is None:
            raise KeyError("getpwuid(): uid not found: 1000")  # a container without an entry
        return user

    monkeypatch.setattr("getpass.getuser", name)
    assert main(["publish", str(model), "ann/gfp", "--dry_run"]) == 0


def test_tokens_are_not_recorded(table, tmp_path):
    argv = ["train", str(table), "--output_dir", str(tmp_path / "m"), *TRAIN, "--hub_token", "hf_secret"]
    assert main(argv) == 0 and main([*argv[:2], f"--output_dir={tmp_path / 'n'}", *TRAIN, "--hub_token=hf_secret"]) == 0
    for name in "mn":
        command = json.loads((tmp_path / name / "metrics.json").read_text())["command"]
        assert "secret" not in command and str(tmp_path) not in command


def test_names_with_markup_stay_text_on_the_card(trained):
    """A data set, a class or a note may be called anything."""
    record = json.loads((trained / "metrics.json").read_text())
    odd = 'x: "y"\n---\n# [a](gopher://b) <script>|`*c*` ${d}'
    record["data"] |= {"name": odd, "notes": [odd], "hub_id": None}
    record |= {"outputs": [odd, "plain"], "alphabet": "AC`|"}
    card = str(model_card(record, odd, "LyraForSequenceClassification", "ACD"))
    parsed = ModelCard(card)
    assert parsed.data.model_name == odd and parsed.data.eval_results[0].dataset_name == odd
    body = parsed.text
    for live in ("](gopher", "<script", "\n---", "*c*"):
        assert live not in re.sub(r"\\.", "", body.replace(json.dumps(odd), "")), live
    headings = [line for line in body.splitlines() if line.startswith("#")]
    assert [line for line in headings if not line.startswith("# x")] == [
        *("## Results", "## Data", "## Use", "## Training")
    ]
