"""An HTTP server for WSGI with what wsgiref lacks: persistent connections, chunks, ``Expect: 100-continue``. One thread each; no TLS."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, BinaryIO, Generic, TypeVar
from urllib.parse import unquote_to_bytes

from registry_tool.server.messages import CHUNK, PLAIN, Environ, IncompleteBody, WSGIApplication

MAX_UNREAD = 1 << 18
"""Bytes of an unread body that are drained to keep the connection; with more it is closed (as Go's server does)."""
IDLE = 300.0
LINGER = 5.0
"""Seconds that a connection may be idle, and that a client which is still sending has to read the response."""
_MAX_LINE = 65536

App = TypeVar("App", bound=WSGIApplication)


class Server(Generic[App]):
    """Listens as soon as it is constructed. ``errors`` are the application's unhandled exceptions."""

    def __init__(self, application: App, *, address: str = "127.0.0.1", port: int = 0) -> None:
        self.application = application
        self.errors: list[Exception] = []
        self._socket = socket.create_server((address, port), backlog=128)
        self.port: int = self._socket.getsockname()[1]
        self.address = address
        self.host = f"{address}:{self.port}"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._closed = False

    def serve(self) -> None:
        """Accept connections until :meth:`close`."""
        while True:
            try:
                connection, peer = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve_connection, args=(connection, peer), daemon=True)
            with self._lock:
                if self._closed:
                    connection.close()
                    return
                self._open.add(connection)
                self._threads.add(thread)
                thread.start()

    def close(self) -> None:
        """Close all connections, and return when no thread of this server runs any more."""
        # Only a shutdown wakes a blocked accept; on BSD it fails with ENOTCONN and the close wakes it.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self._lock:
            self._closed = True
            threads = tuple(self._threads)
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()

    def _serve_connection(self, connection: socket.socket, peer: Any) -> None:
        try:
            with suppress(ConnectionError), connection:
                _Connection(connection, peer, self)  # type: ignore[arg-type]
        finally:
            with self._lock:
                self._open.discard(connection)
                self._threads.discard(threading.current_thread())


@contextmanager
def run_server(application: App, *, address: str = "127.0.0.1", port: int = 0) -> Iterator[Server[App]]:
    """Run a server for the block; port 0 is any free one."""
    server = Server(application, address=address, port=port)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()


