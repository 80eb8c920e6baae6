"""What goes out and what comes back: packing, proxies, certificates, lines that are kept."""

from __future__ import annotations

import base64
import functools
import gzip
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from registry_tool.base.errors import ConnectionLost, NotARegistry, NotFound, NothingListens, RegistryError, RegistryUnreachable
from registry_tool.transport import Transport, pool
from registry_tool.transport import transport as transport_module
from registry_tool.transport.retry import is_transient
from tests.support import canary
from tests.support.fake_server import ReceivedRequest, Reply, fake_server, reply, self_signed, sending, tcp_server
from tests.support.socks_server import socks_server


def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is on loopback pass for a registry elsewhere, on a machine that trusts nobody in particular."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    for module in (transport_module, pool):
        monkeypatch.setattr(module, "is_loopback", lambda host: False)


@pytest.mark.parametrize("cause", [ConnectionRefusedError, ConnectionResetError, ConnectionAbortedError])
@pytest.mark.parametrize("is_known", [False, True])
def test_connection_that_a_closing_listener_ends_is_one_to_try_again(
    monkeypatch: pytest.MonkeyPatch, cause: type[OSError], is_known: bool
) -> None:
    def fail(self: socket.socket, address: object) -> None:
        raise cause(0, "ended")

    with fake_server(lambda request: reply({}, connection="close")) as server, Transport(server.host) as transport:
        if is_known:
            transport.get("/v2/")
        monkeypatch.setattr(socket.socket, "connect", fail)
        with pytest.raises(NothingListens) as raised:
            transport.get("/v2/")
    assert is_transient(raised.value)


def test_latency_is_known_after_some_responses() -> None:
    with fake_server(lambda request: Reply(pause=0.02)) as server, Transport(server.host) as transport:
        for number in range(8):
            assert transport.latency is None
            transport.get(f"/v2/a/manifests/{number}")
        assert transport.latency is not None
        assert transport.latency >= 0.02


# --- packing ---


@functools.cache
def gzip_bomb() -> bytes:
    """50 MB in a few kB."""
    return gzip.compress(b"\0" * 50_000_000)


@pytest.mark.parametrize("packing", ["gzip", "GZIP", "br", "deflate", "gzip, gzip", "x" * 500])
def test_compressed_response_is_refused_unread(packing: str) -> None:
    bomb = Reply(body=gzip_bomb(), headers={"Content-Encoding": packing, "Content-Type": "application/json"})
    with fake_server(lambda request: bomb) as server, Transport(server.host) as transport:
        for ask in (transport.get, transport.stream):
            with pytest.raises(RegistryError, match="compresses its response to GET /v2/a/manifests/x .* refused"):
                ask("/v2/a/manifests/x")
        assert transport.head("/v2/a/manifests/x").status == 200
    assert {request.headers["accept-encoding"] for request in server.requests} == {"identity"}


def test_identity_encoding_is_accepted() -> None:
    with fake_server(lambda request: Reply(headers={"Content-Encoding": "identity"})) as server, Transport(server.host) as transport:
        assert transport.get("/v2/").body == b"{}"


