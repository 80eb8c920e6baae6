"""Requests to registries: who is asked, on which address, and with whose password.

The rules, all of them about not being led astray (OCI distribution specification 1.1; distribution, "Token
authentication"):

- A registry on loopback is never asked through a proxy, and what it speaks is found out (:mod:`registry_tool.loopback`).
  Any other registry is asked by TLS, unless plain HTTP was asked for.
- A password goes to the registry itself, or to where the registry has its tokens made, if that is reached by TLS or
  both are on loopback. ``.netrc`` is not read.
- A ``Link`` is a path and a query on the registry we talk to. A ``Location`` elsewhere is followed without a password.
"""

from __future__ import annotations

import base64
import http.client
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType, TracebackType
from urllib.parse import urlencode, urljoin, urlsplit

import requests
import urllib3

from registry_tool.answers import Answer, refusal
from registry_tool.credentials import Credential
from registry_tool.errors import AuthenticationFailed, NotARegistry, RegistryError, RegistryUnreachable
from registry_tool.loopback import find_origin, is_loopback
from registry_tool.probe import USER_AGENT, NoAnswer, Page, probe

__all__ = ["Answer", "NoAnswer", "Page", "Transport", "probe"]

TIMEOUTS = (3.05, 30.0)
"""Seconds to connect, and seconds to wait for the next bytes of an answer."""
MAX_PAGES = 10_000
MAX_REDIRECTS = 5

_NOTHING: Mapping[str, str] = MappingProxyType({})
_REDIRECTS = (301, 302, 303, 307, 308)
_HUB = {"docker.io": "registry-1.docker.io"}


