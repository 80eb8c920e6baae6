"""The look at the page: what it must say, and how long one waits for it."""

from __future__ import annotations

import re
import time

from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.errors import VerificationFailed
from registry_tool.base.page_client import NoResponse, Page, get_page
from registry_tool.engine import Container, Engine

FIRST_ANSWER = 30.0
"""Seconds until a container that was just started must answer."""
ONE_ANSWER = 10.0
"""Seconds that one request may take. The page itself promises three, also without Redis."""
PAUSE = 0.01
"""Seconds between two looks: a page that is ready is waiting for us."""
STILL_THERE = 0.1
"""Seconds between two looks at the container, which may have ended instead."""
LAST_LINES = 10
LAST_WORDS, SETTLED = 1.0, 0.1
"""Seconds that the log of a container is waited for, and in which nothing may be added to it."""

NO_REDIS = "cannot connect to Redis, counter disabled"


def get(engine: Engine, container: Container, port: int) -> Page:
    """Ask for the page until it answers; raises ProofFailed, with the container's last lines, when it does not."""
    url = f"http://localhost:{port}/"
    error, next_check = NoResponse(), Deadline(0)

    def page() -> Page | None:
        nonlocal error, next_check
        try:
            return get_page(url, timeout=ONE_ANSWER)
        except NoResponse as no_response:
            error = no_response
        if next_check.passed:
            _check_running(engine, container)
            next_check = Deadline(STILL_THERE)
        return None

    answer = poll(page, Deadline(FIRST_ANSWER), pause=PAUSE)
    if answer is None:
        raise failure(engine, container, f"no page at {url} within {FIRST_ANSWER:.0f} s: {error}") from error
    return answer


def _check_running(engine: Engine, container: Container) -> None:
    now = engine.container(container.id)
    if now is None or not now.running:
        ended = "is gone" if now is None else f"ended with code {now.exit_code}"
        raise failure(engine, container, f"no page: the container {ended}")


def check(engine: Engine, container: Container, page: Page, visits: str | int) -> None:
    """Raise ProofFailed unless the page is the sample app's, from this very container, with these visits."""
    if page.status != 200:
        raise failure(engine, container, f"the page at {page.url} answered {page.status}, not 200")
    expected = {
        "greeting": ("<h3>Hello World!</h3>", r"<h3>Hello .*?</h3>"),
        "host name": (f"<b>Hostname:</b> {container.hostname}<br/>", r"<b>Hostname:</b> .*?<br/>"),
        "counter": (f"<b>Visits:</b> {_visits(visits)}", r"<b>Visits:</b> .*"),
    }
    for what, (wanted, shape) in expected.items():
        if wanted not in page.body:
            seen = re.search(shape, page.body)
            said = seen.group() if seen else (page.body.strip()[:200] or "an empty page")
            raise failure(engine, container, f"the page's {what} should be {wanted!r}, and it says {said!r}")


def failure(engine: Engine, container: Container, message: str) -> VerificationFailed:
    """The error, with the last lines of the container's log."""
    return VerificationFailed(message, hint="The lines above are the container's last words.", excerpt=last_lines(engine, container.id))


def last_lines(engine: Engine, container_id: str) -> tuple[str, ...]:
    """The end of a container's log; empty where the container is gone.

    What it says reaches the log a moment later, and by two ways (standard output and errors): it is waited for until nothing is added.
    """
    if engine.container(container_id) is None:
        return ()
    deadline = time.monotonic() + LAST_WORDS
    before, content = b"", _tail(engine, container_id)
    while not (content and content == before) and time.monotonic() < deadline:
        time.sleep(SETTLED)
        before, content = content, _tail(engine, container_id)
    return tuple(content.decode(errors="replace").splitlines()[-LAST_LINES:])


def _tail(engine: Engine, container_id: str) -> bytes:
    return b"".join(chunk for _, chunk in engine.logs(container_id, tail=LAST_LINES))


def _visits(visits: str | int) -> str:
    return f"<i>{visits}</i>" if isinstance(visits, str) else str(visits)
