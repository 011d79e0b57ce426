"""The model card of a trained checkpoint, and publishing it on the Hugging Face Hub."""

import ast
import getpass
import json
import math
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    EvalResult,
    HfApi,
    ModelCard,
    ModelCardData,
    constants,
    get_token,
)
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, OfflineModeIsEnabled

from .alphabet_lyra import get_alphabet
from .inference import compute_logits, load_model
from .runs import read_json
from .tables import InputError, one_line
from .tokenization_lyra import LyraTokenizer

# What a repository gets; predictions.csv holds rows of the user's table and stays.
_PUBLISHED = (
    *("README.md", "config.json", "metrics.json", "tokenizer.json", "tokenizer_config.json", "example.json"),
    *("*.safetensors", "*.safetensors.index.json", "*_lyra.py", "plots/*.png"),
)
_NECESSARY = ("README.md", "config.json", "metrics.json", "tokenizer_config.json")
# Two folders deep, and no part of an address or of `a/b`; or a drive of Windows.
_ABSOLUTE_PATH = re.compile(r"(?<![\w.:/~-])(/[\w.-]+/[\w.-]+|[A-Za-z]:\\+\w)")
_TOKEN = re.compile(r"hf_[A-Za-z0-9]{20,}")
_NAME_LINE = re.compile(r'^name = ".*"(?=  # this folder or Hub repository$)', re.MULTILINE)

# Spelled as on the Hub's leaderboards.
_METRIC_NAMES = {
    "spearman": "Spearman correlation",
    "pearson": "Pearson correlation",
    "r2": "R2",
    "rmse": "RMSE",
    "mae": "MAE",
    "accuracy": "Accuracy",
    "f1": "F1",
    "mcc": "Matthews correlation",
    "auroc": "AUROC",
    "auprc": "AUPRC",
}


def model_card(record: dict[str, Any], name: str, architecture: str, example: str) -> ModelCard:
    """The card of one training run.

    Args:
        record: what the run wrote to `metrics.json`.
        name: of the model.
        architecture: the class that was saved.
        example: a sequence for the usage snippet.
    """
    pipeline = _pipeline(record["task"])
    results = [
        EvalResult(
            task_type=pipeline,
            dataset_type=record["data"]["hub_id"] or "custom",
            dataset_name=record["data"]["name"],
            dataset_split="test",
            metric_type=key,
            metric_name=_METRIC_NAMES.get(key, key),
            metric_value=round(value, 6),
        )
        for key, value in record["test"].items()
        if key in _METRIC_NAMES
    ]
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag=pipeline,
        tags=["lyra", "biology", record["alphabet"], record["task"].replace("_", "-")],
        datasets=[record["data"]["hub_id"]] if record["data"]["hub_id"] else None,
        model_name=name,
        eval_results=results,
    )
    return ModelCard(f"---\n{metadata.to_yaml()}\n---\n\n{_body(record, name, architecture, example)}")


def _pipeline(task: str) -> str:
    return "token-classification" if task.startswith("token_") else "text-classification"


