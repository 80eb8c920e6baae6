"""Login and logout, as docker does: a password that the registry accepts is stored where docker stores it, for both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from registry_tool.auth import credentials, host_settings
from registry_tool.auth.credentials import Credential
from registry_tool.auth.host_settings import HostSettings
from registry_tool.base.address import is_loopback
from registry_tool.oci.reference import registry_host
from registry_tool.targets.registry import Registry
from registry_tool.transport import log_warning


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
    is_remembered: bool = False
    """Whether from now on the registry is reached by plain HTTP, or without a check of its certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logout:
    """``was_logged_in``: whether a password was stored for ``host``; ``forgotten``: whether it was remembered how to reach it."""

    host: str
    was_logged_in: bool
    forgotten: bool = False


def login(
    host: str,
    credential: Credential,
    *,
    plain_http: bool | None = None,
    insecure: bool | None = None,
    on_warning: Callable[[str], None] = log_warning,
) -> Login:
    """Check ``credential`` against the registry at ``host``, then store it. Nothing is stored where the check fails.

    ``plain_http`` and ``insecure`` are remembered for ``host`` unless it is this machine, until :func:`logout`. A registry
    without authentication accepts any password, as with docker. Raises AuthenticationFailed, RegistryUnreachable,
    NotARegistry, RegistryError, CredentialsError, UsageError.
    """
    host = registry_host(host)
    if plain_http is None and not is_loopback(host) and host_settings.load(host).plain_http:
        on_warning(f"the password is sent to {host} unencrypted, by plain HTTP (remembered; regctl logout {host} forgets it)")
    with Registry.open(host, plain_http=plain_http, insecure=insecure, credential=credential, on_warning=on_warning) as registry:
        registry.ping()
        checked = registry.authenticated
    stored = credentials.store(host, credential)
    before = credentials.variable_with_other(host, credential)
    if before is not None:
        on_warning(f"{before} has other credentials for {host}, and is read first: these are not used until it is unset")
    is_remembered = bool(plain_http or insecure) and not is_loopback(host)
    if is_remembered:
        host_settings.remember(host, HostSettings(plain_http=bool(plain_http), insecure=bool(insecure)))
    return Login(
        host=host,
        username=credential.username,
        stored_in=stored.where,
        encrypted=stored.encrypted,
        checked=checked,
        is_remembered=is_remembered,
    )


def logout(host: str) -> Logout:
    """Delete the password stored for ``host``, and forget how it is reached; no request is sent. Raises CredentialsError, UsageError."""
    host = registry_host(host)
    forgotten = host_settings.forget(host)
    return Logout(host=host, was_logged_in=credentials.erase(host), forgotten=forgotten)
