"""Publishing a trained model on the Hugging Face Hub."""

import getpass
import json
import math
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi, ModelCard, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, OfflineModeIsEnabled

from ..errors import InputError, one_line
from ..files import read_json
from ..tasks import TASKS
from .card import example_sequences, model_card, scores_of
from .checks import check_folder
from .code import build_artifact, without_name

# Two folders deep, and no part of an address or of `a/b`; or a drive of Windows.
_ABSOLUTE_PATH = re.compile(r"(?<![\w.:/~-])(/[\w.-]+/[\w.-]+|[A-Za-z]:\\+\w)")
_TOKEN = re.compile(r"hf_[A-Za-z0-9]{20,}")


def publish(
    folder: str,
    repo_id: str,
    private: bool = False,
    license: str | None = None,
    commit_message: str = "A model by lyra",
    dry_run: bool = False,
    token: str | None = None,
) -> str | None:
    """Checks the folder of a trained model and uploads it in one commit, with the code that it needs.

    Checked are the card and its metrics, the weights, and that no text tells where on whose machine it was made.
    `predictions.csv`, rows of the user's table, is not uploaded.

    Args:
        folder: what `lyra train` wrote.
        repo_id: `user/name`, made if it is new; an older version of the model there is replaced.
        private: whether a new repository is private.
        license: of the model, as the Hub spells it; by default that in its card, or apache-2.0.
        dry_run: list what would be uploaded, and reach for no network.
        token: by default that of `hf auth login` or `HF_TOKEN`.

    Returns:
        The SHA of the commit, None of a dry run.

    Raises:
        InputError: for a folder that is not fit to publish, a missing or refused token, a name that is taken, or a Hub
            that cannot be reached or answers with an error. The repository then has its earlier content.
    """
    path = Path(folder)
    _check_names_and_files(path, repo_id)
    with TemporaryDirectory() as temporary:
        artifact = Path(temporary)
        files = build_artifact(path, artifact, repo_id, license)
        for file in files:
            if file.suffix in (".json", ".md"):
                _check_private(path / file.name)
        _check_model(artifact)
        print(f"to {repo_id}:")
        for file in files:
            print(f"  {file.relative_to(artifact)}  {file.stat().st_size:,} bytes")
        uploaded = {file.relative_to(artifact).parts[0] for file in files}
        if kept := sorted({item.name for item in path.iterdir()} - uploaded):
            print(f"not uploaded: {', '.join(kept)}")
        if dry_run:
            return None
        api = signed_in(token)
        with _hub_errors(repo_id):
            _prepare_repository(api, repo_id, private)
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=artifact,
                commit_message=commit_message,
                delete_patterns=["plots/*", "*_lyra.py"],
            ).oid
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
        raise InputError("no Hugging Face token found: run `hf auth login`, or set HF_TOKEN")
    api = HfApi(token=token)
    with _hub_errors("the token"):
        api.whoami()
    return api


def _prepare_repository(api: HfApi, repo_id: str, private: bool) -> None:
    """Makes the repository if it is new."""
    api.create_repo(repo_id, private=private or None, exist_ok=True)
    info = api.model_info(repo_id)
    known = {file.rfilename for file in info.siblings or []}
    if {"config.json", "README.md"} & known and "modeling_lyra.py" not in known:
        raise InputError(f"{repo_id}: this repository already contains another model; choose another name")
    if private and not info.private:
        raise InputError(f"{repo_id}: exists and is public; change that in its settings, or leave --private out")


@contextmanager
def _hub_errors(what: str) -> Iterator[None]:
    """Turns the ways in which the Hub says no into one line each."""
    try:
        yield
    except HFValidationError as error:
        raise InputError(f"{what}: not a valid repository name ({one_line(error)})") from None
    except OfflineModeIsEnabled:
        raise InputError("HF_HUB_OFFLINE is set, so that the Hub cannot be reached") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        reasons = {
            401: "the token was rejected; run `hf auth login`, or set HF_TOKEN",
            403: "the name is taken or the token may not write there",
            404: "no such user or organisation, or the token may not see it",
            409: "the name is taken",
        }
        reason = reasons.get(status, "try again; what was there before is unchanged")
        said = (error.server_message or one_line(error)).splitlines()[0][:200]
        raise InputError(f"{what}: the Hub returned {status} ({said}): {reason}") from None
    except (OSError, RuntimeError, ValueError, HTTPError) as error:
        if isinstance(error, InputError):
            raise
        cause = error.__cause__ or error
        raise InputError(f"{what}: nothing was published ({one_line(cause)[:300]}); try again") from None


