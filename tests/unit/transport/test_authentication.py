from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import pytest
from urllib3 import HTTPHeaderDict

from registry_tool.auth.credentials import Credential
from registry_tool.base.errors import AuthenticationFailed, RegistryError
from registry_tool.transport.authentication import Authenticator, Purpose, TokenRequest, basic_header, purpose
from registry_tool.transport.responses import Response
from tests.support import canary

HOST = "registry.example.com"
MARY = Credential("mary", canary.password())
PULL = purpose("GET", "/v2/a/tags/list")


def challenge(words: str) -> Response:
    headers = HTTPHeaderDict({"WWW-Authenticate": words})
    return Response(method="GET", path="/v2/", url=f"https://{HOST}/v2/", status=401, headers=headers, body=b"")


def bearer(scope: str) -> Response:
    return challenge(f'Bearer realm="https://auth.example.com/token",service="s",scope="{scope}"')


class Maker:
    """Makes tokens that are good for ``lifetime`` seconds."""

    def __init__(self, lifetime: float = 300) -> None:
        self.asked: list[TokenRequest] = []
        self.lifetime = lifetime

    def __call__(self, wanted: TokenRequest) -> Response:
        self.asked.append(wanted)
        body = json.dumps({"token": f"t{len(self.asked)}", "expires_in": self.lifetime}).encode()
        return Response(method="GET", path="/token", url=wanted.url, status=200, headers={}, body=body)


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("registry_tool.transport.authentication.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def header(who: Authenticator, what: Purpose, response: Response, *, sent: str | None = None) -> str:
    return next(who.headers(what, response, sent=sent))


@pytest.mark.parametrize("words", ["", "Negotiate", 'Basic realm="x"'])
def test_challenge_without_credential_asks_for_a_login(words: str) -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        header(Authenticator(HOST, None, Maker()), PULL, challenge(words))
    assert caught.value.message == f"{HOST}/a: no such repository, or it needs a login: no credentials stored for {HOST}"
    assert caught.value.hint == f"Log in: regctl login {HOST}"


@pytest.mark.parametrize(
    "credential", [Credential("<token>", canary.password()), Credential("", canary.password(), is_registry_token=True)]
)
def test_token_does_not_answer_basic(credential: Credential) -> None:
    with pytest.raises(AuthenticationFailed, match="requires a user name and a password, and a token is stored"):
        header(Authenticator(HOST, credential, Maker()), PULL, challenge('Basic realm="x"'))


@pytest.mark.parametrize(
    ("words", "why"),
    [("Negotiate", "requires another login than a password or a token"), ("", r"does not say which \(no WWW-Authenticate\)")],
)
def test_challenge_that_no_credential_meets_says_what_is_wanted(words: str, why: str) -> None:
    with pytest.raises(AuthenticationFailed, match=why):
        header(Authenticator(HOST, MARY, Maker()), PULL, challenge(words))


# --- a token that is not available, and a password that is offered beside it ---


def failing(request: TokenRequest) -> Response:
    raise RegistryError("no token")


BOTH = 'Bearer realm="https://auth.example.com/token", Basic realm="x"'


@pytest.mark.parametrize("words", [BOTH, f"{BOTH.partition(', ')[2]}, {BOTH.partition(', ')[0]}", 'Bearer realm="/token", Basic realm="x"'])
def test_basic_beside_a_bearer_without_token_is_used(words: str) -> None:
    who = Authenticator(HOST, MARY, failing)
    assert header(who, PULL, challenge(words)) == basic_header(MARY)
    assert who.header(PULL) == basic_header(MARY)


def test_basic_is_used_where_the_token_is_refused_and_then_first() -> None:
    maker = Maker()
    who = Authenticator(HOST, MARY, maker)
    assert list(who.headers(PULL, challenge(BOTH), sent=None)) == ["Bearer t1", basic_header(MARY)]
    assert header(who, purpose("GET", "/v2/b/tags/list"), challenge(BOTH)) == basic_header(MARY)
    assert len(maker.asked) == 1, "a token server that does not help is asked for each repository"


def test_failure_of_the_token_server_is_raised_where_basic_is_refused() -> None:
    headers = Authenticator(HOST, MARY, failing).headers(PULL, challenge(BOTH), sent=None)
    assert next(headers) == basic_header(MARY)
    with pytest.raises(RegistryError, match="no token"):
        next(headers)


def test_basic_beside_a_broken_bearer_without_credential_asks_for_a_login() -> None:
    with pytest.raises(AuthenticationFailed, match="no credentials stored for"):
        header(Authenticator(HOST, None, failing), PULL, challenge(BOTH))


def test_broken_bearer_alone_is_its_own_error() -> None:
    for credential in (None, MARY):
        with pytest.raises(RegistryError, match="no token"):
            header(Authenticator(HOST, credential, failing), PULL, challenge(BOTH.partition(", ")[0]))


def test_registry_token_is_the_bearer_token() -> None:
    maker = Maker()
    who = Authenticator(HOST, Credential("", canary.password(), is_registry_token=True), maker)
    token = f"Bearer {canary.password()}"
    assert header(who, PULL, bearer("repository:a:pull")) == token
    assert list(who.headers(PULL, bearer("repository:a:pull"), sent=token)) == [], "a refused token is sent again"
    assert maker.asked == []


# --- the scope that is requested ---


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v2/john/app/tags/list", "repository:john/app:pull"),
        ("PUT", "/v2/a/manifests/v1", "repository:a:pull,push"),
        ("DELETE", "/v2/a/manifests/v1", "repository:a:pull,delete"),
        ("POST", "/v2/a/blobs/uploads/?mount=sha256:x&from=c%2Fd", "repository:a:pull,push repository:c/d:pull"),
        ("GET", "/v2/_catalog?n=5", "registry:catalog:*"),
        ("GET", "/v2/", ""),
    ],
)
@pytest.mark.parametrize("given", ["", ',scope=""', ",scope="])
def test_challenge_without_scope_requests_what_the_request_needs(method: str, path: str, scope: str, given: str) -> None:
    maker = Maker()
    who = Authenticator(HOST, None, maker)
    words = challenge(f'Bearer realm="https://auth.example.com/token",service="s"{given}')
    assert header(who, purpose(method, path), words) == "Bearer t1"
    query = parse_qs(urlsplit(maker.asked[0].url).query)
    assert " ".join(query.get("scope", [])) == scope


