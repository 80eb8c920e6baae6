"""Ed25519 signatures (RFC 8032) and their keys, in PEM or as OpenSSH writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE_SIZE = 64
"""Bytes of a signature."""


class InvalidKey(ValueError):
    """A key that cannot be used; the message says why, and quotes nothing of it."""


def sign(private_key: bytes, content: bytes) -> bytes:
    """The signature of ``content``; the same key and content give the same one. Raises InvalidKey."""
    return _private(private_key).sign(content)


def public_key_of(private_key: bytes) -> bytes:
    """The 32 bytes of the public key. Raises InvalidKey."""
    return _private(private_key).public_key().public_bytes_raw()


def parse_public_key(text: bytes) -> bytes:
    """The 32 bytes of a public key in PEM, or in a line of OpenSSH (``ssh-ed25519 …``). Raises InvalidKey."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    try:
        is_line = text.lstrip().startswith(b"ssh-")
        key = serialization.load_ssh_public_key(text.strip()) if is_line else serialization.load_pem_public_key(text)
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidKey("it is not a public key in PEM or of OpenSSH") from None
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidKey("it is a public key, and not one of ed25519")
    return key.public_bytes_raw()


def is_signed(public_key: bytes, signature: bytes, content: bytes) -> bool:
    """Whether ``signature`` is one of ``content`` by the key. Raises InvalidKey where that has not 32 bytes."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, content)
    except InvalidSignature:
        return False
    except ValueError:
        raise InvalidKey("a public key has 32 bytes") from None
    return True


def _private(text: bytes) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    is_openssh = b"BEGIN OPENSSH PRIVATE KEY" in text
    try:
        load = serialization.load_ssh_private_key if is_openssh else serialization.load_pem_private_key
        key = load(text, password=None)
    except TypeError:
        raise InvalidKey("it is locked with a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidKey("it is not a private key in PEM or of OpenSSH, or it is locked with a password") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidKey("it is a private key, and not one of ed25519")
    return key
