"""The command line `pcn`. A new verb is one more file in this folder and its name in `VERBS`."""

from lyra.command import Command

VERBS = ("train", "predict", "evaluate", "export", "publish", "simulate", "demo")
COMMAND = Command("pcn", __name__, VERBS, "Particle Chebyshev networks: which particle a jet came from.")
build_parser, main, run = COMMAND.parser, COMMAND.main, COMMAND.run
