"""A client that knows nothing: one request, and all of the answer. Whatever registry it is pointed at."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.content import make_blob, put_manifest, sha256
from tests.support.registry_over_http import ask

NOBODY = f"sha256:{'0' * 64}"
"""A digest that nothing has."""
OCTETS = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True, kw_only=True)
class Got:
    """An answer. Header names are lower case; ``broken`` is whether it ended before its length."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    broken: bool = False

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def refusal(self) -> tuple[int, list[str]]:
        """The status, and the codes of the error document."""
        return self.status, [error["code"] for error in self.document["errors"]]


@dataclass(frozen=True, kw_only=True)
class Client:
    """``shorten(digest, size)`` cuts a blob in the storage, behind the registry's back; size None takes it away."""

    port: int
    shorten: Callable[[str, int | None], None] = field(repr=False)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Got:
        """``path`` after ``/v2/``; a header's name with ``_`` for ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        status, got, content = ask(self.port, method, f"/v2/{path}", body=body, headers=named)
        return Got(status=status, headers=got, body=content)

    def ask_for_what_breaks_off(self, method: str, path: str, **headers: str) -> Got:
        """The same, for an answer that may end before its length."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            connection.request(method, f"/v2/{path}", headers={name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            try:
                return Got(status=answer.status, headers=named, body=answer.read())
            except http.client.IncompleteRead as error:
                return Got(status=answer.status, headers=named, body=error.partial, broken=True)
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

    def follow(self, got: Got) -> str:
        """An answer's Location, after ``/v2/``. distribution makes it of the Host that it was asked by."""
        start = f"http://127.0.0.1:{self.port}/v2/"
        assert got.headers["location"].startswith(start)
        return got.headers["location"][len(start) :]


def digest_of(content: bytes) -> str:
    """``sha256:…``."""
    return sha256(content)
