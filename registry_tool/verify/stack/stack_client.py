"""Clients of a stack's one port, one request after the other: a page, or a connection that stays open."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from registry_tool.base.page_client import NoResponse, PageClient
from registry_tool.local.sample_page import SamplePage
from registry_tool.verify.expectations import page_error, status_fits
from registry_tool.verify.spec import Http
from registry_tool.verify.stack.proxy import REPLICA

_CLOSE_WAIT = 0.2  # seconds that a connection must stay open: a proxy with no server closes it at once

Connect = Callable[[float], socket.socket]  # opens a connection to the stack's port within so many seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class StackResponse:
    """One answer. ``counter``: the tutorial's page, with its line of visits; ``visits`` is None where it counts none."""

    seconds: float
    replica: str | None = None
    """The proxy's name for it; None without a proxy, and where that forwards connections, not requests."""
    host: str | None = None
    counter: bool = False
    visits: int | None = None


class StackClient(Protocol):
    """A way to ask a stack."""

    def ask(self, *, timeout: float) -> StackResponse:
        """Ask once, within ``timeout`` seconds. Raises NoResponse, also where the probe does not hold."""

    def close(self) -> None:
        """Close what is open."""


class HttpStackClient:
    """Requests of one page, over one connection."""

    def __init__(self, connect: Connect, probe: Http) -> None:
        self._probe = probe
        self._client = PageClient(connect, name=f"localhost:{probe.published}")

    def ask(self, *, timeout: float) -> StackResponse:
        """See ``StackClient``."""
        started = time.monotonic()
        page = self._client.get(self._probe.path, timeout=timeout)
        seconds = time.monotonic() - started
        if not status_fits(self._probe, page):
            raise NoResponse(f"{self._probe.path} answered {page.status}")
        if error := page_error(self._probe, page):
            raise NoResponse(f"{self._probe.path}: {error}")
        sample = SamplePage.parse(page.body)
        return StackResponse(
            seconds=seconds,
            replica=page.headers.get(REPLICA.lower()),
            host=sample.hostname,
            counter=sample.has_counter,
            visits=sample.visits,
        )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


@dataclass(frozen=True, slots=True)
class TcpStackClient:
    """Connections to the port, a new one each time."""

    connect: Connect

    def ask(self, *, timeout: float) -> StackResponse:
        """See ``StackClient``."""
        started = time.monotonic()
        try:
            with self.connect(timeout) as connection:
                connection.settimeout(_CLOSE_WAIT)
                try:
                    open_or_greeted = bool(connection.recv(1))
                except TimeoutError:
                    open_or_greeted = True
        except OSError as error:
            raise NoResponse(f"no connection: {error.strerror or error}") from error
        if not open_or_greeted:
            raise NoResponse("the connection was closed at once")
        return StackResponse(seconds=time.monotonic() - started)

    def close(self) -> None:
        """Close nothing: no connection is kept."""
