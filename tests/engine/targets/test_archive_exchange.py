"""Archives exchanged with the engine that is here, and with buildx, skopeo and crane: theirs are imported, ours are loaded.

``make matrix`` runs it on docker with either store and on podman.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from registry_tool.engine import Engine
from tests.support.cli_runner import REGCTL, Typed
from tests.support.content import ACCEPT, layer, make_image, make_index, sha256
from tests.support.paths import ROOT
from tests.support.recording_server import RecordingServer
from tests.support.registry_over_http import ask
from tests.support.requirements import missing

pytestmark = pytest.mark.engine
PADDING = 1_500_000
"""Bytes that make an archive larger than the smallest volume."""


def client(engine: Engine) -> str:
    """The engine's own command."""
    name = "podman" if engine.is_podman else "docker"
    path = shutil.which(name)
    if path is None:
        missing(name, "its command is not installed")
    return path


def program(name: str, other_place: Path | None = None) -> str:
    path = shutil.which(name) or (str(other_place) if other_place is not None and other_place.exists() else None)
    if path is None:
        missing(name, "it is not installed")
    return path


def run(*command: str, stdin: bytes | None = None) -> bytes:
    """What a command prints."""
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def image_ids(server: RecordingServer, repository: str, tag: str) -> set[str]:
    """What an engine may call the image in a registry: the digests of its manifest and of its config."""
    status, headers, body = ask(server.port, "GET", f"/v2/{repository}/manifests/{tag}", headers={"Accept": ACCEPT})
    assert status == 200
    return {headers["docker-content-digest"], json.loads(body).get("config", {}).get("digest", "")}


@pytest.mark.parametrize("split", [False, True], ids=["one file", "volumes"])
def test_engine_loads_what_we_exported_of_it(
    engine: Engine, typed: Typed, tiny_image: Callable[..., str], tmp_path: Path, unique: str, split: bool
) -> None:
    name, path = f"localhost:5000/{unique}:1", tmp_path / "images.tar"
    tiny_image(name, padding=PADDING)
    saved = engine.image(name)
    assert saved is not None
    assert typed("export", f"engine:{name}", "-o", str(path), *(("--split", "1MB") if split else ())).code == 0
    engine.remove_image(name, force=True)
    written = sorted(tmp_path.glob("images.tar*"))
    assert len(written) == (2 if split else 1)
    run(client(engine), "load", stdin=b"".join(each.read_bytes() for each in written))
    loaded = engine.image(name)
    assert loaded is not None
    assert loaded.layers == saved.layers
    # The manifest of an image that was built without one is another's; an id that is the config's stays.
    assert loaded.id == saved.id or engine.has_containerd_store
    assert typed("import", str(path), f"{unique}:copied", "--into", "engine").code == 0
    copied = engine.image(f"docker.io/library/{unique}:copied")
    assert copied is not None
    engine.remove_image(f"docker.io/library/{unique}:copied")
    assert copied.id == loaded.id


def saves(engine: Engine) -> list[tuple[str, ...]]:
    """The engine's ways to save an image."""
    return [("save", "--format", form) for form in ("docker-archive", "oci-archive")] if engine.is_podman else [("save",)]


def test_what_the_engine_saves_is_imported_with_its_id(
    engine: Engine, typed: Typed, tiny_image: Callable[..., str], other: RecordingServer, tmp_path: Path, unique: str
) -> None:
    names = [f"localhost:5000/{unique}/{part}:1" for part in "ab"]
    for name in names:
        tiny_image(name)
    for number, save in enumerate(saves(engine)):
        for name in names:
            path = tmp_path / f"{number}.tar"
            path.unlink(missing_ok=True)
            run(client(engine), *save, "-o", str(path), name)
            assert typed("import", str(path), f"{other.host}/{number}/").code == 0
            image = engine.image(name)
            assert image is not None
            repository = name.removeprefix("localhost:5000/").removesuffix(":1")
            assert image.id in image_ids(other, f"{number}/{repository}", "1")
    assert typed("--registry", other.host, "check", "--deep").code == 0


