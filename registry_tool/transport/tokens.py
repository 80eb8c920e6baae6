"""Requests for tokens, and their responses. Pure: nothing is sent here.

RFC 7617 (Basic); distribution, "Token authentication" and "OAuth2 token authentication".
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from registry_tool.auth.credentials import Credential
from registry_tool.base.address import is_loopback
from registry_tool.base.errors import AuthenticationFailed, RegistryError

DEFAULT_LIFETIME = 60.0
"""Seconds that a token is valid where the token server does not say."""

_ASK = "Ask who runs the registry."


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """A request for a token. ``form`` is the body of a POST."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    form: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A bearer token; ``lifetime`` is in seconds, from when it was issued."""

    value: str = field(repr=False)
    lifetime: float


def basic_header(credential: Credential) -> str:
    """The value of ``Authorization`` for a user name and a password (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode()


def token_request(host: str, challenge: Mapping[str, str], credential: Credential | None, *, plain_http: bool = False) -> TokenRequest:
    """The request for a token that the ``challenge`` of ``host`` asks for. Raises AuthenticationFailed as :func:`check_realm`."""
    realm = challenge.get("realm", "")
    check_realm(host, realm, plain_http=plain_http)
    query = [("service", challenge["service"])] if "service" in challenge else []
    scopes = challenge.get("scope", "").split()
    if credential is not None and credential.is_identity_token:
        form = [*query, ("scope", " ".join(scopes)), ("grant_type", "refresh_token"), ("client_id", "registry-tool")]
        body = urlencode([*form, ("refresh_token", credential.password)])
        return TokenRequest(method="POST", url=realm, headers={"Content-Type": "application/x-www-form-urlencoded"}, form=body)
    # As docker does: several scopes are several parameters.
    query += [("scope", scope) for scope in scopes]
    separator = "&" if "?" in realm else "?"
    headers = {"Authorization": basic_header(credential)} if credential is not None else {}
    return TokenRequest(method="GET", url=f"{realm}{separator}{urlencode(query)}" if query else realm, headers=headers)


def check_realm(host: str, realm: str, *, plain_http: bool = False) -> None:
    """Raise AuthenticationFailed unless ``realm`` is reached by TLS, is on loopback as ``host`` is, or is ``host`` with ``plain_http``."""
    try:
        target = urlsplit(realm)
        on_loopback = is_loopback(host) and is_loopback(target.netloc)
        same_host = plain_http and target.netloc == host
        allowed = bool(target.hostname) and (target.scheme == "https" or (target.scheme == "http" and (on_loopback or same_host)))
    except ValueError:
        allowed = False
    if not allowed:
        raise AuthenticationFailed(f"{host} wants passwords sent to {realm[:200]!r}, which is not TLS: refused", hint=_ASK)


def read_token(host: str, realm: str, document: Any) -> Token:
    """The token in the token server's response. Raises RegistryError where there is none."""
    members = document if isinstance(document, dict) else {}
    value = members.get("token") or members.get("access_token")
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise RegistryError(f"the token server {realm[:200]} of {host} returned no token", hint=_ASK)
    return Token(value=value, lifetime=_lifetime(members.get("expires_in")))


def _lifetime(value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf"):
        return float(value)
    return DEFAULT_LIFETIME
