"""Manifest handlers, as in distribution 2.8.2; where that would convert to schema 1, the conversion fails here (MANIFEST_INVALID)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import DOCKER_IMAGE, DOCKER_LIST, INDEXES, MAX_SIZE, OCI_IMAGE, OCI_INDEX
from registry_tool.server.blobs import Blobs
from registry_tool.server.messages import ErrorEntry, HttpError, IncompleteBody, Request, ServerResponse, http_error
from registry_tool.server.storage import Storage

_OCI_NOUNS = {OCI_IMAGE: ("manifest", "manifests"), OCI_INDEX: ("index", "indexes")}
_DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
_UNKNOWN = (ErrorEntry(code="UNKNOWN"), ErrorEntry(code="UNKNOWN", detail={}))

Document = Mapping[str, Any]


class Manifests:
    """``foreign_urls`` accepts manifests whose layers name URLs elsewhere, which distribution refuses by default."""

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
                raise http_error("MANIFEST_UNKNOWN", {"Tag": reference})
        if request.header("If-None-Match") in (str(digest), f'"{digest}"'):
            return ServerResponse(status=304)
        raw, media_type = self._read(repository, digest)
        accepted = {part.partition(";")[0].strip() for part in request.header("Accept").split(",")}
        if media_type in _OCI_NOUNS and media_type not in accepted:
            singular, plural = _OCI_NOUNS[media_type]
            raise http_error("MANIFEST_UNKNOWN", message=f"OCI {singular} found, but accept header does not support OCI {plural}")
        if tag is not None and media_type == DOCKER_LIST and DOCKER_LIST not in accepted:
            digest, raw, media_type = self._for_old_clients(repository, raw)
        if tag is not None and media_type == DOCKER_IMAGE and DOCKER_IMAGE not in accepted:
            raise http_error("MANIFEST_INVALID", {})
        headers = (("Content-Type", media_type), ("Docker-Content-Digest", str(digest)), ("Etag", f'"{digest}"'))
        return ServerResponse(status=200, headers=headers, body=raw)

    def put(self, request: Request, repository: str, reference: str) -> ServerResponse:
        """PUT by tag or by digest."""
        raw = _body(request)
        document = _checked(raw, request.header("Content-Type"))
        digest = Digest.of(raw)
        tag = None if _digest(reference) else reference
        if tag is None and digest != _digest(reference):
            raise http_error("DIGEST_INVALID")
        errors = tuple(self._errors(repository, document))
        if errors:
            raise HttpError(*errors)
        self._storage.put(raw)
        self._storage.link(repository, "manifest", digest, digest)
        if tag is not None:
            self._storage.tag(repository, tag, digest)
        url = f"{request.origin}/v2/{repository}/manifests/{digest}"
        return ServerResponse(status=201, headers=(("Location", url), ("Docker-Content-Digest", str(digest))))

    def delete(self, request: Request, repository: str, reference: str) -> ServerResponse:
        """DELETE of a digest, with all tags that point at it. A tag cannot be deleted alone."""
        if not self._delete:
            raise http_error("UNSUPPORTED")
        digest = _parse_digest(reference)
        if digest is None:
            raise http_error("DIGEST_INVALID")
        if self._stat(repository, digest) is None:
            # Its content is gone, and was not read before: its tags cannot be deleted.
            raise http_error("MANIFEST_UNKNOWN")
        # For a blob that is no manifest distribution answers 202 and deletes nothing.
        self._storage.unlink(repository, "manifest", digest)
        for name, target in (self._storage.tags(repository) or {}).items():
            if target == digest:
                self._storage.untag(repository, name)
        return ServerResponse(status=202)

    def _stat(self, repository: str, digest: Digest) -> Digest | None:
        target = self._storage.linked(repository, "manifest", digest) or self._storage.linked(repository, "layer", digest)
        return target if target is not None and self._blobs.size(target) is not None else None

    def _read(self, repository: str, digest: Digest) -> tuple[bytes, str]:
        target = self._stat(repository, digest)
        content = self._storage.open(target) if target else None
        if content is None:
            raise http_error("MANIFEST_UNKNOWN", {"Name": repository, "Revision": str(digest)})
        with content:
            raw = content.read()
        try:
            return raw, _media_type(json.loads(raw))
        except ValueError as error:
            raise http_error("UNKNOWN", {}) from error

    def _for_old_clients(self, repository: str, raw: bytes) -> tuple[Digest, bytes, str]:
        """The image for linux/amd64 of a list, for clients that do not accept lists."""
        for child in json.loads(raw).get("manifests") or ():
            platform = child.get("platform") or {}
            if (platform.get("os"), platform.get("architecture")) == ("linux", "amd64"):
                digest = Digest.parse(child["digest"])
                return digest, *self._read(repository, digest)
        raise http_error("MANIFEST_UNKNOWN")

    def _errors(self, repository: str, document: Document) -> Iterator[ErrorEntry]:
        """An error for each descriptor whose content is absent, or foreign where that is not allowed. Sizes are not checked."""
        media_type = _media_type(document)
        for descriptor in _descriptors(document, index=media_type in INDEXES):
            text = descriptor.get("digest", "")
            if _is_foreign(descriptor, media_type):
                if self._foreign_urls and descriptor.get("urls"):
                    continue
                yield from _UNKNOWN
            elif self._exists(repository, text, index=media_type in INDEXES):
                continue
            elif ":" not in text:
                yield ErrorEntry(code="DIGEST_INVALID")
            elif _parse_digest(text) is None:
                yield from _UNKNOWN
            yield ErrorEntry(code="MANIFEST_BLOB_UNKNOWN", detail=text)

    def _exists(self, repository: str, text: str, *, index: bool) -> bool:
        digest = _parse_digest(text)
        if digest is None:
            return False
        return (self._stat(repository, digest) if index else self._blobs.stat(repository, digest)) is not None


def _is_foreign(descriptor: Document, media_type: str) -> bool:
    """Whether its content is at its URLs: in docker's manifests by its type, in OCI's where there are some."""
    if media_type == DOCKER_IMAGE:
        return bool(descriptor.get("mediaType") == _DOCKER_FOREIGN)
    return media_type == OCI_IMAGE and bool(descriptor.get("urls"))


def _parse_digest(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except ValueError:
        return None


def _digest(reference: str) -> Digest | None:
    """The digest that ``reference`` is, None for a tag. An invalid digest is to distribution a tag that cannot be stored."""
    if ":" not in reference:
        return None
    digest = _parse_digest(reference)
    if digest is None:
        raise http_error("UNKNOWN", {})
    return digest


def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        for chunk in request.chunks():
            body += chunk
            if len(body) > MAX_SIZE:
                raise http_error("MANIFEST_INVALID", "http: request body too large")
    except IncompleteBody as error:
        raise http_error("UNKNOWN", str(error)) from error
    return bytes(body)


def _media_type(document: object) -> str:
    """The media type of stored content to distribution. Raises ValueError where it is no manifest of schema 2."""
    if not isinstance(document, dict) or document.get("schemaVersion") != 2:
        raise ValueError("not a manifest of schema version 2")
    media_type = document.get("mediaType") or ""
    if not media_type:
        return OCI_IMAGE if document.get("manifests") is None else OCI_INDEX
    if media_type not in (OCI_IMAGE, OCI_INDEX, DOCKER_IMAGE, DOCKER_LIST):
        raise ValueError(f"not a manifest's media type: {media_type!r}")
    return str(media_type)


def _checked(raw: bytes, content_type: str) -> Document:
    """The document, checked against the request's content type. Raises HttpError (MANIFEST_INVALID)."""
    media_type = content_type.partition(";")[0].strip().lower()
    try:
        document = json.loads(raw)
        if not isinstance(document, dict) or isinstance(document.get("schemaVersion"), str):
            raise ValueError("not a manifest")
        document_type = document.get("mediaType") or ""
        if media_type not in (OCI_IMAGE, OCI_INDEX, DOCKER_IMAGE, DOCKER_LIST) or document_type not in (
            (media_type, "") if media_type in _OCI_NOUNS else (media_type,)
        ):
            raise ValueError("not of the given type")
        _check_members(document, index=media_type in INDEXES)
    except (ValueError, RecursionError) as error:
        raise http_error("MANIFEST_INVALID", {}) from error
    if document.get("schemaVersion") != 2:
        raise http_error("UNKNOWN", {})
    return document if document_type else {**document, "mediaType": media_type}


def _check_members(document: Document, *, index: bool) -> None:
    # A document that is an image to one reader and an index to another is refused (CVE-2021-41190).
    if any(document.get(name) is not None for name in (("config", "layers") if index else ("manifests",))):
        raise ValueError("an image and an index in one")
    for name in ("manifests",) if index else ("layers",):
        if not isinstance(document.get(name) or [], list):
            raise ValueError(f"{name} is no list")
    for descriptor in _descriptors(document, index=index):
        if not isinstance(descriptor, dict):
            raise ValueError("a descriptor is no object")
        size = descriptor.get("size", 0)
        if not isinstance(size, int) or not isinstance(descriptor.get("digest", ""), str):
            raise ValueError("a descriptor's size or digest is of the wrong type")


def _descriptors(document: Document, *, index: bool) -> Iterator[Any]:
    if index:
        yield from document.get("manifests") or ()
    else:
        yield document.get("config") or {}
        yield from document.get("layers") or ()
