from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from requests.structures import CaseInsensitiveDict

from registry_tool.base.errors import AuthenticationFailed, NotARegistry, NotFound, RegistryError, TooManyRequests
from registry_tool.transport.responses import Response, error_from

HOST = "localhost:5000"


def answer(status: int = 200, body: bytes = b"{}", path: str = "/v2/a/tags/list?n=2", **headers: str) -> Response:
    named = CaseInsensitiveDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Response(method="GET", path=path, url=f"http://{HOST}{path}", status=status, headers=named, body=body)


def errors(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message, "detail": None}]}).encode()


@pytest.mark.parametrize(
    ("status", "kind", "hint"),
    [
        (400, RegistryError, "log"),
        (401, AuthenticationFailed, "regctl login localhost:5000"),
        (403, AuthenticationFailed, "regctl login localhost:5000"),
        (404, NotFound, "name"),
        (405, RegistryError, "read-only"),
        (429, TooManyRequests, "wait"),
        (500, RegistryError, "log"),
        (599, RegistryError, "log"),
    ],
)
def test_error_carries_the_response(status: int, kind: type[Exception], hint: str) -> None:
    error = error_from(HOST, answer(status, errors("SOME_CODE", "some message"), path="/v2/_catalog?n=2"))
    assert type(error) is kind
    for part in (HOST, "GET /v2/_catalog?n=2", str(status), "SOME_CODE", "some message"):
        assert part in error.message
    assert error.hint
    assert hint in error.hint


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/v2/john/app/tags/list?n=2", errors("NAME_UNKNOWN", "unknown"), f"there is no repository john/app at {HOST}"),
        ("/v2/john/app/manifests/v1", errors("NAME_UNKNOWN", "unknown"), f"there is no repository john/app at {HOST}"),
        ("/v2/a/tags/list", errors("NOT_FOUND", "no project"), f"there is no repository a at {HOST}: 404 NOT_FOUND no project"),
        ("/v2/a/tags/list", b"404 page not found", f"there is no repository a at {HOST}: 404 Not Found"),
    ],
)
def test_repository_that_does_not_exist_is_named_with_the_command_that_lists_them(path: str, body: bytes, message: str) -> None:
    error = error_from(HOST, answer(404, body, path=path))
    assert isinstance(error, NotFound)
    assert (error.message, error.hint) == (message, f"See: regctl catalog {HOST}")


@pytest.mark.parametrize("path", ["/v2/a/manifests/v1", "/v2/a/blobs/sha256:0", "/v2/_catalog", "/v2/"])
def test_other_404_names_the_request(path: str) -> None:
    error = error_from(HOST, answer(404, errors("MANIFEST_UNKNOWN", "no such tag"), path=path))
    assert isinstance(error, NotFound)
    assert error.message == f"{HOST}: GET {path}: 404 MANIFEST_UNKNOWN no such tag"


@pytest.mark.parametrize("status", [200, 201, 204, 307])
def test_success_is_no_error(status: int) -> None:
    assert error_from(HOST, answer(status)) is None


@pytest.mark.parametrize("status", [200, 302, 403, 404])
def test_web_page_is_not_a_registry(status: int) -> None:
    error = error_from(HOST, answer(status, b"<html>", content_type="text/HTML; charset=utf-8"))
    assert type(error) is NotARegistry
    assert HOST in error.message


def test_airplay_is_named_in_the_hint() -> None:
    error = error_from(HOST, answer(403, b"", server="AirTunes/775.3.1"))
    assert type(error) is NotARegistry
    assert error.hint
    assert "AirPlay" in error.hint


def test_web_page_with_401_or_5xx_is_an_error_of_a_registry() -> None:
    assert type(error_from(HOST, answer(502, b"<html>", content_type="text/html"))) is RegistryError
    assert type(error_from(HOST, answer(401, b"<html>", content_type="text/html"))) is AuthenticationFailed


