"""What a proof leaves: what was looked at, when, where, each point with its evidence, and the command that asked for it.

A certificate carries its own digest, over its canonical JSON without that member. That detects damage, and a change
made in passing; it is no signature: whoever changes a certificate on purpose can make a new digest, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Literal

from registry_tool.base import files
from registry_tool.base.codec import from_json, to_json
from registry_tool.base.errors import InvalidReport, NotFound, RegistryToolError
from registry_tool.base.reader import Document, Source
from registry_tool.oci.digest import Digest
from registry_tool.verify.report.parts import Comparison, Failure, ImageRecord
from registry_tool.verify.result import EnvironmentResult

FORMAT = "registry-tool.portability/1"
MAX_SIZE = 16 << 20
"""Bytes of a certificate. Ten places with a whole log each are far below."""

_FAMILY = FORMAT.partition("/")[0]
_EXACT = 2.0**53
"""Below it a float and a whole number of the same value are the same to every reader of JSON."""
_AGAIN = "Make it anew with: regctl verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """``made`` is in UTC. ``command`` is as it was typed, without values of variables. ``notes`` say what was chosen."""

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
        """No point is red at any place, and there is a place, and nothing was raised."""
        return self.error is None and bool(self.results) and all(proven.ok for proven in self.results)

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
        source = Source(error=InvalidReport, hint=_AGAIN, position=lambda path: f"{what}: ")
        document = Document.read(raw, what=what, max_size=MAX_SIZE, source=source)
        _check(document, what)
        return from_json(cls, document)

    def _content(self) -> dict[str, object]:
        return {key: _plain(value) for key, value in to_json(self).items()}


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
    digest = document.required("digest", Digest.parse)
    content = {key: value for key, value in document.members.items() if key != "digest"}
    try:
        found = Digest.of(canonical(content), digest.algorithm)
    except ValueError:
        document.refuse("digest", "there is a number beyond all bounds in this certificate")
    if found != digest:
        words = f"{what}: changed after it was made: it says {digest}, and its content is {found}"
        raise InvalidReport(words, hint="It proves nothing any more. " + _AGAIN)
