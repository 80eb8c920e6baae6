"""What a container's last words mean for somebody who wants it to run elsewhere. Pure: words in, a way out."""

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
_WORDS: tuple[tuple[str, str], ...] = (
    (
        r"(?:loading shared librar(?:ies|y)|Library not loaded):? (?P<it>[^\s:]+)",
        "The image lacks {it}: have the Dockerfile install what brings it.",
    ),
    (r"exec format error", "It is made for another processor: build it for this platform, or for both."),
    (
        _NO_NETWORK,
        "It wants the network: what it needs at its start belongs into the image, or beside it (--with redis, --stack FILE).",
    ),
    (
        r"can't start new thread|can't fork|[Cc]annot fork|fork: |Resource temporarily unavailable",
        "It has more processes or threads than the limit lets it.",
    ),
    (r"File too large|No space left on device", "It writes more than the limit lets it: what it keeps belongs into a volume."),
    (r"MemoryError|Cannot allocate memory|[Oo]ut of memory", "It needs more memory than the limit gives it."),
    (
        r"\r: |\r['\"]?(?:: | )?(?:command )?not found|bad interpreter.*\^M|\\r",
        "A script of it has lines that end in CR LF: save it with LF, and say so in .gitattributes (*.sh text eol=lf).",
    ),
    (
        _NO_FILE,
        "It wants {it}, which is not in the image: COPY it into it, as what is mounted from a machine stays there.",
    ),
    (
        r"Operation not permitted|Permission denied|permission denied|PermissionError|EPERM|must be root",
        "It wants a right that containers do not have by themselves: a capability, a device or --privileged is not part of an image.",
    ),
    (r"[Aa]ddress already in use", "Two parts of it want one port."),
)


_SPEAKS = "The engine's words say what it could not do."


def of_words(lines: Iterable[str]) -> str | None:
    """What a log's last lines say that should be done; None where they say nothing that is known."""
    text = "\n".join(lines)
    for pattern, hint in _WORDS:
        match = re.search(pattern, text)
        if match:
            it = next((group for group in match.groups() if group), "it")
            return hint.format(it=it[:120])
    return None


def of_program(path: str, content: bytes | None, interpreter_is_there: bool | None, words: str) -> str:
    """Why a program could not be started. ``content`` is its file, None where there is none.

    ``interpreter_is_there`` is of the one that its first line names; None where it names none.
    """
    lower = words.lower()
    if content is None and not any(mark in lower for mark in ("not found", "no such file")):
        return _SPEAKS
    if content is None:
        if "/" not in path:
            return f"There is no program {path} in the image: is it installed, and in its PATH?"
        return f"There is no {path} in the image: COPY it into it, as what is mounted from a machine stays there."
    first = content[:256].split(b"\n", 1)[0]
    if first.startswith(b"#!") and first.endswith(b"\r"):
        return f"{path} has lines that end in CR LF, which are part of its first line: save it with LF (.gitattributes: *.sh text eol=lf)."
    if interpreter_is_there is False:
        return f"{path} begins with {first.decode(errors='replace')!r}, which is not in the image."
    if "permission denied" in lower:
        return f"{path} may not be run: RUN chmod +x {path}, or COPY --chmod=755."
    if "exec format error" in lower:
        if content.startswith(b"\x7fELF"):
            return f"{path} is made for another processor: build it for this platform, or for both."
        return f"{path} is neither a program of this platform nor a script: its first line should be #!/bin/sh or the like."
    if content.startswith(b"\x7fELF"):
        return f"{path} is there, and what loads it is not: it was linked on another distribution (glibc, musl)."
    return _SPEAKS


def interpreter(content: bytes | None) -> str | None:
    """What the first line of a script names; None where it names none."""
    first = (content or b"")[:256].split(b"\n", 1)[0]
    words = first[2:].decode(errors="replace").split() if first.startswith(b"#!") else []
    return words[0] if words else None
