"""Protected tags: each protection is an artifact with a tag of its own in the repository that it protects.

So it holds on every machine, and two who protect or unprotect at once never write to the same tag with different content. What
deletes asks :func:`read_protections` first. One that cannot be read protects every tag, until somebody removes it by its own tag.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from io import BytesIO
from typing import ClassVar

from registry_tool.base.concurrency import map_ordered
from registry_tool.base.errors import InvalidManifest, Mismatch, NotFound, Protected, RegistryError, RegistryToolError, UnknownMediaType
from registry_tool.base.labels import PREFIX
from registry_tool.content.graph import attempt
from registry_tool.oci import manifest as manifests
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import DOCKER_CONFIG, DOCKER_IMAGE, EMPTY, EMPTY_CONTENT, OCI_CONFIG, OCI_IMAGE, Manifest
from registry_tool.oci.reference import is_tag
from registry_tool.targets.target import Target

PROTECTION = "application/vnd.registry-tool.protection.v1+json"
"""The artifact type of a protection, where the registry takes artifacts."""

MAX_PATTERN = 128
"""Characters of a pattern: as of a tag."""

_PATTERN_KEY = f"{PREFIX}.protection.pattern"
_TAG = re.compile(r"protected-[0-9a-f]{12}")
_CHARACTERS = re.compile(r"[A-Za-z0-9_.*?!\[\]-]+", re.ASCII)
_MOST_NAMED = 5
_REFUSED_TYPES = frozenset((400, 403, 404, 405, 406, 415, 422))
"""Statuses with which registries refuse a manifest of a type that they do not take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """One protection, under its own ``tag``: ``pattern`` is a tag or a glob over tags.

    It is None where the artifact cannot be read, for which ``problem`` is the reason: then it protects every tag.
    """

    JSON_MEMBERS: ClassVar = "pattern tag digest problem?"
    tag: str
    pattern: str | None
    digest: Digest | None = None
    problem: str | None = None

    def matches(self, tag: str) -> bool:
        """Whether it protects ``tag``."""
        return self.pattern is None or tag == self.pattern or fnmatchcase(tag, self.pattern)

    @property
    def name(self) -> str:
        """What it is removed by: its pattern, else its tag."""
        return self.pattern or self.tag

    def describe(self) -> str:
        """Why a tag is protected, to be read after its name."""
        return f"by {self.pattern!r}" if self.pattern is not None else f"as {self.tag} cannot be read: {self.problem}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Protections:
    """The protections of a repository."""

    entries: tuple[Protection, ...] = ()

    def of(self, tag: str) -> Protection | None:
        """The protection of ``tag``, one that can be read before others; a protection's own tag is protected by itself."""
        own = next((entry for entry in self.entries if entry.tag == tag), None)
        return own or next((entry for entry in sorted(self.entries, key=_unread_last) if entry.matches(tag)), None)

    def protected(self, tags: Iterable[str]) -> dict[str, Protection]:
        """Those of ``tags`` that are protected, with their protections."""
        pairs = ((tag, self.of(tag)) for tag in tags)
        return {tag: protection for tag, protection in pairs if protection is not None}

    def named(self, name: str) -> tuple[Protection, ...]:
        """Those whose pattern, or whose own tag, is ``name``."""
        return tuple(entry for entry in self.entries if name in (entry.pattern, entry.tag))


def _unread_last(protection: Protection) -> tuple[bool, str]:
    return protection.pattern is None, protection.tag


def is_protection_tag(tag: str) -> bool:
    """Whether ``tag`` has the form of a protection's own tag."""
    return _TAG.fullmatch(tag) is not None


def tag_of(pattern: str) -> str:
    """The tag of the protection of ``pattern``."""
    return f"protected-{hashlib.sha256(pattern.encode()).hexdigest()[:12]}"


def is_pattern(text: str) -> bool:
    """Whether ``text`` is a tag, or a glob over tags."""
    return len(text) <= MAX_PATTERN and (is_tag(text) or _CHARACTERS.fullmatch(text) is not None)


def is_protection(manifest: Manifest) -> bool:
    """Whether a manifest is a protection, if it has a tag of that form."""
    return manifest.artifact_type == PROTECTION or _PATTERN_KEY in manifest.annotations


