"""``prune``: delete the tags that no rule keeps, after showing the plan."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from registry_tool.base.codec import to_json
from registry_tool.base.errors import NotFound, RegistryToolError, Unreachable, UsageError
from registry_tool.cli import completions, options
from registry_tool.cli.output import columns
from registry_tool.cli.session import Session
from registry_tool.cli.views import formatting
from registry_tool.cli.views.deletion import deleted_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta

    from registry_tool.base.progress import Observer
    from registry_tool.content.retention.apply import PrunedStep
    from registry_tool.content.retention.plan import PrunePlan, RepositoryPlan
    from registry_tool.content.retention.planner import PlanContext
    from registry_tool.content.retention.pulls import PullLog
    from registry_tool.content.retention.rules import RetentionRules
    from registry_tool.content.undo import JournalEntry
    from registry_tool.oci.digest import Digest
    from registry_tool.targets.cache import Cache
    from registry_tool.targets.registry import Registry

Text = TypeVar("Text")
Value = TypeVar("Value")

_GLOB = frozenset("*?[")
_NO_HOST = "localhost"


@click.command("prune")
@click.argument("names", nargs=-1, metavar="[NAME|GLOB...]", shell_complete=completions.repositories)
@click.option("--keep-last", metavar="N", type=click.IntRange(min=1), help="Keep the N newest images, or highest versions (--by).")
@click.option("--by", type=click.Choice(["date", "version"]), help="How --keep-last counts.  [default: date]")
@click.option("--keep-tags", metavar="REGEX", multiple=True, help="Keep tags in which REGEX matches; it may be given several times.")
@click.option("--keep-within", metavar="TIME", help="Keep images made in the last TIME: 30d, 2w, 36h.")
@click.option("--keep-semver", metavar="N per PART", help="Keep the N highest versions of each major, minor or patch: '3 per minor'.")
@click.option("--keep-pulled-within", metavar="TIME", help="Keep images pulled in the last TIME, by the log of a registry that up started.")
@click.option("--untagged", is_flag=True, help="Delete manifests without a tag that nothing needs, too, where the registry lists them.")
@click.option(
    "--rules",
    "rules_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Read the rules from FILE: retention.toml, zot's configuration or Harbor's policy.",
)
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Take the plan that --json printed, if the registry has not changed since.",
)
@click.option("--apply", "apply_plan", is_flag=True, help="Delete what the plan says; without it nothing is written.")
@options.yes
@click.option("--allow-empty", is_flag=True, help="Allow the rules to delete the last tag of a repository.")
@options.undo_for
@options.no_undo
@options.quiet("the names that go, one a line")
@options.registry_access
@options.as_json
@click.pass_obj
def prune(
    session: Session,
    names: tuple[str, ...],
    keep_last: int | None,
    by: str | None,
    keep_tags: tuple[str, ...],
    keep_within: str | None,
    keep_semver: str | None,
    keep_pulled_within: str | None,
    untagged: bool,
    rules_file: Path | None,
    plan_file: Path | None,
    apply_plan: bool,
    yes: bool,
    allow_empty: bool,
    undo_for: float,
    no_undo: bool,
    quiet: bool,
) -> int:
    """Plan which tags of the repositories NAME stay by rules and which go, and with --apply delete those, after asking.

    A tag stays if one of the rules keeps it. An image goes with its last tag, unless a kept index or referrer needs it; its
    signatures, attestations and SBOMs go and stay with it. Without --apply nothing is written. What cannot be judged is kept:
    images without a usable date, tags that cannot be read. What is deleted is kept for undo. docs/prune.md describes the rules
    and their files.

    \b
    Examples:
      regctl prune --keep-last 10 john/get-started
      regctl prune --keep-semver '3 per minor' --keep-tags '^latest$' --keep-within 30d 'john/*'
      regctl prune --rules retention.toml --json > plan.json
      regctl prune --plan plan.json --apply
    """
    typed = _TypedRules(
        keep_last=keep_last,
        by=by,
        keep_tags=keep_tags,
        keep_within=keep_within,
        keep_semver=keep_semver,
        keep_pulled_within=keep_pulled_within,
        untagged=untagged,
    )
    kept_for = None if no_undo else undo_for or None
    run = _Pruning(session, apply=apply_plan, yes=yes, allow_empty=allow_empty, kept_for=kept_for, quiet=quiet)
    if plan_file is not None:
        if names or rules_file is not None or typed.is_given:
            raise UsageError("--plan has its repositories and what goes of them", hint="Omit the names and the rules, or --plan.")
        return run.from_file(plan_file)
    if rules_file is not None and typed.is_given:
        raise UsageError("rules are both typed and in a file", hint="Write them all into the file, or type them all.")
    if rules_file is None and not names:
        raise UsageError("no repository is named", hint="Name it, or a glob: regctl prune --keep-last 10 'john/*'")
    return run.by_rules(names, _load(rules_file) if rules_file is not None else typed.rules())


@dataclass(frozen=True, kw_only=True)
class _TypedRules:
    keep_last: int | None
    by: str | None
    keep_tags: tuple[str, ...]
    keep_within: str | None
    keep_semver: str | None
    keep_pulled_within: str | None
    untagged: bool

    @property
    def is_given(self) -> bool:
        values = (self.keep_last, self.by, self.keep_within, self.keep_semver, self.keep_pulled_within)
        return any(value is not None for value in values) or bool(self.keep_tags) or self.untagged

    def rules(self) -> RetentionRules:
        """The rules as they are typed. Raises UsageError."""
        from registry_tool.content.retention import rules as kinds

        rules: list[kinds.Rule] = []
        if self.keep_tags:
            patterns = tuple(_parsed("--keep-tags", kinds.parse_regex, text) for text in self.keep_tags)
            rules.append(kinds.KeepTags(only=kinds.TagFilter(patterns=patterns)))
        if self.keep_last is not None:
            count = _parsed("--keep-last", kinds.check_count, self.keep_last)
            rules.append(kinds.KeepLast(count=count, by="version" if self.by == "version" else "date"))
        elif self.by is not None:
            raise UsageError("--by says how --keep-last counts, and there is none", hint="Add --keep-last N.")
        if self.keep_semver is not None:
            rules.append(_parsed("--keep-semver", kinds.parse_semver, self.keep_semver))
        if self.keep_within is not None:
            seconds = _parsed("--keep-within", kinds.parse_span, self.keep_within)
            rules.append(kinds.KeepWithin(seconds=seconds, span=self.keep_within))
        if self.keep_pulled_within is not None:
            seconds = _parsed("--keep-pulled-within", kinds.parse_span, self.keep_pulled_within)
            rules.append(kinds.KeepPulledWithin(seconds=seconds, span=self.keep_pulled_within))
        if self.untagged and not rules:
            rules.append(kinds.KeepTags())
        entry = kinds.RepositoryRules(rules=tuple(rules), untagged=self.untagged)
        kinds.check_rules(entry, "prune")
        return kinds.RetentionRules(entries=(entry,))


def _parsed(option: str, parse: Callable[[Text], Value], text: Text) -> Value:
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}", hint="See: regctl prune --help") from None


def _load(file: Path) -> RetentionRules:
    from registry_tool.content.retention.files import load

    return load(file)


@dataclass(kw_only=True)
class _Outcome:
    """What was planned, and why something could not be."""

    repositories: list[RepositoryPlan] = field(default_factory=list)
    failures: list[tuple[str, RegistryToolError]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class _Pruning:
    def __init__(self, session: Session, *, apply: bool, yes: bool, allow_empty: bool, kept_for: float | None, quiet: bool) -> None:
        self._session = session
        self._apply = apply
        self._yes = yes
        self._allow_empty = allow_empty
        self._kept_for = kept_for
        self._entries: list[JournalEntry] = []
        self._quiet = quiet

    def by_rules(self, names: tuple[str, ...], rules: RetentionRules) -> int:
        """Plan, and apply the plan if that is wanted."""
        host, patterns = _repositories(self._session, names)
        session = self._session
        with session.open_registry(host) as registry:
            with session.observer(quiet=self._quiet, counting=True) as observer, session.content_cache(observer) as cache:
                outcome = _Outcome(notes=list(rules.notes))
                untagged = _Untagged(session, registry, outcome.notes)
                context = _context(session, registry, needs_pulls=rules.needs_pulls, cache=cache, observer=observer, untagged=untagged)
                for path in _paths(registry, host, patterns):
                    self._plan(registry, path, rules, context, outcome)
            if not outcome.repositories and not outcome.failures:
                raise NotFound(f"no rule is for a repository at {host}", hint="See: regctl catalog")
            return self._finish(registry, _plan_of(host, context, outcome), outcome)

    def from_file(self, file: Path) -> int:
        """Take the plan in ``file``, and apply it if that is wanted."""
        from registry_tool.content.retention.planner import replan_repository

        session = self._session
        planned = _read_plan(file)
        if session.registry not in (None, planned.registry):
            message = f"{file} is a plan for {planned.registry}, not for {session.registry}"
            raise UsageError(message, hint="Omit --registry, or make a new plan.")
        host = options.registry_host(planned.registry)
        with session.open_registry(host) as registry:
            with session.observer(quiet=self._quiet, counting=True) as observer, session.content_cache(observer) as cache:
                context = _context(session, registry, needs_pulls=False, cache=cache, observer=observer)
                outcome = _Outcome()
                for repository in planned.repositories:
                    # Nothing is applied where one of them changed.
                    outcome.repositories.append(replan_repository(registry.repository(repository.path), repository, context))
            return self._finish(registry, _plan_of(host, context, outcome), outcome)

    def _plan(self, registry: Registry, path: str, rules: RetentionRules, context: PlanContext, outcome: _Outcome) -> None:
        from registry_tool.content.retention.planner import plan_repository

        for_this = rules.rules_for(path)
        name = f"{registry.host}/{path}"
        if for_this is None:
            outcome.notes.append(f"no rule is for {name}: all of it stays")
            return
        try:
            outcome.repositories.append(plan_repository(registry.repository(path), name, for_this, context))
        except RegistryToolError as error:
            if error.exit_code != 1:
                raise
            outcome.failures.append((name, error))

    def _finish(self, registry: Registry, plan: PrunePlan, outcome: _Outcome) -> int:
        from registry_tool.cli.views.prune import render_plan

        out = self._session.output
        notes = [*outcome.notes, *registry.notes]
        lines = [*render_plan(plan), *notes]
        done: list[PrunedStep] = []
        if not self._apply or plan.is_empty:
            self._show(plan, lines)
        else:
            applied = self._apply_plan(registry, plan, lines, outcome)
            if applied is None:
                return 1
            done = applied
        if not out.json:
            out.flush()
            for _, failure in outcome.failures:
                out.print_error(failure)
        errors = [{"repository": name, **to_json(failure)} for name, failure in outcome.failures]
        document = {
            **to_json(plan),
            "applied": self._apply,
            "undo": [entry.id for entry in self._entries],
            "done": done,
            "errors": errors,
            "notes": notes,
        }
        return out.finish(document, [failure for _, failure in outcome.failures])

    def _show(self, plan: PrunePlan, lines: list[str]) -> None:
        """Print the plan, and nothing else is done."""
        from registry_tool.cli.views.prune import names

        out = self._session.output
        if out.json:
            return
        out.lines([*names(plan)] if self._quiet else [formatting.fitted(line, out.columns) for line in lines])
        if not (plan.is_empty or self._quiet):
            out.flush()
            out.note("Nothing was deleted: that is the plan. Delete it with --apply.")

    def _apply_plan(self, registry: Registry, plan: PrunePlan, lines: list[str], outcome: _Outcome) -> list[PrunedStep] | None:
        """Show the plan, ask and apply it; None where the answer was no."""
        from registry_tool.content.retention.apply import PrunedStep, apply, check_applicable

        out = self._session.output
        check_applicable(plan, registry.repository, allow_empty=self._allow_empty)
        shown = [formatting.fitted(line, columns(sys.stderr)) for line in lines]
        if self._yes and not (self._quiet or out.json):
            for line in shown:
                out.note(line)
        if not self._session.confirm(shown, yes=self._yes):
            return None
        done = []
        steps = apply(
            plan,
            registry.repository,
            allow_empty=self._allow_empty,
            journal=self._session.undo_journal() if self._kept_for is not None else None,
            kept_for=self._kept_for or 0.0,
            on_entry=self._entries.append,
        )
        for step in steps:
            if step.error is not None:
                outcome.failures.append((step.repository, step.error))
            if step.deleted is not None:
                done.append(PrunedStep.of(step.repository, step.deleted))
                if not out.json:
                    out.lines(deleted_lines(step.deleted, step.repository, quiet=self._quiet))
        self._entries = [entry for entry in self._entries if any(step.repository == entry.repository for step in done)]
        if self._entries and not (self._quiet or out.json):
            out.flush()
            for entry in self._entries:
                out.note(f"Undo with: regctl undo {entry.id} ({entry.repository})")
        return done


def _repositories(session: Session, names: tuple[str, ...]) -> tuple[str, list[str]]:
    """(host, paths and globs of paths); without names, all of the local registry."""
    from registry_tool.oci.reference import has_host

    if not names:
        return session.required_registry_host(), ["*"]
    split = [(name.partition("/")[0], name.partition("/")[2]) if has_host(name) else ("", name) for name in names]
    paths = [_path(name, path) for name, (_, path) in zip(names, split, strict=True)]
    hosts = dict.fromkeys(options.registry_host(host) if host else "" for host, _ in split)
    hosts = dict.fromkeys(host or session.required_registry_host() for host in hosts)
    if len(hosts) > 1:
        raise UsageError(f"{' and '.join(hosts)} are two registries", hint="Plan one after the other.")
    return next(iter(hosts)), paths


def _path(name: str, path: str) -> str:
    from registry_tool.oci.reference import Reference

    if _GLOB.intersection(path):
        if ":" in path or "@" in path:
            raise UsageError(f"{name!r} has a tag or a digest", hint="prune takes repositories; its rules say which tags stay.")
        return path
    reference = Reference.parse(f"{_NO_HOST}/{path}", default_host=_NO_HOST)
    if reference.tag is not None or reference.digest is not None:
        raise UsageError(f"{name} is an image, and a repository is needed", hint="To delete one tag: regctl delete NAME:TAG")
    return reference.path


def _paths(registry: Registry, host: str, patterns: list[str]) -> list[str]:
    """The repositories that are meant. Raises NotFound where a glob matches none."""
    listed: list[str] | None = None
    paths: dict[str, None] = {}
    for pattern in patterns:
        if not _GLOB.intersection(pattern):
            paths[pattern] = None
            continue
        if listed is None:
            listed = sorted(registry.catalog())
        matching = [path for path in listed if fnmatchcase(path, pattern)]
        if not matching:
            raise NotFound(f"no repository at {host} matches {pattern}", hint=f"See: regctl catalog {host}")
        paths.update(dict.fromkeys(matching))
    return list(paths)


def _context(
    session: Session, registry: Registry, *, needs_pulls: bool, cache: Cache, observer: Observer, untagged: _Untagged | None = None
) -> PlanContext:
    from registry_tool.content.retention.planner import PlanContext

    pulls = _pulls(session, registry.host) if needs_pulls else ""
    return PlanContext(pulls=pulls, untagged=untagged or (lambda path: {}), cache=cache, observer=observer)


class _Untagged:
    """Manifests that may have no tag: as the registry lists them, else by the storage of one that runs here."""

    def __init__(self, session: Session, registry: Registry, notes: list[str]) -> None:
        self._session = session
        self._registry = registry
        self._notes = notes

    def __call__(self, path: str) -> Mapping[Digest, timedelta]:
        """Those of the repository ``path``, and how long ago they were pushed."""
        from datetime import datetime, timezone

        now = datetime.now(timezone.utc)
        listed = self._registry.repository(path).untagged()
        if listed is not None:
            return {digest: now - moment for digest, moment in listed.items()}
        if self._stored is None:
            self._notes.append(f"{self._registry.host}/{path}: manifests without a tag are not listed by this registry")
            return {}
        return self._stored.get(path, {})

    @cached_property
    def _stored(self) -> Mapping[str, Mapping[Digest, timedelta]] | None:
        from registry_tool.base.address import is_loopback
        from registry_tool.local.untagged import read_manifests

        if not is_loopback(self._registry.host):
            return None
        try:
            return read_manifests(self._session.engine, self._registry.host)
        except Unreachable:
            return None
        except RegistryToolError as error:
            self._notes.append(f"the storage of {self._registry.host} cannot be listed: {error.message}")
            return None


def _pulls(session: Session, host: str) -> PullLog | str:
    from registry_tool.local.registry.pull_log import read_pulls

    try:
        return read_pulls(session.engine, host)
    except RegistryToolError as error:
        return f"the registry's log cannot be read: {error.message}"


def _plan_of(host: str, context: PlanContext, outcome: _Outcome) -> PrunePlan:
    from registry_tool.content.retention.plan import PrunePlan

    return PrunePlan(registry=host, planned=context.now, repositories=tuple(outcome.repositories))


def _read_plan(file: Path) -> PrunePlan:
    from registry_tool.content.retention.plan import MAX_SIZE, PrunePlan

    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_SIZE + 1)
    except FileNotFoundError:
        raise NotFound(f"no such file: {file}", hint="Make one: regctl prune --json … > FILE") from None
    except OSError as error:
        raise RegistryToolError(f"{file} cannot be read: {error.strerror or error}") from error
    return PrunePlan.read(content, str(file))
