"""Which check of ``regctl doctor`` looks into a failure: decided here, and nowhere else, by the error's code and message."""

from __future__ import annotations

import re
from typing import NamedTuple


class _Rule(NamedTuple):
    codes: str
    """Of errors, separated by blanks; empty: of all."""
    pattern: str
    """In the message."""
    check: str


_TRANSFERS = "push-failed pull-failed"

_RULES = (
    _Rule("failed", r"No space left|Permission denied|Read-only file system|quota exceeded", "folders"),
    _Rule("", r"(?i)no space left on device|disk is full", "disk"),
    _Rule(_TRANSFERS, r"speaks plain HTTP", "https"),
    _Rule(f"registry-unreachable {_TRANSFERS}", r"(?i)certificate|cannot be trusted|does not trust", "certificates"),
    _Rule("registry-unreachable", r"\bproxy\b", "proxy"),
    _Rule("build-failed", r"needs BuildKit", "builder"),
    _Rule("registry-error", r"\bDELETE \S+ 405\b|deletion", "delete"),
    _Rule("registry-error", r"\b(?:POST|PUT|PATCH) \S+ 405\b", "write"),
    _Rule("registry-error push-failed", r"BLOB_UNKNOWN|blob unknown", "stale-cache"),
    _Rule("registry-error", r"\b(?:GET|HEAD|POST|PUT|PATCH|DELETE) \S+ 5\d\d\b", "registry"),
    _Rule("engine-not-found engine-not-permitted engine-timeout unreachable", "", "engine"),
    _Rule("registry-unreachable not-a-registry", r"localhost|127\.0\.0\.1|\[::1\]|local registry|the registry('s| did| was)", "registry"),
    _Rule("registry-unreachable", "", "proxy"),
    _Rule("port-taken", "", "port"),
    _Rule("credentials authentication-failed", "", "credentials"),
    _Rule("provision-failed", "", "base-images"),
)
"""The first that fits counts. ``tests/unit/doctor/test_advice.py`` holds the names to the table of checks."""


def check_for(code: str, message: str) -> str | None:
    """The name of the check, if there is one."""
    return next(
        (rule.check for rule in _RULES if (not rule.codes or code in rule.codes.split()) and re.search(rule.pattern, message)), None
    )


def advice(code: str, message: str, hint: str | None) -> str | None:
    """``hint``, and the command that looks into such failures."""
    check = check_for(code, message)
    if check is None:
        return hint
    command = f"regctl doctor {check}"
    if not hint:
        return f"See: {command}"
    return f"{hint} See also: {command}" if hint.endswith((".", "?", "!", ")")) else f"{hint}; see also: {command}"
