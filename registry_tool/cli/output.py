"""The one way out: answers to standard output, notes and failures to standard error.

Colour is for terminals: in a pipe, in a CI log, with ``TERM=dumb`` and with ``NO_COLOR`` the same text is plain.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

from registry_tool.base.errors import RegistryToolError
from registry_tool.cli import program_name
from registry_tool.cli.views import formatting

Document = Mapping[str, object]
_STYLES = {"bold": "1", "dim": "2", "head": "1;36", "green": "32", "red": "1;31"}


class OutputClosed(Exception):
    """Whoever read our standard output closed it (``| head``). Nobody is left to be told."""


def is_terminal(stream: IO[Any]) -> bool:
    """Whether ``stream`` is a terminal that a person looks at, and that can more than print lines."""
    return stream.isatty() and os.environ.get("TERM", "") != "dumb" and not os.environ.get("CI")


class Output:
    """What a command says. ``json``: the answer is one JSON document, a failure too. ``quiet``: the value alone."""

    def __init__(self) -> None:
        self.json = False

    @property
    def on_terminal(self) -> bool:
        """Whether the answer goes to a terminal, where one shortens what a script would want whole."""
        return is_terminal(sys.stdout)

    def line(self, text: str = "") -> None:
        """One line of the answer."""
        self._write(formatting.printable(text) + "\n")

    def spans(self, *spans: tuple[str, str]) -> None:
        """One line of (text, style): ``bold``, ``dim``, ``head``, ``green``, ``red`` or none, for terminals. With JSON it is a note."""
        stream = sys.stderr if self.json else sys.stdout
        paint = _colored if _has_colour(stream) else _plain
        text = "".join(
            paint(formatting.printable(text), _STYLES[style]) if style else formatting.printable(text) for text, style in spans
        ).rstrip()
        if self.json:
            print(text, file=sys.stderr, flush=True)
        else:
            self._write(text + "\n")

    def lines(self, texts: Sequence[str]) -> None:
        """The answer's lines."""
        for text in texts:
            self.line(text)

    def document(self, document: Document) -> None:
        """The answer as one JSON document."""
        self._write(formatting.escaped(json.dumps(document, indent=2, ensure_ascii=False)) + "\n")

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table: columns as wide as their content, as docker prints them; on a terminal the heads have a colour."""
        head, *lines = formatting.columns(heads, rows)
        self.spans((head, "head"))
        self.lines(lines)

    def write_bytes(self, content: bytes) -> None:
        """A container's own output, as it is."""
        try:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        except OSError as error:
            raise _write_error(error) from error

    def write_error_bytes(self, content: bytes) -> None:
        """A container's own error output, as it is."""
        sys.stderr.buffer.write(content)
        sys.stderr.buffer.flush()

    def note(self, text: str) -> None:
        """A line for a person, on standard error."""
        print(formatting.printable(text), file=sys.stderr, flush=True)

    def report_error(self, error: RegistryToolError) -> None:
        """What happened and what to do, in two lines; with ``--json`` the document of ``docs/json.md`` on standard output."""
        if self.json:
            self.document({"error": error.as_json()})
            return
        self.print_error(error)

    def print_error(self, error: RegistryToolError) -> None:
        """The two lines of a failure on standard error, with the excerpt of what it is about between them."""
        paint = _colored if _has_colour(sys.stderr) else _plain
        lines = [f"{paint(f'{program_name.name()}:', '1;31')} {formatting.one_line(error.message)}"]
        lines += [f"  | {formatting.printable(line)}" for line in error.excerpt]
        if error.hint:
            lines.append(f"{paint('hint:', '36')} {program_name.with_command(formatting.one_line(error.hint))}")
        print("\n".join(lines), file=sys.stderr, flush=True)

    def flush(self) -> None:
        """Have everything written now: a full disk or a gone reader is a failure of ours, not of the interpreter's exit."""
        try:
            sys.stdout.flush()
        except OSError as error:
            raise _write_error(error) from error

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            if self.on_terminal:
                sys.stdout.flush()
        except OSError as error:
            raise _write_error(error) from error


def _has_colour(stream: IO[Any]) -> bool:
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def _write_error(error: OSError) -> Exception:
    if isinstance(error, BrokenPipeError):
        return OutputClosed()
    return RegistryToolError(f"the answer cannot be written to standard output: {error.strerror or error}", hint="Is the disk full?")


def _colored(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m"


def _plain(text: str, code: str) -> str:
    return text
