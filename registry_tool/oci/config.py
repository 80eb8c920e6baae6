"""An image's config: what a container of it runs, and how it was made (OCI image specification 1.1, config.md)."""

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

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_TIME = re.compile(
    r"(?P<moment>[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.(?P<fraction>[0-9]+))?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<hours>[0-9]{2}):(?P<minutes>[0-9]{2}))",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One line of how an image was made. A step without a layer changed the config only."""

    created: datetime | None = None
    created_by: str = ""
    comment: str = ""
    empty_layer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What is not said is empty. ``created`` is in UTC, and None where the image does not really say."""

    raw: bytes = field(repr=False)
    created: datetime | None = None
    os: str = ""
    architecture: str = ""
    variant: str = ""
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
        """None where it names neither system nor processor: the config of an artifact."""
        if not self.os and not self.architecture:
            return None
        return Platform(os=self.os, architecture=self.architecture, variant=self.variant)


def parse_config(raw: bytes) -> Config:
    """Read the config of an image. Raises InvalidManifest, whose message says where: ``config.Env[1]: …``."""
    document = Document.read(raw, what="image config", max_size=MAX_SIZE)
    run = document.inner("config")
    return Config(
        raw=raw,
        created=moment(document.members.get("created")),
        os=document.text("os") or "",
        architecture=document.text("architecture") or "",
        variant=document.text("variant") or "",
        history=tuple(map(_step, document.objects("history"))),
        diff_ids=_diff_ids(document.inner("rootfs")),
        labels=run.mapping("Labels"),
        env=run.texts("Env"),
        cmd=run.texts("Cmd"),
        entrypoint=run.texts("Entrypoint"),
        exposed=tuple(sorted(run.inner("ExposedPorts").members)),
        user=run.text("User") or "",
        stop_signal=run.text("StopSignal") or "",
    )


def _step(document: Document) -> HistoryEntry:
    return HistoryEntry(
        created=moment(document.members.get("created")),
        created_by=document.text("created_by") or "",
        comment=document.text("comment") or "",
        empty_layer=document.truth("empty_layer"),
    )


def _diff_ids(rootfs: Document) -> tuple[Digest, ...]:
    found = []
    for index, text in enumerate(rootfs.texts("diff_ids")):
        try:
            found.append(Digest.parse(text))
        except ValueError as error:
            rootfs.refuse(f"diff_ids[{index}]", str(error))
    return tuple(found)


def moment(value: object) -> datetime | None:
    """What ``created`` says, in UTC, where it can be true: whole, with a zone, and not from before computers had these dates.

    Builders that want the same bytes every time write year 1; Go writes that, too, where it knows nothing.
    """
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    offset = timedelta(hours=int(match["hours"] or 0), minutes=int(match["minutes"] or 0))
    try:
        local = datetime.fromisoformat(match["moment"].upper()).replace(tzinfo=timezone(-offset if match["sign"] == "-" else offset))
        found = local.astimezone(timezone.utc).replace(microsecond=int((match["fraction"] or "").ljust(6, "0")[:6]))
    except (ValueError, OverflowError):
        return None
    return found if found >= _EPOCH else None
