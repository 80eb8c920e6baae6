"""Answers that are too long, too slow or have no end."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from registry_tool.base.errors import ConnectionLost, RegistryError, RegistryUnreachable
from registry_tool.transport import Transport
from registry_tool.transport import stream as stream_module
from tests.support.fake_server import Reply, fake_server, tcp_server

SHORT = (60.0, 1.0)
"""Seconds to connect, and from one piece of a response to the next."""
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def dripping(head: bytes, piece: bytes, pause: float, times: int = 10_000) -> Callable[[socket.socket], None]:
    """For ``listening``: says ``head``, and then ``piece`` again and again until nothing listens any more."""

    def serve(connection: socket.socket) -> None:
        if b"GET" not in connection.recv(65536):
            return
        connection.sendall(head)
        for _ in range(times):
            connection.sendall(piece)
            time.sleep(pause)

    return serve


# --- too slow ---


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (OK + b"Content-Length: 100000\r\n\r\n", b"x"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (OK + b"\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["length", "chunks", "until it hangs up", "headers", "interim answers"],
)
def test_response_below_the_least_rate_is_too_slow(head: bytes, piece: bytes) -> None:
    begun = time.monotonic()
    with (
        tcp_server(dripping(head, piece, 0.05)) as host,
        Transport(host, plain_http=True, timeouts=SHORT) as transport,
        pytest.raises(RegistryUnreachable, match="responds to GET /v2/ too slowly: less than 1024 bytes a second"),
    ):
        transport.get("/v2/")
    assert time.monotonic() - begun < 60


def test_body_has_a_time_out_at_any_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "MIN_RATE", 1)
    monkeypatch.setattr(stream_module, "_CHUNK", 64)
    with (
        tcp_server(dripping(OK + b"Content-Length: 1000000\r\n\r\n", b"x" * 100, 0.05)) as host,
        Transport(host, plain_http=True, timeouts=SHORT) as transport,
        pytest.raises(RegistryUnreachable, match=r"too slowly: not all of it within 4 s"),
    ):
        transport.get("/v2/")


class Instant(io.RawIOBase):
    """A byte whenever one is wanted."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        buffer[:1] = b"x"
        return 1


def test_slow_consumer_is_not_a_slow_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only waiting counts: who writes to a slow disk between two pieces is not at fault, nor is the registry."""
    now = [0.0]
    # A clock of its own: a busy machine may let a moment pass in the middle of a read.
    monkeypatch.setattr(stream_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    paced = stream_module._PacedReader(Instant(), timeout=1.0)
    for _ in range(5):
        now[0] += 20.0
        assert paced.read(1) == b"x"


def test_slow_start_of_a_small_response_is_no_error() -> None:
    with fake_server(lambda request: Reply(pause=1.0)) as server, Transport(server.host, timeouts=(60.0, 30.0)) as transport:
        assert transport.get("/v2/").json() == {}


# --- too long ---


def test_endless_body_is_refused() -> None:
    observed = threading.Event()

    def serve(connection: socket.socket) -> None:
        if b"GET" not in connection.recv(65536):
            return
        connection.sendall(OK + b"\r\n")
        try:
            while True:
                connection.sendall(b"x" * 65536)
        except OSError:
            observed.set()

    with tcp_server(serve) as host, Transport(host, plain_http=True) as transport:
        with pytest.raises(RegistryError, match="the response to GET /v2/ is larger than 1000000 bytes: not read"):
            transport.get("/v2/", limit=1_000_000)
        assert observed.wait(60), "the connection was not closed"


@pytest.mark.parametrize(("size", "limit", "fits"), [(0, 0, True), (10, 10, True), (11, 10, False), (200_000, 200_000, True)])
def test_limit_is_exact(size: int, limit: int, fits: bool) -> None:
    with fake_server(lambda request: Reply(body=b"x" * size)) as server, Transport(server.host) as transport:
        if fits:
            assert len(transport.get("/v2/", limit=limit).body) == size
        else:
            with pytest.raises(RegistryError, match="larger than"):
                transport.get("/v2/", limit=limit)
        assert transport.get("/v2/", limit=1_000_000).status == 200


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, "its headers have no end|more than 100 interim responses"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200, "more than 100 headers"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, "more than 65536 bytes"),
    ],
)
def test_endless_headers_are_refused(head: bytes, why: str) -> None:
    with (
        tcp_server(dripping(b"", head, 0.0)) as host,
        Transport(host, plain_http=True) as transport,
        pytest.raises(RegistryUnreachable, match=why),
    ):
        transport.get("/v2/")


# --- piece by piece ---


def test_stream_is_read_incrementally_and_its_connection_reused() -> None:
    with fake_server(lambda request: Reply(body=b"0123456789")) as server, Transport(server.host) as transport:
        with transport.stream("/v2/a/blobs/x") as stream:
            assert stream.response.status == 200
            assert [stream.read(4), stream.read(4), stream.read(4), stream.read(4)] == [b"0123", b"4567", b"89", b""]
        with transport.stream("/v2/a/blobs/x") as stream:
            assert stream.read() == b"0123456789"


def test_stream_left_early_closes_its_connection() -> None:
    observed = threading.Event()

    def serve(connection: socket.socket) -> None:
        if b"GET" not in connection.recv(65536):
            return
        connection.sendall(OK + b"Content-Length: 1000000000\r\n\r\n")
        try:
            while True:
                connection.sendall(b"x" * 65536)
        except OSError:
            observed.set()

    with tcp_server(serve) as host, Transport(host, plain_http=True) as transport:
        with transport.stream("/v2/a/blobs/x") as stream:
            assert stream.read(10) == b"x" * 10
        assert observed.wait(60)


def test_stream_that_is_cut_off_is_an_error() -> None:
    with (
        fake_server(lambda request: Reply(body=b"0123456789", cut=4)) as server,
        Transport(server.host) as transport,
        transport.stream("/v2/a/blobs/x") as stream,
    ):
        assert stream.read(4) == b"0123"
        with pytest.raises(ConnectionLost, match="was lost during GET /v2/a/blobs/x"):
            stream.read(4)


def test_stream_that_stalls_is_an_error() -> None:
    with (
        fake_server(lambda request: Reply(body=b"0123456789", stall=4)) as server,
        Transport(server.host, timeouts=SHORT) as transport,
        transport.stream("/v2/a/blobs/x") as stream,
    ):
        assert stream.read(4) == b"0123"
        with pytest.raises(RegistryUnreachable, match=r"did not respond to GET /v2/a/blobs/x within 1 s"):
            stream.read(4)
