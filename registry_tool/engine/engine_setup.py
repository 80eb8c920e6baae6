"""How an engine is set up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSetup:
    """How an engine is set up, as ``/info`` says; what it does not say is empty.

    ``insecure`` are the ``HOST[:PORT]`` and networks (CIDR) that it reaches by plain HTTP. ``system_time`` is its clock at ``asked_at``,
    Unix seconds of ours.
    """

    host: str = ""
    """The host name of the engine's machine."""
    storage: str = ""
    root_folder: str = ""
    cgroup_driver: str = ""
    cgroup_version: str = ""
    runtime: str = ""
    insecure: tuple[str, ...] = ()
    http_proxy: str = ""
    no_proxy: str = ""
    system_time: str = ""
    asked_at: float = 0.0
