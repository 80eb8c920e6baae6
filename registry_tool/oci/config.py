"""The config of an image (OCI image specification 1.1, config.md)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TypeVar

from registry_tool.base.errors import InvalidManifest
from registry_tool.base.reader import Document
from registry_tool.oci.descriptor import Platform
from registry_tool.oci.digest import Digest

Value = TypeVar("Value")

MAX_SIZE = 16 * 1024 * 1024
"""Bytes of a config. The specification has no limit; those of real images are a thousand times smaller."""

_SET = datetime(1970, 1, 2, tzinfo=timezone.utc)
"""Before that day a date is none: reproducible builds write the epoch, Go year 1."""
_TIME = re.compile(
    r"(?P<local>[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.(?P<fraction>[0-9]+))?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<hours>[0-9]{2}):(?P<minutes>[0-9]{2}))",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """A build step. One with an ``empty_layer`` changed the config only."""

    created: datetime | None = None
    created_by: str = ""
    comment: str = ""
    empty_layer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """An image's config; absent members are empty. ``created`` is in UTC, None where it is absent or a placeholder."""

    raw: bytes = field(repr=False)
    created: datetime | None = None
    os: str = ""
    architecture: str = ""
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    diff_ids: tuple[Digest, ...] = ()
    """The layers' digests before compression, in the manifest's order."""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    env: tuple[str, ...] = ()
    """``NAME=value``."""
    cmd: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    """``80/tcp``."""
    user: str = ""
    stop_signal: str = ""
    """``SIGQUIT``, or its number; where it is empty, engines send SIGTERM."""
    problems: tuple[str, ...] = ()
    """Members of the wrong type, of a config that was read leniently."""

    @property
    def platform(self) -> Platform | None:
        """None where it names neither system nor architecture: the config of an artifact."""
        if not self.os and not self.architecture:
            return None
        return Platform(
            os=self.os, architecture=self.architecture, variant=self.variant, os_version=self.os_version, os_features=self.os_features
        )


def parse_config(raw: bytes, *, lenient: bool = False) -> Config:
    """Read the config of an image. Raises InvalidManifest, whose message says where: ``config.Env[1]: …``.

    ``lenient``: members of the wrong type are as if they were absent, and are among the config's ``problems``.
    """
    document = Document.read(raw, what="image config", max_size=MAX_SIZE)
    problems: list[str] = []

    def member(read: Callable[[], Value], default: Value) -> Value:
        try:
            return read()
        except InvalidManifest as error:
            if not lenient:
                raise
            problems.append(error.message)
            return default

    nothing = Document({})
    runtime = member(lambda: document.inner("config"), nothing)
    return Config(
        raw=raw,
        created=parse_time(document.members.get("created")),
        os=member(lambda: document.text("os") or "", ""),
        architecture=member(lambda: document.text("architecture") or "", ""),
        variant=member(lambda: document.text("variant") or "", ""),
        os_version=member(lambda: document.text("os.version") or "", ""),
        os_features=member(lambda: document.texts("os.features"), ()),
        history=member(lambda: tuple(map(_history_entry, document.objects("history"))), ()),
        diff_ids=member(lambda: _diff_ids(document.inner("rootfs")), ()),
        labels=member(lambda: runtime.mapping("Labels"), {}),
        env=member(lambda: runtime.texts("Env"), ()),
        cmd=member(lambda: runtime.texts("Cmd"), ()),
        entrypoint=member(lambda: runtime.texts("Entrypoint"), ()),
        exposed=member(lambda: tuple(sorted(runtime.inner("ExposedPorts").members)), ()),
        user=member(lambda: runtime.text("User") or "", ""),
        stop_signal=member(lambda: runtime.text("StopSignal") or "", ""),
        problems=tuple(problems),
    )


def _history_entry(entry: Document) -> HistoryEntry:
    return HistoryEntry(
        created=parse_time(entry.members.get("created")),
        created_by=entry.text("created_by") or "",
        comment=entry.text("comment") or "",
        empty_layer=entry.truth("empty_layer"),
    )


def _diff_ids(rootfs: Document) -> tuple[Digest, ...]:
    diff_ids = []
    for index, text in enumerate(rootfs.texts("diff_ids")):
        try:
            diff_ids.append(Digest.parse(text))
        except ValueError as error:
            rootfs.refuse(f"diff_ids[{index}]", str(error))
    return tuple(diff_ids)


def parse_time(value: object) -> datetime | None:
    """``created`` (RFC 3339) in UTC; None where it is malformed or a placeholder: the epoch, or before."""
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    offset = timedelta(hours=int(match["hours"] or 0), minutes=int(match["minutes"] or 0))
    try:
        local = datetime.fromisoformat(match["local"].upper()).replace(tzinfo=timezone(-offset if match["sign"] == "-" else offset))
        time = local.astimezone(timezone.utc).replace(microsecond=int((match["fraction"] or "").ljust(6, "0")[:6]))
    except (ValueError, OverflowError):
        return None
    return time if time >= _SET else None
