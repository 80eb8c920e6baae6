"""Why an image's program does not start, from the program's own file: engines only say that it does not."""

from __future__ import annotations

from collections.abc import Sequence

from registry_tool.base.errors import RegistryToolError
from registry_tool.engine import Engine

_SEE_MESSAGE = "The engine's message says what it could not do."


def explain(engine: Engine, container: str, command: Sequence[str], message: str) -> str | None:
    """The hint for ``command``, which did not start in ``container`` with the engine's ``message``; None where there is none."""
    if not command:
        return "The image has no command to run: its Dockerfile needs CMD or ENTRYPOINT."
    path = command[0]
    try:
        content = engine.get_file(container, path) if path.startswith("/") else None
        if content is None and "/" in path and not path.startswith("/"):
            return None  # it is somewhere below the working folder
        script = interpreter(content)
        exists = None if script is None else engine.get_file(container, script) is not None
    except RegistryToolError:
        return None
    return explain_file(path, content, exists, message)


def explain_file(path: str, content: bytes | None, interpreter_exists: bool | None, message: str) -> str:
    """Why a program does not start. ``content`` is its file, if any; ``interpreter_exists`` None: its first line names none."""
    lower = message.lower()
    if content is None and not any(mark in lower for mark in ("not found", "no such file")):
        return _SEE_MESSAGE
    if content is None:
        if "/" not in path:
            return f"There is no program {path} in the image: is it installed, and in its PATH?"
        return f"There is no {path} in the image: COPY it into it, as what is mounted from a machine stays there."
    first = content[:256].split(b"\n", 1)[0]
    if first.startswith(b"#!") and first.endswith(b"\r"):
        return f"{path} has lines that end in CR LF, which are part of its first line: save it with LF (.gitattributes: *.sh text eol=lf)."
    if interpreter_exists is False:
        return f"{path} begins with {first.decode(errors='replace')!r}, which is not in the image."
    if "permission denied" in lower:
        return f"{path} may not be run: RUN chmod +x {path}, or COPY --chmod=755."
    if "exec format error" in lower:
        if content.startswith(b"\x7fELF"):
            return f"{path} is made for another processor: build it for this platform, or for both."
        return f"{path} is neither a program of this platform nor a script: its first line should be #!/bin/sh or the like."
    if content.startswith(b"\x7fELF"):
        return f"{path} is there, and its loader is not: it was linked on another distribution (glibc, musl)."
    return _SEE_MESSAGE


def interpreter(content: bytes | None) -> str | None:
    """The interpreter that the first line of a script names, if any."""
    first = (content or b"")[:256].split(b"\n", 1)[0]
    words = first[2:].decode(errors="replace").split() if first.startswith(b"#!") else []
    return words[0] if words else None
