"""A web server with responses of the test's own, for failures that no real registry shows.

It records the requests. Like the Go server in a real registry it refuses a TLS handshake at once on plain HTTP.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

from registry_tool.transport import transport

JSON = "application/json"
_JOIN = 600.0
"""Seconds that a thread has to see the end of its connection."""


@dataclass(frozen=True, kw_only=True)
class ReceivedRequest:
    """One request. Header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A response. ``missing`` bytes are announced and not sent; ``pause`` is in seconds before it, ``trickle`` after each byte.

    After ``cut`` bytes of the body the connection is closed, after ``stall`` bytes nothing more is sent. ``hang_up``: no
    response at all. A Content-Length among the headers is sent as it is, however long the body.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": JSON})
    missing: int = 0
    pause: float = 0.0
    trickle: float = 0.0
    cut: int | None = None
    stall: int | None = None
    hang_up: bool = False


def reply(document: object, status: int = 200, **headers: str) -> Reply:
    """A JSON response; ``www_authenticate`` is the header WWW-Authenticate."""
    converted = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return Reply(status=status, body=json.dumps(document).encode(), headers={"Content-Type": JSON, **converted})


class _Server(ThreadingHTTPServer):
    """A thread for each connection. It takes as many at a time as a client opens, and leaves none behind."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._lock = threading.Lock()
        self._connections: dict[Any, threading.Thread] = {}

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        with self._lock:
            self._connections[request] = thread
            thread.start()

    def connections(self) -> int:
        """How many are open."""
        with self._lock:
            return len(self._connections)

    def close_request(self, request: Any) -> None:
        with self._lock:
            self._connections.pop(request, None)
        super().close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        return None

    def server_close(self) -> None:
        super().server_close()
        with self._lock:
            threads = list(self._connections.values())
            for connection in self._connections:
                _shut(connection)
        _join(threads)


def _shut(connection: socket.socket) -> None:
    """Wake whoever waits for the connection. It is not closed: that is for the thread that uses it."""
    with suppress(OSError):
        # A TLS socket's own method takes away what another thread reads from.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _join(threads: Iterable[threading.Thread]) -> None:
    for thread in threads:
        thread.join(_JOIN)
        assert not thread.is_alive(), f"a thread of a server goes on after the server's end: {thread.name}"


class FakeServer:
    """A running server. ``requests`` are those it received, in order."""

    def __init__(self, respond: Callable[[ReceivedRequest], Reply], address: str, certificate: Path | None) -> None:
        self.requests: list[ReceivedRequest] = []
        self.respond = respond
        self.ended = threading.Event()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_one_request(self) -> None:
                if self.rfile.peek(1)[:1] == b"\x16":  # type: ignore[attr-defined]
                    self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTPS request to an HTTP server.\n")
                    self.close_connection = True
                    return
                super().handle_one_request()

            def do_GET(self) -> None:
                fake.handle(self)

            do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                return None

        self.server = _Server((address, 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            # A client that says nothing keeps its own thread waiting, not the one that accepts.
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port: int = self.server.server_address[1]
        self.host = f"{address}:{self.port}"

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): ", ".join(handler.headers.get_all(name, ())) for name in handler.headers}
        request = ReceivedRequest(method=handler.command, path=handler.path, headers=headers, body=_body(handler))
        self.requests.append(request)
        response = self.respond(request)
        self.ended.wait(response.pause)
        if response.hang_up:
            handler.close_connection = True
            return
        handler.send_response(response.status)
        for name, value in response.headers.items():
            handler.send_header(name, value)
        # These have no content (RFC 9110, 15.3.5 and 15.4.5): what is sent all the same is read as the next response.
        has_content = response.status not in (204, 304)
        if has_content and "content-length" not in {name.lower() for name in response.headers}:
            handler.send_header("Content-Length", str(len(response.body) + response.missing))
        handler.end_headers()
        if has_content and handler.command != "HEAD":
            self._send_body(handler, response)

    def _send_body(self, handler: BaseHTTPRequestHandler, response: Reply) -> None:
        short = [length for length in (response.cut, response.stall) if length is not None]
        body = response.body[: min(short)] if short else response.body
        for at in range(len(body)) if response.trickle else ():
            handler.wfile.write(body[at : at + 1])
            if self.ended.wait(response.trickle):
                break
        if not response.trickle:
            handler.wfile.write(body)
        if response.stall is not None:
            self.ended.wait()
        length = {name.lower(): value for name, value in response.headers.items()}.get("content-length")
        if response.missing or short or (length is not None and int(length) != len(body)):
            handler.close_connection = True


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    """The whole body of a request, chunked or not."""
    if "chunked" not in handler.headers.get("Transfer-Encoding", "").lower():
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    body = b""
    while size := int(handler.rfile.readline().partition(b";")[0], 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    while handler.rfile.readline().strip():
        pass
    return body


@contextmanager
def fake_server(
    respond: Callable[[ReceivedRequest], Reply], *, address: str = "127.0.0.1", certificate: Path | None = None
) -> Iterator[FakeServer]:
    """A server for the block, on a free port. Clients wait for the TLS handshake of one with a ``certificate`` as long as it takes:
    after a second, as usual, they would take it for plain HTTP on a busy machine.
    """
    fake = FakeServer(respond, address, certificate)
    patient = nullcontext() if certificate is None else mock.patch.object(transport, "TRIAL_TIMEOUT", 600.0)
    thread = threading.Thread(target=fake.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        with patient:
            yield fake
    finally:
        fake.ended.set()
        fake.server.shutdown()
        fake.server.server_close()
        thread.join()


@contextmanager
def tcp_server(serve: Callable[[socket.socket], object]) -> Iterator[str]:
    """A server of any protocol: ``serve`` gets one connection after the other, each is closed after it. Yields ``127.0.0.1:PORT``.

    At the end the connection is shut down: ``serve`` has to end then.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    lock, current, ended = threading.Lock(), [listener], threading.Event()

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                with lock:
                    if ended.is_set():
                        return
                    current[:] = [connection]
                with suppress(OSError):
                    serve(connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        # Only a shutdown wakes a blocked accept; on BSD it fails with ENOTCONN and the close wakes it.
        _shut(listener)
        listener.close()
        with lock:
            ended.set()
            for connection in current:
                _shut(connection)
        _join([thread])


def until_closed(connection: socket.socket) -> None:
    """For :func:`tcp_server`: send nothing until the other side closes the connection."""
    while connection.recv(65536):
        pass


def sending(content: bytes) -> Callable[[socket.socket], None]:
    """For :func:`tcp_server`: read the first bytes, send ``content`` and close."""

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(content)

    return serve


def self_signed(folder: Path) -> Path:
    """A self-signed certificate for localhost with its key, in one file. Raises FileNotFoundError without openssl."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    both = folder / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    return both
