"""Undo: whatever was deleted is there again, with the same digests and tags; a newer tag is not moved unless that is asked for."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from registry_tool import server
from registry_tool.base.errors import Conflict, InvalidManifest, NotFound, Protected, RegistryToolError, UnknownMediaType
from registry_tool.content import delete, undo
from registry_tool.content.delete import Selection
from registry_tool.content.protection import add_protection
from registry_tool.content.undo import Journal, JournalSource, Restored, UndoEntry
from registry_tool.content.undo.journal import require_one
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Manifest
from registry_tool.targets.registry import Registry, Repository
from registry_tool.transport import Transport
from tests.support.content import ACCEPT, layer, make_artifact, make_image, make_index
from tests.support.deletions import NAME, at, of, push_tombstone, retag, there, write
from tests.support.fake_repository import FakeRepository
from tests.support.fake_server import ReceivedRequest, Reply
from tests.support.faulty_proxy import FaultyProxy, Forward, faulty_proxy, respond_with
from tests.support.registry_over_http import ask

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


@pytest.fixture
def proxy(registry: server.RunningRegistry) -> Iterator[FaultyProxy]:
    with faulty_proxy(registry.port) as proxy:
        yield proxy


@pytest.fixture
def repository(proxy: FaultyProxy) -> Iterator[Repository]:
    with Registry(Transport(proxy.host)) as opened:
        yield opened.repository(NAME)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "undo", now=NOW)


@pytest.fixture
def source(journal: Journal, repository: Repository) -> JournalSource:
    return JournalSource(journal, lambda name: repository)


def deleted(repository: Repository, journal: Journal, selection: Selection) -> UndoEntry:
    """Delete; the entry of it."""
    before = {entry.id for entry in journal.entries()}
    for _ in undo.apply(delete.plan(repository, selection), repository, journal, command="delete", allow_empty=True):
        pass
    (entry,) = [entry for entry in journal.entries() if entry.id not in before]
    return entry


def entries(proxy: FaultyProxy, list_tag: str) -> list[str]:
    """The digests that a list of referrers names."""
    raw = ask(proxy.target, "GET", f"/v2/{NAME}/manifests/{list_tag}", headers={"Accept": ACCEPT})[2]
    return [each["digest"] for each in json.loads(raw)["manifests"]]


def undone(source: JournalSource, entry: UndoEntry, *, overwrite: bool = False) -> list[Restored]:
    return list(source.restore(source.plan(entry.id), overwrite=overwrite))


# --- what comes back ---


def test_deleted_image_comes_back_with_its_digest_and_tag(
    repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource
) -> None:
    made = make_image(proxy.target, NAME, "v1")
    entry = deleted(repository, journal, of("v1"))
    assert not there(proxy, "v1")
    assert (entry.tags, entry.manifests, entry.command, entry.interrupted) == (("v1",), 1, "delete", False)
    assert (entry.created, entry.until) == (NOW, NOW + timedelta(days=7))
    assert [(done.what, done.tag) for done in undone(source, entry)] == [("manifest", None), ("tag", "v1")]
    assert at(proxy, "v1") == made.digest
    assert source.entries() == ()


def test_removed_tag_comes_back(repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource) -> None:
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "latest")
    entry = deleted(repository, journal, of("v1"))
    assert entry.manifests == 0
    assert [done.what for done in undone(source, entry)] == ["tag"]
    assert at(proxy, "v1") == at(proxy, "latest") == made.digest


def test_index_comes_back_with_its_children(repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource) -> None:
    children = [make_image(proxy.target, NAME, platform=f"linux/{each}") for each in ("amd64", "arm64")]
    index = make_index(proxy.target, NAME, "v1", *children)
    entry = deleted(repository, journal, of("v1"))
    assert not any(there(proxy, child.digest) for child in children)
    undone(source, entry)
    assert at(proxy, "v1") == index.digest
    assert all(there(proxy, child.digest) for child in children)


def test_index_comes_back_where_its_child_stayed(
    repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource
) -> None:
    child = make_image(proxy.target, NAME, "child")
    index = make_index(proxy.target, NAME, "v1", child)
    undone(source, deleted(repository, journal, of("v1")))
    assert at(proxy, "v1") == index.digest


def test_signature_comes_back_with_its_image_and_the_list_of_referrers(
    repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource
) -> None:
    image = make_image(proxy.target, NAME, "v1")
    first = make_artifact(proxy.target, NAME, subject=image, content=b"first", tag="first")
    make_artifact(proxy.target, NAME, subject=image, content=b"second", tag="second")
    listed = at(proxy, image.digest.replace(":", "-"))
    entry = deleted(repository, journal, of(digest=first.digest))
    undone(source, entry)
    assert at(proxy, "first") == first.digest
    assert at(proxy, image.digest.replace(":", "-")) == listed


@pytest.mark.parametrize("is_deleted", [False, True], ids=["tag", "manifest"])
@pytest.mark.parametrize("has_list", [False, True])
def test_referrer_that_no_list_names_comes_back_without_one(
    repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource, is_deleted: bool, has_list: bool
) -> None:
    image = make_image(proxy.target, NAME, "v1")
    tag = image.digest.replace(":", "-")
    unlisted = make_artifact(proxy.target, NAME, subject=image, content=b"unlisted", tag="unlisted")
    assert ask(proxy.target, "DELETE", f"/v2/{NAME}/manifests/{at(proxy, tag)}")[0] == 202
    if has_list:
        make_artifact(proxy.target, NAME, subject=image, content=b"listed", tag="listed")
    listed = at(proxy, tag) if has_list else None
    if not is_deleted:
        retag(proxy, unlisted, "another")
    undone(source, deleted(repository, journal, of(digest=unlisted.digest) if is_deleted else of("unlisted")))
    assert there(proxy, "another") is not is_deleted
    assert at(proxy, "unlisted") == unlisted.digest
    assert (at(proxy, tag) if there(proxy, tag) else None) == listed


@pytest.mark.parametrize("how", ["kept", "damaged", "not kept"])
def test_tag_of_a_referrer_that_was_deleted_later_comes_back_with_its_entry_in_the_list(
    repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource, tmp_path: Path, how: str
) -> None:
    image = make_image(proxy.target, NAME, "v1")
    signature = make_artifact(proxy.target, NAME, subject=image, content=b"signature", tag="t1")
    retag(proxy, signature, "t2")
    tag = image.digest.replace(":", "-")
    first = deleted(repository, journal, of("t1"))
    assert entries(proxy, tag) == [signature.digest]
    second = deleted(repository, journal, of(digest=signature.digest))
    assert entries(proxy, tag) == []
    if how == "damaged":
        (tmp_path / "undo" / f"{second.id}.json").write_text("")
    elif how == "not kept":
        journal.remove(second.id)
    undone(source, first)
    assert at(proxy, "t1") == signature.digest
    assert entries(proxy, tag) == [signature.digest]


def test_tag_of_an_unlisted_referrer_that_was_deleted_later_comes_back_without_a_list(
    repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource
) -> None:
    image = make_image(proxy.target, NAME, "v1")
    unlisted = make_artifact(proxy.target, NAME, subject=image, content=b"unlisted", tag="t1")
    retag(proxy, unlisted, "t2")
    tag = image.digest.replace(":", "-")
    assert ask(proxy.target, "DELETE", f"/v2/{NAME}/manifests/{at(proxy, tag)}")[0] == 202
    first = deleted(repository, journal, of("t1"))
    deleted(repository, journal, of(digest=unlisted.digest))
    undone(source, first)
    assert at(proxy, "t1") == unlisted.digest
    assert not there(proxy, tag)


@pytest.mark.parametrize("others", [0, 1])
def test_referrer_whose_deletion_was_killed_after_the_list_is_in_the_list_again(
    repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource, others: int
) -> None:
    image = make_image(proxy.target, NAME, "v1")
    signature = make_artifact(proxy.target, NAME, subject=image, content=b"signature", tag="t1")
    for number in range(others):
        make_artifact(proxy.target, NAME, subject=image, content=str(number).encode())
    tag = image.digest.replace(":", "-")
    listed = at(proxy, tag)
    proxy.inject(respond_with(403), method="DELETE", path=signature.digest)
    with pytest.raises(RegistryToolError):
        deleted(repository, journal, of(digest=signature.digest))
    proxy.reset()
    assert signature.digest not in entries(proxy, tag)
    undone(source, journal.entries()[0])
    assert at(proxy, tag) == listed
    assert at(proxy, "t1") == signature.digest


@pytest.mark.parametrize("undo_first_too", [False, True])
def test_referrer_whose_deletion_was_killed_after_the_list_and_repeated_comes_back_with_its_entry(
    repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource, undo_first_too: bool
) -> None:
    image = make_image(proxy.target, NAME, "v1")
    signature = make_artifact(proxy.target, NAME, subject=image, content=b"signature", tag="t1")
    tag = image.digest.replace(":", "-")
    listed = at(proxy, tag)
    proxy.inject(respond_with(403), method="DELETE", path=signature.digest)
    with pytest.raises(RegistryToolError):
        deleted(repository, journal, of(digest=signature.digest))
    proxy.reset()
    (first,) = journal.entries()
    # As a kill leaves it.
    assert entries(proxy, tag) == []
    assert at(proxy, "t1") == signature.digest
    undone(source, deleted(repository, journal, of(digest=signature.digest)))
    assert at(proxy, "t1") == signature.digest
    assert entries(proxy, tag) == [signature.digest]
    if undo_first_too:
        undone(source, first)
        assert at(proxy, tag) == listed


@pytest.mark.parametrize("signed_meanwhile", [False, True])
def test_list_of_referrers_that_was_deleted_as_a_tag_comes_back(
    repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource, signed_meanwhile: bool
) -> None:
    image = make_image(proxy.target, NAME, "v1")
    signatures = [make_artifact(proxy.target, NAME, subject=image, content=content) for content in (b"first", b"second")]
    tag = image.digest.replace(":", "-")
    listed = at(proxy, tag)
    entry = deleted(repository, journal, of(tag))
    assert not there(proxy, tag)
    plan = source.plan(entry.id)
    if signed_meanwhile:
        make_artifact(proxy.target, NAME, subject=image, content=b"another")
        with pytest.raises(Conflict, match="moved"):
            list(source.restore(plan, overwrite=False))
        return
    list(source.restore(plan, overwrite=False))
    assert at(proxy, tag) == listed
    assert all(there(proxy, signature.digest) for signature in signatures)


def test_manifest_without_tags_comes_back(repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource) -> None:
    make_image(proxy.target, NAME, "other")
    made = make_image(proxy.target, NAME, None, layer(b"untagged"))
    undone(source, deleted(repository, journal, of(digest=made.digest)))
    assert there(proxy, made.digest)


def test_undo_of_what_is_there_writes_nothing(repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource) -> None:
    made = make_image(proxy.target, NAME, "v1")
    entry = deleted(repository, journal, of("v1"))
    make_image(proxy.target, NAME, "v1")
    before = write(proxy)
    assert source.plan(entry.id).is_empty
    assert undone(source, entry) == []
    assert write(proxy) == before
    assert at(proxy, "v1") == made.digest


def test_plan_writes_nothing(repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource) -> None:
    make_image(proxy.target, NAME, "v1")
    entry = deleted(repository, journal, of("v1"))
    before = write(proxy)
    source.plan(entry.id)
    assert write(proxy) == before


# --- newer tags ---


def test_newer_tag_stays_unless_it_is_to_be_overwritten(
    repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource
) -> None:
    old = make_image(proxy.target, NAME, "v1")
    entry = deleted(repository, journal, of("v1"))
    newer = make_image(proxy.target, NAME, "v1", layer(b"newer"))
    plan = source.plan(entry.id)
    assert [(tag.action, str(tag.current)) for tag in plan.tags] == [("moved", newer.digest)]
    list(source.restore(plan, overwrite=False))
    assert at(proxy, "v1") == newer.digest
    assert there(proxy, old.digest)


def test_newer_tag_is_moved_back_if_that_is_asked_for(
    repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource
) -> None:
    old = make_image(proxy.target, NAME, "v1")
    entry = deleted(repository, journal, of("v1"))
    newer = make_image(proxy.target, NAME, "v1", layer(b"newer"))
    undone(source, entry, overwrite=True)
    assert at(proxy, "v1") == old.digest
    assert there(proxy, newer.digest)


def test_newer_tag_that_is_protected_is_not_moved(
    repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource
) -> None:
    make_image(proxy.target, NAME, "v1")
    entry = deleted(repository, journal, of("v1"))
    newer = make_image(proxy.target, NAME, "v1", layer(b"newer"))
    add_protection(repository, "v*")
    before = write(proxy)
    with pytest.raises(Protected, match="nothing was restored"):
        undone(source, entry, overwrite=True)
    assert write(proxy) == before
    undone(source, entry)
    assert at(proxy, "v1") == newer.digest


def test_tag_that_moves_after_the_plan_is_a_conflict(
    repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource
) -> None:
    make_image(proxy.target, NAME, "v1")
    entry = deleted(repository, journal, of("v1"))
    plan = source.plan(entry.id)
    newer = make_image(proxy.target, NAME, "v1", layer(b"newer"))
    with pytest.raises(Conflict, match="v1 moved"):
        list(source.restore(plan, overwrite=False))
    assert at(proxy, "v1") == newer.digest
    assert len(source.entries()) == 1


# --- what is gone ---


def test_blob_that_is_gone_is_named_before_anything_is_written(
    repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource
) -> None:
    content = layer(b"collected")
    make_image(proxy.target, NAME, "v1", content)
    entry = deleted(repository, journal, of("v1"))
    digest = Digest.of(content)
    proxy.inject(respond_with(404), path=f"blobs/{digest}")
    plan = source.plan(entry.id)
    assert [(each.digest, each.size) for each in plan.missing] == [(digest, len(content))]
    before = write(proxy)
    with pytest.raises(NotFound, match=f"does not have {digest}"):
        list(source.restore(plan, overwrite=False))
    assert write(proxy) == before
    assert len(source.entries()) == 1


def test_child_that_is_gone_and_was_not_part_of_the_deletion_is_named(
    repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource
) -> None:
    child = make_image(proxy.target, NAME, "child")
    make_index(proxy.target, NAME, "v1", child)
    entry = deleted(repository, journal, of("v1"))
    deleted(repository, journal, of("child"))
    assert [str(each.digest) for each in source.plan(entry.id).missing] == [child.digest]


# --- interruptions ---


def test_deletion_that_is_killed_before_its_end_is_restored(
    repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource
) -> None:
    made = [make_image(proxy.target, NAME, f"v{number}", layer(str(number).encode())) for number in range(3)]
    steps = undo.apply(delete.plan(repository, of(pattern="v*")), repository, journal, command="delete", allow_empty=True)
    next(steps)
    # As a kill leaves it: nothing more runs.
    (entry,) = source.entries()
    assert entry.interrupted
    undone(source, entry)
    assert [at(proxy, f"v{number}") for number in range(3)] == [each.digest for each in made]


def test_journal_is_written_before_the_first_write(repository: Repository, proxy: FaultyProxy, journal: Journal) -> None:
    made = make_image(proxy.target, NAME, "v1")
    seen: list[int] = []

    def look(received: ReceivedRequest, forward: Forward) -> Reply:
        if made.digest in received.path:
            seen.append(len(journal.entries()))
        return forward(received)

    proxy.inject(look, method="DELETE")
    deleted(repository, journal, of("v1"))
    assert seen
    assert all(seen)


def test_tag_that_a_killed_deletion_left_at_a_tombstone_comes_back(
    repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource
) -> None:
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "latest")
    entry = deleted(repository, journal, of("v1"))
    tombstone = push_tombstone(proxy, "v1")
    undone(source, entry)
    assert at(proxy, "v1") == made.digest
    assert not there(proxy, tombstone)


def test_restoration_that_fails_can_be_repeated(
    repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource
) -> None:
    made = [make_image(proxy.target, NAME, f"v{number}", layer(str(number).encode())) for number in range(3)]
    entry = deleted(repository, journal, of(pattern="v*"))
    proxy.inject(respond_with(403), method="PUT", path="manifests/v1")
    with pytest.raises(RegistryToolError):
        undone(source, entry)
    proxy.reset()
    undone(source, source.entries()[0])
    assert [at(proxy, f"v{number}") for number in range(3)] == [each.digest for each in made]


def test_deletion_that_finds_something_else_than_planned_leaves_no_entry(
    repository: Repository, proxy: FaultyProxy, journal: Journal
) -> None:
    make_image(proxy.target, NAME, "v1")
    plan = delete.plan(repository, of("v1"))
    make_image(proxy.target, NAME, "v1", layer(b"newer"))
    with pytest.raises(Conflict):
        list(undo.apply(plan, repository, journal, command="delete"))
    assert journal.entries() == ()


def test_deletion_that_fails_keeps_its_entry(repository: Repository, proxy: FaultyProxy, journal: Journal) -> None:
    made = make_image(proxy.target, NAME, "v1")
    proxy.inject(respond_with(405), method="DELETE", path=made.digest)
    with pytest.raises(RegistryToolError):
        list(undo.apply(delete.plan(repository, of("v1")), repository, journal, command="delete"))
    (entry,) = journal.entries()
    assert not entry.interrupted


# --- the journal ---


def test_journal_is_readable_by_its_owner_only(repository: Repository, proxy: FaultyProxy, journal: Journal, tmp_path: Path) -> None:
    make_image(proxy.target, NAME, "v1")
    deleted(repository, journal, of("v1"))
    (path,) = (tmp_path / "undo").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_journal_that_cannot_be_written_stops_the_deletion(repository: Repository, proxy: FaultyProxy, tmp_path: Path) -> None:
    make_image(proxy.target, NAME, "v1")
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file" / "undo")
    before = proxy.count("PUT|POST|PATCH")
    with pytest.raises(RegistryToolError, match="cannot be kept for undo") as raised:
        list(undo.apply(delete.plan(repository, of("v1")), repository, journal, command="delete"))
    assert "--no-undo" in (raised.value.hint or "")
    assert proxy.count("PUT|POST|PATCH") == before
    assert there(proxy, "v1")


def test_deletion_without_a_journal_keeps_nothing(repository: Repository, proxy: FaultyProxy, journal: Journal, tmp_path: Path) -> None:
    make_image(proxy.target, NAME, "v1")
    list(undo.apply(delete.plan(repository, of("v1")), repository, None, command="delete"))
    assert not there(proxy, "v1")
    assert not (tmp_path / "undo").exists()


def test_expired_entry_goes_with_the_next_deletion_or_list(repository: Repository, proxy: FaultyProxy, tmp_path: Path) -> None:
    make_image(proxy.target, NAME, "v1")
    make_image(proxy.target, NAME, "v2", layer(b"2"))
    first = deleted(repository, Journal(tmp_path, now=NOW), of("v1"))
    later = Journal(tmp_path, now=NOW + timedelta(days=7))
    second = deleted(repository, later, of("v2"))
    assert [entry.id for entry in later.entries()] == [second.id]
    assert first.id != second.id
    last = JournalSource(Journal(tmp_path, now=NOW + timedelta(days=15)), lambda name: repository)
    assert last.entries() == ()
    assert list(tmp_path.iterdir()) == []


def test_damaged_entry_is_removed_a_month_later(journal: Journal, source: JournalSource, tmp_path: Path) -> None:
    path = tmp_path / "undo" / "0a1b2c3d.json"
    path.parent.mkdir()
    path.write_text("")
    os.utime(path, (NOW.timestamp() - 29 * 86400, NOW.timestamp() - 29 * 86400))
    assert [entry.id for entry in source.entries()] == ["0a1b2c3d"]
    os.utime(path, (NOW.timestamp() - 30 * 86400, NOW.timestamp() - 30 * 86400))
    assert source.entries() == ()


@pytest.mark.parametrize("damage", ["empty", "cut", "other bytes", "version", "another id", "folder", "link"])
def test_damaged_entry_is_listed_with_its_problem_and_restores_nothing(
    repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource, tmp_path: Path, damage: str
) -> None:
    make_image(proxy.target, NAME, "v1")
    make_image(proxy.target, NAME, "v2", layer(b"2"))
    entry = deleted(repository, journal, of("v1"))
    deleted(repository, journal, of("v2"))
    path = tmp_path / "undo" / f"{entry.id}.json"
    document = json.loads(path.read_text())
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    elif damage == "other bytes":
        document["manifests"][0]["content"] = "e30="
        path.write_text(json.dumps(document))
    elif damage == "version":
        path.write_text(json.dumps(document | {"version": 2}))
    elif damage == "another id":
        path.write_text(json.dumps(document | {"id": "00000000"}))
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.rename(tmp_path / "elsewhere.json")
        path.symlink_to(tmp_path / "elsewhere.json")
    before = write(proxy)
    with pytest.raises(InvalidManifest):
        source.plan(entry.id)
    assert write(proxy) == before
    listed = {each.id: each.problem for each in source.entries()}
    assert len(listed) == 2
    if damage != "other bytes":
        assert listed[entry.id]


def test_files_of_others_in_the_folder_are_left_alone(journal: Journal, source: JournalSource, tmp_path: Path) -> None:
    folder = tmp_path / "undo"
    folder.mkdir()
    for name in ("notes.json", ".0a1b2c3d.json.part", "0A1B2C3D.json"):
        (folder / name).write_text("")
        os.utime(folder / name, (0, 0))
    assert source.entries() == ()
    assert len(list(folder.iterdir())) == 3


def test_what_could_not_be_read_is_named_as_lost(
    repository: Repository, proxy: FaultyProxy, journal: Journal, source: JournalSource
) -> None:
    made = make_image(proxy.target, NAME, "v1")
    make_image(proxy.target, NAME, "v2", layer(b"2"))

    def damaged(received: ReceivedRequest, forward: Forward) -> Reply:
        reply = forward(received)
        return Reply(status=reply.status, headers=reply.headers, body=reply.body[:-1] + b" ")

    proxy.inject(damaged, method="GET", path=f"manifests/({made.digest}|v1)")
    entry = deleted(repository, journal, of("v1"))
    assert entry.lost == (made.digest,)
    assert "could not be read" in source.plan(entry.id).notes[0]


class _Odd(FakeRepository):
    """Has a manifest of a type that is not read under the tag ``odd``."""

    raw = b'{"schemaVersion":2,"mediaType":"application/vnd.example+json"}'

    def __init__(self) -> None:
        super().__init__(lists_referrers=True, untags=False)
        descriptor = Descriptor(media_type="application/vnd.example+json", digest=Digest.of(self.raw), size=len(self.raw))
        self.push_manifest(Manifest(raw=self.raw, descriptor=descriptor, kind="image"), "odd")

    def resolve(self, reference: str) -> Descriptor:
        return super().manifest(reference).descriptor

    def manifest(self, reference: str | Digest) -> Manifest:
        manifest = super().manifest(reference)
        if manifest.raw == self.raw:
            error = UnknownMediaType("mediaType: neither an image nor an index")
            error.content = self.raw
            raise error
        return manifest


def test_manifest_of_an_unknown_type_comes_back(journal: Journal) -> None:
    odd = _Odd()
    list(undo.apply(delete.plan(odd, of("odd")), odd, journal, command="delete"))
    assert not odd.digests
    (entry,) = journal.entries()
    source = JournalSource(journal, lambda name: odd)
    list(source.restore(source.plan(entry.id), overwrite=False))
    assert odd.resolve("odd") == Descriptor(media_type="application/vnd.example+json", digest=Digest.of(odd.raw), size=len(odd.raw))


def test_id_may_be_shortened_as_long_as_it_is_clear() -> None:
    def entry(id: str) -> UndoEntry:
        return UndoEntry(id=id, command="delete", repositories=(), tags=(), manifests=0, bytes=0, created=NOW, until=NOW)

    entries = [entry("0a1b2c3d"), entry("0a9b2c3d")]
    assert require_one(entries, "0a1") == entries[0]
    with pytest.raises(Conflict, match="0a1b2c3d, 0a9b2c3d"):
        require_one(entries, "0a")
    with pytest.raises(NotFound):
        require_one(entries, "ff")
