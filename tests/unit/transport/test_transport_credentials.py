"""Passwords and tokens of requests."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest

from registry_tool.auth.credentials import Credential
from registry_tool.base.errors import (
    AuthenticationFailed,
    CredentialsError,
    RegistryError,
)
from registry_tool.transport import Transport
from tests.support import canary
from tests.support.fake_server import ReceivedRequest, Reply, fake_server, reply
from tests.support.transport_servers import BASIC, MARY, Tokens, elsewhere, ok


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
