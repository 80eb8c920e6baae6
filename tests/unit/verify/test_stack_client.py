"""Looks through a stack's one port."""

from __future__ import annotations

import socket

import pytest

from registry_tool.base.page_client import NoResponse
from registry_tool.verify.spec import Http
from registry_tool.verify.stack import stack_client
from registry_tool.verify.stack.stack_client import Connect, HttpStackClient, StackResponse, TcpStackClient
from tests.support.fake_server import Reply, fake_server, tcp_server, until_closed

HOST = "<h3>Hello World!</h3><b>Hostname:</b> 0123456789ab<br/>"
DISABLED = "<b>Visits:</b> <i>cannot connect to Redis, counter disabled</i>"


def _connecting(port: int) -> Connect:
    return lambda timeout: socket.create_connection(("127.0.0.1", port), timeout)


def _look(reply: Reply, status: int | None = None) -> StackResponse:
    with fake_server(lambda received: reply) as server:
        pages = HttpStackClient(_connecting(server.port), Http(published=4000, container=80, path="/a", status=status))
        try:
            look = pages.ask(timeout=60)
        finally:
            pages.close()
        assert [(received.path, received.headers["host"]) for received in server.requests] == [("/a", "localhost:4000")]
    return look


@pytest.mark.parametrize(("answers", "wanted"), [(404, None), (500, None), (200, 204), (503, 200)])
def test_unexpected_status_is_no_response(answers: int, wanted: int | None) -> None:
    with pytest.raises(NoResponse, match=f"/a answered {answers}"):
        _look(Reply(status=answers), wanted)


@pytest.mark.parametrize(("answers", "wanted"), [(200, None), (302, None), (404, 404)])
def test_expected_status_is_a_response(answers: int, wanted: int | None) -> None:
    assert not _look(Reply(status=answers), wanted).counter


@pytest.mark.parametrize(
    ("body", "host", "counter", "visits"),
    [
        (f"{HOST}<b>Visits:</b> 17", "0123456789ab", True, 17),
        (f"{HOST}<b>Visits:</b> 17 so far", "0123456789ab", True, 17),
        (f"{HOST}{DISABLED}", "0123456789ab", True, None),
        (f"{HOST}<b>Visits:</b> many", "0123456789ab", False, None),
        (f"{HOST}<b>Visits:</b> {'9' * 5000}", "0123456789ab", False, None),
        ("<h1>It works!</h1>", None, False, None),
        ("", None, False, None),
    ],
)
def test_sample_page_is_known_by_its_line_of_visits(body: str, host: str | None, counter: bool, visits: int | None) -> None:
    look = _look(Reply(body=body.encode(), headers={"X-Registry-Tool-Replica": "web-2"}))
    assert (look.host, look.counter, look.visits, look.replica) == (host, counter, visits, "web-2")


def test_response_has_its_seconds() -> None:
    assert 0.2 <= _look(Reply(pause=0.2)).seconds < 60


def _closing(connection: socket.socket) -> None:
    connection.close()


def _greeting(connection: socket.socket) -> None:
    connection.sendall(b"220 hello\r\n")
    until_closed(connection)


def test_connection_that_is_closed_at_once_is_no_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_client, "_CLOSE_WAIT", 60)
    # What a proxy does that has nobody behind it.
    with tcp_server(_closing) as host, pytest.raises(NoResponse):
        TcpStackClient(_connecting(int(host.rpartition(":")[2]))).ask(timeout=60)


def test_refused_connection_is_no_response() -> None:
    with pytest.raises(NoResponse, match="no connection"):
        TcpStackClient(_connecting(1)).ask(timeout=60)


@pytest.mark.parametrize("serving", [until_closed, _greeting])
def test_connection_that_stays_open_is_a_response(serving: object) -> None:
    with tcp_server(serving) as host:  # type: ignore[arg-type]
        assert TcpStackClient(_connecting(int(host.rpartition(":")[2]))).ask(timeout=60).replica is None
