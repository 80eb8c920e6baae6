"""Only the hash of a password is kept."""

from __future__ import annotations

import pytest

from registry_tool.base.errors import UsageError
from registry_tool.local.registry.passwords import Auth
from tests.support import canary


@pytest.mark.parametrize("user", ["", "a:b", "a\nb", "a\rb", "a\0b", "#a", " a", "a "])
def test_user_name_invalid_in_htpasswd_is_refused(user: str) -> None:
    with pytest.raises(UsageError, match="invalid user name"):
        Auth(user=user, password="secret")


@pytest.mark.parametrize("password", ["", "a\0b", "x" * 73, "ä" * 37])
def test_password_longer_than_bcrypt_reads_is_refused(password: str) -> None:
    with pytest.raises(UsageError, match="the password"):
        Auth(user="john", password=password)


def test_the_file_holds_the_user_and_a_salted_hash_alone() -> None:
    auth = Auth(user="john", password=canary.password("a rather good one"))

    first, second = auth.htpasswd(), auth.htpasswd()

    assert first.startswith(b"john:$2b$10$")
    assert first.endswith(b"\n")
    assert b"good" not in first
    assert first != second
    assert auth.is_in(first)
    assert auth.is_in(second)


@pytest.mark.parametrize("other", [Auth(user="john", password="another"), Auth(user="jane", password="secret")])
def test_another_user_or_password_is_not_in_the_file(other: Auth) -> None:
    assert not other.is_in(Auth(user="john", password="secret").htpasswd())


@pytest.mark.parametrize("content", [b"", b"john", b"john:", b"john:secret", b"john:{SHA}abc"])
def test_htpasswd_without_bcrypt_hash_matches_nobody(content: bytes) -> None:
    assert not Auth(user="john", password="secret").is_in(content)


def test_no_repr_shows_a_password() -> None:
    assert "hidden-word" not in repr(Auth(user="john", password="hidden-word"))


def test_non_ascii_passwords_are_accepted() -> None:
    auth = Auth(user="约翰", password="пароль")

    assert auth.is_in(auth.htpasswd())
