"""What a user sees when their input is wrong."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any


class InputError(ValueError):
    """Something that a user gave is wrong; the message is one line that says where, what was expected and what came."""


class OutputError(InputError):
    """A place that a user named cannot be written to, or is full."""


def one_line(error: BaseException) -> str:
    """A library's complaint as part of a message."""
    return " ".join(str(error).split())


def join_quoted(names: Iterable[Any]) -> str:
    """Names as a message shows them."""
    return ", ".join(repr(str(name)) for name in names)


def check_choices(arguments: Any) -> None:
    """Raises InputError for a field of a dataclass of arguments that is none of its choices."""
    for field in fields(arguments):
        choices, value = field.metadata.get("choices"), getattr(arguments, field.name)
        if choices is not None and value is not None and value not in choices:
            raise InputError(f"--{field.name}: expected one of {', '.join(choices)}, got {value!r}")
