"""Copying between two registries: what is there afterwards, what was sent, and in which order."""

from __future__ import annotations

import json
import random
import threading

import pytest

from registry_tool.base.errors import Mismatch, NotFound, NothingListens, RegistryError
from registry_tool.content.copy import BlobCounts, CopyJob, CopyOptions, CopyPlan, NullCopyListener, copy, copy_all, transfer
from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Manifest
from registry_tool.targets.registry import Repository, open_registry
from registry_tool.targets.registry.uploads import SMALL
from registry_tool.transport import retry
from tests.support.content import DOCKER_IMAGE, layer, make_artifact, make_image, make_index, put_manifest, sha256
from tests.support.recording_server import Reply
from tests.support.registry_over_http import ask
from tests.unit.content.copy.conftest import Side

FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


def refused(status: str, code: str = "UNKNOWN") -> Reply:
    return status, [("Content-Type", "application/json")], json.dumps({"errors": [{"code": code, "message": ""}]}).encode()


# --- what is copied ---


def test_image_has_the_same_digest_at_the_destination(source: Side, destination: Side) -> None:
    made = make_image(source.port, "app", "1", layer(b"a"), layer(b"b"))
    result = copy(source.repository("app"), destination.repository("mirror/app"), ["1"])
    assert [(image.status, str(image.digest), str(image.stored_digest)) for image in result.images] == [
        ("copied", made.digest, made.digest)
    ]
    assert destination.repository("mirror/app").raw_manifest("1") == made.raw
    size = made.size
    assert result.blobs == BlobCounts(sent=3, mounted=0, skipped=0, bytes_sent=size, bytes_total=size)


def test_reference_is_resolved_once_so_that_a_moving_tag_does_not_matter(source: Side, destination: Side) -> None:
    made = make_image(source.port, "app", "1", layer(b"old"))

    class Moving(NullCopyListener):
        def planned(self, plan: CopyPlan) -> None:
            make_image(source.port, "app", "1", layer(b"new"))

    copy(source.repository("app"), destination.repository("app"), ["1"], listener=Moving())
    assert str(destination.repository("app").resolve("1").digest) == made.digest


def test_reference_may_have_other_tags_at_the_destination(source: Side, destination: Side) -> None:
    made = make_image(source.port, "app", "1")
    copy(source.repository("app"), destination.repository("app"), {"1": ["2", "latest"], made.digest: []})
    assert sorted(destination.repository("app").tags()) == ["2", "latest"]


def test_digest_is_copied_without_a_tag(source: Side, destination: Side) -> None:
    made = make_image(source.port, "app", "1")
    copy(source.repository("app"), destination.repository("app"), [made.digest])
    assert destination.repository("app").raw_manifest(made.digest) == made.raw
    assert ask(destination.port, "GET", "/v2/app/tags/list")[0] == 404


def test_index_is_copied_with_its_children_before_it(source: Side, destination: Side) -> None:
    children = [make_image(source.port, "app", None, platform=name) for name in ("linux/amd64", "linux/arm64")]
    made = make_index(source.port, "app", "1", *children)
    copy(source.repository("app"), destination.repository("app"), ["1"])
    puts = [path.rpartition("/")[2] for method, path in destination.server.requests if method == "PUT" and "/manifests/" in path]
    assert puts == [children[0].digest, children[1].digest, "1"]
    assert destination.repository("app").raw_manifest("1") == made.raw


def test_tags_come_after_all_other_writes(source: Side, destination: Side) -> None:
    for number in range(4):
        make_image(source.port, "app", f"v{number}")
    make_index(source.port, "app", "all", make_image(source.port, "app", "v1"))
    copy(source.repository("app"), destination.repository("app"), ["v0", "v2", "v3", "all"])
    writes = [path.rpartition("/")[2] for method, path in destination.server.requests if method in ("PUT", "POST", "PATCH")]
    assert sorted(writes[-4:]) == ["all", "v0", "v2", "v3"]