def test_compressed_error_response_is_an_error_response() -> None:
    packed = Reply(status=404, body=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"})
    with fake_server(lambda request: packed) as server, Transport(server.host) as transport, pytest.raises(NotFound) as caught:
        transport.send("POST", "/v2/a/blobs/uploads/")
    assert caught.value.response is not None
    assert caught.value.response.status == 404


# --- connections ---


def test_connections_are_reused_and_shared_by_threads() -> None:
    connections: set[int] = set()
    together = threading.Barrier(4, timeout=60)

    def answer(request: ReceivedRequest) -> Reply:
        connections.add(threading.get_ident())  # the server has a thread for each connection
        if request.path == "/v2/together":
            together.wait()
        return Reply()

    with fake_server(answer) as server, Transport(server.host) as transport, ThreadPoolExecutor(4) as threads:
        for _ in range(5):
            transport.get("/v2/")
        assert len(connections) == 1
        list(threads.map(lambda _: transport.get("/v2/together"), range(4)))
        assert len(connections) == 4
        list(threads.map(lambda _: transport.get("/v2/"), range(40)))
        assert len(connections) == 4


def test_connection_closed_while_idle_is_replaced() -> None:
    def once(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with tcp_server(once) as host, Transport(host, plain_http=True) as transport:
        assert [transport.get("/v2/").status for _ in range(3)] == [200, 200, 200]


def test_closed_transport_opens_new_connections() -> None:
    with fake_server(lambda request: Reply()) as server:
        transport = Transport(server.host)
        transport.get("/v2/")
        transport.close()
        assert transport.get("/v2/").status == 200
        transport.close()


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", ConnectionLost),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal", ConnectionLost),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nrubbish\r\n", ConnectionLost),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nhalf a head", ConnectionLost),
        (b"", ConnectionLost),
        (b"220 mail.example.com ESMTP\r\n", NotARegistry),
    ],
)
def test_lost_connection(words: bytes, kind: type[Exception]) -> None:
    with tcp_server(sending(words)) as host, Transport(host, plain_http=True) as transport:
        with pytest.raises(RegistryUnreachable) as caught:
            transport.send("DELETE", "/v2/a/manifests/x")  # is not tried again
        assert type(caught.value) is kind


# --- certificates ---


@pytest.mark.usefixtures("has_openssl")
def test_certificate_of_another_name_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away(monkeypatch)
    certificate = self_signed(tmp_path)  # for localhost and 127.0.0.1
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with (
        fake_server(lambda request: Reply(), address="127.0.0.2", certificate=certificate) as server,
        Transport(server.host) as transport,
        pytest.raises(RegistryUnreachable, match="cannot be trusted: IP address mismatch") as caught,
    ):
        transport.get("/v2/")
    assert caught.value.hint == "Its certificate is another server's: check the address, and who answers there."
    assert server.requests == []


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
@pytest.mark.usefixtures("has_openssl")
def test_variable_that_names_the_authorities_is_the_one_in_the_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    away(monkeypatch)
    (tmp_path / "other").mkdir()
    trusted = self_signed(tmp_path / "other")
    monkeypatch.setenv(name, str(trusted))
    if name == "REQUESTS_CA_BUNDLE":
        monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")  # is not looked at
    with (
        fake_server(lambda request: Reply(), certificate=self_signed(tmp_path)) as server,
        Transport(server.host) as transport,
        pytest.raises(RegistryUnreachable, match="cannot be trusted") as caught,
    ):
        transport.get("/v2/")
    assert caught.value.hint == f"Put the certificate of its authority into {trusted} ({name}), or into docker's certs.d."


@pytest.mark.usefixtures("has_openssl")
def test_insecure_host_is_not_verified_and_others_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away(monkeypatch)
    certificate = self_signed(tmp_path)

    def answer(request: ReceivedRequest) -> Reply:
        return Reply(status=307, headers={"Location": f"https://{other.host}/blob"}) if "blobs" in request.path else Reply()

    with (
        fake_server(lambda request: Reply(), address="127.0.0.2", certificate=certificate) as other,
        fake_server(answer, certificate=certificate) as server,
        Transport(server.host, insecure=True) as transport,
    ):
        assert transport.get("/v2/").status == 200
        with pytest.raises(RegistryUnreachable, match="cannot be trusted"):
            transport.get("/v2/a/blobs/x")
        assert other.requests == []


# --- proxies ---


def test_proxy_password_goes_to_the_proxy_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_server(lambda request: Reply()) as proxy:
        monkeypatch.setenv("http_proxy", f"http://john:{canary.password()}%40@{proxy.host}")
        with Transport("registry.invalid", plain_http=True) as transport:
            transport.get("/v2/")
    (request,) = proxy.requests
    assert request.path == "http://registry.invalid/v2/"
    assert request.headers["host"] == "registry.invalid"
    assert request.headers["proxy-authorization"] == "Basic " + base64.b64encode(f"john:{canary.password()}@".encode()).decode()


