"""Everything that is printed: results on standard output, notes and errors on standard error.

Colour is for terminals: in a pipe, in a CI log, with ``TERM=dumb`` and with ``NO_COLOR`` the same text is plain.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

from registry_tool.base.errors import RegistryToolError
from registry_tool.cli import program_name
from registry_tool.cli.views import formatting

_STYLES = {"": "", "bold": "1", "dim": "2", "head": "1;36", "green": "32", "red": "1;31"}


class OutputClosed(Exception):
    """Standard output was closed by its reader (``| head``); there is nobody to report it to."""


def is_terminal(stream: IO[Any]) -> bool:
    """Whether ``stream`` is a terminal that understands control sequences, and not a CI log."""
    return stream.isatty() and os.environ.get("TERM", "") != "dumb" and not os.environ.get("CI")


def discard_stdout() -> None:
    """Redirect standard output to the null device, with what is buffered for it."""
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def print_error_text(text: str) -> None:
    """Print on standard error. On a full disk there is nothing that could be said, and nothing ends for it."""
    try:
        print(text, file=sys.stderr, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        pass


def columns(stream: IO[Any]) -> int | None:
    """The width of the terminal that ``stream`` is, ``COLUMNS`` if set; None where it is none."""
    return shutil.get_terminal_size().columns if is_terminal(stream) else None


class Output:
    """Output of a command. With ``json`` the result, and an error, is one JSON document."""

    def __init__(self) -> None:
        self.json = False
        self.explain: Callable[[RegistryToolError], RegistryToolError] = lambda error: error
        """Called before an error is printed: what knows the engine may know better what it means."""

    @property
    def on_terminal(self) -> bool:
        """Whether standard output is a terminal: long values are shortened there, and whole for scripts."""
        return is_terminal(sys.stdout)

    @property
    def columns(self) -> int | None:
        """The width of the terminal that results are shown on; None for scripts, where nothing is shortened or wrapped."""
        return columns(sys.stderr if self.json else sys.stdout)

    def line(self, text: str = "") -> None:
        """Print one line of the result."""
        self._write(formatting.printable(text) + "\n")

    def spans(self, *spans: tuple[str, str]) -> None:
        """Print a line of (text, style); styles are those of ``_STYLES`` or "". With ``json`` it goes to standard error."""
        stream = sys.stderr if self.json else sys.stdout
        text = "".join(_painted(formatting.printable(text), _STYLES[style], stream) for text, style in spans).rstrip()
        if self.json:
            print_error_text(text)
        else:
            self._write(text + "\n")

    def lines(self, texts: Sequence[str]) -> None:
        """Print lines of the result."""
        for text in texts:
            self.line(text)

    def result(self, document: object, *lines: str) -> None:
        """Print ``document`` if ``json``, otherwise ``lines``."""
        if self.json:
            self.document(document)
        else:
            self.lines(lines)

    def document(self, document: object) -> None:
        """Print a result, or a mapping of members, as one JSON document."""
        from registry_tool.base.codec import to_json

        members = {name: to_json(value) for name, value in document.items()} if isinstance(document, Mapping) else to_json(document)
        self._write(formatting.escaped(json.dumps(members, indent=2, ensure_ascii=False)) + "\n")

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table as docker does: columns as wide as their content; on a terminal the heads have a colour."""
        head, *lines = formatting.columns(heads, rows)
        self.spans((head, "head"))
        self.lines(lines)

    def write_bytes(self, content: bytes) -> None:
        """Write bytes to standard output unchanged."""
        with _write_errors():
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()

    def write_error_bytes(self, content: bytes) -> None:
        """Write bytes to standard error unchanged."""
        sys.stderr.buffer.write(content)
        sys.stderr.buffer.flush()

    def note(self, text: str) -> None:
        """Print a line on standard error."""
        print_error_text(formatting.printable(text))

    def report_error(self, error: RegistryToolError) -> None:
        """Print an error: with ``json`` as a document (docs/json.md, Failures), otherwise as :meth:`print_error` does."""
        if self.json:
            self.document({"error": self.explain(error)})
        else:
            self.print_error(error)

    def print_error(self, error: RegistryToolError) -> None:
        """Print message, excerpt and hint of an error on standard error."""
        error = self.explain(error)
        lines = [f"{_painted(f'{program_name.name()}:', '1;31', sys.stderr)} {formatting.one_line(error.message)}"]
        lines += [f"  | {formatting.printable(line)}" for line in error.excerpt]
        if error.advice:
            lines.append(f"{_painted('hint:', '36', sys.stderr)} {program_name.with_command(formatting.one_line(error.advice))}")
        print_error_text("\n".join(lines))

    def finish(self, document: Mapping[str, object], failures: Sequence[RegistryToolError]) -> int:
        """End a command that goes on after failures: print the document if ``json``; return the exit code."""
        if self.json:
            self.document({"ok": not failures, **document, **({"error": self.explain(failures[0])} if failures else {})})
        return exit_code(failures)

    def flush(self) -> None:
        """Flush standard output, so that a full disk or a closed pipe is met here and not at the interpreter's exit."""
        with _write_errors():
            sys.stdout.flush()

    def _write(self, text: str) -> None:
        with _write_errors():
            sys.stdout.write(text)
            if self.on_terminal:
                sys.stdout.flush()


def exit_code(errors: Sequence[RegistryToolError]) -> int:
    """The highest exit code of ``errors``; 0 without any."""
    return max((error.exit_code for error in errors), default=0)


@contextmanager
def _write_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise OutputClosed from error
    except OSError as error:
        # What is buffered would fail once more.
        discard_stdout()
        raise RegistryToolError(f"cannot write to standard output: {error.strerror or error}", hint="Is the disk full?") from error


def _painted(text: str, code: str, stream: IO[Any]) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if code and is_terminal(stream) and not os.environ.get("NO_COLOR") else text
