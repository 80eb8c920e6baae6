from __future__ import annotations

import base64
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from registry_tool import __version__
from registry_tool.auth.credentials import Credential
from registry_tool.base.errors import (
    AuthenticationFailed,
    ConnectionLost,
    CredentialsError,
    ErrorResponse,
    Mismatch,
    NotARegistry,
    NotFound,
    RegistryError,
    RegistryToolError,
    RegistryUnreachable,
    TooManyRequests,
)
from registry_tool.transport import Transport, pool
from registry_tool.transport import transport as transport_module
from tests.support import canary
from tests.support.fake_server import JSON, FakeServer, ReceivedRequest, Reply, fake_server, reply, self_signed, sending, tcp_server

MARY = Credential("mary", canary.password("pässword"))
BASIC = "Basic " + base64.b64encode(f"mary:{MARY.password}".encode()).decode()
SHORT = (60.0, 0.3)


def ok(request: ReceivedRequest) -> Reply:
    return Reply()


def elsewhere(there: FakeServer, path: str, status: int = 307) -> Reply:
    return Reply(status=status, headers={"Location": f"http://{there.host}{path}"})


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
        time.sleep(59)

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


# --- TLS and plain HTTP ---


@pytest.fixture
def certificate(has_openssl: None, tmp_path: Path) -> Path:
    return self_signed(tmp_path)


def test_tls_on_loopback_is_not_verified(certificate: Path) -> None:
    with fake_server(ok, certificate=certificate) as server, Transport(server.host) as transport:
        assert transport.get("/v2/").status == 200


def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is on loopback pass for a registry elsewhere, on a machine that trusts nobody in particular."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    for module in (transport_module, pool):
        monkeypatch.setattr(module, "is_loopback", lambda host: False)


