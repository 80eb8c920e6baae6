from __future__ import annotations

import logging

import pytest

from registry_tool.transport import tracing
from registry_tool.transport.responses import Response
from tests.support import canary

SECRET = canary.password()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, logger="registry_tool.transport")
    return caplog


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"https://mary:{SECRET}@h.example.com/v2/", "https://***@h.example.com/v2/"),
        (f"https://h/v2/a/blobs/uploads/x?_state={SECRET}&digest=sha256:aa", "https://h/v2/a/blobs/uploads/x?_state=***&digest=sha256:aa"),
        (f"https://s3/blob?X-Amz-Signature={SECRET}&X-Amz-Date={SECRET}", "https://s3/blob?X-Amz-Signature=***&X-Amz-Date=***"),
        (f"https://h/x#{SECRET}", "https://h/x"),
        ("/v2/_catalog?n=5&last=a%2Fb", "/v2/_catalog?n=5&last=a/b"),
        ("/v2/a\x1b[2J\n", "/v2/a?[2J"),
    ],
)
def test_redacted_urls(url: str, shown: str) -> None:
    assert tracing.redacted(url) == shown


@pytest.mark.parametrize("name", ["Authorization", "authorization", "Proxy-Authorization", "Cookie", "Set-Cookie"])
@pytest.mark.parametrize("value", [f"Basic {SECRET}", f"Bearer {SECRET}", SECRET, f"a={SECRET}; b"])
def test_secret_headers_are_redacted(log: pytest.LogCaptureFixture, name: str, value: str) -> None:
    tracing.log_request("GET", "https://h/v2/", {name: value, "Accept": "a/b"})
    tracing.log_response(
        Response(method="GET", path="/v2/", url="https://h/v2/", status=200, headers={name: value}, body=SECRET.encode()), 0.5
    )
    assert SECRET not in log.text
    assert "Accept='a/b'" in log.text
    assert "< 200 GET https://h/v2/ (0.500 s)" in log.text


def test_location_is_redacted(log: pytest.LogCaptureFixture) -> None:
    headers = {"Location": f"https://s3/x?sig={SECRET}"}
    tracing.log_response(Response(method="GET", path="/v2/", url="https://h/v2/", status=307, headers=headers, body=b""), 0.5)
    assert SECRET not in log.text
    assert "Location='https://s3/x?sig=***'" in log.text


def test_nothing_is_logged_by_default(caplog: pytest.LogCaptureFixture) -> None:
    tracing.log_request("GET", "https://h/v2/", {})
    tracing.log_failure("GET", "https://h/v2/", "x")
    tracing.log_retry("GET", "/v2/", 1.0)
    assert caplog.text == ""
