"""Capabilities are probed once, by requests that change nothing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from registry_tool.base.errors import AuthenticationFailed, RegistryError, RegistryUnreachable
from registry_tool.server import Application, MemoryStorage, run_registry
from registry_tool.targets.registry import open_registry
from registry_tool.targets.registry.repository import manifest_path
from tests.support.fake_server import ReceivedRequest, Reply, fake_server, reply


def refusing(status: int) -> Callable[[ReceivedRequest], Reply]:
    return lambda received: reply({}, status)


@pytest.mark.parametrize(("status", "can"), [(404, True), (202, True), (400, False), (405, False), (501, False)])
def test_probe_status_tells_the_capability(status: int, can: bool) -> None:
    with fake_server(refusing(status)) as server, open_registry(server.host) as registry:
        repository = registry.repository("a/b")
        assert repository.can_delete() is can
        assert repository.can_untag() is can
        assert [received.method for received in server.requests] == ["DELETE", "DELETE"]
        assert "/manifests/sha256:" in server.requests[0].path
        assert "/manifests/no-such-tag-" in server.requests[1].path


@pytest.mark.parametrize(("status", "kind"), [(401, AuthenticationFailed), (403, AuthenticationFailed), (500, RegistryError)])
def test_other_status_of_a_probe_is_raised_and_not_remembered(status: int, kind: type[Exception]) -> None:
    with fake_server(refusing(status)) as server, open_registry(server.host) as registry:
        repository = registry.repository("a")
        for ask in (repository.can_delete, repository.can_untag):
            with pytest.raises(kind):
                ask()
        server.respond = refusing(404)
        assert repository.can_delete()
        assert repository.can_untag()


def test_probe_of_an_unreachable_registry_raises() -> None:
    with open_registry("localhost:1") as registry, pytest.raises(RegistryUnreachable):
        registry.repository("a").can_delete()


def test_capability_is_probed_once_for_all_threads() -> None:
    with fake_server(refusing(404)) as server, open_registry(server.host) as registry, ThreadPoolExecutor(8) as threads:
        repositories = [registry.repository(name) for name in "abcdefgh"]
        assert all(threads.map(lambda repository: repository.can_delete() and repository.can_untag(), repositories))
        assert len(server.requests) == 2


@pytest.mark.parametrize(("options", "can"), [({}, True), ({"delete": False}, False), ({"read_only": True}, False)])
def test_registry_2_deletes_digests_and_no_tags(options: dict[str, bool], can: bool) -> None:
    with run_registry(Application(MemoryStorage(), **options)) as server, open_registry(server.host) as registry:  # type: ignore[arg-type]
        assert registry.repository("a").can_delete() is can
        assert not registry.repository("a").can_untag()


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        ("v1", "v1"),
        ("sha256:aa", "sha256:aa"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("", ""),
        ("a/../b", "a%2F..%2Fb"),
        ("a?b#c", "a%3Fb%23c"),
        ("%2e", "%252e"),
        ("a\r\nb", "a%0D%0Ab"),
        ("ü\udcff", "%C3%BC%3F"),
    ],
)
def test_manifest_path_stays_in_its_repository(reference: str, path: str) -> None:
    assert manifest_path("a/b", reference) == f"/v2/a/b/manifests/{path}"
