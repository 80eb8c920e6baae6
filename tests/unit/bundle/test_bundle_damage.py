"""A bundle with a byte flipped, cut, or without a file, wherever that is; and volumes that are lost, with parity and without."""

from __future__ import annotations

import errno
import os
import random
import shutil
from pathlib import Path

import pytest

from registry_tool.bundle.volumes import VolumeSet, read_list
from tests.support.cli_runner import Typed
from tests.support.content import ACCEPT, PushedManifest, layer, make_image
from tests.support.recording_server import RecordingServer, recording_server
from tests.support.registry_over_http import ask

PLAIN = ("--no-tool", "--no-registry", "--no-sample")
NAMES = ("a:1", "b:1", "c:1")
FORMS = {"folder": ("kit",), "file": ("kit.tar",), "volumes": ("kit.tar", "--volume-size", "1MB")}
PARITY = ("kit.tar", "--volume-size", "1MB", "--parity")


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")


@pytest.fixture
def images(watching: RecordingServer) -> dict[str, PushedManifest]:
    """Two images that share a layer, and one of its own."""
    shared = layer(random.Random(0).randbytes(900_000))
    contents = {"a": (shared,), "b": (shared, layer(b"b" * 2000)), "c": (layer(random.Random(1).randbytes(700_000)),)}
    return {f"{name}:1": make_image(watching.port, name, "1", *layers) for name, layers in contents.items()}


