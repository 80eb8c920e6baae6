"""Tags that list what is attached to an image: what they list at the destination stays when they are copied.

These are the referrers tag of the distribution-spec 1.1 (``sha256-HEX``, an index), and cosign's of signatures and attestations
(``sha256-HEX.sig``, ``.att``: an image, whose layers they are). Neither has locks: a writer reads what is there and puts its own
tag in that place, so what became of it is read again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Iterable
from io import BytesIO

from registry_tool.base.errors import Conflict, InvalidManifest, Mismatch, NotFound
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import CONFIGS, MAX_SIZE, Manifest
from registry_tool.targets.registry.referrers import ATTEMPTS
from registry_tool.targets.target import Target

_TAG = re.compile(r"(?:.*:)?(?:sha256-[0-9a-f]{64}|sha512-[0-9a-f]{121,128})(\.sig|\.att)?")


def is_mergeable(tag: str, manifest: Manifest) -> bool:
    """Whether ``manifest``, under this tag or name, is a list of what is attached to an image. cosign's SBOM is one alone."""
    match = _TAG.fullmatch(tag)
    return match is not None and manifest.kind == ("image" if match[1] else "index")


def full_list(destination: Target, tag: str, source: Manifest) -> Digest | None:
    """The digest of what ``tag`` stands for at the destination, where that lists all that ``source`` lists, and more."""
    current = _current(destination, tag)
    has_all = current is not None and current.kind == source.kind and _merged(current, source) is current
    return current.digest if current is not None and has_all else None


def push_merged(destination: Target, tag: str, source: Manifest) -> Descriptor:
    """Have ``tag`` list what it lists at the destination and what ``source`` lists; returns what it stands for.

    Where the destination lists nothing else it is ``source``, byte for byte. Raises Conflict where others write the tag all the time.
    """
    current = _current(destination, tag)
    for _ in range(ATTEMPTS):
        merged = source if current is None or current.kind != source.kind else _merged(current, source)
        if current is not None and merged.digest == current.digest:
            return current.descriptor
        if merged is not source and merged.config is not None and current is not None:
            merged = _with_config(destination, merged, current)
        pushed = destination.push_manifest(merged, tag)
        # Another process may have put its own list there, from one that lacked ours.
        current = _current(destination, tag)
        if current is None or current.digest == pushed.digest:
            return pushed
    raise Conflict(f"the tag {tag} was changed by others {ATTEMPTS} times meanwhile", hint="Run it again.")


def _current(destination: Target, tag: str) -> Manifest | None:
    """What a tag stands for at the destination, if that is there and whole."""
    try:
        return destination.manifest(tag)
    except (NotFound, InvalidManifest, Mismatch):
        return None


def _merged(current: Manifest, source: Manifest) -> Manifest:
    """The list of both: one of the two where it has all that the other has."""
    if source.kind == "index":
        return _union(current, source, current.children, source.children, lambda child: child.digest, manifests.index)
    # Signatures of the same payload differ in their annotations alone.
    return _union(current, source, current.layers, source.layers, _signature, lambda layers: _image(current, layers))


def _union(
    current: Manifest,
    source: Manifest,
    listed: Iterable[Descriptor],
    added: Iterable[Descriptor],
    key: Callable[[Descriptor], Hashable],
    make: Callable[[list[Descriptor]], Manifest],
) -> Manifest:
    ours = {key(entry): entry for entry in added}
    theirs = {key(entry): entry for entry in listed}
    if theirs.keys() <= ours.keys():
        return source
    if ours.keys() <= theirs.keys():
        return current
    return make([*({**theirs, **ours}).values()])


def _signature(layer: Descriptor) -> Hashable:
    return layer.digest, frozenset(layer.annotations.items())


def _image(current: Manifest, layers: list[Descriptor]) -> Manifest:
    if current.config is None:
        raise InvalidManifest(f"{current.digest} has no config")
    return manifests.image(
        current.config,
        layers,
        media_type=current.descriptor.media_type,
        subject=current.subject,
        artifact_type=current.artifact_type,
        annotations=current.annotations,
    )


def _with_config(destination: Target, merged: Manifest, current: Manifest) -> Manifest:
    """``merged`` with a config that has its layers, as that of cosign has them; any other config stays."""
    config = current.config
    if config is None or config.media_type not in CONFIGS or config.size > MAX_SIZE:
        return merged
    with destination.fetch(config) as stream:
        raw = b"".join(iter(lambda: stream.read(1 << 20), b""))
    try:
        document = json.loads(raw)
        if not isinstance(document, dict) or not isinstance(document.get("rootfs"), dict):
            return merged
    except (ValueError, RecursionError):
        return merged
    # A history entry for each layer is not required, one for no layer is wrong.
    document.pop("history", None)
    document["rootfs"] = {**document["rootfs"], "diff_ids": [str(layer.digest) for layer in merged.layers]}
    made = json.dumps(document, separators=(",", ":")).encode()
    descriptor = Descriptor(media_type=config.media_type, digest=Digest.of(made), size=len(made))
    if not destination.exists(descriptor):
        destination.push(descriptor, BytesIO(made))
    return manifests.image(
        descriptor,
        merged.layers,
        media_type=merged.descriptor.media_type,
        subject=merged.subject,
        artifact_type=merged.artifact_type,
        annotations=merged.annotations,
    )
