"""A proxy of a registry that injects faults and counts requests.

A fake server (``tests/support/fake_server.py``) whose responses are the registry's, changed, cut off or delayed by a fault.
It works for the real registry and for ours::

    with faulty_proxy(registry.port) as proxy:
        proxy.inject(cut_after(10), path=r"/blobs/", times=1)
        ...  # requests to proxy.host
        assert proxy.count("GET", r"/blobs/") == 2
"""

from __future__ import annotations

import http.client
import json
import re
import select
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from registry_tool.base.deadline import Deadline, poll
from tests.support.fake_server import JSON, ReceivedRequest, Reply, fake_server

Forward = Callable[[ReceivedRequest], Reply]
Fault = Callable[[ReceivedRequest, Forward], Reply]
"""From the request, and a function that forwards it to the registry, the response."""

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "date", "server"}
_CODES = {401: "UNAUTHORIZED", 403: "DENIED", 404: "NAME_UNKNOWN", 405: "UNSUPPORTED", 429: "TOOMANYREQUESTS"}


@dataclass
class _Rule:
    fault: Fault
    method: re.Pattern[str]
    path: re.Pattern[str]
    after: int
    times: int | None

    def matches(self, request: ReceivedRequest) -> bool:
        """Whether the rule applies to this request, which is counted."""
        if not (self.method.fullmatch(request.method) and self.path.search(request.path)):
            return False
        if self.after:
            self.after -= 1
            return False
        if self.times is not None:
            if not self.times:
                return False
            self.times -= 1
        return True


@dataclass
class FaultyProxy:
    """Listens at ``host`` (``127.0.0.1:PORT``). The first rule that matches a request applies; without one it is forwarded."""

    target: int
    host: str = ""
    port: int = 0
    requests: list[ReceivedRequest] = field(default_factory=list)
    """The received requests, in order."""
    connections: Callable[[], int] = lambda: 0
    """How many connections to it are open."""
    _rules: list[_Rule] = field(default_factory=list)
    _idle: list[http.client.HTTPConnection] = field(default_factory=list)
    """Connections to the registry for the next requests."""
    _closed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def inject(self, fault: Fault, *, method: str = ".*", path: str = "", after: int = 0, times: int | None = None) -> None:
        """Inject ``fault`` into requests whose method and path (with the query) match: ``times`` in a row, after the first ``after``."""
        with self._lock:
            self._rules.append(_Rule(fault, re.compile(method), re.compile(path), after, times))

    def reset(self) -> None:
        """Remove all faults and recorded requests."""
        with self._lock:
            self._rules.clear()
            self.requests.clear()

    def settle(self) -> None:
        """Wait until all that a process sent which has ended is handled: what it sent may not have been forwarded yet."""
        # The server accepts this connection after those of the process, and closes theirs at their ends.
        with socket.create_connection(("127.0.0.1", self.port), timeout=600) as connection:
            connection.sendall(b"\x16")  # as TLS begins: it is refused, and no request
            while connection.recv(65536):
                pass
        assert poll(lambda: self.connections() == 0, Deadline(600))

    def request_counts(self) -> Counter[tuple[str, str, str]]:
        """How often each (method, path, range) was requested; the range is empty where there was none."""
        with self._lock:
            return Counter((request.method, request.path, request.headers.get("range", "")) for request in self.requests)

    def repeated(self) -> list[tuple[str, str, str]]:
        """The requests that were received more than once."""
        return sorted(request for request, count in self.request_counts().items() if count > 1)

    def count(self, method: str = ".*", path: str = "") -> int:
        """How many requests match."""
        return sum(n for (m, p, _), n in self.request_counts().items() if re.fullmatch(method, m) and re.search(path, p))

    def respond(self, request: ReceivedRequest) -> Reply:
        with self._lock:
            self.requests.append(request)
            fault = next((rule.fault for rule in self._rules if rule.matches(request)), None)
        return fault(request, self.forward_request) if fault else self.forward_request(request)

    def forward_request(self, request: ReceivedRequest) -> Reply:
        """The registry's response."""
        connection = self._connection()
        try:
            connection.request(request.method, request.path, body=request.body, headers=_passed(request.headers))
            upstream = connection.getresponse()
            headers = {name: value for name, value in upstream.getheaders() if name.lower() not in _HOP_BY_HOP}
            try:
                body = upstream.read()
            except http.client.IncompleteRead as error:
                body = error.partial
                connection.close()
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if self._closed:
                connection.close()
            else:
                self._idle.append(connection)
        return Reply(status=upstream.status, headers=headers, body=body)

    def _connection(self) -> http.client.HTTPConnection:
        """An idle connection that the registry has not closed, or a new one."""
        while True:
            with self._lock:
                if not self._idle:
                    return http.client.HTTPConnection("127.0.0.1", self.target, timeout=600)
                connection = self._idle.pop()
            if connection.sock is None or not select.select([connection.sock], [], [], 0)[0]:
                return connection
            connection.close()

    def close(self) -> None:
        """Close the connections to the registry."""
        with self._lock:
            self._closed = True
            for connection in self._idle:
                connection.close()