def _body(record: dict[str, Any], name: str, architecture: str, example: str) -> str:
    auto_class = architecture.replace("Lyra", "AutoModel", 1)
    data, counts = record["data"], record["n"]
    outputs = ", ".join(map(_code, record["outputs"]))
    lines = [
        f"# {_text(name)}",
        "",
        f"A [Lyra](https://arxiv.org/abs/2503.16351) model with {record['parameters']:,} parameters for the task "
        f"*{record['task'].replace('_', ' ')}* on {_code(record['alphabet'])} sequences. Outputs: {outputs}.",
        "",
        "## Results",
        "",
        f"Selected by {_code(record['selected_by'])} on the validation split ({_epochs(record)}); the test "
        "split was scored once, with the selected model. Every metric is computed over the whole split.",
        "",
        "| metric | validation | test |",
        "|---|---|---|",
        *(
            f"| {_text(_METRIC_NAMES.get(key, key))} | {_number(record['validation'].get(key))} | {_number(value)} |"
            for key, value in record["test"].items()
        ),
        "",
        "## Data",
        "",
        f"{_code(data['name'])}, SHA-256 `{data['sha256']}`: {counts['train']} training, {counts['validation']} "
        f"validation and {counts['test']} test sequences.",
        "",
        *(f"- {_text(note)}" for note in data["notes"]),
        "",
        "## Use",
        "",
        "```python",
        "import torch",
        f"from transformers import {auto_class}, AutoTokenizer",
        "",
        f"name = {json.dumps(name)}  # this folder or Hub repository",
        "tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=True)",
        f"model = {auto_class}.from_pretrained(name, trust_remote_code=True).eval()",
        "with torch.no_grad():",
        f"    print(model(**tokenizer({json.dumps(example)}, return_tensors='pt')).logits)",
        "```",
        "",
        "The code beside the weights needs only torch and transformers.",
        "",
        "## Training",
        "",
        "| setting | value |",
        "|---|---|",
        *(f"| {_text(k)} | {_text(v)} |" for k, v in record["hyperparameters"].items() if v not in (None, "")),
        f"| seconds | {record['seconds']} |",
        *(f"| {_text(key)} | {_text(value)} |" for key, value in record["versions"].items()),
        "",
    ]
    return "\n".join(lines)


def example_sequence(alphabet: str, pair_offset: int = 0) -> str:
    """A sequence of 30 random letters, for an alphabet of pairs with a partner of 10 under it; always the same."""
    rng = np.random.default_rng(0)
    first, *second = ("".join(rng.choice(list(member.letters), 30)) for member in get_alphabet(alphabet).members)
    return LyraTokenizer(alphabet, pair_offset).align(first, second[0][:10]) if second else first


def _epochs(record: dict[str, Any]) -> str:
    if "members" not in record:
        return f"epoch {record['best_epoch']:g}"
    epochs = ", ".join(f"{member['best_epoch']:g}" for member in record["members"])
    return f"an ensemble of {len(record['members'])} models, epochs {epochs}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _text(value: Any) -> str:
    """Text that stays text in a line or a cell of Markdown."""
    return re.sub(r"([\\`*_{}\[\]()#+!|<>~$&-])", r"\\\1", " ".join(str(value).split()))


def _code(value: Any) -> str:
    """Text in a code span, also in a cell of a table."""
    return f"`{' '.join(str(value).split())}`".replace("|", "\\|") if "`" not in str(value) else _text(value)


# ── Publishing ───────────────────────────────────────────────────────────────────────────────────────────────────────


