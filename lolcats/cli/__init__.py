"""The command line `lolcats`. A new verb is one more file in this folder and its name in `VERBS`."""

from lyra.command import Command

VERBS = ("transfer", "finetune", "report", "export", "publish")
COMMAND = Command("lolcats", __name__, VERBS, "Linear attention for trained transformers models.")
build_parser, main, run = COMMAND.parser, COMMAND.main, COMMAND.run
