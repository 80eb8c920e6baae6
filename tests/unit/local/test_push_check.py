"""What was pushed is looked at: what is not there is a failure that names it, what may not be looked at is a warning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from registry_tool.base.errors import NotARegistry, PushFailed
from registry_tool.engine import Engine, TransferResult
from registry_tool.local import registry as local_registry
from registry_tool.local.images import transfer
from registry_tool.local.images.push_check import check_push
from registry_tool.local.registry import LocalRegistry
from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import Reference
from registry_tool.targets.registry import open_registry
from tests.support.cli_runner import Typed
from tests.support.content import OCI_IMAGE, PushedManifest, layer, make_image, make_index, sha256
from tests.support.damage import Damageable, built_by_buildkit, foreign_image, in_a_container, in_this_process, lying_image
from tests.support.fake_server import Reply, fake_server
from tests.support.faulty_proxy import faulty_proxy, flipped_byte, respond_with
from tests.support.requirements import free_port


@pytest.fixture(scope="module")
def damageable() -> Iterator[Damageable]:
    with in_this_process() as registry:
        yield registry


def look(port: int, made: PushedManifest, *, tag: str | None = None) -> str | None:
    reference = Reference(host=f"127.0.0.1:{port}", path=made.repository, tag=tag or made.tag)
    return check_push(reference, Digest.parse(made.digest), cure=lambda: "the cure")


def problems(port: int, made: PushedManifest, **options: Any) -> list[str]:
    with pytest.raises(PushFailed, match="was pushed and is incomplete") as raised:
        look(port, made, **options)
    assert raised.value.hint == "the cure"
    return list(raised.value.excerpt)


def test_a_web_server_that_accepts_everything_is_no_registry() -> None:
    page = Reply(body=b"<!DOCTYPE html><html>It works!</html>", headers={"Content-Type": "text/html"})
    with fake_server(lambda received: page) as web, pytest.raises(NotARegistry):
        check_push(Reference(host=web.host, path="a", tag="1"), Digest.parse(f"sha256:{'0' * 64}"), cure=lambda: "")


def test_a_missing_layer_is_a_failure(damageable: Damageable, unique: str) -> None:
    made = make_image(damageable.port, unique, "1", layer(unique.encode()), layer(f"{unique} 2".encode()))
    gone = damageable.remove(made.layers[0])
    assert problems(damageable.port, made) == [f"{gone}: missing"]


def test_a_tag_that_is_at_another_image_is_a_warning(damageable: Damageable, unique: str) -> None:
    before = make_image(damageable.port, unique, "1", layer(b"before"))
    made = make_image(damageable.port, unique, "2", layer(unique.encode()))
    assert look(damageable.port, made) is None
    warning = look(damageable.port, made, tag="1")
    assert f"was pushed as {made.digest}, and is {before.digest} now" in (warning or "")


def test_a_missing_config_is_a_failure(damageable: Damageable, unique: str) -> None:
    made = make_image(damageable.port, unique, "1", layer(unique.encode()))
    gone = damageable.remove(made.config)
    assert problems(damageable.port, made) == [f"{gone}: missing"]


def test_a_truncated_layer_is_a_failure(damageable: Damageable, unique: str) -> None:
    made = make_image(damageable.port, unique, "1", layer(f"{unique}0123456789".encode() * 1000))
    cut = damageable.truncate(made.layers[0])
    assert problems(damageable.port, made) == [f"{cut}: not {len(made.layers[0])} bytes"]


def test_a_layer_of_another_size_than_the_manifest_says_is_a_failure(damageable: Damageable, unique: str) -> None:
    for by in (-1, 7):
        made = lying_image(damageable.port, f"{unique}{by}".replace("-", "m"), "1", by=by)
        assert problems(damageable.port, made) == [f"{sha256(made.layers[0])}: not {len(made.layers[0]) + by} bytes"]


def test_a_missing_manifest_is_a_failure_that_names_tag_and_manifest(damageable: Damageable, unique: str) -> None:
    made = make_image(damageable.port, unique, "1", layer(unique.encode()))
    gone = damageable.remove(made.raw)
    first, second = problems(damageable.port, made)
    assert first.startswith("tag 1: ")
    assert second == f"manifest {gone}: missing"


def test_a_missing_tag_is_a_failure(damageable: Damageable, unique: str) -> None:
    made = make_image(damageable.port, unique, "1", layer(unique.encode()))
    (only,) = problems(damageable.port, made, tag="2")
    assert only.startswith("tag 2: ")


def test_a_missing_child_of_an_index_and_a_missing_layer_of_another_are_failures(damageable: Damageable, unique: str) -> None:
    port = damageable.port
    children = [make_image(port, unique, None, layer(f"{unique}{n}".encode()), platform=f"linux/{n}") for n in ("amd64", "arm64")]
    made = make_index(port, unique, "1", *children)
    child, blob = damageable.remove(children[0].raw), damageable.remove(children[1].layers[0])
    assert problems(port, made) == [f"manifest {child}: missing", f"{blob}: missing"]


def test_many_missing_layers_are_listed_in_part(damageable: Damageable, unique: str) -> None:
    made = make_image(damageable.port, unique, "1", *(layer(f"{unique}{number}".encode()) for number in range(14)))
    for content in made.layers:
        damageable.remove(content)
    lines = problems(damageable.port, made)
    assert len(lines) == 11
    assert lines[-1] == "and 4 more"


@pytest.mark.parametrize(("status", "path"), [(401, "/manifests/"), (403, "/manifests/"), (403, "/blobs/"), (500, "/blobs/"), (429, "")])
def test_who_may_not_look_is_warned_and_has_pushed(damageable: Damageable, unique: str, status: int, path: str) -> None:
    made = make_image(damageable.port, unique, "1", layer(unique.encode()))
    with faulty_proxy(damageable.port) as proxy:
        proxy.inject(respond_with(status), path=path)
        warning = look(proxy.port, made)
    assert warning is not None
    assert "was pushed, and not checked: " in warning
    assert status == 401 or str(status) in warning


def test_a_registry_that_nobody_reaches_from_here_is_a_warning(unique: str) -> None:
    made = PushedManifest(repository=unique, tag="1", media_type=OCI_IMAGE, raw=b"{}")
    warning = look(free_port(), made)
    assert warning is not None
    assert "was pushed, and not checked: " in warning


def test_other_bytes_than_the_pushed_manifests_are_a_failure(damageable: Damageable, unique: str) -> None:
    """A web server that accepts everything answers like this."""
    made = make_image(damageable.port, unique, "1", layer(unique.encode()))
    with faulty_proxy(damageable.port) as proxy:
        proxy.inject(flipped_byte(3), method="GET", path="/manifests/")
        (only,) = problems(proxy.port, made)
    assert only.startswith(f"manifest {made.digest}: ")


@pytest.mark.parametrize("make", [built_by_buildkit, foreign_image, make_image])
def test_what_is_whole_costs_one_small_request_for_each_part(
    damageable: Damageable, unique: str, make: Callable[[int, str, str], PushedManifest]
) -> None:
    """A foreign layer need not be in the registry, and is not requested."""
    made = make(damageable.port, unique, "1")
    with faulty_proxy(damageable.port) as proxy:
        assert look(proxy.port, made) is None
        assert proxy.repeated() == []
        assert proxy.count("GET", "/blobs/") == sum(each.headers.get("range", "").startswith("bytes=") for each in proxy.requests)
        assert proxy.count("HEAD") == 1


INDEX = Digest.parse(f"sha256:{'1' * 64}")


class FakeEngine:
    """An engine that has the image, and pushed it already. ``is_local`` is of its address."""

    def __init__(self, digest: str, *, is_local: bool = True) -> None:
        self.auth_file = None
        self.endpoint = SimpleNamespace(is_local=is_local)
        self.digest = digest
        self.partial_of: Digest | None = None
        self.sources = ["localhost:5000/source"]
        self.missing = (Platform(os="linux", architecture="arm64"), Platform(os="linux", architecture="s390x"))

    def image(self, name: str) -> object:
        digests = (f"{name.rpartition(':')[0]}@{self.partial_of}", *(f"{source}@{self.partial_of}" for source in self.sources))
        return SimpleNamespace(id="sha256:1", short_id="1", names=(name,), digests=digests)

    def missing_platforms(self, name: str) -> tuple[Platform, ...]:
        return self.missing

    def push(self, name: str, *, observer: object) -> TransferResult:
        descriptor = Descriptor(media_type=OCI_IMAGE, digest=Digest.parse(self.digest), size=1)
        return TransferResult(
            reference=name, descriptor=descriptor, layers={"012345678901": "Layer already exists"}, partial_of=self.partial_of
        )


def push(damageable: Damageable, made: PushedManifest, *, is_local: bool = True, check: bool = True) -> transfer.PushResult:
    engine = cast(Engine, FakeEngine(made.digest, is_local=is_local))
    return transfer.push(engine, f"localhost:{damageable.port}", f"localhost:{damageable.port}/{made.repository}:{made.tag}", check=check)


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("default", "Restart it (regctl down, regctl up), then push again."),
        ("team", "Restart it (regctl down --name team, regctl up --name team), then push again."),
        (None, "Restart the registry, then push again."),
    ],
)
def test_a_layer_that_was_skipped_and_is_gone_fails_the_push_with_its_cure(
    damageable: Damageable, unique: str, monkeypatch: pytest.MonkeyPatch, name: str | None, cure: str
) -> None:
    made = make_image(damageable.port, unique, "1", layer(unique.encode()))
    damageable.remove(made.layers[0])
    registries = (
        [LocalRegistry(name=name, port=damageable.port, container_id="", container_name="", image="", volume="", state="running")]
        if name
        else []
    )
    monkeypatch.setattr(local_registry, "find_all", lambda engine: tuple(registries))
    with pytest.raises(PushFailed, match="1 of 4 parts missing") as raised:
        push(damageable, made)
    assert raised.value.hint is not None
    assert raised.value.hint.endswith(cure)
    unchecked = push(damageable, made, check=False)
    assert (unchecked.checked, unchecked.warning) == (False, None)


def test_loopback_of_another_machines_engine_is_not_asked_here(damageable: Damageable, unique: str) -> None:
    made = make_image(damageable.port, unique, "1", layer(unique.encode()))
    damageable.remove(made.layers[0])
    pushed = push(damageable, made, is_local=False)
    assert not pushed.checked
    assert pushed.warning is not None
    assert pushed.warning.endswith("is on the engine's machine")


def test_a_whole_push_is_checked(damageable: Damageable, unique: str) -> None:
    pushed = push(damageable, make_image(damageable.port, unique, "1", layer(unique.encode())))
    assert (pushed.checked, pushed.warning) == (True, None)


@pytest.mark.engine
def test_what_the_real_registry_only_remembers_is_found_and_after_a_restart_as_well(
    engine: Engine, registry_image: str, unique: str
) -> None:
    with in_a_container(engine, registry_image, unique) as registry:
        made = make_image(registry.port, unique, "1", layer(unique.encode()))
        assert look(registry.port, made) is None
        gone = registry.remove(made.layers[0])
        assert problems(registry.port, made) == [f"{gone}: missing"]
        registry.restart()
        assert problems(registry.port, made) == [f"{gone}: missing"]


def push_partly(damageable: Damageable, unique: str, **known: object) -> tuple[transfer.PushResult, str]:
    """Push one platform of an index, of which the engine has what is ``known``; returns the second line of what is said of it."""
    made = make_image(damageable.port, unique, "1", layer(unique.encode()))
    engine = FakeEngine(made.digest)
    engine.partial_of = INDEX
    for attribute, value in known.items():
        setattr(engine, attribute, value)
    name = f"localhost:{damageable.port}/{made.repository}:{made.tag}"
    pushed = transfer.push(cast(Engine, engine), f"localhost:{damageable.port}", name)
    assert pushed.checked
    what, how = pushed.partial
    without = ", ".join(map(str, pushed.missing)) or "other platforms"
    assert what == f"{name}: one platform of {engine.partial_of} was pushed, and not the index: the engine does not have {without}"
    return pushed, how


def test_a_push_of_one_platform_of_several_says_which_are_missing_and_what_copies_them(damageable: Damageable, unique: str) -> None:
    pushed, how = push_partly(damageable, unique)
    assert pushed.missing == (Platform(os="linux", architecture="arm64"), Platform(os="linux", architecture="s390x"))
    assert how == f"To have all of it there: regctl copy localhost:5000/source@{INDEX} {pushed.reference}"


def test_what_is_advised_after_a_partial_push_has_all_platforms_in_the_registry(typed: Typed, damageable: Damageable, unique: str) -> None:
    port, source = damageable.port, f"{unique}/source"
    images = [make_image(port, source, None, layer(name.encode()), platform=f"linux/{name}") for name in ("amd64", "arm64")]
    index = Digest.parse(make_index(port, source, "1", *images).digest)
    pushed, how = push_partly(damageable, unique, partial_of=index, missing=(), sources=[f"localhost:{port}/{source}"])
    words = how.partition("regctl ")[2].split()
    assert typed(*words).code == 0
    with open_registry(pushed.reference.host) as registry:
        assert registry.digest(pushed.reference.path, "1") == index


@pytest.mark.parametrize(
    ("known", "what"),
    [
        ({"sources": []}, "linux/arm64, linux/s390x"),
        ({"sources": [], "missing": ()}, "other platforms"),
    ],
)
def test_advice_for_a_partial_push_has_no_placeholder_where_a_name_or_a_platform_is_not_known(
    damageable: Damageable, unique: str, known: dict[str, object], what: str
) -> None:
    _, how = push_partly(damageable, unique, **known)
    assert how == f"To push all of it, pull {what} from where the image came from (regctl pull --platform), then push again."
