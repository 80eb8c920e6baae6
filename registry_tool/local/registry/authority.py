"""The certificate authority of this tool on this machine, which signs the certificates of ``up --tls``."""

from __future__ import annotations

import socket
from datetime import datetime, timedelta, timezone
from pathlib import Path

from registry_tool.base import files
from registry_tool.base.crypto import certificates
from registry_tool.base.crypto.certificates import InvalidCertificate, KeyPair
from registry_tool.base.errors import Conflict

FOLDER = "ca"
CERTIFICATE = "ca.crt"
"""The authority's certificate alone, to hand to others."""
_PAIR = "ca.pem"  # certificate and key in one file, so that no crash leaves one without the other
_DAYS = 3650
_LEAST = timedelta(days=400)  # what must be left of the authority: a server's certificate ends no later
_BEGIN = b"-----BEGIN "


def load_or_create(state: Path) -> KeyPair:
    """The authority in the folder ``state``, created where there is none, and with a new certificate for its key before that ends.

    Who trusts the earlier certificate trusts what the authority signs as long as that is valid. Raises Conflict where the file is
    damaged; OSError.
    """
    folder = state / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    with files.lock(folder / ".lock"):
        pair = _read(folder)
        now = datetime.now(timezone.utc)
        if pair is None:
            pair = certificates.generate_authority(f"registry-tool on {socket.gethostname()}", days=_DAYS, now=now)
        elif certificates.parse(pair.certificate).not_after - now < _LEAST:
            pair = certificates.renew_authority(pair, days=_DAYS, now=now)
        else:
            _write_certificate(folder, pair)
            return pair
        files.atomic_write(folder / _PAIR, pair.certificate + pair.key, mode=0o600)
        _write_certificate(folder, pair)
        return pair


def certificate(state: Path) -> bytes | None:
    """The authority's certificate, PEM; None where there is no authority yet. Raises Conflict where its file is damaged; OSError."""
    pair = _read(state / FOLDER)
    return pair.certificate if pair is not None else None


def _read(folder: Path) -> KeyPair | None:
    file = folder / _PAIR
    try:
        if file.stat().st_mode & 0o077:
            file.chmod(0o600)
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    first, begin, key = content.rpartition(_BEGIN)
    pair = KeyPair(certificate=first, key=begin + key)
    try:
        certificates.check_pair(pair)
    except InvalidCertificate as error:
        raise Conflict(
            f"the certificate authority in {file} is damaged: {error}",
            hint="Restore the file, or remove it: the next regctl up --tls makes a new authority, which clients have to trust anew.",
        ) from error
    return pair


def _write_certificate(folder: Path, pair: KeyPair) -> None:
    file = folder / CERTIFICATE
    if not file.is_file() or file.read_bytes() != pair.certificate:
        files.atomic_write(file, pair.certificate)