def test_nested_index_is_copied(source: Side, destination: Side) -> None:
    inner = make_index(source.port, "app", None, make_image(source.port, "app"))
    outer = make_index(source.port, "app", "1", inner)
    copy(source.repository("app"), destination.repository("app"), ["1"])
    assert destination.repository("app").raw_manifest(inner.digest) == inner.raw
    assert destination.repository("app").raw_manifest("1") == outer.raw


def test_index_nested_deeper_than_is_read_fails(source: Side, destination: Side) -> None:
    made = make_image(source.port, "app")
    for depth in range(20):
        made = make_index(source.port, "app", "deep" if depth == 19 else None, made)
    with pytest.raises(Exception, match="nested too deep"):
        copy(source.repository("app"), destination.repository("app"), ["deep"])
    assert destination.server.counts["PUT"] == 0


def test_layers_in_an_index_are_copied_as_blobs(source: Side, destination: Side) -> None:
    image = make_image(source.port, "app")
    cache = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": sha256(image.layers[0]), "size": len(image.layers[0])}
    raw = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [cache]}).encode()
    put_manifest(source.port, "app", "cache", raw, "application/vnd.oci.image.index.v1+json")
    copy(source.repository("app"), destination.repository("app"), ["cache"])
    assert ask(destination.port, "HEAD", f"/v2/app/blobs/{sha256(image.layers[0])}")[0] == 200


# --- each blob once ---


def test_shared_blob_is_sent_once_and_second_copy_sends_nothing(source: Side, destination: Side) -> None:
    base = layer(b"base")
    for number in range(3):
        make_image(source.port, "app", f"{number}", base, layer(b"%d" % number))
    tags = ["0", "1", "2"]
    first = copy(source.repository("app"), destination.repository("app"), tags)
    assert (first.blobs.sent, first.blobs.skipped) == (7, 0)
    destination.server.forget()
    second = copy(source.repository("app"), destination.repository("app"), tags)
    assert (second.blobs.sent, second.blobs.skipped) == (0, 7)
    assert {image.status for image in second.images} == {"unchanged"}
    assert set(destination.server.counts) == {"HEAD", "GET"}
    # The tags, and the last byte of each blob.
    assert destination.server.counts == {"HEAD": 3, "GET": 7}


def test_blob_of_another_repository_of_the_destination_is_mounted(source: Side, destination: Side) -> None:
    base = layer(b"base")
    jobs = []
    for name in ("a", "b", "c"):
        make_image(source.port, name, "1", base, layer(name.encode()))
        jobs.append(CopyJob(source=source.repository(name), destination=destination.repository(name), references={"1": ("1",)}))
    planned = copy_all(jobs, dry_run=True)
    result = copy_all(jobs)
    assert (result.blobs.sent, result.blobs.mounted) == (7, 2)
    assert planned.blobs == result.blobs
    for name in ("a", "b", "c"):
        assert ask(destination.port, "HEAD", f"/v2/{name}/blobs/{sha256(base)}")[0] == 200


def test_copy_inside_a_registry_sends_nothing(source: Side) -> None:
    made = make_image(source.port, "app", "1")
    result = copy(source.repository("app"), source.repository("promoted/app"), ["1"])
    assert (result.blobs.sent, result.blobs.mounted) == (0, 2)
    assert source.repository("promoted/app").raw_manifest("1") == made.raw


def test_registry_that_does_not_mount_gets_the_blob(source: Side) -> None:
    make_image(source.port, "app", "1")
    source.server.instead = lambda method, path: refused("403 Forbidden", "DENIED") if method == "POST" and not posts.pop() else None
    posts = [True, False, True, False]
    result = copy(source.repository("app"), source.repository("other"), ["1"], threads=1)
    assert (result.blobs.sent, result.blobs.mounted) == (2, 0)


