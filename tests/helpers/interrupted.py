"""Runs `lyra`, or the PROGRAM of the environment, and ends it at a chosen point: SIGKILL before the n-th call of a
function, or SIGTERM there.

python tests/helpers/interrupted.py KILL|TERM MODULE:FUNCTION N ARGUMENTS...
"""

import importlib
import os
import signal
import sys


def end_at(kind, where, number):
    module, _, path = where.partition(":")
    *owners, name = path.split(".")
    owner = importlib.import_module(module)
    for each in owners:
        owner = getattr(owner, each)
    original = getattr(owner, name)
    calls = 0

    def ending(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL if kind == "KILL" else signal.SIGTERM)
        return original(*args, **kwargs)

    setattr(owner, name, ending)


if __name__ == "__main__":
    kind, where, number, *arguments = sys.argv[1:]
    end_at(kind, where, int(number))
    sys.exit(importlib.import_module(f"{os.environ.get('PROGRAM', 'lyra')}.cli").main(arguments))
