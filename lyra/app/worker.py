"""A command of `lyra` in a process of its own, that ends when the page does: `python -m lyra.app.worker VERB ...`."""

import os
import signal
import sys
import threading
from io import TextIOWrapper


class _Watched(TextIOWrapper):
    """An output that bars are drawn on, as they are on a terminal."""

    def isatty(self) -> bool:
        return True


def _end_with_the_page() -> None:
    # Until the other end, which the page's process holds, is closed; unbuffered, as a thread that waits in a buffer
    # keeps the interpreter from ending.
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    from ..cli import run

    threading.Thread(target=_end_with_the_page, daemon=True).start()
    sys.stderr = _Watched(sys.stderr.buffer, encoding="utf-8", line_buffering=True, write_through=True)
    return run()


if __name__ == "__main__":
    sys.exit(main())
