"""Base images from packages: what they need, how a failure is reported, and that no root is needed."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from registry_tool.base.errors import ProvisionFailed
from registry_tool.base.progress import SILENT, Silent
from registry_tool.engine import Platform
from registry_tool.local.base_images import REDIS, packages
from registry_tool.local.base_images.packages import Distribution
from registry_tool.local.base_images.recipes import Base, Recipe
from tests.support.requirements import missing

AMD64 = Platform(os="linux", architecture="amd64")
NOBODY = 65534


def _os_release(folder: Path, text: str) -> Path:
    (folder / "os-release").write_text(text)
    return folder


class TestDistribution:
    def test_debian(self, tmp_path: Path) -> None:
        etc = _os_release(tmp_path, 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_CODENAME=bookworm\nID=debian\n')
        assert Distribution.current(etc) == Distribution(name="Debian", suite="bookworm", components=("main",))

    def test_ubuntu_includes_universe(self, tmp_path: Path) -> None:
        etc = _os_release(tmp_path, "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\nUBUNTU_CODENAME=noble\n")
        assert Distribution.current(etc) == Distribution(name="Ubuntu", suite="noble", components=("main", "universe"))

    def test_derivative_counts_as_its_parent(self, tmp_path: Path) -> None:
        mint = _os_release(tmp_path, 'ID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_CODENAME=xia\nUBUNTU_CODENAME=noble\n')
        assert Distribution.current(mint) == Distribution(name="Ubuntu", suite="noble", components=("main", "universe"))
        lmde = _os_release(tmp_path, 'ID=linuxmint\nVERSION_CODENAME=faye\nDEBIAN_CODENAME="bookworm"\n')
        assert Distribution.current(lmde) == Distribution(name="Debian", suite="bookworm")

    @pytest.mark.parametrize("text", ["ID=fedora\nVERSION_CODENAME=\n", "ID=arch\n", "", "no such file at all\n", "ID=debian\n"])
    def test_other_distribution_is_none(self, tmp_path: Path, text: str) -> None:
        assert Distribution.current(_os_release(tmp_path, text)) is None

    def test_machine_without_os_release_is_none(self, tmp_path: Path) -> None:
        assert Distribution.current(tmp_path) is None


class TestSources:
    def test_apt_sources_of_the_distribution_are_used(self, tmp_path: Path) -> None:
        (tmp_path / "sources.list.d").mkdir()
        ours = tmp_path / "sources.list.d" / "debian.sources"
        ours.write_text("# ours\nTypes: deb\nURIs: http://mirror.example/debian\n")
        (tmp_path / "sources.list.d" / "somebody.list").write_text("deb https://somebody.example stable main\n")
        assert list(packages._apt_sources(tmp_path)) == [str(ours)]

    @pytest.mark.parametrize("text", ["# moved to sources.list.d\n", "", "deb cdrom:[Debian 12]/ bookworm main\n"])
    def test_apt_source_that_is_empty_or_a_cdrom_is_not_used(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "sources.list").write_text(text)
        assert list(packages._apt_sources(tmp_path)) == []


@pytest.mark.parametrize(
    ("platform", "debian"),
    [("amd64", "amd64"), ("arm64", "arm64"), ("386", "i386"), ("ppc64le", "ppc64el"), ("s390x", "s390x"), ("riscv64", "riscv64")],
)
def test_architectures_have_debians_names(platform: str, debian: str) -> None:
    assert packages._architecture(Platform(os="linux", architecture=platform)) == debian


def test_variants_have_debians_names() -> None:
    assert packages._architecture(Platform(os="linux", architecture="arm64", variant="v8")) == "arm64"
    assert packages._architecture(Platform(os="linux", architecture="arm", variant="v7")) == "armhf"
    assert packages._architecture(Platform(os="linux", architecture="arm", variant="v6")) == "armel"


class TestFailures:
    """The message is the end of a sentence: ``the base image … is not available: …, and MESSAGE``."""

    def test_other_system_is_provision_failed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Distribution, "current", classmethod(lambda cls: None))
        with pytest.raises(ProvisionFailed, match="needs a Debian or an Ubuntu"):
            packages.build(REDIS, AMD64, tmp_path, SILENT)

    def test_windows_engine_is_provision_failed(self, tmp_path: Path) -> None:
        with pytest.raises(ProvisionFailed, match="windows/amd64"):
            packages.build(REDIS, Platform(os="windows", architecture="amd64"), tmp_path, SILENT)

    def test_a_missing_tool_is_named_with_the_command_that_installs_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Distribution, "current", classmethod(lambda cls: Distribution(name="Debian", suite="bookworm")))
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(ProvisionFailed, match="needs mmdebstrap") as caught:
            packages.build(REDIS, AMD64, tmp_path, SILENT)
        assert caught.value.hint == "sudo apt-get install mmdebstrap"

    def test_first_error_of_the_tool_is_the_reason_and_the_others_are_shown(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Distribution, "current", classmethod(lambda cls: Distribution(name="Debian", suite="bookworm")))
        for name, script in ((packages.TOOL, "echo 'E: no such package'; echo 'E: apt-get fails' >&2; exit 100"), ("apt-get", "exit 1")):
            program = tmp_path / "programs" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'programs'}{os.pathsep}{os.environ['PATH']}")
        with pytest.raises(ProvisionFailed) as caught:
            packages.build(REDIS, AMD64, tmp_path, SILENT)
        assert caught.value.message == "building it from packages fails (no such package)"
        assert caught.value.excerpt == ("E: no such package", "E: apt-get fails")
        assert "apt-get update" in (caught.value.hint or "")

    def test_full_disk_is_provision_failed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        _needs_tool()

        def full(*arguments: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(packages, "_run", lambda command, folder, take: 0)
        monkeypatch.setattr("registry_tool.local.base_images.rootfs.write", full)
        with pytest.raises(ProvisionFailed, match="No space left on device"):
            packages.build(REDIS, AMD64, tmp_path, SILENT)


class TestLines:
    def test_versions_are_parsed_from_package_files(self) -> None:
        lines = packages._ToolOutput("redis", SILENT)
        for line in ("redis-server_5%3a7.0.15-1~deb12u10_amd64.deb", "libstdc++6_12.2.0-14+deb12u1_amd64.deb", "partial"):
            lines.add(line + "\n")
        assert lines.versions == {"redis-server": "5:7.0.15-1~deb12u10", "libstdc++6": "12.2.0-14+deb12u1"}

    def test_progress_is_bytes_of_what_apt_needs(self) -> None:
        steps: list[tuple[int, int | None]] = []

        class Listening(Silent):
            def advance(self, key: str, done: int, total: int | None = None) -> None:
                steps.append((done, total))

        lines = packages._ToolOutput("redis", Listening())
        lines.add("Get:1 http://deb.example bookworm InRelease [151 kB]\n")
        lines.add("Need to get 1,234 kB of archives.\n")
        lines.add("Get:2 http://deb.example bookworm/main amd64 libc6 amd64 2.36 [1,000 kB]\n")
        lines.add("Get:3 http://deb.example bookworm/main amd64 tar amd64 1.34 [234 kB]\n")
        assert steps == [(151_000, None), (1_000_000, 1_234_000), (1_234_000, 1_234_000)]

    def test_the_first_error_is_the_reason(self) -> None:
        lines = packages._ToolOutput("redis", SILENT)
        for line in ("I: running apt-get update...", "Err:1 http://deb.example", "E: Failed to  fetch it", "E: Some index files failed"):
            lines.add(line)
        assert lines.reason == "Failed to fetch it"
        assert "I: running apt-get update..." not in lines.lines

    def test_failure_without_output_has_a_reason(self) -> None:
        assert packages._ToolOutput("redis", SILENT).reason == "mmdebstrap printed nothing"


class TestRun:
    """What is started ends with us, children and all."""

    def test_an_interruption_ends_everything_that_was_started(self, tmp_path: Path) -> None:
        child: list[int] = []

        def interrupted(line: str) -> None:
            child.append(int(line))
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            packages._run(["sh", "-c", "sleep 600 & echo $!; wait"], tmp_path, interrupted)
        # The signal is sent; when it arrives is the kernel's affair.
        deadline = time.monotonic() + 600
        while _lives(child[0]) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not _lives(child[0])

    def test_run_passes_lines_and_returns_the_status(self, tmp_path: Path) -> None:
        lines: list[str] = []
        assert packages._run(["sh", "-c", "echo one; echo two >&2; exit 3"], tmp_path, lines.append) == 3
        assert lines == ["one\n", "two\n"]

    def test_process_that_ignores_sigterm_is_killed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(packages, "TERMINATION_TIMEOUT", 0.2)

        def interrupted(line: str) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            packages._run(["sh", "-c", "trap '' TERM; echo started; while :; do sleep 1; done"], tmp_path, interrupted)


@pytest.mark.slow
class TestReal:
    """Real packages: a few small ones."""

    def test_first_error_of_apt_is_the_reason_and_the_others_are_shown(self, tmp_path: Path) -> None:
        # A name that no package ever has: a failure of the real tool, network or not.
        _needs_tool()
        base = _base("there-is-no-such-package-anywhere")
        with pytest.raises(ProvisionFailed, match=r"^building it from packages fails \(\S.*\)$") as caught:
            packages.build(base, AMD64, tmp_path, SILENT)
        assert "\n" not in caught.value.message
        assert any(line.startswith("E: ") for line in caught.value.excerpt)
        assert "apt-get update" in (caught.value.hint or "")
        assert not list(tmp_path.glob("mmdebstrap.*"))

    def test_build_in_a_path_with_space_and_non_ascii_letters(self, tmp_path: Path) -> None:
        _needs_tool()
        folder = tmp_path / "Füße und ж"
        folder.mkdir()
        built = packages.build(_base("busybox-static", "base-passwd"), AMD64, folder, SILENT)
        assert built.versions["busybox-static"][0].isdigit()
        with tarfile.open(built.tar) as tar:
            assert tar.getmember("usr/bin/busybox").uid == 0
            assert tar.getmember("usr/bin/sh").linkname == "busybox"

    def test_build_for_another_architecture(self, tmp_path: Path) -> None:
        _needs_tool()
        other = "arm64" if packages._host_architecture() != "arm64" else "amd64"
        built = packages.build(_base("busybox-static"), Platform(os="linux", architecture=other), tmp_path, SILENT)
        with tarfile.open(built.tar) as tar:
            program = tar.extractfile("usr/bin/busybox")
            assert program is not None
            machine = int.from_bytes(program.read(20)[18:20], "little")
        assert machine == {"arm64": 183, "amd64": 62}[other], "the program is not for the other machine"

    def test_a_user_who_is_not_root_gets_files_that_belong_to_root(self, anybodys: Path) -> None:
        _needs_tool()
        if os.geteuid() != 0:
            pytest.skip("everything here is done without root anyway")
        # A process of its own that gives up root; forked, because the files of this installation need not be readable by it.
        process = multiprocessing.get_context("fork").Process(target=_as_nobody, args=(anybodys,))
        process.start()
        process.join(600)
        assert process.exitcode == 0
        assert (anybodys / "rootfs.tar").stat().st_uid == NOBODY
        with tarfile.open(anybodys / "rootfs.tar") as tar:
            assert {(member.uid, member.gid) for member in tar} == {(0, 0)}


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    # One that nobody has buried yet (in a container without an init) is dead all the same.
    return state != "Z"


@pytest.fixture
def anybodys() -> Iterator[Path]:
    """A folder that nobody may use: pytest's own lie behind one that only its user enters."""
    folder = Path(tempfile.mkdtemp(prefix="registry-tool-test-"))
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _as_nobody(folder: Path) -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    os.environ["HOME"] = str(folder)
    os.chdir(folder)
    packages.build(_base("busybox-static", "base-passwd"), AMD64, folder, SILENT)


def _base(*names: str) -> Base:
    return replace(REDIS, recipe=Recipe(packages=names, labelled_packages=names, changes=()))


def _needs_tool() -> None:
    if Distribution.current() is None or shutil.which(packages.TOOL) is None:
        missing("packages", f"needs a Debian or an Ubuntu with {packages.TOOL}")
