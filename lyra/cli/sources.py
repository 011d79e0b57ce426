"""What the source of a class says of its fields: importing transformers takes seconds, and a mistyped flag or value
should be named at once."""

import ast
import importlib.util
from functools import cache
from pathlib import Path

_LYRA = Path(__file__).parents[1]


@cache
def training_fields() -> dict[str, str]:
    """Name and annotation of each field of transformers' `TrainingArguments`."""
    return _fields(_classes(_transformers() / "training_args.py")["TrainingArguments"])


@cache
def training_choices() -> dict[str, list[str]]:
    """The values of those fields of `TrainingArguments` that are enumerations."""
    classes = _classes(_transformers() / "trainer_utils.py") | _classes(_transformers() / "training_args.py")
    values = {
        name: [ast.literal_eval(node.value) for node in each.body if isinstance(node, ast.Assign)]
        for name, each in classes.items()
        if any(ast.unparse(base) == "ExplicitEnum" for base in each.bases)
    }
    types = {field: annotation.split(" | ")[0] for field, annotation in training_fields().items()}
    return {field: values[name] for field, name in types.items() if name in values}


@cache
def config_fields() -> set[str]:
    """The fields of `LyraConfig`, and their other names."""
    config = _classes(_LYRA / "configuration_lyra.py")["LyraConfig"]
    aliases = next(
        node.value
        for node in config.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "attribute_map"
    )
    return set(_fields(config)) | set(ast.literal_eval(aliases))


def _transformers() -> Path:
    spec = importlib.util.find_spec("transformers")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def _classes(source: Path) -> dict[str, ast.ClassDef]:
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _fields(cls: ast.ClassDef) -> dict[str, str]:
    fields = [node for node in cls.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    return {field.target.id: ast.unparse(field.annotation) for field in fields}  # type: ignore[union-attr]
