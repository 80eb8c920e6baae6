"""What is looked at before a bundle is applied: space, and the platform of the engine."""

from __future__ import annotations

import json
import random
from contextlib import ExitStack
from pathlib import Path

import pytest

from registry_tool.base.errors import Conflict, EngineNotFound, InvalidBundle, RegistryToolError
from registry_tool.bundle.apply import apply_bundle, check_platform_of, parse_map, unpack_sample_wheels
from registry_tool.bundle.contents import CHECKSUM, CONTENTS
from registry_tool.bundle.create import BundleParts, create_bundle
from registry_tool.bundle.reader import checksum_line, open_bundle
from registry_tool.bundle.verify import verify_bundle
from registry_tool.content.copy.location import Location
from registry_tool.content.copy.places import Places
from registry_tool.engine import Engine
from registry_tool.oci.reference import Reference
from registry_tool.targets.registry import open_registry
from registry_tool.targets.target import Target
from tests.support.cli_runner import Typed
from tests.support.content import layer, make_image
from tests.support.fake_engine import fake_engine
from tests.support.fake_server import reply
from tests.support.recording_server import RecordingServer

CONTENT = layer(b"content" * 1000)


@pytest.fixture
def kit(typed: Typed, watching: RecordingServer, tmp_path: Path) -> Path:
    make_image(watching.port, "a", "1", CONTENT)
    assert typed("bundle", "create", "-o", str(tmp_path / "kit"), "--no-tool", "--no-registry", "--no-sample", "a:1").code == 0
    return tmp_path / "kit"


def test_too_little_space_is_told_before_anything_is_written(kit: Path, other: RecordingServer) -> None:
    with open_bundle(kit) as bundle, open_registry(other.host) as registry:

        def opened(reference: Reference) -> Target:
            return registry.repository(reference.path)

        with pytest.raises(RegistryToolError, match="are needed, and 10B are free"):
            apply_bundle(bundle, other.host, opened, free_space=lambda: 10)
        assert {method for method, _ in other.requests} <= {"GET", "HEAD"}
        apply_bundle(bundle, other.host, opened, free_space=lambda: 1_000_000)
        # Nothing is sent then, and nothing is needed.
        apply_bundle(bundle, other.host, opened, free_space=lambda: 0)


@pytest.mark.parametrize(("platform", "is_refused"), [("linux/s390x", True), ("linux/amd64", False), ("", False)])
def test_bundle_for_another_platform_is_refused(kit: Path, platform: str, is_refused: bool) -> None:
    document = json.loads((kit / CONTENTS).read_bytes())
    document["platform"] = platform
    raw = json.dumps(document, indent=1).encode() + b"\n"
    (kit / CONTENTS).write_bytes(raw)
    (kit / CHECKSUM).write_bytes(checksum_line(raw))
    answers = {"GET /version": reply({"Os": "linux", "Arch": "amd64", "Version": "28.0.0"}), "GET /info": reply({"Name": "x"})}
    with open_bundle(kit) as bundle, fake_engine(answers) as (engine, _):
        if not is_refused:
            check_platform_of(bundle, engine)
            return
        with pytest.raises(Conflict, match="the bundle is for linux/s390x, and this engine is linux/amd64") as refused:
            check_platform_of(bundle, engine)
    assert "--to HOST:PORT" in str(refused.value.hint)


def test_sample_wheels_that_are_missing_in_the_base_are_not_half_unpacked(typed: Typed, watching: RecordingServer, tmp_path: Path) -> None:
    make_image(watching.port, "a", "1", CONTENT)
    wheels: dict[str, Path | bytes] = {"app/wheels/one-1-py3-none-any.whl": b"one", "app/wheels/two-1-py3-none-any.whl": b"two"}
    key = "0" * 32
    image = Location.parse(f"{watching.host}/a:1", default_host="localhost")
    full, delta, cache = tmp_path / "full", tmp_path / "delta", tmp_path / "cache"
    with ExitStack() as stack:
        places = stack.enter_context(Places(open_registry, connect_engine=no_engine))
        create_bundle(full, BundleParts(images=[image], files=wheels, sample_wheels=key), places)
        since = stack.enter_context(open_bundle(full))
        changed = wheels | {"app/wheels/two-1-py3-none-any.whl": b"changed"}
        create_bundle(delta, BundleParts(images=[image], files=changed, sample_wheels=key), places, since=since)
    with open_bundle(delta) as alone:
        unpack_sample_wheels(alone, cache)
        assert not cache.exists()
        assert verify_bundle(alone).ok
    (full / "app/wheels/one-1-py3-none-any.whl").unlink()
    with open_bundle(delta, base=full) as incomplete:
        unpack_sample_wheels(incomplete, cache)
        assert not cache.exists()
        assert [problem.path for problem in verify_bundle(incomplete).problems] == ["app/wheels/one-1-py3-none-any.whl"]
    (full / "app/wheels/one-1-py3-none-any.whl").write_bytes(b"one")
    with open_bundle(delta, base=full) as whole:
        unpack_sample_wheels(whole, cache)
    unpacked = {path.name: path.read_bytes() for path in (cache / "wheels" / key).iterdir()}
    assert unpacked == {"one-1-py3-none-any.whl": b"one", "two-1-py3-none-any.whl": b"changed"}


@pytest.mark.parametrize("parity", [True, False], ids=["parity", "no parity"])
def test_damaged_sample_wheel_is_made_of_parity_or_named(watching: RecordingServer, tmp_path: Path, parity: bool) -> None:
    make_image(watching.port, "a", "1", CONTENT)
    content, key, path, cache = random.Random(1).randbytes(5_000), "0" * 32, tmp_path / "kit.tar", tmp_path / "cache"
    image = Location.parse(f"{watching.host}/a:1", default_host="localhost")
    parts = BundleParts(images=[image], files={"app/wheels/one-1-py3-none-any.whl": content}, sample_wheels=key)
    with Places(open_registry, connect_engine=no_engine) as places:
        create_bundle(path, parts, places, volume_size=1_000_000, parity=parity)
    volume = tmp_path / "kit.tar.001"
    damaged = bytearray(volume.read_bytes())
    damaged[damaged.index(content) + 2_000] ^= 1
    volume.write_bytes(damaged)
    with open_bundle(path) as bundle:
        if parity:
            unpack_sample_wheels(bundle, cache)
            assert (cache / "wheels" / key / "one-1-py3-none-any.whl").read_bytes() == content
            return
        with pytest.raises(InvalidBundle, match=r"kit\.tar: app/wheels/one-1-py3-none-any\.whl is damaged"):
            unpack_sample_wheels(bundle, cache)
    assert not cache.exists()


def no_engine() -> Engine:
    raise EngineNotFound("there is none")


def test_map_is_two_prefixes() -> None:
    assert parse_map("john/=class/john/") == ("john", "class/john")
    assert parse_map("john=") == ("john", "")
