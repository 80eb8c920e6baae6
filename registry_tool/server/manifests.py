"""Manifests, as distribution 2.8.2 takes and gives them (registry/handlers/manifests.go, manifest/*).

One thing is left out: schema 1. Where distribution would convert an image for a client that accepts nothing newer and
sign the result, the answer here is the one it gives when it cannot: MANIFEST_INVALID.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import DOCKER_IMAGE, DOCKER_LIST, INDEXES, MAX_SIZE, OCI_IMAGE, OCI_INDEX
from registry_tool.server.blobs import Blobs
from registry_tool.server.messages import BrokenBody, Fault, HttpError, Request, ServerResponse, refusal
from registry_tool.server.storage import Storage

_OCI_WORDS = {OCI_IMAGE: ("manifest", "manifests"), OCI_INDEX: ("index", "indexes")}
_DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
_UNKNOWN = (Fault(code="UNKNOWN"), Fault(code="UNKNOWN", detail={}))

Document = Mapping[str, Any]


class Manifests:
    """``foreign_urls``: take manifests whose layers name URLs elsewhere, which distribution refuses as it is delivered."""

    def __init__(self, storage: Storage, blobs: Blobs, *, delete: bool, foreign_urls: bool) -> None:
        self._storage = storage
        self._blobs = blobs
        self._delete = delete
        self._foreign_urls = foreign_urls

    def get(self, request: Request, repository: str, reference: str) -> ServerResponse:
        """GET and HEAD."""
        digest = _digest(reference)
        tag = None if digest else reference
        if digest is None:
            digest = (self._storage.tags(repository) or {}).get(reference)
            if digest is None:
                raise refusal("MANIFEST_UNKNOWN", {"Tag": reference})
        if request.header("If-None-Match") in (str(digest), f'"{digest}"'):
            return ServerResponse(status=304)
        raw, media_type = self._read(repository, digest)
        accepted = {part.partition(";")[0].strip() for part in request.header("Accept").split(",")}
        if media_type in _OCI_WORDS and media_type not in accepted:
            one, many = _OCI_WORDS[media_type]
            raise refusal("MANIFEST_UNKNOWN", message=f"OCI {one} found, but accept header does not support OCI {many}")
        if tag is not None and media_type == DOCKER_LIST and DOCKER_LIST not in accepted:
            digest, raw, media_type = self._for_old_clients(repository, raw)
        if tag is not None and media_type == DOCKER_IMAGE and DOCKER_IMAGE not in accepted:
            raise refusal("MANIFEST_INVALID", {})
        headers = (("Content-Type", media_type), ("Docker-Content-Digest", str(digest)), ("Etag", f'"{digest}"'))
        return ServerResponse(status=200, headers=headers, body=raw)

    def put(self, request: Request, repository: str, reference: str) -> ServerResponse:
        """PUT: by tag or by digest."""
        raw = _body(request)
        document = _checked(raw, request.header("Content-Type"))
        digest = Digest.of(raw)
        tag = None if _digest(reference) else reference
        if tag is None and digest != _digest(reference):
            raise refusal("DIGEST_INVALID")
        faults = tuple(self._faults(repository, document))
        if faults:
            raise HttpError(*faults)
        self._storage.put(raw)
        self._storage.link(repository, "manifest", digest, digest)
        if tag is not None:
            self._storage.tag(repository, tag, digest)
        url = f"{request.origin}/v2/{repository}/manifests/{digest}"
        return ServerResponse(status=201, headers=(("Location", url), ("Docker-Content-Digest", str(digest))))

    def delete(self, request: Request, repository: str, reference: str) -> ServerResponse:
        """DELETE: of a digest, with all tags that are at it. A tag cannot be deleted alone."""
        if not self._delete:
            raise refusal("UNSUPPORTED")
        digest = _parsed(reference)
        if digest is None:
            raise refusal("DIGEST_INVALID")
        if self._stat(repository, digest) is None:
            # Its content is gone, and nobody read it while it was there: its tags cannot be deleted.
            raise refusal("MANIFEST_UNKNOWN")
        # Asked to delete a blob that is no manifest, distribution says that it did, and did nothing.
        self._storage.unlink(repository, "manifest", digest)
        for name, target in (self._storage.tags(repository) or {}).items():
            if target == digest:
                self._storage.untag(repository, name)
        return ServerResponse(status=202)

    def _linked(self, repository: str, digest: Digest) -> Digest | None:
        return self._storage.linked(repository, "manifest", digest) or self._storage.linked(repository, "layer", digest)

    def _stat(self, repository: str, digest: Digest) -> Digest | None:
        target = self._linked(repository, digest)
        return target if target is not None and self._blobs.size(target) is not None else None

    def _read(self, repository: str, digest: Digest) -> tuple[bytes, str]:
        target = self._stat(repository, digest)
        content = self._storage.open(target) if target else None
        if content is None:
            raise refusal("MANIFEST_UNKNOWN", {"Name": repository, "Revision": str(digest)})
        with content:
            raw = content.read()
        try:
            return raw, _media_type(json.loads(raw))
        except ValueError as error:
            raise refusal("UNKNOWN", {}) from error

    def _for_old_clients(self, repository: str, raw: bytes) -> tuple[Digest, bytes, str]:
        """The image for linux/amd64 of a list, for those who do not know lists."""
        for child in json.loads(raw).get("manifests") or ():
            platform = child.get("platform") or {}
            if (platform.get("os"), platform.get("architecture")) == ("linux", "amd64"):
                digest = Digest.parse(child["digest"])
                return digest, *self._read(repository, digest)
        raise refusal("MANIFEST_UNKNOWN")

    def _faults(self, repository: str, document: Document) -> Iterator[Fault]:
        """What of the things it names is not there, or is elsewhere and may not be. Sizes are believed."""
        media_type = _media_type(document)
        for descriptor in _named(document, index=media_type in INDEXES):
            said = descriptor.get("digest", "")
            if _elsewhere(descriptor, media_type):
                if self._foreign_urls and descriptor.get("urls"):
                    continue
                yield from _UNKNOWN
            elif self._is_there(repository, said, index=media_type in INDEXES):
                continue
            elif ":" not in said:
                yield Fault(code="DIGEST_INVALID")
            elif _parsed(said) is None:
                yield from _UNKNOWN
            yield Fault(code="MANIFEST_BLOB_UNKNOWN", detail=said)

    def _is_there(self, repository: str, said: str, *, index: bool) -> bool:
        digest = _parsed(said)
        if digest is None:
            return False
        return (self._stat(repository, digest) if index else self._blobs.stat(repository, digest)) is not None


def _elsewhere(descriptor: Document, media_type: str) -> bool:
    """Whether its content is looked for at its URLs: in docker's manifests by its type, in OCI's wherever there are some."""
    foreign = descriptor.get("mediaType") == _DOCKER_FOREIGN
    return foreign if media_type == DOCKER_IMAGE else media_type == OCI_IMAGE and bool(descriptor.get("urls"))


def _parsed(digest: str) -> Digest | None:
    try:
        return Digest.parse(digest)
    except ValueError:
        return None


def _digest(reference: str) -> Digest | None:
    """None where it is a tag. What looks like a digest and is none, distribution takes for a tag that cannot be stored."""
    if ":" not in reference:
        return None
    digest = _parsed(reference)
    if digest is None:
        raise refusal("UNKNOWN", {})
    return digest


def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        for piece in request.pieces():
            body += piece
            if len(body) > MAX_SIZE:
                raise refusal("MANIFEST_INVALID", "http: request body too large")
    except BrokenBody as error:
        raise refusal("UNKNOWN", str(error)) from error
    return bytes(body)


def _media_type(document: object) -> str:
    """What distribution takes stored content for. Raises ValueError where it is no manifest of schema 2."""
    if not isinstance(document, dict) or document.get("schemaVersion") != 2:
        raise ValueError("not a manifest of schema version 2")
    said = document.get("mediaType") or ""
    if not said:
        return OCI_IMAGE if document.get("manifests") is None else OCI_INDEX
    if said not in (OCI_IMAGE, OCI_INDEX, DOCKER_IMAGE, DOCKER_LIST):
        raise ValueError(f"not a manifest's media type: {said!r}")
    return str(said)


def _checked(raw: bytes, content_type: str) -> Document:
    """The document, where it is one of the type that was said. Raises MANIFEST_INVALID."""
    said = content_type.partition(";")[0].strip().lower()
    try:
        document = json.loads(raw)
        if not isinstance(document, dict) or isinstance(document.get("schemaVersion"), str):
            raise ValueError("not a manifest")
        own = document.get("mediaType") or ""
        if said not in (OCI_IMAGE, OCI_INDEX, DOCKER_IMAGE, DOCKER_LIST) or own not in ((said, "") if said in _OCI_WORDS else (said,)):
            raise ValueError("not of the type that was said")
        _check_members(document, index=said in INDEXES)
    except (ValueError, RecursionError) as error:
        raise refusal("MANIFEST_INVALID", {}) from error
    if document.get("schemaVersion") != 2:
        raise refusal("UNKNOWN", {})
    return document if own else {**document, "mediaType": said}


def _check_members(document: Document, *, index: bool) -> None:
    # A document that could be read as an image by one and as an index by another is refused (CVE-2021-41190).
    if any(document.get(name) is not None for name in (("config", "layers") if index else ("manifests",))):
        raise ValueError("an image and an index in one")
    for name in ("manifests",) if index else ("layers",):
        if not isinstance(document.get(name) or [], list):
            raise ValueError(f"{name} is no list")
    for descriptor in _named(document, index=index):
        if not isinstance(descriptor, dict):
            raise ValueError("a descriptor is no object")
        size = descriptor.get("size", 0)
        if not isinstance(size, int) or not isinstance(descriptor.get("digest", ""), str):
            raise ValueError("a descriptor's size or digest is of the wrong type")


def _named(document: Document, *, index: bool) -> Iterator[Any]:
    if index:
        yield from document.get("manifests") or ()
    else:
        yield document.get("config") or {}
        yield from document.get("layers") or ()
