from __future__ import annotations

import base64
from urllib.parse import parse_qsl, urlsplit

import pytest

from registry_tool.auth.credentials import Credential
from registry_tool.base.errors import AuthenticationFailed, RegistryError
from registry_tool.transport.authentication import DEFAULT_LIFETIME, read_token, token_request
from tests.support import canary

MARY = Credential("mary", canary.password("pässword"))
HERE = "localhost:5000"
THERE = "registry.example.com"
REALM = "https://auth.example.com/token"


@pytest.mark.parametrize(
    ("host", "realm"),
    [
        (THERE, "http://auth.example.com/token"),
        (THERE, "http://localhost/token"),
        (THERE, f"http://{THERE}/token"),
        (THERE, "ftp://auth.example.com/token"),
        (THERE, "file:///etc/passwd"),
        (THERE, "https:///token"),
        (THERE, "https:auth.example.com"),
        (THERE, "https://[::1/token"),
        (THERE, "//auth.example.com/token"),
        (THERE, ""),
        (HERE, "http://auth.example.com/token"),
        (HERE, "http://localhost@auth.example.com/"),
        (HERE, "http://127.0.0.1.example.com/"),
    ],
)
def test_realm_without_tls_is_refused(host: str, realm: str) -> None:
    with pytest.raises(AuthenticationFailed, match="not TLS: refused"):
        token_request(host, {"realm": realm}, MARY)


@pytest.mark.parametrize("host", [HERE, "127.0.0.1:5000", "[::1]:5000"])
@pytest.mark.parametrize("realm", ["http://localhost:5001/token", "http://127.0.0.1/token", "http://[::1]:1/token", REALM])
def test_realm_on_loopback_is_allowed_for_loopback(host: str, realm: str) -> None:
    assert token_request(host, {"realm": realm}, MARY).url == realm


def test_realm_on_the_registry_itself_is_allowed_with_plain_http() -> None:
    wanted = token_request(THERE, {"realm": f"http://{THERE}/token"}, MARY, plain_http=True)
    assert wanted.url == f"http://{THERE}/token"
    with pytest.raises(AuthenticationFailed):
        token_request(THERE, {"realm": "http://auth.example.com/token"}, MARY, plain_http=True)


def test_each_scope_is_a_parameter() -> None:
    challenge = {"realm": f"{REALM}?a=b", "service": "the registry", "scope": "repository:a:pull,push repository:b:pull"}
    wanted = token_request(THERE, challenge, MARY)
    assert (wanted.method, wanted.form) == ("GET", None)
    assert parse_qsl(urlsplit(wanted.url).query) == [
        ("a", "b"),
        ("service", "the registry"),
        ("scope", "repository:a:pull,push"),
        ("scope", "repository:b:pull"),
    ]
    assert wanted.headers == {"Authorization": "Basic " + base64.b64encode(f"mary:{MARY.password}".encode()).decode()}


def test_request_without_credential_has_no_authorization() -> None:
    assert token_request(THERE, {"realm": REALM}, None).headers == {}


def test_identity_token_is_in_the_body_only() -> None:
    wanted = token_request(THERE, {"realm": REALM, "scope": "repository:a:pull"}, Credential("<token>", canary.password("&")))
    assert (wanted.method, wanted.url) == ("POST", REALM)
    assert "Authorization" not in wanted.headers
    assert wanted.form is not None
    assert dict(parse_qsl(wanted.form)) == {
        "grant_type": "refresh_token",
        "client_id": "registry-tool",
        "scope": "repository:a:pull",
        "refresh_token": canary.password("&"),
    }
    assert canary.password() not in repr(wanted)


@pytest.mark.parametrize("document", [None, [], "t", {}, {"token": ""}, {"token": 7}, {"token": "a\r\nEvil: b"}, {"token": "ü"}])
def test_response_without_token_is_an_error(document: object) -> None:
    with pytest.raises(RegistryError, match="of registry.example.com returned no token"):
        read_token(THERE, REALM, document)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (300, 300.0),
        (0.5, 0.5),
        *[(said, DEFAULT_LIFETIME) for said in (None, 0, -1, "300", True, float("inf"), float("nan"))],
    ],
)
def test_token_lifetime(said: object, seconds: float) -> None:
    token = read_token(THERE, REALM, {"access_token": "t0ken", "expires_in": said})
    assert (token.value, token.lifetime) == ("t0ken", seconds)
    assert "t0ken" not in repr(token)
