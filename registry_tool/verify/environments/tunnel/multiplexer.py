"""Many connections over one stream, by the same program at both of its ends.

A frame is a channel's number, what it is, how long it is (``>IBI``), and content. Each side may send on a channel what the
other has room for, :data:`WINDOW` bytes at first: a channel that nobody reads stands still, and no other with it. For that the
thread that takes frames in never waits: it writes to nothing.

The standard library of Python 3.9 is enough: this also runs in a container in which nothing of ours is installed.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable

WINDOW = 1 << 18
"""Bytes that a channel may hold in each direction before somebody takes them."""
CHUNK = 1 << 16
"""Bytes of content in one frame at most."""

_HEAD = struct.Struct(">IBI")
_SIZE = struct.Struct(">I")
_OPEN, _OPENED, _DATA, _ROOM, _END, _RESET = range(6)

_LOOK_AGAIN = 200
"""Milliseconds after which one who waits for room looks whether it is still wanted."""
_INET = (socket.AF_INET, socket.AF_INET6)

Connect = Callable[[str], socket.socket]


class Multiplexer:
    """One end. ``send`` writes all it is given to the stream; ``connect`` makes the connection that the other end asks for by a word.

    The two ends number their channels by ``odd`` and even. ``connect`` raises OSError where there is no such connection.
    """

    def __init__(self, send: Callable[[bytes], object], connect: Connect, *, odd: bool) -> None:
        self._send = send
        self._connect = connect
        self._writing = threading.Lock()
        self._changing = threading.Lock()
        self._next = 1 if odd else 2
        self._channels: dict[int, _Channel] = {}
        self._over = False

    def carry(self, connection: socket.socket, word: str) -> _Channel:
        """Join ``connection``, which is given away with this, to the one that the other end makes for ``word``. Raises ConnectionError."""
        with self._changing:
            if self._over:
                connection.close()
                raise ConnectionError("the stream has ended")
            number, self._next = self._next, self._next + 2
            channel = self._channels[number] = _Channel(self, number)
        self.send(number, _OPEN, word.encode())
        channel.begin(connection)
        return channel

    def open(self, word: str, *, timeout: float) -> socket.socket:
        """A connection to what the other end makes for ``word``. Raises ConnectionError, TimeoutError."""
        mine, theirs = socket.socketpair()
        try:
            self.carry(theirs, word).wait_until_open(timeout)
        except BaseException:
            mine.close()
            raise
        return mine

    def run(self, chunks: Iterable[bytes]) -> None:
        """Take in what comes, until it ends; then reset every connection. Raises ValueError for what are no frames, OSError."""
        buffer = bytearray()
        try:
            for chunk in chunks:
                buffer += chunk
                at = 0
                while len(buffer) >= at + _HEAD.size:
                    number, kind, length = _HEAD.unpack_from(buffer, at)
                    if kind > _RESET or length > CHUNK or (kind == _ROOM and length != _SIZE.size):
                        raise ValueError(f"not a frame: kind {kind}, {length} bytes")
                    end = at + _HEAD.size + length
                    if len(buffer) < end:
                        break
                    self._take(number, kind, bytes(buffer[at + _HEAD.size : end]))
                    at = end
                del buffer[:at]
        finally:
            self.end()

    def end(self) -> None:
        """Reset every connection; no further one is carried."""
        with self._changing:
            self._over = True
            channels = list(self._channels.values())
        for channel in channels:
            channel.abort("the stream has ended")

    def send(self, number: int, kind: int, content: bytes = b"") -> None:
        """Write one frame. A stream that is cut is noticed by the one who reads it."""
        try:
            with self._writing:
                self._send(_HEAD.pack(number, kind, len(content)) + content)
        except (OSError, ValueError):
            self.end()

    def forget(self, number: int) -> None:
        with self._changing:
            self._channels.pop(number, None)

    def _take(self, number: int, kind: int, content: bytes) -> None:
        if kind == _OPEN:
            # What follows on this channel may come before the connection is made.
            with self._changing:
                made = self._channels[number] = _Channel(self, number)
            threading.Thread(target=self._answer, args=(made, content.decode("utf-8", "replace")), daemon=True).start()
            return
        channel = self._channels.get(number)
        if channel is None:
            return  # ended here, which the other end did not know yet
        if kind == _OPENED:
            channel.opened()
        elif kind == _DATA:
            channel.take(content)
        elif kind == _ROOM:
            channel.may_send(_SIZE.unpack(content)[0])
        elif kind == _END:
            channel.take(None)
        else:
            channel.abort(content.decode("utf-8", "replace"))

    def _answer(self, channel: _Channel, word: str) -> None:
        try:
            connection = self._connect(word)
        except OSError as error:
            self.forget(channel.number)
            self.send(channel.number, _RESET, str(error).encode()[:CHUNK])
            return
        self.send(channel.number, _OPENED)
        channel.begin(connection)


class _Channel:
    """One connection and its other half at the other end. Two threads: what it sends, and what is sent to it."""

    def __init__(self, owner: Multiplexer, number: int) -> None:
        self.number = number
        self._owner = owner
        self._connection: socket.socket | None = None
        self._changed = threading.Condition()
        self._credit = WINDOW
        self._arrived: deque[bytes | None] = deque()
        self._held = 0
        self._is_open = False
        self._broken: str | None = None
        self._told = False
        self._ways = 2

    def begin(self, connection: socket.socket) -> None:
        with self._changed:
            self._connection = connection
        for way in (self._outwards, self._inwards):
            threading.Thread(target=way, args=(connection,), daemon=True).start()

    # Called by the thread that takes frames in, which must not wait.

    def opened(self) -> None:
        with self._changed:
            self._is_open = True
            self._changed.notify_all()

    def take(self, content: bytes | None) -> None:
        """Content for the connection, None at its end."""
        with self._changed:
            self._held += len(content or b"")
            overrun = self._held > WINDOW
            if not overrun:
                self._arrived.append(content)
                self._changed.notify_all()
        if overrun:
            self.abort("more was sent than there is room for", told=False)

    def may_send(self, size: int) -> None:
        with self._changed:
            self._credit += size
            self._changed.notify_all()

    def abort(self, reason: str, *, told: bool = True) -> None:
        """End it both ways at once. ``told``: the other end knows."""
        with self._changed:
            if self._broken is not None:
                return
            self._broken, self._told = reason, told
            self._changed.notify_all()
            connection = self._connection
        if connection is not None:
            # It wakes who reads. The peer learns nothing from it: what it is to see is the reset, not an end.
            _shut(connection, socket.SHUT_RD if connection.family in _INET else socket.SHUT_RDWR)

    # Called by others.

    def wait_until_open(self, timeout: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_open or self._broken is not None, timeout)
            if self._broken is not None:
                raise ConnectionRefusedError(self._broken)
            if self._is_open:
                return
        self.abort("nothing answered in time", told=False)
        raise TimeoutError("nothing answered in time")

    def _outwards(self, connection: socket.socket) -> None:
        try:
            while credit := self._await_credit():
                content = connection.recv(min(CHUNK, credit))
                if self._broken is not None:
                    break
                if not content:
                    self._owner.send(self.number, _END)
                    break
                with self._changed:
                    self._credit -= len(content)
                self._owner.send(self.number, _DATA, content)
        except OSError as error:
            self.abort(str(error), told=False)
        self._way_ended(connection)

    def _inwards(self, connection: socket.socket) -> None:
        taken = 0
        try:
            while (content := self._await_content()) is not None:
                self._write(connection, content)
                with self._changed:
                    self._held -= len(content)
                taken += len(content)
                if taken >= WINDOW // 4:
                    self._owner.send(self.number, _ROOM, _SIZE.pack(taken))
                    taken = 0
            if self._broken is None:
                connection.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.abort(str(error), told=False)
        self._way_ended(connection)

    def _write(self, connection: socket.socket, content: bytes) -> None:
        """All of it, unless this is broken off meanwhile."""
        room = select.poll()
        room.register(connection, select.POLLOUT)
        rest = memoryview(content)
        while rest and self._broken is None:
            try:
                rest = rest[connection.send(rest, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                room.poll(_LOOK_AGAIN)

    def _await_credit(self) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._credit > 0 or self._broken is not None)
            return 0 if self._broken is not None else self._credit

    def _await_content(self) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._arrived) or self._broken is not None)
            return None if self._broken is not None else self._arrived.popleft()

    def _way_ended(self, connection: socket.socket) -> None:
        with self._changed:
            self._ways -= 1
            last, reason, told = self._ways == 0, self._broken, self._told
        if not last:
            return
        if reason is not None and connection.family in _INET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        self._owner.forget(self.number)
        if reason is not None and not told:
            self._owner.send(self.number, _RESET, reason.encode()[:CHUNK])


def _shut(connection: socket.socket, how: int) -> None:
    try:
        connection.shutdown(how)
    except OSError:
        return  # it has ended by itself
