"""A registry's response: body, error, next page, challenges (distribution-spec 1.1, "Error codes"; RFC 9110, 11.6.1; RFC 8288)."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from registry_tool.base import units
from registry_tool.base.errors import (
    AuthenticationFailed,
    ErrorResponse,
    NotARegistry,
    NotFound,
    RegistryError,
    RegistryToolError,
    RegistryUnreachable,
    TooManyRequests,
)

_CHALLENGE = re.compile(r'(?P<key>[\w-]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s,"]+))|(?P<scheme>[\w-]+)')
_TOKEN = re.compile(r"[\w!#$%&*+.^`|~-]*", re.ASCII)
# For what breaks RFC 9110: values in single quotes, in doubled ones, without one of the two, and unquoted ones (pull,push).
_ODD_CHALLENGE = re.compile(
    r"(?P<key>[\w-]+)\s*=\s*(?:"
    r'"{1,2}(?P<quoted>(?:[^"\\]|\\.)*)"{1,2}(?=[\s,;]|$)'
    r"|'(?P<single>[^']*)'(?=[\s,;]|$)"
    r"|[\"']?(?P<plain>[^\s,\"]*(?:,(?![\w-]+\s*=|[\w-]+\s+[\w-]+\s*=)[^\s,\"]+)*)\"?)"
    r"|(?<![^\s,;])(?P<scheme>[\w-]+)(?=[\s,;]|$)",
    re.ASCII,
)
_MAX_CHALLENGES = 8192
"""Characters of odd challenges that are read: matching them takes longer than their length."""
# Besides what RFC 8288 allows: a target without its angle brackets.
_LINK = re.compile(
    r"(?:<(?P<target>[^<>]*)>|(?P<bare>[^\s<>,;\"']+))(?P<parameters>(?:\s*;\s*(?:[\w-]+\s*(?:=\s*(?:\"[^\"]*\"|[^\s,;\"]+))?)?)*)"
)
_PARAMETER = re.compile(r';\s*(?P<name>[\w-]+)\s*=\s*(?:"(?P<quoted>[^"]*)"|(?P<plain>[^\s,;"]+))')
_MAX_LINKS = 8192
"""Characters of links that are read."""

_OF_REPOSITORY = re.compile(r"/v2/(?P<name>.+)/(?P<kind>tags/list|manifests/|blobs/|referrers/)")

MAX_MESSAGE = 300
"""Characters of a registry's own messages that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A registry's response to a request for ``path``. Names in ``headers`` are case-insensitive."""

    method: str
    path: str
    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises RegistryError where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise RegistryError(
                f"the response to {self.method} {self.path} is not JSON, though its status is {self.status}",
                hint=f"Look at it: curl {self.url}. Something between here and the registry may be answering.",
            ) from None

    @property
    def message(self) -> str:
        """The status with the registry's error codes and messages, in one printable line: ``404 NAME_UNKNOWN …``."""
        messages = "; ".join(f"{code} {message}".strip() for code, message in _error_entries(self.body))[:MAX_MESSAGE]
        return f"{self.status} {messages or http.client.responses.get(self.status, '')}".strip()

    def next_page(self, origin: str) -> tuple[str | None, bool]:
        """(where the next page is, whether there may be one that cannot be requested), from ``Link`` (RFC 8288).

        It is path and query on the registry at ``origin``, whatever the link's host, which behind a proxy is often wrong; a
        URL where the registry had redirected the request to another server, and the link stays there. A link without
        ``rel`` is followed to another page of the same list.
        """
        header = self.headers.get("link", "")[:_MAX_LINKS]
        is_unread = _LINK.sub("", header).strip(" ,\t") != ""
        unnamed: list[str] = []
        for match in _LINK.finditer(header):
            target = match["bare"] if match["target"] is None else match["target"]
            values = {each["name"].lower(): each["quoted"] or each["plain"] or "" for each in _PARAMETER.finditer(match["parameters"])}
            if "rel" not in values:
                unnamed.append(target)
            elif "next" in values["rel"].strip("'").lower().split():
                page = self._page(target, origin)
                if page is not None:
                    return page, False
                is_unread = True
        pages = [page for page in (self._page(target, origin) for target in unnamed) if page is not None]
        # A path may begin with ``//``, which alone would be read as a host.
        urls = [(page, urlsplit(f"{origin}{page}" if page.startswith("/") else page)) for page in pages]
        path = urlsplit(self.url).path
        same_list = [page for page, url in urls if url.query and url.path == path]
        return (same_list[0], False) if same_list else (None, is_unread or bool(unnamed))

    def _page(self, target: str, origin: str) -> str | None:
        try:
            url, base = urlsplit(urljoin(self.url, target.strip())), urlsplit(self.url)
        except ValueError:
            return None
        # ``x:.elsewhere.example/`` has a path that would become a part of our host, appended to it.
        if not url.path.startswith("/"):
            return None
        page = f"{url.path}?{url.query}" if url.query else url.path
        if self.url.startswith(f"{origin}/") or f"{url.scheme}://{url.netloc}" == origin:
            return page
        return f"{url.scheme}://{url.netloc}{page}" if (url.scheme, url.netloc) == (base.scheme, base.netloc) else None

    @property
    def challenges(self) -> dict[str, dict[str, str]]:
        """Of a 401: scheme (``basic``, ``bearer``) -> its parameters, all names in lower case (RFC 9110, 11.6.1).

        Of two challenges of one scheme it is the first.
        """
        text = self.headers.get("www-authenticate", "")
        matches = list(_CHALLENGE.finditer(text))
        is_odd = bool(_CHALLENGE.sub("", text).strip(", \t")) or not all(_TOKEN.fullmatch(match["plain"] or "") for match in matches)
        if is_odd:
            text = text[:_MAX_CHALLENGES]
            # Quoted twice: realm=\"https://…\"
            matches = list(_ODD_CHALLENGE.finditer(text.replace('\\"', '"') if re.search(r'=\s*\\"', text) else text))
        schemes: dict[str, dict[str, str]] = {}
        parameters: dict[str, str] = {}
        for match in matches:
            if match["scheme"]:
                parameters = {}
                schemes.setdefault(match["scheme"].lower(), parameters)
            else:
                quoted = re.sub(r"\\(.)", r"\1", match["quoted"] or "")
                value = quoted or match.groupdict().get("single") or match["plain"] or ""
                parameters.setdefault(match["key"].lower(), value.strip(" \t'\"") if is_odd else value)
        return schemes

    @property
    def rate_limit_remaining(self) -> int | None:
        """Requests left in this window (``RateLimit-Remaining``), None where the registry does not say."""
        match = re.match(r"\s*(\d{1,18})\s*(?:[;,]|$)", self.headers.get("ratelimit-remaining", ""), re.ASCII)
        return int(match[1]) if match else None


