"""The command line `lyra`. A new verb is one more file in this folder and its name in `VERBS`."""

from ..command import Command, is_first_of_machine, is_main_process, quiet_loading

VERBS = (
    *("train", "tune", "predict", "embed", "scan", "explain", "propose"),
    *("simulate-campaign", "publish", "app", "demo"),
)
COMMAND = Command("lyra", __name__, VERBS, "Small accurate models of DNA, RNA and protein sequences.")
build_parser, main, run = COMMAND.parser, COMMAND.main, COMMAND.run

__all__ = ["COMMAND", "VERBS", "build_parser", "is_first_of_machine", "is_main_process", "main", "quiet_loading", "run"]
