"""From unpacked packages to a root file system: a pure matter of tars."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from registry_tool.local.base_images import rootfs
from registry_tool.local.base_images.recipes import ImageFile, Recipe


def _member(name: str, kind: bytes = tarfile.REGTYPE, *, leads_to: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, leads_to, mode
    member.uid = member.gid = 1000
    member.uname = "somebody"
    return member


Entry = tuple[tarfile.TarInfo, bytes]


def _image(folder: Path, members: list[Entry], recipe: Recipe | None = None) -> dict[str, Entry]:
    """Turn ``members`` into an image, and read it: name -> entry and content. A name twice is a failure."""
    source, target = folder / "packages.tar", folder / "rootfs.tar"
    with tarfile.open(source, "w") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    rootfs.write(source, target, recipe or Recipe(packages=(), labelled_packages=(), changes=()))
    result: dict[str, Entry] = {}
    with tarfile.open(target) as tar:
        for member in tar:
            assert member.name not in result, f"{member.name} is there twice, which engines refuse"
            parent = member.name.rpartition("/")[0]
            assert not parent or parent in result, f"{member.name} comes before its folder"
            stream = tar.extractfile(member) if member.isfile() else None
            result[member.name] = (member, stream.read() if stream else b"")
    return result


def test_bin_and_lib_move_below_usr_and_are_links(tmp_path: Path) -> None:
    image = _image(
        tmp_path,
        [
            (_member("./"), b""),
            (_member("./bin", tarfile.DIRTYPE), b""),
            (_member("./bin/tool", mode=0o755), b"program"),
            (_member("./bin/same", tarfile.LNKTYPE, leads_to="./bin/tool"), b""),
            (_member("./lib64", tarfile.SYMTYPE, leads_to="usr/lib64"), b""),
            (_member("./lib64/ld.so"), b"linker"),
        ],
    )
    assert image["bin"][0].linkname == "usr/bin"
    assert image["lib64"][0].linkname == "usr/lib64"
    assert image["usr/bin/tool"][1] == b"program"
    assert image["usr/bin/tool"][0].mode == 0o755
    assert image["usr/bin/same"][0].linkname == "usr/bin/tool"
    assert "usr/lib64/ld.so" in image


def test_everything_belongs_to_root(tmp_path: Path) -> None:
    image = _image(tmp_path, [(_member("./etc/thing"), b"x")])
    assert {(member.uid, member.gid, member.uname) for member, _ in image.values()} == {(0, 0, "")}


@pytest.mark.parametrize(
    "name",
    [
        "dev/null2",
        "usr/share/doc/tool/README",
        "usr/share/locale/de/x.mo",
        "var/cache/apt/a.deb",
        "etc/apt/sources.list",
        "lib/x86_64-linux-gnu/gconv/BIG5.so",
        "usr/share/zoneinfo/right/UTC",
    ],
)
def test_files_no_container_reads_are_excluded(tmp_path: Path, name: str) -> None:
    assert name not in _image(tmp_path, [(_member(f"./{name}"), b"x")])


def test_licences_stay(tmp_path: Path) -> None:
    assert "usr/share/doc/tool/copyright" in _image(tmp_path, [(_member("./usr/share/doc/tool/copyright"), b"MIT")])


@pytest.mark.parametrize("name", ["etc/resolv.conf", "etc/hostname"])
def test_files_of_this_machine_are_excluded(tmp_path: Path, name: str) -> None:
    assert name not in _image(tmp_path, [(_member(f"./{name}"), b"nameserver 192.0.2.1")])


def test_devices_are_left_out(tmp_path: Path) -> None:
    assert "opt/disk" not in _image(tmp_path, [(_member("./opt/disk", tarfile.BLKTYPE), b"")])


def test_users_of_package_and_recipe_have_existing_shells(tmp_path: Path) -> None:
    image = _image(
        tmp_path,
        [
            (_member("./usr/share/base-passwd/passwd.master"), b"root:*:0:0:root:/root:/bin/bash\n"),
            (_member("./usr/share/base-passwd/group.master"), b"root:*:0:\n"),
            (_member("./etc/passwd"), b"joe:x:1000:1000::/home/joe:/bin/bash\n"),
        ],
        Recipe(packages=(), labelled_packages=(), changes=(), users={"redis": 999}),
    )
    assert image["etc/passwd"][1] == b"root:*:0:0:root:/root:/bin/sh\nredis:x:999:999::/nonexistent:/usr/sbin/nologin\n"
    assert image["etc/group"][1] == b"root:*:0:\nredis:x:999:\n"


def test_certificates_are_bundled_in_one_file(tmp_path: Path) -> None:
    image = _image(
        tmp_path,
        [
            (_member("./usr/share/ca-certificates/mozilla/B.crt"), b"second\n"),
            (_member("./usr/share/ca-certificates/mozilla/A.crt"), b"first\n"),
        ],
    )
    assert image["etc/ssl/certs/ca-certificates.crt"][1] == b"first\nsecond\n"
    assert image["usr/share/ca-certificates/mozilla/A.crt"][1] == b"first\n"


def test_busybox_is_linked_only_where_no_package_has_the_program(tmp_path: Path) -> None:
    image = _image(tmp_path, [(_member("./bin/tar"), b"the real one"), (_member("./usr/sbin/chroot"), b"the real one")])
    assert image["usr/bin/tar"][1] == b"the real one"
    assert "usr/bin/chroot" not in image
    assert image["usr/bin/sh"][0].linkname == "busybox"


def test_recipe_files_take_precedence_over_packages(tmp_path: Path) -> None:
    recipe = Recipe(
        packages=(),
        labelled_packages=(),
        changes=(),
        files={"etc/app/config.yml": ImageFile(content=b"ours", mode=0o600)},
        folders={"data": 999},
        links={"usr/bin/short": "long"},
        excluded=("/EXTERNALLY-MANAGED",),
    )
    image = _image(
        tmp_path,
        [
            (_member("./etc/app/config.yml"), b"theirs"),
            (_member("./data", tarfile.DIRTYPE), b""),
            (_member("./usr/lib/python3.11/EXTERNALLY-MANAGED"), b"no"),
        ],
        recipe,
    )
    assert image["etc/app/config.yml"][1] == b"ours"
    assert image["etc/app/config.yml"][0].mode == 0o600
    assert image["data"][0].uid == image["data"][0].gid == 999
    assert image["usr/bin/short"][0].linkname == "long"
    assert "usr/lib/python3.11/EXTERNALLY-MANAGED" not in image


def test_temporary_folders_are_everybodys_and_roots_home_is_roots(tmp_path: Path) -> None:
    image = _image(tmp_path, [(_member("./tmp", tarfile.DIRTYPE, mode=0o700), b""), (_member("./root", tarfile.DIRTYPE, mode=0o755), b"")])
    assert image["tmp"][0].mode == 0o1777
    assert image["root"][0].mode == 0o700


def test_truncated_tar_is_an_error(tmp_path: Path) -> None:
    source = tmp_path / "packages.tar"
    with tarfile.open(source, "w") as tar:
        member = _member("./big")
        member.size = 100_000
        tar.addfile(member, io.BytesIO(b"x" * 100_000))
    source.write_bytes(source.read_bytes()[:50_000])
    with pytest.raises((tarfile.TarError, OSError)):
        rootfs.write(source, tmp_path / "rootfs.tar", Recipe(packages=(), labelled_packages=(), changes=()))
