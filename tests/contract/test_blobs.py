"""Blobs: what is there, what part of it, and for whom."""

from __future__ import annotations

import hashlib

import pytest

from registry_tool.base import labels
from tests.contract.client import NOBODY, Client, digest_of

CONTENT = b"0123456789" * 100


@pytest.fixture
def blob(client: Client, unique: str) -> str:
    """Where :data:`CONTENT` is, after ``/v2/``."""
    return f"{unique}/a/blobs/{client.blob(f'{unique}/a', CONTENT)}"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_get_blob_headers(client: Client, blob: str, method: str) -> None:
    got = client.ask(method, blob)

    digest = digest_of(CONTENT)
    assert (got.status, got.body) == (200, CONTENT if method == "GET" else b"")
    expected = {
        "accept-ranges": "bytes",
        "cache-control": "max-age=31536000",
        "content-length": "1000",
        "content-type": "application/octet-stream",
        "docker-content-digest": digest,
        "docker-distribution-api-version": "registry/2.0",
        "etag": f'"{digest}"',
        "x-content-type-options": "nosniff",
    }
    assert got.headers == expected | {"date": got.headers["date"]}


def test_absent_blob_is_unknown(client: Client, unique: str) -> None:
    got = client.ask("GET", f"{unique}/blobs/{NOBODY}")

    assert got.document == {"errors": [{"code": "BLOB_UNKNOWN", "message": "blob unknown to registry", "detail": NOBODY}]}
    assert got.status == client.ask("HEAD", f"{unique}/blobs/{NOBODY}").status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-9", 0, 9),
        ("bytes=990-", 990, 999),
        ("bytes=-5", 995, 999),
        ("bytes=999-999", 999, 999),
        ("bytes=0-5000", 0, 999),
        ("bytes=-5000", 0, 999),
    ],
)
def test_range(client: Client, blob: str, method: str, asked: str, first: int, last: int) -> None:
    got = client.ask(method, blob, Range=asked)

    assert (got.status, got.headers["content-range"]) == (206, f"bytes {first}-{last}/1000")
    assert got.headers["content-length"] == str(last - first + 1)
    assert got.body == (CONTENT[first : last + 1] if method == "GET" else b"")


@pytest.mark.parametrize(
    ("asked", "said", "total"),
    [
        ("bytes=1000-1000", b"invalid range: failed to overlap\n", "bytes */1000"),
        ("bytes=5-2", b"invalid range\n", None),
        ("lines=1-2", b"invalid range\n", None),
        ("bytes=x", b"invalid range\n", None),
    ],
)
def test_unsatisfiable_range_has_the_length_of_the_blob(
    client: Client, blob: str, asked: str, said: bytes, total: str | None, request: pytest.FixtureRequest
) -> None:
    got = client.ask_incomplete("GET", blob, Range=asked)

    assert (got.status, got.body, got.headers.get("content-range")) == (416, said, total)
    is_whole = "in a container" in request.node.name and _is_of_go_1_23(request)
    assert (got.headers["content-length"], got.broken) == ((str(len(said)), False) if is_whole else ("1000", True))


def _is_of_go_1_23(request: pytest.FixtureRequest) -> bool:
    """Whether the registry is made with a Go whose errors have their own length: Debian's is from 2.8.3 on."""
    image = request.getfixturevalue("session_engine").image(request.getfixturevalue("registry_image"))
    version = image.labels.get(labels.PACKAGES, "").partition("=")[2]
    return bool(version) and not version.startswith(("2.7.", "2.8.2"))


def test_if_range(client: Client, blob: str) -> None:
    assert client.ask("GET", blob, Range="bytes=0-4", If_Range=f'"{digest_of(CONTENT)}"').status == 206
    assert client.ask("GET", blob, Range="bytes=0-4", If_Range='"another"').body == CONTENT


@pytest.mark.parametrize("known", ['"{digest}"', "*", '"another", "{digest}"'])
def test_if_none_match_is_304(client: Client, blob: str, known: str) -> None:
    got = client.ask("GET", blob, If_None_Match=known.format(digest=digest_of(CONTENT)))

    assert (got.status, got.body, got.headers["etag"]) == (304, b"", f'"{digest_of(CONTENT)}"')