def create(typed: Typed, folder: Path, name: str, *options: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    assert typed("bundle", "create", "-o", str(path), *PLAIN, *options, *NAMES).code == 0
    return path


def there(server: RecordingServer) -> dict[str, str]:
    """Digests of the tags that a registry has."""
    digests = {}
    for name in NAMES:
        repository, _, tag = name.partition(":")
        status, headers, _ = ask(server.port, "GET", f"/v2/{repository}/manifests/{tag}", headers={"Accept": ACCEPT})
        if status == 200:
            digests[name] = headers["docker-content-digest"]
    return digests


def damage(folder: Path, generator: random.Random) -> str:
    """Flip a byte, cut or remove one of the files, weighted by their sizes; returns what was done."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    weights = [path.stat().st_size + 20_000 for path in files]
    [path] = generator.choices(files, weights)
    kind = generator.choice(("flip", "flip", "cut", "remove"))
    offset = generator.randrange(path.stat().st_size)
    if kind == "remove":
        path.unlink()
    elif kind == "cut":
        os.truncate(path, offset)
    else:
        content = bytearray(path.read_bytes())
        content[offset] ^= 1 << generator.randrange(8)
        path.write_bytes(content)
    return f"{kind} {path.relative_to(folder)} at {offset}"


def check_damage(
    typed: Typed, images: dict[str, PushedManifest], other: RecordingServer, folder: Path, path: Path, generator: random.Random
) -> None:
    """One damage: ``verify`` names it, and ``apply`` does what it says."""
    done = damage(folder, generator)
    verified = typed("bundle", "verify", str(path), "--json")
    assert verified.code == 1, done
    refused = typed("bundle", "apply", str(path), "--to", other.host)
    going = typed("bundle", "apply", str(path), "--to", other.host, "--keep-going", "--map", "x=y")
    assert "Traceback" not in refused.err + going.err
    digests = {name: image.digest for name, image in images.items()}
    if "error" in verified.json:
        # What says what is in it is hit, and with it all images; or the list of the volumes, whose images are not.
        assert verified.json["error"]["code"] in ("invalid-bundle", "invalid-archive", "not-found"), done
        assert (refused.code, going.code, there(other)) == (1, 1, {}), done
        return
    problems = verified.json["problems"]
    assert problems, done
    hit = {name.partition("/")[2] for problem in problems for name in problem["images"]}
    intact = {name.partition("/")[2] for name in verified.json["intact"]}
    assert intact == set(images) - hit, done
    applied = there(other)
    if all(problem["path"].endswith(".volumes.json") for problem in problems):
        assert (refused.code, applied) == (0, digests), done
        return
    assert refused.code == 1, done
    for name in hit:
        assert name in refused.err, done
    assert going.code == 1, done
    assert applied == {name: digest for name, digest in digests.items() if name in intact}, done


def check_damages(typed: Typed, images: dict[str, PushedManifest], tmp_path: Path, form: str, seed: int, times: int) -> None:
    whole = tmp_path / "whole"
    create(typed, whole, *FORMS[form])
    generator = random.Random(f"{form} {seed}")
    for _ in range(times):
        folder = tmp_path / "damaged"
        shutil.copytree(whole, folder)
        # One that has nothing: what is there is not read from a bundle.
        with recording_server() as empty:
            check_damage(typed, images, empty, folder, folder / FORMS[form][0], generator)
        shutil.rmtree(folder)


@pytest.mark.parametrize("form", FORMS)
def test_damage_anywhere_is_named_and_apply_agrees_with_verify(
    typed: Typed, images: dict[str, PushedManifest], tmp_path: Path, form: str
) -> None:
    check_damages(typed, images, tmp_path, form, 0, 12)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 21))
@pytest.mark.parametrize("form", FORMS)
def test_damage_at_many_places(typed: Typed, images: dict[str, PushedManifest], tmp_path: Path, form: str, seed: int) -> None:
    check_damages(typed, images, tmp_path, form, seed, 50)


# --- parity ---

LOSSES = ("removed", "flipped at its first byte", "flipped in the middle", "cut", "cannot be read")


def lose(path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = path.read_bytes()
    if how == "removed":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[: len(content) // 3])
    elif how == "cannot be read":
        real = os.pread

        def pread(handle: int, size: int, offset: int) -> bytes:
            if Path(f"/proc/self/fd/{handle}").readlink() == path:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(handle, size, offset)

        monkeypatch.setattr(os, "pread", pread)
    else:
        at = 0 if how == LOSSES[1] else len(content) // 2
        path.write_bytes(content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :])


@pytest.mark.parametrize("how", LOSSES)
@pytest.mark.parametrize("number", ["001", "002", "p01"])
def test_lost_volume_is_made_of_the_others_as_it_is_read(
    typed: Typed,
    images: dict[str, PushedManifest],
    other: RecordingServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: str,
    how: str,
) -> None:
    path = create(typed, tmp_path / "stick", *PARITY)
    lose(tmp_path / "stick" / f"kit.tar.{number}", how, monkeypatch)
    verified = typed("bundle", "verify", str(path), "--json").json
    assert [problem["path"] for problem in verified["problems"]] == [f"kit.tar.{number}"]
    assert [len(verified["intact"]), verified["ok"]] == [3, False]
    before = sorted((tmp_path / "stick").iterdir())
    applied = typed("bundle", "apply", str(path), "--to", other.host)
    assert applied.code == 0, applied.err
    assert there(other) == {name: image.digest for name, image in images.items()}
    assert (f"kit.tar.{number} is lost or damaged: made of the others" in applied.err) == (number != "p01")
    assert sorted((tmp_path / "stick").iterdir()) == before, "a stick may be read-only"


def test_second_loss_while_a_lost_volume_is_read_is_a_failure_to_read(
    typed: Typed, images: dict[str, PushedManifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = create(typed, tmp_path / "stick", *PARITY)
    path.with_name("kit.tar.001").unlink()
    listed = read_list(path)
    assert listed is not None
    volumes = VolumeSet(path.parent, listed)
    available = volumes.available

    def lost_meanwhile(offset: int, size: int) -> int:
        there = available(offset, size)
        volumes._lost["kit.tar.002"] = "another thread found it"
        return there

    monkeypatch.setattr(volumes, "available", lost_meanwhile)
    with pytest.raises(OSError, match="No such file") as raised:
        volumes.read_at(10, 0)
    assert raised.value.filename == "kit.tar.001"
    assert volumes.problems[0] == ("kit.tar.001", "missing")
    volumes.close()


@pytest.mark.parametrize("how", ["removed", "flipped in the middle"])
def test_keep_going_makes_a_lost_volume_of_the_others_too(
    typed: Typed, images: dict[str, PushedManifest], other: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    path = create(typed, tmp_path / "stick", *PARITY)
    lose(tmp_path / "stick" / "kit.tar.001", how, monkeypatch)
    applied = typed("bundle", "apply", str(path), "--to", other.host, "--keep-going", "--json")
    assert (applied.code, applied.json["rebuilt"], applied.json["problems"]) == (0, ["kit.tar.001"], [])
    assert there(other) == {name: image.digest for name, image in images.items()}


@pytest.mark.parametrize("numbers", [("002", "p01"), ("001", "002")], ids=["and parity", "two"])
@pytest.mark.parametrize("how", ["removed", "flipped in the middle"])
def test_two_lost_volumes_are_named_and_nothing_is_applied(
    typed: Typed,
    images: dict[str, PushedManifest],
    other: RecordingServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    numbers: tuple[str, str],
) -> None:
    path = create(typed, tmp_path / "stick", *PARITY)
    for number in numbers:
        lose(tmp_path / "stick" / f"kit.tar.{number}", how, monkeypatch)
    verified = typed("bundle", "verify", str(path), "--json")
    assert verified.code == 1
    # Without its first volume it is not known what is in it.
    if "problems" in verified.json:
        assert any(problem["images"] for problem in verified.json["problems"])
        assert {f"kit.tar.{number}" for number in numbers} <= {problem["path"] for problem in verified.json["problems"]}
    refused = typed("bundle", "apply", str(path), "--to", other.host)
    assert (refused.code, there(other)) == (1, {})


def test_damaged_list_of_volumes_is_named_and_without_it_they_are_read(
    typed: Typed, images: dict[str, PushedManifest], other: RecordingServer, tmp_path: Path
) -> None:
    path = create(typed, tmp_path / "stick", *PARITY)
    listed = tmp_path / "stick" / "kit.tar.volumes.json"
    whole = listed.read_bytes()
    for offset in range(0, len(whole), 23):
        listed.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
        answer = typed("bundle", "verify", str(path))
        assert (answer.code, "kit.tar.volumes.json" in answer.err) == (1, True), offset
    listed.unlink()
    verified = typed("bundle", "verify", str(path), "--json").json
    assert [(problem["path"], problem["problem"]) for problem in verified["problems"]] == [("kit.tar.volumes.json", "missing")]
    assert typed("bundle", "apply", str(path), "--to", other.host).code == 0
