"""The table of checks. Names are stable: errors name them in their hints (``base/doctor_checks.py``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from registry_tool.doctor import credential_checks, engine_checks, machine_checks, network_checks, registry_checks
from registry_tool.doctor.diagnosis import Observation
from registry_tool.doctor.surroundings import Surroundings


class DoctorCheck(NamedTuple):
    """A check: its ``name``, the function that looks, and why it matters."""

    name: str
    look: Callable[[Surroundings], Observation]
    why: str


CHECKS = (
    DoctorCheck("engine", engine_checks.engine, "Building, running, pushing and the local registry need a container engine."),
    DoctorCheck("engine-version", engine_checks.version, "Older engines lack what this tool uses."),
    DoctorCheck("engine-store", engine_checks.storage_driver, "It decides how fast images are built and pulled, and what they take."),
    DoctorCheck("disk", engine_checks.disk, "Without room a push or a build fails half-way, and a registry reports errors."),
    DoctorCheck("cgroup", engine_checks.cgroup, "Without cgroups containers do not start, or have no limits."),
    DoctorCheck("folders", engine_checks.folders, "Locks, caches and undo data are kept there."),
    DoctorCheck("clock", engine_checks.clock, "Tokens and certificates are refused by a clock that is wrong, and ages are nonsense."),
    DoctorCheck("port", network_checks.port, "localhost:5000 is where people, and tutorials, expect a registry."),
    DoctorCheck("localhost", network_checks.localhost, "Names of images begin with localhost: it must lead to the registry."),
    DoctorCheck("proxy", network_checks.proxy, "A proxy cannot reach what is published on this machine."),
    DoctorCheck("https", network_checks.https, "An engine speaks plain HTTP on loopback, and where it is told to."),
    DoctorCheck("certificates", network_checks.certificates, "A registry whose certificate is not trusted cannot be used."),
    DoctorCheck(
        "credentials", credential_checks.stored_credentials, "A store that fails ends every pull and push, also those without a login."
    ),
    DoctorCheck("registry", registry_checks.health, "Push and pull need a registry that answers."),
    DoctorCheck("delete", registry_checks.deletion, "Without it tags cannot be deleted, and disk space never comes back."),
    DoctorCheck("write", registry_checks.write, "A registry may answer and yet take nothing in."),
    DoctorCheck(
        "stale-cache", registry_checks.stale_cache, "A push skips layers that the registry reports and does not have: the image is broken."
    ),
    DoctorCheck("storage", registry_checks.storage, "A damaged image fails where it is pulled, not where it is kept."),
    DoctorCheck("builder", machine_checks.builder, "Some Dockerfiles need BuildKit, which the classic builder is not."),
    DoctorCheck("compose", machine_checks.compose, "The sample app and its Redis can be started by compose."),
    DoctorCheck("base-images", machine_checks.base_images, "Without a network only what is here already can be built on."),
    DoctorCheck("leftovers", machine_checks.leftovers, "What killed runs left takes disk space, names and ports."),
)
"""Every check, in the order of the report."""
