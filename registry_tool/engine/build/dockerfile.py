"""What has to be known of a Dockerfile before it is sent: its base images, and whether the classic builder can read it.

Pure, and no more of a parser than that needs (Dockerfile reference: "Parser directives", "Format", "Here-documents").
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_DIRECTIVE = re.compile(r"#\s*(?P<key>[a-zA-Z]+)\s*=\s*(?P<value>\S.*)")
_HEREDOC = re.compile(r"(?:^|\s)\d*<<-?[\"']?[A-Za-z_]\w*")
_BUILDKIT_FLAGS = {
    "RUN": ("--mount", "--network", "--security"),
    "COPY": ("--link", "--chmod", "--parents", "--exclude"),
    "ADD": ("--link", "--chmod", "--checksum", "--keep-git-dir", "--unpack", "--exclude"),
}


def needs_buildkit(text: str) -> str | None:
    """What in ``text`` only BuildKit understands, as a person wrote it; None where the classic builder can build it."""
    if syntax := _directives(text).get("syntax"):
        return f"# syntax={syntax}"
    for instruction, rest in instructions(text):
        for flag in _leading_flags(rest):
            if flag.partition("=")[0] in _BUILDKIT_FLAGS.get(instruction, ()):
                return f"{instruction} {flag.partition('=')[0]}"
        if instruction in ("RUN", "COPY", "ADD") and _HEREDOC.search(rest):
            return f"{instruction} <<"
    return None


def base_images(text: str, build_args: dict[str, str]) -> tuple[str, ...]:
    """The names after FROM, variables put in from ``ARG`` and ``build_args``; earlier stages and ``scratch`` left out."""
    variables = {name: build_args.get(name, default) for name, default in arguments(text).items()}
    stages = {"scratch"}
    found: list[str] = []
    for instruction, rest in instructions(text):
        if instruction == "FROM":
            words = [word for word in rest.split() if not word.startswith("--")]
            if not words:
                continue
            name = _substituted(words[0], variables)
            if name and name.lower() not in stages and name not in found:
                found.append(name)
            if len(words) == 3 and words[1].lower() == "as":
                stages.add(words[2].lower())
    return tuple(found)


def arguments(text: str) -> dict[str, str]:
    """Each ``ARG`` before the first FROM with its default (empty where it has none): what a base image's name may depend on."""
    found: dict[str, str] = {}
    for instruction, rest in instructions(text):
        if instruction == "FROM":
            break
        if instruction == "ARG":
            name, _, default = rest.strip().partition("=")
            found[name] = default.strip("\"'")
    return found


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """``(INSTRUCTION, rest)`` for each logical line: continuations joined, comments and empty lines dropped."""
    escape = _directives(text).get("escape", "\\")
    logical = ""
    for line in text.splitlines():
        if line.lstrip().startswith("#") or not line.strip():
            continue
        stripped = line.rstrip()
        if stripped.endswith(escape):
            logical += stripped[: -len(escape)] + " "
            continue
        word, _, rest = (logical + stripped).strip().partition(" ")
        logical = ""
        yield word.upper(), rest.strip()
    if logical.strip():
        word, _, rest = logical.strip().partition(" ")
        yield word.upper(), rest.strip()


def _directives(text: str) -> dict[str, str]:
    """The parser directives: comments of the form ``# key=value`` before anything else."""
    found: dict[str, str] = {}
    for line in text.removeprefix("\ufeff").splitlines():
        match = _DIRECTIVE.fullmatch(line.strip())
        if match is None:
            break
        found[match["key"].lower()] = match["value"].strip()
    return found


def _leading_flags(rest: str) -> Iterator[str]:
    for word in rest.split():
        if not word.startswith("--"):
            return
        yield word


def _substituted(name: str, variables: dict[str, str]) -> str:
    return re.sub(
        r"\$(?:\{(\w+)(?::-([^}]*))?\}|(\w+))",
        lambda match: variables.get(match[1] or match[3]) or match[2] or "",
        name,
    )
