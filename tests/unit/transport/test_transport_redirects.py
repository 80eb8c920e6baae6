"""Redirects, locations, and bodies that are sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_tool.base.errors import (
    AuthenticationFailed,
    Mismatch,
    RegistryError,
)
from registry_tool.transport import Transport
from tests.support.fake_server import ReceivedRequest, Reply, fake_server, reply
from tests.support.transport_servers import BASIC, MARY, elsewhere, ok

# --- redirects ---


def test_redirect_on_the_registry_keeps_authorization() -> None:
    def answer(request: ReceivedRequest) -> Reply:
        if "authorization" not in request.headers:
            return reply({}, 401, www_authenticate='Basic realm="x"')
        if request.path == "/v2/old":
            return Reply(status=301, headers={"Location": f"http://localhost:{server.port}/v2/new"})
        return Reply()

    with fake_server(answer) as server, Transport(f"localhost:{server.port}", credential=MARY) as transport:
        transport.get("/v2/old")
    assert [(request.path, request.headers.get("authorization")) for request in server.requests] == [
        ("/v2/old", None),
        ("/v2/old", BASIC),
        ("/v2/new", BASIC),
    ]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_elsewhere_drops_authorization(status: int) -> None:
    def answer(request: ReceivedRequest) -> Reply:
        known = "authorization" in request.headers
        return elsewhere(other, "/blob", status) if known else reply({}, 401, www_authenticate='Basic realm="x"')

    with fake_server(ok) as other, fake_server(answer) as server:
        with Transport(server.host, credential=MARY) as transport:
            assert transport.get("/v2/a/blobs/x").url == f"http://{other.host}/blob"
        assert [(request.path, "authorization" in request.headers, request.headers["host"]) for request in other.requests] == [
            ("/blob", False, other.host)
        ]


def test_challenge_of_another_host_is_not_answered() -> None:
    def greedy(request: ReceivedRequest) -> Reply:
        return reply({}, 401, www_authenticate=f'Basic realm="x", Bearer realm="http://{other.host}/token"')

    with (
        fake_server(greedy) as other,
        fake_server(lambda request: elsewhere(other, "/blob")) as server,
        Transport(server.host, credential=MARY) as transport,
    ):
        with pytest.raises(AuthenticationFailed):
            transport.get("/v2/a/blobs/x")
        assert [(request.path, "authorization" in request.headers) for request in other.requests] == [("/blob", False)]
        assert all("authorization" not in request.headers for request in server.requests)


@pytest.mark.parametrize("status", [401, 403])
def test_refusal_of_another_host_says_nothing_of_credentials(status: int) -> None:
    with (
        fake_server(lambda request: reply({}, status, www_authenticate='Basic realm="x"')) as other,
        fake_server(lambda request: elsewhere(other, "/blob")) as server,
        Transport(server.host, credential=lambda repository: MARY) as transport,
        pytest.raises(AuthenticationFailed, match=f"GET /v2/a/blobs/x: {status}") as caught,
    ):
        transport.get("/v2/a/blobs/x")
    for words in ("stored", "does not accept", "no such repository"):
        assert words not in f"{caught.value.message} {caught.value.hint}"


def test_endless_redirects_are_an_error() -> None:
    with (
        fake_server(lambda request: Reply(status=302, headers={"Location": request.path + "x"})) as server,
        Transport(server.host) as transport,
        pytest.raises(RegistryError, match="redirects GET /v2/ without end"),
    ):
        transport.get("/v2/")


@pytest.mark.parametrize("location", ["http://elsewhere.invalid/x", "ftp://elsewhere.invalid/x", "file:///etc/passwd"])
def test_redirect_from_tls_to_http_is_not_followed(certificate: Path, location: str) -> None:
    with (
        fake_server(lambda request: Reply(status=302, headers={"Location": location}), certificate=certificate) as server,
        Transport(server.host) as transport,
        pytest.raises(RegistryError, match="not followed"),
    ):
        transport.get("/v2/")


# --- sending, and where to ---


def test_bodies_that_are_sent() -> None:
    with fake_server(ok) as server, Transport(server.host) as transport:
        transport.send("PUT", "/v2/a", params={"digest": "sha256:x"}, headers={"Content-Type": "a/b"}, body=b"bytes")
        transport.send("PATCH", "/v2/a?_state=x", params={"n": "1"}, headers={"Content-Length": "4"}, body=iter([b"ab", b"cd"]))
        transport.send("PATCH", "/v2/a", body=iter([b"ab", b"cd"]))
        transport.send("DELETE", "/v2/a")
    whole, pieces, chunks, nothing = server.requests
    assert (whole.method, whole.path, whole.body, whole.headers["content-type"]) == ("PUT", "/v2/a?digest=sha256%3Ax", b"bytes", "a/b")
    assert whole.headers["content-length"] == "5"
    assert (pieces.path, pieces.body, pieces.headers.get("transfer-encoding")) == ("/v2/a?_state=x&n=1", b"abcd", None)
    assert (chunks.body, chunks.headers["transfer-encoding"]) == (b"abcd", "chunked")
    assert (nothing.method, nothing.body) == ("DELETE", b"")


def test_error_of_the_body_is_raised_as_it_is() -> None:
    def content() -> Iterator[bytes]:
        yield b"half"
        raise Mismatch("not what it should be")

    with fake_server(ok) as server, Transport(server.host) as transport:
        with pytest.raises(Mismatch):
            transport.send("PUT", "/v2/a", headers={"Content-Length": "8"}, body=content())
        assert transport.get("/v2/").status == 200


@pytest.mark.parametrize("status", [301, 302, 303])
def test_write_is_not_redirected_to_a_get(status: int) -> None:
    with (
        fake_server(lambda request: Reply(status=status, headers={"Location": "/v2/elsewhere"})) as server,
        Transport(server.host) as transport,
    ):
        with pytest.raises(RegistryError, match="redirects POST /v2/a to .*: not followed"):
            transport.send("POST", "/v2/a", body=b"x")
        assert len(server.requests) == 1


def test_write_is_not_redirected_elsewhere() -> None:
    with fake_server(ok) as other, fake_server(lambda request: elsewhere(other, "/v2/a")) as server, Transport(server.host) as transport:
        with pytest.raises(RegistryError, match="not followed"):
            transport.send("PUT", "/v2/a", body=b"x")
        assert other.requests == []


def test_write_is_redirected_on_the_registry() -> None:
    def answer(request: ReceivedRequest) -> Reply:
        return Reply(status=308, headers={"Location": "/v2/a/"}) if request.path == "/v2/a" else Reply()

    with fake_server(answer) as server, Transport(server.host) as transport:
        transport.send("PUT", "/v2/a", body=b"x")
    assert [(request.method, request.path, request.body) for request in server.requests] == [
        ("PUT", "/v2/a", b"x"),
        ("PUT", "/v2/a/", b"x"),
    ]


def test_location_elsewhere_gets_no_authorization() -> None:
    def answer(request: ReceivedRequest) -> Reply:
        if "authorization" not in request.headers:
            return reply({}, 401, www_authenticate='Basic realm="x"')
        return Reply(status=202, headers={"Location": f"http://{other.host}/upload?sig=x"})

    with fake_server(ok) as other, fake_server(answer) as server:
        with Transport(server.host, credential=MARY) as transport:
            begun = transport.send("POST", "/v2/a/blobs/uploads/")
            transport.send("PUT", transport.location(begun), params={"digest": "d"}, body=b"x")
        (request,) = other.requests
    assert (request.method, request.path, request.headers.get("authorization")) == ("PUT", "/upload?sig=x&digest=d", None)


@pytest.mark.parametrize(
    ("location", "there"),
    [
        ("/v2/b?x=y", "/v2/b?x=y"),
        ("b", "/v2/b"),
        ("http://HOST/v2/b#z", "/v2/b"),
        ("//HOST/v2/b", "/v2/b"),
        ("http://other.example.com/v2/b", "http://other.example.com/v2/b"),
        ("https://HOST/v2/b", "https://HOST/v2/b"),
    ],
)
def test_location(location: str, there: str) -> None:
    with (
        fake_server(lambda request: Reply(headers={"Location": location.replace("HOST", server.host)})) as server,
        Transport(server.host) as transport,
    ):
        assert transport.location(transport.get("/v2/a")) == there.replace("HOST", server.host)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://[::1", "https:", "javascript:alert(1)", "x:\x1b[2J"])
def test_location_that_is_no_url_is_an_error(location: str) -> None:
    with fake_server(lambda request: Reply(headers={"Location": location})) as server, Transport(server.host) as transport:
        answer = transport.get("/v2/a")
        with pytest.raises(RegistryError) as caught:
            transport.location(answer)
    assert caught.value.message.isprintable()


def test_redirect_to_http_on_the_registry_stays_on_tls(certificate: Path) -> None:
    with (
        fake_server(lambda request: Reply(headers={"Location": f"http://{server.host}/v2/b"}), certificate=certificate) as server,
        Transport(server.host) as transport,
    ):
        assert transport.location(transport.get("/v2/a")) == "/v2/b"
