"""Runs of `lyra`, or another program, that end at a chosen point: by SIGKILL or SIGTERM at the n-th call of a function.

They are children of a server that has imported what takes seconds, and has run nothing.
"""

import importlib
import multiprocessing
import os
import signal
import sys
import tempfile

KILLED = -signal.SIGKILL
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["lyra.training.run", "lyra.inference.prediction", "pcn.training"])


def interrupted(kind, where, number, *arguments, program="lyra"):
    """The exit code and what was said, of a program ended at a point.

    Args:
        kind: `"KILL"` or `"TERM"`.
        where: `"module:function"`.
        number: of the call.
        arguments: of the command line.
    """
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as said:
        command = (program, *map(str, arguments))
        process = _SERVER.Process(target=_run, args=(kind, where, number, command, said.name))
        process.start()
        process.join(120)
        return process.exitcode, said.read()


def _run(kind, where, number, command, said):
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(said, os.O_WRONLY), 2)
    _end_at(kind, where, number)
    program, *arguments = command
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
