"""What a checkpoint needs where its package is not installed: its code, a licence, and a card that names them."""

import hashlib
import json
import re
import shutil
from importlib.metadata import distribution
from pathlib import Path

from huggingface_hub import ModelCard

from ..files import read_json

_PACKAGES = Path(__file__).parents[2]
# What a repository gets besides; predictions.csv holds rows of the user's table and stays.
_MODEL_FILES = (
    *("README.md", "config.json", "metrics.json", "tokenizer.json", "tokenizer_config.json", "example.json"),
    "preprocessor_config.json",
    *("*.safetensors", "*.safetensors.index.json", "plots/*.png"),
)
LICENSE = "apache-2.0"  # of the code, as the Hub spells it
_NAME_LINE = re.compile(r'^name = ".*"(?=  # this folder or Hub repository$)', re.MULTILINE)


def code_files(package: str = "lyra") -> list[Path]:
    """The files of a package that travel with its checkpoints, in order."""
    return sorted((_PACKAGES / package).glob(f"*_{package}.py"))


def code_sha256(package: str = "lyra") -> str:
    """SHA-256 over names and contents of the files that travel."""
    digest = hashlib.sha256()
    for file in code_files(package):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def build_artifact(folder: Path, target: Path, name: str, license_id: str | None = None) -> list[Path]:
    """Copies a trained model to a folder that loads anywhere: with its package's code and licence beside the weights,
    and their names in the card.

    Args:
        folder: what `lyra train` or `pcn train` wrote, or a folder of `model_cards/`.
        target: a new folder.
        name: of the repository or folder, for the card's example.
        license_id: of the model, as the Hub spells it; by default that in its card, or that of the code.

    Returns:
        The files, in order.
    """
    for file in (file for pattern in _MODEL_FILES for file in folder.glob(pattern)):
        copy = target / file.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    package = read_json(target / "config.json")["model_type"]  # which is its name
    for file in code_files(package):
        shutil.copyfile(file, target / file.name)
    licence = distribution("lyra-bio").read_text("licenses/LICENSE")
    if licence is None:
        raise FileNotFoundError("the installed lyra-bio has no licenses/LICENSE; install it anew")
    (target / "LICENSE").write_text(licence, encoding="utf-8")
    card = ModelCard.load(target / "README.md")
    card.data.license = license_id or card.data.get("license") or LICENSE
    card.data["code_sha256"] = code_sha256(package)
    card.text = without_name(card.text, f"name = {json.dumps(name)}")
    card.save(target / "README.md")
    return sorted(file for file in target.rglob("*") if file.is_file())


def without_name(text: str, replacement: str = "") -> str:
    """The text of a card with another line for the name of its repository."""
    return _NAME_LINE.sub(lambda _: replacement, text)