class _Connection(BaseHTTPRequestHandler):
    """One connection: requests and responses, until one side closes it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE
    wbufsize = CHUNK
    server: Server[WSGIApplication]  # type: ignore[assignment]
    body: _RequestBody

    def handle_one_request(self) -> None:
        try:
            self.raw_requestline = self.rfile.readline(_MAX_LINE + 1)
            if not self.raw_requestline:
                self.close_connection = True
                return
            if len(self.raw_requestline) > _MAX_LINE:
                self.send_error(414)
            elif self.parse_request():
                if self.request_version == "HTTP/1.0" or "Host" in self.headers:
                    self.body = _RequestBody(self.rfile, self.headers, self._send_continue)
                    self._respond()
                else:
                    self.send_error(400, "missing required Host header")
            self.wfile.flush()
        except TimeoutError:
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            # Not reached above where the last flush fails, and the connection is open as long as this is.
            self.rfile.close()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no request in plain text, and close the connection."""
        self.close_connection = True
        reason = f"{int(code)} {message or HTTPStatus(code).phrase}"
        head = f"HTTP/1.1 {reason}\r\nContent-Type: {PLAIN}\r\nConnection: close\r\n\r\n"
        self.wfile.write(f"{head}{reason}".encode("latin-1", "replace"))

    def handle_expect_100(self) -> bool:
        """Send it later, when the body is read: a response that needs no body is sent at once."""
        return True

    def log_message(self, format: str, *args: object) -> None:
        return None

    def _send_continue(self) -> None:
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.wfile.flush()

    def _respond(self) -> None:
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
        headers_by_name = {name.lower(): value for name, value in headers}
        code, _, phrase = status.partition(" ")
        has_no_body = self.command == "HEAD" or code in ("204", "304")
        length = int(headers_by_name.get("content-length", 0))
        if not has_no_body and "content-length" not in headers_by_name:
            self.close_connection = True
        if self.body.is_broken or self.body.expects_continue:
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
        for chunk in result:
            self.wfile.write(chunk)
            sent += len(chunk)
        self.wfile.flush()
        if not has_no_body and sent < length:
            self.close_connection = True
        elif not self.body.drain(MAX_UNREAD):
            self.close_connection = True
            self._linger()

    def _linger(self) -> None:
        """Let a client that is still sending read the response: an immediate close would reset the connection."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(LINGER)
            while self.connection.recv(CHUNK):
                pass

    def _environ(self) -> Environ:
        path, _, query = self.path.partition("?")
        environ: Environ = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": self.server.address,
            "SERVER_PORT": str(self.server.port),
            "SERVER_PROTOCOL": self.request_version,
            "REMOTE_ADDR": str(self.client_address[0]),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": self.body,
            "wsgi.input_terminated": True,
            "wsgi.errors": io.StringIO(),  # not read: errors are raised
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name in self.headers:
            key = name.upper().replace("-", "_")
            key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
            environ[key] = ",".join(value.strip() for value in self.headers.get_all(name, ()))
        return environ


class _RequestBody(io.RawIOBase):
    """A request's body, chunked or not. Raises IncompleteBody where it ends too early."""

    def __init__(self, source: BinaryIO | io.BufferedIOBase, headers: Message[str, str], send_continue: Callable[[], None]) -> None:
        self._source = source
        self._send_continue = send_continue
        self.expects_continue = "100-continue" in headers.get("Expect", "").lower()
        """Whether the client waits for ``100 Continue``."""
        self.is_broken = False
        self._chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
        try:
            self._remaining = 0 if self._chunked else max(int(headers.get("Content-Length") or 0), 0)
        except ValueError:
            self._remaining, self.is_broken = 0, True
        self._ended = not self._chunked and not self._remaining

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        """At most ``size`` bytes: as many as are there."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(CHUNK), b""))
        if self._ended or not size:
            return b""
        if self.expects_continue:
            self.expects_continue = False
            self._send_continue()
        try:
            return self._read_some(size)
        except (ValueError, OSError) as error:
            self.is_broken = self._ended = True
            raise IncompleteBody(str(error)) from error

    def drain(self, limit: int) -> bool:
        """Read the unread rest, ``limit`` bytes at most; whether that was all."""
        if self.expects_continue:
            return False
        try:
            while not self._ended and limit > 0:
                limit -= len(self.read(CHUNK))
        except IncompleteBody:
            return False
        return self._ended and not self.is_broken

    def _read_some(self, size: int) -> bytes:
        if self._chunked and not self._remaining:
            self._remaining = self._read_chunk_size()
            if not self._remaining:
                self._ended = True
                return b""
        chunk = self._source.read1(min(size, self._remaining))  # type: ignore[union-attr]
        if not chunk:
            raise ValueError("unexpected EOF")
        self._remaining -= len(chunk)
        if not self._chunked:
            self._ended = not self._remaining
        elif not self._remaining and self._source.readline(_MAX_LINE).strip():
            raise ValueError("malformed chunked encoding")
        return bytes(chunk)

    def _read_chunk_size(self) -> int:
        """The next chunk's size; 0 at the end, with the trailers read."""
        line = self._source.readline(_MAX_LINE)
        if not line.endswith(b"\n"):
            raise ValueError("unexpected EOF")
        digits = line.partition(b";")[0].strip()
        if not digits or set(digits.lower()) - set(b"0123456789abcdef"):
            raise ValueError("invalid byte in chunk length")
        size = int(digits, 16)
        while not size and self._source.readline(_MAX_LINE).strip():
            pass
        return size
