"""Flags of the command line from the fields of dataclasses, read without importing what is heavy."""

import argparse
import ast
import dataclasses
import importlib.util
from pathlib import Path
from typing import Any, get_type_hints


def add_fields(parser: Any, cls: type, skip: tuple[str, ...] = ()) -> None:
    """Adds a flag for each field of a dataclass. The parsed namespace has only those that were given."""
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if field.name not in skip:
            text = field.metadata.get("help", "")
            if field.default not in (None, dataclasses.MISSING):
                text += f" Default: {_shown(field.default)}."
            _add(parser, field.name, str(hints[field.name]), text, field.metadata.get("choices"))


def add_training_flags(parser: Any, skip: set[str]) -> None:
    """Adds a flag for each other field of transformers' `TrainingArguments`."""
    for name, annotation in training_fields().items():
        if name not in skip:
            _add(parser, name, annotation, argparse.SUPPRESS, None)


def training_fields() -> dict[str, str]:
    """Name and annotation of each field of transformers' `TrainingArguments`, from its source: importing it takes
    seconds, and a mistyped flag should be named at once."""
    spec = importlib.util.find_spec("transformers")
    assert spec is not None and spec.submodule_search_locations
    source = Path(spec.submodule_search_locations[0]) / "training_args.py"
    tree = ast.parse(source.read_text(encoding="utf-8"))
    cls = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "TrainingArguments")
    fields = [node for node in cls.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    return {field.target.id: ast.unparse(field.annotation) for field in fields}  # type: ignore[union-attr]


def _add(parser: Any, name: str, annotation: str, text: str, choices: Any) -> None:
    options = dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"])
    settings: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS, "help": text.replace("%", "%%")}
    words = annotation.replace("<class '", "").replace("'>", "").replace("|", " ").split()
    if "bool" in words and "str" not in words:
        settings |= {"type": parse_bool, "nargs": "?", "const": True, "metavar": "BOOL"}
    elif any("list" in word for word in words) and "str" not in words:
        settings |= {"nargs": "+", "metavar": name.split("_")[-1].upper()}
    else:
        kind = float if "float" in words else int if "int" in words else str
        settings |= {"type": kind, "choices": choices and list(choices)}
        settings |= {"metavar": None if choices else name.split("_")[-1].upper()}
    parser.add_argument(*options, **settings)


def _shown(default: Any) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def parse_bool(text: str) -> bool:
    """`true` or `false`, as people write them."""
    if text.lower() in ("true", "t", "yes", "y", "1"):
        return True
    if text.lower() in ("false", "f", "no", "n", "0"):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")


def instance(cls: type, given: dict[str, Any]) -> Any:
    """A dataclass with those of the given values that are its fields."""
    return cls(**{field.name: given[field.name] for field in dataclasses.fields(cls) if field.name in given})