def test_copy_onto_itself_changes_nothing(source: Side) -> None:
    make_image(source.port, "app", "1")
    source.server.forget()
    result = copy(source.repository("app"), source.repository("app"), ["1"])
    assert [image.status for image in result.images] == ["unchanged"]
    assert set(source.server.counts) <= {"HEAD", "GET"}


def test_unchanged_image_costs_one_request_at_each_side_with_skip_unchanged(source: Side, destination: Side) -> None:
    make_image(source.port, "app", "1")
    copy(source.repository("app"), destination.repository("app"), ["1"])
    source.server.forget()
    destination.server.forget()
    copy(source.repository("app"), destination.repository("app"), ["1"], options=CopyOptions(skip_unchanged=True))
    assert (source.server.counts, destination.server.counts) == ({"HEAD": 1}, {"HEAD": 1})


def test_blob_that_was_lost_at_the_destination_is_sent_though_the_tag_is_unchanged(source: Side, destination: Side) -> None:
    made = make_image(source.port, "app", "1")
    copy(source.repository("app"), destination.repository("app"), ["1"])
    lost = sha256(made.layers[0])
    assert ask(destination.port, "DELETE", f"/v2/app/blobs/{lost}")[0] == 202
    result = copy(source.repository("app"), destination.repository("app"), ["1"])
    assert (result.blobs.sent, [image.status for image in result.images]) == (1, ["copied"])
    assert ask(destination.port, "HEAD", f"/v2/app/blobs/{lost}")[0] == 200


def test_blob_that_the_destination_lost_and_still_tells_of_is_sent(source: Side, destination: Side) -> None:
    """As registry:2 does after a garbage collection: a HEAD is answered from memory."""
    made = make_image(source.port, "app", "1")
    copy(source.repository("app"), destination.repository("app"), ["1"])
    lost = sha256(made.layers[0])
    assert ask(destination.port, "DELETE", f"/v2/app/blobs/{lost}")[0] == 202
    lie = "200 OK", [("Content-Type", "application/octet-stream")], bytes(len(made.layers[0]))
    destination.server.instead = lambda method, path: lie if method == "HEAD" and path.endswith(lost) else None
    result = copy(source.repository("app"), destination.repository("app"), ["1"])
    destination.server.instead = lambda method, path: None
    assert (result.blobs.sent, [image.status for image in result.images]) == (1, ["copied"])
    assert ask(destination.port, "GET", f"/v2/app/blobs/{lost}")[0] == 200


def test_blob_that_is_mounted_and_not_there_is_sent(source: Side) -> None:
    made = make_image(source.port, "app", "1")
    mounted: list[str] = []

    def instead(method: str, path: str) -> Reply | None:
        if method != "POST" or mounted:
            return None
        mounted.append(path)
        return "201 Created", [("Location", "/v2/other/blobs/x")], b""

    source.server.instead = instead
    result = copy(source.repository("app"), source.repository("other"), ["1"], threads=1)
    assert (result.blobs.sent, result.blobs.mounted) == (1, 1)
    for blob in (made.config, *made.layers):
        assert ask(source.port, "GET", f"/v2/other/blobs/{sha256(blob)}")[0] == 200


def copies_of_one_base(source: Side, destination: Side, *names: str) -> list[CopyJob]:
    """Jobs of images that have config and layer in common, to a repository each."""
    base = layer(b"base")
    for name in names:
        make_image(source.port, name, "1", base)
    return [CopyJob(source=source.repository(name), destination=destination.repository(name), references={"1": ("1",)}) for name in names]


def test_one_mount_of_a_blob_is_looked_at_and_the_next_ones_of_that_registry_are_not(
    source: Side, destination: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "LOOK_LASTS", 600.0)  # whatever else the machine does
    jobs = copies_of_one_base(source, destination, "a", "b", "c", "d")
    result = copy_all(jobs)
    assert (result.blobs.sent, result.blobs.mounted) == (2, 6)
    # Config and layer are looked for in each of four repositories; then the first mount of each of the two is looked at.
    assert sum(1 for method, path in destination.server.requests if method == "GET" and "/blobs/" in path) == 4 * 2 + 2
    assert all(has_layer(destination, name) for name in ("a", "b", "c", "d"))


