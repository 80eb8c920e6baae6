"""An HTTP server for a WSGI application: connections that are kept, chunked bodies, ``Expect: 100-continue``.

The standard library's wsgiref has none of the three, and docker's client and engine use them all. A thread for each
connection; TLS is somebody else's.
"""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

from registry_tool.server.messages import PIECE, PLAIN, BrokenBody, Environ, WSGIApplication

MAX_LEFT = 1 << 18
"""Bytes of a body that nobody read: so much is read to keep the connection, more ends it (as Go's server does)."""
IDLE = 300.0
LINGER = 0.5
"""Seconds: how long a connection may be silent, and how long a client that is still sending may take to see our answer."""
_MAX_LINE = 65536


class Server:
    """Listens from the moment it is made. ``errors`` is what the application raised and should not have."""

    def __init__(self, application: WSGIApplication, *, address: str = "127.0.0.1", port: int = 0) -> None:
        self.application = application
        self.errors: list[Exception] = []
        self._socket = socket.create_server((address, port), backlog=128)
        self.port: int = self._socket.getsockname()[1]
        self.host = f"{address}:{self.port}"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._is_over = False

    def serve(self) -> None:
        """Take connections until :meth:`close`."""
        while True:
            try:
                connection, peer = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._converse, args=(connection, peer), daemon=True)
            with self._lock:
                if self._is_over:
                    connection.close()
                    return
                self._open.add(connection)
                self._threads.add(thread)
                thread.start()

    def close(self) -> None:
        """Hang up on everybody, and come back when nothing of this server runs any more."""
        # Only a shutdown wakes an accept that waits; BSD says ENOTCONN to it and wakes it by the close.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self._lock:
            self._is_over = True
            threads = tuple(self._threads)
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()

    def _converse(self, connection: socket.socket, peer: Any) -> None:
        try:
            with suppress(ConnectionError), connection:
                _Conversation(connection, peer, self)  # type: ignore[arg-type]
        finally:
            with self._lock:
                self._open.discard(connection)
                self._threads.discard(threading.current_thread())


@contextmanager
def serving(application: WSGIApplication, *, address: str = "127.0.0.1", port: int = 0) -> Iterator[Server]:
    """A server for the block; port 0 is one that nobody has."""
    server = Server(application, address=address, port=port)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()


