"""The images that are built from packages, held to what the official ones do. Each is really built, once, and run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import pytest

from registry_tool.base import labels
from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.errors import Conflict, EngineTimeout
from registry_tool.base.progress import SILENT
from registry_tool.engine import ContainerSpec, Engine, PortBinding
from registry_tool.local.base_images import PROXY, PYTHON, REDIS, REGISTRY, Base, BaseImageResolver, packages
from registry_tool.local.base_images.image_files import APPLETS, REGISTRY_CONFIG
from tests.support.engine_snapshot import unique_name
from tests.support.requirements import missing

pytestmark = pytest.mark.engine


def _built(engine: Engine, base: Base, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if packages.Distribution.current() is None or shutil.which(packages.TOOL) is None:
        missing("packages", f"needs a Debian or an Ubuntu with {packages.TOOL}")
    unique = unique_name()
    bases = BaseImageResolver(engine, tmp_path_factory.mktemp(unique), SILENT)
    # Whatever this machine reaches: these tests are about what is made of packages.
    bases.__dict__["hub_reachable"] = False
    result = bases.ensure(replace(base, role=unique, official=f"{unique}.invalid/{base.official}"))
    assert result.source == "packages"
    try:
        yield result.name
    finally:
        engine.remove_image(result.name, force=True)


@pytest.fixture(scope="module")
def registry(session_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _built(session_engine, REGISTRY, tmp_path_factory)


@pytest.fixture(scope="module")
def python(session_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _built(session_engine, PYTHON, tmp_path_factory)


@pytest.fixture(scope="module")
def redis(session_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _built(session_engine, REDIS, tmp_path_factory)


@pytest.fixture(scope="module")
def proxy(session_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _built(session_engine, PROXY, tmp_path_factory)


@pytest.fixture
def running(engine: Engine) -> Iterator[list[str]]:
    """Ids of containers that are removed in the end."""
    started: list[str] = []
    yield started
    for container in started:
        engine.remove(container, force=True)


def _output(engine: Engine, image: str, *command: str, user: str | None = None) -> str:
    """What ``command`` prints in a container of ``image``; it must end well."""
    container = engine.run(ContainerSpec(image=image, command=command, user=user, network="none", labels={labels.ROLE: labels.ROLE_PROBE}))
    try:
        status = engine.wait(container.id, timeout=600)
        output = b"".join(chunk for _, chunk in engine.logs(container.id)).decode()
        assert status == 0, output
        return output
    finally:
        engine.remove(container.id, force=True)


def _until(engine: Engine, container: str, command: Sequence[str]) -> str:
    status, output = 1, b""

    def ends_well() -> bool:
        nonlocal status, output
        status, output = engine.execute(container, command)
        return status == 0

    assert poll(ends_well, Deadline(600)), f"{command} never ended well: {output.decode()}"
    return output.decode()


class TestRegistry:
    def test_registry_stand_in_serves_without_arguments(self, engine: Engine, registry: str, running: list[str]) -> None:
        spec = ContainerSpec(image=registry, ports=(PortBinding(container_port="5000/tcp", host_port=0, host_ip="127.0.0.1"),))
        container = engine.run(spec)
        running.append(container.id)
        assert _until(engine, container.id, ["wget", "-qO-", "http://127.0.0.1:5000/v2/"]).strip() == "{}"

    def test_its_paths_are_the_official_ones(self, engine: Engine, registry: str) -> None:
        shown = _output(
            engine, registry, "sh", "-c", "cat /etc/docker/registry/config.yml; test -x /bin/registry && test -d /var/lib/registry"
        )
        assert shown.encode() == REGISTRY_CONFIG

    def test_its_storage_is_a_volume(self, engine: Engine, registry: str, running: list[str]) -> None:
        container = engine.run(ContainerSpec(image=registry))
        running.append(container.id)
        result = engine.container(container.id)
        assert result is not None
        assert "/var/lib/registry" in result.mounts

    @pytest.mark.parametrize("command", [("--version",), ("registry", "--version")], ids=["an option", "the program"])
    def test_arguments_are_the_registrys(self, engine: Engine, registry: str, command: tuple[str, ...]) -> None:
        assert " 2." in _output(engine, registry, *command)

    def test_its_storage_can_be_listed_from_within(self, engine: Engine, registry: str) -> None:
        listed = _output(
            engine, registry, "sh", "-c", "touch /var/lib/registry/a && find /var/lib/registry -type f -exec stat -c '%s %n' {} +"
        )
        assert listed == "0 /var/lib/registry/a\n"

    def test_it_ends_when_it_is_asked_to(self, engine: Engine, registry: str, running: list[str]) -> None:
        container = engine.run(ContainerSpec(image=registry))
        running.append(container.id)
        _until(engine, container.id, ["wget", "-qO-", "http://127.0.0.1:5000/v2/"])
        engine.kill(container.id, signal="TERM")
        engine.wait(container.id, timeout=600)


class TestPython:
    def test_python_is_python_and_pip_is_its_own(self, engine: Engine, python: str) -> None:
        shown = _output(
            engine, python, "sh", "-c", "python -c 'import sys; print(sys.version_info[0])' && python -m pip --version && pip --version"
        )
        assert shown.startswith("3\npip ")

    def test_pip_may_install_into_the_image(self, engine: Engine, python: str) -> None:
        wheel = (
            "import zipfile; w = zipfile.ZipFile('/tmp/tiny-1.0-py3-none-any.whl', 'w'); w.writestr('tiny.py', 'print(42)');"
            "w.writestr('tiny-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n');"
            "w.writestr('tiny-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n');"
            "w.writestr('tiny-1.0.dist-info/RECORD', ''); w.close()"
        )
        commands = (
            f'python -c "{wheel}" && pip install -q --no-index --root-user-action=ignore /tmp/tiny-1.0-py3-none-any.whl && python -m tiny'
        )
        assert _output(engine, python, "sh", "-c", commands).splitlines()[-1] == "42"

    def test_tls_finds_its_certificates(self, engine: Engine, python: str) -> None:
        script = "import ssl; print(len(ssl.create_default_context().get_ca_certs()))"
        assert int(_output(engine, python, "python", "-c", script)) > 50

    def test_localhost_is_this_container(self, engine: Engine, python: str) -> None:
        assert _output(engine, python, "python", "-c", "import socket; print(socket.gethostbyname('localhost'))") == "127.0.0.1\n"

    def test_text_is_utf_8_and_times_have_zones(self, engine: Engine, python: str) -> None:
        script = "import locale, zoneinfo; print(locale.getpreferredencoding(), zoneinfo.ZoneInfo('Asia/Shanghai'))"
        assert _output(engine, python, "python", "-c", script) == "UTF-8 Asia/Shanghai\n"

    def test_other_users_than_root(self, engine: Engine, python: str) -> None:
        assert _output(engine, python, "id", "-un", user="nobody") == "nobody\n"
        assert _output(engine, python, "sh", "-c", "useradd --system app && id -un app") == "app\n"

    def test_every_applet_is_one_that_busybox_has(self, engine: Engine, python: str) -> None:
        assert set(APPLETS) <= set(_output(engine, python, "busybox", "--list").split())


class TestRedis:
    def test_redis_stand_in_serves_other_containers(self, engine: Engine, redis: str, running: list[str], unique: str) -> None:
        engine.create_network(unique, labels={labels.ROLE: labels.ROLE_PROBE})
        try:
            server = engine.run(ContainerSpec(image=redis, network=unique, aliases=("redis",)))
            try:
                assert _until(engine, server.id, ["redis-cli", "ping"]) == "PONG\n"
                # From another container: what "protected mode" would refuse.
                client = engine.run(ContainerSpec(image=redis, command=("redis-cli", "-h", "redis", "incr", "visits"), network=unique))
                try:
                    assert engine.wait(client.id, timeout=600) == 0
                    assert b"".join(chunk for _, chunk in engine.logs(client.id)) == b"1\n"
                finally:
                    engine.remove(client.id, force=True)
            finally:
                engine.remove(server.id, force=True)
        finally:
            engine.remove_network(unique)

    def test_it_is_not_root(self, engine: Engine, redis: str) -> None:
        assert _output(engine, redis, "id", "-un") == "redis\n"

    def test_it_ends_when_it_is_asked_to(self, engine: Engine, redis: str, running: list[str]) -> None:
        container = engine.run(ContainerSpec(image=redis))
        running.append(container.id)
        _until(engine, container.id, ["redis-cli", "ping"])
        engine.kill(container.id, signal="TERM")
        assert engine.wait(container.id, timeout=600) == 0

    def test_options_are_redis_servers(self, engine: Engine, redis: str, running: list[str]) -> None:
        container = engine.run(ContainerSpec(image=redis, command=("--appendonly", "yes")))
        running.append(container.id)
        assert "yes" in _until(engine, container.id, ["redis-cli", "config", "get", "appendonly"])


SAYS_HELLO = b"""\
defaults
    mode http
    timeout client 5s
