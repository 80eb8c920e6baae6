"""A registry's one user, stored as a bcrypt hash in Apache's htpasswd format."""

from __future__ import annotations

from dataclasses import dataclass, field

from registry_tool.base.errors import UsageError

_COST = 10  # 2**10 rounds, some 50 ms: the registry computes them for every request with the password
_MAX_BYTES = 72  # bcrypt ignores any bytes beyond


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """User and password of a registry. Raises UsageError for values that bcrypt or the file's format cannot hold."""

    user: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        if self.user != self.user.strip() or not self.user or self.user[0] == "#" or set(self.user) & set(":\r\n\0"):
            raise UsageError(f"invalid user name {self.user[:80]!r}: no ':', no '#' or space at its beginning, no line break")
        if not self.password or "\0" in self.password:
            raise UsageError("the password is empty, or has a zero byte in it")
        if len(self.password.encode()) > _MAX_BYTES:
            raise UsageError(f"the password has more than {_MAX_BYTES} bytes, and bcrypt looks at no more", hint="Choose a shorter one.")

    def htpasswd(self) -> bytes:
        """A new ``htpasswd`` file, with a new salt."""
        import bcrypt  # noqa: PLC0415

        return f"{self.user}:".encode() + bcrypt.hashpw(self.password.encode(), bcrypt.gensalt(_COST)) + b"\n"

    def is_in(self, htpasswd: bytes) -> bool:
        """Whether the file ``htpasswd`` is for this user and password."""
        import bcrypt  # noqa: PLC0415

        user, _, hashed = htpasswd.strip().partition(b":")
        if user != self.user.encode() or not hashed.startswith(b"$2"):
            return False
        return bcrypt.checkpw(self.password.encode(), hashed)
