"""Push, pull and run of typed names, by the engine; a push also directly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from registry_tool.base.address import is_loopback
from registry_tool.base.errors import (
    AuthenticationFailed,
    NotARegistry,
    NotFound,
    PushFailed,
    RegistryError,
    RegistryToolError,
    RegistryUnreachable,
    TooManyRequests,
    UsageError,
)
from registry_tool.base.progress import SILENT, Observer
from registry_tool.content.direct import push_image
from registry_tool.engine import Engine, Image, Platform, TransferResult
from registry_tool.engine.layer_store import LayerStore
from registry_tool.local import registry as local_registry
from registry_tool.local.images import resolve
from registry_tool.local.images.push_check import check_push
from registry_tool.local.images.push_route import PushRoute, Via, choose_route
from registry_tool.local.registry.spec import name_option
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import DEFAULT_TAG, DOCKER_HUB, Reference, has_host
from registry_tool.targets.layer_cache import LayerCache
from registry_tool.targets.registry import Registry, open_registry


@dataclass(frozen=True, slots=True, kw_only=True)
class PushResult:
    """What was pushed, its full name, and a note where that was tagged for it.

    ``checked``: all of it was seen in the registry. ``warning`` says why it was not, where it should have been.
    ``route`` says who pushed it, and why. ``missing`` are platforms of the image that the engine does not have, so that they were not
    pushed; ``partial`` says so.
    """

    reference: Reference
    result: TransferResult
    route: PushRoute
    note: str | None = None
    checked: bool = False
    warning: str | None = None
    missing: tuple[Platform, ...] = ()
    partial: tuple[str, ...] = ()


def push(
    engine: Engine,
    registry_host: str | None,
    text: str,
    *,
    via: Via = "engine",
    cache: LayerCache | None = None,
    check: bool = True,
    observer: Observer = SILENT,
) -> PushResult:
    """Push the image of ``text``; with ``check``, look whether the registry has all of it then.

    ``via`` says who pushes it: the engine, this program (``direct``), or whoever is faster (``auto``); ``cache`` has the layers that
    this program pushed before.

    Where the engine has ``text`` as typed, that image is tagged with the registry's name first, so that a new build is what is pushed.
    Raises UsageError for a digest; NotFound where the engine has neither name; PushFailed where the registry lacks what was pushed;
    and what :meth:`Engine.push` raises.
    """
    target = resolve.registry_reference(text, registry_host)
    if target.digest is not None:
        raise UsageError(f"{text} names a digest, and a push needs a tag", hint=f"Try: regctl push {target.path}:TAG")
    note = None
    typed = None if has_host(text) else resolve.find_by_name(engine, text)
    present = engine.image(str(target))
    if typed is not None:
        if present is None or present.id != typed.id:
            engine.tag(typed.id, str(target))
            note = f"tagged {typed.short_id} as {target}" + (f" (it was {present.short_id})" if present else "")
    elif present is None:
        hint = f"Build it first: regctl build -t {text} . (see: regctl images)"
        if engine.image(text) is not None:
            hint = f"{text} is an image's id. Name it first: regctl tag {text} NAME, then: regctl push NAME"
        raise NotFound(f"no such image: {text}" if has_host(text) else f"no such image: neither {text} nor {target}", hint=hint)
    image = typed or present
    route, result, is_seen = _push(engine, target, image, via, cache or LayerCache(), observer)
    warning = _check(engine, target, result) if check and not is_seen else None
    missing = _missing_platforms(engine, target) if result.partial_of is not None else ()
    return PushResult(
        reference=target,
        result=result,
        route=route,
        note=note,
        checked=check and warning is None,
        warning=warning,
        missing=missing,
        partial=_describe_partial(engine, target, result.partial_of, missing) if result.partial_of is not None else (),
    )


def _push(
    engine: Engine, target: Reference, image: Image | None, via: Via, cache: LayerCache, observer: Observer
) -> tuple[PushRoute, TransferResult, bool]:
    """Push by the one or the other; also whether all of it was seen in the registry already."""
    route = PushRoute(via="engine", reason="as requested")
    if image is not None and via != "engine":
        with open_registry(target.host, auth_file=engine.auth_file, on_warning=observer.note) as registry:
            route = choose_route(engine, image, target, registry, via, cache)
            if route.via == "direct":
                result, is_seen = _push_directly(engine, target, image, registry, cache, observer)
                return route, result, is_seen
    try:
        return route, engine.push(str(target), observer=observer), False
    except PushFailed:
        _check_registry(target.host, engine)
        raise


def _push_directly(
    engine: Engine, target: Reference, image: Image, registry: Registry, cache: LayerCache, observer: Observer
) -> tuple[TransferResult, bool]:
    repository = registry.repository(target.path)
    try:
        archive = partial(engine.image_archive, [image.id])
        store = LayerStore.of(image) if engine.endpoint.is_local else None
        pushed = push_image(image, archive, repository, target.tag or DEFAULT_TAG, store=store, cache=cache, observer=observer)
    except (NotARegistry, AuthenticationFailed, TooManyRequests):
        raise
    except RegistryUnreachable as error:
        hint = "Start it: regctl up." if is_loopback(target.host) else "Is the name right, and does the network work?"
        raise RegistryUnreachable(f"cannot reach the registry {target.host}: {error.message}", hint=hint) from error
    except RegistryError as error:
        is_broken = error.response is not None and error.response.status >= 500
        hint = "The registry failed: is its disk full? Its log says why: regctl logs." if is_broken else error.hint or ""
        raise PushFailed(f"the push of {target} failed: {error.message}", hint=hint or None) from error
    layers = {diff_id.removeprefix("sha256:")[:12]: status for diff_id, status in pushed.layers.items()}
    result = TransferResult(reference=str(target), descriptor=pushed.descriptor, layers=layers, bytes_moved=pushed.bytes_sent)
    return result, pushed.unchanged


def pull(
    engine: Engine, registry_host: str | None, text: str, *, platform: str | None = None, observer: Observer = SILENT
) -> tuple[Reference, TransferResult]:
    """Pull the image of ``text``. Raises what :meth:`Engine.pull` raises; its hint names Docker Hub where ``text`` names no registry."""
    try:
        reference = resolve.registry_reference(text, registry_host)
        observer.note(f"{reference.tag or reference.digest}: Pulling from {reference.path}")
        expected = _registry_digest(engine, reference)
        return reference, engine.pull(str(reference), observer=observer, platform=platform, expected=expected)
    except (NotFound, RegistryUnreachable) as error:
        if isinstance(error, NotFound):
            _check_registry(resolve.registry_reference(text, registry_host).host, engine)
        error.hint = resolve.hub_hint(error, text)
        raise


def _missing_platforms(engine: Engine, target: Reference) -> tuple[Platform, ...]:
    try:
        return engine.missing_platforms(str(target))
    except RegistryToolError:  # the push went well
        return ()


def _describe_partial(engine: Engine, target: Reference, index: Digest, missing: tuple[Platform, ...]) -> tuple[str, ...]:
    """That one platform was pushed in the place of ``index``, and what pushes all of them."""
    image = engine.image(str(target))
    elsewhere = [
        name for name in (image.digests if image else ()) if name.endswith(f"@{index}") and not name.startswith(f"{target.repository}@")
    ]
    what = ", ".join(map(str, missing)) or "other platforms"
    how = f"To push all of it, pull {what} from where the image came from (regctl pull --platform), then push again."
    if elsewhere:
        # Whole: without a host it would be the local registry's.
        source = Reference.parse(elsewhere[0], default_host=DOCKER_HUB)
        how = f"To have all of it there: regctl copy {source} {target}"
    return f"{target}: one platform of {index} was pushed, and not the index: the engine does not have {what}", how


def _registry_digest(engine: Engine, reference: Reference) -> Digest | None:
    """The digest of a tag in its registry, for podman, which does not report it; None where it is not needed or not known."""
    if not engine.is_podman or reference.tag is None or reference.digest is not None or _is_elsewhere(engine, reference.host):
        return None
    try:
        with open_registry(reference.host, auth_file=engine.auth_file) as registry:
            return registry.repository(reference.path).resolve(reference.tag).digest
    except RegistryToolError:
        return None  # the engine's error says more


def _is_elsewhere(engine: Engine, host: str) -> bool:
    """Whether ``host`` is on the engine's machine, and that is not this one."""
    return is_loopback(host) and not engine.endpoint.is_local


