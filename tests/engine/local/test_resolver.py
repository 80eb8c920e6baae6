"""Base images on a real engine: each source, and the error where none has the image."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from registry_tool.base import files, labels
from registry_tool.base.errors import NotFound, ProvisionFailed
from registry_tool.base.progress import Silent
from registry_tool.engine import ContainerSpec, Engine
from registry_tool.local.base_images import Base, BaseImageResolver, packages
from registry_tool.local.base_images.recipes import ImageFile, Recipe
from registry_tool.local.base_images.resolver import HUB_TIMEOUT
from registry_tool.local.registry import LocalRegistry
from registry_tool.targets.registry import open_registry
from tests.support.requirements import missing

pytestmark = pytest.mark.engine

MakeImage = Callable[..., str]


class Listening(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class Deaf(BaseImageResolver):
    """Asks nobody: fails the test where anything below the kept copies is tried."""

    @property
    def hub_reachable(self) -> bool:
        pytest.fail("the network was used, and the image was in the cache")


@pytest.fixture
def base(engine: Engine, unique: str) -> Iterator[Base]:
    """A base that is nobody else's, of one small package."""
    recipe = Recipe(
        packages=("busybox-static", "base-passwd"),
        labelled_packages=("busybox-static",),
        changes=('CMD ["cat", "/etc/own"]',),
        files={"etc/own": ImageFile(content=unique.encode())},
    )
    base = Base(role=unique, official=f"{unique}.invalid/official:1", recipe=recipe)
    yield base
    for name in base.names:
        if engine.image(name):
            engine.remove_image(name, force=True)


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without the tool that fetches packages."""
    here = packages.Distribution(name="Debian", suite="bookworm")
    monkeypatch.setattr(packages.Distribution, "current", classmethod(lambda cls: here))
    monkeypatch.setenv("PATH", str(tmp_path))


def _offline(provisioner: BaseImageResolver) -> BaseImageResolver:
    provisioner.__dict__["hub_reachable"] = False
    return provisioner


def _forget(engine: Engine, name: str) -> None:
    engine.remove_image(name, force=True)
    assert engine.image(name) is None


class TestInTheEngine:
    def test_the_official_name_comes_first(self, engine: Engine, base: Base, tiny_image: MakeImage, tmp_path: Path) -> None:
        tiny_image(base.local_name)
        official = tiny_image(base.official)
        result = Deaf(engine, tmp_path).ensure(base)
        assert (result.role, result.name, result.id, result.source) == (base.role, base.official, official, "engine")

    def test_image_present_before_is_not_imported(self, engine: Engine, base: Base, tiny_image: MakeImage, tmp_path: Path) -> None:
        tiny_image(base.official)
        assert not Deaf(engine, tmp_path).ensure(base).imported

    def test_stand_in_name_is_used(self, engine: Engine, base: Base, tiny_image: MakeImage, tmp_path: Path) -> None:
        ours = tiny_image(base.local_name, {labels.ROLE: labels.ROLE_BASE})
        result = Deaf(engine, tmp_path).ensure(base)
        assert (result.name, result.id, result.source, result.imported) == (base.local_name, ours, "engine", True)

    def test_official_name_on_an_image_built_on_a_stand_in_is_not_imported(
        self, engine: Engine, base: Base, tiny_image: MakeImage, tmp_path: Path
    ) -> None:
        # Labels are inherited.
        tiny_image(base.official, {labels.ROLE: labels.ROLE_BASE})
        assert not Deaf(engine, tmp_path).ensure(base).imported


class TestKept:
    def test_archived_image_returns_with_the_same_id(self, engine: Engine, base: Base, tiny_image: MakeImage, tmp_path: Path) -> None:
        had = tiny_image(base.official)
        bases = Deaf(engine, tmp_path)
        kept = bases.archive(bases.ensure(base))
        assert kept.is_relative_to(tmp_path)
        _forget(engine, base.official)
        result = bases.ensure(base)
        assert (result.name, result.id, result.source) == (base.official, had, "docker.io")

    def test_loaded_image_is_recorded_as_imported(self, engine: Engine, base: Base, tiny_image: MakeImage, tmp_path: Path) -> None:
        tiny_image(base.official)
        bases = Deaf(engine, tmp_path)
        bases.archive(bases.ensure(base))
        _forget(engine, base.official)
        assert bases.ensure(base).imported
        later = Deaf(engine, tmp_path).ensure(base)
        assert (later.source, later.imported) == ("engine", True)

    def test_archived_stand_in_returns_as_one(self, engine: Engine, base: Base, tiny_image: MakeImage, tmp_path: Path) -> None:
        tiny_image(base.local_name, {labels.ROLE: labels.ROLE_BASE})
        bases = Deaf(engine, tmp_path)
        bases.archive(bases.ensure(base))
        _forget(engine, base.local_name)
        result = bases.ensure(base)
        assert (result.name, result.source, result.imported) == (base.local_name, "packages", True)

    def test_existing_copy_is_not_written_again(self, engine: Engine, base: Base, tiny_image: MakeImage, tmp_path: Path) -> None:
        tiny_image(base.official)
        bases = Deaf(engine, tmp_path)
        first = bases.archive(bases.ensure(base))
        made = first.stat().st_mtime_ns
        assert bases.archive(bases.ensure(base)).stat().st_mtime_ns == made

    def test_copy_of_another_image_is_replaced(self, engine: Engine, base: Base, tiny_image: MakeImage, tmp_path: Path) -> None:
        tiny_image(base.official)
        bases = Deaf(engine, tmp_path)
        bases.archive(bases.ensure(base))
        newer = tiny_image(base.official)
        bases.archive(bases.ensure(base))
        _forget(engine, base.official)
        assert bases.ensure(base).id == newer

    def test_archive_of_a_missing_image_is_not_found(self, engine: Engine, base: Base, tiny_image: MakeImage, tmp_path: Path) -> None:
        tiny_image(base.official)
        bases = Deaf(engine, tmp_path)
        result = bases.ensure(base)
        _forget(engine, base.official)
        with pytest.raises(NotFound, match=base.official):
            bases.archive(result)

    @pytest.mark.parametrize("damage", ["cut", "changed", "gone", "not its description", "half a description"])
    def test_damaged_copy_is_discarded_with_a_note(
        self, damage: str, engine: Engine, base: Base, tiny_image: MakeImage, tmp_path: Path, without_packages: None
    ) -> None:
        tiny_image(base.official)
        listening = Listening()
        bases = _offline(BaseImageResolver(engine, tmp_path, listening))
        kept = bases.archive(bases.ensure(base))
        _forget(engine, base.official)
        description = next(kept.parent.glob(f"{base.role}-*.json"))
        content = bytearray(kept.read_bytes())
        if damage == "cut":
            kept.write_bytes(content[:-20])
        elif damage == "changed":
            # In gzip's time stamp, where no engine would notice.
            content[5] ^= 1
            kept.write_bytes(content)
        elif damage == "gone":
            kept.unlink()
        elif damage == "not its description":
            description.write_text(json.dumps({**json.loads(description.read_text()), "name": "somebody/else:1"}))
        else:
            description.write_bytes(description.read_bytes()[:30])
        with pytest.raises(ProvisionFailed):
            bases.ensure(base)
        assert engine.image(base.official) is None
        assert not kept.exists()
        assert not description.exists()
        assert any("was discarded" in note for note in listening.notes)

    def test_copy_refused_by_the_engine_is_discarded(
        self, engine: Engine, base: Base, tiny_image: MakeImage, tmp_path: Path, without_packages: None
    ) -> None:
        # Sound as a file, and no image: as from an engine whose format this one does not read.
        tiny_image(base.official)
        listening = Listening()
        bases = _offline(BaseImageResolver(engine, tmp_path, listening))
        kept = bases.archive(bases.ensure(base))
        _forget(engine, base.official)
        description = next(kept.parent.glob(f"{base.role}-*.json"))
        kept.write_bytes(b"no image at all")
        known = hashlib.sha256(b"no image at all").hexdigest()
        description.write_text(json.dumps({**json.loads(description.read_text()), "sha256": known, "size": kept.stat().st_size}))
        with pytest.raises(ProvisionFailed):
            bases.ensure(base)
        assert any("was discarded" in note for note in listening.notes)
        assert not kept.exists()


class TestHub:
    """docker.io's part is played by a registry of ours: the engine pulls from it in the same way."""

    @pytest.fixture
    def hub(self, local: LocalRegistry, engine: Engine, base: Base, tiny_image: MakeImage, unique: str) -> Iterator[Base]:
        base = replace(base, official=f"{local.address}/library/{unique}:1")
        tiny_image(base.official)
        engine.push(base.official)
        _forget(engine, base.official)
        yield base
        if engine.image(base.official):
            engine.remove_image(base.official, force=True)

    def test_official_image_is_pulled(self, hub: Base, engine: Engine, tmp_path: Path) -> None:
        bases = BaseImageResolver(engine, tmp_path)
        bases.__dict__["hub_reachable"] = True
        result = bases.ensure(hub)
        assert (result.name, result.source, result.imported) == (hub.official, "docker.io", True)
        later = Deaf(engine, tmp_path).ensure(hub)
        assert (later.source, later.imported, later.id) == ("engine", True, result.id)

    def test_import_is_recorded_per_engine(self, hub: Base, engine: Engine, tmp_path: Path) -> None:
        bases = BaseImageResolver(engine, tmp_path)
        bases.__dict__["hub_reachable"] = True
        bases.ensure(hub)
        brought = tmp_path / "bases" / "brought.json"
        brought.write_text(brought.read_text().replace(engine.id, "another engine"))
        assert not Deaf(engine, tmp_path).ensure(hub).imported

    def test_failed_pull_is_in_the_error(
        self, base: Base, local: LocalRegistry, engine: Engine, tmp_path: Path, without_packages: None
    ) -> None:
        base = replace(base, official=f"{local.address}/library/nothing-of-this-name:1")
        bases = BaseImageResolver(engine, tmp_path)
        bases.__dict__["hub_reachable"] = True
        with pytest.raises(ProvisionFailed, match=r"docker\.io does not give it"):
            bases.ensure(base)

    def test_hub_is_checked_once_with_a_short_timeout(self, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        timeouts: list[float] = []

        def can_pull(name: str, *, timeout: float) -> bool:
            timeouts.append(timeout)
            return False

        monkeypatch.setattr(engine, "can_pull", can_pull)
        bases = BaseImageResolver(engine, tmp_path)
        assert [bases.hub_reachable, bases.hub_reachable] == [False, False]
        assert timeouts == [HUB_TIMEOUT]
        assert HUB_TIMEOUT <= 3

    def test_real_hub_responds_or_times_out(self, engine: Engine, tmp_path: Path) -> None:
        began = time.monotonic()
        assert BaseImageResolver(engine, tmp_path).hub_reachable in (True, False)
        assert time.monotonic() - began < 60, "it waits for docker.io"


def test_error_names_every_source_and_a_way_out(engine: Engine, base: Base, tmp_path: Path, without_packages: None) -> None:
    with pytest.raises(ProvisionFailed) as caught:
        _offline(BaseImageResolver(engine, tmp_path)).ensure(base)
    tried = "not in the engine, docker.io does not answer, and building it from packages needs mmdebstrap"
    assert caught.value.message == f"the base image {base.official} is not available: {tried}"
    assert caught.value.exit_code == 1
    assert "apt-get install mmdebstrap" in (caught.value.hint or "")
    assert "docker load" in (caught.value.hint or "")


@pytest.mark.usefixtures("packages_here")
class TestPackages:
    @pytest.fixture
    def packages_here(self) -> None:
        if packages.Distribution.current() is None or shutil.which(packages.TOOL) is None:
            missing("packages", f"needs a Debian or an Ubuntu with {packages.TOOL}")

    def test_stand_in_is_built_runs_and_has_its_versions(self, engine: Engine, base: Base, tmp_path: Path, unique: str) -> None:
        result = _offline(BaseImageResolver(engine, tmp_path)).ensure(base)
        assert (result.name, result.source, result.imported) == (base.local_name, "packages", True)
        image = engine.image(base.local_name)
        assert image is not None
        assert image.id == result.id
        assert image.labels[labels.ROLE] == labels.ROLE_BASE
        assert image.labels[labels.BASE] == base.role
        assert image.labels[labels.PACKAGES].startswith("busybox-static=1:")
        assert engine.image(base.official) is None
        assert _output(engine, result.name) == unique

    def test_layers_of_a_stand_in_are_pushed_compressed(
        self, engine: Engine, base: Base, local: LocalRegistry, tmp_path: Path, unique: str
    ) -> None:
        """Also where the engine sends them as they were imported: containerd's image store."""
        name = f"{local.address}/{unique}/base:1"
        for made_here in (True, False):
            if not made_here:  # it comes from the copy
                _forget(engine, base.local_name)
            engine.tag(_offline(BaseImageResolver(engine, tmp_path)).ensure(base).name, name)
            pushed = engine.push(name)
            engine.remove_image(name, force=True)
            with open_registry(local.address) as registry:
                manifest = registry.repository(f"{unique}/base").manifest("1")
            assert manifest.descriptor.digest == pushed.digest
            assert [layer.media_type.rpartition(".")[2].rpartition("+")[2] for layer in manifest.layers] == ["gzip"]

    def test_archived_stand_in_needs_no_network(self, engine: Engine, base: Base, tmp_path: Path) -> None:
        first = _offline(BaseImageResolver(engine, tmp_path)).ensure(base)
        assert not list((tmp_path / "bases").glob(".*")), "something unfinished is left"
        _forget(engine, base.local_name)
        again = Deaf(engine, tmp_path).ensure(base)
        assert (again.id, again.source) == (first.id, "packages")

    def test_concurrent_resolvers_build_once(self, engine: Engine, base: Base, tmp_path: Path) -> None:
        lock = tmp_path / "bases" / f"{base.role}.lock"
        lock.parent.mkdir()
        # Both wait for this process: otherwise the second may begin after the first has ended.
        with files.lock(lock):
            children = [_child(engine, base, tmp_path) for _ in range(2)]
            for child in children:
                assert child.stdout is not None
                next(line for line in child.stdout if "waiting for it" in line)
        lines = [line for child in children for line in _ended(child)]
        assert sorted(line for line in lines if line.startswith("source")) == ["source engine", "source packages"]
        assert not any("waiting for it" in line for line in lines), "it is said once"

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
    def test_killed_build_leaves_a_clean_start(self, number: signal.Signals, engine: Engine, base: Base, tmp_path: Path) -> None:
        child = _child(engine, base, tmp_path)
        _until(lambda: list((tmp_path / "bases").glob(f".{base.role}.*.part/mmdebstrap.*/var/lib/apt")))
        child.send_signal(number)
        child.communicate(timeout=600)
        assert not files.is_locked(tmp_path / "bases" / f"{base.role}.lock")
        if number == signal.SIGINT:
            assert not list((tmp_path / "bases").glob(".*"))
        # What it had started ends, too: with us, or at its next word.
        _until(lambda: not _processes_with(str(tmp_path)))
        assert engine.image(base.local_name) is None
        assert _offline(BaseImageResolver(engine, tmp_path)).ensure(base).source == "packages"
        assert not list((tmp_path / "bases").glob(".*"))

    def test_full_disk_for_the_copy_is_a_note(self, engine: Engine, base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*arguments: object, **named: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("registry_tool.local.base_images.archive.ImageArchive.save", full)
        listening = Listening()
        assert _offline(BaseImageResolver(engine, tmp_path, listening)).ensure(base).source == "packages"
        assert any("no copy" in note and "No space left on device" in note for note in listening.notes)


def _output(engine: Engine, image: str) -> str:
    container = engine.run(ContainerSpec(image=image, labels={labels.ROLE: labels.ROLE_PROBE}))
    try:
        assert engine.wait(container.id, timeout=600) == 0
        return b"".join(chunk for _, chunk in engine.logs(container.id)).decode()
    finally:
        engine.remove(container.id, force=True)


_CHILD = """
import json, sys
from pathlib import Path
from registry_tool.engine import connect
from registry_tool.base.progress import Silent
from registry_tool.local.base_images import Base, BaseImageResolver
from registry_tool.local.base_images.recipes import Recipe

class Telling(Silent):
    def note(self, text):
        print("note", text, flush=True)

role, official, cache = sys.argv[1:]
recipe = Recipe(packages=("busybox-static", "base-passwd"), labelled_packages=("busybox-static",), changes=())
with connect() as engine:
    bases = BaseImageResolver(engine, Path(cache), Telling())
    bases.__dict__["hub_reachable"] = False
    print("source", bases.ensure(Base(role=role, official=official, recipe=recipe)).source)
"""


def _child(engine: Engine, base: Base, cache: Path) -> subprocess.Popen[str]:
    """Another process that wants ``base``."""
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, base.role, base.official, str(cache)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "DOCKER_HOST": engine.endpoint.url},
    )


def _ended(child: subprocess.Popen[str]) -> list[str]:
    output, _ = child.communicate(timeout=600)
    assert child.returncode == 0, output
    return output.splitlines()


def _until(condition: Callable[[], object]) -> None:
    ends = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < ends, "the condition did not hold within 600 s"
        time.sleep(0.02)


def _processes_with(text: str) -> list[str]:
    """Command lines of living processes that name ``text``; not our own."""
    result = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line and int(entry.parent.name) != os.getpid():
            result.append(line)
    return result
