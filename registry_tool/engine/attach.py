"""A hijacked connection to a container's streams, as ``run -it`` and exec need it."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any


class AttachedStream:
    """An open connection to a container's input and output; a context manager.

    With a terminal (``tty``) its output is raw; without one it is framed, see :func:`registry_tool.engine.streams.demultiplex`.
    """

    def __init__(self, raw: Any, *, tty: bool) -> None:
        self.tty = tty
        # Kept: closing the SDK's object closes the connection below it.
        self._raw = raw
        self._socket: socket.socket = getattr(raw, "_sock", raw)
        self._received = _buffered(raw, self._socket)
        self._socket.settimeout(None)

    def fileno(self) -> int:
        """File descriptor, for select."""
        return self._socket.fileno()

    def read(self, size: int = 65536) -> bytes:
        """Read up to ``size`` bytes, as soon as there are some; empty at the end. Raises OSError."""
        if self._received:
            content, self._received = self._received[:size], self._received[size:]
            return content
        return self._socket.recv(size)

    def write(self, content: bytes) -> None:
        """Write all of ``content`` to the container's input. Raises OSError."""
        self._socket.sendall(content)

    def close_input(self) -> None:
        """Close the container's standard input; its output can still be read."""
        self._socket.shutdown(socket.SHUT_WR)

    def shut_down(self) -> None:
        """End both directions; whoever reads in another thread gets the end."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        # All three hold it. The response first: it flushes what is below it.
        response = getattr(self._raw, "_response", None)
        if response is not None:
            response.close()
        self._raw.close()
        self._socket.close()

    def __enter__(self) -> AttachedStream:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()


def _buffered(raw: Any, connection: socket.socket) -> bytes:
    """Output that arrived together with the response's headers: the HTTP library has read it already."""
    reader = getattr(getattr(getattr(getattr(raw, "_response", None), "raw", None), "_fp", None), "fp", None)
    if reader is None:
        return b""
    connection.setblocking(False)
    with suppress(OSError, ValueError):
        return bytes(reader.peek(1))
    return b""
