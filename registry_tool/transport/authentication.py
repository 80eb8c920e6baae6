"""Who we are to a registry, and to whom that is shown: passwords and tokens, kept for what they are good for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from registry_tool.auth.credentials import Credential
from registry_tool.base.errors import AuthenticationFailed
from registry_tool.transport import tokens
from registry_tool.transport.responses import Response
from registry_tool.transport.tokens import TokenRequest

MARGIN = 10.0
"""Seconds before its end that a token is renewed; a fifth of its life where that is shorter."""

Purpose = tuple[str, str, str]
"""(repository, what is to be done in it, the repository to mount from): what a token is made out for, as far as we can tell."""

_ACTIONS = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grant:
    """A header, until when it is good (by the monotonic clock), and the challenge that it meets."""

    header: str = field(repr=False)
    until: float
    challenge: Mapping[str, str]


class Authenticator:
    """The headers for one registry. Threads may share it; a token that several of them want is made once.

    ``send`` sends a request for a token and gives its answer; refusals are raised. ``credential`` may be a function:
    it is called once, and only if the registry asks.
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
    def was_asked(self) -> bool:
        """Whether the registry wanted to know who we are, and was told."""
        return bool(self._purposes)

    def header(self, purpose: Purpose) -> str | None:
        """What to send along for ``purpose``: None until the registry asked. A token that is about to end is renewed."""
        grant = self._purposes.get(purpose)
        if grant is None:
            return None
        if time.monotonic() < grant.until:
            return grant.header
        with self._lock:
            grant = self._purposes[purpose]
            if time.monotonic() >= grant.until:
                grant = self._purposes[purpose] = self._token(grant.challenge)
            return grant.header

    def meet(self, purpose: Purpose, answer: Response, *, shown: str | None) -> str:
        """The header that meets the challenge of a 401, which ``shown`` did not. AuthenticationFailed, CredentialsError."""
        with self._lock:
            grant = self._purposes[purpose] = self._grant(answer, shown)
            return grant.header

    def _grant(self, answer: Response, shown: str | None) -> _Grant:
        asked = answer.challenges
        credential = self._who()
        if "bearer" in asked:
            return self._token(asked["bearer"], refused=shown)
        if "basic" in asked and credential is not None and not credential.is_identity_token:
            return _Grant(header=tokens.basic(credential), until=float("inf"), challenge={})
        raise AuthenticationFailed(f"{self._host} wants a user name and a password", hint=f"Log in: regctl login {self._host}")

    def _token(self, challenge: Mapping[str, str], *, refused: str | None = None) -> _Grant:
        scope = challenge.get("scope", "")
        kept = self._tokens.get(scope)
        if kept is not None and kept.header != refused and time.monotonic() < kept.until:
            return kept
        wanted = tokens.token_request(self._host, challenge, self._who(), plain_http=self._plain_http)
        begun = time.monotonic()
        token = tokens.read_token(self._host, challenge.get("realm", ""), self._send(wanted).json())
        until = begun + token.lifetime - min(MARGIN, token.lifetime / 5)
        grant = self._tokens[scope] = _Grant(header=f"Bearer {token.value}", until=until, challenge=challenge)
        return grant

    def _who(self) -> Credential | None:
        if callable(self._credential):
            self._credential = self._credential()
        return self._credential


def purpose(method: str, path: str) -> Purpose:
    """What a request is for: ``("john/get-started", "pull", "")`` of GET ``/v2/john/get-started/tags/list``."""
    parts = urlsplit(path)
    # An upload's session has one part more than the rest: /v2/NAME/blobs/uploads/ID.
    before, blobs, _ = parts.path.rpartition("/blobs/")
    names = (before if blobs else parts.path.rpartition("/")[0].rpartition("/")[0]).split("/")
    mounted = parse_qs(parts.query).get("from", [""])[0] if "from=" in parts.query else ""
    return "/".join(names[2:]), _ACTIONS.get(method, "push"), mounted
