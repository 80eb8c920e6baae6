"""Asks for the engine as the tool itself does, and prints one word and one line for ``engine.sh``.

``answers``, ``silent`` (nobody at the default socket), ``elsewhere`` (nobody where DOCKER_HOST or a context points),
``forbidden`` (this user may not use the socket), ``broken`` (docker's own configuration cannot be read).
"""

from __future__ import annotations

from registry_tool.base.errors import EngineNotPermitted, RegistryToolError, Unreachable
from registry_tool.engine import connect, endpoint


def answer() -> str:
    try:
        place = endpoint.find()
    except RegistryToolError as error:
        return f"broken {error.message}"
    try:
        connect().close()
    except EngineNotPermitted as error:
        return f"forbidden {error.message}"
    except Unreachable as error:
        return f"{'silent' if place.source == 'the default socket' else 'elsewhere'} {error.message}"
    return f"answers {place.url}"


print(answer())