def _check(engine: Engine, target: Reference, result: TransferResult) -> str | None:
    """Check a push; returns why it could not be checked. Raises PushFailed."""
    if result.digest is None:
        return f"{target} was pushed, and not checked: the engine did not report its digest"
    if _is_elsewhere(engine, target.host):
        return f"{target} was pushed, and not checked: {target.host} is on the engine's machine"
    return check_push(target, result.digest, auth_file=engine.auth_file, cure=lambda: _cure(engine, target.host))


def _cure(engine: Engine, host: str) -> str:
    """How to make the registry forget what it no longer has."""
    ours = next((registry for registry in local_registry.find_all(engine) if registry.address == host), None)
    name = name_option(ours.name) if ours is not None else ""
    restart = "Restart the registry" if ours is None else f"Restart it (regctl down{name}, regctl up{name})"
    return f"It reports layers that it no longer has, as after a garbage collection in it. {restart}, then push again."


def _check_registry(host: str, engine: Engine) -> None:
    """Raise NotARegistry where ``host`` is none: to an engine, a web server may be one that has not this image, or accepts all."""
    if host == DOCKER_HUB or _is_elsewhere(engine, host):
        return
    try:
        with open_registry(host, auth_file=engine.auth_file) as registry:
            registry.ping()
    except NotARegistry:
        raise
    except RegistryToolError:
        return  # the engine's error says more


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalImage:
    """An image that is in the engine now; ``moved`` where it had to be pulled for that."""

    name: str
    image_id: str
    note: str | None = None
    result: TransferResult | None = None


