"""A long way to a registry: a proxy on loopback that passes everything on later, and counts the requests."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

ROUND_TRIP = 0.03
"""Seconds: half of it in each direction."""

_REQUEST = re.compile(rb"(?:GET|HEAD|PUT|POST|PATCH|DELETE) /\S* HTTP/1\.1\r\n")
_PIECE = 1 << 16


class Link:
    """Passes connections on to ``port`` of this machine. ``address`` is HOST:PORT, ``requests`` the HTTP requests until now."""

    def __init__(self, port: int) -> None:
        self.address = ""
        self.requests = 0
        self._port = port

    async def serve(self, ready: threading.Event) -> None:
        """Serve until :meth:`close`."""
        self._loop, self._closed = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_server(self._connect, "127.0.0.1", 0, limit=_PIECE) as server:
            self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            ready.set()
            await self._closed.wait()

    def close(self) -> None:
        """Serve no longer. From any thread."""
        self._loop.call_soon_threadsafe(self._closed.set)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to_there = await asyncio.open_connection("127.0.0.1", self._port, limit=_PIECE)
        # A connection that is still there at the end is cut.
        with suppress(asyncio.CancelledError):
            await asyncio.gather(self._pass_on(reader, to_there, count=True), self._pass_on(there, writer), return_exceptions=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool = False) -> None:
        loop = asyncio.get_running_loop()
        while piece := await reader.read(_PIECE):
            if count:
                # A client sends the head of a request at once.
                self.requests += len(_REQUEST.findall(piece))
            loop.call_later(ROUND_TRIP / 2, writer.write, piece)
        loop.call_later(ROUND_TRIP / 2, writer.close)


@contextmanager
def link_to(port: int) -> Iterator[Link]:
    """A link to ``port`` of this machine for the block."""
    link, ready = Link(port), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(link.serve(ready)), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield link
    finally:
        link.close()
        thread.join()
