from __future__ import annotations

import base64
from urllib.parse import parse_qsl, urlsplit

import pytest

from registry_tool.auth.credentials import Credential
from registry_tool.base.errors import AuthenticationFailed, ErrorResponse, NotFound, RegistryError, RegistryUnreachable, TooManyRequests
from registry_tool.transport.authentication import DEFAULT_LIFETIME, TokenRequest, may_be_unsupported, read_token, token_requests
from tests.support import canary

MARY = Credential("mary", canary.password("pässword"))
HERE = "localhost:5000"
THERE = "registry.example.com"
REALM = "https://auth.example.com/token"
IDENTITY = Credential("<token>", canary.password("&"), account="mary")


def token_request(host: str, challenge: dict[str, str], credential: Credential | None, *, plain_http: bool = False) -> TokenRequest:
    """The first request."""
    return token_requests(host, challenge, credential, plain_http=plain_http)[0]


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
    with pytest.raises(AuthenticationFailed, match="asks for passwords at .*not TLS: refused"):
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


@pytest.mark.parametrize("realm", [f" {REALM} ", REALM.replace("https", "HTTPS"), f"{REALM}#x"])
def test_realm_is_written_as_a_url_is(realm: str) -> None:
    assert token_request(THERE, {"realm": realm}, MARY).url == REALM


def test_request_without_credential_has_no_authorization() -> None:
    assert token_request(THERE, {"realm": REALM}, None).headers == {}


def test_identity_token_is_in_the_body_only() -> None:
    wanted = token_request(THERE, {"realm": REALM, "scope": "repository:a:pull"}, IDENTITY)
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


def test_identity_token_goes_by_get_where_post_is_not_supported() -> None:
    _, wanted = token_requests(THERE, {"realm": REALM, "scope": "repository:a:pull"}, IDENTITY)
    assert (wanted.method, wanted.url, wanted.form) == ("GET", f"{REALM}?scope=repository%3Aa%3Apull", None)
    assert wanted.headers == {"Authorization": "Basic " + base64.b64encode(f"mary:{IDENTITY.password}".encode()).decode()}
    _, nameless = token_requests(THERE, {"realm": REALM}, Credential("<token>", canary.password("&")))
    assert nameless.headers == {"Authorization": "Basic " + base64.b64encode(f"<token>:{IDENTITY.password}".encode()).decode()}


def test_password_goes_by_post_where_get_is_not_supported() -> None:
    _, wanted = token_requests(THERE, {"realm": REALM, "service": "s", "scope": "repository:a:pull"}, MARY)
    assert (wanted.method, wanted.url) == ("POST", REALM)
    assert "Authorization" not in wanted.headers
    assert wanted.form is not None
    assert dict(parse_qsl(wanted.form)) == {
        "service": "s",
        "scope": "repository:a:pull",
        "grant_type": "password",
        "client_id": "registry-tool",
        "username": "mary",
        "password": MARY.password,
    }


def test_nobody_has_one_way_to_request_a_token() -> None:
    assert [wanted.method for wanted in token_requests(THERE, {"realm": REALM}, None)] == ["GET"]


@pytest.mark.parametrize(
    ("status", "password", "identity"),
    [(400, True, True), (404, True, True), (405, True, True), (501, True, True), (401, False, True), (403, False, True)]
    + [(status, False, False) for status in (429, 500, 502, 503)],
)
def test_status_that_may_mean_another_method(status: int, password: bool, identity: bool) -> None:
    error = (TooManyRequests if status == 429 else NotFound if status == 404 else RegistryError)("no")
    error.response = ErrorResponse(method="POST", path="/token", status=status, code="", message="")
    assert (may_be_unsupported(error, MARY), may_be_unsupported(error, IDENTITY)) == (password, identity)


def test_response_without_token_may_mean_another_method_and_no_response_does_not() -> None:
    assert may_be_unsupported(RegistryError("no token in it"), IDENTITY)
    assert not may_be_unsupported(RegistryUnreachable("nothing answers"), IDENTITY)


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
