"""A long way to a registry: a proxy on loopback that passes everything on later, and counts the requests."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

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
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self, ready: threading.Event) -> None:
        """Serve until :meth:`close`; connections that are still open then are cut."""
        self._loop, self._closed = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_PIECE)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await self._closed.wait()
        server.close()
        # Some may just be accepted.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for connection in self._connections:
                connection.cancel()
            await asyncio.wait(others)

    def close(self) -> None:
        """Serve no longer. From any thread."""
        self._loop.call_soon_threadsafe(self._closed.set)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._closed.is_set():
            # It was accepted while the server closed: nobody waits for it any more.
            writer.transport.abort()
            return
        connection = asyncio.ensure_future(self._connect(reader, writer))
        self._connections.add(connection)

        def end(connection: asyncio.Task[None]) -> None:
            self._connections.discard(connection)
            if connection.cancelled() or connection.exception() is not None:
                writer.transport.abort()

        connection.add_done_callback(end)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to_there = await asyncio.open_connection("127.0.0.1", self._port, limit=_PIECE)
        try:
            await asyncio.gather(self._pass_on(reader, to_there, count=True), self._pass_on(there, writer))
        except BaseException:
            to_there.transport.abort()
            raise

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool = False) -> None:
        loop = asyncio.get_running_loop()
        while piece := await reader.read(_PIECE):
            if count:
                # A client sends the head of a request at once.
                self.requests += len(_REQUEST.findall(piece))
            loop.call_later(ROUND_TRIP / 2, writer.write, piece)
        await asyncio.sleep(ROUND_TRIP / 2)
        writer.close()


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
