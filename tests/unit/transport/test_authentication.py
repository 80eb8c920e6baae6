from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from urllib3 import HTTPHeaderDict

from registry_tool.auth.credentials import Credential
from registry_tool.base.errors import AuthenticationFailed
from registry_tool.transport.authentication import Authenticator, TokenRequest, purpose
from registry_tool.transport.responses import Response
from tests.support import canary

HOST = "registry.example.com"
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


@pytest.mark.parametrize("words", ["", "Negotiate", 'Basic realm="x"'])
def test_challenge_without_credential_asks_for_a_login(words: str) -> None:
    with pytest.raises(AuthenticationFailed, match="wants a user name and a password"):
        Authenticator(HOST, None, Maker()).authenticate(PULL, challenge(words), sent=None)


def test_identity_token_does_not_answer_basic() -> None:
    with pytest.raises(AuthenticationFailed):
        Authenticator(HOST, Credential("<token>", canary.password()), Maker()).authenticate(PULL, challenge('Basic realm="x"'), sent=None)


def test_no_header_before_a_challenge() -> None:
    who = Authenticator(HOST, Credential("mary", canary.password()), Maker())
    assert who.header(PULL) is None
    assert not who.authenticated


def test_token_is_reused_for_its_purpose() -> None:
    maker = Maker()
    who = Authenticator(HOST, None, maker)
    assert who.authenticate(PULL, bearer("repository:a:pull"), sent=None) == "Bearer t1"
    assert who.header(PULL) == who.header(purpose("HEAD", "/v2/a/blobs/x")) == "Bearer t1"
    assert who.header(purpose("PUT", "/v2/a/manifests/x")) is None
    assert who.header(purpose("GET", "/v2/b/tags/list")) is None
    assert who.authenticated
    assert len(maker.asked) == 1


def test_one_scope_has_one_token_for_all_purposes() -> None:
    maker = Maker()
    who = Authenticator(HOST, None, maker)
    everything = bearer("repository:a:pull,push")
    assert (
        who.authenticate(PULL, everything, sent=None)
        == who.authenticate(purpose("PUT", "/v2/a/manifests/x"), everything, sent=None)
        == "Bearer t1"
    )
    assert len(maker.asked) == 1


def test_refused_token_is_replaced() -> None:
    maker = Maker()
    who = Authenticator(HOST, None, maker)
    first = who.authenticate(PULL, bearer("repository:a:pull"), sent=None)
    assert who.authenticate(PULL, bearer("repository:a:pull"), sent=first) == "Bearer t2"


def test_token_is_renewed_before_it_expires(clock: Clock) -> None:
    maker = Maker(lifetime=300)
    who = Authenticator(HOST, None, maker)
    who.authenticate(PULL, bearer("repository:a:pull"), sent=None)
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
    who.authenticate(PULL, bearer("x"), sent=None)
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
        return who.authenticate(PULL, bearer("repository:a:pull"), sent=None)

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ask, range(8))) == {"Bearer t1"}
    assert len(maker.asked) == 1


@pytest.mark.parametrize(
    ("method", "path", "what_for"),
    [
        ("GET", "/v2/", ("", "pull", "")),
        ("GET", "/v2/_catalog?n=5", ("", "pull", "")),
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
