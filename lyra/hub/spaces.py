"""A Space of the Hugging Face Hub: the web page of one model, with all that it needs."""

import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import ModelCard, SpaceCard, SpaceCardData, constants, snapshot_download
from packaging.requirements import Requirement
from packaging.version import Version

from ..errors import InputError
from ..files import read_json
from .checks import check_folder, check_repository_name
from .code import build_artifact
from .uploading import check_private, hub_errors, is_private, upload

_PACKAGE = Path(__file__).parents[1]
_MARKER, _MESSAGE, _REPLACED = "lyra/app/page.py", "A page by lyra", ("lyra/*", "models/*")
_CPU_BUILDS = "--extra-index-url https://download.pytorch.org/whl/cpu"
_APP = '''"""The page of this Space: `lyra app` with one model."""

from pathlib import Path

from lyra.app.page import serve_models

serve_models(Path(__file__).parent / "models", title={title!r})
'''
_TEXT = """
# {name}

Paste sequences and get predictions of the model [{repo_id}]({endpoint}/{repo_id}), or scan what variants of a sequence
do. The page is that of `lyra app`; what you upload is kept until the Space restarts.

To work on it on your own machine, clone this repository and run `pip install -r requirements.txt "gradio=={gradio}"`
and `python app.py`.
"""


def publish_space(
    folder: Path | None,
    repo_id: str,
    private: bool = False,
    license: str | None = None,
    dry_run: bool = False,
    token: str | None = None,
) -> str | None:
    """Uploads a Space that predicts and scans with one model, in one commit.

    It has the page (`app.py` and the code of this package, so that it is the version that was tried here), what to
    install, and a copy of the model.

    Args:
        folder: what `lyra train` wrote; None for the model `repo_id` of the Hub.
        repo_id: `user/name` of the model and of the Space, which is made if it is new.
        private: whether a new Space is private, as it also is where the model is.
        license: of the model, as the Hub spells it; by default that in its card.
        dry_run: list what would be uploaded.
        token: by default that of `hf auth login` or `HF_TOKEN`.

    Returns:
        The SHA of the commit, None of a dry run.

    Raises:
        InputError: for a package that the page needs and that is not installed, or as [`publish`].
    """
    check_repository_name(repo_id)
    check_page_is_installed()
    with TemporaryDirectory() as temporary:
        space, model = Path(temporary) / "space", folder or _download(repo_id, Path(temporary) / "model", token)
        check_folder(model, repo_id)
        files = build_space(model, space, repo_id, license)
        check_private(files)
        sizes = {part.name: _size(part) for part in sorted(space.iterdir())}
        print(f"to the Space {repo_id}: {', '.join(f'{name} ({size:,} bytes)' for name, size in sizes.items())}")
        if dry_run:
            return None
        private = private or is_private(repo_id, token)
        commit = upload(space, repo_id, private, _MARKER, _MESSAGE, _REPLACED, token, repo_type="space")
    print(f"published: {constants.ENDPOINT}/spaces/{repo_id}; the Hub builds it for some minutes")
    return commit


def build_space(model: Path, target: Path, repo_id: str, license: str | None = None) -> list[Path]:
    """Writes a Space to a new folder; returns its files.

    Raises:
        InputError: for a model of another kind, or if it cannot be told what to install.
    """
    if (kind := read_json(model / "config.json").get("model_type")) != "lyra":
        raise InputError(f"{model}: expected the model type 'lyra', got {kind!r}")
    name = repo_id.split("/")[1]
    shutil.copytree(_PACKAGE, target / "lyra", ignore=shutil.ignore_patterns("__pycache__"))
    artifact = target / "models" / name
    artifact.mkdir(parents=True)
    build_artifact(model, artifact, repo_id, license)
    (artifact / "LICENSE").replace(target / "LICENSE")
    for file in artifact.glob("*_lyra.py"):  # the whole package is there
        file.unlink()
    (target / "app.py").write_text(_APP.format(title=name), encoding="utf-8")
    (target / "requirements.txt").write_text("\n".join([_CPU_BUILDS, *_requirements()]) + "\n", encoding="utf-8")
    _card(artifact, repo_id).save(target / "README.md")
    return sorted(file for file in target.rglob("*") if file.is_file())


def check_page_is_installed() -> None:
    """Raises InputError where the page could not be opened."""
    for name in ("gradio", "plotly", "pandas"):
        if find_spec(name) is None:
            raise InputError(f'{name} is missing; pip install "lyra-bio[app]"')


def _requirements() -> list[str]:
    """What the page needs, in the versions that are installed here; gradio comes with the Space.

    Raises:
        InputError: if this package runs without being installed.
    """
    try:
        needed = [Requirement(each) for each in requires("lyra-bio") or []]
    except PackageNotFoundError:
        raise InputError("lyra-bio is not installed, so that it cannot be told what a Space needs") from None
    wanted = [each for each in needed if each.marker is None or each.marker.evaluate({"extra": "app"})]
    return [f"{each.name}=={Version(version(each.name)).public}" for each in wanted if each.name != "gradio"]


def _card(model: Path, repo_id: str) -> SpaceCard:
    """What the Hub shows of a Space, and by which it builds it."""
    name, gradio = repo_id.split("/")[1], version("gradio")
    data = SpaceCardData(
        title=name,
        emoji="🧬",
        colorFrom="blue",
        colorTo="green",
        sdk="gradio",
        sdk_version=gradio,
        python_version=f"{sys.version_info.major}.{sys.version_info.minor}",
        app_file="app.py",
        license=ModelCard.load(model / "README.md").data.license,
        models=[repo_id],
        tags=["lyra"],
    )
    text = _TEXT.format(name=name, repo_id=repo_id, endpoint=constants.ENDPOINT, gradio=gradio)
    return SpaceCard(f"---\n{data.to_yaml()}\n---\n{text}")


def _download(repo_id: str, target: Path, token: str | None) -> Path:
    """A model of the Hub, without its code."""
    patterns = ["*.json", "*.safetensors", "*.md", "*.png"]
    with hub_errors(repo_id):
        return Path(snapshot_download(repo_id, local_dir=target, allow_patterns=patterns, token=token))


def _size(part: Path) -> int:
    return sum(file.stat().st_size for file in [part, *part.rglob("*")] if file.is_file())
