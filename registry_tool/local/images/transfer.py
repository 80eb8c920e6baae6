"""An image's way to the local registry and back: push and pull, by the engine's own hands."""

from __future__ import annotations

from dataclasses import dataclass

from registry_tool.base.errors import NotARegistry, NotFound, PushFailed, RegistryToolError, UsageError
from registry_tool.base.progress import SILENT, Observer
from registry_tool.engine import Engine, TransferResult
from registry_tool.local.images import resolve
from registry_tool.oci.reference import Reference, has_host
from registry_tool.targets.registry import open_registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What was pushed, under which full name, and what had to be tagged for it."""

    reference: Reference
    moved: TransferResult
    note: str | None = None


def push(engine: Engine, registry_host: str | None, text: str, *, observer: Observer = SILENT) -> Pushed:
    """Push the image that ``text`` means.

    Where the engine has ``text`` as typed, the registry's name is made to point at that image first, so that build,
    push, edit, build, push always pushes the new one. Raises NotFound where the engine has neither, and what
    :meth:`Engine.push` raises.
    """
    target = resolve.on_registry(text, registry_host)
    if target.digest is not None:
        raise UsageError(f"{text} names a digest, and a push needs a tag", hint=f"Try: regctl push {target.path}:TAG")
    note = None
    typed = None if has_host(text) else resolve.by_name(engine, text)
    present = engine.image(str(target))
    if typed is not None:
        note = _point(engine, str(target), typed.id, present.id if present else None)
    elif present is None:
        raise NotFound(
            f"no such image: {text}" if has_host(text) else f"no such image: neither {text} nor {target}",
            hint=f"Build it first: regctl build -t {text} . (or see what there is: regctl images)",
        )
    try:
        moved = engine.push(str(target), observer=observer)
    except PushFailed as failed:
        raise _stranger(target.host) or failed from None
    return Pushed(reference=target, moved=moved, note=note)


def _stranger(host: str) -> NotARegistry | None:
    """The error for a web page that says yes to everything: to an engine it is a registry, until the end of a push."""
    try:
        with open_registry(host) as registry:
            registry.ping()
    except NotARegistry as error:
        return error
    except RegistryToolError:
        return None  # whatever else is wrong there, the engine's words say more
    return None


def pull(
    engine: Engine, registry_host: str | None, text: str, *, observer: Observer = SILENT, platform: str | None = None
) -> TransferResult:
    """Pull ``text`` as the registry's side names it."""
    return engine.pull(str(resolve.on_registry(text, registry_host)), observer=observer, platform=platform)


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """An image that is in the engine now; ``moved`` where it had to be pulled for that."""

    name: str
    image_id: str
    note: str | None = None
    moved: TransferResult | None = None


def have(engine: Engine, registry_host: str | None, text: str, *, observer: Observer = SILENT) -> Present:
    """The image to run: from the engine, or else pulled from the registry that its name means, as ``docker run`` does."""
    found = resolve.search_engine(engine, registry_host, text)
    if found is not None:
        return Present(name=found.name, image_id=found.image.id, note=found.note)
    if registry_host is None and not has_host(text):
        raise resolve.absent(text)
    target = resolve.on_registry(text, registry_host)
    observer.note(f"Unable to find image '{text}' locally")
    observer.note(f"{target.tag or target.digest}: Pulling from {target.path}")
    try:
        moved = engine.pull(str(target), observer=observer)
    except NotFound as error:
        raise NotFound(f"no such image: {text} is neither in the engine nor at {target.host}", hint=resolve.absent(text).hint) from error
    image = engine.image(str(target))
    if image is None:
        raise NotFound(f"{target} was pulled, and the engine does not have it", hint="Something else removes images there; try again.")
    return Present(name=str(target), image_id=image.id, moved=moved)


def _point(engine: Engine, target: str, new: str, old: str | None) -> str | None:
    if old == new:
        return None
    engine.tag(new, target)
    if old is None:
        return f"tagged {_short(new)} as {target}"
    return f"tagged {_short(new)} as {target} (it was {_short(old)})"


def _short(image_id: str) -> str:
    return image_id.removeprefix("sha256:")[:12]
