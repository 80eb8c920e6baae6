"""``user``: add, remove and list the users of a registry that requires a password, while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from registry_tool.base.errors import Conflict, NotFound
from registry_tool.base.progress import SILENT, Observer
from registry_tool.engine import Engine
from registry_tool.engine.values import Container
from registry_tool.local.registry import lookup, recovery, spec, volume_state
from registry_tool.local.registry.locks import lock
from registry_tool.local.registry.lookup import LocalRegistry
from registry_tool.local.registry.passwords import Auth, short_password
from registry_tool.local.registry.startup import replace_container
from registry_tool.local.registry.volume_state import VolumeState


@dataclass(frozen=True, slots=True, kw_only=True)
class UserChange:
    """The users of a registry, by name, and what was done: ``added``, ``changed`` (the password), ``removed``, or None."""

    registry: str
    users: tuple[str, ...]
    user: str | None = None
    change: str | None = None


def list_users(engine: Engine, name: str = spec.DEFAULT_NAME) -> UserChange:
    """The users of the registry ``name``; none where everybody may use it. Raises NotFound, UsageError, RegistryError."""
    spec.check_name(name)
    registry, container = _find(engine, name)
    users = volume_state.read(engine, container).users.hashes if registry.user is not None else ()
    return UserChange(registry=name, users=tuple(sorted(users)))


def add_user(engine: Engine, auth: Auth, name: str = spec.DEFAULT_NAME, *, state: Path, observer: Observer = SILENT) -> UserChange:
    """Add a user to the registry ``name``, or change their password; it counts from the next request on.

    Raises NotFound where there is no such registry, Conflict where it requires no password or its garbage is being collected,
    UsageError, RegistryError.
    """
    with _opened(engine, name, state, observer) as (registry, container, stored):
        if auth.is_short and registry.listens_beyond_loopback:
            raise short_password()
        change = "changed" if auth.user in stored.users.hashes else "added"
        users = stored.users if auth.is_in(stored.users) else stored.users.with_user(auth)
        volume_state.write_users(engine, container, users)
    return UserChange(registry=name, users=tuple(sorted(users.hashes)), user=auth.user, change=change)


def remove_user(engine: Engine, user: str, name: str = spec.DEFAULT_NAME, *, state: Path, observer: Observer = SILENT) -> UserChange:
    """Remove a user from the registry ``name``; the next request with their password is refused.

    The container has the name of one user in a label: where that one is removed, it is replaced. Raises as :func:`add_user`; NotFound
    where there is no such user, Conflict for the last one.
    """
    with _opened(engine, name, state, observer) as (registry, container, stored):
        if user not in stored.users.hashes:
            others = ", ".join(sorted(stored.users.hashes)) or "none"
            raise NotFound(f"the registry {name!r} has no user {user[:80]!r}", hint=f"Its users: {others}.")
        users = stored.users.without(user)
        if not users.hashes:
            raise Conflict(
                f"{user} is the only user of the registry {name!r}: without one, nobody could use it",
                hint=f"Add another one first: regctl user add USER{spec.name_option(name)}",
            )
        volume_state.write_users(engine, container, users)
        if registry.user == user:
            others = next(iter(users.hashes))
            changed = replace(stored, settings=replace(stored.settings, user=others), users=users)
            replace_container(engine, registry, replace(stored, users=users), changed, state=state)
    return UserChange(registry=name, users=tuple(sorted(users.hashes)), user=user, change="removed")


@contextmanager
def _opened(engine: Engine, name: str, state: Path, observer: Observer) -> Iterator[tuple[LocalRegistry, Container, VolumeState]]:
    """The registry ``name``, which requires a password, its container and its state, locked for the block."""
    spec.check_name(name)
    with lock(engine, name, state, observer):
        recovery.check_not_collected(engine, name, state=state, observer=observer)
        registry, container = _find(engine, name)
        if registry.user is None:
            raise Conflict(
                f"the registry {name!r} requires no password, so it has no users",
                hint=f"Let it require one: regctl up --auth USER{spec.name_option(name)}",
            )
        yield registry, container, volume_state.read(engine, container)


def _find(engine: Engine, name: str) -> tuple[LocalRegistry, Container]:
    registry = lookup.find(engine, name)
    container = engine.container(registry.container_id) if registry is not None else None
    if registry is None or container is None:
        raise lookup.not_found(engine, name)
    return registry, container
