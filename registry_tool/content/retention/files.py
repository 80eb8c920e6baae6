"""Reading files of rules: a TOML of our own, zot's configuration, Harbor's retention policies.

Of the latter two only what means the same here is read: registries do not say when something was pushed, for example.
Anything else is an error that names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from registry_tool.base import toml_reader
from registry_tool.base.errors import NotFound, RegistryToolError, UsageError
from registry_tool.base.reader import Document, Source
from registry_tool.content.retention.rules import (
    ALL_TAGS,
    KeepLast,
    KeepPulledWithin,
    KeepTags,
    KeepWithin,
    RepositoryFilter,
    RepositoryRules,
    RetentionRules,
    Rule,
    TagFilter,
    check_count,
    check_rules,
    doublestar,
    parse_regex,
    parse_semver,
    parse_span,
)

MAX_SIZE = 1 << 20
"""Bytes of a file of rules."""

_HINT = "docs/prune.md says how rules are written."
_ENTRY_KEYS = ("repositories", "tags", "keep-last", "by", "keep-tags", "keep-within", "keep-semver", "keep-pulled-within", "untagged")
_GO_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_GO_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ns|us|ms|s|m|h)", re.ASCII)


def load(path: Path) -> RetentionRules:
    """Read the rules in a file: TOML where its name ends so, else the JSON of zot or Harbor.

    Raises NotFound, RegistryToolError where it cannot be read, UsageError.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_SIZE + 1)
    except FileNotFoundError:
        raise NotFound(f"no such file: {path}", hint="See: regctl prune --help") from None
    except OSError as error:
        raise RegistryToolError(f"{path} cannot be read: {error.strerror or error}") from error
    return from_toml(content, str(path)) if path.suffix == ".toml" else from_json(content, str(path))


# --- our own ---


def from_toml(content: bytes, file: str) -> RetentionRules:
    """Read our TOML: an ``[[repository]]`` for each pattern of repositories. Raises UsageError."""
    source = toml_reader.source(file)
    document = Document(toml_reader.read(content, file=file, max_size=MAX_SIZE, source=source), source=source)
    document.only(("repository",))
    entries = []
    for entry in document.objects("repository"):
        entry.only(_ENTRY_KEYS)
        rules = RepositoryRules(
            repositories=RepositoryFilter(patterns=_texts(entry, "repositories") or ("*",)),
            rules=tuple(_toml_rules(entry)),
            untagged=entry.truth("untagged"),
        )
        check_rules(rules, f"{file}: {entry.path}")
        entries.append(rules)
    if not entries:
        raise UsageError(f"{file} has no rules: there is no [[repository]]", hint=_HINT)
    return RetentionRules(entries=tuple(entries))


def _toml_rules(entry: Document) -> Iterator[Rule]:
    tags = _regexes(entry, "tags")
    only = TagFilter(patterns=tags) if tags else ALL_TAGS
    by = entry.text("by", empty=False) or "date"
    if by not in ("date", "version"):
        entry.refuse("by", f"{by[:80]!r} is neither date nor version")
    keep_tags = _regexes(entry, "keep-tags")
    if keep_tags:
        yield KeepTags(only=TagFilter(patterns=keep_tags))
    count = _count(entry, "keep-last")
    if count is not None:
        yield KeepLast(count=count, by=by, only=only)  # type: ignore[arg-type] # checked above
    elif entry.has("by"):
        entry.refuse("by", "it says how keep-last counts, and there is none")
    semver = entry.parsed("keep-semver", lambda text: parse_semver(text, only))
    if semver is not None:
        yield semver
    within = entry.text("keep-within", empty=False)
    if within is not None:
        yield KeepWithin(seconds=entry.required("keep-within", parse_span), span=within, only=only)
    pulled = entry.text("keep-pulled-within", empty=False)
    if pulled is not None:
        yield KeepPulledWithin(seconds=entry.required("keep-pulled-within", parse_span), span=pulled, only=only)


# --- zot and Harbor ---


