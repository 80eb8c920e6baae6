from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from registry_tool.base.errors import InvalidArchive
from registry_tool.targets.archive import stream
from registry_tool.targets.archive.stream import TarMember, read_members

LONG = "/".join(["folder-of-a-long-path"] * 12)


class Pipe:
    """A stream that cannot seek, and gives few bytes at a time."""

    def __init__(self, content: bytes, *, most: int = 700) -> None:
        self._file = io.BytesIO(content)
        self._most = most

    def read(self, size: int = -1, /) -> bytes:
        return self._file.read(self._most if size < 0 else min(size, self._most))


def archive(*entries: tuple[str, bytes] | tarfile.TarInfo, format: int = tarfile.PAX_FORMAT) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=format) as tar:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                tar.addfile(entry)
                continue
            info = tarfile.TarInfo(entry[0])
            info.size = len(entry[1])
            tar.addfile(info, io.BytesIO(entry[1]))
    return target.getvalue()


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def contents(raw: bytes) -> dict[str, bytes | str | None]:
    return {member.path: member.link or content.read() for member, content in read_members(Pipe(raw))}


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["ustar", "gnu", "pax"])
def test_files_and_links_of_every_format_are_read_in_order(format: int) -> None:
    name = LONG if format != tarfile.USTAR_FORMAT else "short"
    raw = archive(
        special("a", tarfile.DIRTYPE),
        ("./a/layer.tar", b"x" * 1000),
        (f"{name}/é.json", b""),
        special("b/layer.tar", tarfile.SYMTYPE, "../a/layer.tar"),
        special("c/layer.tar", tarfile.LNKTYPE, "a/layer.tar"),
        special("d", tarfile.SYMTYPE, f"{name}/é.json"),
        format=format,
    )
    assert list(contents(raw).items()) == [
        ("a/layer.tar", b"x" * 1000),
        (f"{name}/é.json", b""),
        ("b/layer.tar", "a/layer.tar"),
        ("c/layer.tar", "a/layer.tar"),
        ("d", f"{name}/é.json"),
    ]


@pytest.mark.parametrize("seekable", [True, False])
def test_members_that_are_not_read_are_skipped_and_offsets_are_those_of_the_content(tmp_path: Path, seekable: bool) -> None:
    raw = archive(("a", b"1" * 3_000_000), ("b", b"2" * 10), (LONG, b"3" * 513), ("d", b"4" * 1_500_000))
    path = tmp_path / "archive.tar"
    path.write_bytes(raw)
    with path.open("rb") as file:
        found = [member for member, _ in read_members(file if seekable else Pipe(raw, most=1 << 20))]
    assert [(member.path, member.size) for member in found] == [("a", 3_000_000), ("b", 10), (LONG, 513), ("d", 1_500_000)]
    assert [raw[member.offset : member.offset + member.size] for member in found] == [
        b"1" * 3_000_000,
        b"2" * 10,
        b"3" * 513,
        b"4" * 1_500_000,
    ]


def test_content_half_read_is_skipped_to_its_end() -> None:
    raw = archive(("a", b"1" * 2000), ("b", b"2" * 10))
    found = [(member.path, content.read(5)) for member, content in read_members(Pipe(raw))]
    assert found == [("a", b"11111"), ("b", b"22222")]


def test_a_pipe_is_read_to_its_end_and_a_file_is_not() -> None:
    raw = archive(("a", b"1")) + b"\0" * 20480
    pipe = Pipe(raw)
    assert len(list(read_members(pipe))) == 1
    assert pipe.read(1) == b""


@pytest.mark.parametrize(
    "entry",
    [
        special("/etc/passwd", tarfile.REGTYPE),
        special("../a", tarfile.REGTYPE),
        special("a/../../b", tarfile.REGTYPE),
        special(".", tarfile.REGTYPE),
        special("a", tarfile.SYMTYPE, "../b"),
        special("a", tarfile.SYMTYPE, "/b"),
        special("a", tarfile.LNKTYPE, "../b"),
        special("a", tarfile.SYMTYPE, ""),
        special("a", tarfile.CHRTYPE),
        special("a", tarfile.BLKTYPE),
        special("a", tarfile.FIFOTYPE),
        special("a", b"V"),
    ],
    ids=lambda entry: f"{entry.type.decode()}-{entry.name}-{entry.linkname}",
)
def test_a_member_that_no_archive_of_images_has_is_refused(entry: tarfile.TarInfo) -> None:
    with pytest.raises(InvalidArchive):
        contents(archive(entry))


@pytest.mark.parametrize("name", ["/a", "../a"])
def test_a_long_name_is_checked_as_a_short_one(name: str) -> None:
    with pytest.raises(InvalidArchive, match="leads out"):
        contents(archive((name + LONG, b"")))


