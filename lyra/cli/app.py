"""`lyra app`: a web page that trains, predicts, scans, explains and proposes."""

import argparse
from pathlib import Path

from ..errors import InputError
from . import quiet_loading

HELP = "open a web page that trains, predicts, scans, explains and proposes"
EXAMPLE = "lyra app --models my_models"
_LIMITS = (
    ("max_upload", int, 200, "MB", "the largest file"),
    ("max_rows", int, 1_000_000, "N", "the most rows of a table"),
    ("max_length", int, 100_000, "N", "the longest sequence"),
    ("max_waiting", int, 20, "N", "the most jobs that wait"),
    ("max_minutes", float, 1440, "N", "the longest job"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on. Default: 127.0.0.1, this machine.")
    parser.add_argument("--port", type=int, default=7860, help="Default: 7860.")
    parser.add_argument(
        "--models",
        default="lyra_models",
        metavar="DIR",
        help="folder of models for all visitors, and of what each visitor makes. Default: lyra_models.",
    )
    parser.add_argument(
        "--space",
        metavar="user/name",
        help="instead of a page here, upload a Space of this name, in which everybody can try the model of this name",
    )
    for flag, kind, default, metavar, what in _LIMITS:
        parser.add_argument(
            f"--{flag}", type=kind, default=default, metavar=metavar, help=f"{what}. Default: {default}."
        )


def run(arguments: argparse.Namespace) -> None:
    for name, *_ in _LIMITS:
        if not getattr(arguments, name) > 0:
            raise InputError(f"--{name}: expected a number above 0, got {getattr(arguments, name)}")
    if not 0 < arguments.port < 1 << 16:
        raise InputError(f"--port: expected a number from 1 to 65535, got {arguments.port}")
    quiet_loading()
    if arguments.space is not None:
        from ..hub import publish_space

        publish_space(None, arguments.space)
        return
    try:
        from ..app.page import serve
        from ..app.site import Limits
    except ModuleNotFoundError as error:
        raise InputError(f'{error.name} is missing; pip install "lyra-bio[app]"') from None
    limits = Limits(*(getattr(arguments, name) for name, *_ in _LIMITS))
    serve(Path(arguments.models), arguments.host, arguments.port, limits)