frontend port
    bind :8080
    http-request return string hello content-type text/plain
"""


class TestProxy:
    @pytest.fixture
    def saying_hello(self, engine: Engine, proxy: str, running: list[str]) -> str:
        """A container with a configuration that was written into it before its start, and that answers."""
        container = engine.create(ContainerSpec(image=proxy))
        running.append(container.id)
        engine.put_files(container.id, "/usr/local/etc/haproxy", {"haproxy.cfg": (SAYS_HELLO, 0o644)})
        engine.start(container.id)
        assert _until(engine, container.id, ["wget", "-qO-", "http://127.0.0.1:8080/"]) == "hello"
        return container.id

    def test_it_is_not_root_and_says_its_version(self, engine: Engine, proxy: str) -> None:
        assert _output(engine, proxy, "sh", "-c", "id -un && haproxy -v").startswith("haproxy\nHAProxy version ")

    def test_it_ends_when_it_is_asked_to(self, engine: Engine, saying_hello: str) -> None:
        # Its master takes signals a moment after its worker answers: one that comes before is lost.
        for _ in range(100):
            with suppress(Conflict):  # it has ended meanwhile
                engine.kill(saying_hello, signal="TERM")
            with suppress(EngineTimeout):
                engine.wait(saying_hello, timeout=3)
                return
        pytest.fail("it goes on after SIGTERM")
