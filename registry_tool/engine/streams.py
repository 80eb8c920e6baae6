"""What an engine's streams say: build, push and pull events turned into rows, results and errors.

Pure: events come in as dicts (Engine API, "aux", "status", "progressDetail", "stream", "errorDetail"), whoever read
them. The engine answers 200 before the work begins, so the truth is in the stream, and late: read it to its end.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from registry_tool.descriptor import Descriptor
from registry_tool.digest import Digest
from registry_tool.progress import Observer

Event = Mapping[str, Any]

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_ENDS = ("Pushed", "Layer already exists", "Already exists", "Pull complete", "Download complete")
_MOVING = ("Pushing", "Downloading")
_MOVED = ("Pushed", "Pull complete", "Download complete")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_FRAME = struct.Struct(">BxxxL")


class Rows:
    """Shows events that carry a layer's id as an observer's rows, and remembers each layer's last word and size."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._rows: dict[str, str] = {}
        self._totals: dict[str, int] = {}
        self.layers: dict[str, str] = {}

    def take(self, event: Event) -> None:
        key, status = str(event["id"]), str(event["status"])
        if _is_end(status):
            self._end(key, status)
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
        """Bytes of the layers that went over the wire, as far as they were told."""
        return sum(size for key, size in self._totals.items() if self.layers.get(key) in _MOVED)

    def _end(self, key: str, status: str) -> None:
        # "Download complete" is followed by "Extracting" and "Pull complete": the row opens and ends once more.
        if key not in self._rows:
            self._observer.start(key, status)
        self._rows[key] = status
        self.layers[key] = status
        self._observer.finish(key, status)


class Conversation:
    """One push or pull: feed it every event, then ask what came of it."""

    def __init__(self, observer: Observer) -> None:
        self.rows = Rows(observer)
        self.descriptor: Descriptor | None = None
        self.status = ""
        self.error: str | None = None

    def take(self, event: Event) -> None:
        self.error = error_of(event) or self.error
        if aux := event.get("aux"):
            self._aux(aux)
        status = event.get("status")
        if not isinstance(status, str):
            return
        if status.startswith("Digest: "):
            self._digest(status.removeprefix("Digest: ").strip(), 0)
        elif status.startswith("Status: "):
            self.status = status.removeprefix("Status: ").strip()
        elif event.get("id") and not status.startswith("Pulling from"):
            self.rows.take(event)

    def _aux(self, aux: Any) -> None:
        if isinstance(aux, dict) and isinstance(aux.get("Digest"), str):
            self._digest(aux["Digest"], _number(aux.get("Size")) or 0)

    def _digest(self, text: str, size: int) -> None:
        try:
            digest = Digest.parse(text)
        except ValueError:
            self.error = self.error or f"the engine reported something that is no digest: {text!r}"
            return
        self.descriptor = Descriptor(media_type=DOCKER_MANIFEST, digest=digest, size=size)


class BuildLog:
    """One build: feed it every event; ``image_id`` is the last one it named, ``lines`` its output without colours."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._rows = Rows(observer)
        self._part = ""
        self.lines: list[str] = []
        self.image_id: str | None = None
        self.error: str | None = None

    def take(self, event: Event) -> None:
        self.error = error_of(event) or self.error
        aux = event.get("aux")
        if isinstance(aux, dict) and isinstance(aux.get("ID"), str):
            self.image_id = aux["ID"]
        text = event.get("stream")
        if isinstance(text, str):
            self._text(text)
        elif event.get("id") and isinstance(event.get("status"), str) and not str(event["status"]).startswith("Pulling from"):
            self._rows.take(event)

    def close(self) -> None:
        """The last line may lack its end."""
        if self._part:
            self._line(self._part)
            self._part = ""

    def _text(self, text: str) -> None:
        *whole, self._part = (self._part + text).split("\n")
        for line in whole:
            self._line(line)

    def _line(self, line: str) -> None:
        plain = _ANSI.sub("", line).rstrip()
        if not plain:
            return
        self.lines.append(plain)
        self._observer.note(plain)
        if self.image_id is None and (match := re.fullmatch(r"Successfully built ([0-9a-f]{12,64})", plain)):
            self.image_id = match[1]


def error_of(event: Event) -> str | None:
    """What an event reports as an error, as one line; None where it reports none."""
    detail = event.get("errorDetail")
    text = detail.get("message") if isinstance(detail, dict) else None
    text = text or event.get("error")
    if not text and (detail or "error" in event):
        return "the engine reported an error without a word"
    return " ".join(str(text).split()) if text else None


def frames(chunks: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """Take apart the multiplexed stream of a container without a terminal (Engine API, ContainerAttach, "Stream format").

    Raises ValueError where a frame is cut.
    """
    buffer = b""
    for chunk in chunks:
        buffer += chunk
        while len(buffer) >= _FRAME.size:
            kind, length = _FRAME.unpack_from(buffer)
            end = _FRAME.size + length
            if len(buffer) < end:
                break
            yield ("stderr" if kind == 2 else "stdout"), buffer[_FRAME.size : end]
            buffer = buffer[end:]
    if buffer:
        raise ValueError("the stream ends inside a frame")


def _is_end(status: str) -> bool:
    return status in _ENDS or status.startswith("Mounted from ")


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
