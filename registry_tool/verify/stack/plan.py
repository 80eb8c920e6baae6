"""What a stack is made of, before anything is started: from ``--with``, ``--replicas`` or a compose file, one and the same thing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from registry_tool.base.errors import InvalidReference, UsageError, VerificationFailed
from registry_tool.local.base_images import REDIS, Base
from registry_tool.oci.reference import DOCKER_HUB, Reference, has_host
from registry_tool.verify.spec import Http, Tcp, VerifySpec
from registry_tool.verify.stack import compose
from registry_tool.verify.stack.compose import DEFAULT_NETWORK, Composition, Service
from registry_tool.verify.stack.yaml_reader import at_line

REDIS_COMMAND = ("redis-server", "--appendonly", "yes")
"""As in the tutorial: what was counted is there again when it was stopped and started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackService:
    """One service and where its image comes from: the image under proof, lent by us, or the registry."""

    service: Service
    source: Reference | Base | None
    """None: the image under proof."""

    @property
    def is_redis(self) -> bool:
        """Whether its image is called redis."""
        if isinstance(self.source, Reference):
            return _last(self.source) == "redis"
        return self.source is REDIS


@dataclass(frozen=True, slots=True, kw_only=True)
class StackPlan:
    """``parts`` in the order in which they are started; ``app`` is the one that is looked at; ``file`` None: made of options."""

    parts: tuple[StackService, ...]
    app: StackService
    networks: tuple[str, ...]
    file: str | None = None

    @property
    def redis(self) -> StackService | None:
        """The one Redis; None where there is none, or more than one."""
        found = [part for part in self.parts if part.is_redis and part is not self.app and part.service.replicas == 1]
        return found[0] if len(found) == 1 else None

    @property
    def replicas(self) -> int:
        """Number of replicas of the app."""
        return self.app.service.replicas


def plan(asked: VerifySpec, variables: Mapping[str, str]) -> StackPlan | None:
    """The stack that was asked for, None where none was. ``variables`` fill in ``${NAME}`` of a file.

    Raises UsageError, for a file with the line; NotFound where it cannot be read.
    """
    if asked.stack is None:
        return _of(_from_options(asked), asked) if asked.redis or asked.replicas > 1 else None
    if asked.redis or asked.replicas > 1:
        raise UsageError(
            "--stack says which services there are, and how many of each", hint="Leave away --with and --replicas, or write them there."
        )
    return _of(compose.load(asked.stack, variables), asked)


def port(plan: StackPlan, asked: VerifySpec, exposed: tuple[str, ...]) -> int:
    """The port inside that the app is looked at on: a probe's, the file's, the image's (``exposed``: ``80/tcp``). Raises ProofFailed."""
    probed = [probe.container for probe in asked.probes if isinstance(probe, (Http, Tcp))]
    published = [inside for _, inside in plan.app.service.ports]
    said = [int(name.partition("/")[0]) for name in exposed if name.endswith("/tcp")]
    for found in (*probed, *published, *said):
        return found
    raise VerificationFailed("nothing says on which port the image listens", hint="Say it: --http 4000:80 or --tcp 6379:6379")


def _from_options(asked: VerifySpec) -> Composition:
    redis = Service(name="redis", image=REDIS.official, line=0, command=REDIS_COMMAND)
    app = Service(name="app", image=str(asked.image), line=0, replicas=asked.replicas)
    return Composition(file="", services=(redis, app) if asked.redis else (app,), networks=(DEFAULT_NETWORK,))


def _of(composition: Composition, asked: VerifySpec) -> StackPlan:
    parts = tuple(StackService(service=service, source=_source(service, composition.file, asked)) for service in composition.services)
    apps = [part for part in parts if part.source is None]
    if not apps:
        raise UsageError(f"{composition.file} has no service of {asked.image}", hint="The image under proof is one of a stack's services.")
    app = next((part for part in apps if part.service.ports), apps[0])
    # What was said for the proof comes before what a file says.
    environment = {**app.service.environment, **asked.environment}
    fitted = replace(app, service=replace(app.service, environment=environment))
    return StackPlan(
        parts=tuple(fitted if part is app else part for part in parts),
        app=fitted,
        networks=composition.networks,
        file=composition.file or None,
    )


def _source(service: Service, file: str, asked: VerifySpec) -> Reference | Base | None:
    try:
        reference = Reference.parse(service.image, default_host=asked.image.host).or_latest()
    except InvalidReference as error:
        raise at_line(file, service.line, f"services.{service.name}.image: {error.message}", hint=error.hint) from error
    if _is_asked(reference, asked.image):
        return None
    official = not has_host(service.image) or reference.host == DOCKER_HUB
    if official and reference.path.removeprefix("library/") == "redis":
        return REDIS
    if reference.host == asked.image.host and has_host(service.image):
        return reference
    raise at_line(
        file,
        service.line,
        f"services.{service.name}.image: {service.image[:80]} is not in {asked.image.host}, and nothing else can be reached in a proof",
        hint=f"Push it there, and write {asked.image.host}/{reference.path.removeprefix('library/')}:{reference.tag or 'latest'}",
    )


def _is_asked(reference: Reference, image: Reference) -> bool:
    if (reference.host, reference.path) != (image.host, image.path):
        return False
    return reference.tag == image.tag if image.tag else reference.digest in (None, image.digest)


def _last(reference: Reference) -> str:
    return reference.path.rpartition("/")[2]
