"""Images that help an image under proof (Redis, the proxy), lent to the engine that it is proven on.

They go the same way as the image itself, through the registry, and after it: the present engine pushes them under a name that
nobody else uses, the other one pulls them, and the registry is given back as it was. What is read over and above the image is
counted apart.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from registry_tool.base import files
from registry_tool.base.dirs import owner_id
from registry_tool.base.errors import NotFound, RegistryToolError
from registry_tool.base.progress import SILENT, Observer
from registry_tool.base.signals import defer_signals
from registry_tool.engine import Engine
from registry_tool.local.base_images import Base, BaseImage, BaseImageResolver
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import LENT, Reference
from registry_tool.targets.registry import open_registry
from registry_tool.verify.environments.environment import Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class HelperImage:
    """``image`` is what it is called on the engine it was lent to, and ``id`` what it is there, whoever takes that name away.

    ``reference`` and ``digest`` are None where it was there already.
    ``fetched`` is bytes from the registry, None where nobody counts. ``left`` says why the registry still has it; None: it has not.
    """

    role: str
    image: str
    id: str
    source: str
    """``engine``, ``docker.io`` or ``packages``: where the present engine has it from."""
    reference: str | None = None
    digest: Digest | None = None
    fetched: int | None = None
    left: str | None = None

    def as_json(self) -> dict[str, object]:
        return {
            "role": self.role,
            "source": self.source,
            "reference": self.reference,
            "digest": None if self.digest is None else str(self.digest),
            "fetched": self.fetched,
            "left_in_registry": self.left,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class HelperImages:
    """Lends what ``present`` has, or can have, through the registry at ``host``. ``state`` has the lock, ``cache`` copies of images."""

    present: Engine
    host: str
    state: Path
    cache: Path
    observer: Observer = SILENT

    def lend(self, base: Base, place: Environment) -> HelperImage:
        """Bring ``base`` to ``place``. Raises ProvisionFailed, and what pushing and pulling raise."""
        provisioned = BaseImageResolver(self.present, self.cache, self.observer).ensure(base)
        if place.where.kind == "here":
            return HelperImage(role=base.role, image=provisioned.name, id=provisioned.id, source=provisioned.source)
        version = hashlib.sha256(provisioned.id.encode()).hexdigest()[:12]
        reference = Reference(host=self.host, path=f"{LENT}{base.role}", tag=f"{owner_id(self.state)}-{version}")
        waiting = "another proof is lending an image; waiting for it"
        # One at a time: what one of them pushed, another must not take away before it was pulled.
        with files.lock(_lock(self.state), waiting=lambda: self.observer.note(waiting)):
            try:
                return self._lend(provisioned, reference, place)
            except NotFound:
                # Somebody else on this machine, who has a lock of their own, lent the same and took it away.
                return self._lend(provisioned, reference, place)

    def _lend(self, provisioned: BaseImage, reference: Reference, place: Environment) -> HelperImage:
        digest = self._push(provisioned.name, reference)
        try:
            name = place.named(reference.with_digest(digest))
            place.traffic(reset=True)
            place.engine.pull(name, observer=self.observer)
            traffic = place.traffic(reset=True)
            brought = place.engine.image(name)
            if brought is None:
                raise NotFound(f"{name} was pulled, and is not on the engine any more")
        finally:
            with defer_signals():
                left = self._give_back(reference, digest)
        return HelperImage(
            role=provisioned.role,
            image=name,
            id=brought.id,
            source=provisioned.source,
            reference=str(reference),
            digest=digest,
            fetched=None if traffic is None else traffic.down,
            left=left,
        )

    def _push(self, image: str, reference: Reference) -> Digest:
        _sweep(self.present, self.state)
        name = str(reference)
        try:
            with defer_signals():
                self.present.tag(image, name)
            moved = self.present.push(name, observer=self.observer)
        finally:
            with defer_signals():
                _sweep(self.present, self.state)
        if moved.digest is None:
            raise NotFound(f"the engine pushed {name} and says no digest")
        return moved.digest

    def _give_back(self, reference: Reference, digest: Digest) -> str | None:
        """Take the image out of the registry; why it stays, where it does. Its layers are the next collection's."""
        try:
            with open_registry(self.host) as registry:
                repository = registry.repository(reference.path)
                if not repository.can_delete():
                    return f"{self.host} deletes nothing"
                repository.delete(repository.resolve(str(digest)))
        except NotFound:
            return None
        except RegistryToolError as error:
            self.observer.note(f"{reference} stays in the registry: {error.message}")
            return error.message
        return None


def sweep(engine: Engine, state: Path) -> None:
    """Take away the names under which a run that was killed pushed what it lent; nothing where a living one has the lock."""
    if not files.is_locked(_lock(state)):
        _sweep(engine, state)


def _sweep(engine: Engine, state: Path) -> None:
    # Another owner's names may be a living proof's, whose lock is not seen here. What was lent to this very engine (a context
    # may mean it) has a digest and no tag in its repository, and stays.
    mine = f":{owner_id(state)}-"
    for image in engine.images():
        for tag in [name for name in image.names if f"/{LENT}" in name and mine in name]:
            pushed = [name for name in image.digests if name.partition("@")[0] == tag.rpartition(":")[0]]
            for name in (tag, *pushed):
                engine.remove_image(name, missing_ok=True)  # a digest goes with the last tag beside it


def _lock(state: Path) -> Path:
    return state / "proofs" / "lent.lock"