def test_elsewhere_certificates_are_verified(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away(monkeypatch)
    with fake_server(ok, certificate=certificate) as server:
        with (
            Transport(server.host) as transport,
            pytest.raises(RegistryUnreachable, match="cannot be trusted: self-signed certificate") as caught,
        ):
            transport.get("/v2/")
        assert caught.value.hint
        assert "SSL_CERT_FILE" in caught.value.hint
        assert server.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with Transport(server.host) as transport:
            assert transport.get("/v2/").status == 200


def test_missing_bundle_is_an_error(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away(monkeypatch)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    with (
        fake_server(ok, certificate=certificate) as server,
        Transport(server.host) as transport,
        pytest.raises(RegistryUnreachable, match=r"/nowhere/ca\.pem"),
    ):
        transport.get("/v2/")


def test_elsewhere_plain_http_must_be_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    away(monkeypatch)
    with fake_server(ok) as server:
        with Transport(server.host, credential=MARY) as transport, pytest.raises(RegistryUnreachable, match="does not speak TLS") as caught:
            transport.get("/v2/")
        assert caught.value.hint == "If it speaks plain HTTP, use --plain-http."
        assert server.requests == []
        with Transport(server.host, plain_http=True) as transport:
            assert transport.get("/v2/").status == 200


# --- proxies and other people's files ---


def test_loopback_uses_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_server(ok) as proxy, fake_server(ok) as server:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{proxy.host}")
        for host in (server.host, f"localhost:{server.port}"):
            with Transport(host) as transport:
                transport.get("/v2/")
        assert (len(proxy.requests), len(server.requests)) == (0, 2)


def test_other_hosts_use_the_proxy_unless_in_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_server(ok) as proxy:
        monkeypatch.setenv("http_proxy", f"http://{proxy.host}")
        with Transport("registry.invalid", plain_http=True) as transport:
            transport.get("/v2/")
            assert [request.path for request in proxy.requests] == ["http://registry.invalid/v2/"]
        monkeypatch.setenv("no_proxy", "registry.invalid")
        with (
            Transport("registry.invalid", plain_http=True) as transport,
            pytest.raises(RegistryUnreachable, match=r"no registry answers at registry\.invalid"),
        ):
            transport.get("/v2/")


def test_unreachable_proxy_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://user:{canary.password()}@127.0.0.1:1")
    with (
        Transport("registry.invalid") as transport,
        pytest.raises(RegistryUnreachable, match="cannot be reached through its proxy") as caught,
    ):
        transport.get("/v2/")
    assert canary.password() not in str(caught.value)


def test_netrc_is_not_used(own_folders: Path) -> None:
    (own_folders / ".netrc").write_text("machine 127.0.0.1 login netrc password netrc\n")
    with fake_server(ok) as server, Transport(server.host) as transport:
        transport.get("/v2/")
        assert "authorization" not in server.requests[0].headers


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


# --- registries without HEAD ---

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


# --- pages ---


def chain(links: dict[str, str]) -> Callable[[ReceivedRequest], Reply]:
    def answer(request: ReceivedRequest) -> Reply:
        link = links.get(request.path)
        return reply({"path": request.path}, Link=f'<{link}>; rel="next"' if link else "")

    return answer


def paths(server: FakeServer, path: str = "/v2/_catalog") -> list[str]:
    with Transport(server.host) as transport:
        return [answer.json()["path"] for answer in transport.pages(path, params={"n": "1"})]


def test_pages_are_followed_to_the_last() -> None:
    links = {"/v2/_catalog?n=1": "/v2/_catalog?n=1&last=a", "/v2/_catalog?n=1&last=a": "?n=1&last=b"}
    with fake_server(chain(links)) as server:
        assert paths(server) == ["/v2/_catalog?n=1", "/v2/_catalog?n=1&last=a", "/v2/_catalog?n=1&last=b"]


def warned(server: FakeServer) -> tuple[list[str], list[str]]:
    """The pages that were read, and the warnings."""
    warnings: list[str] = []
    with Transport(server.host, on_warning=warnings.append) as transport:
        return [answer.json()["path"] for answer in transport.pages("/v2/_catalog")], warnings


def test_loop_of_links_ends_with_a_warning() -> None:
    links = {"/v2/_catalog": "/v2/_catalog?last=a", "/v2/_catalog?last=a": "/v2/_catalog"}
    with fake_server(chain(links)) as server:
        pages, (warning,) = warned(server)
        assert pages == ["/v2/_catalog", "/v2/_catalog?last=a"]
    assert warning == f"{server.host} names no next page that can be requested: the list of /v2/_catalog may be incomplete"


def test_page_whose_path_has_a_url_in_it_is_requested_here() -> None:
    links = {"/v2/_catalog?n=1": "/v2/_catalog/http://elsewhere.example/x?n=1"}
    with fake_server(chain(links)) as server:
        assert paths(server) == ["/v2/_catalog?n=1", "/v2/_catalog/http://elsewhere.example/x?n=1"]


def test_link_without_rel_is_followed_on_the_same_list_and_else_warned_of() -> None:
    links = {"/v2/_catalog": "/v2/_catalog?last=a", "/v2/_catalog?last=a": "/v2/other?last=b"}

    def answer(request: ReceivedRequest) -> Reply:
        link = links.get(request.path)
        return reply({"path": request.path}, Link=f"<{link}>" if link else "")

    with fake_server(answer) as server:
        pages, warnings = warned(server)
        assert pages == ["/v2/_catalog", "/v2/_catalog?last=a"]
        assert len(warnings) == 1


def test_complete_list_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with fake_server(chain({"/v2/_catalog": "/v2/_catalog?last=a"})) as server:
        assert warned(server) == (["/v2/_catalog", "/v2/_catalog?last=a"], [])
    assert caplog.records == []


def test_warnings_are_logged_where_nobody_takes_them(caplog: pytest.LogCaptureFixture) -> None:
    with fake_server(lambda request: reply({}, Link="rubbish")) as server, Transport(server.host) as transport:
        for _ in range(2):
            list(transport.pages("/v2/_catalog"))
    assert [record.name for record in caplog.records] == ["registry_tool"]


def test_link_relative_to_a_redirected_address_is_followed_without_authorization() -> None:
    def there(request: ReceivedRequest) -> Reply:
        return reply({"path": request.path}, Link="" if "last" in request.path else "<?last=a>; rel=next")

    def answer(request: ReceivedRequest) -> Reply:
        known = "authorization" in request.headers
        return elsewhere(other, "/mirror/list") if known else reply({}, 401, www_authenticate='Basic realm="x"')

    with fake_server(there) as other, fake_server(answer) as server, Transport(server.host, credential=MARY) as transport:
        assert [page.json()["path"] for page in transport.pages("/v2/a/tags/list")] == ["/mirror/list", "/mirror/list?last=a"]
        assert all("authorization" not in request.headers for request in other.requests)


def test_endless_links_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "MAX_PAGES", 5)
    with fake_server(lambda request: reply({"path": ""}, Link=f'<{request.path}1>; rel="next"')) as server:
        with pytest.raises(RegistryError, match="no end of pages"):
            paths(server)
        assert len(server.requests) == 5


def test_link_to_another_host_stays_on_the_registry() -> None:
    with fake_server(ok) as other:
        with fake_server(chain({"/v2/_catalog?n=1": f"http://{other.host}/v2/_catalog?last=a"})) as server:
            assert paths(server) == ["/v2/_catalog?n=1", "/v2/_catalog?last=a"]
        assert other.requests == []


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


# --- who we are ---


def guarded(request: ReceivedRequest) -> Reply:
    known = request.headers.get("authorization") == BASIC
    return Reply() if known else reply({"errors": [{"code": "UNAUTHORIZED", "message": "who?"}]}, 401, www_authenticate='Basic realm="x"')


def test_challenge_without_credential_is_an_error() -> None:
    with fake_server(guarded) as server, Transport(server.host) as transport, pytest.raises(AuthenticationFailed) as caught:
        transport.get("/v2/")
    assert caught.value.message == f"{server.host} needs a login: no credentials stored for {server.host}"
    assert caught.value.hint == f"Log in: regctl login {server.host}"


def denying(status: int, *, at_the_token_server: bool) -> Callable[[ReceivedRequest], Reply]:
    """A registry with tokens that gives nobody in."""
    denied = reply({"errors": [{"code": "DENIED", "message": "not you"}]}, status)

    def answer(request: ReceivedRequest) -> Reply:
        if request.path.startswith("/token"):
            return denied if at_the_token_server else reply({"token": "anonymous"})
        if status == 403 and "authorization" in request.headers:
            return denied
        return reply({}, 401, www_authenticate=f'Bearer realm="http://{request.headers["host"]}/token"')

    return answer


@pytest.mark.parametrize(("status", "at_the_token_server"), [(401, True), (403, True), (401, False)])
def test_nobody_is_not_told_that_the_password_is_wrong(status: int, at_the_token_server: bool) -> None:
    with (
        fake_server(denying(status, at_the_token_server=at_the_token_server)) as server,
        Transport(server.host, credential=lambda repository: None) as transport,
        pytest.raises(AuthenticationFailed) as caught,
    ):
        transport.get("/v2/john/app/tags/list")
    assert (
        caught.value.message == f"{server.host}/john/app: no such repository, or it needs a login: no credentials stored for {server.host}"
    )


def test_nobody_who_is_denied_learns_that_no_credentials_are_stored() -> None:
    with (
        fake_server(denying(403, at_the_token_server=False)) as server,
        Transport(server.host) as transport,
        pytest.raises(AuthenticationFailed, match="GET /v2/a/tags/list: 403 DENIED not you") as caught,
    ):
        transport.get("/v2/a/tags/list")
    assert caught.value.hint == f"No credentials are stored for {server.host}. Log in: regctl login {server.host}"
    assert caught.value.response is not None


def test_wrong_password_is_an_error() -> None:
    with fake_server(guarded) as server, Transport(server.host, credential=Credential("mary", canary.password("wrong"))) as transport:
        with pytest.raises(
            AuthenticationFailed, match="does not accept the user name or the password: GET /v2/: 401 UNAUTHORIZED who"
        ) as caught:
            transport.get("/v2/")
        assert canary.password("wrong") not in str(caught.value)
        assert len(server.requests) == 2


def test_password_is_sent_after_a_challenge_and_then_always() -> None:
    with fake_server(guarded) as server, Transport(server.host, credential=MARY) as transport:
        transport.get("/v2/")
        transport.get("/v2/")
    assert [request.headers.get("authorization") for request in server.requests] == [None, BASIC, BASIC]


def test_credential_store_is_read_after_a_challenge_only_and_once_for_each_repository() -> None:
    looks: list[str] = []

    def look(repository: str) -> Credential:
        looks.append(repository)
        return MARY

    with fake_server(ok) as server, Transport(server.host, credential=look) as transport:
        transport.get("/v2/")
        assert looks == []
        server.respond = guarded
        transport.get("/v2/a/tags/list")
        transport.get("/v2/b/tags/list")
        transport.get("/v2/a/manifests/x")
        assert looks == ["a", "b"]


def test_each_repository_has_its_own_credential() -> None:
    users = {"a": MARY, "b": Credential("john", canary.password("john")), "c": None}
    with fake_server(guarded) as server, Transport(server.host, credential=users.get) as transport:
        assert transport.get("/v2/a/tags/list").status == 200
        with pytest.raises(AuthenticationFailed, match="does not accept the user name or the password"):
            transport.get("/v2/b/tags/list")
        with pytest.raises(AuthenticationFailed, match="/c: no such repository, or it needs a login"):
            transport.get("/v2/c/tags/list")
        sent = [(request.path, request.headers.get("authorization")) for request in server.requests]
    assert [path for path, authorization in sent if authorization == BASIC] == ["/v2/a/tags/list"]


def test_tokens_of_two_users_are_kept_apart() -> None:
    def answer(request: ReceivedRequest) -> Reply:
        if request.path.startswith("/token"):
            return reply({"token": "mary" if request.headers.get("authorization") == BASIC else "nobody"})
        if "authorization" in request.headers:
            return Reply()
        return reply({}, 401, www_authenticate=f'Bearer realm="http://{server.host}/token",scope="one for all"')

    with fake_server(answer) as server, Transport(server.host, credential={"a": MARY}.get) as transport:
        for path in ("/v2/a/tags/list", "/v2/b/tags/list"):
            transport.get(path)
        sent = [(request.path, request.headers.get("authorization")) for request in server.requests if request.path.startswith("/v2/")]
    assert [each for each in sent if each[1]] == [("/v2/a/tags/list", "Bearer mary"), ("/v2/b/tags/list", "Bearer nobody")]


def broken_store(repository: str) -> Credential:
    raise CredentialsError("the helper is missing")


def test_public_image_is_read_with_a_warning_where_the_store_fails() -> None:
    tokens, warnings = Tokens(), list[str]()
    with fake_server(tokens) as server, Transport(server.host, credential=broken_store, on_warning=warnings.append) as transport:
        tokens.host = server.host
        for path in ("/v2/a/tags/list", "/v2/b/tags/list"):
            assert transport.get(path).status == 200
    assert warnings == ["the helper is missing: going on without credentials"]


@pytest.mark.parametrize(("status", "at_the_token_server"), [(401, True), (403, True), (401, False), (403, False)])
def test_failing_store_is_the_error_where_nobody_is_let_in(status: int, at_the_token_server: bool) -> None:
    with (
        fake_server(denying(status, at_the_token_server=at_the_token_server)) as server,
        Transport(server.host, credential=broken_store) as transport,
        pytest.raises(CredentialsError, match="the helper is missing"),
    ):
        transport.get("/v2/a/tags/list")


def test_failing_store_is_the_error_after_a_challenge() -> None:
    with fake_server(guarded) as server, Transport(server.host, credential=broken_store) as transport, pytest.raises(CredentialsError):
        transport.get("/v2/")


def test_unknown_challenge_is_an_error() -> None:
    with (
        fake_server(lambda request: reply({}, 401, www_authenticate="Negotiate")) as server,
        Transport(server.host, credential=MARY) as transport,
        pytest.raises(AuthenticationFailed),
    ):
        transport.get("/v2/")


class Tokens:
    """A registry whose tokens are made at ``realm``, and, on the same server, the place that makes them."""

    def __init__(self, realm: str | None = None) -> None:
        self.realm = realm
        self.host = ""
        self.made = 0
        self.valid: set[str] = set()

    def __call__(self, request: ReceivedRequest) -> Reply:
        where = urlsplit(request.path)
        if where.path == "/token":
            return self.make(request, parse_qs(where.query or request.body.decode()))
        scope = f"repository:{'/'.join(where.path.split('/')[2:-2])}:pull"
        if request.headers.get("authorization", "") in {f"Bearer {token}-{scope}" for token in self.valid}:
            return Reply()
        realm = self.realm or f"http://{self.host}/token"
        return reply({}, 401, www_authenticate=f'Bearer realm="{realm}",service="the registry",scope="{scope}"')

    def make(self, request: ReceivedRequest, query: dict[str, list[str]]) -> Reply:
        if request.headers.get("authorization") not in (None, BASIC):
            return reply({"errors": [{"code": "UNAUTHORIZED", "message": "no"}]}, 401)
        assert query["service"] == ["the registry"]
        self.made += 1
        self.valid.add(f"t{self.made}")
        return reply({"access_token" if request.method == "POST" else "token": f"t{self.made}-{query['scope'][0]}"})


def test_one_token_per_repository() -> None:
    tokens = Tokens()
    with fake_server(tokens) as server, Transport(server.host, credential=MARY) as transport:
        tokens.host = server.host
        for path in ("/v2/a/b/tags/list", "/v2/a/b/manifests/x", "/v2/c/tags/list", "/v2/a/b/manifests/y"):
            transport.get(path)
        assert tokens.made == 2
        request = [request for request in server.requests if request.path.startswith("/token")]
        assert [one.headers.get("authorization") for one in request] == [BASIC, BASIC]
        assert parse_qs(urlsplit(request[0].path).query) == {"service": ["the registry"], "scope": ["repository:a/b:pull"]}


def test_expired_token_is_replaced() -> None:
    tokens = Tokens()
    with fake_server(tokens) as server, Transport(server.host) as transport:
        tokens.host = server.host
        transport.get("/v2/a/tags/list")
        tokens.valid.clear()
        transport.get("/v2/a/tags/list")
        assert tokens.made == 2
        assert all("Basic" not in request.headers.get("authorization", "") for request in server.requests)


def test_identity_token_is_exchanged() -> None:
    tokens = Tokens()
    with fake_server(tokens) as server, Transport(server.host, credential=Credential("<token>", canary.password("refresh"))) as transport:
        tokens.host = server.host
        transport.get("/v2/a/tags/list")
        (request,) = [request for request in server.requests if request.path.startswith("/token")]
    assert request.method == "POST"
    form = parse_qs(request.body.decode())
    assert (form["grant_type"], form["refresh_token"]) == (["refresh_token"], [canary.password("refresh")])
    assert "authorization" not in request.headers


def without_post(tokens: Tokens, status: int) -> Callable[[ReceivedRequest], Reply]:
    return lambda request: reply({}, status) if request.method == "POST" else tokens(request)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 501])
