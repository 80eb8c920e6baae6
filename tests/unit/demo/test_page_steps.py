"""The page that a demo looks at: the sample app's, of this container, and saying what the image was built to say."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry_tool.base import resources
from registry_tool.base.errors import VerificationFailed
from registry_tool.base.page_client import Page
from registry_tool.demo import page_steps
from registry_tool.demo.page_steps import check_page, page_pattern, wait_for_counted_page
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


@pytest.mark.parametrize(
    ("source", "name", "body"),
    [
        (None, "World", _body("<h3>Hello World!</h3>")),
        (None, "World", _body("<h3>Hello WORLD!</h3>", visits="7")),
        (None, "A & 'B'", _body("<h3>Hello A &amp; &#39;B&#39;!</h3>")),
        ('HTML = "<h1>{name}, (good) day</h1>" "{hostname}"', "World", _body("<h1>World, (good) day</h1>")),
        ('HTML = """<h3>Hi\n{name}</h3>"""', "World", _body("<h3>Hi\nWorld</h3>")),
    ],
)
def test_page_of_the_source_is_accepted(source: str | None, name: str, body: str, tmp_path: Path) -> None:
    check_page(ENGINE, CONTAINER, _page(body), visits=7 if "> 7" in body else None, pattern=_pattern(source, name, tmp_path))


def _pattern(source: str | None, name: str, folder: Path) -> re.Pattern[str]:
    if source is not None:
        (folder / "app.py").write_text(source, encoding="utf-8")
    context = resources.sample_app() if source is None else folder
    pattern = page_pattern(context, replace(CONTAINER, environment=("PATH=/", f"NAME={name}")))
    assert pattern is not None
    return pattern


@pytest.mark.parametrize(
    ("source", "body"),
    [
        (None, _body("<h3>Good day!</h3>")),
        (None, _body("<h3>Hello !</h3>")),
        (None, _body("<h3>Hello world?</h3>")),
        ('HTML = "<h3>Good day, {name}!</h3>"', _body()),
    ],
)
def test_page_that_the_source_does_not_say_is_refused(source: str | None, body: str, tmp_path: Path) -> None:
    with pytest.raises(VerificationFailed, match="the page should say '<h3>.* World!</h3>.*, as app.py has it, and it is '<h3>"):
        check_page(ENGINE, CONTAINER, _page(body), visits=None, pattern=_pattern(source, "World", tmp_path))


@pytest.mark.parametrize(
    "source", [None, "", "no python (", "HTML = template()", "HTML = 'a{'", "HTML = 'a'\nHTML = 'b'", "TEXT = 'a'", "HTML = 'a' + 'b'"]
)
def test_app_without_a_page_in_its_source_has_no_pattern(source: str | None, tmp_path: Path) -> None:
    if source is not None:
        (tmp_path / "app.py").write_text(source, encoding="utf-8")
    assert page_pattern(tmp_path, CONTAINER) is None


def test_other_status_is_refused() -> None:
    with pytest.raises(VerificationFailed, match="answered 500, not 200"):
        check_page(ENGINE, CONTAINER, _page(_body(), status=500), visits=None)


def test_page_that_counts_late_is_waited_for_however_fast_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis starts slowly on a busy machine, and the page answers at once until its next attempt to connect."""
    pages = iter([*[_page(_body())] * 100, _page(_body(visits="1"))])
    monkeypatch.setattr(page_steps, "get_page", lambda url, timeout: next(pages))
    monkeypatch.setattr("registry_tool.demo.page_steps.time.sleep", lambda seconds: None)
    assert SamplePage.parse(wait_for_counted_page(ENGINE, CONTAINER, 4000).body).visits == 1


def test_page_that_never_counts_is_returned_after_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_steps, "get_page", lambda url, timeout: _page(_body()))
    monkeypatch.setattr(page_steps, "FIRST_RESPONSE", 0.05)
    page = wait_for_counted_page(ENGINE, CONTAINER, 4000)
    with pytest.raises(VerificationFailed, match="counter should be 1"):
        check_page(ENGINE, CONTAINER, page, visits=1)
