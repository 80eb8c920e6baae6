"""What is sent for a token, and where to. Pure: nothing is sent here.

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
"""Seconds that a token is good for where its maker does not say."""

_ASK = "Ask who runs the registry."


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """What to send for a token. ``form`` is the body of a POST."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    form: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """``lifetime`` is in seconds, from when it was made."""

    value: str = field(repr=False)
    lifetime: float


def basic(credential: Credential) -> str:
    """The header that shows a user name and a password."""
    return "Basic " + base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode()


def token_request(host: str, challenge: Mapping[str, str], credential: Credential | None, *, plain_http: bool = False) -> TokenRequest:
    """What the registry at ``host`` wants sent for a token. AuthenticationFailed where it wants it sent in the open.

    ``plain_http``: the person said that ``host`` itself is spoken to in the open.
    """
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
    mark = "&" if "?" in realm else "?"
    headers = {"Authorization": basic(credential)} if credential is not None else {}
    return TokenRequest(method="GET", url=f"{realm}{mark}{urlencode(query)}" if query else realm, headers=headers)


def check_realm(host: str, realm: str, *, plain_http: bool = False) -> None:
    """AuthenticationFailed unless ``realm`` is reached by TLS, or is as near as ``host`` is: on loopback, or ``host`` itself."""
    try:
        there = urlsplit(realm)
        near = is_loopback(host) and is_loopback(there.netloc)
        same = plain_http and there.netloc == host
        good = bool(there.hostname) and (there.scheme == "https" or (there.scheme == "http" and (near or same)))
    except ValueError:
        good = False
    if not good:
        raise AuthenticationFailed(f"{host} wants passwords sent to {realm[:200]!r}, which is not TLS: refused", hint=_ASK)


def read_token(host: str, realm: str, document: Any) -> Token:
    """The token in the answer of who makes them. Raises RegistryError where there is none."""
    members = document if isinstance(document, dict) else {}
    value = members.get("token") or members.get("access_token")
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise RegistryError(f"{realm[:200]} makes the tokens for {host} and gives none", hint=_ASK)
    return Token(value=value, lifetime=_lifetime(members.get("expires_in")))


def _lifetime(said: Any) -> float:
    if isinstance(said, (int, float)) and not isinstance(said, bool) and 0 < said < float("inf"):
        return float(said)
    return DEFAULT_LIFETIME
