"""Write ``docs/cli.md``, the reference of the command line, from the help texts.

    .venv/bin/python docs/generate_cli.py

``tests/unit/cli/test_reference_page.py`` holds the page equal to what ``--help`` prints.
"""

from __future__ import annotations

import io
import os
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

import click

from registry_tool.cli.app import main
from registry_tool.cli.command_table import COMMANDS, MANAGEMENT_COMMANDS, load

PAGE = Path(__file__).with_name("cli.md")

_BEGINNING = """# Command line

What `--help` prints, for every command. This page is generated: `make reference` writes it anew.
"""

_MANAGEMENT = """## Docker's management commands

They are other names of the same commands; help does not list them.

| typed | is |
|---|---|
"""


def reference() -> str:
    """The page's content."""
    parts = [_BEGINNING, "## regctl\n", _block()]
    for group in dict.fromkeys(entry.group for entry in COMMANDS.values()):
        parts.append(f"## {group}\n")
        for name, entry in COMMANDS.items():
            if entry.group == group:
                parts += [f"### regctl {name}\n", _block(name)]
                command = load(name)
                for inner in command.commands if isinstance(command, click.Group) else ():
                    parts += [f"#### regctl {name} {inner}\n", _block(name, inner)]
    rows = [
        f"| `regctl {noun} {typed}` | `regctl {name}` |\n" for noun, names in MANAGEMENT_COMMANDS.items() for typed, name in names.items()
    ]
    parts.append(_MANAGEMENT + "".join(rows))
    return "\n".join(parts)


def help_text(*command: str) -> str:
    """What ``regctl COMMAND --help`` prints on a terminal of 80 columns."""
    printed = io.StringIO()
    with mock.patch.dict(os.environ, {"COLUMNS": "80"}), redirect_stdout(printed):
        code = main([*command, "--help"])
    if code != 0:
        raise RuntimeError(f"regctl {' '.join(command)} --help ended with {code}")
    return printed.getvalue()


def _block(*command: str) -> str:
    return f"```text\n{help_text(*command)}```\n"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