@pytest.mark.parametrize(
    "body", [b"", b"404 page not found", b"[]", b"{}", b'{"errors": 3}', b'{"errors": ["x"]}', b'{"errors": null}', b"[" * 99_999, b"\xff"]
)
def test_error_of_any_body(body: bytes) -> None:
    assert answer(404, body).message == "404 Not Found"


def test_server_message_has_no_control_characters() -> None:
    words = answer(404, errors("CODE", "a\x1b[2J\n\rb\u202e" + "x" * 1000)).message
    assert words.isprintable()
    assert len(words) < 320


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"[" * 99_999, b"\xff"])
def test_json_of_no_json_is_an_error(body: bytes) -> None:
    with pytest.raises(RegistryError, match=r"the response to GET /v2/a/tags/list\?n=2 is not JSON"):
        answer(body=body).json()


SAME = "/v2/a/tags/list?last=b&n=2"


@pytest.mark.parametrize(
    ("link", "following"),
    [
        ("", None),
        ('</v2/x>; rel="prev"', None),
        ('</v2/x>; rel="nextish"', None),
        ('</v2/x>; rel="first", </v2/y>; rel=last; title', None),
        (f'<{SAME}>; rel="next"', SAME),
        ("</v2/x?last=b>; rel=next", "/v2/x?last=b"),
        ("</v2/x?last=b>;rel='next'", "/v2/x?last=b"),
        ('</v2/x?last=b>; title="rel=prev, or"; REL="prev next"', "/v2/x?last=b"),
        ('</v2/first>; rel="first", </v2/x>; rel="next"', "/v2/x"),
        ('<list?last=c>; rel="next"', "/v2/a/tags/list?last=c"),
        ('<?last=c>; rel="next"', "/v2/a/tags/list?last=c"),
        ('< /v2/x?last=c >; rel="next"', "/v2/x?last=c"),
        ('<http://elsewhere.example.com/v2/x?last=b>; rel="next"', "/v2/x?last=b"),
        ('<//elsewhere.example.com/v2/x>; rel="next"', "/v2/x"),
        (f"<{SAME}>", SAME),
        (f"<http://elsewhere.example.com{SAME}>; title=x", SAME),
        (f'</v2/x>, <{SAME}>; rel="self", <{SAME}>', SAME),
        (f'{SAME}; rel="next"', SAME),
        (f'<{SAME}; rel="next"', SAME),
        (SAME, SAME),
    ],
)
def test_next_page(link: str, following: str | None) -> None:
    assert answer(link=link).next_page(f"http://{HOST}") == (following, False)


@pytest.mark.parametrize(
    "link",
    [
        "rubbish",
        "<",
        "</v2/x>",
        "</v2/a/tags/list>",
        "</v2/x?last=b>; title=x",
        "<http://[::1/v2/x?last=b>; rel=next",
        "<x:.elsewhere.example.com/?last=b>; rel=next",
        "<mailto:mary@example.com>; rel=next",
        "</v2/x?last=b",
        '</v2/x>; rel="prev", <',
    ],
)
def test_link_that_may_be_a_next_page_and_cannot_be_requested(link: str) -> None:
    assert answer(link=link).next_page(f"http://{HOST}") == (None, True)


@pytest.mark.parametrize(
    ("url", "link", "page"),
    [
        ("http://localhost:5000/mirror/a/tags/list?x=y", "<?last=c>; rel=next", ("/mirror/a/tags/list?last=c", False)),
        ("http://localhost:5000/mirror/a/tags/list?x=y", "<list?last=c>", ("/mirror/a/tags/list?last=c", False)),
        ("http://b.example.com/list", "<?last=c>; rel=next", ("http://b.example.com/list?last=c", False)),
        ("http://b.example.com/list", "</list?last=c>", ("http://b.example.com/list?last=c", False)),
        ("http://b.example.com/list", "<http://localhost:5000/v2/x?last=c>; rel=next", ("/v2/x?last=c", False)),
        ("http://b.example.com/list", "<http://c.example.com/v2/x?last=c>; rel=next", (None, True)),
        ("http://b.example.com/list", "<https://b.example.com/v2/x?last=c>; rel=next", (None, True)),
    ],
)
def test_next_page_after_a_redirect(url: str, link: str, page: tuple[str | None, bool]) -> None:
    assert replace(answer(link=link), url=url).next_page(f"http://{HOST}") == page


