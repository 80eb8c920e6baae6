"""The checks of a container run. Each failure is reported by one check, where it began."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace

from registry_tool.base import units
from registry_tool.base.codec import to_json
from registry_tool.verify.checks import hints
from registry_tool.verify.checks.container_run import IDLE, ContainerRun
from registry_tool.verify.checks.pull_checks import skipped
from registry_tool.verify.probing.probes import ProbeResult
from registry_tool.verify.result import Check
from registry_tool.verify.spec import Health, Http, Tcp

_KILLED = 128 + 9  # exit code after SIGKILL; not every engine reports that it was for memory
_KILL = ("SIGKILL", "KILL", "9")
_DISK_HINT = "Store its data in a volume, or raise the limit of disk space."
_STOP_HINT = "Process 1 gets no signal that it does not handle: handle it, or begin the shell script's last line with exec."


def starts(run: ContainerRun, *, fits: bool) -> Check:
    """It runs until it is stopped, or ends by itself where nothing says that it should not. ``fits``: the image is for the platform."""
    evidence = _start_evidence(run)
    problem = hint = None
    if run.start_error is not None:
        problem, hint = run.start_error.message, run.program_hint
    elif run.disk_exceeded or _out_of_memory(run) or (run.ended_early and not _may_end(run)):
        problem, hint = _early_end(run)
        hint = run.program_hint or hint
    if problem is None:
        detail = f"as {evidence['user']}: {evidence['command']}"
        unchecked = () if run.probes else (f"what it does: no probe, no EXPOSE and no HEALTHCHECK says; it was watched for {IDLE:g} s",)
        return Check(name="starts", ok=True, detail=detail, unchecked=unchecked, evidence=evidence, seconds=run.start_seconds)
    if not fits:
        # The check of the platform has failed already.
        return Check(name="starts", ok=None, detail=f"it does not, as it is for another platform: {problem}", evidence=evidence)
    return _failed(run, "starts", problem, hint or "See its log.", evidence, run.start_seconds)


def listens(run: ContainerRun) -> Check:
    """It listens on each TCP port that it exposes, where others reach it."""
    ports = run.exposed
    unchecked = tuple(f"{port}: only single TCP ports are looked at" for port in run.other_exposed)
    if not ports:
        return Check(name="listens", ok=None, detail="it says of no TCP port that it listens there (EXPOSE)", unchecked=unchecked)
    if run.ended_early:
        return skipped("listens", "it is not running any more")
    listening = run.listening
    evidence: dict[str, object] = {"exposed": list(ports), "seen_by": "/proc/net/tcp" if listening else "connections"}
    if listening is not None:
        evidence |= {"listening": sorted(listening.reachable), "loopback": sorted(listening.loopback)}
        loopback = sorted(set(ports) & listening.loopback)
        missing = sorted(set(ports) - listening.reachable - listening.loopback)
        note = f"; {listening}"
    else:
        loopback, note = [], " (seen by connecting: there is no program in it that could tell)"
        missing = sorted(port for port in ports if not run.connects.get(port, False))
    if loopback:
        detail = (
            f"{_ports(loopback)} {'is' if len(loopback) == 1 else 'are'} open on its loopback only, which is not reachable from outside"
        )
        hint = "Make it listen on 0.0.0.0, not on 127.0.0.1 or localhost."
        return _failed(run, "listens", detail, hint, evidence, run.listen_seconds)
    if missing:
        detail = f"nothing listens on {_ports(missing)}, which it exposes{note}"
        hint = "Let EXPOSE and what the program listens on be the same port."
        return _failed(run, "listens", detail, hint, evidence, run.listen_seconds)
    detail = f"{_ports(ports)}{'' if listening else note}"
    return Check(name="listens", ok=True, detail=detail, unchecked=unchecked, evidence=evidence, seconds=run.listen_seconds)


def probes(run: ContainerRun, listens: Check, starts: Check) -> Check:
    """All probes hold. One that fails because nothing listens, or because the container has ended, is that check's failure."""
    if not run.probe_results:
        return Check(name="probes", ok=None, detail="there are no probes")
    closed = set(run.exposed) - (run.listening.reachable if run.listening else set()) if listens.ok is False else set()
    results = [_own_failure(_confirmed(result, run), closed, starts) for result in run.probe_results]
    evidence: dict[str, object] = {"probes": to_json(results)}
    command = run.container.health_command if run.container else ()
    unchecked = ("the image's health check: the program is to end",) if command and run.may_exit else ()
    failed = [result for result in results if result.ok is False]
    if failed:
        hint = hints.for_log(run.excerpt) or _probe_hint(failed[0], run)
        return _failed(run, "probes", "; ".join(map(_probe_detail, failed)), hint, evidence, run.probe_seconds)
    unknown = next((result for result in results if result.ok is None), None)
    detail = "; ".join(map(_probe_detail, results)) if unknown is None else f"undecided: {_probe_detail(unknown)}"
    ok = None if unknown else True
    return Check(name="probes", ok=ok, detail=detail, unchecked=unchecked, evidence=evidence, seconds=run.probe_seconds)


