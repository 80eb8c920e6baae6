"""``up``, ``down``, ``status`` and ``logs`` on a real engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_tool.base.errors import NotFound
from registry_tool.engine import Engine
from registry_tool.local import registry as local_registry
from tests.support.cli_runner import Typed, spawn
from tests.support.requirements import free_port

pytestmark = pytest.mark.engine


@pytest.fixture
def name(engine: Engine, registry_image: str, unique: str) -> Iterator[str]:
    """The name of a registry that is not there yet, and is gone in the end."""
    yield unique
    try:
        local_registry.down(engine, unique, volumes=True)
    except NotFound:
        return


def test_port_in_use_names_the_container_that_has_it(typed: Typed, name: str) -> None:
    port = str(free_port())
    assert typed("up", "--name", name, "--port", port).code == 0
    answer = typed("up", "--name", f"{name}b", "--port", port, "--json")
    assert answer.code == 1
    assert answer.json["error"]["code"] == "port-taken"
    assert name in answer.json["error"]["message"]


def test_another_port_is_told_and_asks_where_names_of_images_would_lead_nowhere(
    typed: Typed, name: str, engine: Engine, registry_image: str, tmp_path: Path
) -> None:
    first, second, third = free_port(), free_port(), free_port()
    assert typed("up", "--name", name, "--port", str(first)).code == 0
    moved = typed("up", "--name", name, "--port", str(second))
    assert (moved.code, f"moved from localhost:{first} to localhost:{second}" in moved.err) == (0, True)

    named = f"localhost:{second}/{name}:v1"
    image = engine.image(registry_image)
    assert image is not None
    engine.tag(image.id, named)
    try:
        refused = spawn("up", "--name", name, "--port", str(third))
        assert refused.code == 2
        assert f"from localhost:{second} to localhost:{third}" in refused.err
        assert named in refused.err
        assert "--yes" in refused.err
        assert typed("status", "--name", name, "-q").out == f"localhost:{second}\n"
        demo = typed("demo", "--name", name, "--registry-port", str(third))
        assert (demo.code, f"up --name {name} --port {third}" in demo.err) == (1, True)
        assert typed("status", "--name", name, "-q").out == f"localhost:{second}\n"
        # Its content and its port are in its volume.
        assert typed("down", "--name", name).code == 0
        assert spawn("up", "--name", name, "--port", str(third)).code == 2
        assert typed("up", "--name", name, "--port", str(third), "--yes", "--json").json["port_note"] == (
            f"moved from localhost:{second} to localhost:{third}"
        )
    finally:
        engine.remove_image(named)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--port", "x"),
        ("--port", "70000"),
        ("--port", "0"),
        ("--name", "UPPER"),
        ("--timeout", "nan"),
        ("--restart", "sometimes"),
        ("--password-stdin",),
        ("--auth", "a:b", "--password-file", "/dev/null"),
    ],
)
def test_wrong_usage_of_up_is_exit_2(typed: Typed, arguments: tuple[str, ...]) -> None:
    answer = typed("up", *arguments)
    assert answer.code == 2
    assert answer.err.startswith("regctl: ")


def test_unreadable_password_file_is_exit_1(typed: Typed, tmp_path: Path) -> None:
    assert typed("up", "--auth", "john", "--password-file", str(tmp_path / "none")).code == 1


def test_up_with_auth_without_terminal_is_exit_2() -> None:
    answer = spawn("up", "--auth", "john")
    assert answer.code == 2
    assert "--password-stdin" in answer.err


def test_missing_registry_is_exit_1(typed: Typed, name: str) -> None:
    answer = typed("status", "--name", name)
    assert answer.code == 1
    assert f"regctl up --name {name}" in answer.out
    assert typed("status", "--name", name, "--json").json == {"running": False, "registry": None, "registries": []}
    assert typed("down", "--name", name).code == 1
    assert typed("down", "--name", name, "--missing-ok").code == 0
    assert typed("logs", name).code == 1


def test_second_up_changes_nothing_and_status_shows_it(typed: Typed, name: str) -> None:
    port = free_port()
    first = typed("up", "--name", name, "--port", str(port))
    assert first.code == 0
    assert first.out.startswith(f"{name}: started at localhost:{port} (")
    second = typed("up", "--name", name, "--json")
    assert second.json["created"] is False
    assert second.json["registry"]["address"] == f"localhost:{port}"
    assert typed("up", "--name", name, "-q").out == f"localhost:{port}\n"
    status = typed("status", "--name", name)
    assert status.code == 0
    assert status.out.splitlines()[0].split()[:3] == ["NAME", "ADDRESS", "STATE"]
    assert f"localhost:{port}" in status.out
    assert "regctl down" not in status.err, "that would be another registry's"
    assert typed("status", "--name", name, "-q").out == f"localhost:{port}\n"
    (row,) = typed("status", "--name", name, "--json").json["registries"]
    assert row["answering"] is True
    assert row["started_by"] == "registry-tool"
    assert f"REGISTRY_TOOL_PORT={port}\n" in typed("status", "--name", name, "--env").out
    logs = typed("logs", name, "-n", "5")
    assert logs.code == 0
    assert logs.out or logs.err


def test_stopped_registry_is_not_running(typed: Typed, name: str, engine: Engine) -> None:
    typed("up", "--name", name, "--port", str(free_port()))
    result = local_registry.find(engine, name)
    assert result is not None
    engine.stop(result.container_id)
    answer = typed("status", "--name", name, "--json")
    assert answer.code == 1
    assert answer.json["running"] is False
    assert answer.json["registries"][0]["state"] == "exited"


def test_down_keeps_the_volume(typed: Typed, name: str, engine: Engine) -> None:
    typed("up", "--name", name, "--port", str(free_port()))
    answer = typed("down", "--name", name)
    assert answer.code == 0
    assert f"registry-tool-{name}" in answer.out
    assert "content stays" in answer.out
    assert f"up --name {name} brings it back" in answer.out
    assert engine.volume(f"registry-tool-{name}") is not None


def test_down_volumes_needs_confirmation(typed: Typed, name: str, engine: Engine) -> None:
    typed("up", "--name", name, "--port", str(free_port()))
    refused = spawn("down", "--name", name, "--volumes")
    assert refused.code == 2
    assert "everything in it" in refused.err
    assert local_registry.find(engine, name) is not None
    answer = typed("down", "--name", name, "--volumes", "--yes", "--json")
    assert answer.json["volume_removed"] == f"registry-tool-{name}"
    assert engine.volume(f"registry-tool-{name}") is None
