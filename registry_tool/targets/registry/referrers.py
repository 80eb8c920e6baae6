"""What refers to an image: signatures, attestations, whatever has it as its subject.

By the registry's own list, or by the tag scheme where it has none (OCI distribution specification 1.1, "Listing
Referrers", "Referrers Tag Schema").
"""

from __future__ import annotations

from registry_tool.base.errors import NotFound
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import OCI_INDEX
from registry_tool.targets.target import Target
from registry_tool.transport import Transport


def tag_of(subject: Digest) -> str:
    """The tag under which the list of ``subject``'s referrers is kept where the registry keeps none."""
    return f"{subject.algorithm}-{subject.hex}"[:128]


def of(transport: Transport, repository: str, subject: Digest) -> tuple[Descriptor, ...] | None:
    """The registry's own list; None where it keeps none: to a repository or digest it does not know that is an empty one."""
    found: dict[Digest, Descriptor] = {}
    try:
        for answer in transport.pages(f"/v2/{repository}/referrers/{subject}"):
            page = manifests.parse(answer.body, OCI_INDEX)
            found.update((child.digest, child) for child in page.children)
    except NotFound:
        return None
    return tuple(found.values())


def by_tag(target: Target, subject: Digest) -> tuple[Descriptor, ...]:
    """The list that is kept under a tag; an image that has this tag by chance is none."""
    try:
        return target.manifest(tag_of(subject)).children
    except NotFound:
        return ()


def add_by_tag(target: Target, subject: Digest, entry: Descriptor) -> None:
    """Put ``entry`` into ``subject``'s list. Two who do so at once may lose one: the scheme knows no better."""
    others = [other for other in by_tag(target, subject) if other.digest != entry.digest]
    _keep(target, subject, (*others, entry))


def remove_by_tag(target: Target, subject: Digest, gone: Digest) -> None:
    """Take ``gone`` out of ``subject``'s list, if it is in it. An empty list stays: deleting it by its digest may take other tags along."""
    listed = by_tag(target, subject)
    rest = tuple(entry for entry in listed if entry.digest != gone)
    if len(rest) < len(listed):
        _keep(target, subject, rest)


def _keep(target: Target, subject: Digest, entries: tuple[Descriptor, ...]) -> None:
    target.push_manifest(manifests.index(entries), tag_of(subject))
