"""What a proof leaves: what was looked at, when, where, each point with its evidence, and the command that asked for it.

A certificate carries its own digest, over its canonical JSON without that member. That detects damage, and a change
made in passing; it is no signature: whoever changes a certificate on purpose can make a new digest, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from registry_tool.base import files
from registry_tool.base.errors import InvalidManifest, InvalidReport, NotFound, RegistryToolError
from registry_tool.base.reader import Document
from registry_tool.oci.digest import Digest
from registry_tool.verify.report.parts import Against, Change, Failure, ImageRecord, LayerRecord
from registry_tool.verify.result import Check, EnvironmentInfo, EnvironmentResult

FORMAT = "registry-tool.portability/1"
KINDS = ("docker", "podman", "context", "here")
"""Of :class:`registry_tool.verify.result.EnvironmentInfo`."""
MAX_SIZE = 16 << 20
"""Bytes of a certificate. Ten places with a whole log each are far below."""

_FAMILY = FORMAT.partition("/")[0]
_EXACT = 2.0**53
"""Below it a float and a whole number of the same value are the same to every reader of JSON."""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_AGAIN = "Make it anew with: regctl verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """``made`` is RFC 3339 in UTC. ``command`` is as it was typed, without values of variables. ``notes`` say what was chosen."""

    subject: ImageRecord
    made: str
    tool: str
    command: str
    proven: tuple[EnvironmentResult, ...] = ()
    notes: tuple[str, ...] = ()
    error: Failure | None = None
    against: Against | None = None

    @property
    def ok(self) -> bool:
        """No point is red at any place, and there is a place, and nothing was raised."""
        return self.error is None and bool(self.proven) and all(proven.ok for proven in self.proven)

    @property
    def digest(self) -> Digest:
        return Digest.of(canonical(self._content()))

    def as_json(self) -> dict[str, object]:
        content = self._content()
        return {**content, "digest": str(Digest.of(canonical(content)))}

    def as_bytes(self) -> bytes:
        """The file: letters beyond ASCII are JSON's escapes, so that no name steers the terminal that shows it."""
        return (json.dumps(self.as_json(), indent=2) + "\n").encode()

    def write(self, path: Path) -> None:
        """Replace ``path``, atomically. Raises RegistryToolError."""
        write(path, self.as_bytes())

    @classmethod
    def read(cls, path: Path) -> VerifyReport:
        """The certificate in the file ``path``. Raises NotFound, RegistryToolError, InvalidCertificate."""
        try:
            with path.open("rb") as stream:
                raw = stream.read(MAX_SIZE + 1)
        except FileNotFoundError:
            raise NotFound(f"{path} is not there", hint="A certificate is written with: regctl verify NAME --output FILE") from None
        except OSError as error:
            raise RegistryToolError(f"{path} cannot be read: {error.strerror or error}") from error
        return cls.parse(raw, what=str(path))

    @classmethod
    def parse(cls, raw: bytes, *, what: str = "certificate") -> VerifyReport:
        """Read a certificate that may come from anywhere. Raises InvalidCertificate: which is damaged, or of another version, or none."""
        try:
            document = Document.read(raw, what=what, max_size=MAX_SIZE)
            _check(document, what)
            return _certificate(document)
        except InvalidManifest as error:
            words = error.message if error.message.startswith(what) else f"{what}: {error.message}"
            raise InvalidReport(words, hint=_AGAIN) from None

    def _content(self) -> dict[str, object]:
        document: dict[str, object] = {
            "format": FORMAT,
            "ok": self.ok,
            "image": self.subject.as_json(),
            "made": self.made,
            "tool": self.tool,
            "command": self.command,
            "proven": [proven.as_json() for proven in self.proven],
            "notes": list(self.notes),
        }
        if self.error is not None:
            document["error"] = self.error.as_json()
        if self.against is not None:
            document["against"] = self.against.as_json()
        return {key: _plain(value) for key, value in document.items()}


