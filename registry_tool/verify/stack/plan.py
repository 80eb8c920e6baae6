"""Plan of a stack before anything is started, made of ``--with`` and ``--replicas`` or of a compose file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from registry_tool.base.errors import InvalidReference, UsageError, VerificationFailed
from registry_tool.base.yaml_reader import at_line
from registry_tool.local.base_images import REDIS, Base
from registry_tool.oci.reference import DOCKER_HUB, Reference, has_host
from registry_tool.verify.spec import Http, Tcp, VerifySpec
from registry_tool.verify.stack import compose
from registry_tool.verify.stack.compose import COMPLETED, DEFAULT_NETWORK, Composition, Service

REDIS_COMMAND = ("redis-server", "--appendonly", "yes")  # as in the tutorial: counting goes on after a stop


@dataclass(frozen=True, slots=True, kw_only=True)
class StackService:
    """One service and the source of its image: None for the image under test, a helper image, or the registry."""

    definition: Service
    source: Reference | Base | None

    @property
    def name(self) -> str:
        """The service's name, by which others reach it."""
        return self.definition.name

    @property
    def replicas(self) -> int:
        """The number of its containers."""
        return self.definition.replicas

    @property
    def replaces(self) -> str | None:
        """The image as it is written, where a helper image of another tag runs in its place."""
        if not isinstance(self.source, Base) or self.definition.image in self.source.names:
            return None
        return self.definition.image

    @property
    def is_redis(self) -> bool:
        """Whether its image is a Redis."""
        if isinstance(self.source, Reference):
            return self.source.path.rpartition("/")[2] == "redis"
        return self.source is REDIS


@dataclass(frozen=True, slots=True, kw_only=True)
class StackPlan:
    """``services`` in the order of their start; ``app`` is the one that is probed; ``file`` is None for a plan made of options."""

    services: tuple[StackService, ...]
    app: StackService
    networks: tuple[str, ...]
    file: str | None = None

    @property
    def redis(self) -> StackService | None:
        """The one Redis; None where there is none, or more than one."""
        candidates = [service for service in self.services if service.is_redis and service is not self.app and service.replicas == 1]
        return candidates[0] if len(candidates) == 1 else None

    @property
    def replicas(self) -> int:
        """The number of the app's containers."""
        return self.app.replicas

    @property
    def jobs(self) -> frozenset[str]:
        """Services that are to end, with exit code 0: others wait for that."""
        conditions = (condition for service in self.services for condition in service.definition.conditions.items())
        return frozenset(name for name, condition in conditions if condition == COMPLETED)


def plan_stack(spec: VerifySpec, variables: Mapping[str, str]) -> StackPlan | None:
    """The plan of the stack in ``spec``, if any; ``variables`` fill in ``${NAME}``. Raises UsageError (with the line), NotFound."""
    if spec.stack is None:
        return _plan(_from_options(spec), spec) if spec.redis or spec.replicas > 1 else None
    if spec.redis or spec.replicas > 1:
        raise UsageError(
            "--stack says which services there are, and how many of each", hint="Omit --with and --replicas, or write them there."
        )
    return _plan(compose.load(spec.stack, variables), spec)


def app_port(plan: StackPlan, spec: VerifySpec, exposed: tuple[str, ...]) -> int:
    """The app's port: of a page's probe, another probe's, the file's, the image's (``exposed``: ``80/tcp``). Raises VerificationFailed."""
    probed = [probe.container for kind in (Http, Tcp) for probe in spec.probes if isinstance(probe, kind)]
    published = [inside for _, inside in plan.app.definition.ports]
    image_ports = [int(name.partition("/")[0]) for name in exposed if name.endswith("/tcp")]
    for port in (*probed, *published, *image_ports):
        return port
    raise VerificationFailed("nothing says on which port the image listens", hint="Give it: --http 4000:80 or --tcp 6379:6379")


def _from_options(spec: VerifySpec) -> Composition:
    redis = Service(name="redis", image=REDIS.official, line=0, command=REDIS_COMMAND)
    app = Service(name="app", image=str(spec.image), line=0, replicas=spec.replicas)
    return Composition(file="", services=(redis, app) if spec.redis else (app,), networks=(DEFAULT_NETWORK,))


def _plan(composition: Composition, spec: VerifySpec) -> StackPlan:
    services = tuple(StackService(definition=one, source=_source(one, composition.file, spec)) for one in composition.services)
    apps = [service for service in services if service.source is None]
    if not apps:
        raise UsageError(
            f"{composition.file} has no service of {spec.image}", hint="The image to verify must be one of the stack's services."
        )
    declared = next((service for service in apps if service.definition.ports), apps[0])
    # Options come before the file.
    environment = {**declared.definition.environment, **spec.environment}
    app = replace(declared, definition=replace(declared.definition, environment=environment))
    return StackPlan(
        services=tuple(app if service is declared else service for service in services),
        app=app,
        networks=composition.networks,
        file=composition.file or None,
    )


def _source(service: Service, file: str, spec: VerifySpec) -> Reference | Base | None:
    try:
        reference = Reference.parse(service.image, default_host=spec.image.host).or_latest()
    except InvalidReference as error:
        raise at_line(file, service.line, f"services.{service.name}.image: {error.message}", hint=error.hint) from error
    if _is_under_test(reference, spec.image):
        return None
    official = not has_host(service.image) or reference.host == DOCKER_HUB
    if official and reference.path.removeprefix("library/") == "redis":
        return REDIS
    if reference.host == spec.image.host and has_host(service.image):
        return reference
    raise at_line(
        file,
        service.line,
        f"services.{service.name}.image: {service.image[:80]} is not in {spec.image.host}, and no other registry can be reached",
        hint=f"Push it there, and write {spec.image.host}/{reference.path.removeprefix('library/')}:{reference.tag or 'latest'}",
    )


def _is_under_test(reference: Reference, image: Reference) -> bool:
    if (reference.host, reference.path) != (image.host, image.path):
        return False
    return reference.tag == image.tag if image.tag else reference.digest in (None, image.digest)
