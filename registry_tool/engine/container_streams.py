"""Streams of the engine's containers: attach to one, exec commands in it, with the size of their terminals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.errors import EngineError, RegistryToolError
from registry_tool.engine.attach import AttachedStream
from registry_tool.engine.containers import Containers
from registry_tool.engine.engine_errors import start_error
from registry_tool.engine.streams import demultiplex

if TYPE_CHECKING:
    from registry_tool.engine.specs import ExecSpec

_EXEC_ENDS = 10.0  # seconds until a command whose output has ended has an exit code


class ContainerStreams(Containers):
    """The engine's containers, with their streams. A part of :class:`~registry_tool.engine.engine.Engine`."""

    def attach(self, id: str, *, stdin: bool) -> AttachedStream:
        """Attach to its streams; before the start, to get all output. Raises NotFound; what :meth:`start` raises."""
        self._check_ports(id)
        try:
            with self._client.call(f"attaching to the container {id}") as api:
                params = {"stdin": int(stdin), "stdout": 1, "stderr": 1, "stream": 1}
                return AttachedStream(api.attach_socket(id, params=params), tty=bool(api.inspect_container(id)["Config"]["Tty"]))
        except RegistryToolError as error:
            # Podman prepares the container now, and reports what docker reports at the start.
            raise start_error(error) from error

    def resize(self, id: str, *, rows: int, columns: int) -> None:
        """Set the size of its terminal."""
        with self._client.call(f"resizing the terminal of {id}") as api:
            api.resize(id, height=rows, width=columns)

    def execute(self, id: str, command: Sequence[str]) -> tuple[int, bytes]:
        """Exec ``command``; returns exit code and output of both streams. Raises NotFound; Conflict where it is not running."""
        with self._client.call(f"running {command[0]} in the container {id}") as api:
            made: Any = api.exec_create(id, list(command))
            output = b"".join(content for _, content in demultiplex(api.exec_output(made["Id"])))
            code = api.exec_inspect(made["Id"])["ExitCode"]
        if code is None:
            raise EngineError(f"{command[0]} in the container {id} did not end")
        return int(code), output

    def exec_stream(self, id: str, command: Sequence[str]) -> AttachedStream:
        """Exec ``command``; returns a framed duplex stream. Raises NotFound; Conflict where the container is not running."""
        from registry_tool.engine.specs import ExecSpec  # noqa: PLC0415 - few commands exec

        spec = ExecSpec(command=tuple(command), interactive=True)
        return self.exec_attach(self.exec_create(id, spec), tty=False)

    def exec_create(self, id: str, spec: ExecSpec) -> str:
        """Prepare to exec; returns the exec's id. Raises NotFound; Conflict where the container is not running."""
        with self._client.call(f"running {spec.command[0]} in the container {id}") as api:
            made: Any = api.exec_create(
                id,
                list(spec.command),
                stdin=spec.interactive,
                tty=spec.tty,
                user=spec.user,
                environment=dict(spec.environment) or None,
                workdir=spec.working_dir,
            )
        return str(made["Id"])

    def exec_attach(self, exec_id: str, *, tty: bool) -> AttachedStream:
        """Start an exec; returns its duplex stream, framed without a terminal."""
        with self._client.call("starting a command in a container") as api:
            return AttachedStream(api.exec_start(exec_id, tty=tty, socket=True), tty=tty)

    def exec_detached(self, exec_id: str) -> None:
        """Start an exec in the background. Raises EngineError for a command that cannot run."""
        try:
            with self._client.call("starting a command in a container") as api:
                api.exec_start(exec_id, detach=True)
        except RegistryToolError as error:
            raise start_error(error) from error

    def exec_resize(self, exec_id: str, *, rows: int, columns: int) -> None:
        """Set the size of its terminal."""
        with self._client.call("resizing the terminal of a command") as api:
            api.exec_resize(exec_id, height=rows, width=columns)

    def exec_exit_code(self, exec_id: str) -> int:
        """The exit code of an exec whose output has ended. Raises EngineError where it is still running."""
        code: int | None = None

        def ended() -> bool:
            nonlocal code
            with self._client.call("looking at a command in a container") as api:
                code = api.exec_inspect(exec_id)["ExitCode"]
            return code is not None

        if not poll(ended, Deadline(_EXEC_ENDS)) or code is None:
            raise EngineError("the command closed its output and is still running", hint="See: regctl exec CONTAINER ps")
        return code
