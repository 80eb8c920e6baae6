"""When images were pulled from a registry that runs here: the log of its container."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

from registry_tool.base.errors import RegistryToolError
from registry_tool.content.retention.pulls import PullLog, read_log
from registry_tool.engine import Engine
from registry_tool.local.registry.lookup import find_all

_LONGEST_LINE = 1 << 16


def read_pulls(engine: Engine, host: str) -> PullLog | str:
    """The pulls in the log of the registry at ``host``, or why they are not known."""
    try:
        registry = next((each for each in find_all(engine) if each.address == host), None)
        if registry is None:
            return f"{host} is no registry of this tool on this engine, and only their logs are read"
        return read_log(_lines(engine, registry.container_id))
    except RegistryToolError as error:
        return f"the registry's log cannot be read: {error.message}"


def _lines(engine: Engine, container: str) -> Iterator[tuple[datetime, str]]:
    """(time of writing, text) of each line; both streams have lines of their own."""
    begun: dict[str, bytes] = {}
    for stream, chunk in engine.logs(container, timestamps=True):
        *whole, last = (begun.get(stream, b"") + chunk).split(b"\n")
        begun[stream] = last[:_LONGEST_LINE]
        for line in whole:
            moment, _, text = line.decode(errors="replace").partition(" ")
            written = _moment(moment)
            if written is not None:
                yield written, text


def _moment(text: str) -> datetime | None:
    """``2026-01-31T12:00:00.123456789Z``, as engines write it; Python reads six digits of a second."""
    try:
        return datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
