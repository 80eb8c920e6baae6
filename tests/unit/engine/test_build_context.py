"""The build context: ignored files are never opened, sockets are left out, unreadable files are errors."""

from __future__ import annotations

import io
import os
import shutil
import socket
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_tool.base.errors import BuildFailed
from registry_tool.engine.build import context as contexts
from registry_tool.engine.build.dockerfile import instructions
from registry_tool.engine.build.source import IGNORE_FILE, OUTSIDE_DOCKERFILE, DockerfileSource

FIVE_GIGABYTES = 5 * 2**30


def packed(
    folder: Path, extra: Mapping[str, Path] | None = None, dockerfile: str | None = None
) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    stream = b"".join(
        contexts.tar_stream(
            contexts.files(folder, DockerfileSource.on_disk(folder, folder / dockerfile if dockerfile else None), extra or {})
        )
    )
    assert len(stream) % tarfile.BLOCKSIZE == 0
    with tarfile.open(fileobj=io.BytesIO(stream)) as tar:
        members = tar.getmembers()
        return {member.name: (member, (tar.extractfile(member) or io.BytesIO()).read() if member.isreg() else b"") for member in members}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    return tmp_path


def test_unreadable_file_fails_the_build(folder: Path) -> None:
    (folder / "gone").write_text("x")
    result = contexts.files(folder, DockerfileSource.on_disk(folder), {})
    (folder / "gone").unlink()
    with pytest.raises(BuildFailed, match=r"cannot be read: .*/gone: No such file"):
        list(contexts.tar_stream(result))


def test_file_that_shrinks_while_read_fails_the_build(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "log").write_bytes(b"x" * 1000)
    result = contexts.files(folder, DockerfileSource.on_disk(folder), {})
    real = os.fstat

    class Grown:
        def __init__(self, handle: int) -> None:
            self.st_size = real(handle).st_size + 1

    monkeypatch.setattr("registry_tool.engine.build.context.os.fstat", Grown)
    with pytest.raises(BuildFailed, match="became shorter"):
        list(contexts.tar_stream(result))


def test_binary_ignore_file_fails_the_build(folder: Path) -> None:
    (folder / ".dockerignore").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(BuildFailed, match=r"build context .* cannot be read"):
        contexts.files(folder, DockerfileSource.on_disk(folder), {})


def test_ignored_files_are_never_opened(folder: Path) -> None:
    (folder / ".dockerignore").write_text("giant\nheaps/\n# giant is a comment\n")
    (folder / "heaps").mkdir()
    for name in ("giant", "heaps/giant"):
        with (folder / name).open("wb") as sparse:
            sparse.truncate(FIVE_GIGABYTES)
    stream = b"".join(contexts.tar_stream(contexts.files(folder, DockerfileSource.on_disk(folder), {})))
    assert len(stream) < 10_000


def test_large_file_is_streamed_in_bounded_memory(folder: Path) -> None:
    with (folder / "giant").open("wb") as sparse:
        sparse.truncate(FIVE_GIGABYTES)
    pieces = contexts.tar_stream(contexts.files(folder, DockerfileSource.on_disk(folder), {}))
    assert all(len(next(pieces)) <= 2**20 for _ in range(5))


def test_a_dangling_link_stays_a_link(folder: Path) -> None:
    (folder / "dangling").symlink_to("nowhere")
    (folder / "outside").symlink_to("/etc/hostname")
    members = packed(folder)
    assert {name: member.linkname for name, (member, _) in members.items() if member.issym()} == {
        "dangling": "nowhere",
        "outside": "/etc/hostname",
    }


def test_a_link_to_a_folder_is_not_followed(folder: Path) -> None:
    (folder / "loop").symlink_to(".")
    assert sorted(packed(folder)) == ["Dockerfile", "loop"]


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A socket's path has 108 bytes at most."""
    folder = Path(tempfile.mkdtemp(prefix="rt-"))
    (folder / "Dockerfile").write_text("FROM scratch\n")
    yield folder
    shutil.rmtree(folder)


def test_a_socket_is_left_out(short_folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short_folder / "s"))
        assert sorted(packed(short_folder)) == ["Dockerfile"]


