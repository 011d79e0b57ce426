"""Publishing a linear model on the Hugging Face Hub: what was learned, not the base model."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import ModelCard, ModelCardData, constants

from lyra.errors import InputError
from lyra.hub.checks import check_repository_name
from lyra.hub.uploading import check_and_upload

from .checkpoints import ADAPTER_FOLDER, WEIGHTS_FILE, load_config, read_weights
from .configuration_lolcats import CONFIG_FILE, LolcatsConfig

_CARD = """# {name}

[{base}](https://huggingface.co/{base}) with linear attention ({count} layers, a window of {window}), made by LoLCATs
([arXiv 2410.10254](https://arxiv.org/abs/2410.10254)). This repository holds what was learned: feature maps{adapter}.

```python
import lolcats  # pip install "lyra-bio[lolcats]"

model = lolcats.load("{name}")
```
"""


def publish(
    folder: str | Path, repo_id: str, private: bool = False, dry_run: bool = False, token: str | None = None
) -> str | None:
    """Checks a checkpoint and uploads it in one commit, with a card if it has none (`README.md`).

    Args:
        folder: what `lolcats transfer` or `lolcats finetune` wrote.
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
    config = load_config(path)
    _check(path, config)
    with TemporaryDirectory() as temporary:
        artifact = Path(temporary)
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            shutil.copy(path / name, artifact)
        if (path / ADAPTER_FOLDER).is_dir():
            shutil.copytree(path / ADAPTER_FOLDER, artifact / ADAPTER_FOLDER)
        if (path / "README.md").is_file():
            shutil.copy(path / "README.md", artifact)
        else:
            _card(repo_id, config, (path / ADAPTER_FOLDER).is_dir()).save(artifact / "README.md")
        replaced = [f"{ADAPTER_FOLDER}/*"]
        commit = check_and_upload(
            artifact, repo_id, private, dry_run, CONFIG_FILE, "A model by lolcats", replaced, token
        )
    if commit is None:
        return None
    print(f'published: {constants.ENDPOINT}/{repo_id}\n\nimport lolcats\n\nmodel = lolcats.load("{repo_id}")')
    return commit


def _check(folder: Path, config: LolcatsConfig) -> None:
    """Raises InputError if nobody else could load a checkpoint."""
    base = str(config.base_model)
    if Path(base).exists() or base.count("/") > 1:
        raise InputError(f"{folder / CONFIG_FILE}: the base model is a local folder, {base}; expected a Hub id")
    if not (folder / WEIGHTS_FILE).is_file():
        raise InputError(f"{folder / WEIGHTS_FILE}: missing")
    if not all(tensor.isfinite().all() for tensor in read_weights(folder / WEIGHTS_FILE).values()):
        raise InputError(f"{folder / WEIGHTS_FILE}: the weights are not finite numbers; training diverged")


def _card(repo_id: str, config: LolcatsConfig, has_adapter: bool) -> ModelCard:
    data = ModelCardData(
        base_model=config.base_model, base_model_relation="adapter", library_name="lolcats", tags=["linear-attention"]
    )
    text = _CARD.format(
        name=repo_id,
        base=config.base_model,
        count=len(config.attention),
        window=config.window,
        adapter=" and LoRA matrices" * has_adapter,
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}")