def _check_names_and_files(folder: Path, repo_id: str) -> None:
    """Checks the name of the repository, and what the files say."""
    check_folder(folder, repo_id)
    for name in ("config.json", "tokenizer_config.json"):
        if not read_json(folder / name).get("auto_map"):
            raise InputError(f"{folder / name}: auto_map is missing, so that the Auto classes would not find the model")
    _check_card(folder)
    _check_user_name(folder, owner=repo_id.split("/")[0])


def _check_model(folder: Path) -> None:
    """The weights must load, and predict finite numbers."""
    import torch

    from ..inference.loading import load_model

    model, tokenizer = load_model(str(folder))
    example = example_sequences(tokenizer.alphabet, tokenizer.pair_offset, model.config.linear_length)
    means = model.config.extra_means
    extra = {} if means is None else {"extra_features": torch.tensor([means])}
    with torch.no_grad():
        logits = model(**tokenizer(*example, return_tensors="pt"), **extra).logits
    if not logits.isfinite().all():
        raise InputError(f"{folder}: the model's predictions are not finite numbers; it diverged or is damaged")


def _check_card(folder: Path) -> None:
    """The metadata must be valid and its metrics those of the run."""
    file, record = folder / "README.md", read_json(folder / "metrics.json")
    try:
        data = ModelCard.load(file).data
        claimed = {result.metric_type: result.metric_value for result in data.eval_results or []}
    except Exception as error:  # the library raises many kinds for what people write into the metadata
        raise InputError(f"{file}: the metadata cannot be read ({one_line(error)[:200]})") from None
    for name, expected in (("library_name", "transformers"), ("pipeline_tag", TASKS[record["task"]].pipeline_tag)):
        if data.get(name) != expected:
            raise InputError(f"{file}: expected {name}: {expected} in the metadata, got {data.get(name)}")
    scores = scores_of(record)
    if not scores or not all(math.isfinite(value) for value in scores.values()):
        raise InputError(f"{folder / 'metrics.json'}: expected test scores, got {record['test']}")
    for key in {**scores, **claimed}:
        if key not in claimed or key not in scores or abs(claimed[key] - scores[key]) > 1e-6:
            raise InputError(
                f"{file}: the card says {key} {claimed.get(key, 'nothing')}, metrics.json {scores.get(key, 'nothing')}"
            )


def _check_private(file: Path) -> None:
    """No text may tell a token or the folders of the user."""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if _TOKEN.search(line):
            raise InputError(f"{file}, line {number}: contains a Hugging Face token; remove it and revoke it")
        if found := _ABSOLUTE_PATH.search(line):
            raise InputError(f"{file}, line {number}: contains a local path, {found.group()}; remove it to publish")


def _check_user_name(folder: Path, owner: str) -> None:
    """What the user wrote, in the card and in the settings of the run, may not contain their name on this machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may have none
        return
    if user in (owner, "root"):
        return
    record, settings = read_json(folder / "metrics.json"), read_json(folder / "tokenizer_config.json")
    own = [*shlex.split(record["command"])[2:], str(record["hyperparameters"].get("start_from"))]
    own += [] if record["data"]["hub_id"] else [record["data"]["name"]]
    config = read_json(folder / "config.json")
    example = example_sequences(settings["alphabet"], settings["pair_offset"], config.get("linear_length"))
    architecture = config["architectures"][0]
    generated = str(model_card(record, "", architecture, example)).splitlines()
    card = without_name((folder / "README.md").read_text(encoding="utf-8"))
    written = [line for line in card.splitlines() if line not in generated]
    name = re.compile(rf"(?<![\w-]){re.escape(user)}(?![\w-])")
    for file, lines in (("metrics.json", own), ("README.md", written)):
        if found := next((line for line in lines if name.search(line)), None):
            raise InputError(f"{folder / file}: the name of the user, {user}, in {found[:80]!r}; remove it to publish")


def _snippet(folder: Path, repo_id: str, commit: str) -> str:
    auto_class = read_json(folder / "config.json")["architectures"][0].replace("Lyra", "AutoModel", 1)
    pinned = f"{json.dumps(repo_id)}, revision={json.dumps(commit)}, trust_remote_code=True"
    return (
        f"from transformers import {auto_class}, AutoTokenizer\n\n"
        f"tokenizer = AutoTokenizer.from_pretrained({pinned})\n"
        f"model = {auto_class}.from_pretrained({pinned})"
    )
