"""A container's own streams, raw, as ``run -it`` needs them."""

from __future__ import annotations

import socket
from typing import Any


class AttachedStream:
    """An open connection to a container's input and output; a context manager.

    With a terminal (``tty``) what is read is what the terminal shows; without one it is framed: see
    :func:`registry_tool.engine.streams.demultiplex`.
    """

    def __init__(self, raw: Any, *, tty: bool) -> None:
        self.tty = tty
        # Kept: closing the SDK's object closes the connection below it.
        self._raw = raw
        self._socket: socket.socket = getattr(raw, "_sock", raw)
        self._socket.settimeout(None)

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    def read(self, size: int = 65536) -> bytes:
        """Up to ``size`` bytes, as soon as there are some; empty at the end. Raises OSError."""
        return self._socket.recv(size)

    def write(self, content: bytes) -> None:
        """All of ``content`` to the container's input. Raises OSError."""
        self._socket.sendall(content)

    def close_input(self) -> None:
        """Close the container's standard input, and go on reading."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        # All three hold the connection. The answer first: it flushes what is below it.
        answer = getattr(self._raw, "_response", None)
        if answer is not None:
            answer.close()
        self._raw.close()
        self._socket.close()

    def __enter__(self) -> AttachedStream:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()