def publish(
    folder: str,
    repo_id: str,
    private: bool = False,
    commit_message: str = "A model by lyra",
    dry_run: bool = False,
    token: str | None = None,
) -> str | None:
    """Checks the folder of a trained model and uploads it in one commit, its card naming the repository.

    Checked are the card and its metrics, the weights, the code that a colleague's `trust_remote_code` will run, and
    that no text tells where on whose machine it was made. Stays behind: `predictions.csv`, rows of the user's table.

    Args:
        folder: what `lyra train` wrote.
        repo_id: `user/name`, made if it is new; an older version of the model there is replaced.
        private: whether a new repository is private.
        dry_run: list what would be uploaded, and reach for no network.
        token: by default that of `hf auth login` or `HF_TOKEN`.

    Returns:
        The SHA of the commit, None of a dry run.

    Raises:
        InputError: for a folder that is not fit to publish, a missing or refused token, a name that is taken, or a Hub
            that cannot be reached or answers with an error. The repository then has its earlier content.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo_id, re.ASCII):
        raise InputError(f"{repo_id!r}: expected user/name")
    path = Path(folder)
    files = _checked_files(path, owner=repo_id.split("/")[0])
    print(f"to {repo_id}:")
    for file in files:
        print(f"  {file.relative_to(path)}  {file.stat().st_size:,} bytes")
    kept = sorted({item.name for item in path.iterdir()} - {file.relative_to(path).parts[0] for file in files})
    if kept:
        print(f"not uploaded: {', '.join(kept)}")
    if dry_run:
        return None
    additions = [CommitOperationAdd(str(file.relative_to(path)), file) for file in files if file.name != "README.md"]
    additions.append(CommitOperationAdd("README.md", _card_of(path, repo_id).encode()))
    api = signed_in(token)
    with _hub_errors(repo_id):
        known = _prepare_repository(api, repo_id, private)
        stale = {file for file in known if file.startswith("plots/")} - {add.path_in_repo for add in additions}
        operations = [*additions, *(CommitOperationDelete(file) for file in sorted(stale))]
        commit = api.create_commit(repo_id, operations, commit_message=commit_message).oid
    print(f"published: {constants.ENDPOINT}/{repo_id}\n\n{_snippet(path, repo_id, commit)}")
    return commit


def repository_of(name: str, token: str | None) -> str:
    """`user/name` for a name, whose user is that of the token unless it says another.

    Raises:
        InputError: as [`signed_in`].
    """
    api = signed_in(token)
    return name if "/" in name else f"{api.whoami()['name']}/{name}"


def signed_in(token: str | None = None) -> HfApi:
    """Raises InputError if there is no token, or the Hub refuses it."""
    token = token or get_token()
    if token is None:
        raise InputError("no token of the Hub: run `hf auth login`, or set HF_TOKEN")
    api = HfApi(token=token)
    with _hub_errors("the token"):
        api.whoami()
    return api


def _prepare_repository(api: HfApi, repo_id: str, private: bool) -> list[str]:
    """Makes the repository if it is new; returns the files that it has."""
    api.create_repo(repo_id, private=private or None, exist_ok=True)
    info = api.model_info(repo_id)
    known = [file.rfilename for file in info.siblings or []]
    if {"config.json", "README.md"} & set(known) and "modeling_lyra.py" not in known:
        raise InputError(f"{repo_id}: the name is taken, there is another model; choose another name")
    if private and not info.private:
        raise InputError(f"{repo_id}: exists and is public; change that in its settings, or leave --private out")
    return known


@contextmanager
def _hub_errors(what: str) -> Iterator[None]:
    """Turns the ways in which the Hub says no into one line each."""
    try:
        yield
    except HFValidationError as error:
        raise InputError(f"{what}: no name for a repository ({one_line(error)})") from None
    except OfflineModeIsEnabled:
        raise InputError("HF_HUB_OFFLINE is set, so that the Hub cannot be reached") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        reasons = {
            401: "the token is refused; run `hf auth login`, or set HF_TOKEN",
            403: "the name is taken or the token may not write there",
            404: "no such user or organisation, or the token may not see it",
            409: "the name is taken",
        }
        reason = reasons.get(status, "try again; what was there before is unchanged")
        said = (error.server_message or one_line(error)).splitlines()[0][:200]
        raise InputError(f"{what}: the Hub answered {status} ({said}): {reason}") from None
    except (OSError, RuntimeError, ValueError, HTTPError) as error:
        if isinstance(error, InputError):
            raise
        cause = error.__cause__ or error
        raise InputError(f"{what}: nothing was published ({one_line(cause)[:300]}); try again") from None


def _checked_files(folder: Path, owner: str) -> list[Path]:
    """The files to upload; raises InputError if something about them is wrong."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    if missing := [name for name in _NECESSARY if not (folder / name).is_file()]:
        raise InputError(f"{folder}: {missing[0]} is missing; publish takes the folder that `lyra train` wrote")
    files = sorted(file for pattern in _PUBLISHED for file in folder.glob(pattern))
    _check_card(folder)
    _check_code(folder)
    for file in files:
        if file.suffix in (".json", ".md", ".py"):
            _check_private(file)
    _check_names(folder, owner)
    model, tokenizer = load_model(str(folder))
    compute_logits(model, tokenizer, [example_sequence(tokenizer.alphabet, tokenizer.pair_offset)])
    return files


