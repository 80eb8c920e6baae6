"""Files of rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registry_tool.base.errors import NotFound, RegistryToolError, UsageError
from registry_tool.content.retention.files import from_json, from_toml, load
from registry_tool.content.retention.rules import (
    KeepLast,
    KeepPulledWithin,
    KeepSemver,
    KeepTags,
    KeepWithin,
    RetentionRules,
    TagFilter,
)

TOML = b"""
[[repository]]
repositories = ["john/*", "jane/app"]
keep-last = 10
by = "version"
keep-tags = ["^latest$", "^release-"]
keep-within = "30d"
keep-semver = "3 per minor"
keep-pulled-within = "2w"
tags = "^v"
untagged = true

[[repository]]
keep-last = 3
"""


def test_toml_is_read() -> None:
    first, second = from_toml(TOML, "retention.toml").entries
    only = TagFilter(patterns=("^v",))
    assert first.rules == (
        KeepTags(only=TagFilter(patterns=("^latest$", "^release-"))),
        KeepLast(count=10, by="version", only=only),
        KeepSemver(count=3, per="minor", only=only),
        KeepWithin(seconds=30 * 86400, span="30d", only=only),
        KeepPulledWithin(seconds=14 * 86400, span="2w", only=only),
    )
    assert first.untagged
    assert "john/a/b" in first.repositories
    assert "jane/other" not in first.repositories
    assert "anything/else" in second.repositories


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[[repository]]\nkeep-lst = 3", "retention.toml: repository[0].keep-lst: not supported"),
        ("[[repository]]\nkeep-last = 0", "retention.toml: repository[0].keep-last: 0 is not between 1 and 1,000,000"),
        ('[[repository]]\nkeep-last = "3"', "retention.toml: repository[0].keep-last: a whole number is required, not text"),
        ('[[repository]]\nkeep-tags = "("', "retention.toml: repository[0].keep-tags: not a regular expression"),
        ('[[repository]]\nkeep-within = "soon"', "retention.toml: repository[0].keep-within: 'soon' is not a time"),
        ('[[repository]]\nkeep-semver = "3 per year"', "retention.toml: repository[0].keep-semver: '3 per year' is not a number"),
        ('[[repository]]\nkeep-last = 1\nby = "size"', "retention.toml: repository[0].by: 'size' is neither date nor version"),
        ('[[repository]]\nkeep-tags = "a"\nby = "date"', "retention.toml: repository[0].by: it says how keep-last counts"),
        ('[[repository]]\nrepositories = "a"', "retention.toml: repository[0]: no rule says what is kept"),
        ("", "retention.toml has no rules"),
        ("[[repository]]\nkeep-last = = 3", "retention.toml: line 2, 'keep-last': "),
        ("[repository]\nkeep-last = 3", "retention.toml: repository: a list is required"),
        ("[[repository]]\nkeep-last = 3\nkeep-last = 4", "retention.toml: line 3, 'keep-last': a name appears twice"),
    ],
    ids=["key", "zero", "text", "regex", "span", "semver", "by", "by-alone", "no-rule", "empty", "syntax", "table", "twice"],
)
def test_error_of_toml_says_where(content: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_toml(content.encode(), "retention.toml")
    assert caught.value.message.startswith(message)


def test_file_is_read_by_its_ending(tmp_path: Path) -> None:
    (tmp_path / "retention.toml").write_bytes(TOML)
    assert len(load(tmp_path / "retention.toml").entries) == 2
    with pytest.raises(NotFound, match="no such file"):
        load(tmp_path / "missing.toml")
    with pytest.raises(RegistryToolError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "large.toml").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(UsageError, match="bytes are too many"):
        load(tmp_path / "large.toml")


# --- zot ---


def zot(**policy: object) -> RetentionRules:
    policies = [{"repositories": ["infra/*", "tmp/**"], **policy}]
    return from_json(json.dumps({"storage": {"retention": {"policies": policies}}}).encode(), "zot.json")


def test_zot_rules_that_mean_the_same_are_read() -> None:
    rules = zot(keepTags=[{"patterns": ["v2.*", ".*-prod"]}, {"patterns": ["v3.*"], "pulledWithin": "168h"}])
    (entry,) = rules.entries
    assert entry.rules == (
        KeepTags(only=TagFilter(patterns=("v2.*", ".*-prod"))),
        KeepPulledWithin(seconds=168 * 3600, span="168h", only=TagFilter(patterns=("v3.*",))),
    )
    assert "infra/a" in entry.repositories
    assert "infra/a/b" not in entry.repositories
    assert "tmp/a/b" in entry.repositories


@pytest.mark.parametrize("keep_tags", [None, []], ids=["missing", "empty"])
def test_zot_policy_without_keep_tags_keeps_every_tag(keep_tags: object) -> None:
    (entry,) = zot(keepTags=keep_tags).entries
    assert entry.rules == (KeepTags(),)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"keepTags": [{"pushedWithin": "24h"}]}, "policies[0].keepTags[0].pushedWithin: not supported: registries do not say when"),
        ({"keepTags": [{"mostRecentlyPushedCount": 3}]}, "policies[0].keepTags[0].mostRecentlyPushedCount: not supported"),
        ({"keepTags": [{"mostRecentlyPulledCount": 3}]}, "policies[0].keepTags[0].mostRecentlyPulledCount: not supported"),
        ({"keepTags": [{"patterns": ["\\pL"]}]}, "policies[0].keepTags[0].patterns: \\p of Go's"),
        ({"keepTags": [{"pulledWithin": "7d"}]}, "policies[0].keepTags[0].pulledWithin: '7d' is not a time"),
        ({"deleteReferrers": True}, "policies[0].deleteReferrers: not supported"),
        ({"deleteUntagged": True}, "policies[0].deleteUntagged: not supported"),
        ({"repositories": []}, "policies[0].repositories: missing"),
        ({"repositories": ["[a"]}, "policies[0].repositories: '[a': [ in a glob is not supported"),
        ({"other": 1}, "policies[0].other: not supported"),
    ],
    ids=["pushed", "pushed-count", "pulled-count", "go-regex", "span", "referrers", "untagged", "no-repository", "glob", "key"],
)
def test_what_zot_means_otherwise_is_an_error_that_names_it(policy: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        zot(**policy)
    assert f"zot.json: storage.retention.{message}" in caught.value.message


# --- Harbor ---


def harbor(template: str = "always", params: object = None, **changed: object) -> RetentionRules:
    rule = {
        "disabled": False,
        "action": "retain",
        "template": template,
        "params": params or {},
        "tag_selectors": [{"kind": "doublestar", "decoration": "matches", "pattern": "v*", "extras": '{"untagged":true}'}],
        "scope_selectors": {"repository": [{"kind": "doublestar", "decoration": "repoMatches", "pattern": "app*"}]},
        **changed,
    }
    policy = {"algorithm": "or", "rules": [rule], "trigger": {"kind": "Schedule"}, "scope": {"level": "project", "ref": 1}}
    return from_json(json.dumps(policy).encode(), "harbor.json")


def test_harbor_rules_that_mean_the_same_are_read() -> None:
    rules = harbor("nDaysSinceLastPull", {"nDaysSinceLastPull": 30})
    (entry,) = rules.entries
    assert rules.joined
    assert entry.rules == (KeepPulledWithin(seconds=30 * 86400, span="30d", only=TagFilter(patterns=("^(?:v[^/]*)$",))),)
    assert "library/app1" in entry.repositories
    assert "app1" not in entry.repositories
    assert "library/other" not in entry.repositories


def test_harbor_excludes_are_read() -> None:
    selectors = [{"kind": "doublestar", "decoration": "excludes", "pattern": "pr-*"}]
    (entry,) = harbor(tag_selectors=selectors).entries
    assert entry.rules == (KeepTags(only=TagFilter(patterns=("^(?:pr\\-[^/]*)$",), excluded=True)),)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"template": "latestPushedK"}, "rules[0].template: 'latestPushedK' is not supported: registries do not say when"),
        ({"template": "nDaysSinceLastPush"}, "rules[0].template: 'nDaysSinceLastPush' is not supported"),
        ({"template": "latestPulledN"}, "rules[0].template: 'latestPulledN' is not supported"),
        ({"template": "new"}, "rules[0].template: 'new' is not supported: always"),
        ({"action": "delete"}, "rules[0].action: not supported"),
        ({"template": "nDaysSinceLastPull"}, "rules[0].params.nDaysSinceLastPull: missing"),
        ({"disabled": True}, "rules: no rule is enabled"),
        ({"scope_selectors": {}}, "rules[0].scope_selectors.repository: exactly one"),
        ({"tag_selectors": [{"kind": "regex", "decoration": "matches", "pattern": "v"}]}, "rules[0].tag_selectors[0].kind: not supported"),
    ],
    ids=["pushed-k", "pushed", "pulled-n", "unknown", "action", "days", "disabled", "scope", "kind"],
)
def test_what_harbor_means_otherwise_is_an_error_that_names_it(changed: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        harbor(**changed)  # type: ignore[arg-type]
    assert f"harbor.json: {message}" in caught.value.message


@pytest.mark.parametrize("content", ["{}", "[]", "nothing", '{"storage": {}}', '{"rules": []}', '{"policies": 3}'])
def test_json_without_rules_is_refused(content: str) -> None:
    with pytest.raises(UsageError, match=r"zot\.json"):
        from_json(content.encode(), "zot.json")