def test_proxy_without_scheme_is_http(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_server(lambda request: Reply()) as proxy:
        monkeypatch.setenv("http_proxy", proxy.host)
        with Transport("registry.invalid", plain_http=True) as transport:
            transport.get("/v2/")
    assert len(proxy.requests) == 1


@pytest.mark.parametrize(
    "proxy",
    [
        *("socks5://127.0.0.1:1", "socks4://127.0.0.1:1", "socks5://", "socks5://127.0.0.1:x", "socks5://["),
        *("ftp://127.0.0.1:1", "http://", "http://["),
        # Unquoted, a slash or a question mark ends the address.
        *(
            f"{scheme}://john:{canary.password(end)}@127.0.0.1:1"
            for scheme in ("http", "socks5")
            for end in ("/x", "?x", "#x", "]", "x" * 300)
        ),
        *(f"{scheme}{canary.password('x')}@127.0.0.1:1" for scheme in ("socks5:", "socks5:/", "socks9://john:")),
    ],
)
def test_unusable_proxy_is_an_error(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    why = r"the proxy for registry\.invalid cannot be used|registry\.invalid cannot be reached through its proxy"
    with Transport("registry.invalid") as transport, pytest.raises(RegistryUnreachable, match=why) as caught:
        transport.get("/v2/")
    assert caught.value.hint
    assert "PROXY" in caught.value.hint


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks", "SOCKS5"])
@pytest.mark.parametrize("variable", ["all_proxy", "http_proxy"])
def test_socks_proxy_looks_up_the_name(monkeypatch: pytest.MonkeyPatch, scheme: str, variable: str) -> None:
    with fake_server(lambda request: Reply()) as server, socks_server(server.port) as proxy:
        monkeypatch.setenv(variable, f"{scheme}://{proxy.host}")
        with Transport("registry.invalid", plain_http=True) as transport:
            for _ in range(2):
                assert transport.get("/v2/").status == 200
    assert proxy.asked == [("registry.invalid", 80)]
    assert [(request.path, request.headers["host"]) for request in server.requests] == [("/v2/", "registry.invalid")] * 2


@pytest.mark.parametrize("host", ["192.0.2.1:5000", "[2001:db8::1]:5000"])
def test_socks_proxy_gets_addresses_as_such(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    with fake_server(lambda request: Reply()) as server, socks_server(server.port) as proxy:
        monkeypatch.setenv("all_proxy", f"socks5://{proxy.host}")
        with Transport(host, plain_http=True) as transport:
            assert transport.get("/v2/").status == 200
    assert proxy.asked == [(host.rpartition(":")[0].strip("[]"), 5000)]


@pytest.mark.usefixtures("has_openssl")
def test_socks_proxy_carries_tls_that_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away(monkeypatch)
    certificate = self_signed(tmp_path)
    with fake_server(lambda request: Reply(), certificate=certificate) as server, socks_server(server.port) as proxy:
        monkeypatch.setenv("https_proxy", f"socks5://{proxy.host}")
        with Transport("localhost") as transport, pytest.raises(RegistryUnreachable, match="cannot be trusted"):
            transport.get("/v2/")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with Transport("localhost") as transport:
            assert transport.get("/v2/").status == 200
    assert proxy.asked == [("localhost", 443)] * 2


def test_socks_password_goes_to_the_proxy_only(monkeypatch: pytest.MonkeyPatch) -> None:
    password = canary.password("sö cks")
    with fake_server(lambda request: Reply()) as server, socks_server(server.port, user=("john", password)) as proxy:
        monkeypatch.setenv("all_proxy", f"socks5://john:{quote(password)}@{proxy.host}")
        with Transport("registry.invalid", plain_http=True) as transport:
            assert transport.get("/v2/").status == 200
        assert proxy.logins == [("john", password)]
        assert "authorization" not in server.requests[0].headers
        assert "proxy-authorization" not in server.requests[0].headers
        monkeypatch.setenv("all_proxy", f"socks5://john:{canary.password('wrong')}@{proxy.host}")
        with (
            Transport("registry.invalid", plain_http=True) as transport,
            pytest.raises(RegistryUnreachable, match="through its proxy: it does not accept the user name or the password"),
        ):
            transport.get("/v2/")


@pytest.mark.parametrize(("reply", "why"), [(2, "its rules do not allow the connection"), (5, "connection refused"), (99, "reply 99")])
def test_socks_proxy_that_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch, reply: int, why: str) -> None:
    with socks_server(1, reply=reply) as proxy:
        monkeypatch.setenv("all_proxy", f"socks5://{proxy.host}")
        with Transport("registry.invalid") as transport, pytest.raises(RegistryUnreachable, match=f"through its proxy: {why}"):
            transport.get("/v2/")


def test_socks_proxy_that_wants_a_password_is_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    with socks_server(1, user=("john", "x")) as proxy:
        monkeypatch.setenv("all_proxy", f"socks5://{proxy.host}")
        with Transport("registry.invalid") as transport, pytest.raises(RegistryUnreachable, match="proxy: it requires a user name"):
            transport.get("/v2/")


@pytest.mark.parametrize("words", [b"", b"\x04\x00", b"\x05", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_what_does_not_speak_socks_is_an_error(monkeypatch: pytest.MonkeyPatch, words: bytes) -> None:
    with tcp_server(sending(words)) as proxy:
        monkeypatch.setenv("all_proxy", f"socks5://{proxy}")
        with Transport("registry.invalid") as transport, pytest.raises(RegistryUnreachable, match="through its proxy"):
            transport.get("/v2/")


@pytest.mark.parametrize("secret", ["", f"john:{canary.password()}@"])
@pytest.mark.parametrize("plain", [True, False])
def test_407_is_blamed_on_the_proxy(monkeypatch: pytest.MonkeyPatch, plain: bool, secret: str) -> None:
    words = b'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n'
    with tcp_server(sending(words)) as proxy:
        monkeypatch.setenv("http_proxy" if plain else "https_proxy", f"http://{secret}{proxy}")
        with (
            Transport("registry.invalid", plain_http=plain or None) as transport,
            pytest.raises(RegistryUnreachable) as caught,
        ):
            transport.get("/v2/")
    why = "does not accept the user name or the password" if secret else "requires a user name and a password"
    assert caught.value.message == f"the proxy http://{proxy} on the way to registry.invalid {why} (407)"


def test_407_without_a_known_proxy_is_blamed_on_one_on_the_way() -> None:
    with (
        fake_server(lambda request: Reply(status=407)) as server,
        Transport(server.host) as transport,
        pytest.raises(RegistryUnreachable, match="a proxy on the way to .* requires a user name and a password: GET /v2/: 407"),
    ):
        transport.get("/v2/")


@pytest.mark.parametrize("status", [403, 502])
def test_proxy_that_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    words = b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status
    with tcp_server(sending(words)) as proxy:
        monkeypatch.setenv("https_proxy", f"http://{proxy}")
        with (
            Transport("registry.invalid") as transport,
            pytest.raises(RegistryUnreachable, match=f"cannot be reached through its proxy.*{status}"),
        ):
            transport.get("/v2/")


def test_no_proxy_with_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    away(monkeypatch)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.0/8")
    with fake_server(lambda request: Reply()) as server, Transport(server.host, plain_http=True) as transport:
        assert transport.get("/v2/").status == 200


_TWO_IMPORTS = """
import sys, threading, time
from registry_tool.transport import pool

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "requests.exceptions":
            is_under_way.set()
            time.sleep(0.5)

def use() -> None:
    is_under_way.wait()
    pool._requests_utils().DEFAULT_CA_BUNDLE_PATH

def connect() -> None:
    import registry_tool.engine.client

is_under_way = threading.Event()
sys.meta_path.insert(0, Slow())
failures = []
threading.excepthook = failures.append
threads = [threading.Thread(target=each) for each in (use, connect)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit(failures[0].exc_value if failures else None)
"""


def test_first_use_while_another_thread_imports_the_engines_client() -> None:
    done = subprocess.run([sys.executable, "-c", _TWO_IMPORTS], check=False, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
