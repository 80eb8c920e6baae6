"""The config of an image (OCI image specification 1.1, config.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from registry_tool.base.reader import Document
from registry_tool.oci.descriptor import Platform
from registry_tool.oci.digest import Digest

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

    @property
    def platform(self) -> Platform | None:
        """None where it names neither system nor architecture: the config of an artifact."""
        if not self.os and not self.architecture:
            return None
        return Platform(
            os=self.os, architecture=self.architecture, variant=self.variant, os_version=self.os_version, os_features=self.os_features
        )


def parse_config(raw: bytes) -> Config:
    """Read the config of an image. Raises InvalidManifest, whose message says where: ``config.Env[1]: …``."""
    document = Document.read(raw, what="image config", max_size=MAX_SIZE)
    runtime = document.inner("config")
    return Config(
        raw=raw,
        created=parse_time(document.members.get("created")),
        os=document.text("os") or "",
        architecture=document.text("architecture") or "",
        variant=document.text("variant") or "",
        os_version=document.text("os.version") or "",
        os_features=document.texts("os.features"),
        history=tuple(
            HistoryEntry(
                created=parse_time(entry.members.get("created")),
                created_by=entry.text("created_by") or "",
                comment=entry.text("comment") or "",
                empty_layer=entry.truth("empty_layer"),
            )
            for entry in document.objects("history")
        ),
        diff_ids=_diff_ids(document.inner("rootfs")),
        labels=runtime.mapping("Labels"),
        env=runtime.texts("Env"),
        cmd=runtime.texts("Cmd"),
        entrypoint=runtime.texts("Entrypoint"),
        exposed=tuple(sorted(runtime.inner("ExposedPorts").members)),
        user=runtime.text("User") or "",
        stop_signal=runtime.text("StopSignal") or "",
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