def canonical(content: Mapping[str, object]) -> bytes:
    """Names sorted, no blanks, ASCII; a whole number has no point, so that other programs may have written it their way.

    Raises ValueError where there is a number that JSON has none for.
    """
    return json.dumps(_plain(content), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def write(path: Path, content: bytes) -> None:
    """Replace ``path`` by what is made of a certificate, atomically. Raises RegistryToolError."""
    try:
        files.atomic_write(path, content)
    except OSError as error:
        raise RegistryToolError(f"{path} cannot be written: {error.strerror or error}", hint="Name another file.") from error


def now() -> str:
    """The present moment, RFC 3339 in UTC."""
    # Not strftime, which writes years before 1000 with fewer digits.
    return datetime.now(timezone.utc).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def _plain(value: object) -> object:
    """``value`` as JSON has it. Text that no encoding has (half of a surrogate pair, out of a log) is replaced."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if isinstance(value, Mapping):
        return {str(_plain(str(key))): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


# Reading: whether it is one, whether it is whole, and what it says.


def _check(document: Document, what: str) -> None:
    said = document.members.get("format")
    if not isinstance(said, str) or said.partition("/")[0] != _FAMILY:
        raise InvalidReport(f"{what}: not a certificate of this tool", hint=_AGAIN)
    if said != FORMAT:
        hint = "A newer registry-tool made it, maybe: update this one."
        raise InvalidReport(f"{what}: a certificate of a version that is not known here: {said[:80]!a}, not {FORMAT}", hint=hint)
    digest = _digest(document, "digest")
    content = {key: value for key, value in document.members.items() if key != "digest"}
    try:
        found = Digest.of(canonical(content), digest.algorithm)
    except ValueError:
        document.refuse("digest", "there is a number beyond all bounds in this certificate")
    if found != digest:
        words = f"{what}: changed after it was made: it says {digest}, and its content is {found}"
        raise InvalidReport(words, hint="It proves nothing any more. " + _AGAIN)


def _certificate(document: Document) -> VerifyReport:
    error, against = document.inner("error"), document.inner("against")
    read = VerifyReport(
        subject=_subject(_needed(document, "image")),
        made=_time(document, "made"),
        tool=document.required_text("tool"),
        command=document.required_text("command"),
        proven=tuple(map(_proven, document.objects("proven"))),
        notes=document.texts("notes"),
        error=_failure(error) if error else None,
        against=_against(against) if against else None,
    )
    if document.members.get("ok") is not read.ok:
        document.refuse("ok", "it says something else than the points do")
    return read


def _subject(document: Document) -> ImageRecord:
    return ImageRecord(
        reference=document.required_text("reference"),
        digest=_digest(document, "digest") if document.has("digest") else None,
        media_type=document.text("media_type"),
        size=document.number("size") if document.has("size") else None,
        platform=document.text("platform"),
        config=_digest(document, "config") if document.has("config") else None,
        layers=tuple(
            LayerRecord(digest=_digest(each, "digest"), media_type=each.required_text("media_type"), size=each.number("size"))
            for each in document.objects("layers")
        ),
    )


def _proven(document: Document) -> EnvironmentResult:
    seconds = _needed(document, "seconds")
    read = EnvironmentResult(
        where=_where(_needed(document, "where")),
        points=tuple(map(_point, document.objects("points"))),
        pulled={each.required_text("reference"): str(_digest(each, "digest")) for each in document.objects("pulled")},
        setup=_seconds(seconds, "setup"),
        proof=_seconds(seconds, "proof"),
        end=_seconds(seconds, "end"),
    )
    if document.members.get("ok") is not read.ok:
        document.refuse("ok", "it says something else than the points do")
    return read


def _where(document: Document) -> EnvironmentInfo:
    kind = document.required_text("kind")
    if kind not in KINDS:
        document.refuse("kind", f"{kind[:80]!a} is none of {', '.join(KINDS)}")
    needed = {name: document.required_text(name) for name in ("name", "engine", "kernel", "platform")}
    return EnvironmentInfo(kind=kind, clean=document.truth("clean"), image=document.text("image"), **needed)


def _point(document: Document) -> Check:
    ok: Any = document.members.get("ok")
    return Check(
        name=document.required_text("name"),
        ok=ok if ok is None else document.truth("ok"),
        detail=document.text("detail") or "",
        hint=document.text("hint"),
        evidence=_needed(document, "evidence").members,
        seconds=_seconds(document, "seconds"),
        excerpt=document.texts("log"),
    )


def _failure(document: Document) -> Failure:
    code, message = document.required_text("code"), document.required_text("message")
    return Failure(code=code, message=message, hint=document.text("hint"), excerpt=document.texts("excerpt"))


def _against(document: Document) -> Against:
    changes = tuple(
        Change(where=each.required_text("where"), what=each.required_text("what"), before=each.text("before"), now=each.text("now"))
        for each in document.objects("changes")
    )
    return Against(digest=_digest(document, "digest"), made=_time(document, "made"), changes=changes)


def _needed(document: Document, key: str) -> Document:
    return document.inner(key) or document.refuse(key, "missing")


def _digest(document: Document, key: str) -> Digest:
    try:
        return Digest.parse(document.required_text(key))
    except ValueError as error:
        document.refuse(key, str(error))


def _time(document: Document, key: str) -> str:
    text = document.required_text(key)
    return text if _TIME.fullmatch(text) else document.refuse(key, "not a time in UTC, as 2026-01-31T12:00:00Z")


def _seconds(document: Document, key: str) -> float:
    value = document.members.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        document.refuse(key, "a number of seconds is wanted")
    return float(value)
