"""Tags, the catalog, and what deleting does to both."""

from __future__ import annotations

import pytest

from tests.contract.client import NOBODY, Client
from tests.support.content import OCI_IMAGE, make_image, make_index


@pytest.mark.parametrize("query", ["", "?n=1", "?n=1&last=b", "?last=c"])
def test_tags_list_ignores_pagination(client: Client, unique: str, query: str) -> None:
    for tag in ("b", "a", "c"):
        make_image(client.port, unique, tag)

    got = client.ask("GET", f"{unique}/tags/list{query}")

    assert (got.status, got.document["name"], sorted(got.document["tags"])) == (200, unique, ["a", "b", "c"])
    assert "link" not in got.headers


def test_repository_without_tags_is_unknown(client: Client, unique: str) -> None:
    client.blob(unique, b"something")

    got = client.ask("GET", f"{unique}/tags/list")

    assert got.document == {
        "errors": [{"code": "NAME_UNKNOWN", "message": "repository name not known to registry", "detail": {"name": unique}}]
    }
    assert unique in repositories(client, unique)


def test_after_the_last_tag_tags_are_null(client: Client, unique: str) -> None:
    made = make_image(client.port, unique, "only")

    client.ask("DELETE", f"{unique}/manifests/{made.digest}")

    got = client.ask("GET", f"{unique}/tags/list")
    assert (got.status, got.body) == (200, b'{"name":"%s","tags":null}\n' % unique.encode())
    assert unique in repositories(client, unique)


def test_delete_by_tag_is_refused(client: Client, unique: str) -> None:
    made = make_image(client.port, unique, "tag")

    assert client.ask("DELETE", f"{unique}/manifests/tag").error == (400, ["DIGEST_INVALID"])

    assert client.ask("HEAD", f"{unique}/manifests/tag", Accept=OCI_IMAGE).headers["docker-content-digest"] == made.digest


def test_delete_digest_removes_all_its_tags(client: Client, unique: str) -> None:
    made = make_image(client.port, unique, "one")
    for tag in ("two", "three"):
        assert client.ask("PUT", f"{unique}/manifests/{tag}", made.raw, Content_Type=OCI_IMAGE).status == 201
    other = make_image(client.port, unique, "other")

    got = client.ask("DELETE", f"{unique}/manifests/{made.digest}")

    assert (got.status, got.body, got.headers["content-length"]) == (202, b"", "0")
    assert client.ask("GET", f"{unique}/tags/list").document["tags"] == ["other"]
    for reference in ("one", "two", "three", made.digest):
        assert client.ask("GET", f"{unique}/manifests/{reference}", Accept=OCI_IMAGE).error == (404, ["MANIFEST_UNKNOWN"])
    assert client.ask("HEAD", f"{unique}/manifests/{other.digest}", Accept=OCI_IMAGE).status == 200


def test_delete_digest_keeps_blobs_and_indexes(client: Client, unique: str) -> None:
    child = make_image(client.port, unique, "child")
    parent = make_index(client.port, unique, "parent", child)

    client.ask("DELETE", f"{unique}/manifests/{child.digest}")

    assert client.ask("GET", f"{unique}/tags/list").document["tags"] == ["parent"]
    assert client.ask("GET", f"{unique}/manifests/{parent.digest}", Accept=parent.media_type).body == parent.raw
    assert client.ask("GET", f"{unique}/blobs/{client.blob(unique, child.config)}").body == child.config


@pytest.mark.parametrize(
    ("digest", "refusal"),
    [(NOBODY, (404, ["MANIFEST_UNKNOWN"])), ("sha256:00", (400, ["DIGEST_INVALID"])), ("no", (400, ["DIGEST_INVALID"]))],
)
def test_delete_absent_digest(client: Client, unique: str, digest: str, refusal: object) -> None:
    assert client.ask("DELETE", f"{unique}/manifests/{digest}").error == refusal


def test_delete_blob_as_manifest_is_202_without_effect(client: Client, unique: str) -> None:
    made = make_image(client.port, unique, "tag")
    config = f"{unique}/blobs/{client.blob(unique, made.config)}"

    assert client.ask("DELETE", config.replace("/blobs/", "/manifests/")).status == 202

    assert client.ask("GET", config).body == made.config


def test_deleted_manifest_can_be_pushed_again(client: Client, unique: str) -> None:
    made = make_image(client.port, unique, "tag")
    client.ask("DELETE", f"{unique}/manifests/{made.digest}")

    again = client.ask("PUT", f"{unique}/manifests/tag", made.raw, Content_Type=OCI_IMAGE)

    assert again.status == 201
    assert client.ask("GET", f"{unique}/manifests/tag", Accept=OCI_IMAGE).body == made.raw


