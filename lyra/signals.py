"""SIGTERM ends a process as Ctrl-C does, so that nothing is left behind."""

import signal
import threading
from typing import Any


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM."""


def raise_on_sigterm() -> None:
    """From now on SIGTERM raises [`Terminated`]."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _raise_terminated)


def _raise_terminated(*_: Any) -> None:
    raise Terminated
