"""``Authorization`` headers for a registry: passwords, and tokens while they are valid (RFC 7617; distribution, "Token authentication")."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from registry_tool.auth.credentials import Credential
from registry_tool.base.address import is_loopback
from registry_tool.base.errors import AuthenticationFailed, RegistryError
from registry_tool.transport.responses import Response

DEFAULT_LIFETIME = 60.0
"""Seconds that a token is valid where the token server does not say."""
RENEWAL_MARGIN = 10.0
"""Seconds before its end that a token is renewed; a fifth of its lifetime where that is shorter."""

Purpose = tuple[str, str, str]
"""(repository, action, repository to mount from): what a request needs a token for, as far as its path says."""

_ASK = "Ask who runs the registry."
_ACTIONS = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grant:
    """A header, until when it is valid (by the monotonic clock), and the challenge that it meets."""

    header: str = field(repr=False)
    until: float
    challenge: Mapping[str, str]


class Authenticator:
    """The headers for one registry. Threads may share it; a token that several of them need is requested once.

    ``send`` sends a request for a token and returns its response; errors are raised. ``credential`` may be a function:
    it is called once, and only after a challenge.
    """

    def __init__(
        self,
        host: str,
        credential: Credential | Callable[[], Credential | None] | None,
        send: Callable[[TokenRequest], Response],
        *,
        plain_http: bool = False,
    ) -> None:
        self._host = host
        self._credential = credential
        self._send = send
        self._plain_http = plain_http
        self._lock = threading.Lock()
        self._purposes: dict[Purpose, _Grant] = {}
        # By scope: several purposes may turn out to want the same token.
        self._tokens: dict[str, _Grant] = {}

    @property
    def authenticated(self) -> bool:
        """Whether the registry asked for authentication and was answered."""
        return bool(self._purposes)

    def header(self, purpose: Purpose) -> str | None:
        """The header for ``purpose``, None before the first challenge. A token that is about to expire is renewed."""
        grant = self._purposes.get(purpose)
        if grant is None:
            return None
        if time.monotonic() < grant.until:
            return grant.header
        with self._lock:
            grant = self._purposes[purpose]
            if time.monotonic() >= grant.until:
                grant = self._purposes[purpose] = self._token_grant(grant.challenge)
            return grant.header

    def authenticate(self, purpose: Purpose, response: Response, *, sent: str | None) -> str:
        """The header that meets the challenge of a 401, which ``sent`` did not. Raises AuthenticationFailed, CredentialsError."""
        with self._lock:
            grant = self._purposes[purpose] = self._grant(response, sent)
            return grant.header

    def _grant(self, response: Response, sent: str | None) -> _Grant:
        challenges = response.challenges
        credential = self._resolve_credential()
        if "bearer" in challenges:
            return self._token_grant(challenges["bearer"], refused=sent)
        if "basic" in challenges and credential is not None and not credential.is_identity_token:
            return _Grant(header=basic_header(credential), until=float("inf"), challenge={})
        raise AuthenticationFailed(f"{self._host} wants a user name and a password", hint=f"Log in: regctl login {self._host}")

    def _token_grant(self, challenge: Mapping[str, str], *, refused: str | None = None) -> _Grant:
        scope = challenge.get("scope", "")
        grant = self._tokens.get(scope)
        if grant is not None and grant.header != refused and time.monotonic() < grant.until:
            return grant
        request = token_request(self._host, challenge, self._resolve_credential(), plain_http=self._plain_http)
        started = time.monotonic()
        token = read_token(self._host, challenge.get("realm", ""), self._send(request).json())
        until = started + token.lifetime - min(RENEWAL_MARGIN, token.lifetime / 5)
        grant = self._tokens[scope] = _Grant(header=f"Bearer {token.value}", until=until, challenge=challenge)
        return grant

    def _resolve_credential(self) -> Credential | None:
        if callable(self._credential):
            self._credential = self._credential()
        return self._credential


def purpose(method: str, path: str) -> Purpose:
    """The purpose of a request: ``("john/get-started", "pull", "")`` of GET ``/v2/john/get-started/tags/list``."""
    parts = urlsplit(path)
    # An upload's session has one part more than the rest: /v2/NAME/blobs/uploads/ID.
    before, blobs, _ = parts.path.rpartition("/blobs/")
    names = (before if blobs else parts.path.rpartition("/")[0].rpartition("/")[0]).split("/")
    mounted = parse_qs(parts.query).get("from", [""])[0] if "from=" in parts.query else ""
    return "/".join(names[2:]), _ACTIONS.get(method, "push"), mounted


# --- tokens: pure, nothing is sent here ---


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
    seconds: Any = members.get("expires_in")
    is_lifetime = isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 < seconds < float("inf")
    return Token(value=value, lifetime=float(seconds) if is_lifetime else DEFAULT_LIFETIME)
