from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from registry_tool.base.errors import RegistryUnreachable
from registry_tool.transport import tls

HOST = "registry.example.com:5000"


# Those of elliptic curves are made in no time; an RSA key takes a quarter of a second.
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Authority:
    """Signs certificates; nobody trusts it."""

    folder: Path
    certificate: Path
    key: Path

    def sign(self, name: str) -> tuple[Path, Path]:
        """A certificate for ``name`` and its key."""
        key, request, certificate = (self.folder / f"{name}.{end}" for end in ("key", "csr", "pem"))
        openssl("req", *NEW_KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        extension = self.folder / "extension"
        extension.write_text(f"subjectAltName=DNS:{name}")
        signed_by = ("-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial", "-days", "2")
        openssl("x509", "-req", "-in", request, *signed_by, "-extfile", extension, "-out", certificate)
        return certificate, key


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture
def authority(has_openssl: None, tmp_path: Path) -> Authority:
    key, certificate = tmp_path / "ca.key", tmp_path / "ca.pem"
    openssl("req", "-x509", *NEW_KEY, "-days", "2", "-subj", "/CN=nobody", "-keyout", key, "-out", certificate)
    return Authority(tmp_path, certificate, key)


@pytest.fixture
def bundle(has_openssl: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of one authority that has signed nothing here: what stands for those that come with requests."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "bundle.pem"
    openssl(
        *("req", "-x509", *NEW_KEY, "-days", "2", "-subj", "/CN=other", "-out", path),
        *("-keyout", tmp_path / "bundle.key"),
    )
    return str(path)


@contextmanager
def serving(certificate: tuple[Path, Path], *, clients_of: Path | None = None) -> Iterator[int]:
    """Something that speaks TLS, and where ``clients_of`` is given wants a certificate that this authority signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if clients_of is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients_of)
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(60)
                with context.wrap_socket(connection, server_side=True) as tls_socket:
                    tls_socket.sendall(b"hello")

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def greeting(context: ssl.SSLContext, port: int, name: str) -> bytes:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as connection,
        context.wrap_socket(connection, server_hostname=name) as tls_socket,
    ):
        return tls_socket.recv(5)


def certs_d(base: Path, host: str = HOST) -> Path:
    folder = base / "certs.d" / host
    folder.mkdir(parents=True)
    return folder


# --- what is wrong with files ---


def test_missing_key_is_named(own_folders: Path, authority: Authority, bundle: str) -> None:
    shutil.copy(authority.certificate, certs_d(own_folders / ".docker") / "ours.cert")
    with pytest.raises(RegistryUnreachable, match=r"ours\.cert: ours\.key is missing beside it; an authority's certificate ends in \.crt"):
        tls.ssl_context(HOST, verify=True, bundle=bundle)


def test_invalid_certificate_file_is_named(own_folders: Path, bundle: str) -> None:
    (certs_d(own_folders / ".docker") / "ca.crt").write_text("rubbish")
    with pytest.raises(RegistryUnreachable, match=r"ca\.crt"):
        tls.ssl_context(HOST, verify=True, bundle=bundle)


def test_key_with_a_password_is_refused_without_a_prompt(own_folders: Path, authority: Authority, bundle: str) -> None:
    folder = certs_d(own_folders / ".docker")
    certificate, key = authority.sign("client")
    shutil.copy(certificate, folder / "client.cert")
    openssl("ec", "-aes256", "-passout", "pass:x", "-in", key, "-out", folder / "client.key")
    with pytest.raises(RegistryUnreachable, match=r"client\.cert: its key needs a password"):
        tls.ssl_context(HOST, verify=True, bundle=bundle)


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_missing_bundle_of_a_variable_is_named(bundle: str, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "/nowhere/ca.pem")
    with pytest.raises(RegistryUnreachable, match=r"/nowhere/ca\.pem") as caught:
        tls.ssl_context(HOST, verify=True, bundle=bundle)
    assert caught.value.hint == f"Repair the file, or the variable {name}, which names it."


# --- whom is trusted ---


def test_unknown_authority_is_not_trusted(authority: Authority, bundle: str) -> None:
    context = tls.ssl_context(HOST, verify=True, bundle=bundle)
    with serving(authority.sign("localhost")) as port, pytest.raises(ssl.SSLCertVerificationError):
        greeting(context, port, "localhost")


@pytest.mark.parametrize("base", [".docker", ".config/docker", ".config/containers"])
def test_certs_d_adds_an_authority(own_folders: Path, authority: Authority, bundle: str, base: str) -> None:
    shutil.copy(authority.certificate, certs_d(own_folders / base) / "ca.crt")
    with serving(authority.sign("localhost")) as port:
        assert greeting(tls.ssl_context(HOST, verify=True, bundle=bundle), port, "localhost") == b"hello"
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            greeting(tls.ssl_context(HOST, verify=True, bundle=bundle), port, "wrong.example.com")
        with pytest.raises(ssl.SSLCertVerificationError):
            greeting(tls.ssl_context("registry.example.com", verify=True, bundle=bundle), port, "localhost")


def test_variable_replaces_the_system_authorities(
    authority: Authority, bundle: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    with serving(authority.sign("localhost")) as port:
        assert greeting(tls.ssl_context(HOST, verify=True, bundle=bundle), port, "localhost") == b"hello"
        folder = tmp_path / "hashed"
        folder.mkdir()
        shutil.copy(authority.certificate, folder / "ca.pem")
        openssl("rehash", folder)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(folder))
        assert greeting(tls.ssl_context(HOST, verify=True, bundle=bundle), port, "localhost") == b"hello"
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
        with pytest.raises(ssl.SSLCertVerificationError):
            greeting(tls.ssl_context(HOST, verify=True, bundle=bundle), port, "localhost")


@pytest.mark.parametrize("checked", [True, False])
def test_client_certificate_is_sent(own_folders: Path, authority: Authority, bundle: str, checked: bool) -> None:
    certificate, key = authority.sign("client")
    with serving(authority.sign("localhost"), clients_of=authority.certificate) as port:
        folder = certs_d(own_folders / ".docker")
        shutil.copy(authority.certificate, folder / "ca.crt")
        with pytest.raises(OSError):  # noqa: PT011 - a reset or an alert, as it comes
            greeting(tls.ssl_context(HOST, verify=checked, bundle=bundle), port, "localhost")
        shutil.copy(certificate, folder / "client.cert")
        shutil.copy(key, folder / "client.key")
        assert greeting(tls.ssl_context(HOST, verify=checked, bundle=bundle), port, "localhost") == b"hello"


def test_loopback_takes_any_certificate(authority: Authority, bundle: str) -> None:
    with serving(authority.sign("localhost")) as port:
        assert greeting(tls.ssl_context("localhost:5000", verify=False, bundle=bundle), port, "wrong.example.com") == b"hello"


def test_old_tls_is_refused(bundle: str) -> None:
    assert tls.ssl_context(HOST, verify=True, bundle=bundle).minimum_version >= ssl.TLSVersion.TLSv1_2
