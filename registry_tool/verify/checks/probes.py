"""Looks at a container that runs: pages, ports, commands, its log, its end. Each is repeated until it holds, or time is up."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, ClassVar

from registry_tool.base import page_client as probe
from registry_tool.base.deadline import Deadline, DeadlineExceeded, call_with_deadline, poll
from registry_tool.base.errors import RegistryToolError
from registry_tool.engine import Container, Engine
from registry_tool.verify.environments.environment import Environment
from registry_tool.verify.spec import Exec, Exit, Http, Log, Probe, Tcp

IN_A_ROW = 3
"""A page holds when it does so this many times: some say what they should only once."""
ONE_ANSWER = 10.0
"""Seconds for one answer, where nothing else was asked for."""
_AT_LEAST = 1.0
"""Seconds for the last answer, also where less is left: a reason is worth more than the time."""
PAUSE = 0.02
"""Seconds between two rounds of looks."""
HANGS_UP = 0.25
"""Seconds after which a connection counts that was not closed: engines take connections for ports on which nobody listens."""
_SHOWN = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What came of one probe. ``ok`` None: it could not be told. ``seconds`` is from the first look to the last."""

    JSON_MEMBERS: ClassVar = "kind asked=probe ok seen seconds looks"

    probe: Probe
    ok: bool | None
    seen: str
    seconds: float
    looks: int

    @property
    def kind(self) -> str:
        """``http``, ``tcp``, ``exec``, ``log`` or ``exit``."""
        return type(self.probe).__name__.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTarget:
    """What is looked at. ``ports``: published as asked for -> published in fact. ``log`` is how many bytes of it are read."""

    place: Environment
    container: str
    ports: Mapping[int, int]
    log: int

    @property
    def engine(self) -> Engine:
        return self.place.engine

    def address(self, published: int) -> tuple[str, int]:
        return self.place.address(self.ports.get(published, published))


Now = Callable[[], Container | None]
"""The container, as it is now; None where it is gone."""


def watch(subject: ProbeTarget, probes: Sequence[Probe], *, timeout: Deadline, now: Now) -> tuple[ProbeResult, ...]:
    """Repeat ``probes`` until all hold, or one can hold no more, or the container ended, or time is up."""
    tries = [_Try(subject, each) for each in probes]
    over = False

    def settled() -> bool:
        nonlocal over
        # Before the looks: what a container that has ended said is all that it will ever say.
        container = now()
        over = is_over(container)
        for each in tries:
            if each.ok is None:
                each.look(container, timeout)
        return over or all(each.ok is not None for each in tries)

    poll(settled, timeout, pause=PAUSE)
    return tuple(each.seen(over=over) for each in tries)


def is_over(container: Container | None) -> bool:
    """Whether it has ended, and how is known: an engine may take a moment for that."""
    return container is None or container.exit_code is not None


class _Try:
    def __init__(self, subject: ProbeTarget, asked: Probe) -> None:
        self._subject = subject
        self._asked = asked
        self._began = time.monotonic()
        self._words = "not looked at"
        self._held = 0
        self._looks = 0
        self.ok: bool | None = None

    def look(self, container: Container | None, timeout: Deadline) -> None:
        """Once; a page that holds is asked for again at once."""
        wanted = IN_A_ROW if isinstance(self._asked, Http) else 1
        while self.ok is None:
            holds, self._words = _look(self._subject, self._asked, container, timeout)
            self._looks += 1
            if holds:
                self._held += 1
                self.ok = True if self._held == wanted else None
                continue
            if self._held:
                self._words = f"it held {'once' if self._held == 1 else f'{self._held} times'}, and then no more: {self._words}"
                self.ok = False
            elif isinstance(self._asked, Exit) and is_over(container):
                self.ok = False
            return

    def seen(self, *, over: bool) -> ProbeResult:
        # A look at what is no more tells nothing of it; its log and its end can still be told.
        lost = over and not isinstance(self._asked, (Log, Exit))
        ok = self.ok if self.ok is not None or lost else False
        return ProbeResult(probe=self._asked, ok=ok, seen=self._words, seconds=time.monotonic() - self._began, looks=self._looks)


def _look(subject: ProbeTarget, asked: Probe, container: Container | None, timeout: Deadline) -> tuple[bool, str]:
    """(whether it holds, what was seen)."""
    if isinstance(asked, Http):
        return _page(subject, asked, timeout)
    if isinstance(asked, Tcp):
        return _port(subject.address(asked.published), timeout)
    if isinstance(asked, Exec):
        return _command(subject, asked, timeout)
    if isinstance(asked, Log):
        return _log(subject, asked, timeout)
    if container is None or not is_over(container):
        return False, "it is still running" if container else "it is gone"
    return container.exit_code == asked.code, f"it ended with code {container.exit_code}"


