"""A registry in this process that records its requests, and may respond otherwise to some."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from registry_tool import server
from registry_tool.base.deadline import Deadline, poll
from tests.support.registry_over_http import ask

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

Reply = tuple[str, list[tuple[str, str]], bytes]
"""Status line, headers, body."""


@dataclass
class RecordingServer:
    """``instead(method, path)`` may return another response. ``headers`` are added to all of the registry's own."""

    registry: server.Application
    requests: list[tuple[str, str]] = field(default_factory=list)
    instead: Callable[[str, str], Reply | None] = lambda method, path: None
    headers: Callable[[str, str], list[tuple[str, str]]] = lambda method, path: []
    host: str = ""
    port: int = 0
    connections: Callable[[], int] = lambda: 0
    """How many connections are open."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        with self._lock:
            self.requests.append((method, path))
            other = self.instead(method, path)
            extra = self.headers(method, path)
        if other is not None:
            status, headers, body = other
            start_response(status, [*headers, ("Content-Length", str(len(body)))])
            return [] if method == "HEAD" else [body]

        def start(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Callable[[bytes], object]:
            write: Callable[[bytes], object] = start_response(status, [*headers, *extra])
            return write

        return self.registry(environ, start)

    @property
    def counts(self) -> Counter[str]:
        """How often each method was used."""
        return Counter(method for method, _ in self.requests)

    def times(self, method: str, end: str) -> int:
        """How often a path with this end was requested."""
        return sum(1 for received, path in self.requests if received == method and path.endswith(end))

    def settle(self) -> None:
        """Wait until all that a process sent which has ended is handled: what it sent may not have been read yet."""
        # The server accepts this connection after those of the process, and closes theirs at their ends.
        ask(self.port, "GET", "/v2/")
        assert poll(lambda: self.connections() == 0, Deadline(600))

    def forget(self) -> None:
        """Begin to count anew."""
        self.requests.clear()


@contextmanager
def recording_server(*, foreign_urls: bool = False) -> Iterator[RecordingServer]:
    """An empty registry for the block; with ``foreign_urls`` it takes manifests of non-distributable layers."""
    watching = RecordingServer(server.Application(server.MemoryStorage(), foreign_urls=foreign_urls))
    with server.run_server(watching) as serving:
        watching.host, watching.port = serving.host, serving.port
        watching.connections = lambda: len(serving._open)
        yield watching
    assert serving.errors == [], "the registry of the tests has a bug"
