"""Running the checks: in parallel, each for a limited time."""

from __future__ import annotations

import time
from collections.abc import Sequence

from registry_tool.base import concurrency
from registry_tool.base.deadline import Deadline, DeadlineExceeded, call_with_deadline
from registry_tool.base.errors import EngineNotFound, EngineNotPermitted, EngineTimeout, RegistryToolError, UsageError
from registry_tool.doctor.checks import CHECKS, DoctorCheck
from registry_tool.doctor.diagnosis import Diagnosis, DoctorReport, Observation, skipped, wrong
from registry_tool.doctor.surroundings import Surroundings

LIMIT = 15.0
"""Seconds for each check. Where all is well they take one second together."""


def select(names: Sequence[str]) -> tuple[DoctorCheck, ...]:
    """The checks ``names``, all without any. Raises UsageError where there is none of a name."""
    known = {check.name: check for check in CHECKS}
    for name in names:
        if name not in known:
            raise UsageError(f"there is no check {name!r}", hint=f"There are: {', '.join(known)}.")
    return tuple(check for check in CHECKS if check.name in names) if names else CHECKS


def examine(surroundings: Surroundings, checks: Sequence[DoctorCheck] = CHECKS) -> DoctorReport:
    """Run ``checks`` in parallel, for at most :data:`LIMIT` seconds each. Raises nothing: what goes wrong is in the report."""
    started = time.monotonic()
    results = tuple(concurrency.map_ordered(lambda check: _diagnose(surroundings, check), list(checks), threads=len(checks)))
    return DoctorReport(checks=results, seconds=time.monotonic() - started)


def _diagnose(surroundings: Surroundings, check: DoctorCheck) -> Diagnosis:
    deadline = Deadline(LIMIT)
    try:
        observation = call_with_deadline(lambda: _look(surroundings, check), lambda: deadline.left)
    except DeadlineExceeded:
        seen = f"no result within {LIMIT:g} s"
        # What hangs an engine hangs all that need it: it is reported once.
        observation = wrong(f"the engine: {seen}", "Restart the engine.") if check.name == "engine" else skipped(seen)
    return Diagnosis(name=check.name, why=check.why, observation=observation)


def _look(surroundings: Surroundings, check: DoctorCheck) -> Observation:
    try:
        return check.look(surroundings)
    except (EngineNotFound, EngineNotPermitted, EngineTimeout, UsageError):
        return skipped("the engine is needed for it")
    except RegistryToolError as error:
        return skipped(error.message)
    except OSError as error:
        return skipped(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
