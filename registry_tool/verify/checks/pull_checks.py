"""The checks of an image's way from the registry to the engine: name, bytes, digests, platform."""

from __future__ import annotations

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
from registry_tool.verify.environments.environment import Environment, Traffic
from registry_tool.verify.remote_image import RemoteImage, read_blobs
from registry_tool.verify.result import Check
from registry_tool.verify.spec import VerifySpec

MORE = 256 << 10  # bytes that may come beside the image itself and a hundredth of it: requests, responses, their headers
STALL_TIMEOUT = 60.0  # seconds without a byte or an event after which a pull is given up


@dataclass(frozen=True, kw_only=True)
class PullResult:
    """A pull. ``transfer`` None: it failed, and ``error`` says why; both None: there was nothing to pull."""

    transfer: TransferResult | None = None
    error: RegistryToolError | None = None
    traffic: Traffic | None = None
    image: Image | None = None
    """As the engine has it."""


def skipped(name: str, why: str) -> Check:
    """A check that cannot be made, and why."""
    return Check(name=name, ok=None, detail=f"not looked at: {why}")


def unresolved(spec: VerifySpec, error: RegistryToolError) -> Check:
    """The name does not exist, or is something that cannot be read."""
    return Check(name="resolves", ok=False, detail=error.message, hint=error.hint or f"Was it pushed? regctl push {spec.image}")


def resolves(spec: VerifySpec, remote: RemoteImage, local: Image | None) -> Check:
    """The name has the expected digest, or that of the ``local`` image of this name where none is expected."""
    digest, expected = remote.digest, spec.expected
    evidence: dict[str, object] = {"name": str(spec.image), "digest": str(digest), "media_type": remote.root.descriptor.media_type}
    if expected is not None:
        evidence["expected"] = str(expected)
        if expected == digest:
            return Check(name="resolves", ok=True, detail=f"{digest}, as expected", evidence=evidence)
        hint = f"Something else was pushed to that name since. Push again, or verify what was meant: {spec.image.with_digest(expected)}"
        return Check(
            name="resolves", ok=False, detail=f"it resolves to {digest}, and {expected} was expected", hint=hint, evidence=evidence
        )
    if local is None:
        detail = f"{digest}; not compared, as nothing says what it should be"
        hint = "Give the expected digest: --expect sha256:…, as push -q prints it."
        return Check(name="resolves", ok=None, detail=detail, hint=hint, evidence=evidence)
    evidence["compared"] = {"id": local.id, "digests": list(local.digests)}
    if is_same(local, remote):
        return Check(name="resolves", ok=True, detail=f"{digest}, as on the current engine", evidence=evidence)
    detail = f"it resolves to {digest}, and the current engine has another image under this name ({local.id[:19]})"
    return Check(name="resolves", ok=False, detail=detail, hint=f"Push what was built: regctl push {spec.image}", evidence=evidence)


def is_same(image: Image, remote: RemoteImage) -> bool:
    """Whether an engine's image is the registry's. Its ``Id`` is a config's digest, or a manifest's: that depends on its store."""
    if any(digest.endswith(f"@{remote.digest}") for digest in image.digests):
        return True
    config = remote.image.config if remote.image else None
    return image.id in {str(remote.digest), *((str(config.digest),) if config else ())}


def clean(environment: Environment, remote: RemoteImage) -> Check:
    """The engine has no image yet."""
    images = environment.engine.images(all=True)
    evidence: dict[str, object] = {"images": len(images)}
    present = next((image for image in images if is_same(image, remote)), None)
    if present is not None and environment.kept is not None:
        detail = f"the engine has it already ({present.short_id}), and it stays there: {environment.kept}"
        hint = "An engine that never had it verifies more: --on docker"
        return Check(name="clean", ok=None, detail=detail, hint=hint, evidence=evidence)
    if present is not None:
        hint = "Remove it there first, or verify it on a clean engine: --on docker"
        return Check(name="clean", ok=False, detail=f"the engine had it already ({present.id[:19]})", hint=hint, evidence=evidence)
    if not environment.info.clean:
        detail = f"it was not there, but the engine is not a clean one: it has {units.count(len(images), 'other image')}"
        return Check(name="clean", ok=None, detail=detail, evidence=evidence)
    if images:
        name = (*images[0].names, *images[0].digests, images[0].id)[0]
        return Check(name="clean", ok=False, detail=f"the engine had {units.count(len(images), 'image')}: {name}", evidence=evidence)
    return Check(name="clean", ok=True, detail="it had none", evidence=evidence)