@contextmanager
def faulty_proxy(target: int) -> Iterator[FaultyProxy]:
    """A proxy of the registry on port ``target`` of loopback, for the block."""
    proxy = FaultyProxy(target)
    with fake_server(proxy.respond) as fake:
        proxy.host, proxy.port, proxy.connections = fake.host, fake.port, fake.server.connections
        try:
            yield proxy
        finally:
            proxy.close()


def _passed(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers to forward: with the proxy's Host, so that URLs lead back to it. The body is complete by now."""
    dropped = _HOP_BY_HOP | {"content-length", "expect"}
    return {name: value for name, value in headers.items() if name not in dropped}


# --- faults ---


def cut_after(count: int) -> Fault:
    """Close the connection after ``count`` bytes of the body."""
    return lambda request, forward: replace(forward(request), cut=count)


def stall_after(count: int) -> Fault:
    """Send nothing after ``count`` bytes of the body, and keep the connection open."""
    return lambda request, forward: replace(forward(request), stall=count)


def trickle(seconds: float) -> Fault:
    """Send the body byte by byte, with pauses."""
    return lambda request, forward: replace(forward(request), trickle=seconds)


def close_connection(request: ReceivedRequest, forward: Forward) -> Reply:
    """Close the connection without a request to the registry."""
    return Reply(hang_up=True)


def lose_response(request: ReceivedRequest, forward: Forward) -> Reply:
    """Forward the request, and close the connection without a response."""
    forward(request)
    return Reply(hang_up=True)


def cut_request_after(proxy: FaultyProxy, count: int) -> Fault:
    """Close both connections after ``count`` bytes of the request's body."""

    def fault(request: ReceivedRequest, forward: Forward) -> Reply:
        head = [f"{request.method} {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in _passed(request.headers).items())]
        head.append(f"Content-Length: {len(request.body)}")
        with socket.create_connection(("127.0.0.1", proxy.target), timeout=600) as connection:
            connection.sendall("\r\n".join([*head, "", ""]).encode() + request.body[:count])
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):  # until it has noticed
                pass
        return Reply(hang_up=True)

    return fault


# --- faults of the registry ---


def respond_with(status: int, **headers: str) -> Fault:
    """Respond with an error document of ``status``, without the registry. ``retry_after`` is the header Retry-After."""
    converted = {name.replace("_", "-"): value for name, value in headers.items()}
    document = {"errors": [{"code": _CODES.get(status, "UNKNOWN"), "message": f"a made-up {status}"}]}
    # 204 has no content (RFC 9110, 15.3.5): what is sent all the same is read as the next response.
    body = b"" if status == 204 else json.dumps(document).encode()
    return lambda request, forward: Reply(status=status, headers={"Content-Type": JSON, **converted}, body=body)


def with_header(name: str, value: str) -> Fault:
    """Replace a header of the registry's response; an empty ``value`` removes it."""

    def fault(request: ReceivedRequest, forward: Forward) -> Reply:
        response = forward(request)
        headers = {key: value for key, value in response.headers.items() if key.lower() != name.lower()}
        return replace(response, headers=headers | ({name: value} if value else {}))

    return fault


def wrong_digest(request: ReceivedRequest, forward: Forward) -> Reply:
    """A Docker-Content-Digest that is not the content's."""
    return with_header("Docker-Content-Digest", f"sha256:{'0' * 64}")(request, forward)


def wrong_length(by: int) -> Fault:
    """A Content-Length that is ``by`` bytes too large, or too small where it is negative."""

    def fault(request: ReceivedRequest, forward: Forward) -> Reply:
        response = forward(request)
        length = {name.lower(): value for name, value in response.headers.items()}.get("content-length", len(response.body))
        return with_header("Content-Length", str(int(length) + by))(request, lambda _: response)

    return fault


def flipped_byte(at: int) -> Fault:
    """Flip the bits of one byte of the body."""

    def fault(request: ReceivedRequest, forward: Forward) -> Reply:
        response = forward(request)
        body = bytearray(response.body)
        body[at] ^= 0xFF
        return replace(response, body=bytes(body))

    return fault


def endless_link(request: ReceivedRequest, forward: Forward) -> Reply:
    """Link each page to a next one, which is always the same under another URL."""
    path, _, query = request.path.partition("?")
    match = re.search(r"page=(\d+)", query)
    number = int(match[1]) + 1 if match else 2
    response = forward(replace(request, path=path))
    return with_header("Link", f'<{path}?page={number}>; rel="next"')(request, lambda _: response)
