"""``up`` on a real engine, whatever was there before."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from registry_tool.base import files, labels
from registry_tool.base.errors import Conflict, NotFound, PortTaken, RegistryError, RegistryUnreachable, UsageError
from registry_tool.base.progress import Silent
from registry_tool.engine import ContainerSpec, Engine, PortBinding
from registry_tool.local import registry as local_registry
from registry_tool.local.registry import Auth, UpResult, ports, spec
from tests.support import canary
from tests.support.paths import ROOT
from tests.support.registry_over_http import ask, push_blob, push_tag, tags
from tests.support.requirements import free_port

pytestmark = pytest.mark.engine

FIRST, SECOND = canary.password("first"), canary.password("second")

Bring = Callable[..., UpResult]


@pytest.fixture
def bring(engine: Engine, registry_image: str, unique: str, tmp_path: Path) -> Iterator[Bring]:
    """``up`` for registries of the test's own, which are gone in the end with all they hold."""
    used = {unique}

    def up(**options: Any) -> UpResult:
        arguments: dict[str, Any] = {"image": lambda: registry_image, "name": unique, "state": tmp_path, "timeout": 600.0, **options}
        used.add(arguments["name"])
        return local_registry.up(engine, **arguments)

    yield up
    for name in used:
        try:
            local_registry.down(engine, name, volumes=True)
        except (NotFound, UsageError):
            continue


@contextmanager
def _held(port: int) -> Iterator[int]:
    """This very process holds ``port`` (0: any)."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: old connections may be closing still
        server.bind(("127.0.0.1", port))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def listening() -> Iterator[int]:
    """A port that this very process holds."""
    with _held(0) as port:
        yield port


class Notes(Silent):
    """Records notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.heard = threading.Event()

    def note(self, text: str) -> None:
        self.lines.append(text)
        self.heard.set()


def _no_image() -> str:
    raise AssertionError("no image was needed")


def _secret(engine: Engine, container_id: str) -> str:
    container = engine.container(container_id)
    assert container is not None
    return dict(entry.partition("=")[::2] for entry in container.environment)["REGISTRY_HTTP_SECRET"]


def test_a_new_registry_answers_on_loopback_alone_and_can_delete(bring: Bring, engine: Engine) -> None:
    port = free_port()

    up = bring(port=port)

    assert up.created
    assert up.port_note is None
    assert up.registry.address == f"localhost:{port}"
    assert ask(port, "GET", "/v2/")[0] == 200
    absent = "sha256:" + 64 * "0"
    push_tag(port, "john/app", "one")
    assert ask(port, "DELETE", f"/v2/john/app/manifests/{absent}")[0] == 404  # 405 where deletion is off
    container = engine.container(up.registry.container_id)
    assert container is not None
    assert [binding.host_ip for binding in container.ports] == ["127.0.0.1"]


def test_up_again_changes_nothing_and_needs_no_image(bring: Bring) -> None:
    first = bring(port=free_port())

    again = bring(image=_no_image)

    assert not again.created
    assert again.registry == first.registry


def test_stopped_registry_is_started(bring: Bring, engine: Engine) -> None:
    first = bring(port=free_port())
    engine.stop(first.registry.container_id)

    again = bring(image=_no_image)

    assert not again.created
    assert again.registry == first.registry
    assert local_registry.is_ready(again.registry)


