"""The rules of a check, by stable names, and its report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from registry_tool.base.errors import RegistryToolError
from registry_tool.oci.digest import Digest


class Rule(NamedTuple):
    """A kind of finding: its ``meaning``, and a ``hint`` what to do about it."""

    meaning: str
    hint: str


_PUSH = "Push the image again. Restart the registry first: it may believe that it still has what is gone."
_BUILD = "Build and push the image again: what was pushed does not agree with itself."

RULES = {
    "missing-manifest": Rule("a tag's manifest is not there", "Push the image again, or delete the tag."),
    "missing-child": Rule("an index names what is not there", _PUSH),
    "left-out-child": Rule(
        "an index names platforms that are not there, it seems because it was copied without them",
        "Copy it again with all its platforms, or put an index of those that are there in its place.",
    ),
    "missing-referrer": Rule("a list of referrers names what is not there", "Attach it again: sign the image anew, for example."),
    "missing-config": Rule("an image's config is not there", _PUSH),
    "missing-layer": Rule("a layer is not there", _PUSH),
    "truncated-blob": Rule("a config or layer ends too early", _PUSH),
    "corrupt-blob": Rule("a config or layer has other bytes than its digest says", _PUSH),
    "corrupt-manifest": Rule("a manifest has other bytes than its digest says", _PUSH),
    "invalid-manifest": Rule("a manifest is not what the specification wants", _BUILD),
    "invalid-config": Rule("an image's config is not what the specification wants", _BUILD),
    "wrong-size": Rule("something is whole, and has another size than is said of it", _BUILD),
    "wrong-media-type": Rule("something is of another media type than is said of it", _BUILD),
    "wrong-platform": Rule("an index and an image's config name different platforms", _BUILD),
    "wrong-subject": Rule("what is listed as a referrer refers to something else", "Attach it again: sign the image anew, for example."),
    "wrong-diff-id": Rule("layers unpack to something else than the config says", _BUILD),
    "too-deep": Rule("manifests are too many inside each other, and the rest was not looked at", "Delete it: no engine can use this."),
    "unreadable": Rule("the registry answers with an error", "Look at the registry's log."),
}
"""Every kind of finding, in the order of reports. Names are stable; more may be added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One violation of a rule. ``reference`` is where it shows: a tag (``HOST/PATH:TAG``), the manifest that names what is
    damaged (``HOST/PATH@DIGEST``), or a repository. ``digest`` is of what is damaged, None where that is unknown. ``tags``
    are the affected ones of the repository.
    """

    JSON_MEMBERS: ClassVar = "kind reference digest tags detail hint"
    kind: str
    reference: str
    digest: Digest | None
    tags: tuple[str, ...]
    detail: str

    @property
    def hint(self) -> str:
        """What to do."""
        return RULES[self.kind].hint


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryReport:
    """The findings of one repository, ``HOST/PATH``, and the tags that were checked."""

    name: str
    tags: tuple[str, ...]
    images: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """``images`` are what tags stand for, ``blobs`` the configs and layers that were checked, each once in the registry;
    ``bytes_read`` are those of manifests, configs and layers. ``notes`` are no damage. ``error`` ended the check early.
    """

    JSON_MEMBERS: ClassVar = "ok images blobs bytes_read findings notes error?"
    repositories: tuple[RepositoryReport, ...]
    blobs: int
    bytes_read: int
    notes: tuple[str, ...] = ()
    error: RegistryToolError | None = None

    @property
    def ok(self) -> bool:
        """Whether everything was checked, and is whole."""
        return not self.findings and self.error is None

    @property
    def images(self) -> int:
        """How many images were checked, each once in its repository."""
        return sum(report.images for report in self.repositories)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Those of all repositories, in their order."""
        return tuple(finding for report in self.repositories for finding in report.findings)
