"""What must hold of each service of a running stack: it runs, listens where it says, and its health check succeeds.

The app's replicas are also probed one by one, as the lone container is. What nothing says how to look at is in ``unchecked``.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.errors import VerificationFailed
from registry_tool.engine import Container
from registry_tool.verify.probing import listening
from registry_tool.verify.probing.listening import Listening
from registry_tool.verify.probing.probes import PAUSE, ProbeTarget, has_ended, open_ports, run_probes
from registry_tool.verify.spec import Exec, Health, Http, Log, Probe, Tcp
from registry_tool.verify.stack.compose import HEALTHY
from registry_tool.verify.stack.plan import StackService
from registry_tool.verify.stack.running_stack import LAST_LINES, RunningStack, StackContainer

_PAUSE = 0.05
_SETTLES = 1.0  # seconds until a port counts as closed on which it need not listen
_LOG_HINT = "Its last lines may say why."
_JOB_HINT = "A service that is to end is one that another waits for: depends_on, condition: service_completed_successfully."


@dataclass(kw_only=True)
class ServiceChecks:
    """``probes`` are those of the app's replicas, ``exposed`` what a service's image exposes; ``timeout`` is in seconds."""

    timeout: float
    deadline: Deadline
    probes: Sequence[Probe] = ()
    exposed: Mapping[str, Sequence[int]] = field(default_factory=dict)
    evidence: dict[str, object] = field(default_factory=dict)
    unchecked: list[str] = field(default_factory=list)

    def wait(self, stack: RunningStack, service: StackService) -> None:
        """Wait for what ``service`` depends on. Raises VerificationFailed."""
        for name, condition in service.definition.conditions.items():
            for member_name, member in _of(stack, name):
                if condition == HEALTHY:
                    if not _health_command(member):
                        message = f"{service.name} waits until {name} is healthy, and nothing says when it is"
                        raise VerificationFailed(message, hint=f"Give {name} a healthcheck.")
                    self._probe(stack, member_name, member, (Health(command=_health_command(member)),))
                else:
                    self._wait_for_end(stack, member_name, member)

    def check(self, stack: RunningStack) -> None:
        """Check every service once. Raises VerificationFailed."""
        self.check_running(stack, "after the start")
        checked: dict[str, object] = {}
        for name, member in stack.members.items():
            if member.service.name in stack.plan.jobs:
                checked[name] = {"ended": 0}
                continue
            checked[name] = self._check_member(stack, name, member)
        self.evidence["checked"] = checked

    def check_running(self, stack: RunningStack, when: str, *, killed: Collection[str] = ()) -> None:
        """Every container but those that were ``killed`` runs; one that is to end may have. Raises VerificationFailed."""
        for name, member in stack.members.items():
            if name in killed:
                continue
            container = stack.environment.engine.container(member.container.id)
            code = container.exit_code if container is not None else None
            is_job = member.service.name in stack.plan.jobs
            if container is not None and (container.running or (is_job and code == 0)):
                continue
            state = "is gone" if container is None else f"ended with code {code}" if code is not None else f"is {container.state}"
            raise _failed(stack, member, f"{when}: {name} {state}", _JOB_HINT if code == 0 else _LOG_HINT)

    def check_health(self, stack: RunningStack, *, killed: Collection[str] = ()) -> None:
        """Every container that has a health check is healthy (again). Raises VerificationFailed."""
        for name, member in stack.members.items():
            command = _health_command(member)
            if command and name not in killed and member.service.name not in stack.plan.jobs:
                self._probe(stack, name, member, (Health(command=command),))

    def _check_member(self, stack: RunningStack, name: str, member: StackContainer) -> dict[str, object]:
        command, definition = _health_command(member), member.service.definition
        is_app = name in stack.replicas
        probes = tuple(probe for probe in self.probes if isinstance(probe, (Http, Tcp, Exec, Log))) if is_app else ()
        self._probe(stack, name, member, (*probes, *((Health(command=command),) if command else ())))
        probed = {probe.container for probe in probes if isinstance(probe, (Http, Tcp))}
        declared = {*(inside for _, inside in definition.ports), *definition.expose, *probed}
        # With a command of the file's own it may be another program than the one that the image exposes ports for.
        own_command = bool(definition.command or definition.entrypoint)
        exposed = set(self.exposed.get(member.service.name, ()))
        strict = is_app and not own_command
        wanted, maybe = (declared | exposed, set[int]()) if strict else (declared, exposed - declared)
        # Images of others expose ports that want settings: one that is open is enough.
        listens = self._check_listening(stack, name, member, wanted, maybe, one=not own_command and not declared)
        if not (probes or command or listens or is_app):
            self._add_unchecked(f"{member.service.name}: it runs; no port and no health check says more")
        return {"probes": len(probes), "health": list(command), "listening": sorted(listens)}

    def _check_listening(
        self, stack: RunningStack, name: str, member: StackContainer, wanted: Collection[int], maybe: Collection[int], *, one: bool
    ) -> Collection[int]:
        """The ports where it listens: all of ``wanted``, and with ``one`` at least one of ``maybe``. Raises VerificationFailed."""
        if not wanted and not maybe:
            return ()
        until, settled = self.deadline.within(self.timeout), self.deadline.within(_SETTLES)
        while True:
            seen = self._listening(stack, member, {*wanted, *maybe})
            if seen is None:
                self.check_running(stack, "while it was looked at")
                self._add_unchecked(f"{member.service.name}: whether it listens on {_ports({*wanted, *maybe})}: no program in it says")
                return ()
            missing, closed = set(wanted) - seen.reachable, set(maybe) - seen.reachable
            if one and closed == set(maybe):
                missing |= closed
            if not missing and (not closed or settled.passed):
                if closed:
                    self._add_unchecked(f"{member.service.name}: {_ports(closed)} of its image, where nothing listens")
                return {*wanted, *maybe} & seen.reachable
            if until.passed:
                message = f"{name} does not listen on {_ports(missing)}: {seen}"
                raise _failed(stack, member, message, "It should listen on 0.0.0.0, on the ports of ports, expose and EXPOSE.")
            time.sleep(_PAUSE)

    def _listening(self, stack: RunningStack, member: StackContainer, ports: Collection[int]) -> Listening | None:
        """Where it listens now, of ``ports`` at least; None where no program in it says, and not all can be connected to."""
        container = stack.environment.engine.container(member.container.id)
        if container is None or has_ended(container):
            return None
        if seen := listening.read(stack.environment.engine, container.id):
            return seen
        opened = open_ports(_target(stack, member, {}), container, ports, timeout=Deadline(0), inspect=lambda: container)
        reachable = frozenset(port for port, is_open in opened.items() if is_open)
        return Listening(reachable=reachable, loopback=frozenset()) if set(ports) <= set(opened) else None

    def _probe(self, stack: RunningStack, name: str, member: StackContainer, probes: Sequence[Probe]) -> None:
        """Raises VerificationFailed where one of ``probes`` does not hold in time."""
        if not probes:
            return
        container = stack.environment.engine.container(member.container.id)
        bound = {binding.container_port: binding.host_port for binding in container.ports} if container is not None else {}
        ports = {
            probe.published: bound[f"{probe.container}/tcp"]
            for probe in probes
            if isinstance(probe, (Http, Tcp)) and f"{probe.container}/tcp" in bound
        }
        target = _target(stack, member, ports)
        healthcheck = member.service.definition.healthcheck
        timeout = self.deadline.within(max(self.timeout, healthcheck.start_period if healthcheck else 0.0))

        def inspect() -> Container | None:
            return stack.environment.engine.container(member.container.id)

        for result in run_probes(target, probes, timeout=timeout, inspect=inspect):
            if not result.ok:
                self.check_running(stack, "while it was looked at")
                what = "its health check" if isinstance(result.probe, Health) else f"{result.kind} {result.probe}"
                hint = f"{_LOG_HINT[:-1]}; --timeout gives it longer."
                raise _failed(stack, member, f"{name}: {what}: {result.observed}", hint)

    def _wait_for_end(self, stack: RunningStack, name: str, member: StackContainer) -> None:
        engine, until = stack.environment.engine, self.deadline.within(self.timeout)
        if not poll(lambda: has_ended(engine.container(member.container.id)), until, pause=PAUSE):
            raise _failed(stack, member, f"{name} did not end within {self.timeout:g} s, and another waits for that", _LOG_HINT)
        self.check_running(stack, "at the start")

    def _add_unchecked(self, text: str) -> None:
        if text not in self.unchecked:
            self.unchecked.append(text)


def _target(stack: RunningStack, member: StackContainer, ports: Mapping[int, int]) -> ProbeTarget:
    return ProbeTarget(environment=stack.environment, container=member.container.id, ports=ports, log=2 * stack.limits.log)


def _of(stack: RunningStack, service: str) -> list[tuple[str, StackContainer]]:
    return [(name, member) for name, member in stack.members.items() if member.service.name == service]


def _health_command(member: StackContainer) -> tuple[str, ...]:
    """The health check of the file, or of the image."""
    healthcheck = member.service.definition.healthcheck
    return member.container.health_command if healthcheck is None else healthcheck.command


def _ports(ports: Collection[int]) -> str:
    return ", ".join(f"{port}/tcp" for port in sorted(ports))


def _failed(stack: RunningStack, member: StackContainer, message: str, hint: str) -> VerificationFailed:
    return VerificationFailed(message, hint=hint, excerpt=stack.environment.engine.log_tail(member.container.id, LAST_LINES))