class Transport:
    """Requests to the registry at ``host``, over connections that are kept.

    ``plain_http`` None lets a registry on loopback speak what it speaks and wants TLS from any other.
    ``credential`` may be a function: it is called once, and only if the registry asks who we are, so that a registry
    without authentication costs no look into a credential store and does not mind a broken one.
    ``timeouts`` are as :data:`TIMEOUTS`.
    """

    def __init__(
        self,
        host: str,
        *,
        plain_http: bool | None = None,
        credential: Credential | Callable[[], Credential | None] | None = None,
        timeouts: tuple[float, float] = TIMEOUTS,
    ) -> None:
        self.host = host
        self.plain_http = plain_http
        self.timeouts = timeouts
        self._name = _HUB.get(host, host)
        self._origin: str | None = None
        self._credential = credential
        # Repository -> the header that is good for it: a token is made out for one.
        self._authorizations: dict[str, str] = {}
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["User-Agent"] = USER_AGENT
        # On loopback nobody's certificate is checked, as the engine does not; there is no news in a warning of it.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def was_asked(self) -> bool:
        """Whether the registry wanted to know who we are, and was told."""
        return bool(self._authorizations)

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()

    def get(self, path: str, *, headers: Mapping[str, str] = _NOTHING, params: Mapping[str, str] = _NOTHING) -> Answer:
        """GET ``path`` (``/v2/…``): an answer below 400, or NotFound, AuthenticationFailed, RegistryError,
        NotARegistry, RegistryUnreachable; CredentialsError where a password is wanted and its store fails.
        """
        return self._ask("GET", _with_query(path, params), headers)

    def head(self, path: str, *, headers: Mapping[str, str] = _NOTHING) -> Answer:
        """HEAD ``path``; raises as :meth:`get` does."""
        return self._ask("HEAD", path, headers)

    def pages(self, path: str, *, params: Mapping[str, str] = _NOTHING) -> Iterator[Answer]:
        """GET ``path`` and what each answer's ``Link`` calls the next one; ends where that leads back. Raises as :meth:`get` does."""
        seen: set[str] = set()
        following: str | None = _with_query(path, params)
        while following is not None and following not in seen:
            if len(seen) == MAX_PAGES:
                raise RegistryError(f"{self.host} has no end of pages for {path}", hint="The registry is broken: look at its log.")
            seen.add(following)
            answer = self._ask("GET", following, _NOTHING)
            yield answer
            following = answer.next_path

    # --- one request ---

    def _ask(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        repository = _repository(path)
        answer = self._follow(method, path, headers, self._authorizations.get(repository))
        if answer.status == 401 and self._is_own(answer.url):
            # Where a redirect led elsewhere, it is not the registry that asks who we are.
            self._authorizations[repository] = authorization = self._authorize(answer)
            answer = self._follow(method, path, headers, authorization)
        error = refusal(self.host, answer)
        if error is not None:
            raise error
        return answer

    def _follow(self, method: str, path: str, headers: Mapping[str, str], authorization: str | None) -> Answer:
        origin = self._find_origin()
        url = origin + path
        for _ in range(MAX_REDIRECTS + 1):
            sent = dict(headers)
            if self._is_own(url):
                sent["Host"] = self._name
                if authorization is not None:
                    sent["Authorization"] = authorization
            answer = self._send(method, url, path, sent)
            location = answer.headers.get("location")
            if answer.status not in _REDIRECTS or not location:
                return answer
            url = self._redirected(url, location, origin)
        raise RegistryError(f"{self.host} redirects {method} {path} without end", hint="Look at the registry's proxy, if it has one.")

    def _is_own(self, url: str) -> bool:
        return url.startswith(f"{self._origin}/")

    def _redirected(self, url: str, location: str, origin: str) -> str:
        there = urlsplit(urljoin(url, location))
        scheme = urlsplit(origin).scheme
        if there.scheme == scheme and there.netloc == self._name:
            return origin + there._replace(scheme="", netloc="").geturl()
        if there.scheme not in ("http", "https") or (scheme, there.scheme) == ("https", "http"):
            raise RegistryError(
                f"{self.host} redirects from {scheme} to {there.scheme}://{there.netloc}: not followed", hint="Ask who runs the registry."
            )
        return there.geturl()

    def _send(self, method: str, url: str, path: str, headers: Mapping[str, str], form: Mapping[str, str] | None = None) -> Answer:
        netloc = urlsplit(url).netloc
        local = is_loopback(netloc)
        try:
            response = self._session.request(
                method,
                url,
                headers=dict(headers),
                data=form,
                timeout=self.timeouts,
                allow_redirects=False,
                proxies={} if local else requests.utils.get_environ_proxies(url, no_proxy=None),
                verify=False if local else _authorities(),
            )
        except OSError as error:
            # What is spoken there was a guess if it never answered: a container that is starting accepts and hangs up.
            self._origin = None
            raise _unreachable(headers.get("Host", netloc), f"{method} {path}", error, self.timeouts) from error
        return Answer(method=method, path=path, url=url, status=response.status_code, headers=response.headers, body=response.content)

    def _find_origin(self) -> str:
        if self._origin is None:
            if is_loopback(self.host):
                try:
                    self._origin = find_origin(self.host, plain_http=self.plain_http, timeout=self.timeouts[0])
                except OSError as error:
                    raise _nothing_answers(self.host, error.strerror or str(error)) from error
            else:
                self._origin = f"{'http' if self.plain_http else 'https'}://{self._name}"
        return self._origin

    # --- who we are ---

    def _authorize(self, answer: Answer) -> str:
        """The header that meets a 401's challenge."""
        if callable(self._credential):
            self._credential = self._credential()
        credential = self._credential
        challenges = answer.challenges
        if "bearer" in challenges:
            return f"Bearer {self._token(challenges['bearer'], credential)}"
        if "basic" in challenges and credential is not None and not credential.is_identity_token:
            return _basic(credential)
        raise AuthenticationFailed(f"{self.host} wants a user name and a password", hint=f"Log in: regctl login {self.host}")

    def _token(self, challenge: Mapping[str, str], credential: Credential | None) -> str:
        realm = challenge.get("realm", "")
        self._check_realm(realm)
        query = {key: challenge[key] for key in ("service", "scope") if key in challenge}
        path = urlsplit(realm).path
        if credential is not None and credential.is_identity_token:
            form = {**query, "grant_type": "refresh_token", "client_id": "registry-tool", "refresh_token": credential.password}
            answer = self._send("POST", realm, path, _NOTHING, form)
        else:
            headers = {"Authorization": _basic(credential)} if credential else {}
            answer = self._send("GET", _with_query(realm, query), path, headers)
        error = refusal(self.host, answer)
        if error is not None:
            raise error
        document = answer.json()
        token = (document.get("token") or document.get("access_token")) if isinstance(document, dict) else None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise RegistryError(f"{realm} makes the tokens for {self.host} and gives none", hint="Ask who runs the registry.")
        return token

    def _check_realm(self, realm: str) -> None:
        there = urlsplit(realm)
        near = is_loopback(self.host) and is_loopback(there.netloc)
        same = self.plain_http is True and there.netloc == self.host
        if there.scheme != "https" and not (there.scheme == "http" and (near or same)):
            raise AuthenticationFailed(
                f"{self.host} wants passwords sent to {realm!r}, which is not TLS: refused", hint="Ask who runs the registry."
            )


def _repository(path: str) -> str:
    """``john/get-started`` of ``/v2/john/get-started/tags/list``: what a token for this path is made out for."""
    parts = path.partition("?")[0].split("/")
    return "/".join(parts[2:-2])


def _with_query(path: str, params: Mapping[str, str]) -> str:
    return f"{path}{'&' if '?' in path else '?'}{urlencode(params)}" if params else path


def _basic(credential: Credential) -> str:
    return "Basic " + base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode()


def _authorities() -> str | bool:
    """Whose word on certificates counts: as for other programs on Python and OpenSSL, else the list that comes with requests."""
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
    return next((value for name in names if (value := os.environ.get(name))), True)


# --- why nothing came ---


def _unreachable(host: str, asked: str, error: OSError, timeouts: tuple[float, float]) -> RegistryUnreachable:
    root = _root(error)
    why = (isinstance(root, OSError) and root.strerror) or str(root) or type(root).__name__
    log = "Look at the registry's log."
    if isinstance(root, ssl.SSLCertVerificationError):
        hint = "Name a file with the certificate of its authority in SSL_CERT_FILE."
        return RegistryUnreachable(f"{host} cannot be trusted: {root.verify_message}", hint=hint)
    if isinstance(root, ssl.SSLError):
        return RegistryUnreachable(f"{host} does not speak TLS as it should: {why}", hint="If it speaks plain HTTP, say --plain-http.")
    if isinstance(error, requests.exceptions.ProxyError):
        hint = "Look at HTTPS_PROXY and HTTP_PROXY; NO_PROXY names what is reached without one."
        return RegistryUnreachable(f"the proxy before {host} does not let us through: {why}", hint=hint)
    if isinstance(root, http.client.BadStatusLine) and not isinstance(root, OSError):
        return NotARegistry(f"what answers at {host} is no registry: it does not speak HTTP", hint=f"Find out what listens at {host}.")
    if isinstance(root, TimeoutError) and not isinstance(error, requests.exceptions.ConnectTimeout):
        return RegistryUnreachable(f"{host} did not answer {asked} within {timeouts[1]:g} s", hint=log)
    if isinstance(error.__context__, urllib3.exceptions.MaxRetryError):
        return _nothing_answers(host, why)
    return RegistryUnreachable(f"{host} broke off its answer to {asked}: {why}", hint=log)


def _nothing_answers(host: str, why: str) -> RegistryUnreachable:
    hint = "Start the local registry: regctl up" if is_loopback(host) else "Check the address, and the network."
    return RegistryUnreachable(f"no registry answers at {host}: {why}", hint=hint)


def _root(error: BaseException) -> BaseException:
    """What began it: requests wraps urllib3's errors, and those wrap the system's."""
    while True:
        cause = error.__cause__ or error.__context__
        if cause is None:
            return error
        error = cause
