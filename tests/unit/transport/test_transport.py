"""Requests, responses and retries of a transport."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import pytest

from registry_tool import __version__
from registry_tool.base.errors import (
    AuthenticationFailed,
    ConnectionLost,
    ErrorResponse,
    NotARegistry,
    NotFound,
    RegistryError,
    RegistryUnreachable,
    TooManyRequests,
)
from registry_tool.transport import Transport
from tests.support.fake_server import JSON, ReceivedRequest, Reply, fake_server, reply, sending, tcp_server, until_closed
from tests.support.transport_servers import Tokens, ok

SHORT = (60.0, 0.3)


# --- nothing, or no registry ---


def test_nothing_listens_is_unreachable() -> None:
    with Transport("localhost:1") as transport, pytest.raises(RegistryUnreachable, match="no registry answers at localhost:1") as caught:
        transport.get("/v2/")
    assert caught.value.hint == "Start the local registry: regctl up"


def test_unknown_host_is_unreachable() -> None:
    with Transport("nothing.invalid") as transport, pytest.raises(RegistryUnreachable, match=r"no registry answers at nothing\.invalid"):
        transport.get("/v2/")


def test_no_response_times_out() -> None:
    with (
        fake_server(lambda request: Reply(pause=30)) as server,
        Transport(server.host, timeouts=SHORT) as transport,
        pytest.raises(RegistryUnreachable, match=r"did not respond to GET /v2/ within 0\.3 s"),
    ):
        transport.get("/v2/")


def test_stalled_body_times_out() -> None:
    def stall(connection: socket.socket) -> None:
        sending(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")(connection)
        until_closed(connection)

    with (
        tcp_server(stall) as host,
        Transport(host, plain_http=True, timeouts=SHORT) as transport,
        pytest.raises(RegistryUnreachable, match=r"did not respond to GET /v2/ within 0\.3 s"),
    ):
        transport.get("/v2/")


def test_incomplete_body_is_an_error() -> None:
    with (
        fake_server(lambda request: Reply(missing=7)) as server,
        Transport(server.host) as transport,
        pytest.raises(RegistryUnreachable, match="was lost during GET /v2/"),
    ):
        transport.get("/v2/")


def test_incomplete_error_response_is_an_error_response() -> None:
    # distribution promises the whole blob's length for the few words of its 416.
    with (
        fake_server(lambda request: Reply(status=416, body=b"invalid range", missing=7)) as server,
        Transport(server.host) as transport,
        pytest.raises(RegistryError) as caught,
    ):
        transport.stream("/v2/a/blobs/x", headers={"Range": "bytes=7-7"})
    assert caught.value.response is not None
    assert caught.value.response.status == 416
    assert len(server.requests) == 1, "to ask again would get the same"


@pytest.mark.parametrize(
    ("words", "kind"), [(b"", RegistryUnreachable), (b"SSH-2.0-x\r\n", NotARegistry), (b"\0" * 70_000, RegistryUnreachable)]
)
def test_not_http_is_not_a_registry(words: bytes, kind: type[Exception]) -> None:
    with tcp_server(sending(words)) as host, Transport(host) as transport, pytest.raises(kind):
        transport.get("/v2/")


def test_web_page_is_not_a_registry() -> None:
    page = Reply(body=b"<html>", headers={"Content-Type": "text/html"})
    with (
        fake_server(lambda request: page) as server,
        Transport(server.host) as transport,
        pytest.raises(NotARegistry, match=f"the server at {server.host} is not a registry: GET /v2/ gives a web page"),
    ):
        transport.get("/v2/")


def test_web_page_after_registry_responses_is_a_registry_error() -> None:
    page = Reply(headers={"Content-Type": "text/html"})
    with fake_server(lambda request: page if request.path.endswith("/x") else Reply()) as server, Transport(server.host) as transport:
        transport.get("/v2/a/manifests/y")
        with pytest.raises(RegistryError, match=r"GET /v2/a/manifests/x: a web page \(200\)"):
            transport.get("/v2/a/manifests/x")
        server.respond = lambda request: Reply(status=404, headers={"Content-Type": "text/html"})
        with pytest.raises(NotFound):
            transport.get("/v2/a/manifests/x")


def test_origin_is_detected_again_after_a_failure() -> None:
    with tcp_server(sending(b"")) as host:
        transport = Transport(host)
        with pytest.raises(RegistryUnreachable):
            transport.get("/v2/")
    assert transport._origin is None
    transport.close()


# --- requests and answers ---


def test_request_headers() -> None:
    with fake_server(ok) as server, Transport(f"localhost:{server.port}") as transport:
        answer = transport.get("/v2/x", headers={"Accept": "a/b"}, params={"n": "5", "last": "ü&"})
        transport.head("/v2/y")
    first, second = server.requests
    assert (first.method, first.path) == ("GET", "/v2/x?n=5&last=%C3%BC%26")
    assert (second.method, second.path) == ("HEAD", "/v2/y")
    assert first.headers["host"] == f"localhost:{server.port}"
    assert first.headers["accept"] == "a/b"
    assert first.headers["user-agent"] == f"registry-tool/{__version__}"
    assert answer.url == f"http://127.0.0.1:{server.port}/v2/x?n=5&last=%C3%BC%26"
    assert answer.headers.get("CONTENT-type") == JSON


def test_error_responses_are_raised_by_status() -> None:
    body = {"errors": [{"code": "NAME_UNKNOWN", "message": "repository name not known"}]}
    with (
        fake_server(lambda request: reply(body, 404)) as server,
        Transport(server.host) as transport,
        pytest.raises(NotFound, match="^there is no repository a at 127.0.0.1"),
    ):
        transport.get("/v2/a/tags/list")


# --- again ---


def in_a_row(*statuses: int, **headers: str) -> Callable[[ReceivedRequest], Reply]:
    """One answer after the other, and then all is well."""
    left = list(statuses)
    return lambda request: reply({}, left.pop(0), **headers) if left else Reply()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_transient_failure_is_retried(status: int) -> None:
    with fake_server(in_a_row(status, status)) as server, Transport(server.host) as transport:
        assert transport.get("/v2/").status == 200
        assert len(server.requests) == 3


@pytest.mark.parametrize(("status", "times"), [(429, 4), (500, 1), (503, 4)])
def test_transient_failure_that_lasts_is_raised(status: int, times: int) -> None:
    with fake_server(in_a_row(*[status] * 10)) as server, Transport(server.host) as transport:
        with pytest.raises(RegistryError, match=f"GET /v2/: {status}") as caught:
            transport.get("/v2/")
        assert len(server.requests) == times
    assert isinstance(caught.value, TooManyRequests) is (status == 429)


def test_long_retry_after_is_not_waited_for() -> None:
    with fake_server(in_a_row(429, retry_after="3600")) as server, Transport(server.host) as transport:
        with pytest.raises(TooManyRequests) as caught:
            transport.get("/v2/")
        assert len(server.requests) == 1
    assert caught.value.hint == "Rate limit reached: wait 3600 seconds."


def test_retry_after_is_waited_for() -> None:
    with fake_server(in_a_row(503, retry_after="1")) as server, Transport(server.host) as transport:
        begun = time.monotonic()
        transport.send("DELETE", "/v2/a/manifests/x")
        assert time.monotonic() - begun >= 1
        assert [request.method for request in server.requests] == ["DELETE", "DELETE"]


def test_lost_connection_is_retried_for_reads_only() -> None:
    broken = [Reply(hang_up=True), Reply(body=b"half", cut=2)]
    with fake_server(lambda request: broken.pop(0) if broken else Reply()) as server, Transport(server.host) as transport:
        assert transport.get("/v2/").body == b"{}"
        assert len(server.requests) == 3
        broken += [Reply(hang_up=True)]
        with pytest.raises(ConnectionLost):
            transport.send("POST", "/v2/a/blobs/uploads/")
        assert len(server.requests) == 4


def test_iterable_body_is_sent_once() -> None:
    with fake_server(in_a_row(429)) as server, Transport(server.host) as transport:
        with pytest.raises(TooManyRequests):
            transport.send("PUT", "/v2/a/blobs/uploads/x", body=iter([b"a", b"b"]), headers={"Content-Length": "2"})
        assert [request.body for request in server.requests] == [b"ab"]


def test_token_request_is_retried() -> None:
    tokens = Tokens()
    busy = [reply({}, 503), reply({}, 429)]
    made = tokens.make
    tokens.make = lambda request, query: busy.pop(0) if busy else made(request, query)  # type: ignore[method-assign]
    with fake_server(tokens) as server, Transport(server.host) as transport:
        tokens.host = server.host
        assert transport.get("/v2/a/tags/list").status == 200


# --- limits ---


def test_rate_limit_remaining_is_remembered() -> None:
    answers = [reply({}), reply({}, RateLimit_Remaining="76;w=21600"), reply({}), reply({}, RateLimit_Remaining="75")]
    with fake_server(lambda request: answers.pop(0)) as server, Transport(server.host) as transport:
        left = []
        for _ in range(4):
            transport.get("/v2/")
            left.append(transport.rate_limit_remaining)
    assert left == [None, 76, 76, 75]


def test_error_carries_the_response() -> None:
    body = {"errors": [{"code": "DENIED", "message": "not you"}]}
    with (
        fake_server(lambda request: reply(body, 403)) as server,
        Transport(server.host) as transport,
        pytest.raises(AuthenticationFailed) as caught,
    ):
        transport.send("DELETE", "/v2/a/manifests/x")
    assert caught.value.response == ErrorResponse(method="DELETE", path="/v2/a/manifests/x", status=403, code="DENIED", message="not you")