def _probe_detail(result: ProbeResult) -> str:
    return f"{result.kind} {result.probe}: {result.observed}"


def _probe_hint(result: ProbeResult, run: ContainerRun) -> str:
    probe = result.probe
    if isinstance(probe, Http):
        ports, page = f"{probe.published}:{probe.container}", f"http://localhost:{probe.published}{probe.path}"
        return f"Request the page as the probe does: regctl run -d -p {ports} {run.spec.image}, then: curl {shlex.quote(page)}"
    if isinstance(probe, Tcp):
        return f"Does it listen on port {probe.container}, and on 0.0.0.0?"
    return _PROBE_HINTS[result.kind]


_PROBE_HINTS = {
    "exec": "Is the command in the image, and right?",
    "health": "Run it as the engine does: regctl exec NAME, then the command of HEALTHCHECK. --timeout gives it longer.",
    "log": "Its last lines are below.",
    "exit": "Its last lines are below.",
}


def _confirmed(result: ProbeResult, run: ContainerRun) -> ProbeResult:
    """``result``, no success where an engine took the connection and nothing listens inside."""
    if not (result.ok and isinstance(result.probe, Tcp)):
        return result
    if run.listening is None:
        open_inside, note = run.connects.get(result.probe.container, True), "no connection stays open"
    else:
        open_inside, note = result.probe.container in run.listening.reachable, str(run.listening)
    if open_inside:
        return result
    return replace(result, ok=False, observed=f"the engine takes connections, and nothing listens in the container: {note}")


def _own_failure(result: ProbeResult, closed: set[int], starts: Check) -> ProbeResult:
    """``result``, no failure where it follows from that of another check. ``closed`` are ports on which nothing listens."""
    if result.ok is None and starts.ok:
        return replace(result, ok=False, observed=f"it had ended already ({result.observed})")
    follows = isinstance(result.probe, (Http, Tcp)) and result.probe.container in closed
    return replace(result, ok=None) if result.ok is False and (follows or not starts.ok) else result


def ends(run: ContainerRun) -> Check:
    """It ends on the image's stop signal in time, or by itself where that is what it is for."""
    evidence: dict[str, object] = {"code": _code(run), "signal": run.signal, "within": run.spec.stop_within}
    if run.disk_exceeded:
        return skipped("ends", "it was killed for what it wrote")
    if run.ended_early:
        if not _may_end(run):
            return skipped("ends", "it ended before it was stopped")
        return Check(name="ends", ok=True, detail=f"it exited with code {_code(run)}", evidence=evidence, seconds=run.run_seconds)
    if run.killed:
        detail = f"it did not end within {run.spec.stop_within:g} s of {run.signal}, and was killed"
        return _failed(run, "ends", detail, _STOP_HINT, evidence | {"code": None}, run.stop_seconds)
    detail = f"on {run.signal} within {run.stop_seconds:.2f} s, with code {_code(run)}"
    unchecked = (f"whether it ends by itself: {run.signal} ends everything",) if run.signal.upper() in _KILL else ()
    return Check(name="ends", ok=True, detail=detail, unchecked=unchecked, evidence=evidence, seconds=run.stop_seconds)


