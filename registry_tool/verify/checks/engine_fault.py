"""Whose fault a container is that does not start: the image's, or the engine's own parts (network, runtime, storage)."""

from __future__ import annotations

from dataclasses import replace

from registry_tool.base.errors import EnvironmentUnavailable, RegistryToolError
from registry_tool.base.signals import defer_signals
from registry_tool.engine import Container, ContainerSpec, Engine

_MISSING_PROGRAM = "/registry-tool-no-such-program"
_OF_THE_IMAGE = ("chdir", "working dir", "workdir", " cwd")
"""Words of errors that come before the program, and from the image's configuration."""


def check_engine(engine: Engine, spec: ContainerSpec, error: RegistryToolError) -> None:
    """Raise EnvironmentUnavailable where ``error``, with which ``spec`` did not start, is the engine's.

    The container is started once more with a program that is in no image. An engine that works gets as far as to miss that; one
    that fails before fails whatever the image has.
    """
    if any(word in error.message.lower() for word in _OF_THE_IMAGE):
        return
    ports = tuple(replace(port, host_port=0) for port in spec.ports)
    failure = _start(engine, replace(spec, entrypoint=(_MISSING_PROGRAM,), command=(), user="0", ports=ports))
    if failure is None or _MISSING_PROGRAM in failure.message:
        return
    raise EnvironmentUnavailable(
        f"{engine.info.product} {engine.info.version} starts no container, of whatever image: {failure.message}",
        hint="A part of the engine is missing or broken. One that was made here is made anew after: regctl rmi --all --bases",
    ) from error


def _start(engine: Engine, spec: ContainerSpec) -> RegistryToolError | None:
    """The error with which it does not start."""
    created: Container | None = None
    try:
        with defer_signals():
            created = engine.create(spec)
        engine.start(created.id)
    except RegistryToolError as error:
        return error
    finally:
        if created is not None:
            with defer_signals():
                engine.remove(created.id, force=True, missing_ok=True)
    return None
