"""Registries without HEAD."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from registry_tool.base.errors import (
    NotFound,
    RegistryError,
    RegistryToolError,
    TooManyRequests,
)
from registry_tool.transport import Transport
from tests.support.fake_server import JSON, FakeServer, ReceivedRequest, Reply, fake_server, reply
from tests.support.transport_servers import MARY

WORDS = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "no such tag"}]}


def without_head(status: int) -> Callable[[ReceivedRequest], Reply]:
    """A registry that has everything, and refuses HEAD."""
    manifest = Reply(headers={"Content-Type": JSON, "Docker-Content-Digest": "sha256:x"})
    return lambda request: reply({}, status) if request.method == "HEAD" else manifest


def methods(server: FakeServer) -> list[str]:
    return [request.method for request in server.requests]


@pytest.mark.parametrize("status", [400, 403, 404, 405, 406, 412, 501])
def test_head_that_is_not_supported_is_a_get_once_and_then_always(status: int) -> None:
    with fake_server(without_head(status)) as server, Transport(server.host) as transport:
        response = transport.head("/v2/a/manifests/v1", headers={"Accept": "a/b"})
        assert (response.status, response.body, response.headers["docker-content-digest"]) == (200, b"{}", "sha256:x")
        assert transport.head("/v2/b/manifests/v2").status == 200
        assert methods(server) == ["HEAD", "GET", "GET"]
        assert server.requests[1].headers["accept"] == "a/b"


def test_head_of_a_blob_by_get_does_not_read_it() -> None:
    endless = Reply(headers={"Content-Length": str(10**15)}, body=b"x")
    with (
        fake_server(lambda request: reply({}, 405) if request.method == "HEAD" else endless) as server,
        Transport(server.host) as transport,
    ):
        for _ in range(2):
            response = transport.head("/v2/a/blobs/sha256:x")
            assert (response.headers["content-length"], response.body) == (str(10**15), b"")
        assert methods(server) == ["HEAD", "GET", "GET"]


def test_head_of_manifests_and_blobs_are_told_apart() -> None:
    def answer(request: ReceivedRequest) -> Reply:
        return reply({}, 404) if request.method == "HEAD" and "/manifests/" in request.path else Reply()

    with fake_server(answer) as server, Transport(server.host) as transport:
        for path in ("/v2/a/manifests/v1", "/v2/a/blobs/x", "/v2/a/manifests/v1", "/v2/a/blobs/x"):
            transport.head(path)
        assert methods(server) == ["HEAD", "GET", "HEAD", "GET", "HEAD"]


@pytest.mark.parametrize(("status", "following"), [(403, "HEAD"), (404, "HEAD"), (405, "GET")])
def test_head_refused_for_one_tag_is_still_used_for_others(status: int, following: str) -> None:
    def answer(request: ReceivedRequest) -> Reply:
        return reply({}, status) if request.method == "HEAD" and request.path.endswith("/odd") else Reply()

    with fake_server(answer) as server, Transport(server.host) as transport:
        for tag in ("v1", "odd", "v2"):
            assert transport.head(f"/v2/a/manifests/{tag}").status == 200
        assert methods(server) == ["HEAD", "HEAD", "GET", following]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 412, 500, 503])
def test_error_to_head_has_the_registrys_words(status: int) -> None:
    refused = reply(WORDS, status, www_authenticate='Basic realm="x"')
    with fake_server(lambda request: refused) as server, Transport(server.host, credential=MARY) as transport:
        with pytest.raises(RegistryToolError, match=f"GET /v2/a/manifests/v1: {status} MANIFEST_UNKNOWN no such tag"):
            transport.head("/v2/a/manifests/v1")
        assert methods(server).count("GET") == 1


def test_failing_server_is_not_remembered_as_one_without_head() -> None:
    with (
        fake_server(lambda request: reply({}, 500) if request.method == "HEAD" else Reply()) as server,
        Transport(server.host) as transport,
    ):
        for _ in range(2):
            assert transport.head("/v2/a/manifests/v1").status == 200
        assert methods(server) == ["HEAD", "GET", "HEAD", "GET"]


@pytest.mark.parametrize("status", [400, 403, 500])
def test_server_that_always_refuses_is_not_asked_for_its_words_each_time(status: int) -> None:
    with fake_server(lambda request: reply(WORDS, status)) as server, Transport(server.host) as transport:
        for _ in range(6):
            with pytest.raises(RegistryError):
                transport.head("/v2/a/manifests/v1")
        assert methods(server) == [*["HEAD", "GET"] * 3, "HEAD", "HEAD", "HEAD"]


def test_exhausted_rate_limit_is_not_tried_by_get() -> None:
    with fake_server(lambda request: reply({}, 429, retry_after="3600")) as server, Transport(server.host) as transport:
        with pytest.raises(TooManyRequests):
            transport.head("/v2/a/manifests/v1")
        assert methods(server) == ["HEAD"]


def test_missing_blob_is_not_requested_twice_once_head_is_known_to_tell() -> None:
    with fake_server(lambda request: reply(WORDS, 404)) as server, Transport(server.host) as transport:
        for _ in range(3):
            with pytest.raises(NotFound):
                transport.head("/v2/a/blobs/x", may_be_missing=True)
        assert methods(server) == ["HEAD", "GET", "HEAD", "HEAD"]
