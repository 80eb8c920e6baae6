"""A minimal client for any registry: one request, and its whole response."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.content import make_blob, put_manifest, sha256
from tests.support.registry_over_http import ask

NOBODY = f"sha256:{'0' * 64}"
"""A digest of no content."""
OCTETS = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True, kw_only=True)
class ReceivedResponse:
    """A response. Header names are lower case; ``broken``: it ended before its length."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    broken: bool = False

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, list[str]]:
        """The status, and the codes in the error document."""
        return self.status, [error["code"] for error in self.document["errors"]]


@dataclass(frozen=True, kw_only=True)
class Client:
    """``shorten(digest, size)`` truncates a blob in the storage, behind the registry's back; size None removes it."""

    port: int
    shorten: Callable[[str, int | None], None] = field(repr=False)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> ReceivedResponse:
        """``path`` after ``/v2/``; a header's name with ``_`` for ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        status, got, content = ask(self.port, method, f"/v2/{path}", body=body, headers=named)
        return ReceivedResponse(status=status, headers=got, body=content)

    def ask_incomplete(self, method: str, path: str, **headers: str) -> ReceivedResponse:
        """The same, for a response that may end before its length."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            connection.request(method, f"/v2/{path}", headers={name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            try:
                return ReceivedResponse(status=answer.status, headers=named, body=answer.read())
            except http.client.IncompleteRead as error:
                return ReceivedResponse(status=answer.status, headers=named, body=error.partial, broken=True)
        finally:
            connection.close()

    def blob(self, repository: str, content: bytes) -> str:
        """Push one; its digest."""
        return make_blob(self.port, repository, content)

    def manifest(self, repository: str, reference: str, document: object, media_type: str) -> str:
        """Push one; its digest."""
        return put_manifest(self.port, repository, reference, json.dumps(document).encode(), media_type)

    def begin(self, repository: str) -> str:
        """A new upload: what to ask for, after ``/v2/``."""
        return self.follow(self.ask("POST", f"{repository}/blobs/uploads/"))

    def follow(self, got: ReceivedResponse) -> str:
        """An answer's Location, after ``/v2/``. distribution makes it of the Host that it was asked by."""
        start = f"http://127.0.0.1:{self.port}/v2/"
        assert got.headers["location"].startswith(start)
        return got.headers["location"][len(start) :]


def digest_of(content: bytes) -> str:
    """``sha256:…``."""
    return sha256(content)
