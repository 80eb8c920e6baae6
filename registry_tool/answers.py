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

from registry_tool.errors import AuthenticationFailed, NotARegistry, NotFound, RegistryError, RegistryToolError

_CHALLENGE = re.compile(r'(?P<key>[\w-]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s,"]+))|(?P<scheme>[\w-]+)')
_LINK = re.compile(r'<(?P<target>[^>]*)>(?P<parameters>(?:\s*;\s*[\w-]+\s*=\s*(?:"[^"]*"|[^\s,;"]+))*)')
_NEXT = re.compile(r';\s*rel\s*=\s*(?:"(?:[^"]*\s)?next(?:\s[^"]*)?"|next)', re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
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
            if _NEXT.search(match["parameters"]):
                there = urlsplit(urljoin(self.path, str(match["target"])))
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


def refusal(host: str, answer: Answer) -> RegistryToolError | None:
    """The failure that ``answer`` is; None where it is what a registry answers when all is well."""
    asked = f"{answer.method} {answer.path}"
    login = f"Log in with a user that may do this: regctl login {host}"
    if answer.status == 401:
        return AuthenticationFailed(f"{host} does not accept the user name or the password: {asked}: {answer.words}", hint=login)
    if answer.status < 500 and _is_web_page(answer):
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
        return RegistryError(message, hint="The registry wants fewer requests: wait a little.")
    return RegistryError(message, hint="Look at the registry's log.")


def _is_web_page(answer: Answer) -> bool:
    return answer.headers.get("content-type", "").lower().startswith("text/html") or _is_airplay(answer)


def _is_airplay(answer: Answer) -> bool:
    return answer.headers.get("server", "").startswith("AirTunes")


def _other_server(answer: Answer, host: str) -> str:
    if _is_airplay(answer):
        return "It is this Mac's AirPlay receiver. Turn it off (System Settings, AirDrop & Handoff), or use another port."
    return f"Name the registry's own address with --registry, or find out what listens at {host}."


def _own_words(body: bytes) -> str:
    try:
        errors = json.loads(body)["errors"]
        text = "; ".join(f"{error.get('code', '')} {error.get('message', '')}" for error in errors)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""
    # A server's text goes to a terminal: one line, no control characters, not a page of it.
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return text if len(text) <= 300 else text[:297] + "..."
