"""A Dockerfile's base images and need of BuildKit, pure (reference: "Parser directives", "Format", "Here-documents")."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set

_DIRECTIVE = re.compile(r"#\s*(?P<key>[a-zA-Z]+)\s*=\s*(?P<value>\S.*)")
_WORD = re.compile(r"""(?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s"'\\]|["'\\])+""", re.DOTALL)
_HEREDOC = re.compile(r"\d*<<(?P<tabs>-?)(?P<name>[^<]+)")
_HEREDOC_INSTRUCTIONS = ("RUN", "COPY", "ADD")
_VARIABLE = re.compile(r"\$\{?(\w+)")
_GIT = re.compile(r"git://.*|(?:ssh://)?[\w.-]+@[\w.-]+:.*|ssh://.*|https?://[^?#]*\.git(?:[?#].*)?")
_BUILDKIT_FLAGS = {
    "RUN": ("--mount", "--network", "--security", "--device"),
    "COPY": ("--link", "--chmod", "--parents", "--exclude"),
    "ADD": ("--link", "--chmod", "--checksum", "--keep-git-dir", "--unpack", "--exclude"),
}
_AUTOMATIC = {f"{side}{part}" for side in ("BUILD", "TARGET") for part in ("PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT")}
"""The variables that BuildKit sets by itself (reference: "Automatic platform ARGs in the global scope")."""


def needs_buildkit(text: str, build_args: Mapping[str, str] = {}) -> str | None:
    """The first thing in ``text`` that needs BuildKit; None where the classic builder can build it."""
    if syntax := _directives(text).get("syntax"):
        return f"# syntax={syntax}"
    automatic = _AUTOMATIC - set(build_args)
    for instruction, operands in instructions(text):
        while instruction == "ONBUILD":
            instruction, operands = _split(operands)  # noqa: PLW2901 - what is triggered is an instruction, too
        if reason := _reason(instruction, operands, automatic):
            return reason
        if instruction == "ARG":
            automatic = automatic - {name for name, default in _assignments(operands) if default}
    return None


def _reason(instruction: str, operands: str, automatic: Set[str]) -> str | None:
    flags = list(_leading_flags(operands))
    for flag in flags:
        if flag.partition("=")[0] in _BUILDKIT_FLAGS.get(instruction, ()):
            return f"{instruction} {flag.partition('=')[0]}"
    if instruction == "FROM":
        return next((f"FROM with ${name}" for name in _VARIABLE.findall(operands) if name in automatic), None)
    if instruction == "ARG":
        return next((f"ARG {name}" for name, default in _assignments(operands) if name in automatic and not default), None)
    if instruction == "ADD":
        sources = operands.split("\n", 1)[0].split()[len(flags) : -1]
        if any(_GIT.fullmatch(source) for source in sources):
            return "ADD of a git repository"
    if "\n" in operands:
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


def added_hosts(text: str) -> tuple[str, ...]:
    """The hosts of the addresses that ``ADD`` downloads from."""
    words = [word.strip("\"',[]") for instruction, operands in instructions(text) if instruction == "ADD" for word in operands.split()]
    hosts = [re.match(r"(?:https?|git|ssh)://(?:[^/@]*@)?([^/:]+)", word, re.IGNORECASE) for word in words]
    return tuple(dict.fromkeys(match[1] for match in hosts if match))


def has_heredocs(text: str) -> bool:
    """Whether an instruction has a here-document."""
    return any("\n" in operands for _, operands in instructions(text))


def arguments(text: str) -> dict[str, str]:
    """Each ``ARG`` before the first FROM with its default (empty where it has none)."""
    defaults: dict[str, str] = {}
    for instruction, operands in instructions(text):
        if instruction == "FROM":
            break
        if instruction == "ARG":
            defaults.update(_assignments(operands))
    return defaults


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """``(INSTRUCTION, operands)`` for each logical line: continuations joined, comments and empty lines dropped.

    The lines of here-documents follow their instruction's operands, each after a newline.
    """
    escape = _directives(text).get("escape", "\\")
    logical = ""
    lines = [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")]
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if line.lstrip().startswith("#") or not line.strip():
            continue
        stripped = line.rstrip()
        if stripped.endswith(escape) and at < len(lines):
            logical += stripped[: -len(escape)] + " "
            continue
        instruction, operands = _split(logical + stripped)
        logical = ""
        end = _heredocs_end(lines, at, operands) if instruction in _HEREDOC_INSTRUCTIONS else at
        yield instruction, "\n".join([operands, *lines[at:end]])
        at = end
    if logical.strip():
        yield _split(logical)


def _split(logical: str) -> tuple[str, str]:
    instruction, _, operands = logical.strip().replace("\t", " ", 1).partition(" ")
    return instruction.upper(), operands.strip()


def _heredocs_end(lines: Sequence[str], at: int, operands: str) -> int:
    """The index of the line after the here-documents that ``operands`` begin; ``at`` where they begin none that ends."""
    end = at
    for word in _WORD.findall(operands):
        match = _HEREDOC.fullmatch(word)
        if match is None:
            continue
        name = _unquoted(match["name"])
        last = next((i for i in range(end, len(lines)) if (lines[i].lstrip("\t") if match["tabs"] else lines[i]) == name), None)
        if last is None:
            return at
        end = last + 1
    return end


def _assignments(operands: str) -> Iterator[tuple[str, str]]:
    """``NAME[=DEFAULT]`` for each variable of an ARG."""
    for word in _WORD.findall(operands):
        name, _, default = word.partition("=")
        yield name, _unquoted(default)


def _unquoted(word: str) -> str:
    return re.sub(r"[\"']", "", word)


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
