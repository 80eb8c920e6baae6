"""Archives between this tool, an engine, podman and skopeo: the image's id stays."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry_tool.engine import Engine
from registry_tool.oci.manifest import Manifest
from registry_tool.targets.archive import ArchiveWriter, open_archive
from tests.support.requirements import missing


def rewritten(engine: Engine, tiny_image: Callable[..., str], folder: Path, name: str, other_name: str) -> tuple[Path, Manifest]:
    """The engine's own archive of an image, read and written again under another name; the image is removed from the engine."""
    tiny_image(name)
    with (folder / "engine.tar").open("wb") as file:
        engine.save_image([name], file)
    with open_archive(folder / "engine.tar") as archive, ArchiveWriter(folder / "ours.tar") as writer:
        manifest = archive.manifest(archive.only().descriptor.digest)
        assert manifest.config is not None
        for blob in (manifest.config, *manifest.layers):
            with archive.fetch(blob) as content:
                writer.push(blob, content)
        writer.push_manifest(manifest, other_name)
        writer.commit()
    return folder / "ours.tar", manifest


@pytest.mark.engine
def test_engine_loads_what_it_saved_and_we_wrote(engine: Engine, tiny_image: Callable[..., str], tmp_path: Path, unique: str) -> None:
    name, other_name = f"localhost:5000/{unique}:1", f"localhost:5000/{unique}:2"
    path, manifest = rewritten(engine, tiny_image, tmp_path, name, other_name)
    saved = engine.image(name)
    assert saved is not None
    engine.remove_image(name, force=True)
    with path.open("rb") as file:
        assert engine.load_image(file) == (other_name,)
    loaded = engine.image(other_name)
    assert loaded is not None
    engine.remove_image(other_name, force=True)
    assert (loaded.id, loaded.layers) == (saved.id, saved.layers)
    assert loaded.id in (str(manifest.digest), str(manifest.config.digest if manifest.config else None))


@pytest.mark.engine
def test_skopeo_reads_both_forms_of_our_archive(engine: Engine, tiny_image: Callable[..., str], tmp_path: Path, unique: str) -> None:
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        missing("skopeo", "it is not installed")
    name = f"localhost:5000/{unique}:1"
    path, manifest = rewritten(engine, tiny_image, tmp_path, name, name)
    for form in ("oci-archive", "docker-archive"):
        done = subprocess.run([skopeo, "inspect", "--raw", f"{form}:{path}:{name}"], capture_output=True, timeout=300, check=True)
        assert manifest.config is not None
        assert json.loads(done.stdout)["config"]["digest"] == str(manifest.config.digest)


@pytest.fixture
def storage() -> Iterator[Path]:
    """A folder for podman, whose paths must be short."""
    with tempfile.TemporaryDirectory(prefix="p") as folder:
        yield Path(folder)


@pytest.mark.engine
@pytest.mark.podman
def test_podman_loads_our_archive_and_we_read_podman_s(
    engine: Engine, tiny_image: Callable[..., str], tmp_path: Path, unique: str, storage: Path
) -> None:
    name = f"localhost:5000/{unique}:1"
    path, manifest = rewritten(engine, tiny_image, tmp_path, name, name)
    assert manifest.config is not None

    def podman(*arguments: str) -> str:
        options = ["--root", str(storage / "root"), "--runroot", str(storage / "run"), "--storage-driver", "vfs"]
        return subprocess.run(["podman", *options, *arguments], capture_output=True, text=True, timeout=300, check=True).stdout

    podman("load", "-i", str(path))
    assert podman("image", "inspect", "--format", "{{.Id}}", name).strip() == manifest.config.digest.hex
    for form in ("docker-archive", "oci-archive"):
        podman("save", "--format", form, "-o", str(tmp_path / f"{form}.tar"), name)
        with open_archive(tmp_path / f"{form}.tar") as archive:
            config = archive.manifest(archive.only().descriptor.digest).config
            assert (archive.only().name, config and config.digest) == (name, manifest.config.digest)
    podman("rmi", name)
