"""Certificates of the tool's own authority, read by OpenSSL and by a TLS client."""

from __future__ import annotations

import ssl
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from registry_tool.base.crypto import certificates
from registry_tool.base.crypto.certificates import InvalidCertificate, KeyPair

NOW = datetime.now(timezone.utc)


@pytest.fixture(scope="module")
def authority() -> KeyPair:
    return certificates.generate_authority("registry-tool on a test's machine", days=30)


def combined(pair: KeyPair, path: Path) -> Path:
    path.write_bytes(pair.certificate + pair.key)
    return path


def handshake(server_pair: KeyPair, trusted: bytes, name: str, folder: Path) -> None:
    """Connect as a client that trusts ``trusted`` and expects ``name``; raises SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=trusted.decode())
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(combined(server_pair, folder / "server.pem"))
    server = server_context.wrap_bio(outgoing, incoming, server_side=True)
    for _ in range(10):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.version() in ("TLSv1.2", "TLSv1.3")


@pytest.mark.parametrize("name", ["box", "box.example", "192.0.2.7", "2001:db8::7"])
def test_client_that_trusts_the_authority_accepts_each_name(authority: KeyPair, name: str, tmp_path: Path) -> None:
    pair = certificates.issue(authority, names=["box", "box.example"], addresses=["192.0.2.7", "2001:db8::7"], days=3)
    handshake(pair, authority.certificate, name, tmp_path)


@pytest.mark.parametrize("name", ["other", "sub.box.example", "192.0.2.8"])
def test_client_refuses_a_name_that_is_not_in_the_certificate(authority: KeyPair, name: str, tmp_path: Path) -> None:
    pair = certificates.issue(authority, names=["box", "box.example"], addresses=["192.0.2.7"], days=3)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(pair, authority.certificate, name, tmp_path)


def test_client_refuses_a_certificate_of_yesterday(authority: KeyPair, tmp_path: Path) -> None:
    old = certificates.generate_authority("old", days=90, now=NOW - timedelta(days=30))
    pair = certificates.issue(old, names=["box"], days=29, now=NOW - timedelta(days=30))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(pair, old.certificate, "box", tmp_path)


def test_client_refuses_a_certificate_of_another_authority(authority: KeyPair, tmp_path: Path) -> None:
    other = certificates.generate_authority("registry-tool on a test's machine", days=30)
    pair = certificates.issue(other, names=["box"], days=3)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(pair, authority.certificate, "box", tmp_path)
    assert certificates.is_issued_by(pair.certificate, other.certificate)
    assert not certificates.is_issued_by(pair.certificate, authority.certificate)


def test_server_s_certificate_cannot_sign_another(authority: KeyPair) -> None:
    server = certificates.issue(authority, names=["box"], days=3)
    with pytest.raises(InvalidCertificate, match="not an authority"):
        certificates.issue(server, names=["other"], days=3)


def test_renewed_authority_is_trusted_by_its_earlier_certificate_and_the_reverse(tmp_path: Path) -> None:
    first = certificates.generate_authority("ours", days=30, now=NOW - timedelta(days=20))
    second = certificates.renew_authority(first, days=30)
    assert second.certificate != first.certificate
    handshake(certificates.issue(second, names=["box"], days=3), first.certificate, "box", tmp_path)
    handshake(certificates.issue(first, names=["box"], days=3), second.certificate, "box", tmp_path)


def test_certificate_does_not_outlive_its_authority(authority: KeyPair) -> None:
    info = certificates.parse(certificates.issue(authority, names=["box"], days=3650).certificate)
    assert info.not_after == certificates.parse(authority.certificate).not_after
    ended = certificates.generate_authority("old", days=1, now=NOW - timedelta(days=3))
    with pytest.raises(InvalidCertificate, match="ended on"):
        certificates.issue(ended, names=["box"], days=1)


def test_validity_begins_before_now_for_clocks_that_are_slow(authority: KeyPair) -> None:
    info = certificates.parse(certificates.issue(authority, names=["box"], days=3).certificate)
    assert info.not_before < NOW < info.not_after
    assert info.is_valid_at(NOW)
    assert not info.is_valid_at(NOW + timedelta(days=4))
    assert not info.is_valid_at(NOW - timedelta(days=1))


def test_contents_are_read_back(authority: KeyPair) -> None:
    info = certificates.parse(
        certificates.issue(authority, names=["Box", "box.example"], addresses=["192.0.2.7", "::1"], days=3).certificate
    )
    assert (info.names, info.addresses, info.is_authority) == (("box", "box.example"), ("192.0.2.7", "::1"), False)
    assert "registry-tool on a test's machine" in info.issuer
    assert len(info.fingerprint) == 64
    assert certificates.parse(authority.certificate).is_authority
    assert certificates.parse(authority.certificate).is_self_issued


@pytest.mark.parametrize(
    ("host", "expected"),
    [("box", True), ("BOX.", True), ("a.example", True), ("a.b.example", False), ("example", False), ("192.0.2.7", True), ("0:0::1", True)],
)
def test_covers_names_wildcards_and_addresses(authority: KeyPair, host: str, *, expected: bool) -> None:
    pair = certificates.issue(authority, names=["box", "*.example"], addresses=["192.0.2.7", "::1"], days=3)
    assert certificates.parse(pair.certificate).covers(host) is expected


@pytest.mark.parametrize(
    ("names", "addresses"),
    [([], []), (["ä.example"], []), ([], ["192.0.2.300"]), ([], ["fe80::1%eth0.5\n"])],
    ids=["none", "idn", "ip", "zone"],
)
def test_unusable_names_are_an_error(authority: KeyPair, names: list[str], addresses: list[str]) -> None:
    with pytest.raises(InvalidCertificate):
        certificates.issue(authority, names=names, addresses=addresses, days=3)


def test_long_name_is_in_the_alternatives_whole(authority: KeyPair) -> None:
    name = ".".join(["a" * 60] * 4)
    assert certificates.parse(certificates.issue(authority, names=[name], days=3).certificate).names == (name,)


def test_pair_of_two_origins_is_refused(authority: KeyPair) -> None:
    other = certificates.generate_authority("other", days=3)
    with pytest.raises(InvalidCertificate, match="not that of the certificate"):
        certificates.check_pair(KeyPair(certificate=authority.certificate, key=other.key))


@pytest.mark.parametrize("content", [b"", b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n"], ids=["empty", "x", "cut"])
def test_what_is_no_certificate_or_key_is_an_error(authority: KeyPair, content: bytes) -> None:
    with pytest.raises(InvalidCertificate, match="not a certificate"):
        certificates.parse(content)
    with pytest.raises(InvalidCertificate, match="not a private key"):
        certificates.check_pair(KeyPair(certificate=authority.certificate, key=content))


@pytest.mark.usefixtures("has_openssl")
@pytest.mark.parametrize("kind", ["rsa", "encrypted", "ed25519"])
def test_keys_that_others_made(kind: str, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    algorithm = "ed25519" if kind == "ed25519" else "rsa:2048"
    words: list[str | Path] = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        algorithm,
        "-keyout",
        key,
        "-out",
        certificate,
        "-days",
        "1",
        "-subj",
        "/CN=box",
    ]
    words += ["-addext", "subjectAltName=DNS:box"]
    words += ["-passout", "pass:secret"] if kind == "encrypted" else ["-nodes"]
    subprocess.run(words, check=True, capture_output=True, timeout=600)
    pair = KeyPair(certificate=certificate.read_bytes(), key=key.read_bytes())
    if kind == "encrypted":
        with pytest.raises(InvalidCertificate, match="needs a password"):
            certificates.check_pair(pair)
    else:
        certificates.check_pair(pair)
    assert certificates.parse(pair.certificate).names == ("box",)


def test_no_repr_shows_a_key(authority: KeyPair) -> None:
    assert b"PRIVATE KEY" in authority.key
    assert "PRIVATE" not in repr(authority)
