"""Waiting for a container's exit code, as docker and podman tell it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.errors import EngineError, NotFound

if TYPE_CHECKING:
    from registry_tool.engine.client import EngineClient

REMOVAL_TIMEOUT = 15
"""Seconds to wait for a removal that somebody else began."""
_EVENTS_SINCE = 3600  # seconds that events are read back: the engine's clock may differ


class ExitWait:
    """A request under way for a container's exit code."""

    def __init__(self, client: EngineClient, id: str, response: Any) -> None:
        self._client, self._id, self._response = client, id, response

    def exit_code(self) -> int:
        """Wait for it. Raises Unreachable; EngineError where the engine cannot tell."""
        with self._client.call(f"waiting for the container {self._id}"), self._response as response:
            document: Any = json.loads(response.content)
        if error := document.get("Error"):
            raise EngineError(str(error.get("Message") or error))
        return int(document["StatusCode"])

    def close(self) -> None:
        """End the request without the exit code."""
        self._response.close()


class PodmanRemovalWait(ExitWait):
    """The same for a container that podman removes: it is waited for until its exit, as podman reports 0 at the removal."""

    def exit_code(self) -> int:
        """See ``ExitWait``; a container that was removed before podman looked for its exit code has it in the engine's events."""
        try:
            code = super().exit_code()
        except (EngineError, NotFound):
            # What removes the container writes its events after that.
            reported = poll(self._code_in_events, Deadline(REMOVAL_TIMEOUT))
            if not reported:
                raise
            [code] = reported
        poll(self._is_gone, Deadline(REMOVAL_TIMEOUT))
        return code

    def _code_in_events(self) -> tuple[int, ...]:
        """The exit code of its last end; empty where no event has it."""
        with self._client.call(f"reading the events of {self._id}") as api:
            exits = [event for event in api.past_events(self._id, since=int(time.time()) - _EVENTS_SINCE) if event.get("Action") == "die"]
        code = ((exits[-1].get("Actor") or {}).get("Attributes") or {}).get("containerExitCode") if exits else None
        return (int(code),) if isinstance(code, str) and code.isdigit() else ()

    def _is_gone(self) -> bool:
        try:
            with self._client.call(f"looking at the container {self._id}") as api:
                api.inspect_container(self._id)
        except NotFound:
            return True
        return False
