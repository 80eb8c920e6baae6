"""Logging in to a registry and out of it, as ``docker login`` does: a password that the registry took is kept where
docker keeps it, so that one login serves both.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry_tool.auth import credentials
from registry_tool.auth.credentials import Credential
from registry_tool.base.errors import UsageError
from registry_tool.oci.reference import registry_host
from registry_tool.targets.registry import Registry
from registry_tool.transport import Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """``stored_in`` is a credential helper's program or the path of docker's configuration."""

    host: str
    username: str
    stored_in: str
    encrypted: bool
    """Whether a helper keeps it. In the configuration anybody who can read the file can read the password."""
    checked: bool
    """Whether the registry looked at the password. One that lets everybody in does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logout:
    """``was_logged_in`` says whether anything was kept for ``host``."""

    host: str
    was_logged_in: bool


def login(host: str, credential: Credential, *, plain_http: bool | None = None) -> Login:
    """Check ``credential`` against the registry at ``host``, then keep it. Nothing is kept where the check fails.

    A registry that asks nobody who they are takes any password, as with docker. Raises AuthenticationFailed,
    RegistryUnreachable, NotARegistry, RegistryError, CredentialsError, UsageError.
    """
    host = registry_host(host)
    if not credential.username or not credential.password:
        raise UsageError("a login needs a user name and a password", hint="regctl login -u NAME asks for the password.")
    if ":" in credential.username:
        # RFC 7617: the first colon ends the user name.
        raise UsageError(f"a user name has no ':' in it: {credential.username!r}")
    with Transport(host, plain_http=plain_http, credential=credential) as line:
        Registry(line).ping()
        checked = line.was_asked
    stored = credentials.store(host, credential)
    return Login(host=host, username=credential.username, stored_in=stored.where, encrypted=stored.encrypted, checked=checked)


def logout(host: str) -> Logout:
    """Forget what is kept for ``host``; the registry is not asked. Raises CredentialsError, UsageError."""
    host = registry_host(host)
    return Logout(host=host, was_logged_in=credentials.erase(host))