def test_a_path_twice_is_refused_however_it_is_written() -> None:
    with pytest.raises(InvalidArchive, match="twice"):
        contents(archive(("a/b", b"1"), ("./a//b", b"2")))


def test_more_members_than_an_image_can_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_MEMBERS", 3)
    assert len(contents(archive(*((str(number), b"") for number in range(3))))) == 3
    with pytest.raises(InvalidArchive, match="more than 3 members"):
        contents(archive(*((str(number), b"") for number in range(4))))


RAW = archive(("a", b"1" * 600), (LONG, b"2"), special("c", tarfile.SYMTYPE, "a"))
END = len(RAW.rstrip(b"\0")) // 512 * 512 + 512 + 1024


@pytest.mark.parametrize("size", [*range(0, END, 97), END - 1])
def test_an_archive_that_is_cut_anywhere_is_an_error(size: int) -> None:
    with pytest.raises(InvalidArchive, match="is cut"):
        contents(RAW[:size])


def test_an_archive_that_ends_with_its_blocks_of_zeros_is_whole() -> None:
    assert len(contents(RAW[:END])) == 3


def test_a_file_that_is_cut_inside_of_what_is_skipped_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "cut.tar"
    path.write_bytes(archive(("a", b"1" * 5_000_000))[:4_000_000])
    with path.open("rb") as file, pytest.raises(InvalidArchive, match="is cut"):
        list(read_members(file))


def changed(raw: bytes, at: int, by: bytes) -> bytes:
    return raw[:at] + by + raw[at + len(by) :]


def resized(size: bytes) -> bytes:
    """An archive of one member whose header's size is ``size``, and whose checksum is right."""
    header = bytearray(archive(("a", b"1"))[:512])
    header[124:136] = size.ljust(12, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + b"\0" * 2048


@pytest.mark.parametrize(
    "raw",
    [
        b"not a tar at all" * 100,
        changed(RAW, 3, b"x"),
        changed(RAW, 512 * 3, b"\0" * 512),
        resized(b"\xff" * 12),
        resized(b"x" * 11),
        archive(special("a", tarfile.GNUTYPE_SPARSE)),
    ],
    ids=["no tar", "checksum", "zeros between", "negative size", "no size", "sparse"],
)
def test_a_damaged_archive_is_an_error(raw: bytes) -> None:
    with pytest.raises(InvalidArchive):
        contents(raw)


def pax(records: bytes) -> bytes:
    info = tarfile.TarInfo("header")
    info.type, info.size = tarfile.XHDTYPE, len(records)
    return info.tobuf(tarfile.USTAR_FORMAT) + records.ljust(-(-len(records) // 512) * 512, b"\0")


@pytest.mark.parametrize(
    "records", [b"9 path=a", b"x path=a\n", b"10 path\n", b"11 size=-1\n", b"0 \n", b"22 GNU.sparse.major=1\n", b"99 path=a\n", b"5 a\n\n"]
)
def test_a_pax_header_that_is_none_is_an_error(records: bytes) -> None:
    with pytest.raises(InvalidArchive):
        contents(pax(records) + archive(("a", b"")))


def test_a_pax_header_without_a_member_is_an_error() -> None:
    with pytest.raises(InvalidArchive, match="between"):
        contents(pax(b"11 path=ab\n") + b"\0" * 1024)


def test_an_endless_header_is_refused_before_it_is_read() -> None:
    info = tarfile.TarInfo("header")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    with pytest.raises(InvalidArchive, match="header"):
        contents(info.tobuf(tarfile.GNU_FORMAT))


def test_a_member_larger_than_any_file_is_an_error(tmp_path: Path) -> None:
    for power in (40, 62, 70, 86):
        path = tmp_path / f"{power}.tar"
        path.write_bytes(resized(b"\x80" + (1 << power).to_bytes(11, "big")))
        with path.open("rb") as file, pytest.raises(InvalidArchive, match="is cut"):
            list(read_members(file))


def test_more_headers_than_a_member_can_have_are_refused() -> None:
    with pytest.raises(InvalidArchive, match="headers before a member"):
        contents(pax(b"11 atime=1\n") * (stream.MAX_HEADERS + 1) + archive(("a", b"")))


def test_records_of_a_pax_header_that_are_not_read_are_not_kept() -> None:
    assert stream._pax(b"11 path=ab\n11 atime=1\n22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n") == {"path": "ab", "GNU.sparse.": ""}


@pytest.mark.parametrize("make", [lambda path: path, lambda path: f"./{path}"])
def test_a_member_is_known_by_its_path(make: Callable[[str], str]) -> None:
    ((member, _),) = read_members(Pipe(archive((make("blobs/sha256/1"), b"1"))))
    assert member == TarMember(path="blobs/sha256/1", size=1, offset=512)
