"""What a registry with TLS serves: its certificate and key, and the authority that its clients have to trust."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from registry_tool.base import files
from registry_tool.base.address import HostPort
from registry_tool.base.crypto import certificates
from registry_tool.base.crypto.certificates import CertificateInfo, InvalidCertificate, KeyPair
from registry_tool.base.errors import UsageError
from registry_tool.engine import Endpoint, Engine
from registry_tool.local.registry import authority, machine, spec
from registry_tool.local.registry.lookup import LocalRegistry

CERTS_FOLDER = "certs.d"
"""In the folder of state: authorities of registries by ``HOST:PORT``, in docker's layout; this tool's client reads them."""
_DAYS = 365
_RENEWED_AT = 3  # when a third of its time is left


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """A server's certificate with those of its authorities, its key, and the authority to trust, where it is known; all PEM."""

    certificate: bytes
    key: bytes = field(repr=False)
    authority: bytes | None = None

    @property
    def info(self) -> CertificateInfo:
        """The server's own certificate. Raises InvalidCertificate."""
        return certificates.parse(self.certificate)

    def is_usable(self) -> bool:
        """Whether certificate and key belong together."""
        try:
            certificates.check_pair(KeyPair(certificate=self.certificate, key=self.key))
        except InvalidCertificate:
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """How a registry shall use TLS: by this tool's authority (``ca``), with ``files``, or not at all (None)."""

    kind: str | None
    files: TlsFiles | None = None


def read_files(certificate: Path, key: Path) -> TlsFiles:
    """A server's certificate and key from files. Raises UsageError where one cannot be used, or is not valid now."""
    contents = []
    for path in (certificate, key):
        try:
            contents.append(path.read_bytes())
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    try:
        certificates.check_pair(KeyPair(certificate=contents[0], key=contents[1]))
        chain = certificates.parse_all(contents[0])
    except InvalidCertificate as error:
        raise UsageError(f"{certificate} and {key} cannot be used: {error}") from error
    now = datetime.now(timezone.utc)
    for each in chain:
        if now > each.not_after:
            raise UsageError(f"{certificate}: the certificate {each.subject} ended on {each.not_after:%Y-%m-%d}", hint="Renew it.")
        if now < each.not_before:
            raise UsageError(
                f"{certificate}: the certificate {each.subject} is valid from {each.not_before:%Y-%m-%d} on", hint="Is the clock right?"
            )
    if not chain[0].names and not chain[0].addresses:
        raise UsageError(f"{certificate}: the certificate has no subject alternative name, so no client accepts it")
    root = chain[-1] if chain[-1].is_self_issued else None
    return TlsFiles(certificate=contents[0], key=contents[1], authority=root.pem if root else None)


def issue(endpoint: Endpoint, settings: spec.RegistrySettings, *, state: Path) -> TlsFiles:
    """A new certificate by this tool's authority. Raises UsageError for an invalid name, Conflict where the authority is damaged."""
    hosts = (*machine.server_names(endpoint, settings.listen, settings.names), *machine.other_addresses(endpoint, settings.listen))
    names, addresses = _divide(hosts)
    pair = authority.load_or_create(state)
    try:
        issued = certificates.issue(pair, names=names, addresses=addresses, days=_DAYS)
    except InvalidCertificate as error:
        raise UsageError(str(error)) from error
    return TlsFiles(certificate=issued.certificate, key=issued.key, authority=pair.certificate)


def is_current(tls: TlsFiles, endpoint: Endpoint, settings: spec.RegistrySettings) -> bool:
    """Whether a certificate of this tool's can stay: it has the names and addresses of today, and more than a third of its time."""
    if tls.authority is None or not tls.is_usable():
        return False
    info = tls.info
    hosts = machine.server_names(endpoint, settings.listen, settings.names)
    return not is_ending(info) and all(map(info.covers, hosts)) and certificates.is_issued_by(tls.certificate, tls.authority)


def is_ending(info: CertificateInfo) -> bool:
    """Whether less than a third of a certificate's time is left, or it has not begun."""
    now = datetime.now(timezone.utc)
    return now < info.not_before or (info.not_after - now) * _RENEWED_AT < info.not_after - info.not_before


def authority_certificate(engine: Engine, registry: LocalRegistry) -> bytes | None:
    """The authority that clients of a registry have to trust, PEM; None without TLS, or where it was given without its authority."""
    return (engine.get_file(registry.container_id, spec.AUTHORITY) or None) if registry.tls else None


def server_certificate(engine: Engine, registry: LocalRegistry) -> CertificateInfo | None:
    """A registry's certificate; None without TLS, or where it is unreadable."""
    content = engine.get_file(registry.container_id, spec.CERTIFICATE) if registry.tls else None
    try:
        return certificates.parse(content) if content is not None else None
    except InvalidCertificate:
        return None


def hosts(engine: Engine, registry: LocalRegistry) -> tuple[str, ...]:
    """``HOST:PORT`` by which other machines reach a registry that listens beyond loopback: those of its certificate, else its address."""
    if not registry.listens_beyond_loopback:
        return ()
    info = server_certificate(engine, registry)
    if info is not None:
        found: Iterable[str] = (*info.names, *info.addresses)
    else:
        found = machine.server_names(engine.endpoint, registry.listen)
    return tuple(str(HostPort(host, registry.port)) for host in machine.valid_hosts(found) if not _is_loopback(host))


def remember_authority(authority: bytes, registry_hosts: Iterable[str], *, state: Path) -> None:
    """Let this tool's client trust ``authority`` for the registries at ``registry_hosts``, and for no others. Raises OSError."""
    for host in registry_hosts:
        file = state / CERTS_FOLDER / host / "ca.crt"
        if not file.is_file() or file.read_bytes() != authority:
            files.atomic_write(file, authority)


def _divide(hosts: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names, and addresses."""
    names, addresses = [], []
    for host in hosts:
        try:
            addresses.append(str(ipaddress.ip_address(host)))
        except ValueError:
            names.append(host)
    return tuple(names), tuple(addresses)


def _is_loopback(host: str) -> bool:
    return HostPort(host).is_loopback
