"""The points about the container: what a trial saw, judged. Each failure is red once, where it began."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace

from registry_tool.base import units
from registry_tool.base.codec import to_json
from registry_tool.verify.checks import hints
from registry_tool.verify.checks.container_run import ContainerRun
from registry_tool.verify.checks.probes import ProbeResult
from registry_tool.verify.checks.pull_checks import skipped
from registry_tool.verify.result import Check
from registry_tool.verify.spec import Exit, Http, Tcp

_KILLED = 128 + 9
"""The code of what SIGKILL ended; not every engine says that it was for its memory."""
_TOO_MUCH = "What it keeps belongs into a volume; more is allowed by the limits."
_INIT = "A program that is process 1 gets no signal that it does not handle: handle it, or begin the shell script's last line with exec."


def starts(trial: ContainerRun, *, fits: bool) -> Check:
    """It runs until it is asked to end; or ends by itself, where nothing says that it should not. ``fits``: to the platform."""
    evidence = _evidence(trial)
    seen = hint = None
    if trial.refusal is not None:
        seen, hint = trial.refusal.message, trial.program
    elif trial.ended_early and not _may_end(trial):
        seen, hint = _end(trial)
        hint = trial.program or hint
    if seen is None:
        words = f"as {evidence['user']}: {evidence['command']}"
        return Check(name="starts", ok=True, detail=words, evidence=evidence, seconds=trial.started_in)
    if not fits:
        # It was said already what is wrong with it.
        return Check(name="starts", ok=None, detail=f"it does not, as it is for another platform: {seen}", evidence=evidence)
    return Check(
        name="starts",
        ok=False,
        detail=seen,
        hint=hint or "Its last words are in the log.",
        evidence=evidence,
        seconds=trial.started_in,
        excerpt=trial.excerpt,
    )


def listens(trial: ContainerRun) -> Check:
    """On each TCP port that it exposes, where others reach it."""
    ports = trial.exposed
    if not ports:
        return Check(name="listens", ok=None, detail="it says of no TCP port that it listens there (EXPOSE)")
    if trial.ended_early:
        return skipped("listens", "it runs no more")
    found = trial.listening
    evidence: dict[str, object] = {"exposed": list(ports), "seen_by": "/proc/net/tcp" if found else "connections"}
    if found is not None:
        evidence |= {"listening": sorted(found.reachable), "loopback": sorted(found.loopback)}
        lonely = sorted(set(ports) & found.loopback)
        missing = sorted(set(ports) - found.reachable - found.loopback)
        elsewhere = f"; {found}"
    else:
        lonely, elsewhere = [], " (seen by connecting: there is no program in it that could tell)"
        missing = sorted(port for port in ports if not trial.connects.get(port, False))
    if lonely:
        detail = f"{_ports(lonely)} {'is' if len(lonely) == 1 else 'are'} open on its loopback only, where nobody else reaches it"
        hint = "Have it listen on 0.0.0.0, not on 127.0.0.1 or localhost."
        return _red(trial, "listens", detail, hint, evidence, trial.listening_in)
    if missing:
        detail = f"nobody listens on {_ports(missing)}, which it exposes{elsewhere}"
        hint = "Let EXPOSE and what the program listens on be the same port."
        return _red(trial, "listens", detail, hint, evidence, trial.listening_in)
    detail = f"{_ports(ports)}{'' if found else elsewhere}"
    return Check(name="listens", ok=True, detail=detail, evidence=evidence, seconds=trial.listening_in)


def probes(trial: ContainerRun, listening: Check, starting: Check) -> Check:
    """All that were asked for. One that failed as nobody listens, or as the container is no more, was told there."""
    if not trial.seen:
        return Check(name="probes", ok=None, detail="nothing was asked of it")
    deaf = set(trial.exposed) - (trial.listening.reachable if trial.listening else set()) if listening.ok is False else set()
    judged = [_judged(trial, seen, deaf, starting) for seen in trial.seen]
    evidence: dict[str, object] = {"probes": to_json(judged)}
    wrong = [seen for seen in judged if seen.ok is False]
    if wrong:
        detail = "; ".join(f"{seen.kind} {seen.probe}: {seen.seen}" for seen in wrong)
        hint = hints.of_words(trial.excerpt) or _PROBE_HINTS.get(wrong[0].kind) or "Its last words are in the log."
        return _red(trial, "probes", detail, hint, evidence, trial.probes_in)
    lost = [seen for seen in judged if seen.ok is None]
    if lost:
        detail = f"not all could be told: {lost[0].kind} {lost[0].probe}: {lost[0].seen}"
        return Check(name="probes", ok=None, detail=detail, evidence=evidence, seconds=trial.probes_in)
    detail = "; ".join(f"{seen.kind} {seen.probe}: {seen.seen}" for seen in judged)
    return Check(name="probes", ok=True, detail=detail, evidence=evidence, seconds=trial.probes_in)


_PROBE_HINTS = {
    "http": "Ask for the page as the proof does: regctl run -d -p 4000:80 NAME, then curl.",
    "tcp": "Does it listen on that port, and on 0.0.0.0?",
    "exec": "Is the command in the image, and right?",
    "log": "Its last lines are below.",
    "exit": "Its last lines are below.",
}


def _judged(trial: ContainerRun, seen: ProbeResult, deaf: set[int], starting: Check) -> ProbeResult:
    if seen.ok is None and starting.ok:
        return replace(seen, ok=False, seen=f"it had ended already ({seen.seen})")
    follows = isinstance(seen.probe, (Http, Tcp)) and seen.probe.container in deaf
    return replace(seen, ok=None) if seen.ok is False and (follows or not starting.ok) else seen


def ends(trial: ContainerRun) -> Check:
    """On the signal that the image wants, in time; or by itself, where that is its way."""
    evidence: dict[str, object] = {"code": _code(trial), "signal": trial.signal, "within": trial.asked.stop_within}
    if trial.ended_early:
        if not _may_end(trial):
            return skipped("ends", "it ended before it was asked to")
        return Check(name="ends", ok=True, detail=f"by itself, with code {_code(trial)}", evidence=evidence, seconds=trial.lived)
    if trial.killed:
        detail = f"it did not end within {trial.asked.stop_within:g} s of {trial.signal}, and was killed"
        return _red(trial, "ends", detail, _INIT, evidence | {"code": None}, trial.ended_in)
    detail = f"on {trial.signal} within {trial.ended_in:.2f} s, with code {_code(trial)}"
    return Check(name="ends", ok=True, detail=detail, evidence=evidence, seconds=trial.ended_in)


def alone(trial: ContainerRun) -> Check:
    """Nothing was mounted, shared or granted, and there was no way out."""
    rights = trial.container.privileges if trial.container else None
    if rights is None:
        return skipped("alone", "there was no container")
    evidence: dict[str, object] = {
        "network": rights.network,
        "binds": list(rights.binds),
        "capabilities": list(rights.capabilities),
        "privileged": rights.privileged,
        "devices": list(rights.devices),
        "namespaces": list(rights.namespaces),
        "isolated": trial.place.isolated,
    }
    had = [
        *(f"{path}, mounted from the machine" for path in rights.binds),
        *(f"the capability {name}" for name in rights.capabilities),
        *(f"the device {path}" for path in rights.devices),
        *(f"the machine's {name}" for name in rights.namespaces),
        *(["all privileges"] if rights.privileged else []),
        *(["the machine's network"] if rights.network == "host" else []),
    ]
    if had:
        # We asked for none of it: the engine gives it to everything.
        hint = "Does the engine's configuration give this to each container?"
        return Check(name="alone", ok=False, detail=f"it had {', '.join(had)}", hint=hint, evidence=evidence)
    if not trial.place.isolated:
        detail = "no mounts, no capabilities; whether it used the network cannot be told, as this engine has a way out"
        return Check(name="alone", ok=None, detail=detail, evidence=evidence)
    return Check(name="alone", ok=True, detail="no mounts, no capabilities, no way out", evidence=evidence)


def _evidence(trial: ContainerRun) -> dict[str, object]:
    container = trial.container
    entrypoint = container.entrypoint if container else trial.config.entrypoint
    command = container.command if container else trial.config.cmd
    return {
        "user": (container.user if container else trial.config.user) or "root",
        "command": shlex.join((*entrypoint, *command)),
        "code": _code(trial) if trial.ended_early else None,
        "limits": asdict(trial.asked.limits),
    }


def _code(trial: ContainerRun) -> int | None:
    return trial.container.exit_code if trial.container else None


def _may_end(trial: ContainerRun) -> bool:
    """Whether it was meant to end by itself, or nothing that was asked says that it was not."""
    asked = trial.asked.probes
    if any(isinstance(each, Exit) for each in asked):
        return True
    return _code(trial) == 0 and not trial.exposed and not any(isinstance(each, (Http, Tcp)) for each in asked)


def _end(trial: ContainerRun) -> tuple[str, str | None]:
    """How it ended before it was asked to, and what to do about it."""
    limits, code, container = trial.asked.limits, _code(trial), trial.container
    if trial.overfull:
        return f"it wrote more than {units.size(limits.disk)}, and was ended after {trial.lived:.1f} s", _TOO_MUCH
    more = f"Give it more than {units.size(limits.memory)} of memory, or have it take less."
    if container is not None and container.out_of_memory:
        return f"it needed more memory than {units.size(limits.memory)}, and was ended with code {code}", more
    if code == _KILLED:
        return f"it was ended with code {code}, as what needs more memory than {units.size(limits.memory)}", more
    return f"it ended by itself with code {code}, {trial.lived:.1f} s after its start", hints.of_words(trial.excerpt)


def _red(trial: ContainerRun, name: str, detail: str, hint: str, evidence: dict[str, object], seconds: float) -> Check:
    return Check(name=name, ok=False, detail=detail, hint=hint, evidence=evidence, seconds=seconds, excerpt=trial.excerpt)


def _ports(ports: tuple[int, ...] | list[int]) -> str:
    return ", ".join(f"{port}/tcp" for port in ports)