def test_token_server_without_post_gets_the_identity_token_by_get(status: int) -> None:
    tokens = Tokens()
    identity = Credential("<token>", MARY.password, account="mary")
    with fake_server(without_post(tokens, status)) as server, Transport(server.host, credential=identity) as transport:
        tokens.host = server.host
        assert transport.get("/v2/a/tags/list").status == 200
        requests = [request for request in server.requests if request.path.startswith("/token")]
    assert [(request.method, request.headers.get("authorization")) for request in requests] == [("POST", None), ("GET", BASIC)]


def test_token_server_without_get_gets_the_password_by_post() -> None:
    tokens = Tokens()

    def answer(request: ReceivedRequest) -> Reply:
        return reply({}, 405) if request.method == "GET" and request.path.startswith("/token") else tokens(request)

    with fake_server(answer) as server, Transport(server.host, credential=MARY) as transport:
        tokens.host = server.host
        assert transport.get("/v2/a/tags/list").status == 200
        request = server.requests[-2]
    form = parse_qs(request.body.decode())
    assert (request.method, form["username"], form["password"]) == ("POST", ["mary"], [MARY.password])


def test_refused_password_is_sent_to_the_token_server_once() -> None:
    with (
        fake_server(denying(401, at_the_token_server=True)) as server,
        Transport(server.host, credential=MARY) as transport,
        pytest.raises(AuthenticationFailed, match="does not accept the user name or the password"),
    ):
        transport.get("/v2/a/tags/list")
    assert [request.method for request in server.requests] == ["GET", "GET"]


