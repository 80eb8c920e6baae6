"""Several users of one registry, added and removed while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_tool.base.errors import Conflict, NotFound, UsageError
from registry_tool.engine import Engine
from registry_tool.local import registry as local_registry
from registry_tool.local.registry import Auth, LocalRegistry
from tests.support import canary
from tests.support.registry_over_http import ask, push_tag, tags
from tests.support.requirements import free_port

pytestmark = pytest.mark.engine

FIRST, SECOND, THIRD = (canary.password(word) for word in ("first of users", "second", "a:b '\"$` третий 🔑"))


@pytest.fixture
def registry(engine: Engine, registry_image: str, unique: str, tmp_path: Path) -> Iterator[LocalRegistry]:
    """A registry whose user is john."""
    auth = Auth(user="john", password=FIRST)
    yield local_registry.up(engine, image=lambda: registry_image, name=unique, port=free_port(), auth=auth, state=tmp_path).registry
    local_registry.down(engine, unique, volumes=True)


def status(registry: LocalRegistry, user: str, password: str) -> int:
    return int(ask(registry.port, "GET", "/v2/", user=(user, password))[0])


def test_users_come_and_go_while_the_registry_runs(engine: Engine, registry: LocalRegistry, unique: str, tmp_path: Path) -> None:
    assert local_registry.list_users(engine, unique).users == ("john",)
    push_tag(registry.port, "app", "one", user=("john", FIRST))
    for number in range(4):  # several in one second: each is seen at once
        change = local_registry.add_user(engine, Auth(user=f"user {number}", password=SECOND), unique, state=tmp_path)
        assert (change.change, status(registry, f"user {number}", SECOND)) == ("added", 200)
        assert status(registry, "john", FIRST) == 200
    odd = '约翰 "O\'Brien" <j@x>'
    local_registry.add_user(engine, Auth(user=odd, password=THIRD), unique, state=tmp_path)
    assert tags(registry.port, "app", user=(odd, THIRD)) == ["one"]
    changed = local_registry.add_user(engine, Auth(user=odd, password=SECOND), unique, state=tmp_path)
    assert changed.change == "changed"
    assert (status(registry, odd, THIRD), status(registry, odd, SECOND)) == (401, 200)
    removed = local_registry.remove_user(engine, odd, unique, state=tmp_path)
    assert removed.users == ("john", "user 0", "user 1", "user 2", "user 3")
    assert (status(registry, odd, SECOND), status(registry, "user 0", SECOND)) == (401, 200)
    current = local_registry.find(engine, unique)
    assert current is not None
    assert current.container_id == registry.container_id, "nothing of this needs another container"
    with pytest.raises(NotFound, match="has no user 'nobody'"):
        local_registry.remove_user(engine, "nobody", unique, state=tmp_path)


def test_users_outlive_the_container_and_the_user_of_up(
    engine: Engine, registry: LocalRegistry, registry_image: str, unique: str, tmp_path: Path
) -> None:
    local_registry.add_user(engine, Auth(user="mary", password=SECOND), unique, state=tmp_path)
    local_registry.down(engine, unique)
    local_registry.up(engine, image=lambda: registry_image, name=unique, state=tmp_path)
    assert (status(registry, "mary", SECOND), status(registry, "john", FIRST)) == (200, 200)

    local_registry.up(engine, image=lambda: registry_image, name=unique, auth=Auth(user="jane", password=FIRST), state=tmp_path)
    assert local_registry.list_users(engine, unique).users == ("jane", "mary")
    assert (status(registry, "mary", SECOND), status(registry, "jane", FIRST), status(registry, "john", FIRST)) == (200, 200, 401)

    local_registry.remove_user(engine, "jane", unique, state=tmp_path)
    current = local_registry.find(engine, unique)
    assert current is not None
    assert (current.user, current.port) == ("mary", registry.port)
    assert (status(registry, "mary", SECOND), status(registry, "jane", FIRST)) == (200, 401)
    with pytest.raises(Conflict, match="mary is the only user"):
        local_registry.remove_user(engine, "mary", unique, state=tmp_path)


def test_users_of_a_stopped_registry_are_changed_too(engine: Engine, registry: LocalRegistry, unique: str, tmp_path: Path) -> None:
    engine.stop(registry.container_id)
    local_registry.add_user(engine, Auth(user="mary", password=SECOND), unique, state=tmp_path)
    engine.start(registry.container_id)
    local_registry.wait_until_ready(engine, registry, timeout=600)
    assert (status(registry, "mary", SECOND), status(registry, "john", FIRST)) == (200, 200)


def test_registry_without_users_or_of_no_name(engine: Engine, registry_image: str, unique: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no registry"):
        local_registry.list_users(engine, unique)
    with pytest.raises(UsageError, match="invalid registry name"):
        local_registry.list_users(engine, "../x")
    try:
        local_registry.up(engine, image=lambda: registry_image, name=unique, port=free_port(), state=tmp_path)
        assert local_registry.list_users(engine, unique).users == ()
        with pytest.raises(Conflict, match="requires no password") as caught:
            local_registry.add_user(engine, Auth(user="mary", password=SECOND), unique, state=tmp_path)
        assert f"up --auth USER --name {unique}" in (caught.value.hint or "")
    finally:
        local_registry.down(engine, unique, volumes=True)
