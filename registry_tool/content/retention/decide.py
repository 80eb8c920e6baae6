"""Which tags are kept, and by which rule. Pure: what is read is given to it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import groupby

from registry_tool.content.retention.rules import KeepLast, KeepPulledWithin, KeepSemver, KeepTags, KeepWithin, Rule, TagFilter
from registry_tool.oci import versions
from registry_tool.oci.digest import Digest
from registry_tool.oci.versions import Version

_EARLIEST = datetime(1990, 1, 1, tzinfo=timezone.utc)
"""Earlier dates stand for none: builders write zero, 1970 or 1980 to get the same bytes each time."""
_SKEW = timedelta(minutes=5)
"""By which another machine's clock may be ahead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagFacts:
    """What is known of one tag. ``unread`` is why it is not known what it stands for."""

    name: str
    digest: Digest | None = None
    created: datetime | None = None
    pulled: datetime | None = None
    unread: str | None = None

    def date_problem(self, now: datetime) -> str | None:
        """Why its date does not count; None where it does."""
        if self.created is None:
            return "it has no date"
        if self.created < _EARLIEST:
            return f"its date is {self.created.year:04}, which stands for none"
        return "its date is in the future" if self.created > now + _SKEW else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether a tag is kept, the ``rule`` that keeps it (None: none does), and why."""

    keep: bool
    rule: str | None = None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What decisions are made from beside the tags: ``now``; the tags in which each regular expression matches; the pulls' log.

    ``pulls_since`` is how far back that reaches, None where there is none and ``no_pulls`` says why. ``protected`` is
    tag -> why, as ``by 'v*'``.
    """

    now: datetime
    matches: dict[str, frozenset[str]] = field(default_factory=dict)
    pulls_since: datetime | None = None
    no_pulls: str = "this registry's log cannot be read"
    protected: Mapping[str, str] = field(default_factory=dict)


_Kept = dict[str, str]
"""Tag -> why a rule keeps it."""


def decide(tags: Sequence[TagFacts], rules: Iterable[Rule], evidence: Evidence) -> dict[str, Decision]:
    """Decide for each tag; the first rule that keeps it is named. What cannot be judged is kept."""
    decisions: dict[str, Decision] = {}
    for tag in tags:
        if tag.name in evidence.protected:
            decisions[tag.name] = Decision(keep=True, rule="protected", reason=f"protected {evidence.protected[tag.name]}")
        elif tag.digest is None:
            decisions[tag.name] = Decision(keep=True, reason=f"it could not be read: {tag.unread}")
    for rule in rules:
        kept = _kept(rule, [tag for tag in tags if tag.digest is not None], evidence)
        for name, reason in kept.items():
            decisions.setdefault(name, Decision(keep=True, rule=str(rule), reason=reason))
    for tag in tags:
        decisions.setdefault(tag.name, Decision(keep=False, reason="no rule keeps it"))
    return decisions


def _kept(rule: Rule, tags: list[TagFacts], evidence: Evidence) -> _Kept:
    names = _selected(rule.only, tags, evidence)
    selected = [tag for tag in tags if tag.name in names]
    if isinstance(rule, KeepTags):
        return {tag.name: "its name matches" for tag in selected}
    if isinstance(rule, KeepWithin):
        oldest = _before(evidence.now, rule.seconds)
        return _undated(selected, evidence.now) | {
            tag.name: f"made within {rule.span}"
            for tag in _dated(selected, evidence.now)
            if tag.created is not None and tag.created >= oldest
        }
    if isinstance(rule, KeepPulledWithin):
        return _pulled(rule, selected, evidence)
    if isinstance(rule, KeepSemver):
        return _versions(selected, rule.count, {"major": 1, "minor": 2, "patch": 3}[rule.per], f"of its {rule.per} version")
    if rule.by == "version":
        return _versions(selected, rule.count, 0, "")
    return _undated(selected, evidence.now) | _newest(rule, _dated(selected, evidence.now))


def _selected(only: TagFilter, tags: Collection[TagFacts], evidence: Evidence) -> frozenset[str]:
    return only.matching([tag.name for tag in tags], evidence.matches)


def _undated(tags: Iterable[TagFacts], now: datetime) -> _Kept:
    return {tag.name: problem for tag in tags if (problem := tag.date_problem(now)) is not None}


def _dated(tags: Iterable[TagFacts], now: datetime) -> list[TagFacts]:
    return [tag for tag in tags if tag.date_problem(now) is None]


def _newest(rule: KeepLast, tags: Iterable[TagFacts]) -> _Kept:
    """The newest images: tags of one digest count once, and where several are as old as the last one that is kept, all of them are."""
    created = {tag.digest: tag.created for tag in tags if tag.created is not None}
    dates = sorted(created.values(), reverse=True)
    if not dates:
        return {}
    oldest = dates[min(rule.count, len(dates)) - 1]
    return {tag.name: f"among the newest {rule.count}" for tag in tags if tag.created is not None and tag.created >= oldest}


def _versions(tags: list[TagFacts], count: int, numbers: int, of: str) -> _Kept:
    """The highest ``count`` versions for each of their first ``numbers``, with their variants, and what has the same digest."""
    parsed = {tag.name: version for tag in tags if (version := Version.parse(tag.name)) is not None}
    keys = {name: versions.order(name)[2] for name in parsed}
    kept: _Kept = {}
    by_group = sorted(set(keys.values()), reverse=True)
    for _, group in groupby(by_group, lambda key: key[0][:numbers]):
        highest = set(list(group)[:count])
        what = f"among the highest {count}{f' {of}' if of else ''}"
        kept |= {name: what for name, key in keys.items() if key in highest}
    digests: dict[Digest | None, str] = {}
    for tag in tags:
        if tag.name in kept:
            digests.setdefault(tag.digest, tag.name)
    return kept | {tag.name: f"same digest as {digests[tag.digest]}" for tag in tags if tag.name not in kept and tag.digest in digests}


def _pulled(rule: KeepPulledWithin, tags: Iterable[TagFacts], evidence: Evidence) -> _Kept:
    oldest = _before(evidence.now, rule.seconds)
    if evidence.pulls_since is None:
        return {tag.name: f"when it was pulled is not known: {evidence.no_pulls}" for tag in tags}
    if evidence.pulls_since > oldest:
        begins = f"{evidence.pulls_since.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
        return {tag.name: f"when it was pulled is not known: the registry's log begins {begins}" for tag in tags}
    return {tag.name: f"pulled within {rule.span}" for tag in tags if tag.pulled is not None and tag.pulled >= oldest}


def _before(now: datetime, seconds: int) -> datetime:
    return now - timedelta(seconds=seconds)
