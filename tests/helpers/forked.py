"""Functions in processes of their own: children of a server that has imported what takes seconds, and run nothing."""

import multiprocessing
import os
import socket
import tempfile
from typing import NamedTuple

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["lyra.training.run", "lyra.inference.prediction", "lyra.parallel", "pcn.training"])
_SECONDS = 200


class Done(NamedTuple):
    """How a call ended: the exit code of each process, and what they wrote."""

    codes: list[int]
    stdout: str
    stderr: str


def run(function, *arguments, processes=1):
    """Calls a function of a module; several processes find what `torchrun` says to them in the environment."""
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(processes)}
    with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as err:
        started = []
        for rank in range(processes):
            own = environment | {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(processes)}
            call = (function, arguments, own if processes > 1 else {}, out.name, err.name)
            started.append(_SERVER.Process(target=_call, args=call))
            started[-1].start()
        for process in started:
            process.join(_SECONDS)
        if any(process.is_alive() for process in started):
            for process in started:
                process.kill()
            raise TimeoutError(err.read())
        return Done([process.exitcode for process in started], out.read(), err.read())


def _call(function, arguments, environment, out, err):
    for descriptor, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), descriptor)
    os.environ.update(environment)
    function(*arguments)


def _free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
