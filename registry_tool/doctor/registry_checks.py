"""Checks of the registries: health, deletion, writing, stale caches, damaged storage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from registry_tool.base import units
from registry_tool.base.deadline import Deadline, DeadlineExceeded, call_with_deadline
from registry_tool.base.errors import (
    AuthenticationFailed,
    CredentialsError,
    NotFound,
    RegistryError,
    RegistryToolError,
    RegistryUnreachable,
)
from registry_tool.content import check as content_check
from registry_tool.content.delete import advice
from registry_tool.doctor.diagnosis import Observation, combined, ok, skipped, warning, wrong
from registry_tool.doctor.surroundings import CheckedRegistry, Surroundings
from registry_tool.local import bring_up
from registry_tool.local import registry as local_registry
from registry_tool.local.registry import LocalRegistry, recovery
from registry_tool.local.registry.readiness import PortState
from registry_tool.local.registry.spec import name_option
from registry_tool.oci.descriptor import Descriptor
from registry_tool.targets.registry import Registry

STORAGE_BUDGET = 1.5
"""Seconds for a look at the storage: the rest is for ``regctl check``."""

_NEW = "registry-tool/doctor"
"""The repository of trials in a registry without any. Nothing of it is left but an empty folder."""
_MISSING_BLOBS = ("missing-layer", "missing-config")
_READY = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageLook:
    """What a look at a registry's images found, until its time was up; ``repositories`` is None where not even their list came."""

    findings: tuple[content_check.Finding, ...]
    checked: int
    repositories: int | None

    @property
    def saw_nothing(self) -> bool:
        """Whether no repository was checked, though there may be some."""
        return self.checked == 0 and self.repositories != 0

    @property
    def extent(self) -> str:
        """How much was looked at, and within which time if that was not all."""
        if self.repositories is None:
            return f"no list of repositories in {STORAGE_BUDGET:g} s"
        total = units.count(self.repositories, "repository")
        if self.checked == self.repositories:
            return f"{total} checked"
        return f"looked at {self.checked} of {total} in {STORAGE_BUDGET:g} s"


def health(surroundings: Surroundings) -> Observation:
    """Whether the registries run and answer."""
    return _each(surroundings, _health)


def deletion(surroundings: Surroundings) -> Observation:
    """Whether manifests may be deleted."""
    return _each_open(surroundings, _deletion)


def write(surroundings: Surroundings) -> Observation:
    """Whether content can be pushed: an upload is begun and cancelled."""
    return _each_open(surroundings, _write)


def stale_cache(surroundings: Surroundings) -> Observation:
    """Whether a registry still reports blobs that a collection has removed."""
    return _each_open(surroundings, partial(_stale_cache, surroundings))


def storage(surroundings: Surroundings) -> Observation:
    """Whether images are whole, as far as can be looked at in a moment."""
    return _each_open(surroundings, partial(_storage, surroundings))


# --- health ---


def _health(surroundings: Surroundings, registry: CheckedRegistry) -> Observation:
    local = registry.local
    if local is None:
        return _answers(surroundings, registry)
    interrupted = _collection(surroundings, local)
    if interrupted is not None:
        return interrupted
    option = name_option(local.name)
    if not local.running:
        # One of another name may have been stopped on purpose.
        is_used = local.name == local_registry.DEFAULT_NAME or surroundings.host is not None
        seen = f"the registry {local.name} does not run: its container is {local.state}"
        return (wrong if is_used else warning)(seen, f"regctl up{option}", mend=partial(_up, surroundings, local))
    probe = surroundings.probe(local)
    seen = f"{local.name} at {local.address}"
    if probe.state is PortState.REGISTRY:
        return ok(f"{seen} responds")
    if probe.state is PortState.OTHER:
        fix = f"It is not the container {local.container_name} that answers. regctl up{option} --port {local.port + 1}"
        return wrong(f"on the port of {seen} something answers that is no registry ({probe.detail})", fix)
    if probe.state is PortState.FAILING:
        fix = f"Its storage may be full or damaged: regctl logs {local.name}"
        return wrong(f"{seen} reports an error ({probe.detail})", fix)
    restart = partial(_restart, surroundings, local)
    return wrong(f"{seen} runs and does not respond ({probe.detail})", f"docker restart {local.container_name}", mend=restart)


def _answers(surroundings: Surroundings, registry: CheckedRegistry) -> Observation:
    try:
        with surroundings.open_registry(registry.host) as opened:
            opened.ping()
    except RegistryToolError as error:
        return wrong(error.message, error.hint or "Is the name right, and does the network work?")
    return ok(f"{registry.host} responds")


def _collection(surroundings: Surroundings, local: LocalRegistry) -> Observation | None:
    """What a garbage collection of it does, or left."""
    for collection in recovery.find_collections(surroundings.engine, local.name):
        if collection.is_alive(surroundings.dirs.state):
            return ok(f"{local.name} is read-only: its garbage is being collected")
        recover = partial(_recover, surroundings, local.name)
        return wrong(
            f"a garbage collection of {local.name} was interrupted: the registry is whole, and read-only or stopped",
            f"regctl status --name {local.name} brings it back.",
            mend=recover,
        )
    return None


def _recover(surroundings: Surroundings, name: str) -> None:
    recovery.recover(surroundings.engine, name, state=surroundings.dirs.state)
    registry = local_registry.find(surroundings.engine, name)
    if registry is not None and registry.running:
        local_registry.wait_until_ready(surroundings.engine, registry, timeout=_READY)


