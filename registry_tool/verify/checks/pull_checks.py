"""The points about the image's way from the registry to the engine: name, bytes, digests, platform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from registry_tool.base import units
from registry_tool.base.deadline import ActivityObserver, Deadline, DeadlineExceeded, call_with_deadline
from registry_tool.base.errors import ConnectionLost, Mismatch, NotFound, PullFailed, RegistryToolError, RegistryUnreachable, Unreachable
from registry_tool.base.progress import Observer
from registry_tool.engine import Engine, Image, Platform, TransferResult
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import is_foreign
from registry_tool.oci.reference import Reference
from registry_tool.targets.registry import Registry
from registry_tool.verify import remote_image as origins
from registry_tool.verify.environments.environment import Environment, Traffic
from registry_tool.verify.remote_image import RemoteImage
from registry_tool.verify.result import Check
from registry_tool.verify.spec import VerifySpec

MORE = 256 << 10
"""Bytes that may come beside the image itself and a hundredth of it: questions, answers, their headers."""
STANDS_STILL = 60.0
"""Seconds without a byte or a word after which a pull is given up."""


@dataclass(frozen=True, kw_only=True)
class PullResult:
    """What came of the pull. ``moved`` None: it failed, and ``error`` says why; both None: there was nothing to pull."""

    moved: TransferResult | None = None
    error: RegistryToolError | None = None
    traffic: Traffic | None = None
    image: Image | None = None
    """As the engine has it."""


def skipped(name: str, why: str) -> Check:
    """A point that cannot be looked at, and why."""
    return Check(name=name, ok=None, detail=f"not looked at: {why}")


def unresolved(asked: VerifySpec, error: RegistryToolError) -> Check:
    """The name leads nowhere, or to something that cannot be read."""
    return Check(name="resolves", ok=False, detail=error.message, hint=error.hint or f"Was it pushed? regctl push {asked.image}")


def resolves(asked: VerifySpec, origin: RemoteImage, compared: Image | None) -> Check:
    """``compared`` is what an engine has under this name: only looked at where nothing was expected."""
    found = origin.digest
    evidence: dict[str, object] = {"name": str(asked.image), "digest": str(found), "media_type": origin.root.descriptor.media_type}
    wanted = asked.expected
    if wanted is not None:
        evidence["expected"] = str(wanted)
        if wanted == found:
            return Check(name="resolves", ok=True, detail=f"{found}, as expected", evidence=evidence)
        hint = f"Something else was pushed to that name since. Push again, or prove what was meant: {asked.image.with_digest(wanted)}"
        return Check(name="resolves", ok=False, detail=f"it leads to {found}, and {wanted} was expected", hint=hint, evidence=evidence)
    if compared is None:
        detail = f"{found}; not compared, as nothing says what it should be"
        return Check(
            name="resolves",
            ok=None,
            detail=detail,
            hint="Say what must be there: --expect sha256:…, as push -q prints it.",
            evidence=evidence,
        )
    evidence["compared"] = {"id": compared.id, "digests": list(compared.digests)}
    if is_same(compared, origin):
        return Check(name="resolves", ok=True, detail=f"{found}, as on the present engine", evidence=evidence)
    detail = f"it leads to {found}, and the present engine has another image under this name ({compared.id[:19]})"
    return Check(name="resolves", ok=False, detail=detail, hint=f"Push what was built: regctl push {asked.image}", evidence=evidence)


def is_same(image: Image, origin: RemoteImage) -> bool:
    """Whether an engine's image is the registry's. Its ``Id`` is a config's digest, or a manifest's: that depends on its store."""
    if any(digest.endswith(f"@{origin.digest}") for digest in image.digests):
        return True
    config = origin.image.config if origin.image else None
    return image.id in {str(origin.digest), *((str(config.digest),) if config else ())}


def clean(place: Environment, images: Sequence[Image], origin: RemoteImage) -> Check:
    """``images`` are those the engine had before anything was pulled."""
    evidence: dict[str, object] = {"images": len(images)}
    there = next((image for image in images if is_same(image, origin)), None)
    if there is not None:
        hint = "Remove it there first, or prove it on a clean engine: --on docker"
        return Check(name="clean", ok=False, detail=f"the engine had it already ({there.id[:19]})", hint=hint, evidence=evidence)
    if not place.where.clean:
        detail = f"it was not there, but the engine is not a clean one: it has {units.count(len(images), 'other image')}"
        return Check(name="clean", ok=None, detail=detail, evidence=evidence)
    if images:
        known = (*images[0].names, *images[0].digests, images[0].id)[0]
        return Check(name="clean", ok=False, detail=f"the engine had {units.count(len(images), 'image')}: {known}", evidence=evidence)
    return Check(name="clean", ok=True, detail="it had none", evidence=evidence)


def pull(place: Environment, origin: RemoteImage, observer: Observer) -> PullResult:
    """Pull it by its digest, and count what comes until that ends. Only an engine that fails is raised: Unreachable."""
    name = place.named(origin.by_digest)
    place.traffic(reset=True)
    heard, counted = ActivityObserver(observer), Traffic()

    def left() -> float:
        nonlocal counted
        if heard.left(STANDS_STILL) <= 0 and (now := place.traffic()) is not None and now != counted:
            counted = now
            heard.touch()
        return heard.left(STANDS_STILL)

    try:
        moved = call_with_deadline(lambda: place.engine.pull(name, known_as=origin.name.host, observer=heard), left)
    except DeadlineExceeded:
        stalled = PullFailed(f"the pull stood still for {STANDS_STILL:g} s", hint="Does the registry still answer? Its log: regctl logs")
        return PullResult(error=stalled, traffic=place.traffic())
    except RegistryToolError as error:
        if isinstance(error, Unreachable) and not isinstance(error, RegistryUnreachable):
            raise  # the engine itself
        return PullResult(error=error, traffic=place.traffic())
    return PullResult(moved=moved, traffic=place.traffic(), image=place.engine.image(name))


def damage(registry: Registry, origin: RemoteImage, arrival: PullResult) -> RegistryToolError | None:
    """Why a pull failed that did, where the registry itself does not have all of it: engines' words for that differ."""
    if arrival.error is None or isinstance(arrival.error, Unreachable):
        return None
    until = Deadline(STANDS_STILL)
    try:
        call_with_deadline(lambda: origins.read_whole(registry, origin), lambda: until.left)
    except (Mismatch, NotFound, ConnectionLost) as error:
        return error
    except (RegistryToolError, DeadlineExceeded):
        return None  # whatever that is, it is not what kept the engine from it
    return None


