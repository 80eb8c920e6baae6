"""``Authorization`` headers for a registry: passwords, and tokens while they are valid (RFC 7617; distribution, "Token authentication")."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from registry_tool.auth.credentials import TOKEN_USER, Credential
from registry_tool.base.address import is_loopback
from registry_tool.base.errors import AuthenticationFailed, CredentialsError, RegistryError, RegistryToolError
from registry_tool.transport.responses import Response, login_needed

DEFAULT_LIFETIME = 60.0
"""Seconds that a token is valid where the token server does not say."""
RENEWAL_MARGIN = 10.0
"""Seconds before its end that a token is renewed; a fifth of its lifetime where that is shorter."""

Purpose = tuple[str, str, str]
"""(repository, action, repository to mount from): what a request needs a token for, as far as its path says."""

_ASK = "Ask who runs the registry."
_ACTIONS = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}
_CATALOG: Purpose = ("", "catalog", "")
_CLIENT = ("client_id", "registry-tool")
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_UNAUTHORIZED = (401, 403)


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

    ``send`` sends a request for a token and returns its response; errors are raised. ``credential`` may be a function of the
    repository ("" for requests that are about none): it is called once for each, and only after a challenge. Where it
    raises CredentialsError, nobody's rights are tried, and that is the error where they do not suffice.
    """

    def __init__(
        self,
        host: str,
        credential: Credential | Callable[[str], Credential | None] | None,
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
        self._tokens: dict[tuple[str, Credential | None], _Grant] = {}
        self._resolved: dict[str, Credential | None] = {}
        self._failures: dict[str, CredentialsError] = {}
        self._bearer_failed = False

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
                grant = self._purposes[purpose] = self._token_grant(purpose, grant.challenge)
            return grant.header

    def headers(self, purpose: Purpose, response: Response, *, sent: str | None) -> Iterator[str]:
        """Headers that may meet the challenges of a 401, which ``sent`` did not: a token, then a password where that is offered, too.

        Raises AuthenticationFailed, CredentialsError and what a request for a token raises where there is none, or where
        all were refused.
        """
        with self._lock:
            credential = self._resolve(purpose)
        challenges = response.challenges
        schemes = [scheme for scheme in ("bearer", "basic") if scheme in challenges]
        if self._bearer_failed:
            schemes.reverse()
        failure: RegistryToolError | None = None
        offered = sent is not None
        for scheme in schemes:
            refused = sent
            is_new = False
            while not is_new:
                with self._lock:
                    issued = list(self._tokens.values())
                    try:
                        grant = self._grant(purpose, scheme, challenges[scheme], refused)
                    except RegistryToolError as error:
                        failure = error
                        self._bearer_failed = True
                        break
                    if grant is None or grant.header in (sent, refused):
                        break
                    self._purposes[purpose] = grant
                offered = True
                yield grant.header
                # One that was issued for another request may have ended before its time: then there is a new one, once.
                is_new = not any(grant is other for other in issued)
                refused = grant.header
                self._bearer_failed = self._bearer_failed or (is_new and scheme == "bearer")
        if failure is not None and not (credential is None and "basic" in challenges):
            raise failure
        if not offered or failure is not None:
            raise self._nothing_to_offer(purpose, challenges) from failure

    @property
    def failure(self) -> CredentialsError | None:
        """Why a credential that may be stored was not used, if that is so."""
        return next(iter(self._failures.values()), None)

    def explained(self, error: AuthenticationFailed, purpose: Purpose) -> RegistryToolError:
        """``error`` of a request, in words for somebody who has no credentials, where none was used."""
        if purpose[0] in self._failures:
            return self._failures[purpose[0]]
        if error.response is None:
            return error
        if purpose[0] not in self._resolved:
            return self._without_challenge(error)
        if self._resolved.get(purpose[0]) is not None:
            if error.response.status != 401 or purpose != _CATALOG:
                return error
            words = f"{error.response.status} {error.response.code} {error.response.message}".strip()
            explained = AuthenticationFailed(f"{self._host} does not show its catalog to this user: {words}", hint=error.hint)
        elif error.response.status == 401:
            explained = login_needed(self._host, purpose[0])
        else:
            hint = f"No credentials are stored for {self._host}. Log in: regctl login {self._host}"
            explained = AuthenticationFailed(error.message, hint=hint)
        explained.response = error.response
        return explained

    def _without_challenge(self, error: AuthenticationFailed) -> AuthenticationFailed:
        """``error`` where nobody was asked who he is: of a storage that the registry redirected to, say."""
        response = error.response
        if response is None or response.status != 401:
            return error
        words = f"{response.status} {response.code} {response.message}".strip()
        refused = AuthenticationFailed(f"{self._host}: {response.method} {response.path}: {words}", hint=error.hint)
        refused.response = response
        return refused

    def _grant(self, purpose: Purpose, scheme: str, challenge: Mapping[str, str], sent: str | None) -> _Grant | None:
        credential = self._resolve(purpose)
        if scheme == "bearer":
            if credential is not None and credential.is_registry_token:
                return _Grant(header=f"Bearer {credential.password}", until=float("inf"), challenge={})
            return self._token_grant(purpose, challenge, refused=sent)
        if credential is None or credential.is_identity_token or credential.is_registry_token:
            return None
        return _Grant(header=basic_header(credential), until=float("inf"), challenge={})

    def _nothing_to_offer(self, purpose: Purpose, challenges: Mapping[str, object]) -> AuthenticationFailed:
        if self._resolved[purpose[0]] is None:
            return login_needed(self._host, purpose[0])
        why = "another login than a password or a token"
        if "basic" in challenges:
            why = "a user name and a password, and a token is stored for it"
        elif not challenges:
            why = "a login, and does not say which (no WWW-Authenticate)"
        return AuthenticationFailed(f"{self._host} requires {why}", hint=f"Log in: regctl login {self._host}")

    def _token_grant(self, purpose: Purpose, challenge: Mapping[str, str], *, refused: str | None = None) -> _Grant:
        challenge = {**challenge, "scope": challenge.get("scope") or default_scope(purpose)}
        key = challenge["scope"], self._resolve(purpose)
        grant = self._tokens.get(key)
        if grant is not None and grant.header != refused and time.monotonic() < grant.until:
            return grant
        started = time.monotonic()
        token = self._request_token(purpose, challenge)
        until = started + token.lifetime - min(RENEWAL_MARGIN, token.lifetime / 5)
        grant = self._tokens[key] = _Grant(header=f"Bearer {token.value}", until=until, challenge=challenge)
        return grant

    def _request_token(self, purpose: Purpose, challenge: Mapping[str, str]) -> Token:
        """Request a token; where the token server does not support one kind of request, by the other."""
        credential = self._resolve(purpose)
        failures: list[RegistryToolError] = []
        for request in token_requests(self._host, challenge, credential, plain_http=self._plain_http):
            try:
                return read_token(self._host, challenge.get("realm", ""), self._send(request).json())
            except RegistryToolError as error:
                if isinstance(error, AuthenticationFailed) and credential is None:
                    raise login_needed(self._host, purpose[0]) from error
                failures.append(error)
                if not may_be_unsupported(error, credential):
                    break
        raise next((error for error in failures if isinstance(error, AuthenticationFailed)), failures[0])

    def _resolve(self, purpose: Purpose) -> Credential | None:
        repository = purpose[0]
        if repository not in self._resolved:
            credential = None
            try:
                credential = self._credential(repository) if callable(self._credential) else self._credential
            except CredentialsError as error:
                self._failures[repository] = error
            self._resolved[repository] = credential
        return self._resolved[repository]


def purpose(method: str, path: str) -> Purpose:
    """The purpose of a request: ``("john/get-started", "pull", "")`` of GET ``/v2/john/get-started/tags/list``."""
    parts = urlsplit(path)
    if parts.path == "/v2/_catalog":
        return _CATALOG
    # An upload's session has one part more than the rest: /v2/NAME/blobs/uploads/ID.
    before, blobs, _ = parts.path.rpartition("/blobs/")
    names = (before if blobs else parts.path.rpartition("/")[0].rpartition("/")[0]).split("/")
    mounted = parse_qs(parts.query).get("from", [""])[0] if "from=" in parts.query else ""
    return "/".join(names[2:]), _ACTIONS.get(method, "push"), mounted


def default_scope(purpose: Purpose) -> str:
    """The scope to request where a challenge names none: ``repository:john/get-started:pull``."""
    repository, action, mounted = purpose
    if purpose == _CATALOG:
        return "registry:catalog:*"
    if not repository:
        return ""
    scope = f"repository:{repository}:{'pull' if action == 'pull' else f'pull,{action}'}"
    return f"{scope} repository:{mounted}:pull" if mounted else scope


# --- tokens: pure, nothing is sent here ---


def basic_header(credential: Credential) -> str:
    """The value of ``Authorization`` for a user name and a password (RFC 7617)."""
    username = credential.account or TOKEN_USER if credential.is_identity_token else credential.username
    return "Basic " + base64.b64encode(f"{username}:{credential.password}".encode()).decode()


def token_requests(
    host: str, challenge: Mapping[str, str], credential: Credential | None, *, plain_http: bool = False
) -> tuple[TokenRequest, ...]:
    """The requests for a token that the ``challenge`` of ``host`` asks for, each for a token server that does not support the one before.

    A password is sent by GET (distribution, "Token authentication"), an identity token by POST ("OAuth2 token
    authentication"). Raises AuthenticationFailed as :func:`check_realm`.
    """
    realm = challenge.get("realm", "").strip()
    check_realm(host, realm, plain_http=plain_http)
    # HTTPS:// in small letters, and nothing after a '#'.
    realm = urlsplit(realm)._replace(fragment="").geturl()
    service = [("service", challenge["service"])] if challenge.get("service") else []
    scopes = challenge.get("scope", "").split()
    # As docker does: several scopes are several parameters.
    query = urlencode([*service, *(("scope", scope) for scope in scopes)])
    separator = "&" if "?" in realm else "?"
    headers = {"Authorization": basic_header(credential)} if credential is not None else {}
    get = TokenRequest(method="GET", url=f"{realm}{separator}{query}" if query else realm, headers=headers)
    if credential is None:
        return (get,)
    if credential.is_identity_token:
        secret = [("grant_type", "refresh_token"), _CLIENT, ("refresh_token", credential.password)]
    else:
        secret = [("grant_type", "password"), _CLIENT, ("username", credential.username), ("password", credential.password)]
    form = urlencode([*service, ("scope", " ".join(scopes)), *secret])
    post = TokenRequest(method="POST", url=realm, headers=_FORM, form=form)
    return (post, get) if credential.is_identity_token else (get, post)


def may_be_unsupported(error: RegistryToolError, credential: Credential | None) -> bool:
    """Whether ``error`` of a token server may be one of the method. A password that is refused is not sent again: accounts get locked."""
    if error.response is None:
        return isinstance(error, RegistryError)
    status = error.response.status
    if status in _UNAUTHORIZED:
        return credential is not None and credential.is_identity_token
    return status == 501 or (status < 500 and status != 429)


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
        raise AuthenticationFailed(f"{host} asks for passwords at {realm[:200]!r}, which is not TLS: refused", hint=_ASK)


def read_token(host: str, realm: str, document: Any) -> Token:
    """The token in the token server's response. Raises RegistryError where there is none."""
    members = document if isinstance(document, dict) else {}
    value = members.get("token") or members.get("access_token")
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise RegistryError(f"the token server {realm[:200]} of {host} returned no token", hint=_ASK)
    seconds: Any = members.get("expires_in")
    is_lifetime = isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 < seconds < float("inf")
    return Token(value=value, lifetime=float(seconds) if is_lifetime else DEFAULT_LIFETIME)