def test_several_images_saved_together_are_imported(
    engine: Engine, typed: Typed, tiny_image: Callable[..., str], other: RecordingServer, unique: str
) -> None:
    names = [f"localhost:5000/{unique}/{part}:1" for part in "ab"]
    for name in names:
        tiny_image(name)
    several = ("save", "-m") if engine.is_podman else ("save",)
    raw = run(client(engine), *several, *names)
    done = subprocess.run([*REGCTL, "import", "-", f"{other.host}/"], input=raw, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr.decode()
    for name in names:
        image = engine.image(name)
        assert image is not None
        assert image.id in image_ids(other, name.removeprefix("localhost:5000/").removesuffix(":1"), "1")


@pytest.mark.parametrize("packed", ["tar", "folder"])
def test_oci_output_of_buildx_is_imported(
    engine: Engine, typed: Typed, other: RecordingServer, tmp_path: Path, unique: str, packed: str
) -> None:
    if engine.is_podman or not engine.has_containerd_store:
        pytest.skip("buildx writes type=oci with docker's containerd store only")
    docker = client(engine)
    if subprocess.run([docker, "buildx", "version"], capture_output=True, check=False).returncode:
        missing("buildx", "docker has no such plugin")
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text('FROM scratch\nCOPY file /\nLABEL a="b"\n')
    (context / "file").write_text(unique)
    path, name = tmp_path / "image", f"localhost:5000/{unique}:1"
    form = f"type=oci,dest={path}" + (",tar=false" if packed == "folder" else "")
    run(docker, "buildx", "build", "--output", form, "--tag", name, str(context))
    assert typed("import", str(path), f"{other.host}/").code == 0
    index = path / "index.json" if packed == "folder" else None
    entry = json.loads(index.read_bytes() if index is not None else run("tar", "-xOf", str(path), "index.json"))["manifests"][0]
    assert entry["digest"] in image_ids(other, unique, "1")
    assert typed("--registry", other.host, "check", "--deep").code == 0


@pytest.mark.parametrize("form", ["oci", "oci-archive", "docker-archive"])
def test_what_skopeo_writes_is_imported(typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path, form: str) -> None:
    made = make_image(watching.port, "a", "1", layer(b"base"), layer(b"app"))
    path = tmp_path / "image"
    skopeo = program("skopeo")
    run(skopeo, "copy", "-q", "--src-tls-verify=false", f"docker://{watching.host}/a:1", f"{form}:{path}:localhost:5000/a:1")
    assert typed("import", str(path), f"{other.host}/").code == 0
    # docker-archive has layers unpacked, and so another manifest.
    assert (made.digest if form != "docker-archive" else sha256(made.config)) in image_ids(other, "a", "1")
    assert typed("--registry", other.host, "check", "--deep").code == 0


@pytest.mark.parametrize("form", ["oci", "tarball", "legacy"])
def test_what_crane_pulls_is_imported(typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path, form: str) -> None:
    made = make_image(watching.port, "app", "1", layer(b"base"), layer(b"app"))
    crane = program("crane", ROOT / ".cache" / "bench" / "crane")
    path = tmp_path / "image"
    run(crane, "pull", "--insecure", "--format", form, f"{watching.host}/app:1", str(path))
    assert typed("import", str(path), f"{other.host}/copy:1").code == 0
    assert (made.digest if form == "oci" else sha256(made.config)) in image_ids(other, "copy", "1")
    assert typed("--registry", other.host, "check", "--deep").code == 0


def test_index_that_crane_pulls_is_imported(typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path) -> None:
    crane = program("crane", ROOT / ".cache" / "bench" / "crane")
    children = [make_image(watching.port, "app", None, platform=name) for name in ("linux/amd64", "linux/arm64")]
    made = make_index(watching.port, "app", "all", *children)
    run(crane, "pull", "--insecure", "--format", "oci", f"{watching.host}/app:all", str(tmp_path / "image"))
    assert typed("import", str(tmp_path / "image"), f"{other.host}/copy:all").code == 0
    assert made.digest in image_ids(other, "copy", "all")


def test_skopeo_reads_what_we_exported(typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path) -> None:
    made = make_image(watching.port, "app", "1", layer(b"base"), layer(b"app"))
    path, folder = tmp_path / "images.tar", tmp_path / "layout"
    assert typed("export", "app:1", "-o", str(path)).code == typed("export", "app:1", "-o", f"{folder}/").code == 0
    skopeo = program("skopeo")
    for number, place in enumerate((f"oci-archive:{path}", f"docker-archive:{path}", f"oci:{folder}")):
        run(skopeo, "copy", "-q", "--dest-tls-verify=false", place, f"docker://{other.host}/copy:{number}")
        assert sha256(made.config) in image_ids(other, "copy", str(number))


def test_crane_reads_what_we_exported(typed: Typed, watching: RecordingServer, other: RecordingServer, tmp_path: Path) -> None:
    made = make_image(watching.port, "app", "1", layer(b"base"), layer(b"app"))
    path, folder = tmp_path / "images.tar", tmp_path / "layout"
    assert typed("export", "app:1", "-o", str(path)).code == typed("export", "app:1", "-o", f"{folder}/").code == 0
    crane = program("crane", ROOT / ".cache" / "bench" / "crane")
    for number, place in enumerate((folder, path)):
        run(crane, "push", "--insecure", str(place), f"{other.host}/copy:{number}")
        assert sha256(made.config) in image_ids(other, "copy", str(number))
