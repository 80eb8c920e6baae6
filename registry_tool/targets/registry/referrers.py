"""Referrers (signatures, attestations), by the registry's list or the tag scheme (distribution-spec 1.1, "Listing Referrers")."""

from __future__ import annotations

from urllib.parse import quote

from registry_tool.base.errors import Conflict, InvalidManifest, NotFound
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import OCI_INDEX
from registry_tool.targets.target import Target
from registry_tool.transport import Transport

ATTEMPTS = 5
"""Times that a list is written where another process writes it, too."""
ATTACHED = ("sig", "att", "sbom")
"""Ends of the tags under which cosign keeps what belongs to an image: ``sha256-HEX.sig``."""


def attached_tags(subject: Digest) -> tuple[str, ...]:
    """Cosign's tags of an image. Since version 3 it uses referrers instead."""
    return tuple(f"{subject.algorithm}-{subject.hex}.{end}" for end in ATTACHED)


def tag_of(subject: Digest) -> str:
    """The tag of the list of ``subject``'s referrers, where the registry keeps none itself."""
    return f"{subject.algorithm}-{subject.hex}"[:128]


def from_registry(transport: Transport, repository: str, subject: Digest) -> tuple[Descriptor, ...] | None:
    """The registry's own list, empty for a repository or digest that it does not know; None where it answers with no list.

    Raises what the request raises: NotFound where there is no such list.
    """
    referrers: dict[Digest, Descriptor] = {}
    try:
        for response in transport.pages(f"/v2/{repository}/referrers/{quote(str(subject), safe=':')}"):
            media_type = manifests.media_type_of(response.body, response.headers.get("content-type", ""))
            # Some registries answer with the subject itself.
            if media_type != OCI_INDEX or Digest.of(response.body, subject.algorithm) == subject:
                return None
            page = manifests.parse(response.body, OCI_INDEX)
            referrers.update((child.digest, child) for child in page.children)
    except InvalidManifest:
        return None
    return tuple(referrers.values())


def by_tag(target: Target, subject: Digest) -> tuple[Descriptor, ...]:
    """The list that is kept under a tag; an image that has this tag by chance is none."""
    try:
        return target.manifest(tag_of(subject)).children
    except NotFound:
        return ()


def add_by_tag(target: Target, subject: Digest, entry: Descriptor) -> None:
    """Add ``entry`` to ``subject``'s list, again where another process wrote one without it meanwhile: the scheme has no locks.

    Raises Conflict where that happens every time.
    """
    for _ in range(ATTEMPTS):
        entries = by_tag(target, subject)
        if entry in entries:
            return
        others = [other for other in entries if other.digest != entry.digest]
        target.push_manifest(manifests.index((*others, entry)), tag_of(subject))
        if any(other.digest == entry.digest for other in by_tag(target, subject)):
            return
    raise Conflict(f"the referrers' list {tag_of(subject)} was changed by others {ATTEMPTS} times meanwhile", hint="Run it again.")


def remove_by_tag(target: Target, subject: Digest, referrer: Digest) -> None:
    """Remove ``referrer`` from ``subject``'s list. An empty list stays: deleting it by its digest may delete other tags, too."""
    entries = by_tag(target, subject)
    others = [entry for entry in entries if entry.digest != referrer]
    if len(others) < len(entries):
        target.push_manifest(manifests.index(others), tag_of(subject))
