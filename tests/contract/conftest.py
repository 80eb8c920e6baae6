"""Two registries for the same tests: the real one in a container, and the one in this process."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import bcrypt
import pytest

from registry_tool import server
from registry_tool.engine import ContainerSpec, Engine, PortBinding
from registry_tool.local.registry import LocalRegistry
from registry_tool.local.registry.spec import environment
from registry_tool.oci.digest import Digest
from tests.contract.client import Client
from tests.support import canary
from tests.support.engine_snapshot import unique_name
from tests.support.requirements import wait_for_registry

USER, PASSWORD, REALM = "john", canary.password(), "a realm of one's own"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way to set a registry up: ``variables`` for the real one, ``options`` for the Application."""

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    htpasswd: bool = False


USUAL = Setting(name="usual")
WITHOUT_DELETE = Setting(name="without-delete", variables={"REGISTRY_STORAGE_DELETE_ENABLED": "false"}, options={"delete": False})
READ_ONLY = Setting(
    name="read-only", variables={"REGISTRY_STORAGE_MAINTENANCE": '{"readonly":{"enabled":true}}'}, options={"read_only": True}
)
FOREIGN_URLS = Setting(name="foreign-urls", variables={"REGISTRY_VALIDATION_DISABLED": "true"}, options={"foreign_urls": True})
WITH_PASSWORD = Setting(
    name="with-password",
    variables={
        "REGISTRY_AUTH": "htpasswd",
        "REGISTRY_AUTH_HTPASSWD_REALM": REALM,
        "REGISTRY_AUTH_HTPASSWD_PATH": "/htpasswd",
    },
    options={"authorize": lambda user, password: (user, password) == (USER, PASSWORD), "realm": REALM},
    htpasswd=True,
)


def basic(user: str, password: str) -> str:
    """The header's value."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture(scope="session")
def real(session_engine: Engine, registry_image: str, local: LocalRegistry) -> Iterator[Callable[[Setting], Client]]:
    """Real registries: one container for each setting, for the whole session; the usual one is ``local``."""
    known = {USUAL.name: Client(port=local.port, shorten=_shorten_in(session_engine, local.container_id))}
    with ExitStack() as ending:

        def of(setting: Setting) -> Client:
            if setting.name not in known:
                known[setting.name] = _start(session_engine, registry_image, setting, ending)
            return known[setting.name]

        yield of


@pytest.fixture(params=["in this process", pytest.param("in a container", marks=pytest.mark.engine)])
def of(request: pytest.FixtureRequest) -> Iterator[Callable[[Setting], Client]]:
    """A registry of a setting; the test runs against either kind."""
    if request.param == "in a container":
        yield request.getfixturevalue("real")
        return
    with ExitStack() as ending:
        running: list[server.RunningRegistry] = []

        def start(setting: Setting) -> Client:
            storage = server.MemoryStorage()
            running.append(ending.enter_context(server.run_registry(server.Application(storage, **setting.options))))
            return Client(port=running[-1].port, shorten=_shorten_in_memory(storage))

        yield start
    assert [one.errors for one in running if one.errors] == []


@pytest.fixture
def client(of: Callable[[Setting], Client]) -> Client:
    """A registry as this tool starts it. What is in it may be somebody else's, too: take names of your own."""
    return of(USUAL)


def _start(engine: Engine, image: str, setting: Setting, ending: ExitStack) -> Client:
    container = engine.create(
        ContainerSpec(
            image=image,
            name=f"contract-{setting.name}-{unique_name()}",
            environment={**environment("not a secret", auth=False), **setting.variables},
            ports=(PortBinding(container_port="5000/tcp", host_port=0, host_ip="127.0.0.1"),),
        )
    )
    ending.callback(engine.remove, container.id, force=True)
    if setting.htpasswd:
        line = f"{USER}:".encode() + bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)) + b"\n"
        engine.put_files(container.id, "/", {"htpasswd": (line, 0o644)})
    engine.start(container.id)
    started = engine.container(container.id)
    assert started is not None
    port = started.ports[0].host_port
    wait_for_registry(port)
    return Client(port=port, shorten=_shorten_in(engine, container.id))


def _shorten_in(engine: Engine, container: str) -> Callable[[str, int | None], None]:
    def shorten(digest: str, size: int | None) -> None:
        hexadecimal = digest.partition(":")[2]
        path = f"/var/lib/registry/docker/registry/v2/blobs/sha256/{hexadecimal[:2]}/{hexadecimal}/data"
        command = ["rm", path] if size is None else ["truncate", "-s", str(size), path]
        code, output = engine.execute(container, command)
        assert code == 0, output

    return shorten


def _shorten_in_memory(storage: server.MemoryStorage) -> Callable[[str, int | None], None]:
    def shorten(digest: str, size: int | None) -> None:
        content = storage.blobs.pop(Digest.parse(digest))
        if size is not None:
            storage.blobs[Digest.parse(digest)] = content[:size]

    return shorten