def test_challenge_without_scope_gets_a_token_for_the_repository() -> None:
    tokens = Tokens()

    def answer(request: ReceivedRequest) -> Reply:
        answered = tokens(request)
        if answered.status != 401:
            return answered
        return reply({}, 401, www_authenticate=f'Bearer realm="http://{server.host}/token",service="the registry"')

    with fake_server(answer) as server, Transport(server.host) as transport:
        for path in ("/v2/a/b/tags/list", "/v2/c/tags/list"):
            assert transport.get(path).status == 200


@pytest.mark.parametrize("realm", ["/token", "ftp://127.0.0.1/token", "http://127.0.0.1:1/token", ""])
def test_password_is_used_where_the_token_beside_it_cannot_be_had(realm: str) -> None:
    def answer(request: ReceivedRequest) -> Reply:
        known = request.headers.get("authorization") == BASIC
        return Reply() if known else reply({}, 401, www_authenticate=f'Bearer realm="{realm}", Basic realm="x"')

    with fake_server(answer) as server, Transport(server.host, credential=MARY) as transport:
        for path in ("/v2/a/tags/list", "/v2/b/tags/list"):
            assert transport.get(path).status == 200
    assert [request.headers.get("authorization") for request in server.requests] == [None, BASIC, None, BASIC]


