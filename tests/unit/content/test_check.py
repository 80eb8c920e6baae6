"""What a check finds, one damage at a time, and how it stands bad weather."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from registry_tool import server
from registry_tool.base import compression
from registry_tool.base.codec import to_json
from registry_tool.base.errors import NotARegistry, NotFound, RegistryUnreachable, TooManyRequests
from registry_tool.content import check
from registry_tool.content.check import RULES, CheckReport, Finding
from registry_tool.content.graph import MAX_DEPTH
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import EMPTY_CONTENT, tombstone
from registry_tool.server import Application, MemoryStorage, RunningRegistry
from registry_tool.targets.registry import open_registry
from tests.support.content import (
    OCI_INDEX,
    PushedManifest,
    config,
    layer,
    make_artifact,
    make_blob,
    make_image,
    make_index,
    put_manifest,
    sha256,
    zstd_packed,
)
from tests.support.damage import attestation, built_by_buildkit, foreign_image, image_of, lying_image
from tests.support.fake_server import JSON, Reply, reply
from tests.support.faulty_proxy import (
    Fault,
    FaultyProxy,
    close_connection,
    cut_after,
    faulty_proxy,
    flipped_byte,
    respond_with,
    with_header,
    wrong_digest,
)


@pytest.fixture
def proxy(registry: RunningRegistry) -> Iterator[FaultyProxy]:
    """What is between us and the registry: it counts, and has the faults that it is told to have."""
    with faulty_proxy(registry.port) as between:
        yield between


def checked(proxy: FaultyProxy, *repositories: str, deep: bool = False) -> CheckReport:
    """A check through ``proxy``, which asked nothing twice."""
    with open_registry(proxy.host) as registry:
        report = check.check(registry, repositories or None, deep=deep)
    assert proxy.repeated() == []
    return report


def lone(report: CheckReport) -> Finding:
    """The one finding there is."""
    assert report.error is None
    [finding] = report.findings
    assert not report.ok
    assert finding.kind in RULES
    return finding


def storage_of(registry: RunningRegistry) -> MemoryStorage:
    assert isinstance(registry.application.storage, MemoryStorage)
    return registry.application.storage


def lose(registry: RunningRegistry, content: bytes) -> None:
    """Take content out of the storage."""
    del storage_of(registry).blobs[Digest.of(content)]


@contextmanager
def proxy_after_restart(registry: RunningRegistry) -> Iterator[FaultyProxy]:
    """A proxy to a registry on the same storage, which remembers nothing."""
    with server.run_registry(Application(storage_of(registry))) as again, faulty_proxy(again.port) as proxy:
        yield proxy


def replies(document: object, content_type: str = JSON) -> Fault:
    """Not the registry's answer, but ``document``."""
    return lambda received, ask: reply(document, content_type=content_type)


# What is whole.


