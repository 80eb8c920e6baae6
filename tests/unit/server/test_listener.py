"""The HTTP server under the registry of this process: connections, bodies, and applications that fail."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any

import pytest

from registry_tool import server
from registry_tool.server.listener import MAX_UNREAD, Server, run_server
from registry_tool.server.messages import Environ, IncompleteBody, StartResponse
from tests.support.open_files import open_files
from tests.support.requirements import free_port


class Echo:
    """Answers with what it got, if it looks at it at all (``/read…``)."""

    def __init__(self) -> None:
        self.environs: list[Environ] = []
        self.broken: list[str] = []

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.environs.append(environ)
        body = b"unread"
        if environ["PATH_INFO"].startswith("/read"):
            try:
                body = environ["wsgi.input"].read()
            except IncompleteBody as error:
                self.broken.append(str(error))
                body = b"broken"
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body] if environ["REQUEST_METHOD"] != "HEAD" else []


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def listening(echo: Echo) -> Iterator[Server[Any]]:
    with run_server(echo) as running:
        yield running
    assert running.errors == []


@pytest.fixture
def say(listening: Server[Any]) -> Callable[[bytes], bytes]:
    """Says something on a new connection, and hears all until the other side hangs up."""

    def said(words: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", listening.port), timeout=60) as connection:
            connection.sendall(words)
            connection.shutdown(socket.SHUT_WR)
            messages = b""
            while piece := connection.recv(65536):
                messages += piece
            return messages

    return said


def test_connection_is_persistent(listening: Server[Any]) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", listening.port, timeout=60)) as connection:
        ends = []
        for body in (b"one", b"two"):
            connection.request("POST", "/read", body=body)
            ends.append(connection.sock.getsockname())
            assert connection.getresponse().read() == body
        assert ends[0] == ends[1]


def test_pipelined_requests_are_answered(say: Callable[[bytes], bytes]) -> None:
    messages = say(
        b"POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nonePOST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\ntwo"
    )

    assert [part.partition(b"\r\n\r\n")[2] for part in messages.split(b"HTTP/1.1 200 OK")[1:]] == [b"one", b"two"]


def test_unread_body_is_drained(listening: Server[Any]) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", listening.port, timeout=60)) as connection:
        for _ in range(2):
            connection.request("POST", "/ignored", body=b"GET /read HTTP/1.1\r\n\r\n")
            assert connection.getresponse().read() == b"unread"


def test_large_unread_body_closes_the_connection_after_the_response(listening: Server[Any]) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", listening.port, timeout=60)) as connection:
        connection.request("POST", "/ignored", body=b"x" * (4 * MAX_UNREAD))
        assert connection.getresponse().read() == b"unread"
        connection.sock.settimeout(60)
        assert connection.sock.recv(1) == b""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"0\r\n\r\n", b""),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"3;name=value\r\nabc\r\n0\r\nTrailer: value\r\n\r\n", b"abc"),
    ],
)
def test_chunked_bodies(say: Callable[[bytes], bytes], body: bytes, expected: bytes) -> None:
    head = b"POST /read HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

    messages = say(head + body + head + b"1\r\n!\r\n0\r\n\r\n")

    assert [part.partition(b"\r\n\r\n")[2] for part in messages.split(b"HTTP/1.1 200 OK")[1:]] == [expected, b"!"]


@pytest.mark.parametrize(
    ("headers", "body", "why"),
    [
        (b"Transfer-Encoding: chunked", b"3\r\nab", "unexpected EOF"),
        (b"Transfer-Encoding: chunked", b"3\r\nabc\r\n", "unexpected EOF"),
        (b"Transfer-Encoding: chunked", b"3\r\nabcd\r\n0\r\n\r\n", "malformed chunked encoding"),
        (b"Transfer-Encoding: chunked", b"-3\r\nabc\r\n0\r\n\r\n", "invalid byte in chunk length"),
        (b"Transfer-Encoding: chunked", b"0x3\r\nabc\r\n0\r\n\r\n", "invalid byte in chunk length"),
        (b"Content-Length: 10", b"abc", "unexpected EOF"),
    ],
)
def test_incomplete_body_is_an_error(say: Callable[[bytes], bytes], echo: Echo, headers: bytes, body: bytes, why: str) -> None:
    messages = say(b"POST /read HTTP/1.1\r\nHost: h\r\n" + headers + b"\r\n\r\n" + body)

    assert echo.broken == [why]
    assert messages.endswith(b"broken")
    assert b"Connection: close" in messages


def test_continue_is_sent_when_the_body_is_read(say: Callable[[bytes], bytes]) -> None:
    waiting = b"HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"

    assert say(b"POST /read " + waiting + b"abc").startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    assert say(b"POST /ignored " + waiting).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    "words",
    [b"rubbish\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/x\r\n\r\n", b"GET /" + b"x" * 70000 + b" HTTP/1.1\r\nHost: h\r\n\r\n"],
)
def test_malformed_request_is_refused(say: Callable[[bytes], bytes], echo: Echo, words: bytes) -> None:
    messages = say(words)

    assert messages.startswith(b"HTTP/1.1 4")
    assert echo.environs == []


def test_http_1_0_connection_is_closed(say: Callable[[bytes], bytes]) -> None:
    assert b"Connection: close" in say(b"GET / HTTP/1.0\r\n\r\n")
    assert b"Connection: keep-alive" in say(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")


def test_repeated_headers_are_joined(say: Callable[[bytes], bytes], echo: Echo) -> None:
    say(b"GET /a%20b?c=%2F HTTP/1.1\r\nHost: h\r\nAccept: one\r\nAccept: two\r\n\r\n")

    environ = echo.environs[0]
    assert (environ["HTTP_ACCEPT"], environ["PATH_INFO"], environ["QUERY_STRING"]) == ("one,two", "/a b", "c=%2F")


def test_error_of_the_application_ends_one_request() -> None:
    def failing(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/fails":
            raise KeyError("a bug")
        start_response("204 No Content", [])
        return ()

    with run_server(failing) as running, closing(http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)) as connection:
        statuses = []
        for path in ("/fails", "/works"):
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)

    assert statuses == [500, 204]
    assert [repr(error) for error in running.errors] == ["KeyError('a bug')"]


def test_registry_listens_during_the_block_only() -> None:
    before = set(threading.enumerate())
    with server.run_registry(port=free_port()) as running:  # which nobody else is given afterwards
        kept = socket.create_connection(("127.0.0.1", running.port), timeout=60)
        kept.sendall(b"GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n")
        assert kept.recv(65536).startswith(b"HTTP/1.1 200 OK")

    with kept:
        assert kept.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", running.port), timeout=60)
    # Threads that other tests left may end meanwhile.
    assert set(threading.enumerate()) - before == set()


def test_port_in_use_is_an_error() -> None:
    with server.run_registry() as running, pytest.raises(OSError, match="in use"), server.run_registry(port=running.port):
        pass


def test_restart_on_the_same_storage_keeps_uploads() -> None:
    storage = server.MemoryStorage()
    application = server.Application(storage, secret=b"kept")
    with run_server(application) as first, closing(http.client.HTTPConnection("127.0.0.1", first.port, timeout=60)) as connection:
        connection.request("POST", "/v2/a/blobs/uploads/")
        location = str(connection.getresponse().getheader("Location")).partition(f":{first.port}")[2]

    again = server.run_registry(server.Application(storage, secret=b"kept"))
    with again as second, closing(http.client.HTTPConnection("127.0.0.1", second.port, timeout=60)) as connection:
        connection.request("PATCH", location, body=b"goes on")
        assert connection.getresponse().status == 202
    assert second.errors == []


def test_client_that_disconnects_leaves_nothing_open() -> None:
    received, gone = threading.Event(), threading.Event()

    def late(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        received.set()
        gone.wait(60)
        start_response("200 OK", [("Content-Length", "3")])
        return [b"it!"]

    before = open_files()
    with run_server(late) as running:
        connection = socket.create_connection(("127.0.0.1", running.port), timeout=60)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert received.wait(60)
        # No farewell: what is written from now on fails.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        gone.set()
    assert open_files() - before == set(), "until somebody collects garbage"
