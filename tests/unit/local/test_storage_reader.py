from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from typing import cast

import pytest

from registry_tool.base.errors import EngineError, UsageError
from registry_tool.content.usage.storage import StoredFile
from registry_tool.engine import Container, Engine
from registry_tool.local import storage_reader
from registry_tool.local.storage_reader import locate, parse_listing

FILE, FOLDER, LINK = "81a4", "41ed", "a1ff"
END = b"complete//\n"


def record(path: str, *, mode: str = FILE, size: int = 5, links: int = 1, inode: int = 9) -> bytes:
    return f"{mode} {size} 1700000000 8 {links} {inode} ./{path}//\n".encode(errors="surrogateescape")


def pieces(content: bytes, size: int) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_listing_is_parsed_however_it_is_cut_into_chunks(size: int) -> None:
    listed = record("docker/a") + record("docker", mode=FOLDER) + record("x", mode=LINK) + END
    assert list(parse_listing(pieces(listed, size))) == [
        StoredFile("docker/a", 5, 1700000000, 4096),
        StoredFile("docker", 5, 1700000000, 4096, "directory"),
        StoredFile("x", 5, 1700000000, 4096, "special"),
    ]


@pytest.mark.parametrize("name", ["new\nline", "81a4 9 9 8 1 9 .", " ", "\udcff", "a\ncomplete", "-n"])
def test_hostile_name_is_one_entry(name: str) -> None:
    [entry] = parse_listing([record(name) + END])
    assert (entry.path, entry.size) == (name, 5)


@pytest.mark.parametrize("listed", [b"", record("a"), record("a")[:-3], record("a") + END[:-1], END[:4]])
def test_listing_without_its_end_is_an_error(listed: bytes) -> None:
    with pytest.raises(EngineError, match="cut short"):
        list(parse_listing([listed]))


@pytest.mark.parametrize("listed", [b"sh: find: not found//\n", b"81a4 x 1 1 1 1 ./a//\n"])
def test_line_that_is_no_entry_is_an_error(listed: bytes) -> None:
    with pytest.raises(EngineError, match="has a line that is none"):
        list(parse_listing([listed + END]))


def test_file_with_two_names_uses_its_blocks_once() -> None:
    listed = record("a", links=2) + record("b", links=2) + record("c", links=2, inode=10) + END
    assert [entry.allocated for entry in parse_listing([listed])] == [4096, 0, 4096]


@pytest.mark.parametrize(
    "messages",
    [
        b"",
        b"stat: can't stat './x': No such file or directory\n",
        b"tar: ./x: No such file or directory\ntar: Exiting with failure status due to previous errors\n",
    ],
)
def test_file_that_went_meanwhile_is_no_error(messages: bytes) -> None:
    storage_reader._check_end(1 if messages else 0, messages)


@pytest.mark.parametrize(
    ("code", "messages"),
    [
        (137, b""),
        (1, b"find: ./x: I/O error\n"),
        (0, b"find: ./x: I/O error\n"),
        (1, b"find: ./x: Permission denied\n"),
        (1, b"x\n" * 40000),
    ],
)
def test_listing_with_another_failure_is_an_error(code: int, messages: bytes) -> None:
    with pytest.raises(EngineError, match="read"):
        storage_reader._check_end(code, messages)


def test_messages_that_come_after_the_end_of_the_listing_are_read() -> None:
    messages = bytearray()

    def output() -> Iterator[bytes]:
        yield record("a") + END
        messages.extend(b"find: ./x: Permission denied\n")

    result = storage_reader._attempt(lambda chunks: list(parse_listing(chunks)), output())
    assert not isinstance(result, EngineError)
    assert [entry.path for entry in result] == ["a"]
    assert messages == b"find: ./x: Permission denied\n"


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_archives_after_each_other_are_read_to_the_end() -> None:
    deep = "/".join(["deep" * 20] * 3)
    content = archive({"./a": b"1", deep: b"2" * 999}) + archive({"b": b""})
    assert dict(storage_reader._unpack(pieces(content, 500))) == {"a": b"1", deep: b"2" * 999, "b": b""}


def test_output_of_nothing_has_no_files() -> None:
    assert list(storage_reader._unpack(iter(()))) == []


def test_archive_that_is_cut_inside_a_file_is_an_error() -> None:
    with pytest.raises(EngineError, match="could not be read"):
        list(storage_reader._unpack(pieces(archive({"a": b"1" * 5000})[:2000], 500)))


class FilesOnly:
    """An engine that has files in containers, and nothing else."""

    def __init__(self, **files: bytes) -> None:
        self._files = files

    def get_file(self, id: str, path: str) -> bytes | None:
        return self._files.get(path.rpartition("/")[2].partition(".")[0])


def registry(mounts: Mapping[str, str], **environment: str) -> Container:
    return Container(
        id="1",
        name="registry",
        image="registry:2",
        image_id="sha256:1",
        state="running",
        entrypoint=("/entrypoint.sh",),
        command=("/etc/docker/registry/config.yml",),
        environment=tuple(f"{name}={value}" for name, value in environment.items()),
        mounts=mounts,
    )


def located(container: Container, **files: bytes) -> tuple[str, bool, str]:
    location = locate(cast("Engine", FilesOnly(**files)), container)
    return location.source, location.is_folder, location.folder


def test_root_directory_is_found_in_the_mount_that_has_it() -> None:
    assert located(registry({"/var/lib/registry": "data"})) == ("data", False, "")
    assert located(registry({"/var": "var", "/var/lib": "/srv"})) == ("/srv", True, "registry")
    moved = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/data/images/"}
    assert located(registry({"/data": "data", "/var/lib/registry": "x"}, **moved)) == ("data", False, "images")
    file = b"version: 0.1\nstorage:\n  cache:\n    blobdescriptor: inmemory\n  filesystem:\n    rootdirectory: /data\n"
    assert located(registry({"/data": "data", "/var/lib/registry": "x"}), config=file) == ("data", False, "")


@pytest.mark.parametrize(
    ("container", "file", "message"),
    [
        (registry({}), b"", "in no volume: none is mounted at /var/lib/registry"),
        (registry({"/var/lib/registry": ""}), b"", "in no volume"),
        (registry({"/var/lib/registry2": "data"}), b"", "in no volume"),
        (registry({"/var/lib/registry": "a", "/var/lib/registry/docker": "b"}), b"", "other volumes inside of its content: /var/lib/"),
        (registry({"/var/lib/registry": "a"}, REGISTRY_STORAGE="s3"), b"", "in 's3', not in files"),
        (registry({"/var/lib/registry": "a"}), b"storage:\n  delete:\n    enabled: true\n  s3:\n    bucket: x\n", "in 's3', not in files"),
        (registry({"/var/lib/registry": "a"}), b"storage: inmemory\n", "in 'inmemory', not in files"),
    ],
)  # fmt: skip
def test_storage_that_cannot_be_listed_is_refused(container: Container, file: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        located(container, **({"config": file} if file else {}))
