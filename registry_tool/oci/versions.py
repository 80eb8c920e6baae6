"""Versions in tags, their order, and ranges of them.

Tags are not Semantic Versions, so no library for those reads them: ``1.2`` and ``v3`` are short, ``1.2.3-alpine`` is a
variant of 1.2.3 and no pre-release of it, ``3.14.0rc1-slim`` is both. The order is that of semver.org 2.0.0, 11, with
numbers in variants by their value; ranges are npm's (node-semver, "Ranges"), and ignore the variant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from registry_tool.base.errors import UsageError

_NUMBER = "[0-9]{1,18}"
_PRERELEASE = r"(?:(?:alpha|beta|rc|pre|preview|dev|snapshot|nightly|canary|next|milestone|ea)(?:[.-]?[0-9]+(?:[.-][0-9]+)*)?|[abcm][0-9]+)"
_VERSION = re.compile(
    rf"v?(?P<numbers>{_NUMBER}(?:\.{_NUMBER}){{0,3}})(?:[-._]?(?P<prerelease>{_PRERELEASE}))?(?:[-_](?P<variant>.*))?",
    re.IGNORECASE | re.ASCII,
)
_COMPARISON = re.compile(
    rf"(?P<operator>[<>]=?|~>|[=~^])?v?(?P<numbers>(?:{_NUMBER}|[x*])(?:\.(?:{_NUMBER}|[x*])){{0,3}})"
    rf"(?:[-._]?(?P<prerelease>{_PRERELEASE})|-(?P<other>[0-9a-z-]{{1,64}}(?:\.[0-9a-z-]{{1,64}}){{0,8}}))?(?:\+[0-9a-z.-]{{1,128}})?",
    re.IGNORECASE | re.ASCII,
)
_PART = re.compile(r"[0-9]+|[a-z]+")
_RUN = re.compile(r"[0-9]+|[^0-9]+")
_PREFIXED = re.compile(r"(?P<prefix>[a-z][a-z._-]*[._-])(?P<version>v?[0-9].*)", re.IGNORECASE | re.ASCII)
_COMMIT = re.compile(r"[0-9]{7,}(?![.0-9]).*|[0-9a-f]{7,40}(?:[-_].*)?", re.ASCII)
_DATE = re.compile(r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?:[0-9]{4}|[0-9]{6})?(?![0-9]).*", re.ASCII)

_Numbers = tuple[int, ...]
_Key = tuple[_Numbers, bool, tuple[tuple[bool, int, str], ...]]
"""Sorts by the numbers, then pre-releases before the release."""
_Natural = tuple[tuple[bool, int, str], ...]
"""Sorts text by the values of the numbers in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One to four ``numbers``, a ``prerelease`` (``rc1``) and a ``variant`` (``alpine``); both may be empty."""

    numbers: tuple[int, ...]
    prerelease: str = ""
    variant: str = ""

    @classmethod
    def parse(cls, tag: str) -> Version | None:
        """None for a tag that names no version: ``latest``, ``stable-1``, ``7f3a``, ``1234567``, ``12b3456`` (commits)."""
        match = _VERSION.fullmatch(tag)
        if match is None or (_COMMIT.fullmatch(tag) and not _DATE.fullmatch(tag)):
            return None
        return cls(numbers=_numbers(match["numbers"]), prerelease=(match["prerelease"] or "").lower(), variant=match["variant"] or "")


def order(tag: str) -> tuple[int, str, _Key, _Natural, str]:
    """Sort key of tags: oldest version first, a version before its variants; then versions behind a prefix (``release-1.10``); then names.

    The first member is 0, 1 or 2 for these, the second the prefix.
    """
    version = Version.parse(tag)
    if version is not None:
        return 0, "", _key(version.numbers, version.prerelease), _natural(version.variant), tag
    match = _PREFIXED.fullmatch(tag)
    prefixed = Version.parse(match["version"]) if match else None
    if match and prefixed is not None:
        return 1, match["prefix"].lower(), _key(prefixed.numbers, prefixed.prerelease), _natural(prefixed.variant), tag
    return 2, "", ((), True, ()), (), tag


def _natural(text: str) -> _Natural:
    return tuple((False, int(run), "") if run.isdigit() else (True, 0, run) for run in _RUN.findall(text))


@dataclass(frozen=True, slots=True)
class _Comparison:
    operator: str
    """``<``, ``<=``, ``>`` or ``>=``; ``=`` of a variant."""
    numbers: _Numbers
    prerelease: str = ""

    def holds(self, version: Version) -> bool:
        if self.operator == "=":
            return (_padded(version.numbers), version.variant.lower()) == (_padded(self.numbers), self.prerelease)
        key, bound = _key(version.numbers, version.prerelease), _key(self.numbers, self.prerelease)
        return {"<": key < bound, "<=": key <= bound, ">": key > bound, ">=": key >= bound}[self.operator]


@dataclass(frozen=True, slots=True)
class Range:
    """A range of versions: ``tag in Range.parse("^1.2")``."""

    alternatives: tuple[tuple[_Comparison, ...], ...]

    @classmethod
    def parse(cls, text: str) -> Range:
        """Read ``^1.2``, ``~1.2.3``, ``1.x``, ``>=1.2 <2``, ``1.2 - 1.4`` or ``1 || 3``. Raises UsageError."""
        return cls(tuple(tuple(_comparisons(part, text)) for part in text.split("||")))

    def __contains__(self, tag: str) -> bool:
        """Whether the version of ``tag`` is in it. A pre-release is only where the range names one of the same numbers, as in npm."""
        version = Version.parse(tag)
        return version is not None and any(_hold(comparisons, version) for comparisons in self.alternatives)


def _hold(comparisons: tuple[_Comparison, ...], version: Version) -> bool:
    prereleases = {_padded(comparison.numbers) for comparison in comparisons if comparison.prerelease}
    if version.prerelease and _padded(version.numbers) not in prereleases:
        return False
    return all(comparison.holds(version) for comparison in comparisons)


def _comparisons(part: str, text: str) -> Iterator[_Comparison]:
    joined = re.sub(r"([<>=~^])\s+", r"\1", part.replace(",", " "))
    words = re.sub(r"(\S+)\s+-\s+(\S+)", r">=\1 <=\2", joined).split()
    matches = [_COMPARISON.fullmatch(word) for word in words]
    if not matches:
        raise _invalid_range(text)
    for match in matches:
        if match is None:
            raise _invalid_range(text)
        operator = (match["operator"] or "=").replace("~>", "~")
        prefix = re.split(r"\.?[x*]", match["numbers"], flags=re.IGNORECASE)[0]
        prerelease = match["prerelease"] or match["other"] or ""
        if prefix != match["numbers"]:
            prerelease = ""
        if prefix and operator == "=" and match["other"]:
            yield _Comparison("=", _numbers(prefix), prerelease.lower())
        elif prefix:
            yield from _bounds(operator, _numbers(prefix), prerelease.lower())
        elif operator in "<>":
            # Nothing is less or more than any version.
            yield _Comparison("<", (0,), "0")


def _bounds(operator: str, numbers: _Numbers, prerelease: str) -> Iterator[_Comparison]:
    """The bounds that a comparison means. A short version is all that begin with it: ``>1.2`` begins with 1.3."""
    if prerelease and operator not in "~^=":
        yield _Comparison(operator, numbers, prerelease)
    elif prerelease and operator == "=":
        yield from (_Comparison(">=", numbers, prerelease), _Comparison("<=", numbers, prerelease))
    elif operator in ("<", ">="):
        yield _Comparison(operator, numbers)
    elif operator in ("<=", ">"):
        yield _Comparison("<" if operator == "<=" else ">=", _after(numbers))
    else:
        # ``^`` fixes the numbers up to the first that is not zero.
        to_nonzero = next((position for position, number in enumerate(numbers, 1) if number), len(numbers))
        count = {"=": len(numbers), "~": min(2, len(numbers)), "^": to_nonzero}[operator]
        yield from (_Comparison(">=", numbers, prerelease), _Comparison("<", _after(numbers[:count])))


def _after(numbers: _Numbers) -> _Numbers:
    return (*numbers[:-1], numbers[-1] + 1)


def _numbers(text: str) -> _Numbers:
    return tuple(map(int, text.split(".")))


def _padded(numbers: _Numbers) -> _Numbers:
    return (*numbers, 0, 0, 0)[:4]


def _key(numbers: _Numbers, prerelease: str) -> _Key:
    parts = tuple((False, int(part), "") if part.isdigit() else (True, 0, part) for part in _PART.findall(prerelease))
    return _padded(numbers), not prerelease, parts


def _invalid_range(text: str) -> UsageError:
    hint = "A range looks like ^1.2, ~1.2.3, 1.x, '>=1.2 <2', '1.2 - 1.4' or '1 || 3'."
    return UsageError(f"not a range of versions: {text[:80]!r}", hint=hint)