def test_tombstone_removes_one_tag_of_three(client: Client, unique: str) -> None:
    made = make_image(client.port, unique, "one")
    for tag in ("two", "three"):
        client.ask("PUT", f"{unique}/manifests/{tag}", made.raw, Content_Type=OCI_IMAGE)
    dummy = make_image(client.port, unique, "two", b"".join((b"\x1f\x8b\x08", b"\0" * 7, b"\x03\0", b"\0" * 8)))
    assert sorted(client.ask("GET", f"{unique}/tags/list").document["tags"]) == ["one", "three", "two"]

    client.ask("DELETE", f"{unique}/manifests/{dummy.digest}")

    assert sorted(client.ask("GET", f"{unique}/tags/list").document["tags"]) == ["one", "three"]
    for tag in ("one", "three"):
        assert client.ask("GET", f"{unique}/manifests/{tag}", Accept=OCI_IMAGE).body == made.raw


# --- the catalog ---


def repositories(client: Client, prefix: str, size: int = 1000) -> list[str]:
    """All of the catalog that begins with ``prefix``, page by page."""
    result: list[str] = []
    following = f"_catalog?n={size}"
    while following:
        got = client.ask("GET", following)
        assert got.status == 200
        assert len(got.document["repositories"]) <= size
        result += got.document["repositories"]
        link = got.headers.get("link", "")
        assert not link or (link.startswith("</v2/_catalog?") and link.endswith('>; rel="next"'))
        following = link[len("</v2/") : -len('>; rel="next"')]
    return [name for name in result if name.startswith(prefix)]


ORDER = ["", "/a", "/a/b", "/b", "-a", ".a", "_a"]
"""A repository comes before those below it, and those before its neighbours."""


@pytest.fixture
def several(client: Client, unique: str) -> list[str]:
    for suffix in reversed(ORDER):
        client.blob(f"{unique}{suffix}", b"something")
    return [f"{unique}{suffix}" for suffix in ORDER]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_catalog_pages(client: Client, unique: str, several: list[str], size: int) -> None:
    assert repositories(client, unique, size) == several


def test_catalog_page_starts_after_last(client: Client, unique: str, several: list[str]) -> None:
    got = client.ask("GET", f"_catalog?n=2&last={unique}/a")

    assert got.document == {"repositories": several[2:4]}
    assert got.headers["link"] == f'</v2/_catalog?last={unique}%2Fb&n=2>; rel="next"'


def test_catalog_last_may_be_absent(client: Client, unique: str, several: list[str]) -> None:
    assert client.ask("GET", f"_catalog?n=2&last={unique}/aa").document == {"repositories": several[3:5]}


def test_catalog_n_given_twice_uses_the_first(client: Client, unique: str, several: list[str]) -> None:
    assert client.ask("GET", f"_catalog?n=2&n=3&last={unique}").document == {"repositories": several[1:3]}


def test_catalog_page_after_the_end_is_empty(client: Client) -> None:
    got = client.ask("GET", "_catalog?n=5&last=zzzzzzzzzzzz")

    assert (got.status, got.body, "link" in got.headers) == (200, b'{"repositories":[]}\n', False)


def test_catalog_last_page_has_no_link(client: Client, unique: str) -> None:
    # Beyond all other names: the real one sends a link where any folder follows, and a cancelled upload leaves one that is no repository.
    names = [f"zz-{unique}/{letter}" for letter in "ab"]
    for name in names:
        client.blob(name, b"something")
    remainder = client.ask("GET", f"_catalog?n=1000&last=zz-{unique}").document["repositories"]
    assert remainder[:2] == names

    got = client.ask("GET", f"_catalog?n={len(remainder)}&last=zz-{unique}")

    assert (got.document["repositories"], "link" in got.headers) == (remainder, False)


@pytest.mark.parametrize("size", ["x", "-1", ""])
def test_catalog_invalid_n_is_ignored(client: Client, unique: str, several: list[str], size: str) -> None:
    assert set(several[1:]) <= set(client.ask("GET", f"_catalog?n={size}&last={unique}").document["repositories"])


def test_catalog_n_0_is_empty(client: Client, several: list[str]) -> None:
    assert client.ask("GET", "_catalog?n=0").document == {"repositories": []}


def test_catalog_n_above_1000_is_refused(client: Client) -> None:
    got = client.ask("GET", "_catalog?n=1001")

    assert got.error == (400, ["PAGINATION_NUMBER_INVALID"])
    assert got.document["errors"][0]["detail"] == {"n": 1001}


def test_repository_without_blobs_is_not_in_the_catalog(client: Client, unique: str) -> None:
    make_index(client.port, unique, "empty")

    assert client.ask("GET", f"{unique}/tags/list").document["tags"] == ["empty"]
    assert unique not in repositories(client, unique)
