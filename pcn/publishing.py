"""Publishing a tagger on the Hugging Face Hub."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from huggingface_hub import constants

from lyra.errors import InputError
from lyra.hub.checks import check_repository_name
from lyra.hub.code import build_artifact
from lyra.hub.uploading import check_and_upload

from .exporting import example_inputs
from .inference import load_model

_NECESSARY = ("README.md", "config.json", "metrics.json", "preprocessor_config.json", "model.safetensors")


def publish(
    folder: str | Path, repo_id: str, private: bool = False, dry_run: bool = False, token: str | None = None
) -> str | None:
    """Checks a trained tagger and uploads it in one commit, with the code that it needs.

    Args:
        folder: what `pcn train` wrote.
        repo_id: `user/name`, made if it is new; an older version there is replaced.
        private: whether a new repository is private.
        dry_run: list what would be uploaded, and reach for no network.
        token: by default that of `hf auth login` or `HF_TOKEN`.

    Returns:
        The SHA of the commit, None of a dry run.

    Raises:
        InputError: for a folder that is not fit to publish, or as [`lyra.hub.uploading.upload`].
    """
    check_repository_name(repo_id)
    path = Path(folder)
    if missing := [name for name in _NECESSARY if not (path / name).is_file()]:
        raise InputError(f"{path}: {missing[0]} is missing; publish takes the folder that `pcn train` wrote")
    _check_model(path)
    with TemporaryDirectory() as temporary:
        artifact = Path(temporary)
        build_artifact(path, artifact, repo_id)
        replaced = ["plots/*", "*_pcn.py"]
        commit = check_and_upload(
            artifact, repo_id, private, dry_run, "modeling_pcn.py", "A model by pcn", replaced, token
        )
    if commit is not None:
        print(f"published: {constants.ENDPOINT}/{repo_id}")
    return commit


def _check_model(folder: Path) -> None:
    """The weights must load, and give finite numbers."""
    model, _ = load_model(str(folder))
    with torch.no_grad():
        features, points, mask = (each.to(model.device) for each in example_inputs(model, 2, 10))
        if not model(features, points, mask).logits.isfinite().all():
            raise InputError(f"{folder}: the model's outputs are not finite numbers; it diverged or is damaged")
