"""The point "stack": an image's services on the engine of a place, together, and what happens when one of them fails.

``--with redis``, ``--replicas N`` and ``--stack FILE`` make the same plan (:mod:`registry_tool.verify.stack.plan`): networks of the
stack's own, one Redis, and N replicas of the app behind one port. Redis and the proxy run as helper images.
"""

from __future__ import annotations

import os
import time
from contextlib import closing, suppress

from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import Conflict, RegistryToolError, VerificationFailed
from registry_tool.base.progress import SILENT, Observer
from registry_tool.base.signals import defer_signals
from registry_tool.engine import Engine
from registry_tool.local.base_images import PROXY, Base, BaseImageResolver
from registry_tool.oci.reference import Reference
from registry_tool.verify.environments.environment import Environment
from registry_tool.verify.result import Check
from registry_tool.verify.spec import Http, Tcp, VerifySpec
from registry_tool.verify.stack.helper_images import HelperImage, ensure_helper_image
from registry_tool.verify.stack.plan import StackPlan, plan, port
from registry_tool.verify.stack.resilience import Resilience
from registry_tool.verify.stack.running_stack import running_stack
from registry_tool.verify.stack.stack_client import Connections, Pages, StackClient

NAME = "stack"


def check(asked: VerifySpec) -> None:
    """See that the stack that is asked for can be read, before anything is started. Raises UsageError, NotFound."""
    plan(asked, os.environ)


def prove_stack(
    place: Environment, asked: VerifySpec, *, image: str | None, present: Engine, dirs: AppDirs, observer: Observer = SILENT
) -> tuple[Check | None, dict[str, str]]:
    """Run the stack in ``place``, which calls the image ``image`` (None: it does not have it).

    Returns the check, None where no stack is in the spec, and what was pulled. ``present`` has, or brings, the helper images;
    ``dirs`` has a lock and their copies. Whatever fails is in the check.
    Raises what :func:`check` raises.
    """
    planned = plan(asked, os.environ)
    if planned is None:
        return None, {}
    if image is None:
        return Check(name=NAME, ok=None, detail="not looked at: there is no image to start"), {}
    begun = time.monotonic()
    proving = _Proving(place, asked, image, planned, BaseImageResolver(present, dirs.cache, observer), observer)
    observer.start(NAME, "proving the stack")
    failure: RegistryToolError | None = None
    detail = ""
    try:
        detail = proving.run()
    except RegistryToolError as error:
        failure = error
    finally:
        if not place.info.clean:
            with defer_signals():
                proving.give_back()
    observer.finish(NAME, "stack" if failure is None else "stack: failed")
    point = Check(
        name=NAME,
        ok=failure is None,
        detail=detail if failure is None else failure.message,
        hint=failure.hint if failure is not None else None,
        excerpt=failure.excerpt if failure is not None else (),
        evidence=proving.evidence,
        seconds=time.monotonic() - begun,
    )
    return point, proving.pulled


class _Proving:
    def __init__(
        self, place: Environment, asked: VerifySpec, image: str, planned: StackPlan, resolver: BaseImageResolver, observer: Observer
    ) -> None:
        self._place = place
        self._asked = asked
        self._name = image
        self._plan = planned
        self._resolver = resolver
        self._observer = observer
        self._fetched: list[str] = []
        """What the place did not have before."""
        self.pulled: dict[str, str] = {}
        self._images: list[dict[str, object]] = []
        self.evidence: dict[str, object] = {
            "images": self._images,
            "file": planned.file,
            "services": {part.service.name: part.service.replicas for part in planned.parts},
            "replicas": planned.replicas,
        }

    def run(self) -> str:
        """Do all of it; what was seen, in words. Raises RegistryToolError."""
        image = self._image()
        inside = port(self._plan, self._asked, image[1])
        proxied = self._helper(PROXY).id if self._plan.replicas > 1 else None
        images = {part.service.name: self._brought(part.source) or image[0] for part in self._plan.parts}
        page = self._page(inside)
        self.evidence["port"], self.evidence["proxied"] = inside, proxied is not None
        with running_stack(
            self._place, self._plan, images, port=inside, http=page is not None, proxied=proxied, limits=self._asked.limits
        ) as stack:
            looks: StackClient = Pages(stack.connect, page) if page is not None else Connections(stack.connect)
            with closing(looks):
                until = time.monotonic() + self._asked.limits.seconds
                faults = Resilience(stack=stack, looks=looks, timeout=self._asked.timeout, until=until, evidence=self.evidence)
                faults.run()
        self.evidence["counter"] = faults.counts
        if not faults.counts and self._plan.redis is not None:
            faults.said.append("no line of visits, so neither numbers nor Redis's faults were looked at")
        return f"{self._plan.replicas} replica{'s' if self._plan.replicas > 1 else ''}; {'; '.join(faults.said)}"

    def give_back(self) -> None:
        """Take away the images that were brought to somebody's engine."""
        for name in self._fetched:
            with suppress(Conflict):  # another run uses it
                self._place.engine.remove_image(name, missing_ok=True)

    def _image(self) -> tuple[str, tuple[str, ...]]:
        """The id of the image under proof, and what it exposes."""
        image = self._place.engine.image(self._name)
        if image is None:
            raise VerificationFailed(f"{self._name} is not on the engine any more", hint="Did something else remove it? Prove it again.")
        return image.id, image.exposed

    def _brought(self, source: Reference | Base | None) -> str | None:
        if source is None:
            return None
        if isinstance(source, Base):
            return self._helper(source).id
        self._place.traffic(reset=True)
        name = self._place.named(source)
        if self._place.engine.image(name) is None:
            self._fetched.append(name)
        moved = self._place.engine.pull(name, observer=self._observer)
        traffic = self._place.traffic(reset=True)
        if moved.digest is not None:
            self.pulled[str(source)] = str(moved.digest)
        self._images.append({"role": "service", "reference": str(source), "digest": str(moved.digest), "fetched": traffic and traffic.down})
        return name

    def _helper(self, base: Base) -> HelperImage:
        helper = ensure_helper_image(base, self._place.engine, self._resolver)
        if helper.loaded:
            self._fetched.append(helper.name)
        self._images.append(helper.as_json())
        return helper

    def _page(self, inside: int) -> Http | None:
        """The page to look at; None where only a connection was asked for."""
        probes = [probe for probe in self._asked.probes if isinstance(probe, (Http, Tcp)) and probe.container == inside]
        pages = [probe for probe in probes if isinstance(probe, Http)]
        if pages:
            return pages[0]
        return None if probes else Http(published=inside, container=inside)