def _up(surroundings: Surroundings, local: LocalRegistry) -> None:
    bring_up.registry_up(surroundings.engine, surroundings.dirs, name=local.name, timeout=_READY)


def _restart(surroundings: Surroundings, local: LocalRegistry) -> None:
    surroundings.engine.restart(local.container_id)
    local_registry.wait_until_ready(surroundings.engine, local, timeout=_READY)


# --- requests ---


def _deletion(registry: CheckedRegistry, opened: Registry) -> Observation:
    path = _some_repository(opened)
    if opened.capabilities.can_delete(path):
        return ok(f"{registry.label} deletes")
    return warning(
        f"{registry.label} does not delete (405): delete, prune and undo have nothing to do there",
        advice.turned_off(f"{registry.host}/{path}"),
    )


def _write(registry: CheckedRegistry, opened: Registry) -> Observation:
    try:
        with opened.repository(_some_repository(opened)).upload(chunk=1):
            pass
    except AuthenticationFailed:
        raise
    except RegistryError as error:
        status = error.response.status if error.response is not None else 0
        if status in (403, 405):
            return wrong(f"{registry.label} is read-only: {error.message}", "Is it in maintenance, or a mirror? Push to another one.")
        full = "Its storage may be full, or not writable: regctl logs shows what it says."
        return wrong(f"{registry.label} takes no uploads: {error.message}", full)
    return ok(f"{registry.label} takes uploads")


def _storage(surroundings: Surroundings, registry: CheckedRegistry, opened: Registry) -> Observation:
    look = _look(surroundings, registry, opened)
    if look.saw_nothing:
        return skipped(f"{registry.label}: {look.extent}; regctl check {registry.host} takes its time")
    # What the cache still has is the next check's.
    if not look.findings:
        return ok(f"{registry.label}: {look.extent}")
    first = look.findings[0]
    return wrong(
        f"{registry.label}: {first.kind}: {first.reference} {first.detail} ({len(look.findings)} in all, {look.extent})",
        f"regctl check {registry.host} lists everything. {first.hint}",
    )


def _stale_cache(surroundings: Surroundings, registry: CheckedRegistry, opened: Registry) -> Observation:
    look = _look(surroundings, registry, opened)
    if look.saw_nothing:
        return skipped(f"{registry.label}: {look.extent}")
    stale = []
    for finding in look.findings:
        if finding.kind not in _MISSING_BLOBS or finding.digest is None:
            continue
        repository = opened.repository(finding.reference.partition("@")[0].removeprefix(f"{registry.host}/"))
        if repository.exists(Descriptor(media_type="application/octet-stream", digest=finding.digest, size=0)):
            stale.append(finding.digest)
    if not stale:
        return ok(f"{registry.label} reports nothing that is gone ({look.extent})")
    local = registry.local
    return wrong(
        f"{registry.label} still reports {stale[0]}, which is gone ({len(set(stale))} in all): a push leaves out such layers",
        f"Restart it, then push these images again: docker restart {local.container_name if local else '…'}",
        mend=partial(_restart, surroundings, local) if local is not None else None,
    )


def _look(surroundings: Surroundings, registry: CheckedRegistry, opened: Registry) -> StorageLook:
    """Check one repository after the other until the time is up; done once for each registry. Raises as ``Registry.catalog``."""

    def look() -> StorageLook:
        deadline = Deadline(STORAGE_BUDGET)
        findings: list[content_check.Finding] = []
        repositories: int | None = None
        checked = 0
        try:
            paths = call_with_deadline(lambda: sorted(set(opened.catalog())), lambda: deadline.left)
            repositories = len(paths)
            for path in paths:
                report = call_with_deadline(partial(content_check.check, opened, [path]), lambda: deadline.left)
                if report.error is not None:
                    raise report.error
                findings += report.findings
                checked += 1
        except DeadlineExceeded:
            pass
        return StorageLook(findings=tuple(findings), checked=checked, repositories=repositories)

    return surroundings.storage_looks.get(registry.host, look)


def _each(surroundings: Surroundings, look: Callable[[Surroundings, CheckedRegistry], Observation]) -> Observation:
    registries = surroundings.registries
    if not registries:
        return skipped("no local registry; regctl up starts one")
    return combined(look(surroundings, each) for each in registries)


def _each_open(surroundings: Surroundings, look: Callable[[CheckedRegistry, Registry], Observation]) -> Observation:
    """``look`` at each registry that responds."""

    def opened(surroundings: Surroundings, registry: CheckedRegistry) -> Observation:
        if not surroundings.responds(registry) or (registry.local and _collection(surroundings, registry.local)):
            return skipped(f"{registry.label} does not respond, or is being collected")
        try:
            with surroundings.open_registry(registry.host) as opened:
                return look(registry, opened)
        except (AuthenticationFailed, CredentialsError, RegistryUnreachable) as error:
            return skipped(error.message)
        except RegistryToolError as error:
            return wrong(error.message, error.hint or f"Look at its log: regctl logs {registry.label}")

    return _each(surroundings, opened)


def _some_repository(opened: Registry) -> str:
    """The path of a repository for trials: one that is there, so that none appears."""
    try:
        return next(iter(opened.catalog()), _NEW)
    except (NotFound, RegistryError):
        return _NEW
