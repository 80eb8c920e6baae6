"""Progress of long work, reported to an :class:`Observer`: the terminal's bars, a CI log's lines, a test's list."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Receives events. ``key`` identifies a row: one layer, one step, one file."""

    def start(self, key: str, label: str, total: int | None = None) -> None:
        """Start a row. ``total`` is in bytes, None while it is unknown."""

    def advance(self, key: str, done: int, total: int | None = None) -> None:
        """Set a row to ``done`` bytes in all."""

    def finish(self, key: str, label: str) -> None:
        """End a row with ``label``, as ``Pushed`` or ``Already exists``."""

    def note(self, text: str) -> None:
        """Print a line that stays: a warning, a choice, a line of a build."""


class Silent:
    """Ignores all events."""

    def start(self, key: str, label: str, total: int | None = None) -> None: ...
    def advance(self, key: str, done: int, total: int | None = None) -> None: ...
    def finish(self, key: str, label: str) -> None: ...
    def note(self, text: str) -> None: ...


SILENT: Observer = Silent()