def fetched(origin: RemoteImage, arrival: PullResult, damaged: RegistryToolError | None = None) -> Check:
    """At least what the image is made of, and hardly more. ``damaged`` is as :func:`damage` found it."""
    least, most = origin.size, origin.size + origin.size // 100 + MORE
    traffic = arrival.traffic
    foreign = sum(is_foreign(layer) for layer in origin.image.layers) if origin.image else 0
    evidence: dict[str, object] = {"least": least, "most": most, "bytes": traffic.down if traffic else None, "foreign_layers": foreign}
    if traffic is not None:
        evidence |= {"connections": traffic.connections, "refused": traffic.refused}
    if arrival.error is not None:
        came = f"; {units.size(traffic.down)} of {units.size(least)} came" if traffic else ""
        hint = arrival.error.hint or f"Is what the registry has whole? regctl check {origin.name.repository}"
        if damaged is not None:
            evidence["damaged"] = damaged.message
            hint = f"What the registry has is damaged: regctl check {origin.name.repository} says what. Push it again."
        return Check(name="fetched", ok=False, detail=f"{arrival.error.message}{came}", hint=hint, evidence=evidence)
    if traffic is None:
        return Check(name="fetched", ok=None, detail="pulled; nobody counts the bytes on the way to this engine", evidence=evidence)
    exact = f"{units.size(traffic.down)} for an image of {units.size(least)}"
    if traffic.down < least:
        detail = f"too little was fetched: {exact}"
        hint = "The rest came from elsewhere: this engine is not as clean as it should be, or has another way to the image."
        return Check(name="fetched", ok=False, detail=detail, hint=hint, evidence=evidence)
    if traffic.down > most:
        hint = "Something else was fetched beside it, or parts of it more than once: look at the registry's log."
        return Check(name="fetched", ok=False, detail=f"too much was fetched: {exact}", hint=hint, evidence=evidence)
    return Check(name="fetched", ok=True, detail=exact, evidence=evidence)