def test_registry_token_is_sent_to_the_registry_only() -> None:
    secret = Credential("", canary.password("bearer"), is_registry_token=True)

    def answer(request: ReceivedRequest) -> Reply:
        if request.headers.get("authorization") == f"Bearer {secret.password}":
            return elsewhere(other, "/blob")
        return reply({}, 401, www_authenticate=f'Bearer realm="http://{other.host}/token"')

    with fake_server(ok) as other, fake_server(answer) as server:
        with Transport(server.host, credential=secret) as transport:
            assert transport.get("/v2/a/blobs/x").status == 200
        assert [(request.path, request.headers.get("authorization")) for request in other.requests] == [("/blob", None)]


def test_wrong_password_at_the_token_server_is_an_error() -> None:
    tokens = Tokens()
    with fake_server(tokens) as server, Transport(server.host, credential=Credential("mary", canary.password("wrong"))) as transport:
        tokens.host = server.host
        with pytest.raises(AuthenticationFailed, match="does not accept the user name or the password"):
            transport.get("/v2/a/tags/list")


@pytest.mark.parametrize(
    "realm",
    [
        "http://elsewhere.invalid/token",
        "http://127.0.0.1.invalid/token",
        "ftp://localhost/token",
        "/token",
        "",
        "http://localhost@elsewhere.invalid/",
    ],
)
def test_password_is_not_sent_to_a_realm_without_tls(realm: str) -> None:
    tokens = Tokens(realm or " ")
    with (
        fake_server(tokens) as server,
        Transport(server.host, credential=MARY) as transport,
        pytest.raises(AuthenticationFailed, match="not TLS: refused"),
    ):
        transport.get("/v2/a/tags/list")


def test_realm_on_loopback_is_refused_for_other_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_server(Tokens()) as realm, fake_server(Tokens(f"http://{realm.host}/token")) as proxy:
        monkeypatch.setenv("http_proxy", f"http://{proxy.host}")
        with Transport("registry.invalid", plain_http=True, credential=MARY) as transport, pytest.raises(AuthenticationFailed):
            transport.get("/v2/a/tags/list")
        assert realm.requests == []


@pytest.mark.parametrize("document", [{}, [], {"token": ""}, {"token": 7}, {"token": "a\r\nEvil: b"}, {"token": "ü"}, None])
def test_response_without_token_is_an_error(document: object) -> None:
    tokens = Tokens()
    tokens.make = lambda request, query: reply(document)  # type: ignore[method-assign]
    with fake_server(tokens) as server, Transport(server.host) as transport:
        tokens.host = server.host
        with pytest.raises(RegistryError, match=r"token server .* returned no token"):
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
