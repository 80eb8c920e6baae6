"""What a registry's answer means: its body, its failures, where it says to go next and whom it wants to see.

OCI distribution specification 1.1, "Error codes" and "Listing tags"; RFC 9110, 11.6.1 (challenges); RFC 8288 (links).
"""

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

_CHALLENGE = re.compile(r'(?P<key>[\w-]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s,"]+))|(?P<scheme>[\w-]+)')
_LINK = re.compile(r'<(?P<target>[^<>]*)>(?P<parameters>(?:\s*;\s*[\w-]+\s*=\s*(?:"[^"]*"|[^\s,;"]+))*)')
_PARAMETER = re.compile(r';\s*(?P<name>[\w-]+)\s*=\s*(?:"(?P<quoted>[^"]*)"|(?P<plain>[^\s,;"]+))')

MAX_WORDS = 300
"""As much of a registry's own words as is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A registry's answer. ``headers`` is asked in any case: ``headers.get("content-type")``. ``path`` is what was asked for."""

    method: str
    path: str
    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; raises RegistryError where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise RegistryError(
                f"the answer to {self.method} {self.path} is not JSON, though its status is {self.status}",
                hint=f"Look at it: curl {self.url}. Something between here and the registry may be answering.",
            ) from None

    @property
    def words(self) -> str:
        """The status and the registry's own code and message, in one line fit for a terminal: ``404 NAME_UNKNOWN …``."""
        return f"{self.status} {_own_words(self.body) or http.client.responses.get(self.status, '')}".strip()

    @property
    def next_path(self) -> str | None:
        """Path and query of the page that its ``Link`` header calls ``next``.

        The link's host is not looked at: registries behind a proxy often name a wrong one, and no other is asked.
        """
        for match in _LINK.finditer(self.headers.get("link", "")):
            if not _is_next(match["parameters"]):
                continue
            try:
                there = urlsplit(urljoin(self.path, str(match["target"])))
            except ValueError:
                continue
            # ``x:.elsewhere.example/`` has a path that would make another host of ours, if it were put behind it.
            if there.path.startswith("/"):
                return f"{there.path}?{there.query}" if there.query else there.path
        return None

    @property
    def challenges(self) -> dict[str, dict[str, str]]:
        """Of a 401: scheme (``basic``, ``bearer``) -> its parameters, all names in lower case."""
        found: dict[str, dict[str, str]] = {}
        parameters: dict[str, str] = {}
        for match in _CHALLENGE.finditer(self.headers.get("www-authenticate", "")):
            if match["scheme"]:
                parameters = found.setdefault(match["scheme"].lower(), {})
            else:
                quoted = match["quoted"]
                parameters[match["key"].lower()] = match["plain"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        return found

    @property
    def rate_limit_remaining(self) -> int | None:
        """How many requests of this kind are left to us (``RateLimit-Remaining``), None where the registry does not say."""
        match = re.match(r"\s*(\d{1,18})\s*(?:[;,]|$)", self.headers.get("ratelimit-remaining", ""), re.ASCII)
        return int(match[1]) if match else None


def _is_next(parameters: str) -> bool:
    found = {match["name"].lower(): match["quoted"] or match["plain"] or "" for match in _PARAMETER.finditer(parameters)}
    return "next" in found.get("rel", "").lower().split()


def error_from(host: str, answer: Response, *, is_registry: bool = False) -> RegistryToolError | None:
    """The failure that ``answer`` is, with its words in ``refusal``; None where it is what a registry answers when all is well.

    ``is_registry``: that it is one is known from other answers, so a web page is this one answer's failure.
    """
    error = _failure(host, answer, is_registry=is_registry)
    if error is not None:
        code, words = next(iter(_own_errors(answer.body)), ("", ""))
        error.refusal = ErrorResponse(method=answer.method, path=answer.path, status=answer.status, code=code, words=words)
    return error


def _failure(host: str, answer: Response, *, is_registry: bool) -> RegistryToolError | None:
    asked = f"{answer.method} {answer.path}"
    login = f"Log in with a user that may do this: regctl login {host}"
    if answer.status == 401:
        return AuthenticationFailed(f"{host} does not accept the user name or the password: {asked}: {answer.words}", hint=login)
    if answer.status < 400 and is_registry and _is_web_page(answer):
        return RegistryError(f"{host}: {asked}: a web page ({answer.status})", hint="A proxy on the way there may answer in its place.")
    if answer.status < 500 and not is_registry and _is_web_page(answer):
        return NotARegistry(
            f"what answers at {host} is no registry: {asked} gives a web page ({answer.status})", hint=_other_server(answer, host)
        )
    if answer.status < 400:
        return None
    message = f"{host}: {asked}: {answer.words}"
    if answer.status == 403:
        return AuthenticationFailed(message, hint=login)
    if answer.status == 404:
        return NotFound(message, hint="Look at how the name is spelled.")
    if answer.status == 405:
        return RegistryError(message, hint="The registry does not allow this: it may be read-only, or have deletion turned off.")
    if answer.status == 429:
        return TooManyRequests(message, hint=_later(answer))
    return RegistryError(message, hint="Look at the registry's log.")


def _later(answer: Response) -> str:
    wanted = answer.headers.get("retry-after", "").strip()
    wait = f"wait {wanted} seconds" if re.fullmatch(r"[0-9]{1,9}", wanted) else "wait a little"
    return f"The registry wants fewer requests: {wait}."


def _is_web_page(answer: Response) -> bool:
    return answer.headers.get("content-type", "").lower().startswith("text/html") or _is_airplay(answer)


def _is_airplay(answer: Response) -> bool:
    return answer.headers.get("server", "").startswith("AirTunes")


def _other_server(answer: Response, host: str) -> str:
    if _is_airplay(answer):
        return "It is this Mac's AirPlay receiver. Turn it off (System Settings, AirDrop & Handoff), or use another port."
    return f"Name the registry's own address with --registry, or find out what listens at {host}."


def _own_words(body: bytes) -> str:
    return "; ".join(f"{code} {message}".strip() for code, message in _own_errors(body))[:MAX_WORDS]


def _own_errors(body: bytes) -> list[tuple[str, str]]:
    """(code, message) of each error that the registry names; of any body."""
    try:
        return [(_fit(error.get("code", "")), _fit(error.get("message", ""))) for error in json.loads(body)["errors"][:10]]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []


def _fit(text: object) -> str:
    """A server's text goes to a terminal: one line, no control characters, not a page of it."""
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)[: 2 * MAX_WORDS]).split())
    return words if len(words) <= MAX_WORDS else words[: MAX_WORDS - 3] + "..."
