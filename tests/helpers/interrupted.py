"""Runs of `lyra`, or another program, ended at a chosen point: by SIGKILL or SIGTERM at the n-th call of a function."""

import importlib
import os
import signal
import sys

import forked

KILLED = -signal.SIGKILL


def interrupted(kind, where, number, *arguments, program="lyra"):
    """The exit code and what was said, of a program ended at a point.

    Args:
        kind: `"KILL"` or `"TERM"`.
        where: `"module:function"`.
        number: of the call.
        arguments: of the command line.
    """
    done = forked.run(_run, kind, where, number, program, list(map(str, arguments)))
    return done.codes[0], done.stderr


def _run(kind, where, number, program, arguments):
    _end_at(kind, where, number)
    sys.exit(importlib.import_module(f"{program}.cli").main(arguments))


def _end_at(kind, where, number):
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