def protection_of(tag: str, manifest: Manifest | RegistryToolError) -> Protection | None:
    """Read what is under a tag of a protection's form, or the reason why it cannot be read; None where it is something else."""
    if isinstance(manifest, UnknownMediaType):
        return None
    if isinstance(manifest, RegistryToolError):
        return Protection(tag=tag, pattern=None, problem=manifest.message)
    if not is_protection(manifest):
        return None
    pattern = manifest.annotations.get(_PATTERN_KEY)
    if pattern is None or not is_pattern(pattern):
        return Protection(tag=tag, pattern=None, digest=manifest.digest, problem="it has no pattern of tags")
    return Protection(tag=tag, pattern=pattern, digest=manifest.digest)


def read_protections(target: Target, tags: Iterable[str] | None = None) -> Protections:
    """Read the protections of a repository: one request for each, and one for its ``tags`` where these are not given.

    Raises Unreachable, TooManyRequests, CredentialsError, and what listing the tags raises; a repository that is not there has none.
    """
    listed = _tags(target) if tags is None else tags
    names = sorted(filter(is_protection_tag, listed))

    def read(tag: str) -> Manifest | RegistryToolError:
        with target.limiter:
            return attempt(lambda: target.manifest(tag))

    results = dict(zip(names, map_ordered(read, names, threads=target.limiter.helpful_requests), strict=True))
    if any(isinstance(each, NotFound) for each in results.values()):
        # Somebody may have removed it meanwhile; one that is still listed is damaged.
        still_listed = set(_tags(target))
        results = {tag: each for tag, each in results.items() if tag in still_listed or not isinstance(each, NotFound)}
    protections = (protection_of(tag, each) for tag, each in results.items())
    return Protections(entries=tuple(each for each in protections if each is not None))


def _tags(target: Target) -> tuple[str, ...]:
    try:
        with target.limiter:
            return target.tags()
    except NotFound:
        return ()


def add_protection(target: Target, pattern: str) -> tuple[Protection, bool]:
    """Protect the tags that match ``pattern``; return the protection, and whether it is new. Raises what the requests raise.

    Some registries take no artifacts, or nothing of the OCI's: there it is an image without layers.
    """
    tag = tag_of(pattern)
    existing = attempt(lambda: target.manifest(tag))
    if isinstance(existing, Manifest):
        protection = protection_of(tag, existing)
        if protection is not None and protection.pattern == pattern:
            return protection, False
        if protection is None:
            raise RegistryError(f"{tag} is an image: its name is that of the protection of {pattern!r}", hint="Give the image another tag.")
    elif isinstance(existing, UnknownMediaType):
        raise RegistryError(f"{tag} is in use: its name is that of the protection of {pattern!r}", hint="Give it another tag.")
    elif not isinstance(existing, (NotFound, Mismatch, InvalidManifest)):
        raise existing
    if not target.exists(EMPTY):
        target.push(EMPTY, BytesIO(EMPTY_CONTENT))
    refusals: list[RegistryToolError] = []
    for manifest in _candidates(pattern):
        try:
            target.push_manifest(manifest, tag)
        except (NotFound, RegistryError) as error:
            if error.response is None or error.response.status not in _REFUSED_TYPES:
                raise
            refusals.append(error)
        else:
            return Protection(tag=tag, pattern=pattern, digest=manifest.digest), True
    raise refusals[0]


def _candidates(pattern: str) -> tuple[Manifest, ...]:
    """The manifests of a protection, best first. Always the same bytes, so that two who protect at once write the same."""
    annotations = {_PATTERN_KEY: pattern}
    return (
        manifests.image(EMPTY, [EMPTY], artifact_type=PROTECTION, annotations=annotations),
        manifests.image(replace(EMPTY, media_type=OCI_CONFIG), (), media_type=OCI_IMAGE, annotations=annotations),
        manifests.image(replace(EMPTY, media_type=DOCKER_CONFIG), (), media_type=DOCKER_IMAGE, annotations=annotations),
    )


def refusal(repository: str, protected: Mapping[str, Protection], *, outcome: str = "nothing was removed") -> Protected:
    """The error of a removal of protected tags of ``repository`` (``HOST/PATH``); a digest is a name, too."""
    first, *others = list(protected.items())[:_MOST_NAMED]
    reasons = [f"{first[0]} is protected {first[1].describe()}", *(f"{name} {protection.describe()}" for name, protection in others)]
    more = f" and {len(protected) - _MOST_NAMED} more" if len(protected) > _MOST_NAMED else ""
    names = list(dict.fromkeys(protection.name for protection in protected.values()))
    commands = " ".join(f"'{repository}:{name}'" for name in names[:_MOST_NAMED])
    return Protected(
        f"{repository}: {', '.join(reasons)}{more}; {outcome}",
        hint=f"If that should go: regctl unprotect {commands}",
    )
