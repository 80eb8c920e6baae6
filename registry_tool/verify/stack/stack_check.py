"""The check ``stack``: an image's services together in an environment, and what happens when one of them fails.

``--with redis``, ``--replicas N`` and ``--stack FILE`` make the same plan (:mod:`registry_tool.verify.stack.plan`): networks of the
stack's own, one Redis, and N replicas of the app behind one port. Redis and the proxy run from helper images.
"""

from __future__ import annotations

import os
import time
from contextlib import closing, suppress

from registry_tool.base import units
from registry_tool.base.deadline import Deadline
from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import Conflict, EnvironmentUnavailable, RegistryToolError, VerificationFailed
from registry_tool.base.progress import SILENT, Observer
from registry_tool.base.signals import defer_signals
from registry_tool.engine import Engine, Image
from registry_tool.local.base_images import PROXY, Base, BaseImageResolver
from registry_tool.oci.reference import Reference
from registry_tool.verify.environments.environment import Environment
from registry_tool.verify.result import Check
from registry_tool.verify.spec import Exit, Http, Tcp, VerifySpec
from registry_tool.verify.stack.helper_images import ensure_helper_image
from registry_tool.verify.stack.plan import StackPlan, app_port, plan_stack
from registry_tool.verify.stack.resilience import Resilience
from registry_tool.verify.stack.running_stack import running_stack
from registry_tool.verify.stack.service_checks import ServiceChecks
from registry_tool.verify.stack.stack_client import HttpStackClient, StackClient, TcpStackClient

NAME = "stack"


def validate_stack(spec: VerifySpec) -> None:
    """Read the stack's definition before anything is started. Raises UsageError, NotFound."""
    plan_stack(spec, os.environ)


def check_stack(
    environment: Environment, spec: VerifySpec, *, image: str | None, current: Engine, dirs: AppDirs, observer: Observer = SILENT
) -> tuple[Check | None, dict[str, str]]:
    """Run the stack of ``image`` (None: it was not pulled); the check, None without a stack in ``spec``, and what was pulled.

    ``current`` provides the helper images. Every failure is in the check, but for those of the engine itself: EnvironmentUnavailable
    is raised. Raises UsageError, NotFound: see ``validate_stack``.
    """
    plan = plan_stack(spec, os.environ)
    if plan is None:
        return None, {}
    if image is None:
        return Check(name=NAME, ok=None, detail="not looked at: there is no image to start"), {}
    started = time.monotonic()
    run = _StackRun(environment, spec, image, plan, BaseImageResolver(current, dirs.cache, observer), observer)
    observer.start(NAME, "verifying the stack")
    failure: RegistryToolError | None = None
    detail = ""
    try:
        detail = run.run()
    except EnvironmentUnavailable:
        raise
    except RegistryToolError as error:
        failure = error
    finally:
        if not environment.info.clean:
            with defer_signals():
                run.remove_images()
    observer.finish(NAME, "stack" if failure is None else "stack: failed")
    check = Check(
        name=NAME,
        ok=failure is None,
        detail=detail if failure is None else failure.message,
        unchecked=tuple(run.unchecked),
        hint=failure.hint if failure is not None else None,
        excerpt=failure.excerpt if failure is not None else (),
        evidence=run.evidence,
        seconds=time.monotonic() - started,
    )
    return check, run.pulled


