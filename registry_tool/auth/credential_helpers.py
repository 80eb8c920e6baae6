"""Credential helpers: programs ``docker-credential-NAME`` that read standard input (docker-credential-helpers, "Development")."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess

from registry_tool.auth import docker_config
from registry_tool.base.errors import CredentialsError

HELPER_TIMEOUT = 10.0
"""Seconds that a helper has for one answer."""

_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NOT_FOUND = ("credentials not found", "no credentials server url", "no credentials username")


def program(helper: str) -> str:
    """The name of its program."""
    return f"docker-credential-{helper}"


def get(helper: str, key: str) -> tuple[str, str] | None:
    """(user name, secret) that the helper has for ``key``, if any. Raises CredentialsError."""
    output = call(helper, "get", key)
    if output is None:
        return None
    try:
        answer = json.loads(output)
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, LookupError, TypeError, RecursionError):
        username = secret = None
    if not isinstance(username, str) or not isinstance(secret, str):
        # The output may hold the secret, however broken: it is not quoted.
        raise _error(helper, "prints something that is not a credential")
    return (username, secret) if secret else None


def call(helper: str, verb: str, text: str, *, secret: str = "") -> str | None:
    """Call a helper; its output, None where it has no such credential. Raises CredentialsError."""
    if not _HELPER_NAME.fullmatch(helper):
        raise CredentialsError(
            f"{helper!r} is not the name of a credential helper", hint=f"See credsStore and credHelpers in {docker_config.file()}."
        )
    code, output = _run(helper, verb, text)
    if code == 0:
        return output
    reason = next((line.strip() for line in output.splitlines() if line.strip()), "")
    if reason.lower().startswith(_NOT_FOUND):
        return None
    if reason.startswith("{") or (secret and secret in reason):
        reason = ""
    raise _error(helper, f"failed to {verb} (exit code {code}){': ' + reason[:200] if reason else ''}")


def _run(helper: str, verb: str, text: str) -> tuple[int, str]:
    """Run ``docker-credential-HELPER VERB``; exit code and output. When its time is up, its whole session is killed, children too."""
    command = [program(helper), verb]
    pipe = subprocess.PIPE
    environment = {name: value for name, value in os.environ.items() if name != "DOCKER_AUTH_CONFIG"}
    try:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, start_new_session=True)
    except FileNotFoundError:
        raise _error(helper, "is not installed, or not on PATH") from None
    except OSError as error:
        raise _error(helper, f"cannot be started: {error.strerror}") from None
    with process:
        try:
            output, errors = process.communicate(text.encode(), timeout=HELPER_TIMEOUT)
        except subprocess.TimeoutExpired:
            _kill(process)
            raise _error(helper, f"did not respond within {HELPER_TIMEOUT:g} s") from None
        except BaseException:
            _kill(process)
            raise
    # docker's helpers print errors to standard output, others to standard error.
    return process.returncode, (output if output.strip() or process.returncode == 0 else errors).decode(errors="replace")


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()


def _error(helper: str, what: str) -> CredentialsError:
    return CredentialsError(
        f"the credential helper {program(helper)} {what}",
        hint=f"Install or repair {program(helper)}, or take it out of {docker_config.file()} (credsStore, credHelpers).",
    )
