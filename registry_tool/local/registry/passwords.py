"""A registry's one user: the password comes in, only its bcrypt hash is kept (Apache's htpasswd format)."""

from __future__ import annotations

from dataclasses import dataclass, field

from registry_tool.base.errors import UsageError

_COST = 10
"""2**10 rounds, some 50 ms: the registry pays them at every request that carries the password."""
_LONGEST = 72
"""bcrypt does not look at more bytes than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """Who may use the registry. Raises UsageError where bcrypt or the file's format cannot carry it."""

    user: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        if self.user != self.user.strip() or not self.user or self.user[0] == "#" or set(self.user) & set(":\r\n\0"):
            raise UsageError(f"invalid user name {self.user[:80]!r}: no ':', no '#' or space at its beginning, no line break")
        if not self.password or "\0" in self.password:
            raise UsageError("the password is empty, or has a zero byte in it")
        if len(self.password.encode()) > _LONGEST:
            raise UsageError(f"the password has more than {_LONGEST} bytes, and bcrypt looks at no more", hint="Choose a shorter one.")

    def htpasswd(self) -> bytes:
        """A new ``htpasswd`` file, with a salt of its own."""
        import bcrypt  # noqa: PLC0415

        return f"{self.user}:".encode() + bcrypt.hashpw(self.password.encode(), bcrypt.gensalt(_COST)) + b"\n"

    def is_in(self, htpasswd: bytes) -> bool:
        """Whether this user with this password is who the file ``htpasswd`` lets in."""
        import bcrypt  # noqa: PLC0415

        user, _, hashed = htpasswd.strip().partition(b":")
        if user != self.user.encode() or not hashed.startswith(b"$2"):
            return False
        return bcrypt.checkpw(self.password.encode(), hashed)
