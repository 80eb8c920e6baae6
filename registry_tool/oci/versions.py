"""The versions that tags name, their order, and ranges of them.

Tags are not Semantic Versions, so no library for those reads them: ``1.2`` and ``v3`` are short, ``1.2.3-alpine`` is a
variant of 1.2.3 and not what came before it, ``3.14.0rc1-slim`` is both. Numbers and what comes before a release count
as in semver.org 2.0.0, 11; ranges are npm's (node-semver, "Ranges"), and do not look at the variant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from registry_tool.base.errors import UsageError

_NUMBER = "[0-9]{1,18}"
_BEFORE = r"(?:(?:alpha|beta|rc|pre|preview|dev|snapshot|nightly|canary|next|milestone|ea)(?:[.-]?[0-9]+(?:[.-][0-9]+)*)?|[abcm][0-9]+)"
_VERSION = re.compile(
    rf"v?(?P<numbers>{_NUMBER}(?:\.{_NUMBER}){{0,3}})(?:[-._]?(?P<before>{_BEFORE}))?(?:[-_](?P<variant>.*))?", re.IGNORECASE | re.ASCII
)
_COMPARISON = re.compile(
    rf"(?P<operator>[<>]=?|[=~^])?v?(?P<numbers>(?:{_NUMBER}|[x*])(?:\.(?:{_NUMBER}|[x*])){{0,3}})(?:[-._]?(?P<before>{_BEFORE}))?",
    re.IGNORECASE | re.ASCII,
)
_PART = re.compile(r"[0-9]+|[a-z]+")

_Numbers = tuple[int, ...]
_Key = tuple[_Numbers, bool, tuple[tuple[bool, int, str], ...]]
"""Comes in order: numbers, then what came before the release, then the release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """``numbers`` are as many as were written, one to four. ``before`` is ``rc1`` and the like, ``variant`` ``alpine``; else empty."""

    numbers: tuple[int, ...]
    before: str = ""
    variant: str = ""

    @classmethod
    def parse(cls, tag: str) -> Version | None:
        """None for a tag that names no version: ``latest``, ``stable-1``, ``7f3a``."""
        match = _VERSION.fullmatch(tag)
        if match is None:
            return None
        return cls(numbers=_numbers(match["numbers"]), before=(match["before"] or "").lower(), variant=match["variant"] or "")


def order(tag: str) -> tuple[bool, _Key, str, str]:
    """A key to sort tags by: oldest version first, a version before its variants, tags without a version at the end by name."""
    version = Version.parse(tag)
    if version is None:
        return True, ((), True, ()), "", tag
    return False, _key(version.numbers, version.before), version.variant, tag


@dataclass(frozen=True, slots=True)
class _Comparison:
    operator: str
    """``<``, ``<=``, ``>`` or ``>=``."""
    numbers: _Numbers
    before: str = ""

    def holds(self, key: _Key) -> bool:
        own = _key(self.numbers, self.before)
        return {"<": key < own, "<=": key <= own, ">": key > own, ">=": key >= own}[self.operator]


@dataclass(frozen=True, slots=True)
class Range:
    """Versions of which one may ask whether a tag's is among them: ``tag in Range.parse("^1.2")``."""

    alternatives: tuple[tuple[_Comparison, ...], ...]

    @classmethod
    def parse(cls, text: str) -> Range:
        """Read ``^1.2``, ``~1.2.3``, ``1.x``, ``>=1.2 <2``, ``1.2 - 1.4``, ``1 || 3``; raises UsageError on anything else."""
        return cls(tuple(tuple(_comparisons(part, text)) for part in text.split("||")))

    def __contains__(self, tag: str) -> bool:
        """Whether ``tag`` names one. ``2.0.0-rc1`` does only where the range itself names something before 2.0.0, as with npm."""
        version = Version.parse(tag)
        return version is not None and any(_hold(comparisons, version) for comparisons in self.alternatives)


def _hold(comparisons: tuple[_Comparison, ...], version: Version) -> bool:
    named = {_padded(comparison.numbers) for comparison in comparisons if comparison.before}
    if version.before and _padded(version.numbers) not in named:
        return False
    key = _key(version.numbers, version.before)
    return all(comparison.holds(key) for comparison in comparisons)


def _comparisons(part: str, text: str) -> Iterator[_Comparison]:
    tight = re.sub(r"([<>=~^])\s+", r"\1", part.replace(",", " "))
    words = re.sub(r"(\S+)\s+-\s+(\S+)", r">=\1 <=\2", tight).split()
    matches = [_COMPARISON.fullmatch(word) for word in words]
    if not matches:
        raise _no_range(text)
    for match in matches:
        if match is None:
            raise _no_range(text)
        known = re.split(r"\.?[x*]", match["numbers"], flags=re.IGNORECASE)[0]
        if known:
            yield from _bounds(match["operator"] or "=", _numbers(known), (match["before"] or "").lower())


def _bounds(operator: str, numbers: _Numbers, before: str) -> Iterator[_Comparison]:
    """A comparison as plain bounds. A short version stands for all that begin with it: ``>1.2`` begins with 1.3."""
    if before and operator not in "~^=":
        yield _Comparison(operator, numbers, before)
    elif before and operator == "=":
        yield from (_Comparison(">=", numbers, before), _Comparison("<=", numbers, before))
    elif operator in ("<", ">="):
        yield _Comparison(operator, numbers)
    elif operator in ("<=", ">"):
        yield _Comparison("<" if operator == "<=" else ">=", _after(numbers))
    else:
        kept = {"=": len(numbers), "~": min(2, len(numbers)), "^": _first_that_counts(numbers)}[operator]
        yield from (_Comparison(">=", numbers, before), _Comparison("<", _after(numbers[:kept])))


def _first_that_counts(numbers: _Numbers) -> int:
    """How many numbers ``^`` keeps: up to the first that is not zero."""
    return next((place for place, number in enumerate(numbers, 1) if number), len(numbers))


def _after(numbers: _Numbers) -> _Numbers:
    return (*numbers[:-1], numbers[-1] + 1)


def _numbers(text: str) -> _Numbers:
    return tuple(map(int, text.split(".")))


def _padded(numbers: _Numbers) -> _Numbers:
    return (*numbers, 0, 0, 0)[:4]


def _key(numbers: _Numbers, before: str) -> _Key:
    parts = tuple((False, int(part), "") if part.isdigit() else (True, 0, part) for part in _PART.findall(before))
    return _padded(numbers), not before, parts


def _no_range(text: str) -> UsageError:
    hint = "A range looks like ^1.2, ~1.2.3, 1.x, '>=1.2 <2', '1.2 - 1.4' or '1 || 3'."
    return UsageError(f"not a range of versions: {text[:80]!r}", hint=hint)