@pytest.mark.parametrize("rubbish", ["a " * 30_000, "<" * 60_000, "</x>" + "; " * 30_000, '</x>;a="' * 9000])
def test_long_link_is_read_at_once(rubbish: str) -> None:
    began = time.monotonic()
    assert answer(link=rubbish).next_page(f"http://{HOST}") == (None, True)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        ("", {}),
        ("Negotiate", {"negotiate": {}}),
        ('Basic realm="Registry Realm"', {"basic": {"realm": "Registry Realm"}}),
        (
            'Bearer realm="https://auth.example.com/token",service="registry",scope="repository:a/b:pull,push"',
            {"bearer": {"realm": "https://auth.example.com/token", "service": "registry", "scope": "repository:a/b:pull,push"}},
        ),
        (
            'bearer Realm=https://a/t , error="invalid_token", Basic realm="a \\"b\\", Bearer c"',
            {"bearer": {"realm": "https://a/t", "error": "invalid_token"}, "basic": {"realm": 'a "b", Bearer c'}},
        ),
        ('realm="nobody"', {}),
        *[
            (odd, {"bearer": {"realm": "https://a/t?x=y", "service": "r", "scope": "repository:a/b:pull,push"}})
            for odd in (
                "Bearer realm='https://a/t?x=y',service='r',scope='repository:a/b:pull,push'",
                "Bearer realm=https://a/t?x=y,service=r,scope=repository:a/b:pull,push",
                "Bearer realm=https://a/t?x=y, scope=repository:a/b:pull,push, service=r",
                'Bearer realm=""https://a/t?x=y"",service=""r"",scope=""repository:a/b:pull,push""',
                'Bearer realm="https://a/t?x=y,service="r",scope="repository:a/b:pull,push"',
                'Bearer realm=https://a/t?x=y",service=r",scope="repository:a/b:pull,push',
                'Bearer realm=\\"https://a/t?x=y\\",service=\\"r\\",scope=\\"repository:a/b:pull,push\\"',
                'Bearer realm="https:\\/\\/a/t?x=y", service="r", scope="repository:a/b:pull,push"',
                'Bearer realm = " https://a/t?x=y " ; service = "r" ; scope = "repository:a/b:pull,push"',
                'Bearer realm="https://a/t?x=y" service="r" scope="repository:a/b:pull,push"',
                'Bearer realm="https://a/t?x=y"service="r"scope="repository:a/b:pull,push"',
                'BEARER  REALM="https://a/t?x=y",,SERVICE="r",\tSCOPE="repository:a/b:pull,push",',
            )
        ],
        ("Bearer realm=https://a/t,Basic realm=x", {"bearer": {"realm": "https://a/t"}, "basic": {"realm": "x"}}),
        ('Basic realm="x", Bearer realm="https://a/t"', {"basic": {"realm": "x"}, "bearer": {"realm": "https://a/t"}}),
        ('Bearer realm="https://a/t", Bearer realm="https://b/t",scope="x"', {"bearer": {"realm": "https://a/t"}}),
        ("Bearer", {"bearer": {}}),
    ],
)
def test_challenges(header: str, challenges: dict[str, dict[str, str]]) -> None:
    assert answer(401, www_authenticate=header).challenges == challenges


@pytest.mark.parametrize(
    "rubbish", ['realm="' + '"' * 60_000 + "x", "a" * 60_000 + ":", "a=," * 20_000, "Bearer " * 9000, 'a="\\' * 15_000]
)
def test_long_challenge_is_read_at_once(rubbish: str) -> None:
    began = time.monotonic()
    assert len(answer(401, www_authenticate=rubbish).challenges) < 3
    assert time.monotonic() - began < 60
