"""Command lines of verbs: parsing, and what users see of errors and interruptions.

A verb is a module with HELP (a line), EXAMPLE, `add_arguments(parser)`, `run(arguments)`, and RESUMABLE if it has
`--resume`. Nothing heavy is imported before a command has been checked: torch and transformers take seconds.
"""

import argparse
import difflib
import gc
import importlib
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from . import __version__
from .errors import InputError, one_line
from .signals import Terminated, raise_on_sigterm

_RANK0_GRACE_SECONDS = 10
_TERMINATED = 128 + 15  # exit code of a process that SIGTERM ended
# Threads of OpenMP that wait by spinning slow down other processes on the same cores; see docs/speed.md.
_SPIN_COUNT = "5000"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(message)


@dataclass
class Command:
    """A command line.

    Attributes:
        name: as a user types it.
        package: of the modules of its verbs.
        verbs: their names.
        description: a line.
    """

    name: str
    package: str
    verbs: tuple[str, ...]
    description: str

    def parser(self, only: str | None = None) -> argparse.ArgumentParser:
        """The parser of all verbs, with the flags of all or of only one of them."""
        parser = _Parser(
            prog=self.name,
            description=self.description,
            epilog=f"`{self.name} VERB --help` lists the flags of a verb.",
            allow_abbrev=False,
        )
        debug: dict[str, Any] = {"action": "store_true", "default": argparse.SUPPRESS}
        debug["help"] = "show the traceback of an error"
        parser.add_argument("--debug", **debug)
        parser.add_argument("--version", action="version", version=f"{self.name} {__version__}")
        verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)
        for name in self.verbs:
            module = self._module(name)
            verb = verbs.add_parser(
                name,
                help=module.HELP,
                description=f"{module.HELP[0].upper()}{module.HELP[1:]}.",
                epilog=f"example: {module.EXAMPLE}",
                allow_abbrev=False,
            )
            if only in (None, name):
                module.add_arguments(verb)
            verb.add_argument("--debug", **debug)
            verb.set_defaults(run=module.run, parser=verb)
        return parser

    def run(self) -> int:
        """The command: `main`, and then the end of the process."""
        code = self.main()
        gc.freeze()  # the interpreter would search everything that was imported for garbage once more, for seconds
        return code

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Runs one command; returns its exit code: 0, 2 for bad input with one line on standard error, 130 or 143
        when stopped by Ctrl-C or SIGTERM."""
        argv = list(sys.argv[1:] if argv is None else argv)
        verb = next((argument for argument in argv if not argument.startswith("-")), "")
        command = f"{self.name} {verb}" if verb in self.verbs else self.name
        try:
            raise_on_sigterm()
            _prepare_libraries()
            arguments = self._parse(verb, argv)
            arguments.run(arguments)
        except InputError as error:
            return _fail(command, str(error), argv)
        except OSError as error:  # a full disk, say, in the middle of the work
            return _fail(command, one_line(error), argv)
        except KeyboardInterrupt as error:
            is_resumable = verb in self.verbs and getattr(self._module(verb), "RESUMABLE", False)
            resumable = "; --resume continues" * is_resumable
            if isinstance(error, Terminated):
                return _fail(command, f"terminated (SIGTERM){resumable}", argv, _TERMINATED)
            return _fail(command, f"interrupted{resumable}", argv, 130)
        return 0

    def _module(self, verb: str) -> ModuleType:
        return importlib.import_module(f".{verb.replace('-', '_')}", self.package)

    def _parse(self, verb: str, argv: list[str]) -> argparse.Namespace:
        if not argv:
            raise InputError(f"expected a command among {', '.join(self.verbs)}")
        if argv[0] not in self.verbs and not argv[0].startswith("-"):
            raise InputError(f"expected a command among {', '.join(self.verbs)}, got {argv[0]!r}")
        arguments, unknown = self.parser(verb).parse_known_args(argv)
        if unknown:
            known = [option for action in arguments.parser._actions for option in action.option_strings]
            close = difflib.get_close_matches(unknown[0].split("=")[0], known, n=1)
            raise InputError(f"unknown argument {unknown[0]!r}" + (f"; did you mean {close[0]}?" if close else ""))
        arguments.argv = argv[argv.index(arguments.verb) + 1 :]
        return arguments


def _fail(command: str, message: str, argv: list[str], code: int = 2) -> int:
    if rank := _rank():
        if code == _TERMINATED:  # by the launcher, often because another process had an error, which that one reports
            return code
        # An error that all processes have is reported by the first one; its launcher then ends the others.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(_RANK0_GRACE_SECONDS)
        message = f"process {rank}: {message}"
    if "--debug" in argv:
        traceback.print_exc()
    print(f"{command}: error: {' '.join(message.splitlines())}", file=sys.stderr)
    return code


def _prepare_libraries() -> None:
    """Settings that count only before the libraries are loaded."""
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = _SPIN_COUNT
    # Bars and reports of loading one small file break up the command's own lines.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # Of a dimension of size 1, which has no stride.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")


def quiet_loading() -> None:
    """Switches off transformers' progress bar of loading weights, for which there is no environment variable."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def recorded(argv: list[str]) -> list[str]:
    """The arguments as the record has them, which may be published: without tokens, and of an absolute path only the
    last part."""
    shown: list[str] = []
    for argument in argv:
        flag, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        if (shown and shown[-1].endswith("token")) or (equals and flag.endswith("token")):
            value = "..."
        shown.append(flag + equals + (Path(value).name if os.path.isabs(value) else value))
    return shown


def is_main_process() -> bool:
    """Whether this is the first process, or the only one."""
    return _rank() == 0


def is_first_of_machine() -> bool:
    """Whether this is the first process of its machine, or the only one."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))
