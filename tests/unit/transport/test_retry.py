from __future__ import annotations

import pytest
from urllib3 import HTTPHeaderDict

from registry_tool.base.errors import ConnectionLost, RegistryError, RegistryUnreachable
from registry_tool.transport import retry
from registry_tool.transport.responses import Response
from registry_tool.transport.retry import retry_delay

BROKEN = ConnectionLost("x")
NOW = "Tue, 24 Nov 2026 10:00:00 GMT"


def answer(status: int, **headers: str) -> Response:
    named = HTTPHeaderDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Response(method="", path="/v2/", url="http://x/v2/", status=status, headers=named, body=b"")


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
def test_writes_are_not_retried(method: str) -> None:
    assert retry_delay(1, method, None, BROKEN) is None
    for status in (500, 502, 503, 504):
        assert retry_delay(1, method, answer(status), None) is None


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
def test_writes_the_registry_did_not_process_are_retried(method: str) -> None:
    assert retry_delay(1, method, answer(429), None) == pytest.approx(0.1)
    assert retry_delay(1, method, answer(503, retry_after="2"), None) == 2


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reads_are_retried_after_transient_failures(method: str) -> None:
    assert retry_delay(1, method, None, BROKEN) == pytest.approx(0.1)
    for status in (429, 502, 503, 504):
        assert retry_delay(1, method, answer(status), None) == pytest.approx(0.1)


@pytest.mark.parametrize("error", [RegistryUnreachable("nobody"), RegistryError("x")])
def test_lasting_failures_are_not_retried(error: Exception) -> None:
    assert retry_delay(1, "GET", None, error) is None  # type: ignore[arg-type]
    for status in (400, 401, 403, 404, 405, 500, 501):
        assert retry_delay(1, "GET", answer(status), None) is None


def test_delays_grow_and_attempts_end() -> None:
    pauses = [retry_delay(attempt, "GET", answer(503), None) for attempt in range(1, retry.ATTEMPTS + 2)]
    assert pauses == [pytest.approx(0.1), pytest.approx(0.3), pytest.approx(0.9), None, None]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": " 7 "}, 7.0),
        ({"retry_after": "0"}, 0.1),
        ({"retry_after": "30"}, 30.0),
        ({"retry_after": "Tue, 24 Nov 2026 10:00:05 GMT", "date": NOW}, 5.0),
        ({"retry_after": "Tue, 24 Nov 2020 10:00:05 GMT", "date": NOW}, 0.1),
        # what cannot be understood is as if nothing were said
        ({"retry_after": "Tue, 24 Nov 2026 10:00:05 GMT"}, 0.1),
        ({"retry_after": "Tue, 24 Nov 2026 10:00:05", "date": NOW}, 0.1),
        ({"retry_after": "-7"}, 0.1),
        ({"retry_after": "1.5"}, 0.1),
        ({"retry_after": "soon"}, 0.1),
        ({"retry_after": "\u0667"}, 0.1),
        ({"retry_after": ""}, 0.1),
        # longer than anybody waits: given up
        ({"retry_after": "31"}, None),
        ({"retry_after": "9" * 400}, None),
        ({"retry_after": "Tue, 24 Nov 9999 10:00:05 GMT", "date": NOW}, None),
    ],
)
def test_retry_after_is_honoured_up_to_a_limit(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_delay(1, "GET", answer(429, **headers), None) == (None if seconds is None else pytest.approx(seconds))
