"""Progress, results and errors from event streams, pure. The engine sends 200 before the work: the result is at the end, so read all."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from registry_tool.base.errors import Unreachable
from registry_tool.base.progress import Observer
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest

Event = Mapping[str, Any]

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_FINAL = ("Pushed", "Layer already exists", "Already exists", "Pull complete")
_MOVING = ("Pushing", "Downloading")
_MOVED = ("Pushed", "Pull complete", "Download complete")  # the last one is podman's, which ends with it
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_BUILT = re.compile(r"Successfully built ([0-9a-f]{12,64})")
_PUSHED = re.compile(r"\S+: digest: (\S+) size: (\d+)")
_UNHANDLED = "(UNHANDLED LOGLEVEL)"  # in a line of podman's own log, about an instruction that the error names
_FRAME = struct.Struct(">BxxxL")
_STDERR = 2


class LayerProgress:
    """Layers of a push, pull or build: reported to an observer, with the last status and size of each."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._rows: dict[str, str] = {}
        self._totals: dict[str, int] = {}
        self.layers: dict[str, str] = {}

    def add(self, event: Event) -> None:
        """Take an event that carries a layer's id."""
        key, status = str(event["id"]), str(event["status"])
        if status == "Pull complete" and self._rows.get(key) == "Already exists":
            return  # containerd's store unpacks what it did not have to transfer
        if status in _FINAL or status.startswith("Mounted from "):
            if key not in self._rows:
                self._observer.start(key, status)
            self._rows[key] = self.layers[key] = status
            self._observer.finish(key, status)
            return
        detail = event.get("progressDetail") or {}
        done, total = _number(detail.get("current")), _number(detail.get("total"))
        if self._rows.get(key) != status:
            self._rows[key] = status
            self._observer.start(key, status, total)
        if status in _MOVING and (done or total):
            # Some engines count past the total they announced, or announce none.
            self._totals[key] = max(total or 0, done or 0, self._totals.get(key, 0))
        if done is not None:
            self._observer.advance(key, done, total)
        self.layers[key] = status

    @property
    def bytes_moved(self) -> int:
        """Bytes of the layers that were transferred, where reported: compressed on a pull, uncompressed on a push."""
        return sum(size for key, size in self._totals.items() if self.layers.get(key) in _MOVED)


class TransferLog:
    """The result of one push or pull, from all its events."""

    def __init__(self, observer: Observer) -> None:
        self.progress = LayerProgress(observer)
        self.descriptor: Descriptor | None = None
        self.partial_of: Digest | None = None
        self.status = ""
        self.error: str | None = None

    def add(self, event: Event) -> None:
        """Take the next event."""
        self.error = event_error(event) or self.error
        aux, status = event.get("aux"), event.get("status")
        if isinstance(aux, dict) and isinstance(aux.get("Digest"), str):
            self._digest(aux["Digest"], _number(aux.get("Size")) or 0)
        if isinstance(aux, dict) and aux.get("manifestPushedInsteadOfIndex"):
            self.partial_of = _original_index(aux) or self.partial_of
        if not isinstance(status, str):
            return
        if status.startswith("Digest: "):
            self._digest(status.removeprefix("Digest: ").strip(), 0)
        elif match := _PUSHED.fullmatch(status):
            # docker reports the same as "aux"; podman 4 as text alone.
            self._digest(match[1], int(match[2]))
        elif status.startswith("Status: "):
            self.status = status.removeprefix("Status: ").strip()
        elif _is_layer_event(event, status):
            self.progress.add(event)

    def _digest(self, text: str, size: int) -> None:
        try:
            digest = Digest.parse(text)
        except ValueError:
            self.error = self.error or f"the engine reported an invalid digest: {text!r}"
            return
        self.descriptor = Descriptor(media_type=DOCKER_MANIFEST, digest=digest, size=size)


class BuildLog:
    """The result of one build, from all its events; closed after the last. ``lines`` is its output without colours."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._progress = LayerProgress(observer)
        self._part = ""
        self._built: str | None = None
        self.lines: list[str] = []
        self.image_id: str | None = None
        self.error: str | None = None

    def add(self, event: Event) -> None:
        """Take the next event."""
        self.error = event_error(event) or self.error
        aux, text, status = event.get("aux"), event.get("stream"), event.get("status")
        if isinstance(aux, dict) and isinstance(aux.get("ID"), str):
            self.image_id = aux["ID"]
        if isinstance(text, str):
            *lines, part = (self._part + text).split("\n")
            for line in lines:
                self._line(line)
            self._part = _last_overwrite(part)
        elif isinstance(status, str) and _is_layer_event(event, status):
            self._progress.add(event)

    def close(self) -> None:
        """Take the last line, which may lack its end; an old engine reports the image's id as text alone."""
        self._line(self._part)
        self._part = ""
        self.image_id = self.image_id or self._built

    def _line(self, line: str) -> None:
        plain = _ANSI.sub("", _last_overwrite(line)).rstrip()
        if not plain or _UNHANDLED in plain:
            return
        self.lines.append(plain)
        self._observer.note(plain)
        if match := _BUILT.fullmatch(plain):
            self._built = match[1]


def event_error(event: Event) -> str | None:
    """The error that an event reports, as one line; None where it reports none."""
    detail = event.get("errorDetail")
    text = detail.get("message") if isinstance(detail, dict) else None
    text = text or event.get("error")
    if not text and (detail or "error" in event):
        return "the engine reported an error without a message"
    return " ".join(str(text).split()) if text else None


def demultiplex(chunks: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield (``stdout`` | ``stderr``, content) of a framed stream (Engine API, ContainerAttach). Raises Unreachable inside a frame."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        at = 0
        while len(buffer) >= at + _FRAME.size:
            kind, length = _FRAME.unpack_from(buffer, at)
            end = at + _FRAME.size + length
            if len(buffer) < end:
                break
            yield ("stderr" if kind == _STDERR else "stdout"), bytes(buffer[at + _FRAME.size : end])
            at = end
        del buffer[:at]
    if buffer:
        raise Unreachable("the engine stopped answering in the middle of a container's output", hint="Is it still running?")


def _last_overwrite(line: str) -> str:
    """What a terminal would show of a line that goes back to its beginning (CR) again and again, as progress does."""
    return line.rstrip("\r").rpartition("\r")[2] + ("\r" if line.endswith("\r") else "")


def _is_layer_event(event: Event, status: str) -> bool:
    # The id of "Pulling from library/redis" is the tag.
    return bool(event.get("id")) and not status.startswith("Pulling from")


def _original_index(aux: Mapping[str, Any]) -> Digest | None:
    index = aux.get("originalIndex")
    try:
        return Digest.parse(str(index["digest"])) if isinstance(index, dict) and "digest" in index else None
    except ValueError:
        return None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
