from __future__ import annotations

import string
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from registry_tool.content.usage import storage as paths
from registry_tool.content.usage.storage import RegistryStorage, StoredFile
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import is_repository, is_tag

digests = st.builds(Digest.of, st.integers(0, 5).map(lambda number: bytes([number])), st.sampled_from(["sha256", "sha512"]))
repositories = st.sampled_from(["app", "app/web", "app/web/ui", "team/base"])
tags = st.sampled_from(["latest", "Latest", "1.0", "sha256-ab"])
ids = st.sampled_from(["6ff5…".encode().hex(), "0f-1", "a" * 128])


valid_paths = st.one_of(
    st.builds(paths.blob_path, digests),
    st.builds(paths.revision_path, repositories, digests),
    st.builds(paths.layer_path, repositories, digests),
    st.builds(paths.tag_path, repositories, tags),
    st.builds(paths.tag_history_path, repositories, tags, digests),
    st.builds(
        lambda name, id, rest: f"{paths.upload_path(name, id)}/{rest}",
        repositories,
        ids,
        st.sampled_from(["data", "startedat", "hashstates/sha256/0"]),
    ),
)
own_paths = st.sampled_from(["registry-tool/settings.json", "registry-tool/collection/1.json", "registry-tool/undo/1/index.json"])
parts = st.text(string.ascii_letters + string.digits + "._-:\n \N{SNOWMAN}\udcff", max_size=8)


@st.composite
def hostile_paths(draw: st.DrawFn) -> str:
    """A path that is nearly distribution's: a part replaced, removed, added or cut."""
    path = draw(valid_paths).split("/")
    position = draw(st.integers(0, len(path) - 1))
    change = draw(st.sampled_from(["replace", "remove", "add", "cut", "upper"]))
    if change == "replace":
        path[position] = draw(parts)
    elif change == "remove":
        del path[position]
    elif change == "add":
        path.insert(position, draw(st.sampled_from(["..", ".", "_layers", "x", "", "_manifests"])))
    elif change == "upper":
        path[position] = path[position].upper()
    else:
        del path[position:]
    return "/".join(path)


files = st.builds(
    StoredFile,
    path=valid_paths | hostile_paths() | own_paths | parts,
    size=st.integers(0, 2**50),
    modified=st.integers(-1, 2**40),
    allocated=st.integers(0, 2**50),
    kind=st.sampled_from(["file", "file", "file", "directory", "special"]),
)


@given(st.lists(files, max_size=30))
def test_every_byte_and_file_is_in_exactly_one_part(listed: list[StoredFile]) -> None:
    storage = RegistryStorage.classify(iter(listed))
    counted = [each for each in listed if each.kind != "directory"]
    repositories = storage.repositories.values()
    links_and_uploads = sum(each.link_bytes + each.upload_bytes for each in repositories)
    others = sum(each.size for each in storage.other)
    assert storage.total == sum(each.size for each in counted)
    assert storage.total == sum(storage.blobs.values()) + links_and_uploads + storage.own + storage.undo + others
    assert storage.files == len(counted)
    assert storage.allocated == sum(each.allocated for each in counted)
    ours = sum(each.path.startswith("registry-tool/") for each in counted)
    assert storage.files == len(storage.blobs) + sum(each.files for each in repositories) + ours + len(storage.other)


@given(st.lists(files, max_size=30))
def test_paths_built_from_what_was_parsed_are_among_those_listed(listed: list[StoredFile]) -> None:
    storage = RegistryStorage.classify(listed)
    there = {each.path for each in listed}
    rebuilt = [*map(paths.blob_path, storage.blobs), *(paths.tag_path(*link) for link in storage.tag_links())]
    for name, repository in storage.repositories.items():
        assert is_repository(name)
        assert all(map(is_tag, repository.tag_folders))
        rebuilt += [paths.revision_path(name, digest) for digest in repository.revisions]
        rebuilt += [paths.layer_path(name, digest) for digest in repository.layers]
        for upload in repository.uploads:
            folder = paths.upload_path(name, upload.id)
            assert any(path == folder or path.startswith(f"{folder}/") for path in there)
    assert set(rebuilt) <= there


@given(
    st.lists(
        st.builds(StoredFile, path=valid_paths, size=st.integers(0, 99), modified=st.just(0)), max_size=30, unique_by=lambda each: each.path
    )
)
def test_what_distribution_writes_is_never_other(listed: list[StoredFile]) -> None:
    assert RegistryStorage.classify(listed).other == ()


def test_path_listed_twice_is_counted_and_named() -> None:
    file = StoredFile(paths.blob_path(Digest.of(b"a")), 7, 0)
    storage = RegistryStorage.classify([file, replace(file, size=3)])
    assert storage.blobs == {Digest.of(b"a"): 7}
    assert [each.size for each in storage.other] == [3]
    assert storage.total == 10


def test_symbolic_link_in_the_place_of_a_blob_is_other() -> None:
    file = StoredFile(paths.blob_path(Digest.of(b"a")), 7, 0, kind="special")
    storage = RegistryStorage.classify([file])
    assert (storage.blobs, storage.other) == ({}, (file,))


def test_folder_without_files_makes_an_empty_repository_and_an_upload() -> None:
    folders = [f"{paths.repository_path('a')}/_layers", paths.upload_path("b", "17"), f"{paths.repository_path('c')}/_other"]
    storage = RegistryStorage.classify(StoredFile(path, 0, 5, kind="directory") for path in folders)
    assert list(storage.repositories) == ["a", "b"]
    assert storage.repositories["a"].is_empty
    assert [(each.id, each.modified, each.files) for each in storage.repositories["b"].uploads] == [("17", 5, 0)]
    assert storage.files == 0


def test_tags_have_the_digests_that_were_read() -> None:
    listed = [StoredFile(paths.tag_path("app", tag), 71, 0) for tag in ("1", "2")]
    storage = RegistryStorage.classify(listed).with_tags({("app", "1"): Digest.of(b"a"), ("other", "2"): Digest.of(b"b")})
    assert storage.repositories["app"].tags == {"1": Digest.of(b"a")}
    assert list(storage.tag_links()) == [("app", "1"), ("app", "2")]
