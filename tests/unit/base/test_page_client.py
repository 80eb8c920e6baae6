from __future__ import annotations

import errno
import os
import socket
import time
from typing import Any, NoReturn

import pytest

from registry_tool.base import page_client
from registry_tool.base.deadline import Deadline
from registry_tool.base.page_client import MAX_BYTES, NoResponse, PageClient, get_page
from tests.support.fake_server import Reply, fake_server, sending, tcp_server, until_closed

HTML = {"Content-Type": "text/html; charset=utf-8"}


def test_get_page_nothing_listens() -> None:
    with pytest.raises(NoResponse, match="connection refused: http://localhost:1/"):
        get_page("http://localhost:1/", timeout=1)


@pytest.mark.parametrize("error", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETUNREACH])
def test_get_page_nothing_listens_on_a_machine_without_ipv6(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    connect = socket.create_connection

    def without_ipv6(address: tuple[str, int], *arguments: Any, **options: Any) -> socket.socket:
        if ":" in address[0]:
            raise OSError(error, os.strerror(error))
        return connect(address, *arguments, **options)

    monkeypatch.setattr(socket, "create_connection", without_ipv6)
    test_get_page_nothing_listens()


def test_get_page_unknown_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: object, **options: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    # Name servers that answer late, or never, are another test.
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(NoResponse, match=r"incomplete response from http://nothing\.invalid/"):
        get_page("http://nothing.invalid/", timeout=60)


def test_get_page_without_response_times_out() -> None:
    with fake_server(lambda received: Reply(pause=30)) as server, pytest.raises(NoResponse, match=r"within 0\.2 s"):
        get_page(f"http://{server.host}/", timeout=0.2)


def test_get_page_trickling_body_times_out() -> None:
    with fake_server(lambda received: Reply(body=b"x" * 2000, trickle=0.05)) as server:
        begun = time.monotonic()
        with pytest.raises(NoResponse, match=r"within 0\.3 s"):
            get_page(f"http://{server.host}/", timeout=0.3)
        assert time.monotonic() - begun < 60


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\nX: "], ids=["status line", "headers"])
def test_get_page_trickling_headers_time_out(beginning: bytes) -> None:
    def trickling(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(beginning)
        for _ in range(2000):
            connection.sendall(b"H")
            time.sleep(0.05)

    with tcp_server(trickling) as host:
        begun = time.monotonic()
        with pytest.raises(NoResponse, match=r"within 0\.3 s"):
            get_page(f"http://{host}/", timeout=0.3)
        assert time.monotonic() - begun < 60


def test_time_that_passes_while_it_is_looked_at_makes_no_socket_that_does_not_wait() -> None:
    looks = iter([0.001])

    class Passing(Deadline):
        @property
        def left(self) -> float:
            return next(looks, 0.0)

    assert page_client._left(Passing(60)) == 0.001
    with pytest.raises(TimeoutError):
        page_client._left(Passing(60))


def test_get_page_time_out_covers_the_whole_exchange() -> None:
    def pausing(connection: socket.socket) -> None:
        connection.recv(65536)
        time.sleep(1.6)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        until_closed(connection)

    def seconds(host: str) -> float:
        begun = time.monotonic()
        with pytest.raises(NoResponse, match="within 2 s"):
            get_page(f"http://{host}/", timeout=2)
        return time.monotonic() - begun

    with tcp_server(pausing) as host:
        # More than once, as a busy machine may be late: a body with two seconds of its own never takes less.
        assert any(seconds(host) < 3.5 for _ in range(5))


@pytest.mark.parametrize("missing", [1, 1000])
def test_get_page_incomplete_body_is_an_error(missing: int) -> None:
    with (
        fake_server(lambda received: Reply(body=b"half", missing=missing)) as server,
        pytest.raises(NoResponse, match="incomplete response"),
    ):
        get_page(f"http://{server.host}/", timeout=60)


@pytest.mark.parametrize("words", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\n" + b"X" * 70_000])
def test_get_page_not_http_is_an_error(words: bytes) -> None:
    with tcp_server(sending(words)) as host, pytest.raises(NoResponse):
        get_page(f"http://{host}/", timeout=60)


@pytest.mark.parametrize("status", [200, 302, 404, 500])
def test_get_page_returns_any_status(status: int) -> None:
    answer = Reply(status=status, body="<h3>Hällo</h3>".encode(), headers={**HTML, "Location": "http://elsewhere.invalid/"})
    with fake_server(lambda received: answer) as server:
        page = get_page(f"http://localhost:{server.port}/a?b=c", timeout=60)
    assert (page.status, page.body) == (status, "<h3>Hällo</h3>")
    assert page.url == f"http://localhost:{server.port}/a?b=c"
    assert page.headers["content-type"] == HTML["Content-Type"]
    assert [(received.method, received.path, received.headers["host"]) for received in server.requests] == [
        ("GET", "/a?b=c", f"localhost:{server.port}")
    ]


@pytest.mark.parametrize("kind", ["text/html; charset=latin-1", "text/html; charset=no-such", "text/html"])
def test_get_page_undecodable_bytes_are_replaced(kind: str) -> None:
    with fake_server(lambda received: Reply(body=b"a\xe4", headers={"Content-Type": kind})) as server:
        assert get_page(f"http://{server.host}", timeout=60).body in ("aä", "a�")


def test_get_page_reads_the_first_mebibyte() -> None:
    with fake_server(lambda received: Reply(body=b"x" * (MAX_BYTES + 5))) as server:
        assert len(get_page(f"http://{server.host}/", timeout=60).body) == MAX_BYTES


def test_get_page_ignores_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with fake_server(lambda received: Reply()) as server:
        assert get_page(f"http://{server.host}/", timeout=60).status == 200


# --- several looks over one connection ---


def _client(host: str) -> PageClient:
    address, _, port = host.rpartition(":")
    return PageClient(lambda timeout: socket.create_connection((address, int(port)), timeout))


def test_client_reuses_its_connection() -> None:
    connections: list[socket.socket] = []

    def serving(connection: socket.socket) -> None:
        connections.append(connection)
        while connection.recv(65536):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Who: me\r\n\r\nhi")

    with tcp_server(serving) as host:
        client = _client(host)
        pages = [client.get("/a", timeout=60) for _ in range(3)]
        client.close()
    assert [(page.status, page.body, page.headers["x-who"]) for page in pages] == [(200, "hi", "me")] * 3
    assert len(connections) == 1


def test_client_reconnects_after_an_idle_close() -> None:
    def once(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    with tcp_server(once) as host:
        client = _client(host)
        assert [client.get("/", timeout=60).body for _ in range(3)] == ["hi"] * 3
        client.close()


def test_client_after_a_truncated_page_gets_the_next_one() -> None:
    answers = iter([Reply(body=b"x" * (MAX_BYTES + 5)), Reply(body=b"next")])
    with fake_server(lambda received: next(answers)) as server:
        client = _client(server.host)
        assert len(client.get("/", timeout=60).body) == MAX_BYTES
        assert client.get("/", timeout=60).body == "next"
        client.close()


def test_client_after_a_time_out_uses_a_new_connection() -> None:
    pauses = iter([30.0, 0.0])
    with fake_server(lambda received: Reply(pause=next(pauses))) as server:
        client = _client(server.host)
        with pytest.raises(NoResponse, match=r"no response within 0\.2 s"):
            client.get("/", timeout=0.2)
        assert client.get("/", timeout=60).body == "{}"
        client.close()


@pytest.mark.parametrize("words", [b"", b"SSH-2.0-x\r\n"])
def test_client_not_http_is_an_error(words: bytes) -> None:
    with tcp_server(sending(words)) as host:
        client = _client(host)
        for _ in range(2):
            with pytest.raises(NoResponse, match="incomplete response"):
                client.get("/", timeout=60)