def test_blob_of_another_repository_is_unknown_until_mounted(client: Client, unique: str, blob: str) -> None:
    digest = digest_of(CONTENT)
    other = f"{unique}/b"
    assert client.ask("HEAD", f"{other}/blobs/{digest}").status == 404

    mounted = client.ask("POST", f"{other}/blobs/uploads/?mount={digest}&from={unique}/a")

    assert (mounted.status, client.follow(mounted)) == (201, f"{other}/blobs/{digest}")
    assert (mounted.headers["docker-content-digest"], mounted.headers["content-length"]) == (digest, "0")
    assert client.ask("GET", f"{other}/blobs/{digest}").body == CONTENT


@pytest.mark.parametrize(
    "query",
    [f"mount={NOBODY}&from={{unique}}/a", "mount={digest}", "mount=rubbish&from={unique}/a", "mount={digest}&from=UPPER"],
)
def test_failed_mount_starts_an_upload(client: Client, unique: str, blob: str, query: str) -> None:
    got = client.ask("POST", f"{unique}/b/blobs/uploads/?{query.format(unique=unique, digest=digest_of(CONTENT))}")

    assert got.status == 202
    assert client.follow(got).startswith(f"{unique}/b/blobs/uploads/")


def test_delete_blob_affects_its_repository_only(client: Client, unique: str, blob: str) -> None:
    digest = digest_of(CONTENT)
    client.ask("POST", f"{unique}/b/blobs/uploads/?mount={digest}&from={unique}/a")

    got = client.ask("DELETE", blob)

    assert (got.status, got.body, got.headers["content-length"]) == (202, b"", "0")
    assert client.ask("GET", blob).error == (404, ["BLOB_UNKNOWN"])
    assert client.ask("DELETE", blob).document == {"errors": [{"code": "BLOB_UNKNOWN", "message": "blob unknown to registry"}]}
    assert client.ask("GET", f"{unique}/b/blobs/{digest}").body == CONTENT


def test_blob_by_sha512_is_the_blob_by_sha256(client: Client, unique: str) -> None:
    content = unique.encode()
    other = f"sha512:{hashlib.sha512(content).hexdigest()}"

    got = client.ask("PUT", f"{client.begin(unique)}&digest={other}", content)

    assert (got.status, got.headers["docker-content-digest"]) == (201, digest_of(content))
    for digest in (other, digest_of(content)):
        result = client.ask("GET", f"{unique}/blobs/{digest}")
        assert (result.body, result.headers["docker-content-digest"]) == (content, digest_of(content))
    assert client.ask("DELETE", f"{unique}/blobs/{other}").status == 202
    assert client.ask("HEAD", f"{unique}/blobs/{digest_of(content)}").status == 200


@pytest.mark.parametrize("left", [500, None])
def test_damaged_blob_has_its_old_size_by_head(client: Client, unique: str, left: int | None) -> None:
    content = unique.encode() * 100
    digest = client.blob(unique, content)
    path, size = f"{unique}/blobs/{digest}", str(len(content))
    assert client.ask("HEAD", path).headers["content-length"] == size

    client.shorten(digest, left)

    assert client.ask("HEAD", path).headers["content-length"] == size
    whole = client.ask_incomplete("GET", path)
    assert (whole.status, whole.headers["content-length"], whole.body, whole.broken) == (200, size, content[: left or 0], True)
    last = client.ask_incomplete("GET", path, Range=f"bytes={len(content) - 1}-{len(content) - 1}")
    assert (last.status, last.headers["content-length"], last.body, last.broken) == (206, "1", b"", True)


def test_lost_blob_is_still_reported_by_the_cache(client: Client, unique: str) -> None:
    content = unique.encode()
    digest = client.blob(f"{unique}/a", content)
    client.blob(f"{unique}/b", content)
    client.ask("HEAD", f"{unique}/a/blobs/{digest}")
    client.ask("DELETE", f"{unique}/a/blobs/{digest}")

    client.shorten(digest, None)

    assert client.ask("HEAD", f"{unique}/b/blobs/{digest}").status == 200
    assert client.ask("POST", f"{unique}/c/blobs/uploads/?mount={digest}&from={unique}/b").status == 201