def from_json(content: bytes, file: str) -> RetentionRules:
    """Read zot's configuration (``storage.retention``, or that alone) or a retention policy of Harbor's. Raises UsageError."""
    source = Source(error=UsageError, hint=_HINT, position=lambda path: f"{file}: ")
    document = Document.read(content, what=file, max_size=MAX_SIZE, source=source)
    if document.has("rules") or document.has("algorithm"):
        return _from_harbor(document)
    storage = document.inner("storage")
    retention = storage.inner("retention") if storage.has("retention") else document.inner("retention")
    if not retention.members:
        retention = document
    if not retention.has("policies"):
        raise UsageError(
            f"{file} has neither zot's retention policies nor Harbor's rules", hint=f"Rules of our own are in a .toml; {_HINT}"
        )
    return _from_zot(retention)


def _from_zot(retention: Document) -> RetentionRules:
    """Zot's: the first policy whose repositories match; of a repository without ``keepTags`` every tag stays."""
    retention.only(("policies", "dryRun", "delay"))
    notes = []
    if retention.has("dryRun"):
        notes.append("dryRun is not read: --apply says whether anything is deleted")
    entries = []
    for policy in retention.objects("policies"):
        policy.only(("repositories", "keepTags", "deleteReferrers", "deleteUntagged"))
        if policy.truth("deleteReferrers"):
            policy.refuse("deleteReferrers", "not supported: referrers go and stay with their subject here")
        if policy.truth("deleteUntagged"):
            policy.refuse(
                "deleteUntagged", "not supported: after a delay it is, and registries do not say since when something is untagged"
            )
        rules = tuple(rule for entry in policy.objects("keepTags") for rule in _zot_rules(entry))
        patterns = _texts(policy, "repositories") or policy.refuse("repositories", "missing")
        entries.append(
            RepositoryRules(
                repositories=RepositoryFilter(patterns=_globs(policy, "repositories", patterns), doublestar=True),
                rules=rules or (KeepTags(),),
            )
        )
    if not any(policy.has("deleteUntagged") for policy in retention.objects("policies")):
        notes.append("manifests without a tag stay: that zot deletes them after a delay is not read")
    return RetentionRules(entries=tuple(entries), notes=tuple(notes))


def _zot_rules(entry: Document) -> Iterator[Rule]:
    pushed = "registries do not say when a tag was pushed; keep-last and keep-within of a .toml go by the image's own date"
    reasons = {
        "pushedWithin": pushed,
        "mostRecentlyPushedCount": pushed,
        "mostRecentlyPulledCount": "a log tells when, and not of everything; pulledWithin is supported",
    }
    entry.only(("patterns", "pulledWithin"), reasons=reasons)
    only = TagFilter(patterns=_go_regexes(entry, "patterns")) if entry.has("patterns") else ALL_TAGS
    span = entry.text("pulledWithin", empty=False)
    if span is None:
        yield KeepTags(only=only)
    else:
        yield KeepPulledWithin(seconds=entry.required("pulledWithin", _go_span), span=span, only=only)


def _from_harbor(policy: Document) -> RetentionRules:
    """Harbor's: for a repository all rules whose scope matches; a tag that one of them retains stays."""
    policy.only(("id", "algorithm", "rules", "trigger", "scope"))
    if policy.has("algorithm") and policy.text("algorithm") != "or":
        policy.refuse("algorithm", "not supported: or is")
    notes = []
    if policy.has("trigger"):
        notes.append("trigger is not read: --apply says when anything is deleted")
    entries = []
    for rule in policy.objects("rules"):
        rule.only(("id", "priority", "disabled", "action", "template", "params", "tag_selectors", "scope_selectors"))
        if rule.truth("disabled"):
            continue
        if rule.has("action") and rule.text("action") != "retain":
            rule.refuse("action", "not supported: retain is")
        entries.append(RepositoryRules(repositories=_harbor_scope(rule), rules=(_harbor_rule(rule),)))
    if not entries:
        policy.refuse("rules", "no rule is enabled")
    return RetentionRules(entries=tuple(entries), joined=True, notes=tuple(notes))


