from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from registry_tool.base import concurrency
from registry_tool.base.errors import (
    AuthenticationFailed,
    ConnectionLost,
    InvalidManifest,
    Mismatch,
    NotFound,
    RegistryError,
    RegistryUnreachable,
    TooManyRequests,
)
from registry_tool.content.listing import Options, Row, TagTable, list_tags
from registry_tool.content.listing.catalog import catalog
from registry_tool.oci.descriptor import Platform
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import OCI_IMAGE, tombstone
from registry_tool.oci.versions import Range
from registry_tool.targets.cache import ContentCache
from registry_tool.targets.registry import open_registry
from tests.support.content import OCI_INDEX, PushedManifest, layer, make_artifact, make_blob, make_image, make_index, put_manifest
from tests.support.odd_manifests import KINDS, STATUSES, push_odd
from tests.support.recording_server import RecordingServer, recording_server
from tests.support.registry_over_http import one_connection

APP = "john/app"


@pytest.fixture
def registry() -> Iterator[RecordingServer]:
    with recording_server() as watching:
        yield watching


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What each response leads to is known before the next request."""
    for name in ("NEAR_REQUESTS", "FAR_REQUESTS"):
        monkeypatch.setattr(concurrency, name, 1)


def table(registry: RecordingServer, cache: ContentCache | None = None, **options: Any) -> TagTable:
    registry.forget()
    with open_registry(registry.host) as opened:
        return list_tags(opened.repository(APP), Options(**options), cache=cache)


def rows(registry: RecordingServer, **options: Any) -> dict[str, Row]:
    return {row.name: row for row in table(registry, **options).rows}


def names(registry: RecordingServer, **options: Any) -> list[str]:
    return [row.name for row in table(registry, **options).rows]


def also(registry: RecordingServer, made: PushedManifest, *tags: str) -> None:
    with one_connection(registry.port):
        for tag in tags:
            put_manifest(registry.port, made.repository, tag, made.raw, made.media_type)


def push_tombstone(registry: RecordingServer, tag: str) -> str:
    make_blob(registry.port, APP, b"{}")
    return put_manifest(registry.port, APP, tag, tombstone(tag, unique="0" * 32).raw, OCI_IMAGE)


def damage(registry: RecordingServer, made_digest: str, content: bytes | None) -> None:
    blobs = registry.registry.storage.blobs  # type: ignore[attr-defined]
    if content is None:
        del blobs[Digest.parse(made_digest)]
    else:
        blobs[Digest.parse(made_digest)] = content


def day(number: int) -> str:
    return f"2024-01-{number:02}T00:00:00Z"


# What a row says.


def test_row_of_an_image(registry: RecordingServer) -> None:
    made = make_image(registry.port, APP, "v1", layer(b"one"), layer(b"two"), created="2024-05-06T09:08:09.5+02:00")
    [row] = table(registry).rows
    assert row == Row(
        name="v1",
        digest=Digest.parse(made.digest),
        media_type=made.media_type,
        created=datetime(2024, 5, 6, 7, 8, 9, 500_000, tzinfo=timezone.utc),
        size=made.size,
        platforms=(Platform.parse("linux/amd64"),),
        siblings=(),
        type="image",
    )


def test_layer_named_twice_counts_once(registry: RecordingServer) -> None:
    made = make_image(registry.port, APP, "v1", layer(b"same"), layer(b"same"))
    assert rows(registry)["v1"].size == len(made.config) + len(layer(b"same"))


def test_index_has_the_size_of_all_images_and_the_newest_date(registry: RecordingServer) -> None:
    shared = layer(b"shared")
    amd = make_image(registry.port, APP, None, shared, layer(b"amd"), created=day(1))
    arm = make_image(registry.port, APP, None, shared, layer(b"arm"), created=day(2), platform="linux/arm64/v8")
    make_index(registry.port, APP, "multi", amd, arm)
    row = rows(registry)["multi"]
    assert row.size == amd.size + arm.size - len(shared)
    assert row.created == datetime(2024, 1, 2, tzinfo=timezone.utc)
    assert list(map(str, row.platforms or ())) == ["linux/amd64", "linux/arm64/v8"]
    assert row.type == "index"


def test_attestations_count_for_the_size_alone(registry: RecordingServer) -> None:
    image = make_image(registry.port, APP, None, created=day(1))
    attestation = make_image(registry.port, APP, None, layer(b"claim"), created=day(9), platform="unknown/unknown")
    make_index(registry.port, APP, "built", image, attestations=[attestation])
    row = rows(registry)["built"]
    assert (row.type, list(map(str, row.platforms or ()))) == ("image", ["linux/amd64"])
    assert row.created == datetime(2024, 1, 1, tzinfo=timezone.utc)
    assert row.size == image.size + attestation.size


def test_child_without_a_platform_has_its_configs(registry: RecordingServer) -> None:
    image = make_image(registry.port, APP, None, platform="linux/s390x")
    raw = image.descriptor
    del raw["platform"]
    make_index(registry.port, APP, "bare", extra={"manifests": [raw]})
    assert list(map(str, rows(registry)["bare"].platforms or ())) == ["linux/s390x"]


@pytest.mark.parametrize(
    "created", [None, "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "2024-01-01T00:00:00", "yesterday"]
)
def test_invalid_date_is_none(registry: RecordingServer, created: str | None) -> None:
    make_image(registry.port, APP, "v1", created=created)
    row = rows(registry)["v1"]
    assert (row.created, row.error) == (None, None)


def test_rows_of_artifact_and_signature(registry: RecordingServer) -> None:
    image = make_image(registry.port, APP, "v1")
    when = {"org.opencontainers.image.created": day(3)}
    make_artifact(registry.port, APP, image, tag="sbom", annotations=when)
    make_artifact(registry.port, APP, image, tag="sig", artifact_type="application/vnd.dev.cosign.artifact.sig.v1+json", content=b"s")
    result = rows(registry)
    assert (result["sbom"].type, result["sig"].type) == ("artifact", "signature")
    assert result["sbom"].created == datetime(2024, 1, 3, tzinfo=timezone.utc)
    assert (result["sig"].created, result["sig"].platforms) == (None, ())
    assert result["sbom"].size == len(b"{}") + len(b"an artifact")


def test_build_cache_in_an_index_counts_for_the_size(registry: RecordingServer) -> None:
    content = layer(b"cache")
    digest = make_blob(registry.port, APP, content)
    entry = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": len(content)}
    make_index(registry.port, APP, "cache", extra={"manifests": [entry]})
    row = rows(registry)["cache"]
    assert (row.size, row.error) == (len(content), None)


def test_siblings_include_tags_that_are_not_shown(registry: RecordingServer) -> None:
    made = make_image(registry.port, APP, "v1")
    also(registry, made, "latest", "stable")
    make_image(registry.port, APP, "v2")
    assert rows(registry, matches="v1")["v1"].siblings == ("latest", "stable")
    assert rows(registry, limit=1)["latest"].siblings == ("stable", "v1")
    assert rows(registry)["v2"].siblings == ()


# Which rows, and in what order.


def test_rows_are_sorted_as_requested(registry: RecordingServer) -> None:
    for number, (tag, size) in enumerate((("v1.10", 300), ("v1.9", 100), ("edge", 200)), 1):
        make_image(registry.port, APP, tag, layer(bytes(range(size % 256)) * size), created=day(number))
    make_image(registry.port, APP, "undated", created=None)
    assert names(registry) == ["edge", "undated", "v1.10", "v1.9"]
    assert names(registry, sort="created") == ["edge", "v1.9", "v1.10", "undated"]
    assert names(registry, sort="semver") == ["v1.10", "v1.9", "edge", "undated"]
    sizes = [row.size or 0 for row in table(registry, sort="size").rows]
    assert sizes == sorted(sizes, reverse=True)
    assert names(registry, sort="created", limit=2) == ["edge", "v1.9"]


def test_release_is_sorted_before_its_variants(registry: RecordingServer) -> None:
    made = make_image(registry.port, APP, "1.2.3")
    also(registry, made, "1.2.3-alpine", "1.2.4-rc1", "1.2.4", "latest")
    assert names(registry, sort="semver") == ["1.2.4", "1.2.4-rc1", "1.2.3", "1.2.3-alpine", "latest"]


def test_versions_with_build_numbers_and_prefixes_are_sorted_by_value(registry: RecordingServer) -> None:
    wanted = ["1.0.1", "1.0.0", "1.0.0-9", "1.0.0_9", "1.0.0-10", "1.0.0_10", "release-1.10", "release-1.9", "1234567", "edge"]
    also(registry, make_image(registry.port, APP, wanted[0]), *reversed(wanted[1:]))
    assert names(registry, sort="semver") == wanted


def test_globs_and_ranges_select_tags(registry: RecordingServer) -> None:
    also(registry, make_image(registry.port, APP, "v1.2"), "v1.3", "v2.0", "edge")
    assert names(registry, matches="v1*") == ["v1.2", "v1.3"]
    assert names(registry, within=Range.parse(">=1.3")) == ["v1.3", "v2.0"]
    assert names(registry, matches="v*", within=Range.parse("^1"), sort="semver", limit=1) == ["v1.3"]


def test_platform_selects_tags_and_sizes(registry: RecordingServer) -> None:
    amd = make_image(registry.port, APP, "amd", created=day(1))
    arm = make_image(registry.port, APP, "arm", created=day(2), platform="linux/arm64/v8")
    make_index(registry.port, APP, "multi", amd, arm)
    result = rows(registry, platform=Platform.parse("linux/amd64"))
    assert set(result) == {"amd", "multi"}
    assert result["multi"].size == amd.size
    assert result["multi"].created == datetime(2024, 1, 1, tzinfo=timezone.utc)
    assert rows(registry, platform=Platform.parse("linux/arm64"))["multi"].size == arm.size


def windows_entry(made: PushedManifest, version: str) -> dict[str, object]:
    return {**made.descriptor, "platform": {"os": "windows", "architecture": "amd64", "os.version": version, "os.features": ["win32k"]}}


def test_platforms_that_differ_by_the_systems_version_are_told_apart(registry: RecordingServer) -> None:
    old, new = (make_image(registry.port, APP, None, layer(b"x" * size), platform="windows/amd64") for size in (10, 2000))
    entries = [windows_entry(old, "10.0.17763.1"), windows_entry(new, "10.0.20348.7")]
    make_index(registry.port, APP, "multi", extra={"manifests": entries})
    row = rows(registry)["multi"]
    assert list(map(str, row.platforms or ())) == ["windows(10.0.17763.1+win32k)/amd64", "windows(10.0.20348.7+win32k)/amd64"]
    for text, chosen in (("windows/amd64", old), ("windows(10.0.20348)/amd64", new), ("windows(10.0.17763.1+win32k)/amd64", old)):
        assert rows(registry, platform=Platform.parse(text))["multi"].size == chosen.size, "of the image that is chosen alone"
    assert rows(registry, platform=Platform.parse("windows(10.0.1)/amd64")) == {}


def test_image_of_another_platform_is_not_fetched(registry: RecordingServer) -> None:
    amd, arm = (make_image(registry.port, APP, None, platform=f"linux/{name}") for name in ("amd64", "arm64"))
    make_index(registry.port, APP, "multi", amd, arm)
    table(registry, platform=Platform.parse("linux/amd64"))
    assert registry.times("GET", arm.digest) == 0


def test_unknown_repository_is_not_found_and_empty_one_has_no_rows(registry: RecordingServer) -> None:
    with pytest.raises(NotFound):
        table(registry)
    made = make_image(registry.port, APP, "v1")
    registry.registry.storage.untag(APP, "v1")
    assert made.tag
    assert table(registry).rows == ()


# What it costs.


def test_names_alone_are_one_request(registry: RecordingServer) -> None:
    also(registry, make_image(registry.port, APP, "v1"), "v2", "v3")
    push_tombstone(registry, "dead")
    assert [row.digest for row in table(registry, level="names").rows] == [None] * 4
    assert registry.requests == [("GET", f"/v2/{APP}/tags/list")]


def test_digests_are_one_head_a_tag(registry: RecordingServer) -> None:
    made = make_image(registry.port, APP, "v1")
    also(registry, made, "v2", "v3")
    result = rows(registry, level="digests")
    assert result["v1"].digest == Digest.parse(made.digest)
    assert (result["v1"].siblings, result["v1"].size, result["v1"].type) == (("v2", "v3"), None, None)
    assert registry.counts == {"GET": 1, "HEAD": 3}


def test_each_manifest_and_config_is_fetched_once(registry: RecordingServer) -> None:
    shared = layer(b"shared")
    first = make_image(registry.port, APP, "v1", shared)
    also(registry, first, *(f"t{number}" for number in range(40)))
    second = make_image(registry.port, APP, None, layer(b"other"))
    make_index(registry.port, APP, "one", first, second)
    make_index(registry.port, APP, "two", second, first)
    table(registry)
    fetched = [path for method, path in registry.requests if method == "GET"]
    assert len(fetched) == len(set(fetched)) == 1 + 4 + 2
    assert registry.counts["HEAD"] == 43


@pytest.mark.usefixtures("one_at_a_time")
def test_warm_table_is_one_head_a_tag(registry: RecordingServer, tmp_path: Path) -> None:
    with one_connection(registry.port):
        for number in range(20):
            make_image(registry.port, APP, f"v{number}")
    with ContentCache(tmp_path / "cache.sqlite") as cache:
        cold = table(registry, cache=cache)
    assert registry.counts == {"GET": 1 + 40, "HEAD": 4}
    with ContentCache(tmp_path / "cache.sqlite") as cache:
        assert table(registry, cache=cache) == cold
    assert registry.counts == {"GET": 1, "HEAD": 20}


@pytest.mark.usefixtures("one_at_a_time")
def test_tags_that_share_images_from_somewhere_on_are_looked_up_by_head(registry: RecordingServer) -> None:
    large = {"annotations": {"a": "x" * 5000}}
    with one_connection(registry.port):
        for number in range(12):
            make_image(registry.port, APP, f"a{number:02}", layer(str(number).encode()))
        also(registry, make_image(registry.port, APP, "b00", extra=large), *(f"b{number:02}" for number in range(1, 30)))
    assert len(table(registry).rows) == 42
    by_tag = [path for method, path in registry.requests if method == "GET" and "/manifests/" in path and "sha256:" not in path]
    assert len(by_tag) == 8 + 1 + 3, "three that were needless take more bytes than those before had saved"
    assert registry.counts["HEAD"] == 42 - len(by_tag)


@pytest.mark.usefixtures("one_at_a_time")
def test_tag_whose_manifest_is_damaged_is_the_same_row_by_get_as_by_head(registry: RecordingServer) -> None:
    with one_connection(registry.port):
        for number in range(7):
            make_image(registry.port, APP, f"v{number}", layer(str(number).encode()))
        made = make_image(registry.port, APP, "v7")
    damage(registry, made.digest, made.raw + b" ")
    by_get = table(registry).rows[-1]
    by_tag = [method for method, path in registry.requests if path.endswith("/manifests/v7")]
    assert by_tag[:2] == ["GET", "HEAD"]
    by_head = table(registry, matches="v7").rows[0]
    assert (by_get.name, by_get.digest, str(by_get.error)) == (by_head.name, by_head.digest, str(by_head.error))
    assert isinstance(by_get.error, Mismatch)


@pytest.mark.usefixtures("one_at_a_time")
@pytest.mark.parametrize("kind", KINDS)
def test_odd_tag_is_the_same_row_by_get_as_by_head(registry: RecordingServer, kind: str) -> None:
    with one_connection(registry.port):
        for number in range(7):
            make_image(registry.port, APP, f"a{number}", layer(str(number).encode()))
        make_image(registry.port, APP, "z", layer(b"z"))
    push_odd(registry, APP, "odd", kind)
    *good, by_get, last = table(registry).rows
    assert [method for method, path in registry.requests if path.endswith("/manifests/odd")][:2] == ["GET", "HEAD"]
    assert [row.type for row in (*good, last)] == ["image"] * 8
    by_head = table(registry, matches="odd").rows[0]
    assert next(method for method, path in registry.requests if path.endswith("/manifests/odd")) == "HEAD"
    assert (by_get.name, by_get.digest, by_get.media_type, by_get.type, by_get.note, by_get.siblings, str(by_get.error)) == (
        (by_head.name, by_head.digest, by_head.media_type, by_head.type, by_head.note, by_head.siblings, str(by_head.error))
    )
    assert (by_get.error is not None) == (kind in STATUSES)


@pytest.mark.usefixtures("one_at_a_time")
def test_odd_tags_that_are_large_end_the_gets(registry: RecordingServer) -> None:
    with one_connection(registry.port):
        for number in range(8):
            make_image(registry.port, APP, f"a{number}", layer(str(number).encode()))
        push_odd(registry, APP, "odd", "unknown type", filling="x" * 100_000)
        for number in range(8):
            make_image(registry.port, APP, f"z{number}", layer(f"z{number}".encode()))
    assert len(table(registry).rows) == 17
    by_tag = [path.rpartition("/")[2] for method, path in registry.requests if method == "GET" and "sha256:" not in path]
    assert by_tag == ["list", "a4", "a5", "a6", "a7", "odd"]


def test_catalog_of_small_repositories_learns_from_the_first(registry: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["registry_tool.content.listing.catalog"], "REPOSITORIES", 1)
    with one_connection(registry.port):
        for number in range(20):
            make_image(registry.port, f"john/app{number:02}", "v1", layer(str(number).encode()))
    registry.forget()
    with open_registry(registry.host) as opened:
        assert {summary.tags for summary in catalog(opened).repositories} == {1}
    assert registry.counts == {"GET": 1 + 20 + 20 + 20, "HEAD": 4}


def test_where_requests_are_counted_a_manifest_is_fetched_once(registry: RecordingServer) -> None:
    registry.headers = lambda method, path: [("RateLimit-Remaining", "1000;w=21600")]
    with one_connection(registry.port):
        for number in range(20):
            make_image(registry.port, APP, f"v{number}")
    table(registry)
    assert registry.counts == {"GET": 1 + 40, "HEAD": 20}


@pytest.mark.usefixtures("one_at_a_time")
def test_limit_saves_requests_where_names_give_the_order(registry: RecordingServer) -> None:
    with one_connection(registry.port):
        for number in range(30):
            make_image(registry.port, APP, f"v{number:02}", created=day(number % 28 + 1))
    assert names(registry, limit=2) == ["v00", "v01"]
    assert registry.counts == {"GET": 1 + 4, "HEAD": 30}
    assert [row.siblings for row in table(registry, limit=2, siblings=False, level="digests").rows] == [None, None]
    assert registry.counts == {"GET": 1, "HEAD": 2}
    table(registry, limit=2, sort="created")
    assert registry.counts == {"GET": 1 + 60, "HEAD": 4}


def test_ten_thousand_tags_fit_in_memory(registry: RecordingServer) -> None:
    made = make_image(registry.port, APP, "v")
    for number in range(10_000):
        registry.registry.storage.tag(APP, f"v{number}", Digest.parse(made.digest))
    with open_registry(registry.host) as opened:
        tracemalloc.start()
        try:
            assert len(list_tags(opened.repository(APP), Options(matches="v12*", level="names")).rows) == 111
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 50_000_000


# Leftovers.


@pytest.mark.parametrize("level", ["details", "digests"])
def test_tombstone_is_not_shown_and_does_not_count_for_the_limit(registry: RecordingServer, level: str) -> None:
    also(registry, make_image(registry.port, APP, "b"), "c")
    push_tombstone(registry, "a")
    assert names(registry, level=level) == ["b", "c"]
    assert names(registry, level=level, limit=1) == ["b"]
    assert names(registry, level=level, limit=1, siblings=False) == ["b"]


def test_small_image_is_no_tombstone(registry: RecordingServer) -> None:
    size = len(tombstone("tiny", unique="0" * 32).raw)
    made = make_image(registry.port, APP, "tiny", extra={"annotations": {"a": ""}})
    padded = make_image(registry.port, APP, "tiny", extra={"annotations": {"a": "x" * (size - len(made.raw))}})
    assert len(padded.raw) == size
    assert names(registry, level="digests") == ["tiny"]
    assert registry.times("GET", padded.digest) == 1


# Bad weather.


def test_tag_deleted_concurrently_is_vanished(registry: RecordingServer) -> None:
    make_image(registry.port, APP, "stays")
    make_image(registry.port, APP, "goes")

    def vanish(method: str, path: str) -> None:
        if (method, path.rpartition("/")[2]) == ("HEAD", "goes"):
            registry.registry.storage.untag(APP, "goes")

    registry.instead = vanish
    result = table(registry)
    assert [row.name for row in result.rows] == ["stays"]
    assert result.vanished == ("goes",)


def test_tag_deleted_between_head_and_get_is_vanished(registry: RecordingServer) -> None:
    made = make_image(registry.port, APP, "goes")

    def vanish(method: str, path: str) -> None:
        if (method, path.rpartition("/")[2]) == ("GET", made.digest):
            registry.registry.storage.untag(APP, "goes")
            registry.registry.storage.unlink(APP, "manifest", Digest.parse(made.digest))

    registry.instead = vanish
    result = table(registry)
    assert (result.rows, result.vanished) == ((), ("goes",))


def test_tag_moved_concurrently_is_shown_at_its_new_digest(registry: RecordingServer) -> None:
    before = make_image(registry.port, APP, "moves", layer(b"before"))
    after = make_image(registry.port, APP, None, layer(b"after, and larger"))

    def move(method: str, path: str) -> None:
        if (method, path.rpartition("/")[2]) == ("GET", before.digest):
            registry.registry.storage.tag(APP, "moves", Digest.parse(after.digest))
            registry.registry.storage.unlink(APP, "manifest", Digest.parse(before.digest))

    registry.instead = move
    [row] = table(registry).rows
    assert (row.digest, row.size, row.error) == (Digest.parse(after.digest), after.size, None)


def test_damaged_image_is_a_row_with_an_error(registry: RecordingServer) -> None:
    whole = make_image(registry.port, APP, "whole")
    gone, config_gone, config_bad, manifest_bad = (make_image(registry.port, APP, f"bad{number}") for number in range(4))
    child = make_image(registry.port, APP, None, layer(b"child"))
    make_index(registry.port, APP, "index", whole, child)
    damage(registry, gone.digest, None)
    damage(registry, child.digest, None)
    damage(registry, Digest.of(config_gone.config).__str__(), None)
    damage(registry, Digest.of(config_bad.config).__str__(), b"[" * len(config_bad.config))
    damage(registry, manifest_bad.digest, manifest_bad.raw.replace(b"linux", b"linex").replace(b"sha256:", b"sha256;", 1))
    result = rows(registry)
    assert set(result) == {"whole", "bad0", "bad1", "bad2", "bad3", "index"}
    assert result["whole"].error is None
    assert isinstance(result["bad0"].error, NotFound)
    # The registry believes in it still, and breaks off.
    assert isinstance(result["bad1"].error, (NotFound, ConnectionLost))
    assert (result["bad1"].size, result["bad1"].created, result["bad1"].type) == (config_gone.size, None, "image")
    assert result["bad2"].error is not None
    assert result["bad3"].error is not None
    assert (result["index"].size, result["index"].created, result["index"].type) == (None, None, "index")
    assert isinstance(result["index"].error, NotFound)


@pytest.mark.parametrize("config", [b"not JSON", b"[]", b'{"created": 5, "os": 7}', b"\xff\xfe"])
def test_invalid_config_is_an_error_and_the_size_is_known(registry: RecordingServer, config: bytes) -> None:
    blob = layer(b"x")
    digest = make_blob(registry.port, APP, config)
    make_blob(registry.port, APP, blob)
    made = make_image(registry.port, APP, "v1", blob)
    raw = made.raw.replace(str(Digest.of(made.config)).encode(), digest.encode()).replace(
        f'"size":{len(made.config)}'.encode(), f'"size":{len(config)}'.encode()
    )
    put_manifest(registry.port, APP, "v1", raw, made.media_type)
    row = rows(registry)["v1"]
    assert isinstance(row.error, InvalidManifest)
    assert (row.size, row.created) == (len(config) + len(blob), None)


@pytest.mark.parametrize("tag", ["../../mary/app/tags/list", "a b", "x\x1b[2Jy", "", "t" * 129, "a?b#c", "sha256:" + "0" * 64, ".."])
def test_invalid_tag_is_never_requested(registry: RecordingServer, tag: str) -> None:
    make_image(registry.port, APP, "v1")
    registry.registry.storage.tag(APP, tag, Digest.of(b""))
    result = rows(registry)
    assert list(result) == ["v1"]
    assert result["v1"].error is None
    assert {path for _, path in registry.requests if "manifests" in path} <= {
        f"/v2/{APP}/manifests/v1",
        f"/v2/{APP}/manifests/{result['v1'].digest}",
    }


def test_nested_indexes_end_at_the_limit(registry: RecordingServer) -> None:
    inner = make_image(registry.port, APP, None)
    for _ in range(40):
        inner = make_index(registry.port, APP, None, inner)
    make_index(registry.port, APP, "deep", inner)
    row = rows(registry)["deep"]
    assert isinstance(row.error, InvalidManifest)
    assert (row.size, row.created) == (None, None)
    assert len(registry.requests) < 20


def test_index_of_ten_thousand_images_is_not_read(registry: RecordingServer) -> None:
    child = make_image(registry.port, APP, None).descriptor
    children = [{**child, "digest": f"sha256:{number:064x}"} for number in range(10_000)]
    raw = make_index(registry.port, APP, None).raw.replace(b'"manifests":[]', b'"manifests":' + str(children).replace("'", '"').encode())
    digest = Digest.of(raw)
    storage = registry.registry.storage
    storage.put(raw)
    storage.link(APP, "manifest", digest, digest)
    storage.tag(APP, "wide", digest)
    row = rows(registry)["wide"]
    assert isinstance(row.error, InvalidManifest)
    assert list(map(str, row.platforms or ())) == ["linux/amd64"]
    assert len(registry.requests) == 3


def test_manifest_of_100_megabytes_is_not_fetched(registry: RecordingServer) -> None:
    make_image(registry.port, APP, "v1")
    digest = str(Digest.of(b"big"))

    def big(method: str, path: str) -> tuple[str, list[tuple[str, str]], bytes] | None:
        if method == "HEAD":
            return "200 OK", [("Content-Type", OCI_INDEX), ("Docker-Content-Digest", digest)], b" " * 100_000_000
        return None

    registry.instead = big
    row = rows(registry)["v1"]
    assert isinstance(row.error, InvalidManifest)
    assert registry.counts == {"GET": 1, "HEAD": 1}


def refuse_from(number: int, status: str, path_part: str = "/manifests/") -> object:
    observed = [0]

    def answer(method: str, path: str) -> tuple[str, list[tuple[str, str]], bytes] | None:
        if path_part not in path:
            return None
        observed[0] += 1
        return (status, [("Retry-After", "3600")], b"") if observed[0] > number else None

    return answer


@pytest.mark.usefixtures("one_at_a_time")
def test_too_many_requests_end_with_the_rows_so_far(registry: RecordingServer) -> None:
    with one_connection(registry.port):
        for number in range(40):
            make_image(registry.port, APP, f"v{number:02}")
    registry.instead = refuse_from(42, "429 Too Many Requests")  # type: ignore[assignment]
    result = table(registry)
    assert isinstance(result.stopped, TooManyRequests)
    assert (result.count, len(result.rows), result.looked_at) == (40, 40, 40)
    assert sum(row.size is not None for row in result.rows) == 2
    assert len(registry.requests) < 1 + 42 + 2 + 16
    registry.instead = refuse_from(15, "429 Too Many Requests")  # type: ignore[assignment]
    result = table(registry)
    assert (len(result.rows), result.looked_at) == (15, 15)
    assert isinstance(result.stopped, TooManyRequests)


def test_remaining_requests_are_not_exceeded(registry: RecordingServer) -> None:
    with one_connection(registry.port):
        for number in range(40):
            make_image(registry.port, APP, f"v{number:02}")
    left = [60]

    def count(method: str, path: str) -> list[tuple[str, str]]:
        if "/manifests/" not in path:
            return []
        left[0] -= 1
        return [("RateLimit-Remaining", f"{max(left[0], 0)};w=21600")]

    registry.headers = count
    result = table(registry)
    assert left[0] == 0
    assert isinstance(result.stopped, TooManyRequests)
    assert len(result.rows) == 40
    # Of some the manifest was the last request.
    assert 20 - 8 <= sum(row.size is not None for row in result.rows) <= 20


@pytest.mark.parametrize(("status", "kind"), [("401 Unauthorized", AuthenticationFailed), ("403 Forbidden", AuthenticationFailed)])
def test_lost_authorization_ends_the_table(registry: RecordingServer, status: str, kind: type[Exception]) -> None:
    with one_connection(registry.port):
        for number in range(100):
            make_image(registry.port, APP, f"v{number:02}")
    registry.instead = refuse_from(20, status)  # type: ignore[assignment]
    result = table(registry)
    assert isinstance(result.stopped, kind)
    # How many were under way depends on the machine; the rest was not tried.
    assert len({path for _, path in registry.requests if "/manifests/v" in path}) < 80


def test_registry_that_always_fails_ends_the_table(registry: RecordingServer) -> None:
    made = make_image(registry.port, APP, "v")
    also(registry, made, *(f"v{number}" for number in range(100)))
    registry.instead = refuse_from(10, "500 Internal Server Error")  # type: ignore[assignment]
    result = table(registry, level="digests")
    assert isinstance(result.stopped, RegistryError)
    assert len(registry.requests) < 60


def test_one_failure_among_many_is_one_row(registry: RecordingServer) -> None:
    also(registry, make_image(registry.port, APP, "v"), *(f"v{number}" for number in range(100)))
    registry.instead = lambda method, path: ("500 Oh", [], b"") if path.endswith("/v50") else None
    result = table(registry)
    assert result.stopped is None
    assert [row.name for row in result.rows if row.error] == ["v50"]


def test_unreachable_registry_raises(registry: RecordingServer) -> None:
    with open_registry("localhost:1") as opened, pytest.raises(RegistryUnreachable):
        list_tags(opened.repository(APP))