class _Conversation(BaseHTTPRequestHandler):
    """One connection: requests and answers, until one of the two wants no more."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE
    wbufsize = PIECE
    server: Server  # type: ignore[assignment]
    body: _Body

    def handle_one_request(self) -> None:
        try:
            self.raw_requestline = self.rfile.readline(_MAX_LINE + 1)
            if not self.raw_requestline:
                self.close_connection = True
                return
            if len(self.raw_requestline) > _MAX_LINE:
                self.send_error(414)
            elif self.parse_request() and self._is_whole():
                self.body = _Body(self.rfile, self.headers, self._go_on)
                self._answer()
            self.wfile.flush()
        except TimeoutError:
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            # Not reached there where the last words cannot be said, and the connection is open as long as this is.
            self.rfile.close()

    def _is_whole(self) -> bool:
        whole = self.request_version == "HTTP/1.0" or "Host" in self.headers
        if not whole:
            self.send_error(400, "missing required Host header")
        return whole

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What is no request: said in plain words, and the connection ends."""
        self.close_connection = True
        words = f"{int(code)} {message or HTTPStatus(code).phrase}"
        head = f"HTTP/1.1 {words}\r\nContent-Type: {PLAIN}\r\nConnection: close\r\n\r\n"
        self.wfile.write(f"{head}{words}".encode("latin-1", "replace"))

    def handle_expect_100(self) -> bool:
        """Later: when the body is read. An answer that needs none is given at once."""
        return True

    def log_message(self, format: str, *args: object) -> None:
        return None

    def _go_on(self) -> None:
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.wfile.flush()

    def _answer(self) -> None:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Callable[[bytes], object]:
            started[:] = [(status, headers)]
            return self.wfile.write

        result: Iterable[bytes] = ()
        try:
            result = self.server.application(self._environ(), start)
            status, headers = started[0]
        except Exception as error:  # noqa: BLE001 - a bug in the application ends one request, not the server
            self.server.errors.append(error)
            status, headers = "500 Internal Server Error", [("Content-Length", "0")]
        self._send(status, headers, result)

    def _send(self, status: str, headers: list[tuple[str, str]], result: Iterable[bytes]) -> None:
        named = {name.lower(): value for name, value in headers}
        code, _, phrase = status.partition(" ")
        bare = self.command == "HEAD" or code in ("204", "304")
        promised = int(named.get("content-length", 0))
        if not bare and "content-length" not in named:
            self.close_connection = True
        if self.body.broken or self.body.awaited:
            self.close_connection = True
        self.send_response_only(int(code), phrase)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Date", self.date_time_string())
        if self.close_connection:
            self.send_header("Connection", "close")
        elif self.request_version == "HTTP/1.0":
            self.send_header("Connection", "keep-alive")
        self.end_headers()
        sent = 0
        for piece in result:
            self.wfile.write(piece)
            sent += len(piece)
        self.wfile.flush()
        if not bare and sent < promised:
            self.close_connection = True
        elif not self.body.spent(MAX_LEFT):
            self.close_connection = True
            self._linger()

    def _linger(self) -> None:
        """Let a client that is still sending read our answer: closed at once, the connection would be reset under it."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(LINGER)
            while self.connection.recv(PIECE):
                pass

    def _environ(self) -> Environ:
        path, _, query = self.path.partition("?")
        environ: Environ = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": self.server.host.rpartition(":")[0],
            "SERVER_PORT": str(self.server.port),
            "SERVER_PROTOCOL": self.request_version,
            "REMOTE_ADDR": str(self.client_address[0]),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": self.body,
            "wsgi.input_terminated": True,
            "wsgi.errors": io.StringIO(),  # read by nobody: what goes wrong is raised
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name in self.headers:
            key = name.upper().replace("-", "_")
            key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
            environ[key] = ",".join(value.strip() for value in self.headers.get_all(name, ()))
        return environ


class _Body(io.RawIOBase):
    """A request's body, whatever its form; ends where it ends. Raises BrokenBody where it ends before."""

    def __init__(self, source: BinaryIO | io.BufferedIOBase, headers: Message[str, str], go_on: Callable[[], None]) -> None:
        self._source = source
        self._go_on = go_on
        self.awaited = "100-continue" in headers.get("Expect", "").lower()
        """The client waits for us to say that we want it."""
        self.broken = False
        self._chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
        try:
            self._left = 0 if self._chunked else max(int(headers.get("Content-Length") or 0), 0)
        except ValueError:
            self._left, self.broken = 0, True
        self._over = not self._chunked and not self._left

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        """At most ``size`` bytes: as many as come at once."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(PIECE), b""))
        if self._over or not size:
            return b""
        if self.awaited:
            self.awaited = False
            self._go_on()
        try:
            return self._some(size)
        except (ValueError, OSError) as error:
            self.broken = self._over = True
            raise BrokenBody(str(error)) from error

    def spent(self, limit: int) -> bool:
        """Read what nobody read, up to ``limit`` bytes; whether that was all."""
        if self.awaited:
            return False
        try:
            while not self._over and limit > 0:
                limit -= len(self.read(PIECE))
        except BrokenBody:
            return False
        return self._over and not self.broken

    def _some(self, size: int) -> bytes:
        if self._chunked and not self._left:
            self._left = self._next_chunk()
            if not self._left:
                self._over = True
                return b""
        piece = self._source.read1(min(size, self._left))  # type: ignore[union-attr]
        if not piece:
            raise ValueError("unexpected EOF")
        self._left -= len(piece)
        if not self._left:
            self._end_of_part()
        return bytes(piece)

    def _end_of_part(self) -> None:
        if not self._chunked:
            self._over = True
        elif self._source.readline(_MAX_LINE).strip():
            raise ValueError("malformed chunked encoding")

    def _next_chunk(self) -> int:
        """Its size; 0 at the end, with the trailers read."""
        line = self._source.readline(_MAX_LINE)
        if not line.endswith(b"\n"):
            raise ValueError("unexpected EOF")
        said = line.partition(b";")[0].strip()
        if not said or set(said.lower()) - set(b"0123456789abcdef"):
            raise ValueError("invalid byte in chunk length")
        size = int(said, 16)
        while not size and self._source.readline(_MAX_LINE).strip():
            pass
        return size
