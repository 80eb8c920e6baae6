"""Hints from the end of a container's log, for somebody who wants it to run elsewhere. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NO_NETWORK = (
    r"Temporary failure in name resolution|Name or service not known|Could not resolve host|No address associated|bad address"
    r"|[Nn]etwork is unreachable|No route to host|no such host|getaddrinfo|[Cc]onnection refused|timed out"
)
_NO_FILE = (
    r"No such file or directory: '(?P<it>[^']+)'|(?:open|stat|read) '?(?P<that>/[^\s':]+)'?: [Nn]o such file"
    r"|(?P<other>/[^\s':\"]+)['\"]?: [Nn]o such file|can't open (?:file )?'(?P<last>[^']+)'"
)
_HINTS: tuple[tuple[str, str], ...] = (
    (
        r"(?:loading shared librar(?:ies|y)|Library not loaded):? (?P<it>[^\s:]+)",
        "{it} is not in the image: install its package in the Dockerfile.",
    ),
    (r"exec format error", "It is made for another processor: build it for this platform, or for both."),
    (_NO_NETWORK, "It needs the network: what it needs at its start belongs into the image, or beside it (--with redis, --stack FILE)."),
    (
        r"can't start new thread|can't fork|[Cc]annot fork|fork: |Resource temporarily unavailable",
        "It needs more processes or threads than its limit.",
    ),
    (r"File too large|No space left on device", "It writes more than its limit: store its data in a volume."),
    (r"MemoryError|Cannot allocate memory|[Oo]ut of memory", "It needs more memory than its limit."),
    (
        r"\r: |\r['\"]?(?:: | )?(?:command )?not found|bad interpreter.*\^M|\\r",
        "A script of it has lines that end in CR LF: save it with LF, and say so in .gitattributes (*.sh text eol=lf).",
    ),
    (_NO_FILE, "It needs {it}, which is not in the image: COPY it into it, as what is mounted from a machine stays there."),
    (
        r"Operation not permitted|Permission denied|permission denied|PermissionError|EPERM|must be root",
        "It needs a privilege that containers do not have: a capability, a device or --privileged is not part of an image.",
    ),
    (r"[Aa]ddress already in use", "Two parts of it use one port."),
)


def for_log(lines: Iterable[str]) -> str | None:
    """The hint for a log's last lines; None where they match no pattern."""
    text = "\n".join(lines)
    for pattern, hint in _HINTS:
        match = re.search(pattern, text)
        if match:
            it = next((group for group in match.groups() if group), "it")
            return hint.format(it=it[:120])
    return None
