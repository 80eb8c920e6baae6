"""Tags in a registry that no current client reads: old and unknown types, and what the registry refuses to show."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from registry_tool.oci.digest import Digest
from tests.support.recording_server import RecordingServer, Reply

SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
TYPES: Mapping[str, str] = {
    "schema 1": SCHEMA_1,
    "artifact manifest": ARTIFACT,
    "unknown type": "application/vnd.example.thing.v1+json",
    "no type": "",
    "no manifest": "image/png",
}
STATUSES = ("401 Unauthorized", "403 Forbidden", "412 Precondition Failed", "500 Internal Server Error")
KINDS = (*TYPES, *STATUSES)


def signed_schema_1(**members: object) -> tuple[bytes, str]:
    """(a manifest of docker's schema 1 with a signature, the digest, which is of the part before it)."""
    payload = json.dumps({"schemaVersion": 1, "name": "john/app", "tag": "odd", "fsLayers": [], **members}, indent=3).encode()
    protected = {"formatLength": len(payload) - 2, "formatTail": base64.urlsafe_b64encode(payload[-2:]).decode().rstrip("=")}
    signature = {"header": {}, "signature": "x", "protected": base64.urlsafe_b64encode(json.dumps(protected).encode()).decode().rstrip("=")}
    signed = payload[:-2] + b',\n   "signatures": ' + json.dumps([signature]).encode() + b"\n}"
    return signed, str(Digest.of(payload))


def push_odd(watching: RecordingServer, repository: str, tag: str, kind: str, **members: object) -> str:
    """Put ``tag`` of a ``kind`` (KINDS) there, which the registry then answers for as others do; its digest.

    ``members`` are more members of its document.
    """
    raw, digest = json.dumps({"schemaVersion": 2, "blobs": [], "odd": tag, **members}).encode(), ""
    if kind == "schema 1":
        raw, digest = signed_schema_1(**members)
    if kind == "no manifest":
        raw = b"\x89PNG" + tag.encode() + json.dumps(members).encode()
    digest = digest or str(Digest.of(raw))
    storage = watching.registry.storage
    storage.put(raw)
    target = Digest.of(raw)
    storage.link(repository, "manifest", Digest.parse(digest), target)
    storage.tag(repository, tag, Digest.parse(digest))
    before = watching.instead

    def instead(method: str, path: str) -> Reply | None:
        is_by_tag = path == f"/v2/{repository}/manifests/{tag}" and (storage.tags(repository) or {}).get(tag) == Digest.parse(digest)
        is_by_digest = path == f"/v2/{repository}/manifests/{digest}" and storage.linked(repository, "manifest", Digest.parse(digest))
        if method not in ("HEAD", "GET") or not (is_by_tag or is_by_digest):
            return before(method, path)
        if kind not in TYPES:
            return kind, [], b""
        media_type = [("Content-Type", TYPES[kind])] if TYPES[kind] else []
        return "200 OK", [*media_type, ("Docker-Content-Digest", digest)], raw

    watching.instead = instead
    return digest