def pull(environment: Environment, remote: RemoteImage, observer: Observer) -> PullResult:
    """Pull by digest, counting the bytes. Raises Unreachable where the engine itself fails; other errors are in the result."""
    name = environment.local_name(remote.by_digest)
    environment.traffic(reset=True)
    activity, counted = ActivityObserver(observer), Traffic()

    def left() -> float:
        nonlocal counted
        if activity.left(STALL_TIMEOUT) <= 0 and (now := environment.traffic()) is not None and now != counted:
            counted = now
            activity.touch()
        return activity.left(STALL_TIMEOUT)

    try:
        transfer = call_with_deadline(lambda: environment.engine.pull(name, known_as=remote.name.host, observer=activity), left)
    except DeadlineExceeded:
        stalled = PullFailed(
            f"the pull made no progress for {STALL_TIMEOUT:g} s", hint="Does the registry still answer? Its log: regctl logs"
        )
        return PullResult(error=stalled, traffic=environment.traffic())
    except RegistryToolError as error:
        if isinstance(error, Unreachable) and not isinstance(error, RegistryUnreachable):
            raise
        return PullResult(error=error, traffic=environment.traffic())
    return PullResult(transfer=transfer, traffic=environment.traffic(), image=environment.engine.image(name))


def damage(registry: Registry, remote: RemoteImage, pull: PullResult) -> RegistryToolError | None:
    """Why a pull failed where the registry itself does not have all of the image: engines' messages for that differ."""
    if pull.error is None or isinstance(pull.error, Unreachable):
        return None
    until = Deadline(STALL_TIMEOUT)
    try:
        call_with_deadline(lambda: read_blobs(registry, remote), lambda: until.left)
    except (Mismatch, NotFound, ConnectionLost) as error:
        return error
    except (RegistryToolError, DeadlineExceeded):
        return None  # whatever that is, it is not what kept the engine from it
    return None


def read_instead(registry: Registry, remote: RemoteImage) -> RegistryToolError | None:
    """Read the image from the registry where the engine fetches nothing, as it has it; the error where the registry has it not whole."""
    try:
        read_blobs(registry, remote)
    except (Mismatch, NotFound, ConnectionLost) as error:
        return error
    return None


def fetched(remote: RemoteImage, pull: PullResult, damaged: RegistryToolError | None = None, *, kept: bool = False) -> Check:
    """At least the image's bytes came, and hardly more. ``damaged`` is what :func:`damage` returned.

    ``kept``: the engine had the image, and ``damaged`` is what :func:`read_instead` returned.
    """
    least, most = remote.size, remote.size + remote.size // 100 + MORE
    traffic = pull.traffic
    foreign = sum(is_foreign(layer) for layer in remote.image.layers) if remote.image else 0
    evidence: dict[str, object] = {"least": least, "most": most, "bytes": traffic.down if traffic else None, "foreign_layers": foreign}
    if traffic is not None:
        evidence |= {"connections": traffic.connections, "refused": traffic.refused}
    if pull.error is not None:
        received = f"; downloaded {units.size(traffic.down)} of {units.size(least)}" if traffic else ""
        hint = pull.error.hint or f"Is the image in the registry complete? See: regctl check {remote.name.repository}"
        if damaged is not None:
            evidence["damaged"] = damaged.message
            hint = f"The image in the registry is damaged (see: regctl check {remote.name.repository}). Push it again."
        return Check(name="fetched", ok=False, detail=f"{pull.error.message}{received}", hint=hint, evidence=evidence)
    if damaged is not None:
        hint = f"The image in the registry is damaged (see: regctl check {remote.name.repository}). Push it again."
        return Check(name="fetched", ok=False, detail=damaged.message, hint=hint, evidence=evidence)
    if kept:
        detail = f"the engine has it already; {units.count(len(remote.blobs), 'blob')} were read from the registry instead, all complete"
        missing = ("whether the engine can download it: it had it",)
        return Check(name="fetched", ok=None, detail=detail, unchecked=missing, evidence=evidence)
    if traffic is None:
        return Check(name="fetched", ok=None, detail="pulled; bytes to this engine are not counted", evidence=evidence)
    exact = f"downloaded {units.size(traffic.down)}; image is {units.size(least)}"
    if traffic.down < least:
        detail = f"too little was downloaded: {exact}"
        hint = "Some of it came from elsewhere: this engine is not as clean as it should be, or has another way to the image."
        return Check(name="fetched", ok=False, detail=detail, hint=hint, evidence=evidence)
    if traffic.down > most:
        hint = "Something else was downloaded, too, or parts of it more than once: see the registry's log."
        return Check(name="fetched", ok=False, detail=f"too much was downloaded: {exact}", hint=hint, evidence=evidence)
    unchecked = (f"{units.count(foreign, 'foreign layer')}: from the address in the manifest",) if foreign else ()
    return Check(name="fetched", ok=True, detail=exact, unchecked=unchecked, evidence=evidence)