def _check_card(folder: Path) -> None:
    """The metadata must be valid and its metrics those of the run."""
    file, record = folder / "README.md", read_json(folder / "metrics.json")
    try:
        data = ModelCard.load(file).data
        claimed = {result.metric_type: result.metric_value for result in data.eval_results or []}
    except Exception as error:  # the library raises many kinds for what people write into the metadata
        raise InputError(f"{file}: the metadata cannot be read ({one_line(error)[:200]})") from None
    for name, expected in (("library_name", "transformers"), ("pipeline_tag", _pipeline(record["task"]))):
        if data.get(name) != expected:
            raise InputError(f"{file}: expected {name}: {expected} in the metadata, got {data.get(name)}")
    scores = {key: value for key, value in record["test"].items() if key in _METRIC_NAMES}
    if not scores or not all(math.isfinite(value) for value in scores.values()):
        raise InputError(f"{folder / 'metrics.json'}: expected test scores, got {record['test']}")
    for key in {**scores, **claimed}:
        if key not in claimed or key not in scores or abs(claimed[key] - scores[key]) > 1e-6:
            raise InputError(
                f"{file}: the card says {key} {claimed.get(key, 'nothing')}, metrics.json {scores.get(key, 'nothing')}"
            )


def _check_code(folder: Path) -> None:
    """Every class that the Auto classes will ask for, and every module that these import, must be there."""
    settings = read_json(folder / "config.json"), read_json(folder / "tokenizer_config.json")
    waiting: list[str] = []
    seen: set[str] = set()
    for file, values in zip(("config.json", "tokenizer_config.json"), settings, strict=True):
        if not values.get("auto_map"):
            raise InputError(f"{folder / file}: auto_map is missing, so that the Auto classes would not find the model")
        for entry in values["auto_map"].values():
            references = entry if isinstance(entry, list) else [entry]
            waiting += [str(reference).partition(".")[0] for reference in references if reference]
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        code = folder / f"{module}.py"
        if not code.is_file():
            raise InputError(f"{folder}: {code.name} is missing, which the code beside the weights needs")
        try:
            tree = ast.parse(code.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError) as error:
            raise InputError(f"{code}: no Python code ({one_line(error)})") from None
        imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1)
        waiting += [node.module for node in imports if node.module]


def _check_private(file: Path) -> None:
    """No text may tell a token or the folders of the user; of code, which is the library's, only the home folder."""
    path = re.compile(re.escape(str(Path.home())) + "/") if file.suffix == ".py" else _ABSOLUTE_PATH
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if _TOKEN.search(line):
            raise InputError(f"{file}, line {number}: a token of the Hub; remove it, and make it invalid")
        if found := path.search(line):
            raise InputError(f"{file}, line {number}: a path of this machine, {found.group()}; remove it to publish")


def _check_names(folder: Path, owner: str) -> None:
    """What the user wrote, in the card and in the settings of the run, may not tell his name on this machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may have none
        return
    if user in (owner, "root"):
        return
    record, settings = read_json(folder / "metrics.json"), read_json(folder / "tokenizer_config.json")
    own = [*shlex.split(record["command"])[2:], str(record["hyperparameters"].get("start_from"))]
    own += [] if record["data"]["hub_id"] else [record["data"]["name"]]
    example = example_sequence(settings["alphabet"], settings["pair_offset"])
    architecture = read_json(folder / "config.json")["architectures"][0]
    generated = str(model_card(record, "", architecture, example)).splitlines()
    card = _NAME_LINE.sub("", (folder / "README.md").read_text(encoding="utf-8"))
    written = [line for line in card.splitlines() if line not in generated]
    name = re.compile(rf"(?<![\w-]){re.escape(user)}(?![\w-])")
    for file, lines in (("metrics.json", own), ("README.md", written)):
        if found := next((line for line in lines if name.search(line)), None):
            raise InputError(f"{folder / file}: the name of the user, {user}, in {found[:80]!r}; remove it to publish")


def _card_of(folder: Path, repo_id: str) -> str:
    """The card, whose example loads the repository."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    return _NAME_LINE.sub(f"name = {json.dumps(repo_id)}", card)


def _snippet(folder: Path, repo_id: str, commit: str) -> str:
    auto_class = read_json(folder / "config.json")["architectures"][0].replace("Lyra", "AutoModel", 1)
    pinned = f"{json.dumps(repo_id)}, revision={json.dumps(commit)}, trust_remote_code=True"
    return (
        f"from transformers import {auto_class}, AutoTokenizer\n\n"
        f"tokenizer = AutoTokenizer.from_pretrained({pinned})\n"
        f"model = {auto_class}.from_pretrained({pinned})"
    )