def login_needed(host: str, repository: str = "") -> AuthenticationFailed:
    """The error for somebody without credentials; registries answer for a repository that is not there as for one that is private."""
    subject = f"{host}/{repository}: no such repository, or it needs a login" if repository else f"{host} needs a login"
    return AuthenticationFailed(f"{subject}: no credentials stored for {host}", hint=f"Log in: regctl login {host}")


def error_from(host: str, response: Response, *, is_registry: bool = False) -> RegistryToolError | None:
    """The error that ``response`` stands for, if any. ``is_registry``: earlier ones were, so a web page is a failure of this one only."""
    error = _error(host, response, is_registry=is_registry)
    if error is not None:
        code, message = next(iter(_error_entries(response.body)), ("", ""))
        error.response = ErrorResponse(method=response.method, path=response.path, status=response.status, code=code, message=message)
    return error


def _error(host: str, response: Response, *, is_registry: bool) -> RegistryToolError | None:
    request = f"{response.method} {response.path}"
    login = f"Log in with a user that may do this: regctl login {host}"
    if response.status == 401:
        return AuthenticationFailed(f"{host} does not accept the user name or the password: {request}: {response.message}", hint=login)
    if response.status < 400 and is_registry and _is_web_page(response):
        return RegistryError(f"{host}: {request}: a web page ({response.status})", hint="A proxy on the way there may answer in its place.")
    if response.status < 500 and not is_registry and _is_web_page(response):
        hint = f"Name the registry's own address with --registry, or find out what listens at {host}."
        if _is_airplay(response):
            hint = "It is this Mac's AirPlay receiver. Turn it off (System Settings, AirDrop & Handoff), or use another port."
        return NotARegistry(f"the server at {host} is not a registry: {request} gives a web page ({response.status})", hint=hint)
    if response.status < 400:
        return None
    message = f"{host}: {request}: {response.message}"
    if response.status == 403:
        return AuthenticationFailed(message, hint=login)
    if response.status == 404:
        return _not_found(host, response) or NotFound(message, hint="Check the name.")
    if response.status == 405:
        return RegistryError(message, hint="The registry does not allow this: it may be read-only, or have deletion turned off.")
    if response.status == 407:
        hint = "Name the proxy, with user and password, in HTTPS_PROXY and HTTP_PROXY."
        return RegistryUnreachable(
            f"a proxy on the way to {host} requires a user name and a password: {request}: {response.message}", hint=hint
        )
    if response.status == 429:
        seconds = response.headers.get("retry-after", "").strip()
        wait = f"wait {units.count(int(seconds), 'second')}" if re.fullmatch(r"[0-9]{1,9}", seconds) else "wait a little"
        return TooManyRequests(message, hint=f"Rate limit reached: {wait}.")
    return RegistryError(message, hint="Look at the registry's log.")


def _not_found(host: str, response: Response) -> NotFound | None:
    """The error for a repository that is not there; the registry's own message is added where it says more."""
    code, _ = next(iter(_error_entries(response.body)), ("", ""))
    match = _OF_REPOSITORY.match(response.path)
    if match is None or not (code == "NAME_UNKNOWN" or match["kind"] == "tags/list"):
        return None
    words = "" if code == "NAME_UNKNOWN" else f": {response.message}"
    return NotFound(f"there is no repository {match['name']} at {host}{words}", hint=f"See: regctl catalog {host}")


def _is_airplay(response: Response) -> bool:
    return response.headers.get("server", "").startswith("AirTunes")


def _is_web_page(response: Response) -> bool:
    return response.headers.get("content-type", "").lower().startswith("text/html") or _is_airplay(response)


def _error_entries(body: bytes) -> list[tuple[str, str]]:
    """(code, message) of each error in the body, which may be anything (distribution-spec, "Error codes")."""
    try:
        return [(_printable(error.get("code", "")), _printable(error.get("message", ""))) for error in json.loads(body)["errors"][:10]]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []


def _printable(text: object) -> str:
    """A server's text, fit for a terminal: one line without control characters, not too long."""
    message = " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)[: 2 * MAX_MESSAGE]).split())
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 3] + "..."
