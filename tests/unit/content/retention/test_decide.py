"""Which tags are kept, and by which rule."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest

from registry_tool.content.retention.decide import Evidence, TagFacts, decide
from registry_tool.content.retention.rules import (
    KeepLast,
    KeepPulledWithin,
    KeepSemver,
    KeepTags,
    KeepWithin,
    RepositoryFilter,
    RepositoryRules,
    RetentionRules,
    Rule,
    TagFilter,
    doublestar,
    parse_regex,
    parse_semver,
    parse_span,
)
from registry_tool.oci.digest import Digest

NOW = datetime(2026, 1, 31, tzinfo=timezone.utc)


def facts(name: str, *, days: float | None = 0, of: str = "", pulled: float | None = None, at: datetime | None = None) -> TagFacts:
    """A tag of an image that was made ``days`` ago; ``of`` is another content than one of its own."""
    created = at or (NOW - timedelta(days=days) if days is not None else None)
    return TagFacts(
        name=name,
        digest=Digest.of((of or name).encode()),
        created=created,
        pulled=NOW - timedelta(days=pulled) if pulled is not None else None,
    )


def kept(tags: list[TagFacts], *rules: Rule, evidence: Evidence | None = None) -> list[str]:
    names = [tag.name for tag in tags]
    patterns = [pattern for rule in rules for pattern in rule.only.patterns]
    matches = {pattern: frozenset(name for name in names if re.search(pattern, name)) for pattern in patterns}
    found = decide(tags, rules, evidence or Evidence(now=NOW, matches=matches))
    assert set(found) == set(names)
    return [name for name in names if found[name].keep]


def only(*patterns: str) -> TagFilter:
    return TagFilter(patterns=patterns)


def test_newest_images_are_kept_and_tags_of_one_digest_count_once() -> None:
    tags = [facts("a", days=5), facts("b", days=1, of="b"), facts("latest", days=1, of="b"), facts("c", days=3)]
    assert kept(tags, KeepLast(count=2)) == ["b", "latest", "c"]


def test_images_as_old_as_the_last_one_that_is_kept_are_kept() -> None:
    assert kept([facts("a", days=2), facts("b", days=2), facts("c", days=3)], KeepLast(count=1)) == ["a", "b"]


@pytest.mark.parametrize(
    ("date", "why"),
    [
        (None, "it has no date"),
        (datetime(1, 1, 1, tzinfo=timezone.utc), "its date is 0001, which stands for none"),
        (datetime(1970, 1, 1, tzinfo=timezone.utc), "its date is 1970, which stands for none"),
        (datetime(1980, 1, 1, 0, 0, 1, tzinfo=timezone.utc), "its date is 1980, which stands for none"),
        (NOW + timedelta(days=1), "its date is in the future"),
    ],
    ids=["none", "year-one", "epoch", "1980", "future"],
)
@pytest.mark.parametrize("rule", [KeepLast(count=1), KeepWithin(seconds=86400, span="1d")], ids=["last", "within"])
def test_image_without_a_usable_date_is_kept_and_does_not_count(date: datetime | None, why: str, rule: Rule) -> None:
    tags = [facts("odd", days=None, at=date), facts("new", days=0.5), facts("old", days=9)]
    assert kept(tags, rule) == ["odd", "new"]
    assert decide(tags, [rule], Evidence(now=NOW))["odd"].reason == why


def test_clock_that_is_a_little_ahead_is_not_the_future() -> None:
    tags = [facts("new", at=NOW + timedelta(seconds=30)), facts("old", days=1)]
    assert kept(tags, KeepLast(count=1)) == ["new"]


def test_highest_versions_are_kept_with_variants_and_what_has_their_digest() -> None:
    tags = [facts(name) for name in ("1.2.9", "1.2.10", "1.2.10-alpine", "v1.3", "pr-7")]
    tags += [facts("latest", of="v1.3"), facts("edge")]
    assert kept(tags, KeepLast(count=2, by="version")) == ["1.2.10", "1.2.10-alpine", "v1.3", "latest"]
    found = decide(tags, [KeepLast(count=2, by="version")], Evidence(now=NOW))
    assert (found["latest"].rule, found["latest"].reason) == ("keep-last 2 by version", "same digest as v1.3")
    assert found["edge"].reason == "no rule keeps it"


def test_tags_that_differ_by_case_are_different_tags() -> None:
    tags = [facts("V1"), facts("v1"), facts("Latest"), facts("latest")]
    assert kept(tags, KeepTags(only=only("^latest$"))) == ["latest"]
    assert kept(tags, KeepLast(count=1, by="version")) == ["V1", "v1"], "one version"


def test_versions_are_kept_per_minor() -> None:
    tags = [facts(name) for name in ("1.0.0", "1.0.1", "1.0.2", "1.1.0", "1.1.0-rc1", "2.0.0")]
    assert kept(tags, parse_semver("2 per minor")) == ["1.0.1", "1.0.2", "1.1.0", "1.1.0-rc1", "2.0.0"]
    assert kept(tags, KeepSemver(count=1, per="major")) == ["1.1.0", "2.0.0"]
    assert kept(tags, KeepSemver(count=1, per="patch")) == ["1.0.0", "1.0.1", "1.0.2", "1.1.0", "2.0.0"]


def test_rule_with_a_filter_looks_at_no_other_tag() -> None:
    tags = [facts("main-1", days=3), facts("main-2", days=2), facts("pr-1", days=1)]
    assert kept(tags, KeepLast(count=1, only=only("^main-"))) == ["main-2"]
    assert kept(tags, KeepTags(only=TagFilter(patterns=("^main-",), excluded=True))) == ["pr-1"]


def test_first_rule_that_keeps_a_tag_is_named() -> None:
    evidence = Evidence(now=NOW, matches={"^v": frozenset({"v1"})})
    found = decide([facts("v1")], [KeepWithin(seconds=60, span="1m"), KeepTags(only=only("^v"))], evidence)
    assert found["v1"].rule == "keep-within 1m"


def test_what_could_not_be_read_is_kept() -> None:
    found = decide([TagFacts(name="odd", unread="403")], [KeepTags(only=only("x"))], Evidence(now=NOW, matches={"x": frozenset()}))
    assert (found["odd"].keep, found["odd"].reason) == (True, "it could not be read: 403")


def test_protected_tags_are_kept_before_any_rule() -> None:
    evidence = Evidence(now=NOW, matches={"x": frozenset()}, protected={"v1": "by 'v*'"})
    found = decide([facts("v1"), facts("v2")], [KeepTags(only=only("x"))], evidence)
    assert (found["v1"].keep, found["v1"].rule, found["v1"].reason) == (True, "protected", "protected by 'v*'")
    assert not found["v2"].keep


# --- pulls ---


def test_pulled_images_are_kept_where_the_log_reaches_back() -> None:
    tags = [facts("used", pulled=3), facts("unused", pulled=40), facts("never")]
    rule = KeepPulledWithin(seconds=30 * 86400, span="30d")
    assert kept(tags, rule, evidence=Evidence(now=NOW, pulls_since=NOW - timedelta(days=31))) == ["used"]


@pytest.mark.parametrize("since", [None, NOW - timedelta(days=29)], ids=["no-log", "short-log"])
def test_everything_is_kept_where_the_log_does_not_reach_back(since: datetime | None) -> None:
    tags = [facts("used", pulled=3), facts("unused")]
    rule = KeepPulledWithin(seconds=30 * 86400, span="30d")
    evidence = Evidence(now=NOW, pulls_since=since)
    assert kept(tags, rule, evidence=evidence) == ["used", "unused"]
    assert "when it was pulled is not known" in decide(tags, [rule], evidence)["unused"].reason


# --- rules ---


@pytest.mark.parametrize(("text", "seconds"), [("30d", 30 * 86400), ("2w", 14 * 86400), ("1d12h", 129600), ("90m", 5400), ("1y", 31536000)])
def test_span_is_read(text: str, seconds: int) -> None:
    assert parse_span(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "-3d", "0d", "3 d", "1000y", "30D", "1e3d", "\u0663d"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        parse_span(text)


@pytest.mark.parametrize("text", ["(", "", "a" * 1001, "a{9999999999999}", "(?P<x>", "\\"])
def test_what_is_no_regular_expression_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="regular expression"):
        parse_regex(text)


@pytest.mark.parametrize("text", ["", "per minor", "0 per minor", "3 per day", "3 minor", "-1 per minor"])
def test_what_is_no_number_of_versions_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        parse_semver(text)


def test_first_entry_that_matches_counts() -> None:
    first = RepositoryRules(repositories=RepositoryFilter(patterns=("john/*",)), rules=(KeepTags(),))
    second = RepositoryRules(rules=(KeepLast(count=1),))
    rules = RetentionRules(entries=(first, second))
    assert rules.rules_for("john/a/b") is first
    assert rules.rules_for("jane/a") is second
    assert RetentionRules(entries=(first,)).rules_for("jane/a") is None


def test_joined_entries_keep_what_any_of_them_keeps() -> None:
    first = RepositoryRules(repositories=RepositoryFilter(patterns=("john/*",)), rules=(KeepTags(),))
    second = RepositoryRules(rules=(KeepLast(count=1),))
    joined = RetentionRules(entries=(first, second), joined=True).rules_for("john/a")
    assert joined is not None
    assert joined.rules == (KeepTags(), KeepLast(count=1))


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*", "a", True),
        ("*", "a/b", False),
        ("**", "a/b", True),
        ("a/**", "a/b/c", True),
        ("a/**", "a", True),
        ("**/b", "a/b", True),
        ("**/b", "b", True),
        ("{a,b}/?", "b/c", True),
        ("{a,b}/?", "c/c", False),
        ("a.b", "axb", False),
    ],
)
def test_doublestar_glob_matches_as_in_go(pattern: str, name: str, matches: bool) -> None:
    assert bool(re.fullmatch(doublestar(pattern), name)) is matches


@pytest.mark.parametrize("pattern", ["[a]", "{a", "a\\*", "*a*a*a*a*a"])
def test_glob_of_another_form_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="not supported|not closed|too long"):
        doublestar(pattern)
