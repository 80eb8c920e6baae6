"""Print the state of the engine that the tool would use, and a line of explanation, for ``engine.sh``.

``answers``, ``silent`` (no listener at the default socket), ``elsewhere`` (none where DOCKER_HOST or a context points),
``forbidden`` (this user may not use the socket), ``broken`` (docker's configuration cannot be read).
"""

from __future__ import annotations

from registry_tool.base.errors import EngineNotPermitted, RegistryToolError, Unreachable
from registry_tool.engine import connect, endpoint


def state() -> str:
    """The line to print."""
    try:
        address = endpoint.find()
    except RegistryToolError as error:
        return f"broken {error.message}"
    try:
        connect().close()
    except EngineNotPermitted as error:
        return f"forbidden {error.message}"
    except Unreachable as error:
        return f"{'silent' if address.source == 'the default socket' else 'elsewhere'} {error.message}"
    return f"answers {address.url}"


print(state())