class _StackRun:
    def __init__(
        self, environment: Environment, spec: VerifySpec, name: str, plan: StackPlan, resolver: BaseImageResolver, observer: Observer
    ) -> None:
        self._environment, self._spec, self._name, self._plan = environment, spec, name, plan
        self._resolver, self._observer = resolver, observer
        self._added: list[str] = []
        """Images that the environment did not have before."""
        self._images: list[dict[str, object]] = []
        self.pulled: dict[str, str] = {}
        self.unchecked: list[str] = []
        self.evidence: dict[str, object] = {
            "images": self._images,
            "file": plan.file,
            "services": {service.name: service.replicas for service in plan.services},
            "replicas": plan.replicas,
        }

    def run(self) -> str:
        """Start the stack and try its faults; the check's detail. Raises RegistryToolError."""
        image = self._find_image()
        port = app_port(self._plan, self._spec, image.exposed)
        proxy_image = self._load(PROXY) if self._plan.replicas > 1 else None
        images = {service.name: self._provide(service.source) or image.id for service in self._plan.services}
        probe = self._probe(port)
        deadline = Deadline(self._spec.limits.seconds)
        services = ServiceChecks(
            timeout=self._spec.timeout,
            deadline=deadline,
            probes=self._spec.probes,
            exposed={name: self._exposed(image) for name, image in images.items()},
            evidence=self.evidence,
            unchecked=self.unchecked,
        )
        self.evidence["port"], self.evidence["proxied"] = port, proxy_image is not None
        with running_stack(
            self._environment,
            self._plan,
            images,
            port=port,
            http=isinstance(probe, Http),
            proxy_image=proxy_image,
            limits=self._spec.limits,
            probed={probe.container for probe in self._spec.probes if isinstance(probe, (Http, Tcp))},
            wait=services.wait,
        ) as stack:
            client: StackClient = HttpStackClient(stack.connect, probe) if isinstance(probe, Http) else TcpStackClient(stack.connect)
            with closing(client):
                resilience = Resilience(
                    stack=stack,
                    client=client,
                    services=services,
                    has_expectations=isinstance(probe, Tcp) or bool(probe.text or probe.json),
                    timeout=self._spec.timeout,
                    deadline=deadline,
                    evidence=self.evidence,
                )
                resilience.run()
        self.evidence["counter"] = resilience.counts
        self._add_unchecked(resilience)
        return "; ".join((units.count(self._plan.replicas, "replica"), *resilience.details))

    def _add_unchecked(self, resilience: Resilience) -> None:
        """Say which faults the stack was not exposed to, and why."""
        plan, unchecked = self._plan, self.unchecked
        redises = [service.name for service in plan.services if service.is_redis and service is not plan.app]
        if plan.redis is None and redises:
            unchecked.append(f"faults of {', '.join(redises)}: only one Redis with one container is stopped")
        elif plan.redis is not None and not resilience.counts:
            unchecked.append("visit numbers: the page has no line of visits")
            if not resilience.has_expectations:
                unchecked.append("Redis's faults: neither a line of visits nor a probe says what to expect then")
        others = [service.name for service in plan.services if service is not plan.app and not service.is_redis]
        if others:
            unchecked.append(f"faults of {', '.join(others)}: only a Redis is stopped")
        if plan.replicas == 1:
            unchecked.append("the death of a replica: there is one")
        unchecked += [
            f"the image {service.replaces}: {service.name} ran the helper image instead" for service in plan.services if service.replaces
        ]
        unchecked += [f"exit {probe}: a service does not end" for probe in self._spec.probes if isinstance(probe, Exit)]

    def remove_images(self) -> None:
        """Remove the images that were brought to an engine of somebody's."""
        for name in self._added:
            with suppress(Conflict):  # another run uses it
                self._environment.engine.remove_image(name, missing_ok=True)

    def _find_image(self) -> Image:
        image = self._environment.engine.image(self._name)
        if image is None:
            raise VerificationFailed(f"{self._name} is not on the engine any more", hint="Did something else remove it? Try again.")
        return image

    def _provide(self, source: Reference | Base | None) -> str | None:
        """Load or pull a service's image; what the engine calls it, None for the image under test."""
        if source is None or isinstance(source, Base):
            return None if source is None else self._load(source)
        self._environment.traffic(reset=True)
        name = self._environment.local_name(source)
        if self._environment.engine.image(name) is None:
            self._added.append(name)
        digest = self._environment.engine.pull(name, observer=self._observer).digest
        traffic = self._environment.traffic(reset=True)
        if digest is not None:
            self.pulled[str(source)] = str(digest)
        self._images.append({"role": "service", "reference": str(source), "digest": str(digest), "fetched": traffic and traffic.down})
        return name

    def _exposed(self, image: str) -> tuple[int, ...]:
        """TCP ports that an image on the engine exposes."""
        known = self._environment.engine.image(image)
        names = known.exposed if known is not None else ()
        return tuple(int(number) for number, _, kind in (name.partition("/") for name in names) if kind in ("", "tcp") and number.isdigit())

    def _load(self, base: Base) -> str:
        helper = ensure_helper_image(base, self._environment.engine, self._resolver)
        if helper.loaded:
            self._added.append(helper.name)
        self._images.append(helper.as_json())
        return helper.id

    def _probe(self, port: int) -> Http | Tcp:
        """The probe of the app's port: the first page of the specification, else a connection, else the page ``/``."""
        probes = [probe for probe in self._spec.probes if isinstance(probe, (Http, Tcp)) and probe.container == port]
        pages = [probe for probe in probes if isinstance(probe, Http)]
        return (*pages, *probes, Http(published=port, container=port))[0]
