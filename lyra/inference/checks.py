"""What can be said of the arguments of `lyra predict` and `lyra embed` before torch is loaded."""

import os
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ..errors import InputError, one_line
from ..files import read_json


def check_paths(model: str, source: str, output: str) -> None:
    """Raises InputError if the model is a damaged folder or no folder where the Hub cannot be reached, the table does
    not exist, or the output would replace it or cannot be written."""
    _check_source(source)
    if Path(output).exists() and Path(output).samefile(source):
        raise InputError(f"{output}: the output would replace the input")
    if Path(output).is_dir():
        raise InputError(f"{output}: expected a file to write, got a directory")
    if not Path(output).parent.is_dir():
        raise InputError(f"{output}: cannot be written, there is no folder {Path(output).parent}")
    check_model_path(model, source)


def check_model_path(model: str, source: str) -> None:
    """Raises InputError if the table does not exist, or the model is a damaged folder or no folder where the Hub cannot
    be reached."""
    _check_source(source)
    if not model:
        raise InputError("model: expected a folder or a Hub id, got an empty name")
    if Path(model).is_dir():
        check_checkpoint(Path(model))
    elif os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE") and model.count("/") != 1:
        raise InputError(f"{model}: no such folder, and the Hub is disabled (HF_HUB_OFFLINE)")


def _check_source(source: str) -> None:
    if not Path(source).exists():
        raise InputError(f"{source}: no such file")


def check_vectors_path(output: str, vectors: str) -> None:
    """Raises InputError if vectors, of this kind, cannot be written to a file of that name."""
    if Path(output).suffix not in (".npz", ".parquet", ".csv"):
        raise InputError(f"{output}: expected a file ending in .npz, .parquet or .csv")
    if Path(output).suffix == ".csv" and vectors == "residue":
        raise InputError(f"{output}: vectors of residues need .npz or .parquet, a row of .csv has one vector")


def check_checkpoint(folder: Path) -> None:
    """Raises InputError, naming it, if a file of a checkpoint is missing or cannot be read."""
    for name in ("config.json", "tokenizer_config.json", "tokenizer.json"):
        file = folder / name
        if file.exists():
            read_json(file)
        elif name != "tokenizer.json":  # it follows from the others
            raise InputError(f"{folder}: {name} is missing, so this is not a complete Lyra checkpoint")
    for file in folder.glob("*.safetensors"):
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise InputError(f"{file}: damaged ({one_line(error)})") from None
