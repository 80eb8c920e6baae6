"""The page that a demo looks at: the sample app's, of this container, and saying what the image was built to say."""

from __future__ import annotations

from typing import Any

import pytest

from registry_tool.base.errors import VerificationFailed
from registry_tool.base.page_client import Page
from registry_tool.demo.page_steps import check_page
from registry_tool.engine import Container
from registry_tool.local.sample_page import NO_REDIS, SamplePage

CONTAINER = Container(id="1", name="c", image="i", image_id="1", state="running", hostname="0123456789ab")


class FakeEngine:
    def log_tail(self, id: str, lines: int) -> tuple[str, ...]:
        return ("the log",)


ENGINE: Any = FakeEngine()


def _body(greeting: str = "<h3>Hello World!</h3>", host: str = "0123456789ab", visits: str = f"<i>{NO_REDIS}</i>", end: str = "") -> str:
    return f"{greeting}<b>Hostname:</b> {host}<br/><b>Visits:</b> {visits}{end}"


def _page(body: str, status: int = 200) -> Page:
    return Page(url="http://localhost:4000/", status=status, body=body, headers={})


def _built(body: str) -> SamplePage:
    return SamplePage.parse(body)


@pytest.mark.parametrize(
    ("built", "body", "visits"),
    [
        (_body(host="other"), _body(), None),
        (_body(host="other"), _body(visits="7"), 7),
        (_body("<h3>Good day!</h3>", host="other"), _body("<h3>Good day!</h3>"), None),
        (_body("<h1>Bonjour</h1>", host="other", end="<p>bye"), _body("<h1>Bonjour</h1>", visits="1", end="<p>bye"), 1),
    ],
)
def test_page_of_the_image_that_was_built_is_accepted(built: str, body: str, visits: int | None) -> None:
    check_page(ENGINE, CONTAINER, _page(body), visits=visits, built=_built(built))


@pytest.mark.parametrize(
    ("built", "body", "visits", "message"),
    [
        (_body("<h3>Good day!</h3>"), _body(), None, "greeting should be 'Good day!', and it is 'Hello World!'"),
        (_body(), _body("<h3>Good day!</h3>"), None, "greeting should be 'Hello World!', and it is 'Good day!'"),
        (_body(), _body("Hello World!"), None, "greeting should be 'Hello World!', and it is 'Hello World!<b>Hostname"),
        (_body(), _body(host="other"), None, "host name should be '0123456789ab', and it is 'other'"),
        (_body(), _body(visits="3"), None, "counter should be"),
        (_body(), _body(), 3, "counter should be 3"),
        (_body(), _body(visits="2"), 3, "counter should be 3, and it is 2"),
        (_body("<h1>one</h1>"), _body("<h1>two</h1>"), None, "text should be '<h1>one</h1>"),
        (_body(), "It works!", None, "greeting should be 'Hello World!', and it is 'It works!'"),
    ],
)
def test_other_page_is_refused_with_the_difference(built: str, body: str, visits: int | None, message: str) -> None:
    with pytest.raises(VerificationFailed) as caught:
        check_page(ENGINE, CONTAINER, _page(body), visits=visits, built=_built(built))
    assert message in caught.value.message
    assert caught.value.excerpt == ("the log",)


def test_other_status_is_refused() -> None:
    with pytest.raises(VerificationFailed, match="answered 500, not 200"):
        check_page(ENGINE, CONTAINER, _page(_body(), status=500), visits=None)