def test_repositories_without_scope_have_tokens_of_their_own() -> None:
    maker = Maker()
    who = Authenticator(HOST, None, maker)
    words = challenge('Bearer realm="https://auth.example.com/token"')
    assert header(who, PULL, words) == "Bearer t1"
    assert header(who, purpose("GET", "/v2/b/tags/list"), words) == "Bearer t2"


# --- tokens ---


def test_no_header_before_a_challenge() -> None:
    who = Authenticator(HOST, MARY, Maker())
    assert who.header(PULL) is None
    assert not who.authenticated


def test_token_is_reused_for_its_purpose() -> None:
    maker = Maker()
    who = Authenticator(HOST, None, maker)
    assert header(who, PULL, bearer("repository:a:pull")) == "Bearer t1"
    assert who.header(PULL) == who.header(purpose("HEAD", "/v2/a/blobs/x")) == "Bearer t1"
    assert who.header(purpose("PUT", "/v2/a/manifests/x")) is None
    assert who.header(purpose("GET", "/v2/b/tags/list")) is None
    assert who.authenticated
    assert len(maker.asked) == 1


def test_one_scope_has_one_token_for_all_purposes() -> None:
    maker = Maker()
    who = Authenticator(HOST, None, maker)
    everything = bearer("repository:a:pull,push")
    assert header(who, PULL, everything) == header(who, purpose("PUT", "/v2/a/manifests/x"), everything) == "Bearer t1"
    assert len(maker.asked) == 1


def test_refused_token_is_replaced() -> None:
    maker = Maker()
    who = Authenticator(HOST, None, maker)
    first = header(who, PULL, bearer("repository:a:pull"))
    assert header(who, PULL, bearer("repository:a:pull"), sent=first) == "Bearer t2"


def test_token_is_renewed_before_it_expires(clock: Clock) -> None:
    maker = Maker(lifetime=300)
    who = Authenticator(HOST, None, maker)
    header(who, PULL, bearer("repository:a:pull"))
    clock.now += 289
    assert who.header(PULL) == "Bearer t1"
    clock.now += 2
    assert who.header(PULL) == "Bearer t2"
    assert "repository%3Aa%3Apull" in maker.asked[1].url
    clock.now += 289
    assert who.header(PULL) == "Bearer t2"


def test_short_lived_token_is_used(clock: Clock) -> None:
    maker = Maker(lifetime=5)
    who = Authenticator(HOST, None, maker)
    header(who, PULL, bearer("x"))
    clock.now += 3.9
    assert who.header(PULL) == "Bearer t1"
    clock.now += 0.2
    assert who.header(PULL) == "Bearer t2"


def test_threads_request_a_shared_token_once() -> None:
    maker = Maker()
    who = Authenticator(HOST, None, maker)
    together = threading.Barrier(8, timeout=60)

    def ask(_: int) -> str:
        together.wait()
        return header(who, PULL, bearer("repository:a:pull"))

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ask, range(8))) == {"Bearer t1"}
    assert len(maker.asked) == 1


@pytest.mark.parametrize(
    ("method", "path", "what_for"),
    [
        ("GET", "/v2/", ("", "pull", "")),
        ("GET", "/v2/_catalog?n=5", ("", "catalog", "")),
        ("GET", "/v2/john/get-started/tags/list", ("john/get-started", "pull", "")),
        ("HEAD", "/v2/a/manifests/v1", ("a", "pull", "")),
        ("PUT", "/v2/a/manifests/v1", ("a", "push", "")),
        ("DELETE", "/v2/a/manifests/v1", ("a", "delete", "")),
        ("GET", "/v2/a/b/referrers/sha256:x", ("a/b", "pull", "")),
        ("POST", "/v2/a/b/blobs/uploads/", ("a/b", "push", "")),
        ("PATCH", "/v2/a/b/blobs/uploads/some-id?_state=x", ("a/b", "push", "")),
        ("POST", "/v2/a/blobs/uploads/?mount=sha256:x&from=c%2Fd", ("a", "push", "c/d")),
        ("GET", "/v2/john/blobs/x/tags/list", ("john", "pull", "")),
        ("GET", "/v2/a/blobs/blobs/sha256:x", ("a/blobs", "pull", "")),
        ("PUT", "https://elsewhere.example.com/v2/a/blobs/uploads/x", ("a", "push", "")),
    ],
)
def test_purpose(method: str, path: str, what_for: tuple[str, str, str]) -> None:
    assert purpose(method, path) == what_for
