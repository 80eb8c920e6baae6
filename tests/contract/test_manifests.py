"""Manifests: what is taken, and what is given to whom."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.client import NOBODY, Client, digest_of
from tests.contract.conftest import FOREIGN_URLS, Setting
from tests.support.content import DOCKER_IMAGE, DOCKER_LIST, EMPTY, OCI_IMAGE, OCI_INDEX, config, layer, make_image, make_index

CONFIG = config([])
LAYER = layer(b"a layer")
NAMES = {OCI_IMAGE: "OCI manifest", OCI_INDEX: "OCI index"}
DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"


def descriptor(content: bytes, media_type: str = "application/octet-stream", **more: object) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content), **more}


def image(media_type: str = OCI_IMAGE, layers: object = (), **more: object) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": media_type, "config": descriptor(CONFIG), "layers": layers, **more}


def index(media_type: str = OCI_INDEX, manifests: object = (), **more: object) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": media_type, "manifests": manifests, **more}


def without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}


def as_bytes(document: object) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()


@pytest.fixture
def repository(client: Client, unique: str) -> str:
    """One that has :data:`CONFIG` and :data:`LAYER`."""
    for content in (CONFIG, LAYER):
        client.blob(unique, content)
    return unique


DOCUMENTS = [
    (OCI_IMAGE, image(layers=[descriptor(LAYER)])),
    (DOCKER_IMAGE, image(DOCKER_IMAGE, layers=[descriptor(LAYER)])),
    (OCI_INDEX, index()),
    (DOCKER_LIST, index(DOCKER_LIST)),
]


@pytest.mark.parametrize(("media_type", "document"), DOCUMENTS)
def test_get_manifest_returns_its_bytes(client: Client, repository: str, media_type: str, document: object) -> None:
    raw = json.dumps(document, indent=3).encode() + b"\n"
    digest = digest_of(raw)

    put = client.ask("PUT", f"{repository}/manifests/tag", raw, Content_Type=media_type)

    assert (put.status, put.body, put.headers["content-length"]) == (201, b"", "0")
    assert (client.follow(put), put.headers["docker-content-digest"]) == (f"{repository}/manifests/{digest}", digest)
    for reference in ("tag", digest):
        got = client.ask("GET", f"{repository}/manifests/{reference}", Accept=media_type)
        head = client.ask("HEAD", f"{repository}/manifests/{reference}", Accept=media_type)
        assert (got.status, got.body, head.status, head.body) == (200, raw, 200, b"")
        expected = {
            "content-length": str(len(raw)),
            "content-type": media_type,
            "docker-content-digest": digest,
            "docker-distribution-api-version": "registry/2.0",
            "etag": f'"{digest}"',
            "x-content-type-options": "nosniff",
        }
        assert without(dict(got.headers), "date") == without(dict(head.headers), "date") == expected


@pytest.mark.parametrize("media_type", NAMES)
@pytest.mark.parametrize("accept", ["", "*/*", DOCKER_IMAGE, "application/json"])
def test_oci_types_must_be_accepted(client: Client, repository: str, media_type: str, accept: str) -> None:
    digest = client.manifest(repository, "tag", image() if media_type == OCI_IMAGE else index(), media_type)

    for reference in ("tag", digest):
        got = client.ask("GET", f"{repository}/manifests/{reference}", Accept=accept)
        assert got.error == (404, ["MANIFEST_UNKNOWN"])
        what = {OCI_IMAGE: "OCI manifests", OCI_INDEX: "OCI indexes"}[media_type]
        assert got.document["errors"][0]["message"] == f"{NAMES[media_type]} found, but accept header does not support {what}"


@pytest.mark.parametrize("accept", [f"text/html;q=1, {OCI_IMAGE};q=0.5", f"{DOCKER_IMAGE},{OCI_IMAGE}"])
def test_accept_order_and_weights_are_ignored(client: Client, repository: str, accept: str) -> None:
    client.manifest(repository, "tag", image(), OCI_IMAGE)

    assert client.ask("GET", f"{repository}/manifests/tag", Accept=accept).headers["content-type"] == OCI_IMAGE


@pytest.mark.parametrize("media_type", [DOCKER_IMAGE, DOCKER_LIST])
def test_docker_types_by_digest_ignore_accept(client: Client, repository: str, media_type: str) -> None:
    digest = client.manifest(repository, "tag", image(media_type) if media_type == DOCKER_IMAGE else index(media_type), media_type)

    assert client.ask("GET", f"{repository}/manifests/{digest}").headers["content-type"] == media_type


def test_list_by_tag_without_accept_is_its_linux_amd64_image(client: Client, unique: str) -> None:
    arm = make_image(client.port, unique, None, platform="linux/arm64", media_type=DOCKER_IMAGE)
    intel = make_image(client.port, unique, None, media_type=DOCKER_IMAGE)
    made = make_index(client.port, unique, "list", arm, intel, media_type=DOCKER_LIST)

    old = client.ask("GET", f"{unique}/manifests/list", Accept=DOCKER_IMAGE)
    new = client.ask("GET", f"{unique}/manifests/list", Accept=f"{DOCKER_IMAGE}, {DOCKER_LIST}")

    assert (old.headers["docker-content-digest"], old.headers["content-type"]) == (intel.digest, DOCKER_IMAGE)
    assert new.headers["docker-content-digest"] == made.digest


def test_schema_1_client_is_refused(client: Client, repository: str) -> None:
    client.manifest(repository, "tag", image(DOCKER_IMAGE, layers=[descriptor(LAYER)]), DOCKER_IMAGE)

    assert client.ask("GET", f"{repository}/manifests/tag").error == (400, ["MANIFEST_INVALID"])


@pytest.mark.parametrize(("known", "status"), [('"{digest}"', 304), ("{digest}", 304), ('W/"{digest}"', 200), ('"other", "{digest}"', 200)])
def test_if_none_match_is_304(client: Client, repository: str, known: str, status: int) -> None:
    digest = client.manifest(repository, "tag", image(), OCI_IMAGE)

    got = client.ask("GET", f"{repository}/manifests/tag", Accept=OCI_IMAGE, If_None_Match=known.format(digest=digest))

    assert (got.status, bool(got.body)) == (status, status == 200)


def test_range_of_a_manifest_is_ignored(client: Client, repository: str) -> None:
    client.manifest(repository, "tag", image(), OCI_IMAGE)

    assert client.ask("GET", f"{repository}/manifests/tag", Accept=OCI_IMAGE, Range="bytes=0-3").status == 200


def test_absent_manifest_is_unknown(client: Client, unique: str) -> None:
    by_tag = client.ask("GET", f"{unique}/manifests/tag")
    by_digest = client.ask("GET", f"{unique}/manifests/{NOBODY}")

    assert (by_tag.error, by_tag.document["errors"][0]["detail"]) == ((404, ["MANIFEST_UNKNOWN"]), {"Tag": "tag"})
    assert (by_digest.error, by_digest.document["errors"][0]["detail"]) == (
        (404, ["MANIFEST_UNKNOWN"]),
        {"Name": unique, "Revision": NOBODY},
    )
    assert client.ask("HEAD", f"{unique}/manifests/tag").status == 404


def test_manifest_is_no_blob_and_blob_no_manifest(client: Client, repository: str) -> None:
    digest = client.manifest(repository, "tag", image(), OCI_IMAGE)

    assert client.ask("GET", f"{repository}/blobs/{digest}").error == (404, ["BLOB_UNKNOWN"])
    assert client.ask("DELETE", f"{repository}/blobs/{digest}").error == (404, ["BLOB_UNKNOWN"])
    assert client.ask("GET", f"{repository}/other/manifests/{digest}", Accept=OCI_IMAGE).error == (404, ["MANIFEST_UNKNOWN"])
    assert client.ask("GET", f"{repository}/manifests/{digest_of(CONFIG)}").error == (500, ["UNKNOWN"])


def test_put_moves_a_tag(client: Client, repository: str) -> None:
    first = client.manifest(repository, "tag", image(), OCI_IMAGE)
    second = client.manifest(repository, "tag", image(annotations={"a": "b"}), OCI_IMAGE)

    assert client.ask("HEAD", f"{repository}/manifests/tag", Accept=OCI_IMAGE).headers["docker-content-digest"] == second
    assert client.ask("HEAD", f"{repository}/manifests/{first}", Accept=OCI_IMAGE).status == 200


def test_put_by_digest_makes_no_tag(client: Client, repository: str) -> None:
    document = image(layers=[descriptor(LAYER)])
    digest = client.manifest(repository, digest_of(as_bytes(document)), document, OCI_IMAGE)

    assert client.ask("HEAD", f"{repository}/manifests/{digest}", Accept=OCI_IMAGE).status == 200
    assert client.ask("GET", f"{repository}/tags/list").error == (404, ["NAME_UNKNOWN"])


def test_put_by_another_digest_is_refused(client: Client, repository: str) -> None:
    got = client.ask("PUT", f"{repository}/manifests/{NOBODY}", as_bytes(image()), Content_Type=OCI_IMAGE)

    assert got.error == (400, ["DIGEST_INVALID"])
    assert client.ask("PUT", f"{repository}/manifests/sha256:0", as_bytes(image()), Content_Type=OCI_IMAGE).error == (500, ["UNKNOWN"])


@pytest.mark.parametrize(
    ("media_type", "document"),
    [
        (f"{OCI_IMAGE}; charset=utf-8", image()),
        (OCI_IMAGE.upper(), image()),
        (OCI_IMAGE, without(image(), "mediaType")),
        (OCI_INDEX, without(index(), "mediaType")),
        (OCI_IMAGE, image(layers=None)),
        (OCI_IMAGE, without(image(), "layers")),
        (OCI_IMAGE, image(manifests=None)),
        (OCI_INDEX, index(fsLayers=[])),
        (OCI_INDEX, without(index(), "manifests")),
        (OCI_IMAGE, image(artifactType="application/vnd.example", subject=descriptor(b"not here", OCI_IMAGE))),
        (OCI_IMAGE, image(config=descriptor(CONFIG, "application/vnd.example.config"))),
        (OCI_IMAGE, image(layers=[descriptor(LAYER) | {"size": 5}])),
        (OCI_IMAGE, image(layers=[descriptor(LAYER) | {"size": -1}])),
        (OCI_INDEX, index(manifests=[descriptor(LAYER, OCI_IMAGE)])),
        (DOCKER_IMAGE, image(DOCKER_IMAGE, layers=[descriptor(LAYER, urls=["https://example.com/layer"])])),
    ],
)
def test_valid_manifests_are_accepted(client: Client, repository: str, media_type: str, document: object) -> None:
    got = client.ask("PUT", f"{repository}/manifests/tag", as_bytes(document), Content_Type=media_type)

    assert got.status == 201


@pytest.mark.parametrize(
    ("media_type", "document"),
    [
        ("", image()),
        ("application/json", image()),
        ("text/plain", image()),
        ("no type;;", image()),
        ("application/vnd.oci.artifact.manifest.v1+json", image("application/vnd.oci.artifact.manifest.v1+json")),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", {"schemaVersion": 1, "name": "a", "fsLayers": []}),
        (DOCKER_IMAGE, image()),
        (OCI_IMAGE, image(DOCKER_IMAGE)),
        (OCI_INDEX, image()),
        (OCI_IMAGE, index()),
        (DOCKER_LIST, index()),
        (DOCKER_IMAGE, without(image(DOCKER_IMAGE), "mediaType")),
        (DOCKER_LIST, without(index(DOCKER_LIST), "mediaType")),
        (OCI_IMAGE, image(manifests=[])),
        (OCI_INDEX, index(layers=[])),
        (OCI_INDEX, index(config={})),
        (OCI_IMAGE, image(layers="none")),
        (OCI_IMAGE, image(layers=[descriptor(LAYER) | {"size": "1"}])),
        (OCI_IMAGE, image(layers=[descriptor(LAYER) | {"size": 1.5}])),
        (OCI_IMAGE, image(schemaVersion="2")),
        (OCI_IMAGE, b"not JSON"),
        (OCI_IMAGE, b""),
        (OCI_IMAGE, as_bytes(image()) + b"more"),
        (DOCKER_IMAGE, b"{}"),
        (DOCKER_IMAGE, b"[]"),
    ],
)
def test_invalid_manifests_are_refused(client: Client, repository: str, media_type: str, document: object) -> None:
    headers = {"Content_Type": media_type} if media_type else {}

    got = client.ask("PUT", f"{repository}/manifests/tag", as_bytes(document), **headers)

    assert got.error == (400, ["MANIFEST_INVALID"])
    assert client.ask("GET", f"{repository}/tags/list").error == (404, ["NAME_UNKNOWN"])


@pytest.mark.parametrize("document", [{}, image(schemaVersion=1)])
def test_other_schema_version_is_a_server_error(client: Client, repository: str, document: object) -> None:
    got = client.ask("PUT", f"{repository}/manifests/tag", as_bytes(document), Content_Type=OCI_IMAGE)

    assert got.error == (500, ["UNKNOWN"])


def test_manifest_above_4_mib_is_refused(client: Client, repository: str) -> None:
    raw = as_bytes(image(annotations={"long": "x" * (4 << 20)}))

    got = client.ask("PUT", f"{repository}/manifests/tag", raw, Content_Type=OCI_IMAGE)

    assert got.error == (400, ["MANIFEST_INVALID"])
    assert got.document["errors"][0]["detail"] == "http: request body too large"
    fits = as_bytes(image(annotations={"long": "x" * ((4 << 20) - 1000)}))
    assert client.ask("PUT", f"{repository}/manifests/tag", fits, Content_Type=OCI_IMAGE).status == 201


@pytest.mark.parametrize(
    ("media_type", "document", "missing"),
    [
        (OCI_IMAGE, image(layers=[descriptor(LAYER), descriptor(b"1"), descriptor(b"2")]), [b"1", b"2"]),
        (DOCKER_IMAGE, image(DOCKER_IMAGE, layers=[descriptor(b"1")]), [b"1"]),
        (OCI_IMAGE, image(config=descriptor(b"1")), [b"1"]),
        (OCI_INDEX, index(manifests=[descriptor(b"1", OCI_IMAGE), descriptor(LAYER, OCI_IMAGE)]), [b"1"]),
        (DOCKER_LIST, index(DOCKER_LIST, manifests=[descriptor(b"1", DOCKER_IMAGE)]), [b"1"]),
        (OCI_IMAGE, image(layers=[descriptor(b"1", OCI_FOREIGN)]), [b"1"]),
    ],
)
def test_all_missing_blobs_are_listed(client: Client, repository: str, media_type: str, document: object, missing: list[bytes]) -> None:
    got = client.ask("PUT", f"{repository}/manifests/tag", as_bytes(document), Content_Type=media_type)

    assert got.status == 400
    assert got.document["errors"] == [
        {"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry", "detail": digest_of(content)} for content in missing
    ]


def test_blob_of_another_repository_is_missing(client: Client, repository: str) -> None:
    got = client.ask("PUT", f"{repository}/other/manifests/tag", as_bytes(image()), Content_Type=OCI_IMAGE)

    assert got.error == (400, ["MANIFEST_BLOB_UNKNOWN"])


@pytest.mark.parametrize(
    ("said", "status", "codes"),
    [
        ("rubbish", 400, ["DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN"]),
        ("", 400, ["DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN"]),
        ("sha256:12", 500, ["UNKNOWN", "UNKNOWN", "MANIFEST_BLOB_UNKNOWN"]),
    ],
)
def test_invalid_digest_in_a_manifest_is_refused(client: Client, repository: str, said: str, status: int, codes: list[str]) -> None:
    document = image(layers=[descriptor(LAYER) | {"digest": said}])

    got = client.ask("PUT", f"{repository}/manifests/tag", as_bytes(document), Content_Type=OCI_IMAGE)

    assert got.error == (status, codes)


FOREIGN = [
    (DOCKER_IMAGE, image(DOCKER_IMAGE, layers=[descriptor(b"elsewhere", DOCKER_FOREIGN, urls=["https://example.com/layer"])])),
    (OCI_IMAGE, image(layers=[descriptor(b"elsewhere", OCI_FOREIGN, urls=["https://example.com/layer"])])),
]


@pytest.mark.parametrize(("media_type", "document"), FOREIGN)
def test_foreign_layers_are_a_server_error_by_default(client: Client, repository: str, media_type: str, document: object) -> None:
    got = client.ask("PUT", f"{repository}/manifests/tag", as_bytes(document), Content_Type=media_type)

    assert got.error == (500, ["UNKNOWN", "UNKNOWN", "MANIFEST_BLOB_UNKNOWN"])


@pytest.mark.parametrize(("media_type", "document"), FOREIGN)
def test_foreign_layers_may_be_allowed(of: Callable[[Setting], Client], unique: str, media_type: str, document: object) -> None:
    client = of(FOREIGN_URLS)
    client.blob(unique, CONFIG)

    assert client.ask("PUT", f"{unique}/manifests/tag", as_bytes(document), Content_Type=media_type).status == 201


def test_artifact_needs_the_empty_config(client: Client, unique: str) -> None:
    document = as_bytes(image(config=EMPTY, artifactType="application/vnd.example"))
    assert client.ask("PUT", f"{unique}/manifests/tag", document, Content_Type=OCI_IMAGE).status == 400

    client.blob(unique, b"{}")

    assert client.ask("PUT", f"{unique}/manifests/tag", document, Content_Type=OCI_IMAGE).status == 201


def test_manifest_without_content_is_unknown(client: Client, repository: str) -> None:
    digest = client.manifest(repository, "tag", image(annotations={"in": repository}), OCI_IMAGE)

    client.shorten(digest, None)

    got = client.ask("GET", f"{repository}/manifests/tag", Accept=OCI_IMAGE)
    assert (got.error, got.document["errors"][0]["detail"]["Revision"]) == ((404, ["MANIFEST_UNKNOWN"]), digest)
    assert client.ask("HEAD", f"{repository}/manifests/tag", Accept=OCI_IMAGE).status == 404
    assert client.ask("GET", f"{repository}/tags/list").document["tags"] == ["tag"]


@pytest.mark.parametrize("read", [True, False])
def test_lost_manifest_is_deletable_only_if_cached(client: Client, repository: str, read: bool) -> None:
    digest = client.manifest(repository, "tag", image(annotations={"in": repository}), OCI_IMAGE)
    if read:
        assert client.ask("HEAD", f"{repository}/manifests/tag", Accept=OCI_IMAGE).status == 200
    client.shorten(digest, None)

    got = client.ask("DELETE", f"{repository}/manifests/{digest}")

    assert (got.status, client.ask("GET", f"{repository}/tags/list").document["tags"]) == ((202, None) if read else (404, ["tag"]))