def ensure_image(
    engine: Engine,
    registry_host: str | None,
    text: str,
    *,
    policy: str = "missing",
    platform: Platform | None = None,
    observer: Observer = SILENT,
) -> LocalImage:
    """The image to run: from the engine, or else pulled, as by ``docker run``. Raises NotFound and what a pull raises.

    ``policy`` is docker's ``--pull``: ``missing``, ``always`` or ``never``. An image of another ``platform`` is pulled, too.
    """
    present = resolve.find_engine_image(engine, registry_host, text) if policy != "always" else None
    if present is not None and platform is not None and not _is_of(present.image, platform):
        present = None
    if present is not None:
        return LocalImage(name=present.name, image_id=present.image.id, note=present.note)
    if text.startswith("sha256:"):
        raise resolve.not_found(text)
    if policy == "never":
        of = f" for {platform}" if platform else ""
        raise NotFound(f"no such image: {text}{of} (and --pull is never)", hint=resolve.not_found(text).hint)
    if registry_host is None and not has_host(text):
        raise resolve.not_found(text)
    target = resolve.registry_reference(text, registry_host)
    if policy == "missing":
        observer.note(f"Unable to find image '{text}' locally")
    observer.note(f"{target.tag or target.digest}: Pulling from {target.path}")
    try:
        expected = _registry_digest(engine, target)
        result = engine.pull(str(target), platform=str(platform) if platform else None, observer=observer, expected=expected)
    except NotFound as error:
        _check_registry(target.host, engine)
        raise NotFound(f"no such image: {text} is neither in the engine nor at {target.host}", hint=resolve.not_found(text).hint) from error
    image = engine.image(str(target))
    if image is None:
        raise NotFound(f"{target} was pulled, and the engine does not have it", hint="Something else removes images there; try again.")
    return LocalImage(name=str(target), image_id=image.id, result=result)


def _is_of(image: Image, platform: Platform) -> bool:
    """Whether ``image`` is of ``platform``; a variant that is not named may be any."""
    own = image.platform
    if own is None or (own.os, own.architecture) != (platform.os, platform.architecture):
        return False
    return not platform.variant or not own.variant or own.variant == platform.variant
