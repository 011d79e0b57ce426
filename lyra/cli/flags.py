"""Flags of the command line from the fields of dataclasses."""

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

from .sources import training_choices, training_fields


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


def _add(parser: Any, name: str, annotation: str, text: str, choices: Any) -> None:
    settings: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS, "help": text.replace("%", "%%")}
    words = annotation.replace("<class '", "").replace("'>", "").replace("|", " ").split()
    if "bool" in words and "str" not in words:
        settings |= {"type": parse_bool, "nargs": "?", "const": True, "metavar": "BOOL"}
    elif any("list" in word for word in words) and "str" not in words:
        settings |= {"nargs": "+", "metavar": name.split("_")[-1].upper()}
    else:
        kind: Callable[[str], Any] = float if "float" in words else int if "int" in words else str
        if name in (known := training_choices()) and not choices:
            kind = _one_of(known[name])
        settings |= {"type": kind, "choices": choices and list(choices)}
        settings |= {"metavar": None if choices else name.split("_")[-1].upper()}
    parser.add_argument(f"--{name}", **settings)
    if "_" in name:
        parser.add_argument(f"--{name.replace('_', '-')}", **settings | {"help": argparse.SUPPRESS})


def _shown(default: Any) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def parse_bool(text: str) -> bool:
    """`true` or `false`, as people write them."""
    if text.lower() in ("true", "t", "yes", "y", "1"):
        return True
    if text.lower() in ("false", "f", "no", "n", "0"):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")


def _one_of(known: Sequence[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(f"expected one of {', '.join(known)}, got {text!r}")
        return text

    return parse


def instance(cls: type, given: dict[str, Any]) -> Any:
    """A dataclass with those of the given values that are its fields."""
    return cls(**{field.name: given[field.name] for field in dataclasses.fields(cls) if field.name in given})
