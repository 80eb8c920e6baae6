"""The look at the page: what it must say, and how long one waits for it."""

from __future__ import annotations

import re
import time

from registry_tool.engine import Container, Engine
from registry_tool.errors import ProofFailed
from registry_tool.transport import NoAnswer, Page, probe

FIRST_ANSWER = 30.0
"""Seconds until a container that was just started must answer."""
ONE_ANSWER = 10.0
"""Seconds that one request may take. The page itself promises three, also without Redis."""
LONGEST_PAUSE = 0.03
"""Seconds between two looks: a page that is ready is waiting for us."""
LAST_LINES = 10

NO_REDIS = "cannot connect to Redis, counter disabled"


def look(engine: Engine, container: Container, port: int) -> Page:
    """Ask for the page until it answers; raises ProofFailed, with the container's last lines, when it does not."""
    url = f"http://localhost:{port}/"
    deadline = time.monotonic() + FIRST_ANSWER
    pause = 0.01
    while True:
        try:
            return probe(url, timeout=ONE_ANSWER)
        except NoAnswer as error:
            now = engine.container(container.id)
            if now is None or not now.running:
                ended = "is gone" if now is None else f"ended with code {now.exit_code}"
                raise failed(engine, container, f"no page: the container {ended}") from error
            if time.monotonic() > deadline:
                raise failed(engine, container, f"no page at {url} within {FIRST_ANSWER:.0f} s: {error}") from error
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)


def check(engine: Engine, container: Container, page: Page, visits: str | int) -> None:
    """Raise ProofFailed unless the page is the sample app's, from this very container, with these visits."""
    if page.status != 200:
        raise failed(engine, container, f"the page at {page.url} answered {page.status}, not 200")
    expected = {
        "greeting": ("<h3>Hello World!</h3>", r"<h3>Hello .*?</h3>"),
        "host name": (f"<b>Hostname:</b> {container.hostname}<br/>", r"<b>Hostname:</b> .*?<br/>"),
        "counter": (f"<b>Visits:</b> {_visits(visits)}", r"<b>Visits:</b> .*"),
    }
    for what, (wanted, shape) in expected.items():
        if wanted not in page.body:
            seen = re.search(shape, page.body)
            said = seen.group() if seen else (page.body.strip()[:200] or "an empty page")
            raise failed(engine, container, f"the page's {what} should be {wanted!r}, and it says {said!r}")


def failed(engine: Engine, container: Container, message: str) -> ProofFailed:
    """The error, with the last lines of the container's log."""
    return ProofFailed(message, hint="The lines above are the container's last words.", excerpt=last_lines(engine, container.id))


def last_lines(engine: Engine, container_id: str) -> tuple[str, ...]:
    """The end of a container's log; empty where the container is gone."""
    if engine.container(container_id) is None:
        return ()
    content = b"".join(chunk for _, chunk in engine.logs(container_id, tail=LAST_LINES))
    return tuple(content.decode(errors="replace").splitlines()[-LAST_LINES:])


def _visits(visits: str | int) -> str:
    return f"<i>{visits}</i>" if isinstance(visits, str) else str(visits)
