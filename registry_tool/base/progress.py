"""How anything here reports while it works.

Work that takes longer than a moment takes an :class:`Observer` and tells it what begins, how far it is and
what ended. Nothing below ``cli/`` prints; the terminal's bars, a CI log's lines and a test's list are three
observers of the same events.
"""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Receives the events of one piece of work. ``key`` names a row: one layer, one step, one file."""

    def start(self, key: str, label: str, total: int | None = None) -> None:
        """A row begins. ``total`` is in bytes; None where it is not known (yet)."""

    def advance(self, key: str, done: int, total: int | None = None) -> None:
        """``done`` bytes in all are through (not: since the last call)."""

    def finish(self, key: str, label: str) -> None:
        """A row ended as ``label`` says: ``Pushed``, ``Already exists``, …"""

    def note(self, text: str) -> None:
        """A line for a person, that stays: a warning, a choice that was made, a line of a build."""


class Silent:
    """Reports nothing."""

    def start(self, key: str, label: str, total: int | None = None) -> None:
        return None

    def advance(self, key: str, done: int, total: int | None = None) -> None:
        return None

    def finish(self, key: str, label: str) -> None:
        return None

    def note(self, text: str) -> None:
        return None


SILENT: Observer = Silent()