def digest(origin: RemoteImage, arrival: PullResult) -> Check:
    """The one that the engine ended the pull with, and the one it keeps with the image."""
    told = arrival.moved.digest if arrival.moved else None
    kept = tuple(arrival.image.digests) if arrival.image else ()
    evidence: dict[str, object] = {"registry": str(origin.digest), "pull": str(told), "engine": list(kept)}
    if told == origin.digest and any(_digest(known) in _fitting(origin) for known in kept):
        return Check(name="digest", ok=True, detail=str(told), evidence=evidence)
    detail = f"the engine reports {told} and keeps {', '.join(kept) or 'none'}; the registry has {origin.digest}"
    return Check(name="digest", ok=False, detail=detail, hint="Does something on the way change what is fetched?", evidence=evidence)


def content(origin: RemoteImage, arrival: PullResult) -> Check:
    """The layers' digests before compression, as the engine has unpacked them, and the config's."""
    if origin.trouble is not None or origin.config is None or origin.image is None or origin.image.config is None:
        detail = origin.trouble.message if origin.trouble else "it has no config of an image"
        return Check(name="content", ok=False, detail=detail, hint=f"Look at it with: regctl inspect {origin.name}")
    image = arrival.image
    wanted, found = tuple(map(str, origin.config.diff_ids)), image.layers if image else ()
    config, id = str(origin.image.config.digest), image.id if image else ""
    evidence: dict[str, object] = {"config": config, "id": id, "layers": list(found)}
    if wanted != found:
        same = sum(one == other for one, other in zip(wanted, found, strict=False))
        detail = f"{same} of {units.count(len(wanted), 'layer')} are the registry's; the engine has {len(found)}"
        return Check(name="content", ok=False, detail=detail, hint="Pull it again on an engine of its own.", evidence=evidence)
    layers = units.count(len(wanted), "layer")
    if id == config:
        return Check(name="content", ok=True, detail=f"config and {layers}", evidence=evidence)
    if id in {str(fitting) for fitting in _fitting(origin)}:
        # A store that keeps images by manifest: that names the config.
        return Check(name="content", ok=True, detail=f"{layers}, and the config by the manifest that is the id there", evidence=evidence)
    detail = f"the engine has another config: {id}, not {config}"
    return Check(name="content", ok=False, detail=detail, hint="Something rewrote it on the way: pull without a mirror.", evidence=evidence)


def platform(engine: Engine, origin: RemoteImage, arrival: PullResult) -> Check:
    """The image's, and of an index the right one."""
    wanted = engine.info.platform
    evidence: dict[str, object] = {"engine": str(wanted), "image": list(origin.platforms)}
    if origin.image is None:
        has = ", ".join(origin.platforms) or "no platform"
        hint = f"Build it for {wanted}, too: docker buildx build --platform …"
        return Check(name="platform", ok=False, detail=f"there is none for {wanted}: it has {has}", hint=hint, evidence=evidence)
    said = origin.config.platform if origin.config else None
    evidence |= {"manifest": str(origin.image.digest), "config": str(said) if said else None}
    if said is None:
        return Check(name="platform", ok=None, detail="the image does not say what it is for", evidence=evidence)
    kept = (arrival.image.platform if arrival.image else None) or said
    if not (runs_on(said, wanted) and runs_on(kept, wanted)):
        hint = f"Build it on such a machine, or: docker buildx build --platform {wanted} …"
        return Check(name="platform", ok=False, detail=f"it is for {said}, and the engine is {wanted}", hint=hint, evidence=evidence)
    chosen = f", the right one of {len(origin.platforms)}" if origin.root.kind == "index" else ""
    return Check(name="platform", ok=True, detail=f"{said}{chosen}", evidence=evidence)


def runs_on(image: Platform, engine: Platform) -> bool:
    """Where the engine does not say which variant it is, any will do."""
    return image.fits(engine) if engine.variant else (image.os, image.architecture) == (engine.os, engine.architecture)


def _fitting(origin: RemoteImage) -> set[Digest]:
    return {origin.digest, *((origin.image.digest,) if origin.image else ())}


def _digest(known: str) -> Digest | None:
    return Reference.parse(known, default_host="").digest
