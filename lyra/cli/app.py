"""`lyra app`: a web page that trains, predicts, scans, explains and proposes."""

import argparse
from pathlib import Path

from ..errors import InputError
from . import quiet_loading

HELP = "open a web page that trains, predicts, scans, explains and proposes"
EXAMPLE = "lyra app --models my_models"


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
    parser.add_argument("--max_upload", type=int, default=200, metavar="MB", help="of a file. Default: 200.")
    parser.add_argument("--max_rows", type=int, default=1_000_000, metavar="N", help="of a table. Default: 1000000.")
    parser.add_argument("--max_length", type=int, default=100_000, metavar="N", help="of a sequence. Default: 100000.")
    parser.add_argument("--max_waiting", type=int, default=20, metavar="N", help="jobs in the queue. Default: 20.")
    parser.add_argument("--max_minutes", type=float, default=1440, metavar="N", help="of a job. Default: 1440.")


def run(arguments: argparse.Namespace) -> None:
    for name in ("max_upload", "max_rows", "max_length", "max_waiting", "max_minutes"):
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
    limits = Limits(
        arguments.max_upload, arguments.max_rows, arguments.max_length, arguments.max_waiting, arguments.max_minutes
    )
    serve(Path(arguments.models), arguments.host, arguments.port, limits)
