"""Looks at a stack through its one port, one after the other: a page, or a connection that holds."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from registry_tool.base.page_client import NoResponse, PageClient
from registry_tool.local.sample_page import SamplePage
from registry_tool.verify.spec import Http
from registry_tool.verify.stack.proxy import REPLICA

_HOLDS = 0.2
"""Seconds that a connection must hold: a proxy with nobody behind it closes it at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackResponse:
    """One answer. ``counter`` says whether it is the tutorial's page, with its line of visits; ``visits`` is None where it counts none."""

    seconds: float
    replica: str | None = None
    """As the proxy calls it; None without a proxy, or where it passes connections and not requests."""
    host: str | None = None
    counter: bool = False
    visits: int | None = None


Connect = Callable[[float], socket.socket]
"""Opens a connection to the stack's port within so many seconds."""


class StackClient(Protocol):
    """A way to look."""

    def look(self, *, timeout: float) -> StackResponse:
        """Look once. ``timeout`` is in seconds. Raises NoAnswer, also for an answer that is a wrong one."""

    def close(self) -> None: ...


class Pages:
    """One page, over one connection."""

    def __init__(self, connect: Connect, page: Http) -> None:
        self._page = page
        self._visit = PageClient(connect, name=f"localhost:{page.published}")

    def look(self, *, timeout: float) -> StackResponse:
        begun = time.monotonic()
        found = self._visit.get(self._page.path, timeout=timeout)
        took = time.monotonic() - begun
        wanted = self._page.status
        if found.status != wanted if wanted is not None else found.status >= 400:
            raise NoResponse(f"{self._page.path} answered {found.status}")
        page = SamplePage.parse(found.body)
        return StackResponse(
            seconds=took,
            replica=found.headers.get(REPLICA.lower()),
            host=page.hostname,
            counter=page.has_counter,
            visits=page.visits,
        )

    def close(self) -> None:
        self._visit.close()


@dataclass(frozen=True, slots=True)
class Connections:
    """A port, a connection each time."""

    connect: Connect

    def look(self, *, timeout: float) -> StackResponse:
        begun = time.monotonic()
        try:
            with self.connect(timeout) as connection:
                connection.settimeout(_HOLDS)
                try:
                    holds = bool(connection.recv(1))
                except TimeoutError:
                    holds = True
        except OSError as error:
            raise NoResponse(f"no connection: {error.strerror or error}") from error
        if not holds:
            raise NoResponse("the connection was closed at once")
        return StackResponse(seconds=time.monotonic() - begun)

    def close(self) -> None:
        return None
