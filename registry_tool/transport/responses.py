"""A registry's response: body, error, next page, challenges (distribution-spec 1.1, "Error codes"; RFC 9110, 11.6.1; RFC 8288)."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from registry_tool.base.errors import (
    AuthenticationFailed,
    ErrorResponse,
    NotARegistry,
    NotFound,
    RegistryError,
    RegistryToolError,
    TooManyRequests,
)

# Besides what RFC 9110 allows: values in single quotes, in doubled ones, without one of the two, and unquoted lists (pull,push).
_CHALLENGE = re.compile(
    r"(?P<key>[\w-]+)\s*=\s*(?:"
    r'"{1,2}(?P<quoted>(?:[^"\\]|\\.)*)"{1,2}(?=[\s,;]|$)'
    r"|'(?P<single>[^']*)'(?=[\s,;]|$)"
    r"|[\"']?(?P<plain>[^\s,\"]*(?:,(?![\w-]+\s*=|[\w-]+\s+[\w-]+\s*=)[^\s,\"]+)*)\"?)"
    r"|(?<![^\s,;])(?P<scheme>[\w-]+)(?=[\s,;]|$)",
    re.ASCII,
)
_MAX_CHALLENGES = 8192
"""Characters of challenges that are read: matching them takes longer than their length."""
_LINK = re.compile(r'<(?P<target>[^<>]*)>(?P<parameters>(?:\s*;\s*[\w-]+\s*=\s*(?:"[^"]*"|[^\s,;"]+))*)')
_PARAMETER = re.compile(r';\s*(?P<name>[\w-]+)\s*=\s*(?:"(?P<quoted>[^"]*)"|(?P<plain>[^\s,;"]+))')

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
                f"the answer to {self.method} {self.path} is not JSON, though its status is {self.status}",
                hint=f"Look at it: curl {self.url}. Something between here and the registry may be answering.",
            ) from None

    @property
    def message(self) -> str:
        """The status with the registry's error codes and messages, in one printable line: ``404 NAME_UNKNOWN …``."""
        messages = "; ".join(f"{code} {message}".strip() for code, message in _error_entries(self.body))[:MAX_MESSAGE]
        return f"{self.status} {messages or http.client.responses.get(self.status, '')}".strip()

    @property
    def next_path(self) -> str | None:
        """Path and query of the ``next`` page (``Link``, RFC 8288). The link's host is ignored: behind a proxy it is often wrong."""
        for match in _LINK.finditer(self.headers.get("link", "")):
            values = {each["name"].lower(): each["quoted"] or each["plain"] or "" for each in _PARAMETER.finditer(match["parameters"])}
            if "next" not in values.get("rel", "").lower().split():
                continue
            try:
                target = urlsplit(urljoin(self.path, str(match["target"])))
            except ValueError:
                continue
            # ``x:.elsewhere.example/`` has a path that would become a part of our host, appended to it.
            if target.path.startswith("/"):
                return f"{target.path}?{target.query}" if target.query else target.path
        return None

    @property
    def challenges(self) -> dict[str, dict[str, str]]:
        """Of a 401: scheme (``basic``, ``bearer``) -> its parameters, all names in lower case (RFC 9110, 11.6.1).

        Of two challenges of one scheme it is the first.
        """
        text = self.headers.get("www-authenticate", "")[:_MAX_CHALLENGES]
        if re.search(r'=\s*\\"', text):
            # Quoted twice: realm=\"https://…\"
            text = text.replace('\\"', '"')
        schemes: dict[str, dict[str, str]] = {}
        parameters: dict[str, str] = {}
        for match in _CHALLENGE.finditer(text):
            if match["scheme"]:
                parameters = {}
                schemes.setdefault(match["scheme"].lower(), parameters)
            else:
                quoted = re.sub(r"\\(.)", r"\1", match["quoted"] or "")
                parameters.setdefault(match["key"].lower(), (quoted or match["single"] or match["plain"] or "").strip(" \t'\""))
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
        return NotARegistry(f"what answers at {host} is no registry: {request} gives a web page ({response.status})", hint=hint)
    if response.status < 400:
        return None
    message = f"{host}: {request}: {response.message}"
    if response.status == 403:
        return AuthenticationFailed(message, hint=login)
    if response.status == 404:
        return NotFound(message, hint="Look at how the name is spelled.")
    if response.status == 405:
        return RegistryError(message, hint="The registry does not allow this: it may be read-only, or have deletion turned off.")
    if response.status == 429:
        seconds = response.headers.get("retry-after", "").strip()
        wait = f"wait {seconds} seconds" if re.fullmatch(r"[0-9]{1,9}", seconds) else "wait a little"
        return TooManyRequests(message, hint=f"The registry wants fewer requests: {wait}.")
    return RegistryError(message, hint="Look at the registry's log.")


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
