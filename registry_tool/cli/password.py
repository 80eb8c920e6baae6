"""Read a password from a terminal, a file or standard input; never from an argument, which all users of the machine can read."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from registry_tool.base.errors import RegistryToolError, UsageError


def ask(question: str, *, file: Path | None = None, stdin: bool = False, twice: bool = False) -> str:
    """Read the password; ``twice`` asks for a confirmation.

    Raises UsageError without a terminal, RegistryToolError where the file cannot be read.
    """
    if file is not None and stdin:
        raise UsageError("--password-file and --password-stdin exclude each other")
    if file is not None:
        try:
            return _checked(file.read_text(), str(file))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise RegistryToolError(f"the password file {file} cannot be read: {reason}") from error
    if stdin:
        return _checked(sys.stdin.read(), "standard input")
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask for the password on", hint="Pipe it in with --password-stdin.")
    typed: str = click.prompt(question, hide_input=True, confirmation_prompt=twice, err=True)
    return typed


def ask_user(given: str | None, question: str) -> str:
    """The user name: ``given``, or what is typed. Raises UsageError without a terminal."""
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask for the user name on", hint="Give it with -u USER.")
    typed: str = click.prompt(question, err=True)
    return typed


def _checked(text: str, source: str) -> str:
    password = text.rstrip("\r\n")
    if not password:
        raise UsageError(f"there is no password in {source}")
    return password
