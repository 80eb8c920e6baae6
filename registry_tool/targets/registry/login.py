"""Login and logout, as docker does: a password that the registry accepts is stored where docker stores it, for both."""

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
    """A stored password; ``stored_in`` is a credential helper's program or the path of docker's configuration."""

    host: str
    username: str
    stored_in: str
    encrypted: bool
    """Whether a helper stores it. In the configuration anybody who can read the file can read the password."""
    checked: bool
    """Whether the registry checked the password. One that lets everybody in does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logout:
    """``was_logged_in``: whether a password was stored for ``host``."""

    host: str
    was_logged_in: bool


def login(host: str, credential: Credential, *, plain_http: bool | None = None) -> Login:
    """Check ``credential`` against the registry at ``host``, then store it. Nothing is stored where the check fails.

    A registry without authentication accepts any password, as with docker. Raises AuthenticationFailed,
    RegistryUnreachable, NotARegistry, RegistryError, CredentialsError, UsageError.
    """
    host = registry_host(host)
    if not credential.username or not credential.password:
        raise UsageError("a login needs a user name and a password", hint="regctl login -u NAME asks for the password.")
    if ":" in credential.username:
        # RFC 7617: the first colon ends the user name.
        raise UsageError(f"a user name has no ':' in it: {credential.username!r}")
    with Transport(host, plain_http=plain_http, credential=credential) as transport:
        Registry(transport).ping()
        checked = transport.authenticated
    stored = credentials.store(host, credential)
    return Login(host=host, username=credential.username, stored_in=stored.where, encrypted=stored.encrypted, checked=checked)


def logout(host: str) -> Logout:
    """Delete the password stored for ``host``; no request is sent. Raises CredentialsError, UsageError."""
    host = registry_host(host)
    return Logout(host=host, was_logged_in=credentials.erase(host))
