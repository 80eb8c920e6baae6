"""TLS, plain HTTP and proxies of a transport."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry_tool.base.errors import (
    RegistryUnreachable,
)
from registry_tool.transport import Transport, pool
from registry_tool.transport import transport as transport_module
from tests.support import canary
from tests.support.fake_server import fake_server
from tests.support.transport_servers import MARY, ok

# --- TLS and plain HTTP ---


def test_tls_on_loopback_is_not_verified(certificate: Path) -> None:
    with fake_server(ok, certificate=certificate) as server, Transport(server.host) as transport:
        assert transport.get("/v2/").status == 200


def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is on loopback pass for a registry elsewhere, on a machine that trusts nobody in particular."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    for module in (transport_module, pool):
        monkeypatch.setattr(module, "is_loopback", lambda host: False)


def test_elsewhere_certificates_are_verified(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away(monkeypatch)
    with fake_server(ok, certificate=certificate) as server:
        with (
            Transport(server.host) as transport,
            pytest.raises(RegistryUnreachable, match="cannot be trusted: self-signed certificate") as caught,
        ):
            transport.get("/v2/")
        assert caught.value.hint
        assert "SSL_CERT_FILE" in caught.value.hint
        assert server.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with Transport(server.host) as transport:
            assert transport.get("/v2/").status == 200


def test_missing_bundle_is_an_error(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away(monkeypatch)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    with (
        fake_server(ok, certificate=certificate) as server,
        Transport(server.host) as transport,
        pytest.raises(RegistryUnreachable, match=r"/nowhere/ca\.pem"),
    ):
        transport.get("/v2/")


def test_elsewhere_plain_http_must_be_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    away(monkeypatch)
    with fake_server(ok) as server:
        with Transport(server.host, credential=MARY) as transport, pytest.raises(RegistryUnreachable, match="does not speak TLS") as caught:
            transport.get("/v2/")
        assert caught.value.hint == "If it speaks plain HTTP, use --plain-http."
        assert server.requests == []
        with Transport(server.host, plain_http=True) as transport:
            assert transport.get("/v2/").status == 200


# --- proxies and other people's files ---


def test_loopback_uses_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_server(ok) as proxy, fake_server(ok) as server:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{proxy.host}")
        for host in (server.host, f"localhost:{server.port}"):
            with Transport(host) as transport:
                transport.get("/v2/")
        assert (len(proxy.requests), len(server.requests)) == (0, 2)


def test_other_hosts_use_the_proxy_unless_in_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_server(ok) as proxy:
        monkeypatch.setenv("http_proxy", f"http://{proxy.host}")
        with Transport("registry.invalid", plain_http=True) as transport:
            transport.get("/v2/")
            assert [request.path for request in proxy.requests] == ["http://registry.invalid/v2/"]
        monkeypatch.setenv("no_proxy", "registry.invalid")
        with (
            Transport("registry.invalid", plain_http=True) as transport,
            pytest.raises(RegistryUnreachable, match=r"no registry answers at registry\.invalid"),
        ):
            transport.get("/v2/")


def test_unreachable_proxy_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://user:{canary.password()}@127.0.0.1:1")
    with (
        Transport("registry.invalid") as transport,
        pytest.raises(RegistryUnreachable, match="cannot be reached through its proxy") as caught,
    ):
        transport.get("/v2/")
    assert canary.password() not in str(caught.value)


def test_netrc_is_not_used(own_folders: Path) -> None:
    (own_folders / ".netrc").write_text("machine 127.0.0.1 login netrc password netrc\n")
    with fake_server(ok) as server, Transport(server.host) as transport:
        transport.get("/v2/")
        assert "authorization" not in server.requests[0].headers