def test_a_pipe_is_kept_and_not_read(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert packed(folder)["pipe"][0].isfifo()


def test_modes_contents_and_empty_folders_are_kept(folder: Path) -> None:
    (folder / "run.sh").write_bytes(b"#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "empty").mkdir()
    members = packed(folder)
    assert (members["run.sh"][0].mode, members["run.sh"][1]) == (0o755, b"#!/bin/sh\n")
    assert members["empty"][0].isdir()
    assert (members["run.sh"][0].uid, members["run.sh"][0].gid) == (0, 0)


def test_exceptions_in_the_ignore_file_are_kept(folder: Path) -> None:
    (folder / ".dockerignore").write_text("\ufeff*\n!kept/*.py\n")
    for name in ("kept/a.py", "kept/b.txt", "other/c.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    assert sorted(packed(folder)) == [".dockerignore", "Dockerfile", "kept/a.py"]


def test_ignore_file_beside_the_dockerfile_takes_precedence(folder: Path) -> None:
    (folder / "other.Dockerfile").write_text("FROM scratch\n")
    (folder / "other.Dockerfile.dockerignore").write_text("*\n")
    (folder / ".dockerignore").write_text("nothing\n")
    assert "other.Dockerfile" in packed(folder, dockerfile="other.Dockerfile")
    assert "Dockerfile" not in packed(folder, dockerfile="other.Dockerfile")


@pytest.mark.parametrize("content", [b"", b" \n\t\n"])
def test_empty_dockerfile_fails(folder: Path, content: bytes) -> None:
    (folder / "Dockerfile").write_bytes(content)
    with pytest.raises(BuildFailed, match=r"Dockerfile is empty"):
        DockerfileSource.on_disk(folder)
    with pytest.raises(BuildFailed, match="on standard input is empty"):
        DockerfileSource.from_stdin(content)


def test_link_to_no_dockerfile_fails(folder: Path) -> None:
    (folder / "Dockerfile").unlink()
    (folder / "Dockerfile").symlink_to("nowhere")
    with pytest.raises(BuildFailed, match="no Dockerfile"):
        DockerfileSource.on_disk(folder)
    (folder / "nowhere").symlink_to("Dockerfile")
    with pytest.raises(BuildFailed, match=r"cannot be read|no Dockerfile"):
        DockerfileSource.on_disk(folder)


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz"])
def test_archive_on_standard_input_is_refused(suffix: str) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode=f"w:{suffix[1:]}") as tar:  # type: ignore[call-overload] # one of four modes
        tar.addfile(tarfile.TarInfo("Dockerfile"))
    with pytest.raises(BuildFailed, match="archive on standard input"):
        DockerfileSource.from_stdin(archive.getvalue())


def test_dockerfile_on_standard_input_is_all_there_is() -> None:
    source = DockerfileSource.from_stdin(b"FROM scratch\n")
    stream = b"".join(contexts.tar_stream(contexts.files(None, source, {})))
    with tarfile.open(fileobj=io.BytesIO(stream)) as tar:
        assert set(tar.getnames()) == {IGNORE_FILE, OUTSIDE_DOCKERFILE}


def test_dockerfile_in_lower_case_is_the_second_choice(folder: Path) -> None:
    (folder / "dockerfile").write_text("FROM lower\n")
    assert DockerfileSource.on_disk(folder).inside == "Dockerfile"
    (folder / "Dockerfile").unlink()
    assert DockerfileSource.on_disk(folder) == DockerfileSource(
        content=b"FROM lower\n", inside="dockerfile", ignore_file=folder / "dockerfile.dockerignore"
    )


def test_dockerfile_outside_of_the_context_is_sent_and_ignored(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("elsewhere") / "Other"
    outside.write_bytes(b"FROM scratch\n")
    (outside.parent / "Other.dockerignore").write_text("secret\n")
    (folder / "secret").write_text("x")
    members = packed(folder, dockerfile=str(outside))
    assert members[OUTSIDE_DOCKERFILE][1] == outside.read_bytes()
    # The engine takes out of the context what this file names, once it has read the Dockerfile.
    assert members[IGNORE_FILE][1].split() == [IGNORE_FILE.encode(), OUTSIDE_DOCKERFILE.encode()]
    assert sorted(members) == sorted([IGNORE_FILE, OUTSIDE_DOCKERFILE, "Dockerfile"])


@pytest.mark.parametrize("target", ["build/Real", "../Real"])
def test_links_to_the_dockerfile_and_the_context_are_followed(tmp_path: Path, target: str) -> None:
    real = tmp_path / "real"
    (real / "build").mkdir(parents=True)
    (real / target).write_bytes(b"FROM scratch\n")
    (real / "Dockerfile").symlink_to(target)
    (tmp_path / "link").symlink_to("real")
    source = DockerfileSource.on_disk(tmp_path / "link")
    assert source.content == b"FROM scratch\n"
    assert source.inside == (OUTSIDE_DOCKERFILE if target.startswith("..") else target)
    assert contexts.files(tmp_path / "link", source, {})[source.inside]


@pytest.mark.parametrize("content", ["\ufeffFROM scratch\n".encode(), "# größe\nFROM scratch\n".encode("latin-1"), b"FROM scratch\r\n"])
def test_dockerfile_of_any_encoding_arrives_byte_for_byte(folder: Path, content: bytes) -> None:
    (folder / "Dockerfile").write_bytes(content)
    assert list(instructions(DockerfileSource.on_disk(folder).text)) == [("FROM", "scratch")]
    assert packed(folder)["Dockerfile"][1] == content


def test_extra_overrides_existing_and_ignored_files(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "deep").mkdir()
    (elsewhere / "deep" / "a.whl").write_bytes(b"wheel")
    (folder / ".dockerignore").write_text("wheels\n")
    (folder / "wheels").mkdir()
    (folder / "wheels" / "old.whl").write_bytes(b"old")
    before = sorted(folder.rglob("*"))
    members = packed(folder, {"wheels": elsewhere, "Dockerfile": elsewhere / "deep" / "a.whl"})
    assert sorted(members) == [".dockerignore", "Dockerfile", "wheels", "wheels/deep", "wheels/deep/a.whl"]
    assert members["wheels/deep/a.whl"][1] == members["Dockerfile"][1] == b"wheel"
    assert sorted(folder.rglob("*")) == before, "the context itself was written to"


@pytest.mark.parametrize("name", ["größe", "with space", "x" * 180, "newline\n", os.fsdecode(b"\xff-latin")])
def test_any_file_name_survives_the_tar(folder: Path, name: str) -> None:
    try:
        (folder / name).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system has no such names")
    assert packed(folder)[name][1] == b"x"


@given(st.lists(st.binary(max_size=2000), max_size=8))
def test_any_content_survives_the_tar(contents: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Dockerfile").write_bytes(b"FROM scratch")
        for number, content in enumerate(contents):
            (folder / str(number)).write_bytes(content)
        expected = {"Dockerfile": b"FROM scratch"} | {str(number): content for number, content in enumerate(contents)}
        assert {key: body for key, (_, body) in packed(folder).items()} == expected
