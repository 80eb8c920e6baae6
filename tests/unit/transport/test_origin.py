from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from registry_tool.transport.transport import find_origin
from tests.support.fake_server import Reply, fake_server, self_signed, sending, tcp_server, until_closed


def test_nothing_listens_is_an_error_about_the_first_address() -> None:
    with pytest.raises(ConnectionRefusedError):
        find_origin("localhost:1", plain_http=None, timeout=60)


def test_plain_http_is_detected_without_a_request() -> None:
    with fake_server(lambda request: Reply()) as server:
        assert find_origin(f"localhost:{server.port}", plain_http=None, timeout=60) == f"http://127.0.0.1:{server.port}"
        assert server.requests == []


@pytest.mark.usefixtures("has_openssl")
def test_tls_is_detected(tmp_path: Path) -> None:
    with fake_server(lambda request: Reply(), certificate=self_signed(tmp_path)) as server:
        assert find_origin(server.host, plain_http=None, timeout=60) == f"https://{server.host}"
        assert find_origin(server.host, plain_http=True, timeout=60) == f"http://{server.host}"
        assert server.requests == []


def test_tls_alert_is_tls() -> None:
    alert = b"\x15\x03\x03\x00\x02\x02\x28"  # handshake_failure
    with tcp_server(sending(alert)) as host:
        assert find_origin(host, plain_http=None, timeout=60) == f"https://{host}"


@pytest.mark.parametrize("words", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_other_bytes_are_plain_http(words: bytes) -> None:
    with tcp_server(sending(words)) as host:
        assert find_origin(host, plain_http=None, timeout=60) == f"http://{host}"


def test_silence_is_plain_http_after_a_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry_tool.transport.transport.TRIAL_TIMEOUT", 0.1)
    with tcp_server(until_closed) as host:
        begun = time.monotonic()
        assert find_origin(host, plain_http=None, timeout=60) == f"http://{host}"
        assert time.monotonic() - begun < 30


def test_ipv6_is_tried_after_ipv4() -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with listener:
        port = listener.getsockname()[1]
        listener.settimeout(0)
        result = find_origin(f"localhost:{port}", plain_http=True, timeout=60)
    assert result == f"http://[::1]:{port}"
