"""Writes down, by an audit hook, what a process of the tests writes to and how it starts others (``tests/support/canary.py`` says why).

Python imports a module of this name when it starts: the tests have this folder on PYTHONPATH, so every Python below them
is watched from its first line on. It may be any Python and any program, so this costs little and needs nothing.
"""

from __future__ import annotations

import os
import sys
from typing import Any

RECORD = "CANARY_RECORD"
"""The variable with the file to write to. Lines: ``wrote PATH``, and ``start PROGRAM`` where its arguments show the canary."""
CANARY = "".join(reversed("stset-eseht-fo-yranac-eht"))
"""In every password of the tests. Turned round here, so that no file of Python's has it by itself."""

_WRITING = os.O_WRONLY | os.O_RDWR
_MOVES = ("os.rename", "os.link")
# What the process is started with, and in which environment, by event.
_STARTS = {"subprocess.Popen": (1, 3), "os.exec": (1, 2), "os.posix_spawn": (1, 2), "os.system": (0, 0)}

_record = ""
_forms: list[str] = []


def record_to(path: str) -> None:
    """Watch this process from now on; the second time, only go on in another file."""
    global _record
    is_first, _record = not _record, path
    if is_first:
        sys.addaudithook(_hear)


def forms() -> tuple[str, ...]:
    """How the canary looks: as it is, and in base 64 behind any other bytes."""
    from binascii import b2a_base64

    # Four letters stand for three bytes: those that a neighbour has a part in are left out.
    packed = [b2a_base64(bytes(before) + CANARY.encode(), newline=False).decode() for before in range(3)]
    return CANARY, *(text[-(-before * 4 // 3) : (before + len(CANARY)) * 4 // 3] for before, text in enumerate(packed))


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        path, _, flags = arguments
        if isinstance(flags, int) and flags & _WRITING and not isinstance(path, int):
            _wrote(path)
    elif event in _MOVES:
        _wrote(arguments[1])
    elif event in _STARTS:
        words, environment = _STARTS[event]
        if _shows_it(arguments[words]) or _shows_it(arguments[environment]):
            _note("start", "a shell" if event == "os.system" else os.fsdecode(arguments[0]))


def _wrote(path: Any) -> None:
    try:
        name = os.fsdecode(path)
    except TypeError:
        return  # a file by its number: it was opened before
    if name == _record or name.startswith(("/dev/", "/proc/")):
        return
    # pathlib would have to be read in by every process.
    _note("wrote", name if name.startswith("/") else f"{os.getcwd()}/{name}")  # noqa: PTH109


def _shows_it(given: Any) -> bool:
    # As the interpreter would print it: lists, dicts, text, bytes and paths all show what is in them.
    if given is None:
        return False
    _forms[:] = _forms or forms()
    shown = repr(given)
    return any(form in shown for form in _forms)


def _note(word: str, what: str) -> None:
    line = f"{word} {what}".replace("\n", "?") + "\n"
    try:
        handle = os.open(_record, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # the tests are over, and this process is not
    try:
        os.write(handle, os.fsencode(line))
    finally:
        os.close(handle)


if __name__ == "sitecustomize" and os.environ.get(RECORD):
    record_to(os.environ[RECORD])
