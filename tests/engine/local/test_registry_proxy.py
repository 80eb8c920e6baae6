"""A pull-through proxy on a real engine, with a second local registry as its upstream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import Conflict, NotFound, RegistryUnreachable, UsageError
from registry_tool.content.usage.storage import blob_path
from registry_tool.engine import ContainerSpec, Engine
from registry_tool.local import registry as local_registry
from registry_tool.local.registry import Proxy, UpResult, spec, upstream
from registry_tool.oci.digest import Digest
from tests.support import canary
from tests.support.cli_runner import Typed
from tests.support.engine_snapshot import unique_name
from tests.support.registry_over_http import ask, push_tag
from tests.support.requirements import free_port

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

WAIT = 600.0


class Pair:
    """A registry, and a proxy of it."""

    def __init__(self, engine: Engine, image: str, state: Path) -> None:
        self.engine, self.image, self.state = engine, image, state
        self.upstream_name, self.name = unique_name(), unique_name()

    def up(self, name: str, **options: Any) -> UpResult:
        return local_registry.up(self.engine, image=lambda: self.image, name=name, state=self.state, timeout=WAIT, **options)

    def is_fetching(self) -> bool:
        registry = local_registry.find(self.engine, self.name)
        assert registry is not None
        return local_registry.is_ready(registry) and upstream.problem(self.engine, registry) is None


@pytest.fixture(scope="module")
def pair(session_engine: Engine, registry_image: str, session_dirs: AppDirs) -> Iterator[Pair]:
    pair = Pair(session_engine, registry_image, session_dirs.state)
    try:
        pair.up(pair.upstream_name, port=free_port())
        yield pair
    finally:
        for name in (pair.name, pair.upstream_name):
            local_registry.down(session_engine, name, volumes=True)


def test_proxy_through_the_life_of_its_upstream(pair: Pair, typed: Typed) -> None:
    engine, source = pair.engine, local_registry.find(pair.engine, pair.upstream_name)
    assert source is not None
    push_tag(source.port, "john/app", "one")
    up = pair.up(pair.name, port=free_port(), proxy=Proxy.parse(source.address, user="john", password=canary.password("upstream")))
    port = up.registry.port

    assert (up.created, up.registry.proxy, up.upstream_problem) == (True, f"http://{source.address}", None)
    _fetch(pair, port, "one")  # and it is kept

    # Nothing can be pushed or deleted, and who tries is told why.
    status, _, _ = ask(port, "POST", "/v2/john/app/blobs/uploads/")
    assert status == 405
    for command in (
        ("copy", f"{source.address}/john/app:one", f"localhost:{port}/john/other"),
        ("delete", "--yes", f"localhost:{port}/john/app:one"),
    ):
        refused = typed(*command)
        assert (refused.code, f"localhost:{port} is a proxy of http://{source.address}: it takes no pushes" in refused.err) == (1, True)
    assert "it keeps what it fetched" in typed("gc", "--name", pair.name).err
    entry = typed("status", "--name", pair.name, "--json").json["registries"][0]
    assert (entry["proxy"], entry["answering"]) == (f"http://{source.address}", True)
    assert f"http://{source.address}" in typed("status", "--name", pair.name).out

    # The password is in the volume alone.
    container = engine.container(up.registry.container_id)
    assert container is not None
    canary.search("in the proxy's container", repr(container), *engine.log_tail(container.id, 1000))
    configuration = json.loads(engine.get_file(container.id, spec.PROXY) or b"")
    assert configuration["proxy"]["password"] == canary.password("upstream")

    # The upstream is gone: what was pulled is served, also by a proxy that starts anew; what was not is missing.
    push_tag(source.port, "john/app", "two")
    engine.stop(source.container_id)
    assert (_get(port, "one"), _get(port, "two")) == (200, 404)
    local_registry.down(engine, pair.name)
    assert engine.network(spec.resource_name(pair.name)) is None
    again = pair.up(pair.name)
    assert (again.created, again.registry.port, again.registry.proxy) == (True, port, f"http://{source.address}")
    assert again.upstream_problem is not None
    assert _get(port, "one") == 200
    assert ask(port, "POST", "/v2/john/app/blobs/uploads/")[0] == 405
    pushed = typed("copy", f"localhost:{port}/john/app:one", f"localhost:{port}/john/other")
    assert "it takes no pushes" in pushed.err

    # It is back, in a new container, and used again.
    local_registry.down(engine, pair.upstream_name)
    pair.up(pair.upstream_name)
    assert poll(pair.is_fetching, Deadline(WAIT))
    _fetch(pair, port, "two")

    # Another upstream is refused, and so is a registry that has content of its own.
    with pytest.raises(Conflict, match="would get mixed"):
        pair.up(pair.name, proxy=Proxy(url="https://registry.example.com"))
    with pytest.raises(Conflict, match="would get mixed"):
        pair.up(pair.upstream_name, proxy=Proxy(url="https://registry.example.com"))
    assert not pair.up(pair.name, proxy=Proxy.parse(source.address)).created
    with pytest.raises(UsageError, match="this registry itself"):
        upstream.settings_of(engine, pair.name, Proxy.parse(f"localhost:{port}"))


def test_content_of_a_proxy_does_not_expire(pair: Pair) -> None:
    source = local_registry.find(pair.engine, pair.upstream_name)
    assert source is not None
    push_tag(source.port, "john/old", "one")
    proxy = pair.up(pair.name, proxy=Proxy.parse(source.address)).registry
    _fetch(pair, proxy.port, "one", "john/old")
    pair.engine.stop(proxy.container_id)
    # As distribution writes it; the time has passed.
    digest = ask(source.port, "HEAD", "/v2/john/old/manifests/one", headers=_ACCEPT)[1]["docker-content-digest"]
    expired = {f"john/old@{digest}": {"Key": f"john/old@{digest}", "Expiry": "2020-01-01T00:00:00Z", "EntryType": 1}}
    pair.engine.put_files(proxy.container_id, spec.STORAGE, {"scheduler-state.json": (json.dumps(expired).encode(), 0o644)})

    pair.up(pair.name)
    assert poll(pair.is_fetching, Deadline(WAIT))
    pair.engine.stop(source.container_id)
    try:
        assert _get(proxy.port, "one", "john/old") == 200
    finally:
        pair.engine.start(source.container_id)


def test_new_proxy_whose_upstream_is_silent_or_gone_is_not_kept(pair: Pair) -> None:
    name = unique_name()
    silent = pair.engine.create(
        ContainerSpec(image=pair.image, name=unique_name(), entrypoint=("nc", "-ll", "-p", "5000", "-e", "sleep", "1000"))
    )
    try:
        pair.engine.start(silent.id)
        running = pair.engine.container(silent.id)
        assert running is not None
        # Until it listens, connections are refused.
        table = ("sh", "-c", "cat /proc/net/tcp /proc/net/tcp6")
        assert poll(lambda: f":{5000:04X} " in pair.engine.execute(silent.id, table)[1].decode(), Deadline(WAIT))
        address = next(iter(running.networks.values()))
        with pytest.raises(RegistryUnreachable, match="cannot be used from the registry's container: it does not answer"):
            pair.up(name, port=free_port(), proxy=Proxy(url=f"http://{address}:5000"))
        with pytest.raises(RegistryUnreachable, match="connection refused"):
            pair.up(name, port=free_port(), proxy=Proxy(url=f"http://{address}:5001"))
    finally:
        pair.engine.remove(silent.id, force=True)
    assert local_registry.find(pair.engine, name) is None
    assert pair.engine.volume(spec.resource_name(name)) is None
    with pytest.raises(NotFound):
        local_registry.down(pair.engine, name)


_ACCEPT = {"Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"}


def _fetch(pair: Pair, port: int, tag: str, repository: str = "john/app") -> None:
    """Pull ``repository:tag`` from the proxy, and wait until it is stored: distribution does that after its response."""
    if not poll(lambda: _get(port, tag, repository) == 200, Deadline(WAIT)):
        pytest.fail("\n".join(pair.engine.log_tail(spec.resource_name(pair.name), 30)))
    manifest = json.loads(ask(port, "GET", f"/v2/{repository}/manifests/{tag}", headers=_ACCEPT)[2])
    path = f"{spec.STORAGE}/{blob_path(Digest.parse(manifest['config']['digest']))}"
    assert poll(lambda: pair.engine.get_file(spec.resource_name(pair.name), path) is not None, Deadline(WAIT))


def _get(port: int, tag: str, repository: str = "john/app") -> int:
    """The status of a pull of ``repository:tag``: of its manifest or, where that is there, of its config."""
    status, _, body = ask(port, "GET", f"/v2/{repository}/manifests/{tag}", headers=_ACCEPT)
    if status != 200:
        return status
    return ask(port, "GET", f"/v2/{repository}/blobs/{json.loads(body)['config']['digest']}")[0]
