"""What ``docker save`` wrote before version 25, and podman and crane still do: ``manifest.json``, configs and layers, without manifests.

An image gets the OCI manifest that docker 25 would give it: its config's bytes stay, and so does the image's id; its layers
are as they are stored.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from registry_tool.base.compression import HEAD, InvalidCompression, Unpacker, UnsupportedCompression, detect
from registry_tool.base.errors import InvalidArchive, Mismatch
from registry_tool.base.reader import Document, Source
from registry_tool.oci import manifest as manifests
from registry_tool.oci.config import MAX_SIZE, parse_config
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import OCI_CONFIG
from registry_tool.targets.archive.section import Section
from registry_tool.targets.layout.index import LayoutIndex, check_name

_LAYERS = {
    "plain": "application/vnd.oci.image.layer.v1.tar",
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}
_DAMAGED = "The archive is damaged."
_PIECE = 1 << 20
MAX_UNPACKED = 16 << 30
"""Bytes, or :data:`MAX_RATIO` for each compressed one: a layer that unpacks to more is refused."""
MAX_RATIO = 1032
_HEX = re.compile(r"(?:.*[/:])?([0-9a-f]{64})(?:\.json)?")
_SOURCE = Source(error=InvalidArchive, hint="It is damaged, or not of docker save.", position=lambda path: "manifest.json: ")


def read_images(document: bytes, members: Mapping[str, Section]) -> tuple[LayoutIndex, dict[Digest, Section | bytes]]:
    """Return an index of the images that ``manifest.json`` names, and the content of their manifests, by digest.

    Layers that are not compressed are not read: their digests are the diff ids of the config. Raises InvalidArchive, InvalidManifest,
    also where a compressed layer cannot be unpacked here, and Mismatch, also where it does not unpack to its diff id.
    """
    index = LayoutIndex()
    contents: dict[Digest, Section | bytes] = {}
    compressed: dict[str, tuple[Digest, Digest]] = {}
    # The document is an array, and what is read is an object.
    images = Document.read(b'{"images":' + document + b"}", what="manifest.json", max_size=manifests.MAX_SIZE, source=_SOURCE)
    images.only(("images",))
    for image in images.objects("images"):
        config = _config(image.required_text("Config"), members)
        diff_ids, paths = parse_config(config, lenient=True).diff_ids, image.texts("Layers")
        if len(diff_ids) != len(paths):
            image.refuse("Layers", f"there are {len(paths)}, and {len(diff_ids)} in the config")
        layers = []
        for path, diff_id in zip(paths, diff_ids, strict=True):
            member = _member(path, members)
            layer = _layer(path, member, diff_id, compressed)
            layers.append(layer)
            contents[layer.digest] = member
        descriptor = Descriptor(media_type=OCI_CONFIG, digest=Digest.of(config), size=len(config))
        manifest = manifests.image(descriptor, layers)
        contents |= {descriptor.digest: config, manifest.digest: manifest.raw}
        names = image.texts("RepoTags", empty=False)
        for name in names:
            check_name(name)
            index = index.add(manifest.descriptor, name)
        if not names:
            index = index.add(manifest.descriptor, None)
    return index, contents


def _member(path: str, members: Mapping[str, Section]) -> Section:
    member = members.get(path.removeprefix("./"))
    if member is None:
        raise InvalidArchive(f"the archive is not whole: {path[:140]!a} is not in it, which its manifest.json names")
    return member


def _config(path: str, members: Mapping[str, Section]) -> bytes:
    member = _member(path, members)
    if len(member) > MAX_SIZE:
        raise InvalidArchive(f"{path[:140]!a} in the archive is no config: it has {len(member):,} bytes")
    with member.open() as content:
        raw = content.read() or b""
    named = _HEX.fullmatch(path)
    if named and named[1] != Digest.of(raw).hex:
        raise Mismatch(f"{path} in the archive has another digest: {Digest.of(raw)}", hint=_DAMAGED)
    return raw


def _layer(path: str, member: Section, diff_id: Digest, compressed: dict[str, tuple[Digest, Digest]]) -> Descriptor:
    """The descriptor of a layer. Of a compressed one nothing but its diff id says what it should be: it is unpacked to compare that."""
    with member.open() as content:
        compression = detect(content.read(HEAD) or b"")
    if compression == "plain":
        return Descriptor(media_type=_LAYERS[compression], digest=diff_id, size=len(member))
    if path not in compressed:
        compressed[path] = _digests(path, member)
    digest, unpacked = compressed[path]
    if unpacked != diff_id:
        raise Mismatch(f"{path[:140]!a} in the archive unpacks to {unpacked}, not to {diff_id}", hint=_DAMAGED)
    return Descriptor(media_type=_LAYERS[compression], digest=digest, size=len(member))


def _digests(path: str, member: Section) -> tuple[Digest, Digest]:
    """Digests of a compressed layer, as it is and unpacked."""
    stored, unpacked = hashlib.sha256(), hashlib.sha256()
    unpacker = Unpacker()
    size = 0
    with member.open() as content:
        while True:
            piece = content.read(_PIECE) or b""
            stored.update(piece)
            try:
                for part in unpacker.unpack(piece) if piece else unpacker.finish():
                    size += len(part)
                    if size > max(MAX_UNPACKED, MAX_RATIO * len(member)):
                        raise InvalidArchive(f"{path[:140]!a} in the archive unpacks to more than {size:,} bytes")
                    unpacked.update(part)
            except InvalidCompression as error:
                raise Mismatch(f"{path[:140]!a} in the archive cannot be unpacked: {error}", hint=_DAMAGED) from None
            except UnsupportedCompression as error:
                # Nothing else says what the layer should be.
                message = f"{path[:140]!a} in the archive cannot be verified ({unpacker.compression}): {error}"
                raise InvalidArchive(message, hint="Save the image with layers that are not compressed, or with gzip.") from None
            if not piece:
                return Digest("sha256", stored.hexdigest()), Digest("sha256", unpacked.hexdigest())