def _page(subject: ProbeTarget, asked: Http, timeout: Deadline) -> tuple[bool, str]:
    host, port = subject.address(asked.published)
    allowed = asked.within or max(_AT_LEAST, min(ONE_ANSWER, timeout.left))
    began = time.monotonic()
    try:
        # A connection of its own for each, and the name by which a person would ask.
        with closing(probe.PageClient(host, port, name=f"localhost:{asked.published}")) as visit:
            page = visit.get(asked.path, timeout=allowed)
    except probe.NoResponse as error:
        return False, str(error)
    seconds = time.monotonic() - began
    wrong = next(filter(None, (_status(asked, page), _texts(asked, page), _values(asked, page))), None)
    if wrong is None and asked.within is not None and seconds > asked.within:
        wrong = f"the answer took {seconds:.2f} s, and {asked.within:g} s were allowed"
    return wrong is None, wrong or f"{page.status} within {seconds:.3f} s"


def _status(asked: Http, page: probe.Page) -> str | None:
    fits = page.status == asked.status if asked.status is not None else page.status < 400
    return None if fits else f"the status is {page.status}, and {asked.status or 'one below 400'} was expected: {_shown(page.body)}"


def _texts(asked: Http, page: probe.Page) -> str | None:
    missing = next((text for text in asked.text if text not in page.body), None)
    return None if missing is None else f"{missing!r} is not in the answer: {_shown(page.body)}"


def _values(asked: Http, page: probe.Page) -> str | None:
    if not asked.json:
        return None
    try:
        document = json.loads(page.body)
    except (ValueError, RecursionError):
        return f"the answer is no JSON: {_shown(page.body)}"
    for path, wanted in asked.json:
        try:
            found = value_at(document, path)
        except LookupError as error:
            return f"{path}: {error.args[0]}: {_shown(page.body)}"
        if not equals(found, wanted):
            return f"{path} is {_shown(json.dumps(found, ensure_ascii=False))}, and {wanted} was expected"
    return None


def value_at(document: Any, path: str) -> Any:
    """What stands at ``path``, ``user.names.0``, in a JSON document. Raises LookupError, which says what is missing."""
    for part in path.split("."):
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and part.isascii() and part.isdigit() and int(part[:9]) < len(document):
            document = document[int(part)]
        else:
            raise LookupError(f"there is no {part!r}")
    return document


def equals(found: Any, wanted: str) -> bool:
    """Whether a JSON value is what somebody typed: text as it is, anything else as JSON has it."""
    if isinstance(found, str):
        return found == wanted
    try:
        # Dumped again, as to Python 1 is true, and to JSON it is not.
        return json.dumps(json.loads(wanted), sort_keys=True) == json.dumps(found, sort_keys=True)
    except (ValueError, RecursionError):
        return False


def _port(address: tuple[str, int], timeout: Deadline) -> tuple[bool, str]:
    try:
        with socket.create_connection(address, timeout=max(_AT_LEAST, min(ONE_ANSWER, timeout.left))) as connection:
            connection.settimeout(HANGS_UP)
            try:
                said = connection.recv(64)
            except TimeoutError:
                return True, "it takes connections"
            return bool(said), f"it takes connections, and says {said!r}" if said else "the connection was closed at once: nobody listens"
    except OSError as error:
        return False, f"no connection: {error.strerror or error}"


def _command(subject: ProbeTarget, asked: Exec, timeout: Deadline) -> tuple[bool, str]:
    left = Deadline(max(_AT_LEAST, min(ONE_ANSWER, timeout.left)))
    try:
        code, output = call_with_deadline(lambda: subject.engine.execute(subject.container, asked.command), lambda: left.left)
    except DeadlineExceeded:
        return False, "it did not end in time"
    except RegistryToolError as error:
        return False, error.message
    return code == 0, f"it ended with code {code}: {_shown(output.decode(errors='replace'))}"


def _log(subject: ProbeTarget, asked: Log, timeout: Deadline) -> tuple[bool, str]:
    left = Deadline(max(_AT_LEAST, min(ONE_ANSWER, timeout.left)))
    try:
        text = call_with_deadline(lambda: read_log(subject.engine, subject.container, subject.log), lambda: left.left)
    except (DeadlineExceeded, RegistryToolError) as error:
        return False, f"its log could not be read: {getattr(error, 'message', 'not in time')}"
    found = asked.text in text
    return found, "it is in the log" if found else f"it is not in the log of {len(text)} letters"


def read_log(engine: Engine, container: str, limit: int) -> str:
    """What it printed, so many bytes of it: one that prints faster than it is read has no end."""
    content = b""
    chunks = engine.logs(container)
    with closing(chunks):  # type: ignore[type-var]
        for _, chunk in chunks:
            content += chunk
            if len(content) >= limit:
                break
    return content.decode(errors="replace")


def _shown(text: str) -> str:
    line = " ".join(text.split())
    line = "".join(letter if letter.isprintable() else "�" for letter in line)
    return repr(line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…") if line else "nothing"
