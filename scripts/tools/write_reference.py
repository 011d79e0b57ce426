"""Writes `docs/command_line.md` from the parsers of the command line.

python scripts/tools/write_reference.py
"""

import argparse
import re
from pathlib import Path

import lolcats.cli
import lyra.cli
import pcn.cli

FILE = Path(__file__).parents[2] / "docs" / "command_line.md"
_HEAD = """# Command line

`lyra VERB --help`, `lolcats VERB --help` and `pcn VERB --help` show the same. A command ends with code 0; with 2 and
one line on standard error for bad input, and then nothing is left half-written; with 130 or 143 after Ctrl-C or
SIGTERM. Flags of `lyra` may be written with `_` or `-`. `lyra --version` prints the version.
"""


def reference() -> str:
    """The text of the page."""
    parsers = {"lyra": lyra.cli.build_parser(), "lolcats": lolcats.cli.build_parser(), "pcn": pcn.cli.build_parser()}
    return _HEAD + "".join(section for command, parser in parsers.items() for section in _sections(command, parser))


def _sections(command: str, parser: argparse.ArgumentParser) -> list[str]:
    """One for each verb of a command."""
    verbs = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction)).choices
    return [_section(command, name, verb) for name, verb in verbs.items()]


def _section(command: str, name: str, parser: argparse.ArgumentParser) -> str:
    lines = [f"\n## {command} {name}\n", f"{parser.description}\n", f"```console\n{_example(parser)}\n```\n"]
    for group in parser._action_groups:
        shown = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
        rows = [f"| {_flag(action)} | {_help(action)} |" for action in shown if action.dest != "help"]
        if group.title not in ("positional arguments", "options"):
            lines.append(f"### {group.title} {{: #{command}-{name}-{(group.title or '').replace(' ', '-')} }}\n")
        if group.description:
            lines.append(re.sub(r"--\w+", lambda flag: f"`{flag[0]}`", group.description) + ".\n")
        if rows:
            lines += ["| | |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def _example(parser: argparse.ArgumentParser) -> str:
    return (parser.epilog or "").removeprefix("example: ")


def _flag(action: argparse.Action) -> str:
    # Of the two spellings the one with underscores.
    names = [option for option in action.option_strings if "_" in option or "-" not in option.lstrip("-")]
    value = "" if action.nargs == 0 else f" {_value(action)}"
    return f"`{', '.join(names)}{value}`" if names else f"`{action.metavar or action.dest}`"


def _value(action: argparse.Action) -> str:
    if action.choices:
        return "{" + ",".join(map(str, action.choices)) + "}"
    value = str(action.metavar or action.dest.upper())
    return f"{value} ..." if action.nargs == "+" else value


def _help(action: argparse.Action) -> str:
    text = (action.help or "").replace("%%", "%").replace("|", "\\|").replace("<", "\\<")
    return text[:1].upper() + text[1:]


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")
