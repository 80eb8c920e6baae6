"""Only the hash of a password is kept."""

from __future__ import annotations

import pytest

from registry_tool.base.errors import UsageError
from registry_tool.local.registry import passwords
from registry_tool.local.registry.passwords import Auth, Users
from tests.support import canary


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that take no time."""
    monkeypatch.setattr(passwords, "_COST", 4)


ODD_USERS = [
    "a b",
    "a#b",
    "a@b",
    "O'Brien",
    'a"b',
    "a$b",
    "a\\b",
    "a%3Ab",
    "-a",
    "--yes",
    "a/b",
    "a,b",
    "{}",
    "*",
    "ä",
    "约翰",
    "👩\u200d💻",
    "x" * 255,
]
ODD_PASSWORDS = ["a:b", "a  b", "#", "'\"`$(reboot)\\", "%00", "-p", "ä", "пароль", "🔑", "x" * 72, "a\u2003b", "{SHA}abc", "$2b$10$"]


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("user", ODD_USERS)
def test_odd_user_names_survive_the_file(user: str) -> None:
    password = "a:b"
    users = Users().with_user(Auth(user="first", password="x")).with_user(Auth(user=user, password=password))
    read = Users.parse(users.htpasswd())
    assert list(read.hashes) == ["first", user]
    assert Auth(user=user, password=password).is_in(read)


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("password", ODD_PASSWORDS)
def test_odd_passwords_are_told_apart(password: str) -> None:
    users = Users().with_user(Auth(user="john", password=password))
    assert Auth(user="john", password=password).is_in(users)
    assert not Auth(user="john", password=password[:-1] + "_").is_in(users)


@pytest.mark.parametrize(
    "user", ["", "a:b", "a\nb", "a\rb", "a\0b", "a\x1b[31m", "a\x7f", "a\u2028b", "\udc80", "#a", " a", "a ", "\u00a0a", "x" * 256]
)
def test_user_name_invalid_in_htpasswd_is_refused(user: str) -> None:
    with pytest.raises(UsageError, match="invalid user name"):
        Auth(user=user, password="secret")


@pytest.mark.parametrize("password", ["", "a\0b", "a\nb", "a\x1bb", "\udc80", " a", "a ", "\u2003a", "x" * 73, "ä" * 37])
def test_password_longer_than_bcrypt_reads_is_refused(password: str) -> None:
    with pytest.raises(UsageError, match="the password"):
        Auth(user="john", password=password)


def test_name_that_docker_takes_for_a_token_is_refused() -> None:
    with pytest.raises(UsageError, match="is a token"):
        Auth(user="<token>", password="secret")


def test_the_file_holds_the_user_and_a_salted_hash_alone() -> None:
    auth = Auth(user="john", password=canary.password("a rather good one"))

    first, second = Users().with_user(auth), Users().with_user(auth)

    assert first.htpasswd().startswith(b"john:$2b$10$")
    assert first.htpasswd().endswith(b"\n")
    assert b"good" not in first.htpasswd()
    assert first != second
    assert auth.is_in(first)
    assert auth.is_in(second)


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("other", [Auth(user="john", password="another"), Auth(user="jane", password="secret")])
def test_another_user_or_password_is_not_in_the_file(other: Auth) -> None:
    assert not other.is_in(Users().with_user(Auth(user="john", password="secret")))


@pytest.mark.parametrize("content", [b"", b"john", b"john:", b"john:secret", b"john:{SHA}abc", b"john:$2b$10$", b"\xff:\xff"])
def test_htpasswd_without_bcrypt_hash_matches_nobody(content: bytes) -> None:
    assert not Auth(user="john", password="secret").is_in(Users.parse(content))


def test_lines_that_are_no_entry_are_left_out_as_the_registry_does() -> None:
    assert list(Users.parse(b"# john:x\n\n  mary:y  \r\njane:z").hashes) == ["mary", "jane"]


@pytest.mark.usefixtures("cheap")
def test_users_are_added_changed_replaced_and_removed() -> None:
    users = Users()
    for name in ("john", "mary", "jane"):
        users = users.with_user(Auth(user=name, password="one"))
    changed = users.with_user(Auth(user="mary", password="two"))
    assert list(changed.hashes) == ["john", "mary", "jane"]
    assert Auth(user="mary", password="two").is_in(changed)
    assert not Auth(user="mary", password="one").is_in(changed)
    assert changed.hashes["john"] == users.hashes["john"]
    assert sorted(users.with_user(Auth(user="otto", password="three"), instead_of="john").hashes) == ["jane", "mary", "otto"]
    assert sorted(users.with_user(Auth(user="john", password="three"), instead_of="john").hashes) == ["jane", "john", "mary"]
    assert list(users.without("mary").hashes) == ["john", "jane"]


def test_no_repr_shows_a_password() -> None:
    assert "hidden-word" not in repr(Auth(user="john", password="hidden-word"))
    assert "$2b$" not in repr(Users().with_user(Auth(user="john", password="hidden-word")))


@pytest.mark.usefixtures("cheap")
def test_non_ascii_passwords_are_accepted() -> None:
    auth = Auth(user="约翰", password="пароль")

    assert auth.is_in(Users().with_user(auth))
