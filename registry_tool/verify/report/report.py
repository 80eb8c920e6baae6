"""The report of a verification, with a digest of its canonical JSON, which detects damage and is no signature."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Literal

from registry_tool.base import files
from registry_tool.base.codec import from_json, to_json
from registry_tool.base.errors import InvalidReport, NotFound, RegistryToolError
from registry_tool.base.reader import Document, Source
from registry_tool.oci.digest import Digest
from registry_tool.verify.result import EnvironmentResult

FORMAT = "registry-tool.portability/1"
MAX_SIZE = 16 << 20  # bytes of a report. Ten environments with a whole log each are far below.

_EXACT = 2.0**53  # below it a float and a whole number of the same value are the same to every reader of JSON
_HINT = "Make it anew with: regctl verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRecord:
    """A layer; ``size`` is in bytes, compressed."""

    digest: Digest
    media_type: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """The image as the registry has it; only ``reference`` where the registry did not answer.

    ``digest`` and ``media_type`` are the name's, maybe of an index; ``platform``, ``config``, ``layers`` and ``size`` (bytes of
    manifest, config and layers) are of the image that was taken from it.
    """

    reference: str
    digest: Digest | None = None
    media_type: str | None = None
    size: int | None = None
    platform: str | None = None
    config: Digest | None = None
    layers: tuple[LayerRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error as every command prints it (docs/json.md)."""

    JSON_MEMBERS: ClassVar = "code message hint excerpt?"

    code: str
    message: str
    hint: str | None = None
    excerpt: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: RegistryToolError) -> Failure:
        """The failure that ``error`` is."""
        return cls(code=error.code, message=error.message, hint=error.hint, excerpt=error.excerpt)

    @property
    def exit_code(self) -> int:
        """That of the error class with this code; 1 where there is none."""
        return next((kind.exit_code for kind in _kinds(RegistryToolError) if kind.code == self.code), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference from an earlier report. ``where`` is an environment, ``image`` or ``certificate``; None: it was, or is, absent."""

    where: str
    what: str
    before: str | None
    now: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The earlier report that this one was compared with, and what changed since."""

    JSON_MEMBERS: ClassVar = "digest made=created changes"

    digest: Digest
    created: datetime
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """``created`` is in UTC, ``command`` as it was typed, without values of variables. ``notes`` are for people."""

    JSON_MEMBERS: ClassVar = "format ok image made=created tool command proven=results notes error? against=comparison?"
    format: ClassVar[Literal["registry-tool.portability/1"]] = "registry-tool.portability/1"

    image: ImageRecord
    created: datetime
    tool: str
    command: str
    results: tuple[EnvironmentResult, ...] = ()
    notes: tuple[str, ...] = ()
    error: Failure | None = None
    comparison: Comparison | None = None

    @property
    def ok(self) -> bool:
        """Whether there is a result, none has a failed check, and nothing was raised."""
        return self.error is None and bool(self.results) and all(result.ok for result in self.results)

    @property
    def digest(self) -> Digest:
        """Of the canonical JSON."""
        return Digest.of(canonical(self._content()))

    def as_json(self) -> dict[str, object]:
        """The document, with its digest."""
        content = self._content()
        return {**content, "digest": str(Digest.of(canonical(content)))}

    def as_bytes(self) -> bytes:
        """The file's content: ASCII, so that no name steers the terminal that shows it."""
        return (json.dumps(self.as_json(), indent=2) + "\n").encode()

    @classmethod
    def read(cls, path: Path) -> VerifyReport:
        """Read the file ``path``. Raises NotFound, InvalidReport; RegistryToolError."""
        try:
            with path.open("rb") as stream:
                raw = stream.read(MAX_SIZE + 1)
        except FileNotFoundError:
            raise NotFound(f"{path} is not there", hint="A report is written with: regctl verify NAME --output FILE") from None
        except OSError as error:
            raise RegistryToolError(f"{path} cannot be read: {error.strerror or error}") from error
        return cls.parse(raw, what=str(path))

    @classmethod
    def parse(cls, raw: bytes, *, what: str = "report") -> VerifyReport:
        """Read an untrusted report. Raises InvalidReport where it is damaged, of another version, or none."""
        source = Source(error=InvalidReport, hint=_HINT, position=lambda path: f"{what}: ")
        document = Document.read(raw, what=what, max_size=MAX_SIZE, source=source)
        _check_format(document)
        _check_digest(document)
        return from_json(cls, document)

    def _content(self) -> dict[str, object]:
        return {key: _plain(value) for key, value in to_json(self).items()}


def canonical(content: Mapping[str, object]) -> bytes:
    """Sorted names, no blanks, ASCII, whole numbers without a point, however another program wrote it. Raises ValueError for infinity."""
    return json.dumps(_plain(content), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def write(path: Path, content: bytes) -> None:
    """Replace ``path`` atomically. Raises RegistryToolError."""
    try:
        files.atomic_write(path, content)
    except OSError as error:
        raise RegistryToolError(f"{path} cannot be written: {error.strerror or error}", hint="Name another file.") from error


def _plain(value: object) -> object:
    """``value`` as JSON has it; text that cannot be encoded (half of a surrogate pair in a log) is replaced."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if isinstance(value, Mapping):
        return {str(_plain(str(key))): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


def _check_format(document: Document) -> None:
    name = document.members.get("format")
    if not isinstance(name, str) or name.partition("/")[0] != FORMAT.partition("/")[0]:
        document.refuse(None, "not a report of this tool")
    if name != FORMAT:
        hint = "Perhaps a newer registry-tool made it: update this one."
        document.refuse(None, f"a report of an unknown version: {name[:80]!a}, not {FORMAT}", hint=hint)


def _check_digest(document: Document) -> None:
    digest = document.required("digest", Digest.parse)
    content = {key: value for key, value in document.members.items() if key != "digest"}
    try:
        computed = Digest.of(canonical(content), digest.algorithm)
    except ValueError:
        document.refuse("digest", "a number in this report is too large")
    if computed != digest:
        hint = f"It is no longer valid. {_HINT}"
        document.refuse(None, f"changed after it was made: it names {digest}, and its content has {computed}", hint=hint)


def _kinds(kind: type[RegistryToolError]) -> Iterator[type[RegistryToolError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)
