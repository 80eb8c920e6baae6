"""A registry's users, stored as bcrypt hashes in Apache's htpasswd format."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

from registry_tool.base.errors import UsageError

LEAST_CHARACTERS = 8
"""Of a password where other machines can try (NIST SP 800-63B, 5.1.1.1)."""
_COST = 10  # 2**10 rounds, some 50 ms: the registry computes them for every request with the password
_MAX_BYTES = 72  # bcrypt ignores any bytes beyond
_MAX_USER = 255  # bytes; a line that is too long for the registry would lock everybody out
_RESERVED = "<token>"  # to docker's credential helpers: the password is a token


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """User and password of a registry. Raises UsageError for values that bcrypt, the file's format or HTTP cannot hold (RFC 7617, 2)."""

    user: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        check_user(self.user)
        if not self.password or _has_control_character(self.password):
            raise UsageError("the password is empty, or has a control character in it")
        if self.password != self.password.strip():
            raise UsageError("the password begins or ends with a space, and docker login leaves it out", hint="Choose another one.")
        if len(self.password.encode()) > _MAX_BYTES:
            raise UsageError(f"the password has more than {_MAX_BYTES} bytes, and bcrypt looks at no more", hint="Choose a shorter one.")

    @property
    def is_short(self) -> bool:
        """Whether it is too short for a registry that other machines reach."""
        return len(self.password) < LEAST_CHARACTERS

    def hashed(self) -> bytes:
        """The password's bcrypt hash, with a new salt."""
        import bcrypt  # noqa: PLC0415

        return bcrypt.hashpw(self.password.encode(), bcrypt.gensalt(_COST))

    def is_in(self, users: Users) -> bool:
        """Whether ``users`` has this user with this password."""
        import bcrypt  # noqa: PLC0415

        try:
            return bcrypt.checkpw(self.password.encode(), users.hashes.get(self.user, b""))
        except ValueError:
            return False  # no such user, or what is stored is no hash of bcrypt


@dataclass(frozen=True, slots=True)
class Users:
    """The users of a registry: name -> hash of the password, in the order of the file."""

    hashes: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, htpasswd: bytes) -> Users:
        """Parse ``htpasswd`` as the registry does; lines that are no entry are left out."""
        hashes = {}
        for line in htpasswd.decode(errors="replace").split("\n"):
            user, colon, hashed = line.strip().partition(":")
            if colon and not user.startswith("#"):
                hashes[user] = hashed.encode()
        return cls(hashes)

    def htpasswd(self) -> bytes:
        """The content of the file."""
        return b"".join(user.encode() + b":" + hashed + b"\n" for user, hashed in self.hashes.items())

    def with_user(self, auth: Auth, *, instead_of: str | None = None) -> Users:
        """The same with ``auth``, in the place of the user ``instead_of`` where that is another one."""
        hashes = {user: hashed for user, hashed in self.hashes.items() if user != instead_of}
        return Users({**hashes, auth.user: auth.hashed()})

    def without(self, user: str) -> Users:
        """The same without ``user``."""
        return Users({name: hashed for name, hashed in self.hashes.items() if name != user})


def check_user(user: str) -> None:
    """Raise UsageError where ``user`` cannot be the name of a registry's user."""
    shown = repr(user[:80])
    if user != user.strip() or not user or user[0] == "#" or ":" in user or _has_control_character(user):
        raise UsageError(f"invalid user name {shown}: no ':', no '#' at its beginning, no space around it, no control character")
    if len(user.encode()) > _MAX_USER:
        raise UsageError(f"invalid user name {shown}…: more than {_MAX_USER} bytes")
    if user == _RESERVED:
        raise UsageError(f"invalid user name {shown}: to docker, the password of this user is a token")


def short_password() -> UsageError:
    """The error for a password that is too short where other machines can try passwords."""
    return UsageError(
        f"the password has fewer than {LEAST_CHARACTERS} characters, and other machines reach the registry",
        hint="Choose a longer one: other machines can try passwords.",
    )


def _has_control_character(text: str) -> bool:
    """Whether it has one, or half of a surrogate pair, or a separator of lines or paragraphs."""
    return any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)
