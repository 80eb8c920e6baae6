"""The little that the tests ask of a registry themselves, with the standard library: nothing of what is tested helps here."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.client
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, TypeVar

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

P = ParamSpec("P")
T = TypeVar("T")


class _Connections(threading.local):
    """Of this thread: port -> the connection that is used within :func:`one_connection`."""

    def __init__(self) -> None:
        self.by_port: dict[int, http.client.HTTPConnection] = {}


_CONNECTIONS = _Connections()


@contextmanager
def one_connection(port: int) -> Iterator[None]:
    """Send all requests of this thread to ``port`` over one connection: another one costs more than the request."""
    if port in _CONNECTIONS.by_port:
        yield
        return
    connection = _CONNECTIONS.by_port[port] = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        yield
    finally:
        del _CONNECTIONS.by_port[port]
        connection.close()


def over_one_connection(function: Callable[Concatenate[int, P], T]) -> Callable[Concatenate[int, P], T]:
    """Let ``function`` send all requests to its ``port`` over one connection."""

    @functools.wraps(function)
    def connected(port: int, /, *arguments: P.args, **options: P.kwargs) -> T:
        with one_connection(port):
            return function(port, *arguments, **options)

    return connected


@over_one_connection
def ask(
    port: int, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None, user: tuple[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """(status, headers with lower-case names, body) of one request to the registry on ``port``."""
    sent = dict(headers or {})
    if user is not None:
        sent["Authorization"] = "Basic " + base64.b64encode(":".join(user).encode()).decode()
    connection = _CONNECTIONS.by_port[port]
    connection.request(method, path, body=body, headers=sent)
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


@over_one_connection
def push_blob(port: int, repository: str, content: bytes, *, user: tuple[str, str] | None = None) -> int:
    """Upload ``content``; the status of the last request."""
    status, headers, _ = ask(port, "POST", f"/v2/{repository}/blobs/uploads/", user=user)
    if status != 202:
        return status
    location = headers["location"].partition(f":{port}")[2] or headers["location"]
    mark = "&" if "?" in location else "?"
    octets = {"Content-Type": "application/octet-stream"}
    return ask(port, "PUT", f"{location}{mark}digest={_digest(content)}", body=content, headers=octets, user=user)[0]


@over_one_connection
def push_tag(port: int, repository: str, tag: str, *, user: tuple[str, str] | None = None) -> str:
    """Push the smallest image there is; its digest."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    assert push_blob(port, repository, config, user=user) == 201
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": len(config),
                "digest": _digest(config),
            },
            "layers": [],
        }
    ).encode()
    status, _, body = ask(port, "PUT", f"/v2/{repository}/manifests/{tag}", body=manifest, headers={"Content-Type": MANIFEST}, user=user)
    assert status == 201, body
    return _digest(manifest)


def tags(port: int, repository: str, *, user: tuple[str, str] | None = None) -> list[str] | None:
    """The repository's tags; None where there is no such repository."""
    status, _, body = ask(port, "GET", f"/v2/{repository}/tags/list", user=user)
    if status == 404:
        return None
    assert status == 200, body
    return list(json.loads(body)["tags"] or [])


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
