"""Publishing a trained model on the Hugging Face Hub."""

import getpass
import json
import math
import re
import shlex
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import ModelCard, constants

from ..errors import InputError, one_line
from ..files import read_json
from ..tasks import TASKS
from .card import example_sequences, model_card, scores_of
from .checks import check_folder
from .code import build_artifact, without_name
from .spaces import check_page_is_installed, publish_space
from .uploading import check_private, print_files, upload


def publish(
    folder: str,
    repo_id: str,
    private: bool = False,
    license: str | None = None,
    commit_message: str = "A model by lyra",
    dry_run: bool = False,
    token: str | None = None,
    space: bool = False,
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
        space: also upload a Space of the same name, in which everybody can try the model, see [`publish_space`].

    Returns:
        The SHA of the commit, None of a dry run.

    Raises:
        InputError: for a folder that is not fit to publish, a missing or refused token, a name that is taken, or a Hub
            that cannot be reached or answers with an error. The repository then has its earlier content.
    """
    path = Path(folder)
    _check_names_and_files(path, repo_id)
    if space:
        check_page_is_installed()
    with TemporaryDirectory() as temporary:
        artifact = Path(temporary)
        files = build_artifact(path, artifact, repo_id, license)
        check_private(path / file.name for file in files)
        _check_model(artifact)
        print_files(repo_id, artifact, files)
        uploaded = {file.relative_to(artifact).parts[0] for file in files}
        if kept := sorted({item.name for item in path.iterdir()} - uploaded):
            print(f"not uploaded: {', '.join(kept)}")
        if dry_run:
            if space:
                publish_space(path, repo_id, license=license, dry_run=True)
            return None
        replaced = ["plots/*", "*_lyra.py"]
        commit = upload(artifact, repo_id, private, "modeling_lyra.py", commit_message, replaced, token)
    print(f"published: {constants.ENDPOINT}/{repo_id}\n\n{_snippet(path, repo_id, commit)}")
    if space:
        publish_space(path, repo_id, private, license, token=token)
    return commit


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
