"""``.dockerignore`` as docker reads it, pure: the patterns of Go's ``filepath.Match``, and ``**`` (reference: ".dockerignore files")."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from registry_tool.base.errors import BuildFailed

_WILDCARDS = frozenset("*?[\\")


@dataclass(frozen=True, slots=True)
class IgnorePattern:
    """``exception`` is a line with ``!``; ``parts`` are the names between its slashes."""

    exception: bool
    parts: tuple[str, ...]
    regex: re.Pattern[str]


def parse(text: str, name: str) -> tuple[IgnorePattern, ...]:
    """The patterns of the ignore file ``name``. Raises BuildFailed, with file and line."""
    patterns = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if line.startswith("#") or not (pattern := line.strip()):
            continue
        try:
            patterns.append(_pattern(pattern))
        except ValueError as error:
            raise BuildFailed(f"{name}:{number}: bad pattern {pattern!r}: {error}") from None
    return tuple(patterns)


def keeping(patterns: Sequence[IgnorePattern], *paths: str) -> tuple[IgnorePattern, ...]:
    """``patterns``, and exceptions for what the builder itself reads."""
    return (*patterns, *(IgnorePattern(exception=True, parts=tuple(path.split("/")), regex=re.compile(re.escape(path))) for path in paths))


class Ignored:
    """Which paths are ignored: the last pattern that matches a path, or a folder above it, decides.

    As in docker, a pattern that would change nothing is not tried: an exception for a folder that is not ignored is none for
    what is ignored in it.
    """

    def __init__(self, patterns: Sequence[IgnorePattern]) -> None:
        self._patterns = patterns

    def match(self, path: str, above: Sequence[bool] = ()) -> tuple[bool, tuple[bool, ...]]:
        """Whether ``path`` is ignored, and which patterns match it; ``above`` are those that match the folder it is in."""
        matches = []
        ignored = False
        for index, pattern in enumerate(self._patterns):
            matched = (index < len(above) and above[index]) or (pattern.exception == ignored and pattern.regex.fullmatch(path) is not None)
            matches.append(matched)
            if matched:
                ignored = not pattern.exception
        return ignored, tuple(matches)

    def may_keep_below(self, folder: str) -> bool:
        """Whether an exception may match something in the ignored ``folder``."""
        return any(pattern.exception and _reaches(pattern.parts, folder.split("/")) for pattern in self._patterns)


def _reaches(parts: Sequence[str], folder: Sequence[str]) -> bool:
    for part, name in zip(parts, folder, strict=False):
        if _WILDCARDS & set(part):
            return True
        if part != name:
            return False
    return len(parts) > len(folder)


def _pattern(text: str) -> IgnorePattern:
    exception = text.startswith("!")
    if exception and not (text := text[1:].strip()):
        raise ValueError("there is nothing after the exclamation mark")
    cleaned = posixpath.normpath(re.sub("^/+", "/", text))
    cleaned = cleaned[1:] if len(cleaned) > 1 and cleaned.startswith("/") else cleaned
    return IgnorePattern(exception=exception, parts=tuple(cleaned.split("/")), regex=re.compile(_regex(cleaned), re.DOTALL))


def _regex(pattern: str) -> str:
    """``pattern`` as a regular expression for whole paths. Raises ValueError where Go's ``filepath.Match`` reports a bad pattern."""
    if pattern.startswith("**") and not pattern.startswith("**/") and not (_WILDCARDS | {"]"}) & set(pattern[2:]):
        # docker compares this with the end of the path, wherever a name begins in it.
        return f".*{re.escape(pattern[2:])}"
    letters = _Letters(pattern)
    return "".join(_terms(letters))


class _Letters:
    """The letters of a pattern, one after the other."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def take(self, expected: str) -> bool:
        if not self.text.startswith(expected, self.at):
            return False
        self.at += len(expected)
        return True

    def next(self) -> str:
        if self.at == len(self.text):
            raise ValueError("it ends too early")
        self.at += 1
        return self.text[self.at - 1]

    def ended(self) -> bool:
        return self.at == len(self.text)


def _terms(letters: _Letters) -> Iterator[str]:
    while not letters.ended():
        if letters.take("**"):
            letters.take("/")
            yield ".*" if letters.ended() else "(?:.*/)?"
        elif letters.take("*"):
            yield "[^/]*"
        elif letters.take("?"):
            yield "[^/]"
        elif letters.take("["):
            yield _set(letters)
        elif letters.take("\\"):
            yield re.escape(letters.next())
        else:
            yield re.escape(letters.next())


def _set(letters: _Letters) -> str:
    """A set such as ``[^a-z_]``, after its bracket: at least one letter or range."""
    negated = letters.take("^")
    ranges = [_range(letters)]
    while not letters.take("]"):
        ranges.append(_range(letters))
    return f"[{'^' if negated else ''}{''.join(ranges)}]"


def _range(letters: _Letters) -> str:
    low = high = _letter_in_set(letters)
    if letters.take("-"):
        high = _letter_in_set(letters)
    if low > high:
        raise ValueError(f"the range {low}-{high} is empty")
    return f"{re.escape(low)}-{re.escape(high)}"


def _letter_in_set(letters: _Letters) -> str:
    if letters.take("\\"):
        return letters.next()
    letter = letters.next()
    if letter in "-]":
        raise ValueError(f"{letter!r} in a set needs a backslash")
    return letter
