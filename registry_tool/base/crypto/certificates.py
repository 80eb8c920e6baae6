"""X.509 certificates of a small authority and of servers, as PEM; ECDSA with P-256 and SHA-256, which every client of a registry reads."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from registry_tool.base.address import parse_ip

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

_BACKDATED = timedelta(hours=1)  # clocks of other machines may be slow
_MAX_COMMON_NAME = 64  # RFC 5280, ub-common-name


class InvalidCertificate(ValueError):
    """A certificate or key that cannot be used; the message says why, and quotes nothing of a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A certificate, followed by those of its authorities where there are any, and its private key without a password, both PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateInfo:
    """Contents of a certificate. Times are UTC; ``fingerprint`` is the SHA-256 of its DER, in hexadecimal digits."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    """DNS names, in lower case; ``*.example.com`` is possible."""
    addresses: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    is_authority: bool
    fingerprint: str
    pem: bytes

    @property
    def is_self_issued(self) -> bool:
        """Whether its issuer is its own subject: it is a root, or stands for itself alone."""
        return self.subject == self.issuer

    def is_valid_at(self, moment: datetime) -> bool:
        """Whether ``moment`` is within its validity."""
        return self.not_before <= moment <= self.not_after

    def covers(self, host: str) -> bool:
        """Whether it is for ``host``, a DNS name or an address without a port (RFC 6125: a ``*`` is one label)."""
        try:
            return str(ipaddress.ip_address(host)) in self.addresses
        except ValueError:
            name = host.lower().rstrip(".")
            return name in self.names or f"*.{name.partition('.')[2]}" in self.names


def generate_authority(common_name: str, *, days: int, now: datetime | None = None) -> KeyPair:
    """A new authority, which signs servers' certificates and no other authority's; valid for ``days``."""
    return _sign_authority(_name(common_name), _generate_key(), days=days, now=now or _now())


def renew_authority(authority: KeyPair, *, days: int, now: datetime | None = None) -> KeyPair:
    """A new certificate of ``authority`` for the same name and key, valid for ``days``. Raises InvalidCertificate."""
    certificate, key = _load(authority)
    return _sign_authority(certificate.subject, key, days=days, now=now or _now())


def issue(
    authority: KeyPair, *, names: Iterable[str] = (), addresses: Iterable[str] = (), days: int, now: datetime | None = None
) -> KeyPair:
    """A new server's certificate for DNS ``names`` and IP ``addresses``, signed by ``authority``.

    It is valid for ``days``, and not longer than its authority. Raises InvalidCertificate where there is no name or address, one is
    invalid, or the authority cannot be used.
    """
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: PLC0415

    issuer, issuer_key = _load(authority)
    names, addresses = tuple(dict.fromkeys(names)), tuple(dict.fromkeys(addresses))
    try:
        alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        alternatives += [x509.IPAddress(ipaddress.ip_address(parse_ip(address))) for address in addresses]
    except ValueError as error:
        raise InvalidCertificate(f"not a name or address of a server: {error}") from error
    if not alternatives:
        raise InvalidCertificate("no name and no address to issue a certificate for")
    moment = now or _now()
    if moment >= issuer.not_valid_after_utc:
        raise InvalidCertificate(f"the authority's certificate ended on {issuer.not_valid_after_utc:%Y-%m-%d}")
    key = _generate_key()
    public = issuer_key.public_key()
    builder = (
        _builder(_name((*names, *addresses)[0]), issuer.subject, key, days=days, now=moment, latest=issuer.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
    )
    return _pair(builder.sign(issuer_key, hashes.SHA256()), key)


def parse(certificates: bytes) -> CertificateInfo:
    """The first certificate of a PEM file. Raises InvalidCertificate."""
    return parse_all(certificates)[0]


def parse_all(certificates: bytes) -> tuple[CertificateInfo, ...]:
    """Every certificate of a PEM file, at least one. Raises InvalidCertificate."""
    return tuple(_info(certificate) for certificate in _load_all(certificates))


def check_pair(pair: KeyPair) -> None:
    """Raise InvalidCertificate where the key is not that of the certificate, needs a password, or one of the two is unreadable."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

    certificate = _load_all(pair.certificate)[0]
    try:
        publics = [
            key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            for key in (certificate.public_key(), _load_key(pair.key).public_key())
        ]
    except AttributeError as error:
        raise InvalidCertificate("the private key is of a kind that TLS does not use") from error
    if publics[0] != publics[1]:
        raise InvalidCertificate("the private key is not that of the certificate")


def is_issued_by(certificate: bytes, authority: bytes) -> bool:
    """Whether the first certificate of the one PEM file was signed by the first of the other. Raises InvalidCertificate."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415

    leaf, issuer = _load_all(certificate)[0], _load_all(authority)[0]
    try:
        leaf.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _sign_authority(subject: x509.Name, key: EllipticCurvePrivateKey, *, days: int, now: datetime) -> KeyPair:
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415

    builder = (
        _builder(subject, subject, key, days=days, now=now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _pair(builder.sign(key, hashes.SHA256()), key)


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _generate_key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    return ec.generate_private_key(ec.SECP256R1())


def _name(common_name: str) -> x509.Name:
    from cryptography import x509  # noqa: PLC0415
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "registry-tool")
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common_name[:_MAX_COMMON_NAME])])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, *, days: int, now: datetime, latest: datetime | None = None
) -> x509.CertificateBuilder:
    from cryptography import x509  # noqa: PLC0415

    end = now + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(min(end, latest) if latest is not None else end)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    from cryptography import x509  # noqa: PLC0415

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: EllipticCurvePrivateKey) -> KeyPair:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat  # noqa: PLC0415

    return KeyPair(
        certificate=certificate.public_bytes(Encoding.PEM),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _load(authority: KeyPair) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey  # noqa: PLC0415

    check_pair(authority)
    certificate, key = _load_all(authority.certificate)[0], _load_key(authority.key)
    if not _info(certificate).is_authority or not isinstance(key, EllipticCurvePrivateKey):
        raise InvalidCertificate("not an authority of this tool")
    return certificate, key


def _load_key(pem: bytes) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        return load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise InvalidCertificate("the private key needs a password, which is not supported") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidCertificate("not a private key in PEM") from error


def _load_all(pem: bytes) -> list[x509.Certificate]:
    from cryptography import x509  # noqa: PLC0415

    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise InvalidCertificate("not a certificate in PEM") from error


def _info(certificate: x509.Certificate) -> CertificateInfo:
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    is_authority = False
    try:
        for extension in certificate.extensions:
            if isinstance(extension.value, x509.SubjectAlternativeName):
                names = tuple(name.lower() for name in extension.value.get_values_for_type(x509.DNSName))
                addresses = tuple(str(address) for address in extension.value.get_values_for_type(x509.IPAddress))
            elif isinstance(extension.value, x509.BasicConstraints):
                is_authority = extension.value.ca
        subject, issuer = certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string()
    except (ValueError, x509.DuplicateExtension) as error:
        raise InvalidCertificate(f"a certificate that cannot be read: {error}") from error
    der = certificate.public_bytes(Encoding.DER)
    return CertificateInfo(
        subject=subject,
        issuer=issuer,
        names=names,
        addresses=addresses,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        is_authority=is_authority,
        fingerprint=hashlib.sha256(der).hexdigest(),
        pem=certificate.public_bytes(Encoding.PEM),
    )