def test_stopped_registry_whose_volume_is_missing_is_recreated(bring: Bring, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bring(port=free_port(), auth=Auth(user="john", password=FIRST))
    engine.stop(first.registry.container_id)
    real, answers = engine.volume, [None]
    monkeypatch.setattr(engine, "volume", lambda name: answers.pop() if answers else real(name))

    again = bring()

    assert again.created
    assert (again.registry.port, again.registry.user) == (first.registry.port, "john")
    assert ask(again.registry.port, "GET", "/v2/")[0] == 401


def test_paused_registry_is_recreated(bring: Bring, engine: Engine) -> None:
    first = bring(port=free_port())
    push_tag(first.registry.port, "john/app", "one")
    with engine._client.call("pausing") as api:
        api.pause(first.registry.container_id)

    again = bring()

    assert again.registry.port == first.registry.port
    assert tags(again.registry.port, "john/app") == ["one"]


def test_port_secret_and_content_survive_a_down(bring: Bring, engine: Engine, unique: str) -> None:
    first = bring(port=free_port(), restart="always")
    push_tag(first.registry.port, "john/app", "one")
    secret = _secret(engine, first.registry.container_id)
    local_registry.down(engine, unique)

    again = bring()

    assert again.created
    assert again.registry.container_id != first.registry.container_id
    assert again.registry.port == first.registry.port
    assert again.port_note is None
    assert _secret(engine, again.registry.container_id) == secret
    assert _restart(engine, again) == "always"
    assert tags(again.registry.port, "john/app") == ["one"]


def test_another_port_is_another_container_with_everything_else_kept(bring: Bring, engine: Engine) -> None:
    first = bring(port=free_port())
    push_tag(first.registry.port, "john/app", "one")
    secret = _secret(engine, first.registry.container_id)
    other = free_port()

    moved = bring(port=other)

    assert moved.created
    assert moved.registry.port == other
    assert _secret(engine, moved.registry.container_id) == secret
    assert tags(other, "john/app") == ["one"]
    assert bring().registry == moved.registry


def test_another_restart_policy_is_set(bring: Bring, engine: Engine) -> None:
    first = bring(port=free_port())
    assert _restart(engine, first) == "unless-stopped"

    changed = bring(restart="on-failure:3")

    assert _restart(engine, changed) == "on-failure"
    assert changed.registry.port == first.registry.port
    assert bring(restart="on-failure:3").registry == changed.registry


def test_a_taken_port_is_an_error_that_names_the_process(bring: Bring, engine: Engine, listening: int, unique: str) -> None:
    with pytest.raises(PortTaken, match=rf"port {listening} is in use by the process .* \(pid \d+\)"):
        bring(port=listening)

    assert local_registry.find(engine, unique) is None


def test_running_registry_is_unchanged_where_the_new_port_is_taken(bring: Bring, listening: int) -> None:
    first = bring(port=free_port())

    with pytest.raises(PortTaken):
        bring(port=listening)

    assert bring().registry == first.registry


def test_taken_port_names_the_registry_on_it(bring: Bring, unique: str) -> None:
    other = bring(name=f"{unique}-other", port=free_port())

    with pytest.raises(PortTaken, match=f"in use by the registry '{unique}-other' of this tool"):
        bring(port=other.registry.port)


def test_taken_port_names_the_container_on_it(bring: Bring, engine: Engine, registry_image: str, unique: str) -> None:
    port = free_port()
    binding = PortBinding(container_port="5000/tcp", host_port=port, host_ip="127.0.0.1")
    container = engine.run(ContainerSpec(image=registry_image, name=f"{unique}-web", ports=(binding,)))
    try:
        with pytest.raises(PortTaken, match=f"in use by the container '{unique}-web'"):
            bring(port=port)
    finally:
        engine.remove(container.id, force=True)


def test_taken_remembered_port_is_replaced_with_a_note(bring: Bring, engine: Engine, unique: str) -> None:
    port = free_port()
    bring(port=port)
    local_registry.down(engine, unique)
    with _held(port):
        moved = bring()
    local_registry.down(engine, unique)

    again = bring()

    assert moved.registry.port != port
    assert moved.port_note is not None
    assert moved.port_note.startswith(f"its port {port} is in use by the process ")
    assert moved.port_note.endswith(f"this registry is on {moved.registry.port}")
    # Somebody else's registry may have taken it in between; then the line says so.
    taken = f"port {moved.registry.port} is in use by " in (again.port_note or "")
    assert again.registry.port == moved.registry.port or taken


def test_stopped_registry_with_taken_port_is_moved(bring: Bring, engine: Engine) -> None:
    first = bring(port=free_port())
    push_tag(first.registry.port, "john/app", "one")
    engine.stop(first.registry.container_id)
    with _held(first.registry.port):
        with pytest.raises(PortTaken, match="in use by the process"):
            bring(port=first.registry.port)
        moved = bring()

    assert moved.port_note is not None
    assert tags(moved.registry.port, "john/app") == ["one"]


def test_port_refused_by_the_engine_is_followed_by_the_next(bring: Bring, listening: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Somebody takes the port between our look and the engine's, or the engine is on another machine.
    monkeypatch.setattr(ports, "is_taken", lambda port: False)
    monkeypatch.setattr(ports, "DEFAULT_PORT", listening)

    up = bring()

    assert up.registry.port > listening
    assert up.port_note is not None
    assert up.port_note.startswith(f"port {listening} is in use by something else, according to the engine")


def test_failed_move_restores_the_running_registry(bring: Bring, engine: Engine, listening: int, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bring(port=free_port(), auth=Auth(user="john", password=FIRST))
    secret = _secret(engine, first.registry.container_id)
    monkeypatch.setattr(ports, "is_taken", lambda port: False)

    with pytest.raises(PortTaken, match=f"port {listening} is in use by something else, according to the engine"):
        bring(port=listening, auth=Auth(user="jane", password=SECOND))

    again = bring(image=_no_image)
    assert not again.created
    assert (again.registry.port, again.registry.user) == (first.registry.port, "john")
    assert _secret(engine, again.registry.container_id) == secret
    assert ask(again.registry.port, "GET", "/v2/", user=("john", FIRST))[0] == 200


def test_password_is_required_hashed_and_changed(bring: Bring, engine: Engine, unique: str) -> None:
    port = free_port()
    up = bring(port=port, auth=Auth(user="john", password=FIRST))

    assert up.registry.user == "john"
    assert ask(port, "GET", "/v2/")[0] == 401
    assert ask(port, "GET", "/v2/", user=("john", FIRST))[0] == 200
    assert ask(port, "GET", "/v2/", user=("john", SECOND))[0] == 401
    push_tag(port, "john/app", "one", user=("john", FIRST))
    container = engine.container(up.registry.container_id)
    assert FIRST not in repr(container)

    assert bring(auth=Auth(user="john", password=FIRST)).registry == up.registry
    assert bring().registry == up.registry

    changed = bring(auth=Auth(user="john", password=SECOND))

    assert changed.created
    assert changed.registry.port == port
    assert ask(port, "GET", "/v2/", user=("john", FIRST))[0] == 401
    assert tags(port, "john/app", user=("john", SECOND)) == ["one"]

    local_registry.down(engine, unique)
    assert bring().registry.user == "john"
    assert ask(port, "GET", "/v2/")[0] == 401
    assert ask(port, "GET", "/v2/", user=("john", SECOND))[0] == 200


def test_port_of_a_stopped_registry_is_skipped(bring: Bring, engine: Engine, unique: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = bring(name=f"{unique}-other", port=free_port())
    engine.stop(other.registry.container_id)
    monkeypatch.setattr(ports, "DEFAULT_PORT", other.registry.port)

    assert bring().registry.port > other.registry.port


def test_up_waits_for_another_command_with_a_note(bring: Bring, engine: Engine, unique: str, tmp_path: Path) -> None:
    first = bring(port=free_port())
    (lock,) = tmp_path.glob(f"registry-*-{unique}.lock")
    notes = Notes()
    done: list[UpResult] = []
    waiting = threading.Thread(target=lambda: done.append(bring(observer=notes)))
    with files.lock(lock):
        waiting.start()
        assert notes.heard.wait(600)
        assert not done
    waiting.join(600)

    assert notes.lines == [f"waiting for another command that is busy with the registry {unique!r}"]
    assert [up.registry for up in done] == [first.registry]


def test_a_registry_without_a_password_gets_one(bring: Bring) -> None:
    first = bring(port=free_port())
    push_tag(first.registry.port, "john/app", "one")

    bring(auth=Auth(user="john", password=FIRST))

    assert ask(first.registry.port, "GET", "/v2/")[0] == 401
    assert tags(first.registry.port, "john/app", user=("john", FIRST)) == ["one"]


def test_container_left_by_a_killed_up_is_started(bring: Bring, engine: Engine, registry_image: str, unique: str) -> None:
    port = free_port()
    engine.create_volume(spec.resource_name(unique), labels=spec.resource_labels(unique))
    settings = spec.RegistrySettings(port=port, secret="of the killed one")
    created = engine.create(spec.container_spec(unique, image=registry_image, port=port, settings=settings))

    up = bring()

    assert up.registry.container_id == created.id
    assert engine.get_file(created.id, spec.SETTINGS) == settings.to_json()


def test_unwritten_password_denies_all_until_it_is_set(bring: Bring, engine: Engine, registry_image: str, unique: str) -> None:
    port = free_port()
    engine.create_volume(spec.resource_name(unique), labels=spec.resource_labels(unique))
    settings = spec.RegistrySettings(port=port, secret="s", user="john")
    engine.create(spec.container_spec(unique, image=registry_image, port=port, settings=settings))

    assert bring().registry.user == "john"
    assert ask(port, "GET", "/v2/")[0] == 401
    moved = bring(port=free_port()).registry
    assert ask(moved.port, "GET", "/v2/")[0] == 401

    bring(auth=Auth(user="john", password=FIRST))

    assert ask(moved.port, "GET", "/v2/", user=("john", FIRST))[0] == 200


def test_damaged_settings_are_an_error(bring: Bring, engine: Engine, unique: str) -> None:
    first = bring(port=free_port(), auth=Auth(user="john", password=FIRST))
    engine.put_files(first.registry.container_id, spec.STORAGE, {"registry-tool/settings.json": (b"{", 0o600)})
    local_registry.down(engine, unique)

    with pytest.raises(RegistryError, match="settings in its volume are damaged"):
        bring()

    assert local_registry.find(engine, unique) is None
    assert not engine.containers(all=True, labels={labels.ROLE: labels.ROLE_PROBE, labels.REGISTRY: unique})


def test_other_owners_container_of_the_name_is_a_conflict(bring: Bring, engine: Engine, registry_image: str, unique: str) -> None:
    theirs = engine.create(ContainerSpec(image=registry_image, name=spec.resource_name(unique)))
    try:
        with pytest.raises(Conflict, match="somebody else"):
            bring(port=free_port())
        with pytest.raises(Conflict, match="somebody else"):
            bring()
        assert engine.container(theirs.id) == theirs
    finally:
        engine.remove(theirs.id, force=True)


def test_other_owners_volume_of_the_name_is_a_conflict(bring: Bring, engine: Engine, unique: str) -> None:
    engine.create_volume(spec.resource_name(unique), labels={"theirs": "yes"})
    try:
        with pytest.raises(Conflict, match="somebody else"):
            bring(port=free_port())
        with pytest.raises(NotFound):
            local_registry.down(engine, unique, volumes=True)
        assert engine.volume(spec.resource_name(unique)) is not None
    finally:
        engine.remove_volume(spec.resource_name(unique))


def test_content_in_another_volume_is_a_conflict(bring: Bring, engine: Engine, registry_image: str, unique: str) -> None:
    port = free_port()
    binding = PortBinding(container_port="5000/tcp", host_port=port, host_ip="127.0.0.1")
    elsewhere = ContainerSpec(
        image=registry_image, labels=spec.resource_labels(unique), ports=(binding,), volumes={f"{unique}-elsewhere": spec.STORAGE}
    )
    container = engine.run(elsewhere)
    try:
        assert bring(image=_no_image).registry.container_id == container.id
        with pytest.raises(Conflict, match=f"keeps its content in {unique}-elsewhere"):
            bring(port=free_port())
        assert bring().registry.container_id == container.id
    finally:
        engine.remove(container.id, force=True)
        engine.remove_volume(f"{unique}-elsewhere")


@pytest.mark.parametrize("options", [{"port": 0}, {"port": 70000}, {"restart": "sometimes"}, {"name": "A"}])
def test_invalid_options_are_refused_first(bring: Bring, engine: Engine, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        bring(image=_no_image, **options)


def test_registry_that_ends_at_once_shows_its_log(bring: Bring, monkeypatch: pytest.MonkeyPatch) -> None:
    real = spec.environment

    def panicking(secret: str, *, auth: bool) -> dict[str, str]:
        # distribution 2.8 panics on this way of spelling it.
        return real(secret, auth=auth) | {"REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED": "true"}

    monkeypatch.setattr(spec, "environment", panicking)

    with pytest.raises(RegistryUnreachable, match="instead of answering") as failure:
        bring(port=free_port())

    assert any("panic" in line for line in failure.value.excerpt)


def test_full_disk_fails_the_push_and_the_registry_goes_on(bring: Bring, engine: Engine, unique: str) -> None:
    with engine._client.call("creating a small volume") as api:
        options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
        api.create_volume(spec.resource_name(unique), driver="local", driver_opts=options, labels=spec.resource_labels(unique))
    up = bring(port=free_port())
    push_tag(up.registry.port, "john/app", "one")

    assert push_blob(up.registry.port, "john/app", bytes(4 << 20)) >= 500

    assert local_registry.is_ready(up.registry)
    assert tags(up.registry.port, "john/app") == ["one"]


@pytest.mark.parametrize(("count", "one_state"), [(20, True), (6, False)], ids=["one lock", "no common lock"])
def test_concurrent_ups_create_one_registry(
    bring: Bring, engine: Engine, registry_image: str, unique: str, tmp_path: Path, count: int, one_state: bool
) -> None:
    code = """
import sys
from pathlib import Path
from registry_tool.local import registry as local_registry
from registry_tool.engine import connect
name, image, state = sys.argv[1:]
with connect() as engine:
    print(local_registry.up(engine, image=lambda: image, name=name, state=Path(state), timeout=600).registry.container_id)
"""
    states = [tmp_path / ("one" if one_state else str(number)) for number in range(count)]
    command = [sys.executable, "-c", code, unique, registry_image]
    root = ROOT
    processes = [
        subprocess.Popen([*command, str(state)], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for state in states
    ]
    answers = [process.communicate(timeout=600) for process in processes]

    assert [stderr for _, stderr in answers] == [""] * count
    assert len({stdout for stdout, _ in answers}) == 1
    assert len(engine.containers(all=True, labels=spec.resource_labels(unique))) == 1


def _restart(engine: Engine, up: UpResult) -> str:
    with engine._client.call("looking") as api:
        inspected: Any = api.inspect_container(up.registry.container_id)
    return str(inspected["HostConfig"]["RestartPolicy"]["Name"])