def digest(remote: RemoteImage, pull: PullResult) -> Check:
    """The engine reports the registry's digest at the end of the pull, and keeps it with the image."""
    if pull.transfer is None:
        return skipped("digest", "nothing was pulled")
    reported = pull.transfer.digest
    kept = tuple(pull.image.digests) if pull.image else ()
    evidence: dict[str, object] = {"registry": str(remote.digest), "pull": str(reported), "engine": list(kept)}
    if reported == remote.digest and any(Reference.parse(name, default_host="").digest in _digests(remote) for name in kept):
        return Check(name="digest", ok=True, detail=str(reported), evidence=evidence)
    detail = f"the engine reports {reported} and keeps {', '.join(kept) or 'none'}; the registry has {remote.digest}"
    return Check(name="digest", ok=False, detail=detail, hint="Is it changed in transit, as by a proxy?", evidence=evidence)


def content(remote: RemoteImage, pull: PullResult) -> Check:
    """The engine has the registry's config, and its layers by their digests before compression."""
    if remote.config_error is None and pull.transfer is None:
        return skipped("content", "nothing was pulled")
    if remote.config_error is not None or remote.config is None or remote.image is None or remote.image.config is None:
        detail = remote.config_error.message if remote.config_error else "it has no config of an image"
        return Check(name="content", ok=False, detail=detail, hint=f"Look at it with: regctl inspect {remote.name}")
    image = pull.image
    expected, layers = tuple(map(str, remote.config.diff_ids)), image.layers if image else ()
    config, id = str(remote.image.config.digest), image.id if image else ""
    evidence: dict[str, object] = {"config": config, "id": id, "layers": list(layers)}
    if len(expected) != len(remote.image.layers):
        detail = f"the config names {units.count(len(expected), 'layer')}, and the manifest {len(remote.image.layers)}"
        return Check(name="content", ok=False, detail=detail, hint=f"Build and push it again: {remote.name}", evidence=evidence)
    if expected != layers:
        same = sum(one == other for one, other in zip(expected, layers, strict=False))
        detail = f"{same} of {units.count(len(expected), 'layer')} are the registry's; the engine has {len(layers)}"
        return Check(name="content", ok=False, detail=detail, hint="Pull it again on an engine of its own.", evidence=evidence)
    count = units.count(len(expected), "layer")
    if id == config:
        return Check(name="content", ok=True, detail=f"config and {count}", evidence=evidence)
    if id in map(str, _digests(remote)):
        # A store that keeps images by manifest: that names the config.
        return Check(name="content", ok=True, detail=f"{count}, and the config by the manifest that is the id there", evidence=evidence)
    detail = f"the engine has another config: {id}, not {config}"
    return Check(name="content", ok=False, detail=detail, hint="It was rewritten in transit: pull without a mirror.", evidence=evidence)


def platform(engine: Engine, remote: RemoteImage, pull: PullResult) -> Check:
    """The image, and of an index the one that was pulled, is for the engine's platform."""
    wanted = engine.info.platform
    evidence: dict[str, object] = {"engine": str(wanted), "image": list(remote.platforms)}
    if remote.image is None:
        detail = f"there is none for {wanted}: it has {', '.join(remote.platforms) or 'no platform'}"
        hint = f"Build it for {wanted}, too: docker buildx build --platform …"
        return Check(name="platform", ok=False, detail=detail, hint=hint, evidence=evidence)
    platform = remote.config.platform if remote.config else None
    evidence |= {"manifest": str(remote.image.digest), "config": str(platform) if platform else None}
    if platform is None:
        return Check(name="platform", ok=None, detail="the image does not say what it is for", evidence=evidence)
    kept = (pull.image.platform if pull.image else None) or platform
    foreign = next((each for each in (platform, kept) if not runs_on(each, wanted)), None)
    if foreign is not None:
        hint = f"Build it on such a machine, or: docker buildx build --platform {wanted} …"
        return Check(name="platform", ok=False, detail=f"it is for {foreign}, and the engine is {wanted}", hint=hint, evidence=evidence)
    chosen = f", the right one of {len(remote.platforms)}" if remote.root.kind == "index" else ""
    return Check(name="platform", ok=True, detail=f"{platform}{chosen}", evidence=evidence)


def runs_on(image: Platform, engine: Platform) -> bool:
    """Whether an image of one platform runs on an engine of another; any variant does on an engine that names none."""
    return image.fits(engine) if engine.variant else (image.os, image.architecture) == (engine.os, engine.architecture)


def _digests(remote: RemoteImage) -> set[Digest]:
    """Of the index and the image in it: engines keep either."""
    return {remote.digest, *((remote.image.digest,) if remote.image else ())}