def test_every_mount_is_looked_at_where_the_last_look_was_long_ago(
    source: Side, destination: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "LOOK_LASTS", 0.0)
    copy_all(copies_of_one_base(source, destination, "a", "b", "c", "d"))
    assert sum(1 for method, path in destination.server.requests if method == "GET" and "/blobs/" in path) == 4 * 2 + 3 * 2


def test_mounts_of_a_registry_that_accepts_them_and_does_nothing_are_sent(
    source: Side, destination: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = copies_of_one_base(source, destination, "a", "b", "c")
    monkeypatch.setattr(Repository, "mount", lambda self, descriptor, source: True)
    result = copy_all(jobs)
    assert (result.blobs.sent, result.blobs.mounted) == (6, 0)
    assert all(has_layer(destination, name) for name in ("a", "b", "c"))


def test_mount_from_a_repository_that_nobody_looked_at_is_looked_at(source: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside one registry its source may be what was collected, and is mounted from memory all the same."""
    make_image(source.port, "app", "1")
    jobs = [CopyJob(source=source.repository("app"), destination=source.repository(name), references={"1": ("1",)}) for name in ("a", "b")]
    mount = Repository.mount
    monkeypatch.setattr(Repository, "mount", lambda self, descriptor, source: source.path == "app" or mount(self, descriptor, source))
    result = copy_all(jobs)
    assert (result.blobs.sent, result.blobs.mounted) == (2, 2)
    assert all(has_layer(source, name) for name in ("a", "b"))


def has_layer(side: Side, name: str) -> bool:
    """Whether the layer of ``name:1`` is there to its last byte."""
    repository = side.repository(name)
    return repository.has(repository.manifest("1").layers[0])


def test_tags_that_are_not_there_cost_one_request_each(source: Side, destination: Side) -> None:
    for tag in ("1", "2", "3"):
        make_image(source.port, "app", tag, layer(tag.encode()))
    assert destination.repository("other").find("1") is None
    destination.server.forget()
    copy(source.repository("app"), destination.repository("app"), ["1", "2", "3"])
    assert [request for request in destination.server.requests if request[0] == "GET" and "/manifests/" in request[1]] == []
    assert destination.server.counts["HEAD"] == 3


def test_child_of_an_index_that_was_deleted_at_the_destination_is_copied_though_the_tag_is_unchanged(
    source: Side, destination: Side
) -> None:
    children = [make_image(source.port, "app", None, platform=name) for name in ("linux/amd64", "linux/arm64")]
    make_index(source.port, "app", "1", *children)
    copy(source.repository("app"), destination.repository("app"), ["1"])
    assert copy(source.repository("app"), destination.repository("app"), ["1"]).images[0].status == "unchanged"
    assert ask(destination.port, "DELETE", f"/v2/app/manifests/{children[1].digest}")[0] == 202
    assert copy(source.repository("app"), destination.repository("app"), ["1"], dry_run=True).images[0].status == "planned"
    assert copy(source.repository("app"), destination.repository("app"), ["1"]).images[0].status == "copied"
    assert destination.repository("app").raw_manifest(children[1].digest) == children[1].raw


def test_dry_run_writes_nothing_and_counts_what_would_be_sent(source: Side, destination: Side) -> None:
    made = make_image(source.port, "app", "1", layer(b"a"))
    planned = copy(source.repository("app"), destination.repository("app"), ["1"], dry_run=True)
    assert [image.status for image in planned.images] == ["planned"]
    assert (planned.blobs.sent, planned.blobs.bytes_sent) == (2, made.size)
    assert not set(destination.server.counts) & {"PUT", "POST", "PATCH", "DELETE"}


# --- platforms ---


def test_one_platform_is_copied_as_its_image(source: Side, destination: Side) -> None:
    amd, arm = (make_image(source.port, "app", None, platform=name) for name in ("linux/amd64", "linux/arm64"))
    made = make_index(source.port, "app", "1", amd, arm)
    options = CopyOptions(platforms=(Platform.parse("linux/arm64"),))
    image = copy(source.repository("app"), destination.repository("app"), ["1"], options=options).images[0]
    assert (str(image.digest), str(image.stored_digest), image.left_out) == (made.digest, arm.digest, ("linux/amd64",))
    assert destination.repository("app").raw_manifest("1") == arm.raw


def test_several_platforms_are_copied_as_a_smaller_index(source: Side, destination: Side) -> None:
    names = ("linux/amd64", "linux/arm64", "linux/s390x")
    images = [make_image(source.port, "app", None, platform=name) for name in names]
    attestations = [make_image(source.port, "app", None, layer(name.encode()), platform="unknown/unknown") for name in names]
    make_index(source.port, "app", "1", *images, attestations=attestations, extra={"annotations": {"kept": "yes"}})
    options = CopyOptions(platforms=(Platform.parse("linux/amd64"), Platform.parse("linux/s390x")))
    image = copy(source.repository("app"), destination.repository("app"), ["1"], options=options).images[0]
    stored = destination.repository("app").manifest("1")
    assert stored.digest == image.stored_digest != image.digest
    assert [str(child.digest) for child in stored.children] == [
        made.digest for made in (images[0], images[2], attestations[0], attestations[2])
    ]
    assert (dict(stored.annotations), image.left_out) == ({"kept": "yes"}, ("linux/arm64", "1 attestation"))
    assert copy(source.repository("app"), destination.repository("app"), ["1"], options=options).images[0].status == "unchanged"


def test_image_without_an_index_of_another_platform_fails_and_is_not_copied(source: Side, destination: Side) -> None:
    make_image(source.port, "app", "1", platform="linux/amd64")
    options = CopyOptions(platforms=(Platform.parse("linux/arm64"), Platform.parse("linux/s390x")))
    with pytest.raises(NotFound, match="is an image for linux/amd64, not for linux/arm64, linux/s390x"):
        copy(source.repository("app"), destination.repository("app"), ["1"], options=options)
    assert not set(destination.server.counts) & {"PUT", "POST", "PATCH", "DELETE"}


def test_image_without_an_index_of_the_wanted_platform_is_copied(source: Side, destination: Side) -> None:
    made = make_image(source.port, "app", "1", platform="linux/arm64")
    options = CopyOptions(platforms=(Platform.parse("linux/arm64/v8"),))
    result = copy(source.repository("app"), destination.repository("app"), ["1"], options=options)
    assert (result.images[0].status, str(result.images[0].stored_digest)) == ("copied", made.digest)


def test_platform_that_is_not_there_fails_with_those_that_are(source: Side, destination: Side) -> None:
    make_index(source.port, "app", "1", make_image(source.port, "app", None))
    with pytest.raises(NotFound, match=r"no image for linux/s390x") as caught:
        copy(
            source.repository("app"), destination.repository("app"), ["1"], options=CopyOptions(platforms=(Platform.parse("linux/s390x"),))
        )
    assert caught.value.hint == "Its platforms: linux/amd64"


# --- referrers ---


def test_referrers_and_cosign_tags_are_copied_with_an_image(source: Side, destination: Side) -> None:
    made = make_image(source.port, "app", "1")
    sbom = make_artifact(source.port, "app", made)
    signature = make_artifact(source.port, "app", tag=f"{made.digest.replace(':', '-')}.sig", content=b"signed")
    copy(source.repository("app"), destination.repository("app"), ["1"], options=CopyOptions(referrers=True))
    there = destination.repository("app")
    assert [str(each.digest) for each in there.referrers(there.resolve("1"))] == [sbom.digest]
    assert there.raw_manifest(f"{made.digest.replace(':', '-')}.sig") == signature.raw


def test_referrers_of_an_unchanged_image_are_copied(source: Side, destination: Side) -> None:
    made = make_image(source.port, "app", "1")
    copy(source.repository("app"), destination.repository("app"), ["1"])
    sbom = make_artifact(source.port, "app", made)
    options = CopyOptions(referrers=True, skip_unchanged=True)
    copy(source.repository("app"), destination.repository("app"), ["1"], options=options)
    there = destination.repository("app")
    assert [str(each.digest) for each in there.referrers(there.resolve("1"))] == [sbom.digest]


def test_referrers_are_left_where_they_are_without_the_option(source: Side, destination: Side) -> None:
    make_artifact(source.port, "app", make_image(source.port, "app", "1"))
    copy(source.repository("app"), destination.repository("app"), ["1"])
    assert destination.repository("app").referrers(destination.repository("app").resolve("1")) == ()


# --- foreign layers ---


def test_foreign_layer_is_named_and_not_fetched(source: Side, destination: Side) -> None:
    image = make_image(source.port, "app", "1", media_type=DOCKER_IMAGE)
    document = json.loads(image.raw)
    foreign = {"mediaType": FOREIGN, "digest": sha256(b"windows"), "size": 7, "urls": ["https://example.com/windows"]}
    document["layers"].append(foreign)
    put_manifest(source.port, "app", "windows", json.dumps(document).encode(), image.media_type)
    result = copy(source.repository("app"), destination.repository("app"), ["windows"])
    assert [str(digest) for digest in result.images[0].foreign] == [foreign["digest"]]
    assert source.server.times("GET", str(foreign["digest"])) == 0
    with pytest.raises(NotFound):
        copy(source.repository("app"), destination.repository("app"), ["windows"], options=CopyOptions(allow_foreign=True))


# --- failures ---


def test_failed_image_ends_no_other(source: Side, destination: Side) -> None:
    broken = make_image(source.port, "app", "broken", layer(b"lost"))
    make_image(source.port, "app", "whole", layer(b"kept"))
    assert ask(source.port, "DELETE", f"/v2/app/blobs/{sha256(broken.layers[0])}")[0] == 202
    with pytest.raises(NotFound):
        copy(source.repository("app"), destination.repository("app"), ["missing", "broken", "whole"])
    assert destination.repository("app").tags() == ("whole",)


def test_damaged_blob_is_not_stored(source: Side, destination: Side) -> None:
    made = make_image(source.port, "app", "1", layer(b"content"))
    damaged = sha256(made.layers[0])
    content = bytes(len(made.layers[0]))
    octets = [("Content-Type", "application/octet-stream")]
    source.server.instead = lambda method, path: ("200 OK", octets, content) if (method, path[-71:]) == ("GET", damaged) else None
    with pytest.raises(Mismatch):
        copy(source.repository("app"), destination.repository("app"), ["1"])
    assert ask(destination.port, "HEAD", f"/v2/app/blobs/{damaged}")[0] == 404
    assert ask(destination.port, "GET", "/v2/app/manifests/1")[0] == 404


@pytest.mark.parametrize("status", ["429 Too Many Requests", "500 Internal Server Error", "502 Bad Gateway", "503 Service Unavailable"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_registry_that_refuses_for_a_while_gets_the_image(source: Side, destination: Side, status: str, method: str) -> None:
    made = make_image(source.port, "app", "1")
    left = [None] * 2
    destination.server.instead = lambda received, path: refused(status) if received == method and left and left.pop() is None else None
    copy(source.repository("app"), destination.repository("app"), ["1"])
    assert destination.repository("app").raw_manifest("1") == made.raw


def test_registry_that_goes_on_refusing_fails_clearly(source: Side, destination: Side) -> None:
    make_image(source.port, "app", "1")
    destination.server.instead = lambda method, path: refused("502 Bad Gateway") if method == "PUT" else None
    with pytest.raises(RegistryError, match="502"):
        copy(source.repository("app"), destination.repository("app"), ["1"])


def test_upload_that_the_registry_lost_is_begun_again(source: Side, destination: Side) -> None:
    made = make_image(source.port, "app", "1")
    lost = [refused("404 Not Found", "BLOB_UPLOAD_UNKNOWN"), refused("400 Bad Request", "DIGEST_INVALID")]
    destination.server.instead = lambda method, path: lost.pop() if method == "PUT" and "/uploads/" in path and lost else None
    copy(source.repository("app"), destination.repository("app"), ["1"])
    assert destination.repository("app").raw_manifest("1") == made.raw


def test_blob_whose_last_response_was_lost_is_not_sent_again(source: Side, destination: Side) -> None:
    made = make_image(source.port, "app", "1")
    lost: list[str] = []

    def instead(method: str, path: str) -> Reply | None:
        if method == "PUT" and "/manifests/" in path and not lost:
            lost.append(path)
            return refused("504 Gateway Timeout")
        return None

    destination.server.instead = instead
    copy(source.repository("app"), destination.repository("app"), ["1"])
    assert destination.repository("app").raw_manifest("1") == made.raw
    assert destination.server.times("POST", "/uploads/") == 2


def test_unreachable_source_fails_all_of_its_images(source: Side, destination: Side) -> None:
    make_image(source.port, "app", "1")
    with open_registry("127.0.0.1:1") as nowhere:
        jobs = [
            CopyJob(source=nowhere.repository("app"), destination=destination.repository("app"), references={"1": ("1",), "2": ("2",)}),
            CopyJob(source=source.repository("app"), destination=destination.repository("app"), references={"1": ("1",)}),
        ]
        result = copy_all(jobs)
    assert [image.status for image in result.images] == ["failed", "failed", "copied"]
    assert {type(error) for error in result.failures} == {NothingListens}


def test_destination_that_is_gone_is_waited_for_once(source: Side, destination: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    for tag in "abcdef":
        make_image(source.port, "app", tag)
    there = destination.repository("app")
    pushes: list[str | None] = []

    def gone(manifest: Manifest, tag: str | None) -> Descriptor:
        pushes.append(tag)
        raise NothingListens("no registry answers")

    monkeypatch.setattr(there, "push_manifest", gone)
    job = CopyJob(source=source.repository("app"), destination=there, references={tag: (tag,) for tag in "abcdef"})
    result = copy_all([job], threads=1)
    assert [image.status for image in result.images] == ["failed"] * 6
    assert pushes == ["a"] * (len(retry.REPEAT_DELAYS) + 1)


def test_interrupted_copy_cancels_its_uploads(source: Side, destination: Side) -> None:
    large = layer(random.Random(1).randbytes(2 * SMALL))
    make_image(source.port, "app", "1", large)
    begun, cancelled = threading.Event(), threading.Event()

    def instead(method: str, path: str) -> None:
        if method == "DELETE":
            cancelled.set()

    class Interrupting(NullCopyListener):
        def blob_started(self, descriptor: Descriptor) -> None:
            if descriptor.size != len(large):
                # As Ctrl-C does, this ends the copy while another thread's upload is under way.
                assert begun.wait(60)
                raise KeyboardInterrupt

        def blob_progress(self, descriptor: Descriptor, sent: int) -> None:
            begun.set()
            cancelled.wait(60)
            raise KeyboardInterrupt

    destination.server.instead = instead
    try:
        with pytest.raises(KeyboardInterrupt):
            copy(source.repository("app"), destination.repository("app"), ["1"], listener=Interrupting())
        assert [method for method, path in destination.server.requests if "/uploads/" in path and method != "PUT"] == ["POST", "DELETE"]
    finally:
        cancelled.set()


def test_digest_may_get_several_tags(source: Side, destination: Side) -> None:
    made = make_image(source.port, "app", "1")
    digest = Digest.of(made.raw)
    copy(source.repository("app"), destination.repository("app"), {str(digest): ("a", "b")})
    assert {destination.repository("app").resolve(tag).digest for tag in ("a", "b")} == {digest}
