"""What is mirrored where: rules, as they are read from a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from registry_tool.auth.credentials import Credential
from registry_tool.base.errors import UsageError
from registry_tool.content.copy import CopyOptions
from registry_tool.content.copy.jobs import TagSelection
from registry_tool.content.copy.location import Location
from registry_tool.oci.reference import Reference

MAX_SIZE = 1 << 20
"""Bytes of a file of rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRule:
    """Images of one repository: ``images`` are tags and digests by name, ``tags`` selects others; with neither it is all tags."""

    source: Location
    destination: Location
    images: tuple[str, ...] = ()
    tags: TagSelection = field(default_factory=TagSelection)
    options: CopyOptions = field(default_factory=CopyOptions)

    @property
    def name(self) -> str:
        """The repository that is mirrored."""
        return self.source.store


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAccess:
    """How a registry is reached, as far as the file says."""

    credential: Credential | None = field(default=None, repr=False)
    insecure: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRules:
    """A file's rules. ``notes`` are what of the file has no effect."""

    rules: tuple[SyncRule, ...]
    access: Mapping[str, HostAccess] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def uses(self, host: str) -> bool:
        """Whether something is mirrored from or to a registry."""
        places = (place for rule in self.rules for place in (rule.source, rule.destination))
        return any(place.reference is not None and place.reference.host == host for place in places)

    def check(self, file: str) -> None:
        """Raise UsageError where there is no rule, or where two repositories would be mirrored to one."""
        if not self.rules:
            raise UsageError(f"{file} has no images to mirror", hint="See: regctl sync --help")
        sources: dict[str, str] = {}
        for rule in self.rules:
            target = rule.destination.store
            if rule.destination.kind == "registry" and sources.setdefault(target, rule.name) != rule.name:
                raise UsageError(
                    f"{file}: {sources[target]} and {rule.name} would both be mirrored to {target}",
                    hint="Give them different destinations, or their whole names there: --scoped",
                )


def destination_of(source: Location, destination: Location, *, scoped: bool) -> Location:
    """Where a repository goes: below a registry's prefix by the last part of its name, or ``scoped`` by all of it and its host."""
    if not destination.is_prefix or destination.reference is None:
        return destination
    if not scoped or source.reference is None:
        return destination.below(source.reference.path if source.reference is not None else source.store.rpartition("/")[2])
    host = source.reference.host.replace(":", "-")
    path = "/".join(part for part in (destination.name, host, source.reference.path) if part)
    return Location(kind="registry", reference=Reference.parse(f"{destination.reference.host}/{path}", default_host=""))