def alone(run: ContainerRun) -> Check:
    """Nothing was mounted, shared or granted, and there was no way to another network."""
    privileges = run.container.privileges if run.container else None
    if privileges is None:
        return skipped("alone", "there was no container")
    evidence: dict[str, object] = {
        "network": privileges.network,
        "binds": list(privileges.binds),
        "capabilities": list(privileges.capabilities),
        "privileged": privileges.privileged,
        "devices": list(privileges.devices),
        "namespaces": list(privileges.namespaces),
        "isolated": run.environment.isolated,
    }
    granted = [
        *(f"{path}, mounted from the machine" for path in privileges.binds),
        *(f"the capability {name}" for name in privileges.capabilities),
        *(f"the device {path}" for path in privileges.devices),
        *(f"the machine's {name}" for name in privileges.namespaces),
        *(["all privileges"] if privileges.privileged else []),
        *(["the machine's network"] if privileges.network == "host" else []),
    ]
    if granted:
        # None of it was requested: the engine gives it to every container.
        hint = "Does the engine's configuration give this to each container?"
        return Check(name="alone", ok=False, detail=f"it had {', '.join(granted)}", hint=hint, evidence=evidence)
    if not run.environment.isolated:
        detail = "no mounts, no capabilities; whether it used the network is unknown, as this engine has access to it"
        return Check(name="alone", ok=None, detail=detail, evidence=evidence)
    return Check(name="alone", ok=True, detail="no mounts, no capabilities, no network outside", evidence=evidence)


def _start_evidence(run: ContainerRun) -> dict[str, object]:
    container = run.container
    entrypoint = container.entrypoint if container else run.config.entrypoint
    command = container.command if container else run.config.cmd
    return {
        "user": (container.user if container else run.config.user) or "root",
        "command": shlex.join((*entrypoint, *command)),
        "code": _code(run) if run.ended_early else None,
        "limits": asdict(run.spec.limits),
    }


def _code(run: ContainerRun) -> int | None:
    return run.container.exit_code if run.container else None


def _may_end(run: ContainerRun) -> bool:
    """Whether it was meant to end by itself, or neither the spec nor the image says that it was not."""
    if run.may_exit:
        return True
    return _code(run) == 0 and not run.exposed and not any(isinstance(probe, (Http, Tcp, Health)) for probe in run.probes)


def _out_of_memory(run: ContainerRun) -> bool:
    return run.container is not None and run.container.out_of_memory


def _early_end(run: ContainerRun) -> tuple[str, str | None]:
    """How it ended before it was stopped, and what to do about it."""
    limits, code = run.spec.limits, _code(run)
    if run.disk_exceeded:
        return f"it wrote more than {units.size(limits.disk)}, and was ended after {run.run_seconds:.1f} s", _DISK_HINT
    more = f"Give it more than {units.size(limits.memory)} of memory, or have it take less."
    if _out_of_memory(run):
        ended = f"was ended with code {code}" if code is not None else "a process of it was killed"
        return f"it needed more memory than {units.size(limits.memory)}, and {ended}", more
    if code == _KILLED:
        return f"it was ended with code {code}, as what needs more memory than {units.size(limits.memory)}", more
    return f"it exited with code {code}, {run.run_seconds:.1f} s after its start", hints.for_log(run.excerpt)


def _failed(run: ContainerRun, name: str, detail: str, hint: str, evidence: dict[str, object], seconds: float) -> Check:
    return Check(name=name, ok=False, detail=detail, hint=hint, evidence=evidence, seconds=seconds, excerpt=run.excerpt)


def _ports(ports: tuple[int, ...] | list[int]) -> str:
    return ", ".join(f"{port}/tcp" for port in ports)
