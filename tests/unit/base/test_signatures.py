"""Ed25519: keys as openssl and OpenSSH write them, and signatures."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat, PublicFormat

from registry_tool.base.crypto.signatures import InvalidKey, is_signed, parse_public_key, public_key_of, sign

KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key()
PRIVATE_FORMS = [PrivateFormat.PKCS8, PrivateFormat.OpenSSH]


@pytest.mark.parametrize("form", PRIVATE_FORMS, ids=["PEM", "OpenSSH"])
def test_what_is_signed_is_verified_and_nothing_else(form: PrivateFormat) -> None:
    private = KEY.private_bytes(Encoding.PEM, form, NoEncryption())
    signature = sign(private, b"content")
    assert signature == sign(private, b"content")
    public = public_key_of(private)
    assert is_signed(public, signature, b"content")
    assert not is_signed(public, signature, b"another content")
    assert not is_signed(public, signature[:-1], b"content")
    assert not is_signed(Ed25519PrivateKey.generate().public_key().public_bytes_raw(), signature, b"content")
    with pytest.raises(InvalidKey):
        is_signed(public[:-1], signature, b"content")


@pytest.mark.parametrize(
    "text",
    [
        PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        PUBLIC.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        PUBLIC.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b" somebody@somewhere\n",
    ],
    ids=["PEM", "OpenSSH", "OpenSSH with a comment"],
)
def test_public_key_is_read(text: bytes) -> None:
    assert parse_public_key(text) == PUBLIC.public_bytes_raw()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"ssh-ed25519 AAAA",
        b"\xff\xfe",
        generate_private_key(SECP256R1()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    ],
    ids=["nothing", "cut", "binary", "another kind", "private"],
)
def test_what_is_no_public_key_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidKey):
        parse_public_key(text)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"no key",
        PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")),
    ],
    ids=["nothing", "text", "public", "another kind", "locked"],
)
def test_what_is_no_private_key_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidKey):
        sign(text, b"content")
