"""What a repository keeps: rules, and which repositories they are for. Pure values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from registry_tool.base.errors import UsageError

By = Literal["date", "version"]
Per = Literal["major", "minor", "patch"]

MOST = 1_000_000
"""Tags that a rule may count."""

_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
_SPAN = re.compile(r"(?:[0-9]{1,6}[mhdwy])+", re.ASCII)
_PART = re.compile(r"([0-9]+)([mhdwy])", re.ASCII)
_SEMVER = re.compile(r"([0-9]{1,7})(?: per (major|minor|patch))?", re.ASCII)
_LONGEST_REGEX = 1000
_LONGEST_SHOWN = 60
_MOST_STARS = 4
_GLOB_PART = re.compile(r"^\*\*/|/\*\*/|/\*\*$|\*+|.", re.DOTALL)
_GLOB_WORDS = {
    "**/": "(?:.*/)?",
    "/**/": "/(?:.*/)?",
    "/**": "(?:/.*)?",
    "**": ".*",
    "*": "[^/]*",
    "?": "[^/]",
    "{": "(?:",
    "}": ")",
    ",": "|",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TagFilter:
    """Tags in which one of ``patterns`` (regular expressions) matches anywhere, or, ``excluded``, none; all where there are no patterns."""

    patterns: tuple[str, ...] = ()
    excluded: bool = False

    def matching(self, tags: Iterable[str], matches: dict[str, frozenset[str]]) -> frozenset[str]:
        """Those of ``tags`` that it selects; ``matches`` are the tags in which each pattern matches."""
        if not self.patterns:
            return frozenset(tags)
        selected = frozenset().union(*(matches[pattern] for pattern in self.patterns))
        return frozenset(tag for tag in tags if (tag in selected) != self.excluded)

    def __str__(self) -> str:
        """The patterns, short."""
        text = " or ".join(self.patterns)
        shown = text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"
        return f"{'not ' if self.excluded else ''}{shown}"


ALL_TAGS = TagFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepTags:
    """Keep the tags of a filter."""

    only: TagFilter = ALL_TAGS

    def __str__(self) -> str:
        """The rule, as it is written."""
        return f"keep-tags {self.only}" if self.only.patterns else "keep-tags .*"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepLast:
    """Keep the newest ``count`` images by date, or the highest ``count`` versions."""

    count: int
    by: By = "date"
    only: TagFilter = ALL_TAGS

    def __str__(self) -> str:
        """The rule, as it is written."""
        return f"keep-last {self.count} by {self.by}{_of(self.only)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepSemver:
    """Keep the highest ``count`` versions of each major, minor or patch version."""

    count: int
    per: Per = "minor"
    only: TagFilter = ALL_TAGS

    def __str__(self) -> str:
        """The rule, as it is written."""
        return f"keep-semver {self.count} per {self.per}{_of(self.only)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepWithin:
    """Keep images that were made in the last ``seconds``; ``span`` is how that is written."""

    seconds: int
    span: str
    only: TagFilter = ALL_TAGS

    def __str__(self) -> str:
        """The rule, as it is written."""
        return f"keep-within {self.span}{_of(self.only)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepPulledWithin:
    """Keep images that were pulled in the last ``seconds``; ``span`` is how that is written."""

    seconds: int
    span: str
    only: TagFilter = ALL_TAGS

    def __str__(self) -> str:
        """The rule, as it is written."""
        return f"keep-pulled-within {self.span}{_of(self.only)}"


Rule = KeepTags | KeepLast | KeepSemver | KeepWithin | KeepPulledWithin


def _of(only: TagFilter) -> str:
    return f" of {only}" if only.patterns else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryFilter:
    """Repositories that match one of ``patterns``, or (``excluded``) none: globs whose ``*`` matches ``/``, unless ``doublestar``."""

    patterns: tuple[str, ...] = ("*",)
    excluded: bool = False
    doublestar: bool = False

    def __contains__(self, repository: str) -> bool:
        """Whether the rules are for ``repository``, the path without the host."""
        if self.doublestar:
            matched = any(re.fullmatch(doublestar(pattern), repository) for pattern in self.patterns)
        else:
            matched = any(fnmatchcase(repository, pattern) for pattern in self.patterns)
        return matched != self.excluded


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryRules:
    """A tag of these repositories is kept where one of ``rules`` keeps it; ``untagged`` manifests go where nothing needs them."""

    repositories: RepositoryFilter = RepositoryFilter()
    rules: tuple[Rule, ...]
    untagged: bool = False

    @property
    def patterns(self) -> Iterator[str]:
        """The regular expressions of all rules."""
        for rule in self.rules:
            yield from rule.only.patterns

    @property
    def needs_dates(self) -> bool:
        """Whether a rule asks when images were made."""
        return any(isinstance(rule, KeepWithin) or (isinstance(rule, KeepLast) and rule.by == "date") for rule in self.rules)

    @property
    def needs_pulls(self) -> bool:
        """Whether a rule asks when images were pulled."""
        return any(isinstance(rule, KeepPulledWithin) for rule in self.rules)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRules:
    """The rules of a file or a command line. For a repository the first entry that matches counts, or (``joined``) all that match.

    ``notes`` are what a person should know of the file.
    """

    entries: tuple[RepositoryRules, ...]
    joined: bool = False
    notes: tuple[str, ...] = ()

    def rules_for(self, repository: str) -> RepositoryRules | None:
        """The rules for ``repository``, the path without the host; None where there are none: all of it stays."""
        matching = [entry for entry in self.entries if repository in entry.repositories]
        if not matching:
            return None
        if not self.joined:
            return matching[0]
        rules = tuple(rule for entry in matching for rule in entry.rules)
        return RepositoryRules(rules=rules, untagged=any(entry.untagged for entry in matching))

    @property
    def needs_pulls(self) -> bool:
        """Whether a rule asks when images were pulled."""
        return any(entry.needs_pulls for entry in self.entries)


# --- what is typed ---


def parse_span(text: str) -> int:
    """Seconds of ``30d``, ``2w``, ``36h`` or ``1d12h``. Raises ValueError."""
    if not _SPAN.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not a time: it looks like 30d, 2w, 36h or 1d12h")
    seconds = sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if not 0 < seconds <= 100 * _UNITS["y"]:
        raise ValueError(f"{text[:80]!r} is not between a minute and 100 years")
    return seconds


def parse_regex(text: str) -> str:
    """``text`` if it is a regular expression. Raises ValueError."""
    if not text:
        raise ValueError("an empty regular expression would match every tag: write .* for that")
    if len(text) > _LONGEST_REGEX:
        raise ValueError(f"a regular expression of {len(text)} letters: {_LONGEST_REGEX} are allowed")
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return text


def parse_semver(text: str, only: TagFilter = ALL_TAGS) -> KeepSemver:
    """``N per minor`` (or ``major``, ``patch``; minor where it is not said). Raises ValueError."""
    match = _SEMVER.fullmatch(" ".join(text.split()))
    if match is None:
        raise ValueError(f"{text[:80]!r} is not a number of versions: it looks like '3 per minor'")
    per: Per = match[2] or "minor"  # type: ignore[assignment] # the pattern allows no other
    return KeepSemver(count=check_count(int(match[1])), per=per, only=only)


def check_count(count: int) -> int:
    """``count`` if a rule may keep that many. Raises ValueError."""
    if not 1 <= count <= MOST:
        raise ValueError(f"{count} is not between 1 and {MOST:,}")
    return count


def check_rules(rules: RepositoryRules, where: str) -> None:
    """Raises UsageError where nothing says what is kept."""
    if not rules.rules:
        raise UsageError(f"{where}: no rule says what is kept", hint="For example: --keep-last 10, or keep-last = 10 in a file.")


def doublestar(pattern: str) -> str:
    """The regular expression of a doublestar glob: ``*`` does not match ``/``, ``**`` does; ``?`` and ``{a,b}``. Raises ValueError."""
    if len(re.findall(r"\*+", pattern)) > _MOST_STARS:
        raise ValueError(f"{pattern[:80]!r}: more than {_MOST_STARS} wildcards take too long for some names")
    parts: list[str] = []
    depth = 0
    for match in _GLOB_PART.finditer(pattern):
        part = match[0]
        is_plain = part in ("}", ",") and not depth
        depth += (part == "{") - (part == "}" and not is_plain)
        if part in ("[", "]", "\\") or "***" in part:
            raise ValueError(f"{pattern[:80]!r}: {part} in a glob is not supported")
        parts.append(re.escape(part) if is_plain else _GLOB_WORDS.get(part, re.escape(part)))
    if depth:
        raise ValueError(f"{pattern[:80]!r}: a brace is not closed")
    return "".join(parts)
