"""Commands typed in tests: in this process, in one of their own, or on a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from registry_tool.cli.app import main
from tests.support import canary
from tests.support.paths import ROOT

GOLDEN = ROOT / "tests/golden"
REGCTL = (sys.executable, "-m", "registry_tool")


@dataclass(frozen=True)
class Answer:
    """What a command answered."""

    code: int
    out: str
    err: str

    def __post_init__(self) -> None:
        canary.search("in what a command said", self.out, self.err)

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Typed:
    """``typed("ps", "-q")``: the command in this process, its output captured."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Answer:
        self._capsys.readouterr()
        code = main(arguments)
        captured = self._capsys.readouterr()
        return Answer(code, captured.out, captured.err)


def spawn(*arguments: str, stdin: str | None = None, environment: Mapping[str, str] | None = None) -> Answer:
    """The command in a process of its own."""
    done = subprocess.run(
        [*REGCTL, *arguments],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    return Answer(done.returncode, done.stdout, done.stderr)


class Terminal:
    """A command on a terminal of its own, 120 columns wide."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str] | None = None, *, program: Sequence[str] = REGCTL) -> None:
        command = [*program, *arguments]
        kept = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR", "TERM")}
        self.text = ""
        self.pid, self._handle = pty.fork()
        if self.pid == 0:  # the child, on the terminal
            os.execvpe(command[0], command, {**kept, "TERM": "xterm-256color", "COLUMNS": "120", **(environment or {})})  # noqa: S606 - the tests' own words

    @classmethod
    def of(cls, command: Sequence[str]) -> Terminal:
        """Another program on a terminal."""
        return cls(command[1:], program=command[:1])

    def child(self, mark: str) -> int:
        """The process below ours whose command line has ``mark``."""
        result = subprocess.run(["pgrep", "-P", str(self.pid), "-f", mark], capture_output=True, text=True, check=True)
        return int(result.stdout.split()[0])

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *details: object) -> None:
        # Whoever still runs on it gets SIGHUP.
        os.close(self._handle)

    def size(self, rows: int, columns: int) -> None:
        """Give the terminal a size."""
        fcntl.ioctl(self._handle, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self._handle, text.encode())

    def wait_for(self, text: str, *, seconds: float = 600) -> None:
        """Read until ``text`` was seen."""
        deadline = time.monotonic() + seconds
        while text not in self.text:
            assert time.monotonic() < deadline, f"no {text!r} within {seconds:g} s in {self.text!r}"
            assert self._read(1.0), f"the command ended without {text!r}: {self.text!r}"

    def end(self, *, seconds: float = 600) -> int:
        """Read to the end; the exit code."""
        deadline = time.monotonic() + seconds
        while self._read(1.0):
            assert time.monotonic() < deadline, f"the command did not end within {seconds:g} s: {self.text!r}"
        return self._ended()

    def insist(self, text: str, *, seconds: float = 600) -> int:
        """Type ``text`` until the command ends: a key that comes while readline sets itself up may be lost."""
        deadline = time.monotonic() + seconds
        self.type(text)
        while self._read(1.0):
            assert time.monotonic() < deadline, f"the command did not end within {seconds:g} s: {self.text!r}"
            if not select.select([self._handle], [], [], 1.0)[0]:
                self.type(text)
        return self._ended()

    def _ended(self) -> int:
        canary.search("on the terminal", self.text)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._handle], [], [], seconds)
        if not ready:
            return True
        try:
            chunk = os.read(self._handle, 65536)
        except OSError:  # Linux says so when the other side is closed
            return False
        self.text += chunk.decode(errors="replace")
        return bool(chunk)


def matches_golden(name: str, text: str) -> None:
    """Compare with ``tests/golden/NAME``; with ``GOLDEN=write`` in the environment it is written."""
    path = GOLDEN / name
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"{path.name} is not there: GOLDEN=write makes it"
    assert text == path.read_text()