def _harbor_rule(rule: Document) -> Rule:
    only = _harbor_tags(rule)
    template = rule.required_text("template")
    if template == "always":
        return KeepTags(only=only)
    if template != "nDaysSinceLastPull":
        known = template in ("latestPushedK", "nDaysSinceLastPush", "latestPulledN", "latestActiveK")
        why = "registries do not say when a tag was pushed, and a log not all pulls" if known else "always and nDaysSinceLastPull are"
        rule.refuse("template", f"{template[:80]!r} is not supported: {why}")
    params = rule.inner("params")
    params.only(("nDaysSinceLastPull",))
    days = params.number("nDaysSinceLastPull", least=1, most=36500) or params.refuse("nDaysSinceLastPull", "missing")
    return KeepPulledWithin(seconds=days * 86400, span=f"{days}d", only=only)


def _harbor_tags(rule: Document) -> TagFilter:
    selectors = rule.objects("tag_selectors")
    if len(selectors) > 1:
        rule.refuse("tag_selectors", "more than one is not supported")
    if not selectors:
        return ALL_TAGS
    selector = selectors[0]
    selector.only(("kind", "decoration", "pattern", "extras"))
    pattern = _harbor_pattern(selector, ("matches", "excludes"))
    # Whether untagged ones are retained, which stay anyway.
    excluded = selector.text("decoration") == "excludes"
    if pattern == "**" and not excluded:
        return ALL_TAGS
    return TagFilter(patterns=(f"^(?:{doublestar(pattern)})$",), excluded=excluded)


def _harbor_scope(rule: Document) -> RepositoryFilter:
    scopes = rule.inner("scope_selectors")
    scopes.only(("repository",))
    selectors = scopes.objects("repository")
    if len(selectors) != 1:
        scopes.refuse("repository", "exactly one selector is supported")
    selectors[0].only(("kind", "decoration", "pattern", "extras"))
    pattern = _harbor_pattern(selectors[0], ("repoMatches", "repoExcludes"))
    # Harbor matches the name without its project, which is the first part of it here.
    return RepositoryFilter(patterns=(f"*/{pattern}",), excluded=selectors[0].text("decoration") == "repoExcludes", doublestar=True)


def _harbor_pattern(selector: Document, decorations: tuple[str, str]) -> str:
    if selector.has("kind") and selector.text("kind") != "doublestar":
        selector.refuse("kind", "not supported: doublestar is")
    if selector.required_text("decoration") not in decorations:
        selector.refuse("decoration", f"not supported: {' and '.join(decorations)} are")
    pattern = selector.required_text("pattern")
    _globs(selector, "pattern", (pattern,))
    return pattern


# --- parts ---


def _texts(document: Document, key: str) -> tuple[str, ...]:
    """One text, or a list of them."""
    if isinstance(document.members.get(key), str):
        text = document.text(key, empty=False)
        return (text,) if text is not None else ()
    return document.texts(key, empty=False)


def _regexes(document: Document, key: str) -> tuple[str, ...]:
    return tuple(_checked_regex(document, key, text) for text in _texts(document, key))


def _go_regexes(document: Document, key: str) -> tuple[str, ...]:
    texts = document.texts(key, empty=False)
    for text in texts:
        odd = next((part for part in (r"\p", r"\P", r"\z", r"\Q", r"\C", "[[:", "[:") if part in text), None)
        if odd is not None:
            document.refuse(key, f"{odd} of Go's regular expressions is not supported")
    return tuple(_checked_regex(document, key, text) for text in texts)


def _checked_regex(document: Document, key: str, text: str) -> str:
    try:
        return parse_regex(text)
    except ValueError as error:
        document.refuse(key, str(error))


def _globs(document: Document, key: str, patterns: tuple[str, ...]) -> tuple[str, ...]:
    try:
        for pattern in patterns:
            doublestar(pattern)
    except ValueError as error:
        document.refuse(key, str(error))
    return patterns


def _count(document: Document, key: str) -> int | None:
    count = document.number(key)
    if count is None:
        return None
    try:
        return check_count(count)
    except ValueError as error:
        document.refuse(key, str(error))


def _go_span(text: str) -> int:
    """Seconds of Go's duration, as zot's configuration has them: ``168h``, ``1h30m``. Raises ValueError."""
    seconds, position = 0.0, 0
    for number, unit in _GO_PART.findall(text):
        seconds += float(number) * _GO_UNITS[unit]
        position += len(number) + len(unit)
    if position != len(text) or seconds < 1:
        raise ValueError(f"{text[:80]!r} is not a time: it looks like 168h")
    return int(seconds)
