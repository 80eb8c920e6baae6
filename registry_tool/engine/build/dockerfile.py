"""A Dockerfile's base images and need of BuildKit, pure (reference: "Parser directives", "Format", "Here-documents")."""

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
    """The first thing in ``text`` that needs BuildKit; None where the classic builder can build it."""
    if syntax := _directives(text).get("syntax"):
        return f"# syntax={syntax}"
    for instruction, operands in instructions(text):
        for flag in _leading_flags(operands):
            if flag.partition("=")[0] in _BUILDKIT_FLAGS.get(instruction, ()):
                return f"{instruction} {flag.partition('=')[0]}"
        if instruction in ("RUN", "COPY", "ADD") and _HEREDOC.search(operands):
            return f"{instruction} <<"
    return None


def base_images(text: str, build_args: dict[str, str]) -> tuple[str, ...]:
    """The names after FROM, with variables from ``ARG`` and ``build_args``; without earlier stages and ``scratch``."""
    variables = {name: build_args.get(name, default) for name, default in arguments(text).items()}
    stages = {"scratch"}
    names: list[str] = []
    for instruction, operands in instructions(text):
        if instruction == "FROM":
            words = [word for word in operands.split() if not word.startswith("--")]
            if not words:
                continue
            name = _substituted(words[0], variables)
            if name and name.lower() not in stages and name not in names:
                names.append(name)
            if len(words) == 3 and words[1].lower() == "as":
                stages.add(words[2].lower())
    return tuple(names)


def arguments(text: str) -> dict[str, str]:
    """Each ``ARG`` before the first FROM with its default (empty where it has none)."""
    defaults: dict[str, str] = {}
    for instruction, operands in instructions(text):
        if instruction == "FROM":
            break
        if instruction == "ARG":
            name, _, default = operands.strip().partition("=")
            defaults[name] = default.strip("\"'")
    return defaults


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """``(INSTRUCTION, operands)`` for each logical line: continuations joined, comments and empty lines dropped."""
    escape = _directives(text).get("escape", "\\")
    logical = ""
    for line in text.splitlines():
        if line.lstrip().startswith("#") or not line.strip():
            continue
        stripped = line.rstrip()
        if stripped.endswith(escape):
            logical += stripped[: -len(escape)] + " "
            continue
        instruction, _, operands = (logical + stripped).strip().partition(" ")
        logical = ""
        yield instruction.upper(), operands.strip()
    if logical.strip():
        instruction, _, operands = logical.strip().partition(" ")
        yield instruction.upper(), operands.strip()


def _directives(text: str) -> dict[str, str]:
    """The parser directives: comments ``# key=value`` before anything else."""
    directives: dict[str, str] = {}
    for line in text.removeprefix("\ufeff").splitlines():
        match = _DIRECTIVE.fullmatch(line.strip())
        if match is None:
            break
        directives[match["key"].lower()] = match["value"].strip()
    return directives


def _leading_flags(operands: str) -> Iterator[str]:
    for word in operands.split():
        if not word.startswith("--"):
            return
        yield word


def _substituted(name: str, variables: dict[str, str]) -> str:
    return re.sub(r"\$(?:\{(\w+)(?::-([^}]*))?\}|(\w+))", lambda match: variables.get(match[1] or match[3]) or match[2] or "", name)
