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


_PUSH = "Push the image again. Restart the registry first: it may still report what is missing."
_BUILD = "Build and push the image again: its parts do not match."

RULES = {
    "missing-manifest": Rule("a tag's manifest is missing", "Push the image again, or delete the tag."),
    "missing-child": Rule("a child of an index is missing", _PUSH),
    "left-out-child": Rule(
        "children of an index are missing, probably because it was copied for some of its platforms only",
        "Copy it again with all its platforms, or replace it by an index of those that are there.",
    ),
    "missing-referrer": Rule("a manifest in a list of referrers is missing", "Attach it again: sign the image again, for example."),
    "missing-config": Rule("an image's config is missing", _PUSH),
    "missing-layer": Rule("a layer is missing", _PUSH),
    "truncated-blob": Rule("a config or layer is truncated", _PUSH),
    "corrupt-blob": Rule("a config or layer does not match its digest", _PUSH),
    "corrupt-manifest": Rule("a manifest does not match its digest", _PUSH),
    "invalid-manifest": Rule("a manifest does not conform to the specification", _BUILD),
    "invalid-config": Rule("an image's config does not conform to the specification", _BUILD),
    "wrong-size": Rule("content is complete, but its descriptor has another size", _BUILD),
    "wrong-media-type": Rule("content has another media type than its descriptor", _BUILD),
    "wrong-platform": Rule("an index and an image's config name different platforms", _BUILD),
    "wrong-subject": Rule("a manifest in a list of referrers has another subject", "Attach it again: sign the image again, for example."),
    "wrong-diff-id": Rule("layers do not match the diff ids of the config", _BUILD),
    "too-deep": Rule("manifests are nested too deep, and the rest was not read", "Delete it: no engine can use this."),
    "unreadable": Rule("the registry answers with an error", "Look at the registry's log. Links that a stop left empty are mended by gc."),
}
"""Every kind of finding, in the order of reports. Names are stable; more may be added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One violation of a rule.

    ``reference`` is where it shows: a tag (``HOST/PATH:TAG``), the manifest that names what is damaged
    (``HOST/PATH@DIGEST``), or a repository. ``digest`` is of what is damaged; ``tags`` are the affected ones.
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


def report_order(finding: Finding) -> tuple[int, str, str, str]:
    """The sort key of findings in a report: by rule, as :data:`RULES` lists them, then by reference, digest and detail."""
    return list(RULES).index(finding.kind), finding.reference, str(finding.digest), finding.detail


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
    """The result: ``notes`` are no damage, ``error`` ended it early, ``blobs`` counts each once, ``bytes_read`` includes manifests."""

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