def test_empty_registry_is_ok(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    report = checked(proxy, deep=True)
    assert (report.ok, report.images, report.blobs, report.bytes_read) == (True, 0, 0, 0)


def test_repositories_without_tags_are_ok(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    make_blob(registry.port, "never/tagged", b"content")
    made = make_image(registry.port, "emptied", "1")
    storage_of(registry).untag("emptied", "1")
    assert storage_of(registry).tags("emptied") == {}
    assert made.tag
    assert checked(proxy).ok


def test_named_repository_without_tags_is_ok_and_noted(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    make_blob(registry.port, "never/tagged", b"content")
    report = checked(proxy, "never/tagged")
    assert (report.ok, report.images) == (True, 0)
    assert report.notes == (f"{proxy.host}/never/tagged: it has no tags, nothing was checked",)


def test_shared_blobs_are_counted_and_read_once(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    common = layer(b"common" * 1000)
    made = [make_image(registry.port, repository, "1", common) for repository in ("a", "b", "c/d")]
    put_manifest(registry.port, "a", "2", made[0].raw, made[0].media_type)
    report = checked(proxy, deep=True)
    assert report.ok
    assert (report.images, report.blobs) == (3, 2)
    assert report.bytes_read == 3 * len(made[0].raw) + made[0].size
    assert proxy.count("GET", "/blobs/") == 3 * 2 + 2
    assert proxy.count("GET", f"/manifests/{made[0].digest}") == 3


def test_check_without_deep_reads_only_configs(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    made = make_image(registry.port, "a", "1", layer(b"large" * 1000))
    report = checked(proxy)
    assert report.bytes_read == len(made.raw) + len(made.config)
    assert proxy.request_counts()["GET", f"/v2/a/blobs/{sha256(made.layers[0])}", ""] == 0
    assert proxy.count("HEAD", "/blobs/") == 0, "a HEAD is answered from memory"


@pytest.mark.parametrize("deep", [False, True])
def test_images_of_builders_and_signers_are_ok(proxy: FaultyProxy, registry: RunningRegistry, deep: bool) -> None:
    port = registry.port
    built_by_buildkit(port, "built", "1")
    image = make_image(port, "signed", "1")
    make_artifact(port, "signed", image, content=b"a statement")
    make_artifact(port, "chart", tag="1", artifact_type="application/vnd.cncf.helm.config.v1+json")
    image_of(port, "nothing/inside", "1", config([]), content=b"{}")
    empty = b""
    document = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [sha256(empty)]}}).encode()
    image_of(port, "empty/layer", "1", document, {"mediaType": "application/vnd.oci.image.layer.v1.tar"}, content=empty)
    report = checked(proxy, deep=deep)
    assert report.findings == ()
    assert report.ok


@pytest.mark.parametrize("deep", [False, True])
def test_missing_foreign_layers_are_ok(deep: bool) -> None:
    with server.run_registry(Application(MemoryStorage(), foreign_urls=True)) as registry, faulty_proxy(registry.port) as proxy:
        foreign_image(registry.port, "a", "1")
        report = checked(proxy, deep=deep)
        assert report.ok
        assert report.blobs == 2


def test_build_cache_in_an_index_is_checked(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    cached, settings = layer(b"cached"), b'{"layers": []}'
    entries = [
        {"mediaType": kind, "digest": make_blob(registry.port, "cache", content), "size": len(content)}
        for kind, content in (
            ("application/vnd.oci.image.layer.v1.tar+gzip", cached),
            ("application/vnd.buildkit.cacheconfig.v0", settings),
        )
    ]
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    put_manifest(registry.port, "cache", "1", raw, OCI_INDEX)
    assert checked(proxy, deep=True).ok
    lose(registry, cached)
    proxy.reset()
    finding = lone(checked(proxy))
    assert (finding.kind, str(finding.digest), finding.tags) == ("missing-child", sha256(cached), ("1",))


def test_unfinished_deletion_is_a_note(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    dead = tombstone("1", unique="x")
    make_blob(registry.port, "a", EMPTY_CONTENT)
    put_manifest(registry.port, "a", "1", dead.raw, dead.descriptor.media_type)
    report = checked(proxy)
    assert (report.ok, report.images) == (True, 0)
    assert report.notes == (f"{proxy.host}/a:1: its deletion was not finished; delete it again",)


# What is damaged.


def test_finding_names_manifest_digest_and_affected_tags(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    made = make_image(registry.port, "john/app", "2", layer(b"base"), layer(b"lost"))
    put_manifest(registry.port, "john/app", "1", made.raw, made.media_type)
    make_index(registry.port, "john/app", "many", made)
    make_image(registry.port, "john/app", "other", layer(b"base"))
    lose(registry, made.layers[1])
    finding = lone(checked(proxy))
    assert finding.kind == "missing-layer"
    assert finding.reference == f"{proxy.host}/john/app@{made.digest}"
    assert str(finding.digest) == sha256(made.layers[1])
    assert finding.tags == ("1", "2", "many")
    assert finding.detail == "layers[1]: is missing"
    assert finding.hint == RULES["missing-layer"].hint
    assert set(to_json(finding)) == {"kind", "reference", "digest", "tags", "detail", "hint"}


def test_blob_of_another_repository_does_not_count(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    made = make_image(registry.port, "a", "1")
    make_image(registry.port, "b", "1", *made.layers)
    storage_of(registry).unlink("b", "layer", Digest.of(made.layers[0]))
    finding = lone(checked(proxy, deep=True))
    assert finding.kind == "missing-layer"
    assert "/b@" in finding.reference


@pytest.mark.parametrize("by", [7, -7, 100_000, -90])
@pytest.mark.parametrize("deep", [False, True])
def test_wrong_size_in_a_manifest_is_no_truncated_blob(registry: RunningRegistry, proxy: FaultyProxy, by: int, deep: bool) -> None:
    liar = lying_image(registry.port, "a", "liar", by=by)
    image_of(registry.port, "a", "honest", liar.config, {}, content=liar.layers[0])
    finding = lone(checked(proxy, deep=deep))
    assert (finding.kind, finding.tags) == ("wrong-size", ("liar",))
    assert finding.reference.endswith(liar.digest)


def test_blob_named_as_empty_has_a_wrong_size(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    liar = lying_image(registry.port, "a", "1", by=-len(layer(b"a:1")))
    finding = lone(checked(proxy))
    assert finding.kind == "wrong-size"
    assert f"has {len(liar.layers[0])} bytes, its descriptor says 0" in finding.detail


def test_blob_that_has_grown_is_corrupt(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    made = make_image(registry.port, "a", "1")
    storage_of(registry).blobs[Digest.of(made.layers[0])] += b"more"
    with proxy_after_restart(registry) as again:
        assert lone(checked(again)).kind == "corrupt-blob"


@pytest.mark.parametrize("content", [b"x", b"xy"])
def test_missing_blob_of_one_byte_is_found(registry: RunningRegistry, proxy: FaultyProxy, content: bytes) -> None:
    make_artifact(registry.port, "a", tag="1", content=content)
    assert checked(proxy, deep=True).ok
    lose(registry, content)
    proxy.reset()
    assert lone(checked(proxy)).kind == "missing-layer"
    with proxy_after_restart(registry) as cold:
        assert lone(checked(cold)).kind == "missing-layer"


def test_emptied_blob_is_missing(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    made = make_image(registry.port, "a", "1")
    storage_of(registry).blobs[Digest.of(made.layers[0])] = b""
    assert lone(checked(proxy)).kind == "missing-layer"
    with proxy_after_restart(registry) as cold:
        assert lone(checked(cold)).kind == "missing-layer"


def test_flipped_byte_in_a_config_is_found_without_deep(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    made = make_image(registry.port, "a", "1")
    storage_of(registry).blobs[Digest.of(made.config)] = made.config.replace(b"linux", b"Linux")
    assert lone(checked(proxy)).kind == "corrupt-blob"


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        (b"no json", "not JSON"),
        (b"[]", "an array"),
        (b"", "not JSON"),
        (b'{"rootfs": {"diff_ids": ["x"]}}', "diff_ids"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested"),
    ],
)
def test_invalid_config_is_found(registry: RunningRegistry, proxy: FaultyProxy, configuration: bytes, words: str) -> None:
    made = image_of(registry.port, "a", "1", configuration, {}, content=layer(b"x"))
    finding = lone(checked(proxy, deep=True))
    assert (finding.kind, str(finding.digest), finding.tags) == ("invalid-config", sha256(made.config), ("1",))
    assert words in finding.detail


def test_wrong_platform_in_an_index_is_found(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    made = make_image(registry.port, "a", platform="linux/amd64")
    entry = made.descriptor | {"platform": {"os": "linux", "architecture": "arm64"}}
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()
    put_manifest(registry.port, "a", "1", raw, OCI_INDEX)
    finding = lone(checked(proxy))
    assert finding.kind == "wrong-platform"
    assert finding.detail == "manifests[0]: the index says linux/arm64, the image's config linux/amd64"


@pytest.mark.parametrize(
    ("said", "kind"),
    [({"size": 1}, "wrong-size"), ({"mediaType": "application/vnd.docker.distribution.manifest.v2+json"}, "wrong-media-type")],
)
def test_child_unlike_its_entry_is_found(registry: RunningRegistry, proxy: FaultyProxy, said: Mapping[str, object], kind: str) -> None:
    made = make_image(registry.port, "a")
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [{**made.descriptor, **said}]}).encode()
    put_manifest(registry.port, "a", "1", raw, OCI_INDEX)
    finding = lone(checked(proxy))
    assert (finding.kind, str(finding.digest), finding.tags) == (kind, made.digest, ("1",))


def test_wrong_diff_id_is_found_with_deep(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    one, other = layer(b"one"), layer(b"other")
    image_of(registry.port, "a", "1", config([other]), {}, content=one)
    assert checked(proxy).ok
    proxy.reset()
    assert lone(checked(proxy, deep=True)).kind == "wrong-diff-id"


ZSTD: dict[str, object] = {"mediaType": "application/vnd.oci.image.layer.v1.tar+zstd"}


def test_zstd_layers_are_unpacked(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    plain = gzip.decompress(layer(b"one"))
    image_of(registry.port, "whole", "1", config([layer(b"one")]), ZSTD, content=zstd_packed(plain))
    report = checked(proxy, deep=True)
    assert (report.ok, report.notes) == (True, ())
    image_of(registry.port, "another", "1", config([layer(b"other")]), ZSTD, content=zstd_packed(plain))
    proxy.reset()
    assert lone(checked(proxy, "another", deep=True)).kind == "wrong-diff-id"
    image_of(registry.port, "broken", "1", config([layer(b"one")]), ZSTD, content=zstd_packed(plain)[:-1])
    proxy.reset()
    assert lone(checked(proxy, "broken", deep=True)).detail == "layers[0]: cannot be unpacked"


def test_encrypted_layers_are_read_and_not_looked_into(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    encrypted = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"
    image_of(registry.port, "a", "1", config([layer(b"one")]), {"mediaType": encrypted}, content=b"nobody can read this")
    report = checked(proxy, deep=True)
    assert (report.findings, report.notes) == ((), (f"{proxy.host}/a: 1 layer: read, but not unpacked",))


def test_empty_media_type_of_a_layer_is_found(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    image_of(registry.port, "a", "1", config([layer(b"one")]), {"mediaType": ""}, content=layer(b"one"))
    finding = lone(checked(proxy))
    assert (finding.kind, finding.detail) == ("invalid-manifest", "layers[0].mediaType: missing")


def test_layers_that_cannot_be_unpacked_here_are_a_note(
    registry: RunningRegistry, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = gzip.decompress(layer(b"one"))
    image_of(registry.port, "a", "1", config([layer(b"one")]), ZSTD, content=zstd_packed(plain, window=28))
    note = f"{proxy.host}/a: 1 layer: read, but not unpacked"
    report = checked(proxy, deep=True)
    assert (report.ok, report.notes) == (True, (note,))
    proxy.reset()
    assert checked(proxy).notes == (), "nobody asked for it"
    image_of(registry.port, "a", "1", config([layer(b"one")]), ZSTD, content=zstd_packed(plain))
    monkeypatch.setattr(compression, "CAN_ZSTD", False)
    proxy.reset()
    assert checked(proxy, deep=True).notes == (note,)


def test_children_left_out_of_a_copy_are_found(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    kept, gone = make_image(registry.port, "a", platform="linux/amd64"), make_image(registry.port, "a", platform="linux/arm64")
    words = [attestation(registry.port, "a", kept), attestation(registry.port, "a", gone)]
    make_index(registry.port, "a", "1", kept, gone, attestations=words)
    for made in (gone, words[1]):
        storage_of(registry).unlink("a", "manifest", Digest.of(made.raw))
    report = checked(proxy)
    assert {(finding.kind, str(finding.digest), finding.tags) for finding in report.findings} == {
        ("left-out-child", gone.digest, ("1",)),
        ("left-out-child", words[1].digest, ("1",)),
    }
    assert not report.ok, "from outside nobody can know for certain"


def test_damage_to_a_referrer_affects_the_image(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    image = make_image(registry.port, "a", "1")
    signature = make_artifact(registry.port, "a", image, content=b"signed")
    listed = image.digest.replace(":", "-")
    assert checked(proxy).images == 1, "a list of referrers is no image"
    lose(registry, b"signed")
    proxy.reset()
    finding = lone(checked(proxy))
    assert (finding.kind, finding.tags) == ("missing-layer", ("1", listed))
    storage_of(registry).unlink("a", "manifest", Digest.of(signature.raw))
    proxy.reset()
    finding = lone(checked(proxy))
    assert (finding.kind, str(finding.digest), finding.tags) == ("missing-referrer", signature.digest, ("1", listed))


def test_damage_to_an_image_does_not_affect_its_signature(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    image = make_image(registry.port, "a", "1")
    make_artifact(registry.port, "a", image, tag="signature")
    lose(registry, image.layers[0])
    assert lone(checked(proxy)).tags == ("1",)


def test_signature_with_a_wrong_subject_size_is_found(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    image = make_image(registry.port, "a", "1")
    document = json.loads(make_artifact(registry.port, "a", image).raw)
    document["subject"]["size"] += 1
    raw = json.dumps(document).encode()
    put_manifest(registry.port, "a", "signature", raw, document["mediaType"])
    finding = lone(checked(proxy))
    assert (finding.kind, str(finding.digest), finding.tags) == ("wrong-size", image.digest, ("signature",))


def test_listed_referrer_with_another_subject_is_found(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    image, other = make_image(registry.port, "a", "1"), make_image(registry.port, "a", "2")
    stray = make_artifact(registry.port, "a", other)
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [stray.descriptor]}).encode()
    put_manifest(registry.port, "a", image.digest.replace(":", "-"), raw, OCI_INDEX)
    finding = lone(checked(proxy))
    assert (finding.kind, str(finding.digest)) == ("wrong-subject", stray.digest)
    assert "1" in finding.tags


def test_referrers_interface_is_used_where_it_exists(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    image = make_image(registry.port, "a", "1")
    signature = make_artifact(registry.port, "a", tag="signature", content=b"signed")
    wrong = {"mediaType": OCI_INDEX, "schemaVersion": 2, "manifests": [signature.descriptor]}
    nobody = {**wrong, "manifests": []}
    proxy.inject(replies(wrong, content_type=OCI_INDEX), path=f"/referrers/{image.digest}")
    proxy.inject(replies(nobody, content_type=OCI_INDEX), path="/referrers/")
    finding = lone(checked(proxy))
    assert (finding.kind, str(finding.digest), finding.tags) == ("wrong-subject", signature.digest, ("1",))
    assert proxy.count("GET", "/referrers/") == 2


def test_cycle_of_referrers_ends(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    first, second = make_image(registry.port, "a", "1"), make_image(registry.port, "a", "2")
    for one, other in ((first, second), (second, first)):
        listed = {"mediaType": OCI_INDEX, "schemaVersion": 2, "manifests": [other.descriptor]}
        proxy.inject(replies(listed), path=f"/referrers/{one.digest}")
    assert [finding.kind for finding in checked(proxy).findings] == ["wrong-subject"] * 2


def test_ten_thousand_nested_indexes_are_too_deep(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    storage = storage_of(registry)
    make_image(registry.port, "a", "image")
    inner = make_index(registry.port, "a")
    for _ in range(10_000):
        inner = PushedManifest(
            repository="a",
            tag=None,
            media_type=OCI_INDEX,
            raw=json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [inner.descriptor]}).encode(),
        )
        storage.link("a", "manifest", Digest.of(inner.raw), storage.put(inner.raw))
    storage.tag("a", "deep", Digest.of(inner.raw))
    finding = lone(checked(proxy))
    assert (finding.kind, finding.tags) == ("too-deep", ("deep",))
    assert proxy.count("GET", "/manifests/sha256:") == MAX_DEPTH + 1


def test_corrupt_manifest_is_found(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    made = make_image(registry.port, "a", "1")
    proxy.inject(flipped_byte(-30), path=f"/manifests/{made.digest}")
    finding = lone(checked(proxy))
    assert (finding.kind, finding.reference, str(finding.digest)) == ("corrupt-manifest", f"{proxy.host}/a:1", made.digest)


def test_invalid_manifest_is_found(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    storage = storage_of(registry)
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [{"digest": "x"}]}).encode()
    storage.link("a", "manifest", Digest.of(raw), storage.put(raw))
    storage.link("a", "layer", Digest.of(raw), Digest.of(raw))
    storage.tag("a", "1", Digest.of(raw))
    assert lone(checked(proxy)).kind == "invalid-manifest"


def test_tag_without_a_manifest_is_found(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    made = make_image(registry.port, "a", "1")
    lose(registry, made.raw)
    with open_registry(proxy.host) as opened:
        report = check.check(opened)
    finding = lone(report)
    assert (finding.kind, finding.reference, finding.tags) == ("missing-manifest", f"{proxy.host}/a:1", ("1",))
    assert proxy.repeated() == [("GET", "/v2/a/tags/list", "")], "whether it was deleted meanwhile"


# Bad weather.


def test_tag_deleted_concurrently_is_a_note(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    make_image(registry.port, "a", "1")
    proxy.inject(replies({"name": "a", "tags": ["1", "gone"]}), path="/tags/list", times=1)
    with open_registry(proxy.host) as opened:
        report = check.check(opened)
    assert report.ok
    assert report.notes == (f"{proxy.host}/a:gone was deleted meanwhile",)


def test_missing_repository_does_not_end_the_check_of_others(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    made = make_image(registry.port, "a", "1")
    lose(registry, made.layers[0])
    report = checked(proxy, "a", "nope")
    assert isinstance(report.error, NotFound)
    assert [finding.kind for finding in report.findings] == ["missing-layer"]
    assert not report.ok


@pytest.mark.parametrize("fault", [respond_with(500), close_connection, respond_with(403), respond_with(400)])
@pytest.mark.parametrize("path", ["/blobs/", "/manifests/sha256:", "/manifests/1", "/tags/list"])
def test_failing_request_is_a_finding_beside_the_others(registry: RunningRegistry, proxy: FaultyProxy, fault: Fault, path: str) -> None:
    make_image(registry.port, "a", "1")
    made = make_image(registry.port, "b", "1")
    lose(registry, made.layers[0])
    proxy.inject(fault, path=f"/v2/a{path}")
    with open_registry(proxy.host) as opened:
        report = check.check(opened)
    if path == "/tags/list" and fault is close_connection:
        assert isinstance(report.error, RegistryUnreachable)
        return
    assert report.error is None
    assert {finding.kind for finding in report.findings if "/a" in finding.reference} == {"unreadable"}
    assert [finding.kind for finding in report.findings if "/b@" in finding.reference] == ["missing-layer"]


@pytest.mark.parametrize("fault", [respond_with(500), close_connection])
def test_failing_list_of_referrers_is_found(registry: RunningRegistry, proxy: FaultyProxy, fault: Fault) -> None:
    make_image(registry.port, "a", "1")
    proxy.inject(fault, path="/referrers/")
    with open_registry(proxy.host) as opened:
        finding = lone(check.check(opened))
    assert (finding.kind, finding.tags) == ("unreadable", ("1",))
    assert finding.detail.startswith("its list of referrers: ")


@pytest.mark.parametrize("status", [400, 403, 405, 501])
def test_registry_without_referrers_interface_is_a_note(registry: RunningRegistry, proxy: FaultyProxy, status: int) -> None:
    for tag in "123":
        make_image(registry.port, "a", tag)
    proxy.inject(respond_with(status), path="/referrers/")
    report = checked(proxy)
    assert report.ok
    assert len(report.notes) == 1
    assert proxy.count("GET", "/referrers/") == 1


def test_too_many_requests_end_the_check(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    make_image(registry.port, "a", "1")
    proxy.inject(respond_with(429, retry_after="3600"), path="/blobs/")
    report = checked(proxy)
    assert isinstance(report.error, TooManyRequests)
    assert not report.ok


def test_unreachable_registry_is_the_reports_error(proxy: FaultyProxy) -> None:
    with open_registry("127.0.0.1:1") as opened:
        report = check.check(opened)
    assert isinstance(report.error, RegistryUnreachable)
    assert report.ok is False


def test_web_page_is_no_registry(proxy: FaultyProxy) -> None:
    proxy.inject(lambda received, ask: Reply(body=b"<html>", headers={"Content-Type": "text/html"}))
    assert isinstance(checked(proxy).error, NotARegistry)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'{"tags": 7}', b'{"tags": {"a": 7}}', b"{" * 10_000])
def test_invalid_list_of_tags_is_found(registry: RunningRegistry, proxy: FaultyProxy, body: bytes) -> None:
    make_image(registry.port, "a", "1")
    proxy.inject(lambda received, ask: Reply(body=body), path="/tags/list")
    finding = lone(checked(proxy))
    assert (finding.kind, finding.reference, finding.tags) == ("unreadable", f"{proxy.host}/a", ())


def test_wrong_headers_of_a_manifest_are_found(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    make_image(registry.port, "a", "1")
    proxy.inject(with_header("Content-Type", OCI_INDEX), method="GET", path="/manifests/sha256:")
    assert lone(checked(proxy)).kind == "invalid-manifest"
    proxy.reset()
    proxy.inject(wrong_digest, method="GET", path="/manifests/sha256:")
    assert lone(checked(proxy)).kind == "corrupt-manifest"
    proxy.reset()
    proxy.inject(wrong_digest, method="HEAD", path="/manifests/1")
    assert lone_with_a_second_look(proxy).kind == "missing-manifest"


def lone_with_a_second_look(proxy: FaultyProxy) -> Finding:
    with open_registry(proxy.host) as opened:
        return lone(check.check(opened))


def test_lost_connection_is_resumed(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    made = make_image(registry.port, "a", "1", layer(bytes(range(256)) * 500))
    proxy.inject(cut_after(50), path=f"/blobs/{sha256(made.config)}", after=1, times=1)
    assert checked(proxy).ok


# How it is told.


def test_progress_advances_to_the_total(registry: RunningRegistry) -> None:
    messages: list[tuple[Any, ...]] = []
    guard = threading.Lock()

    class Ear:
        def start(self, key: str, label: str, total: int | None = None) -> None:
            self.hear("start", key, label)

        def advance(self, key: str, done: int, total: int | None = None) -> None:
            assert total is None or done <= total
            self.hear("advance", done)

        def finish(self, key: str, label: str) -> None:
            self.hear("finish", label)

        def note(self, text: str) -> None:
            raise AssertionError(text)

        def hear(self, *words: object) -> None:
            assert guard.acquire(blocking=False), "an observer hears one thing at a time"
            messages.append(words)
            guard.release()

    for number in range(6):
        make_image(registry.port, f"r/{number}", "1")
    for deep in (False, True):
        messages.clear()
        with open_registry(registry.host) as opened:
            report = check.check(opened, deep=deep, observer=Ear())
        done = [words[1] for words in messages if words[0] == "advance"]
        assert done == sorted(done)
        assert done[-1] == (report.bytes_read if deep else 6 + report.blobs)
        assert messages[-1] == ("finish", "Checked 6 images in 6 repositories")


def test_report_of_one_registry_is_always_the_same(registry: RunningRegistry, proxy: FaultyProxy) -> None:
    for number in range(8):
        lose(registry, make_image(registry.port, f"r/{number}", "1").layers[0])
    first = to_json(checked(proxy))
    proxy.reset()
    assert to_json(checked(proxy)) == first
    assert [finding["reference"].partition("@")[0][-3:] for finding in first["findings"]] == [f"r/{n}" for n in range(8)]
