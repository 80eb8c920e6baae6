"""User names and passwords for registries, where docker keeps them.

In this order: the helper that ``credHelpers`` names for the host, the helper that ``credsStore`` names for all, and
``auths`` in ``config.json`` (docker's command line reference, "Credential stores"); then the same in podman's file,
which is only read. A helper is a program ``docker-credential-NAME`` that reads its standard input
(docker-credential-helpers, "Development").

No secret is in a repr, a message, an argument of a program or a log.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry_tool.auth import docker_config
from registry_tool.base.errors import CredentialsError

HELPER_TIMEOUT = 10.0
"""Seconds that a helper has for one answer."""

TOKEN_USER = "<token>"  # noqa: S105
"""The user name under which docker stores an identity token instead of a password."""

_HUB_KEY = "https://index.docker.io/v1/"
_HUB_HOSTS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LOGIN = "Log in again: regctl login"
_NOT_FOUND = ("credentials not found", "no credentials server url", "no credentials username")


@dataclass(frozen=True, slots=True)
class Credential:
    """A user name and a password; an identity token where ``username`` is ``<token>``.

    ``account`` is the user name stored beside an identity token. ``is_registry_token``: ``password`` is a bearer token, sent
    to the registry as it is.
    """

    username: str
    password: str = field(repr=False)
    account: str = field(default="", compare=False)
    is_registry_token: bool = False

    @property
    def is_identity_token(self) -> bool:
        """Whether ``password`` is an identity token."""
        return self.username == TOKEN_USER

    def as_auth_config(self) -> dict[str, str]:
        """The members of the engine API's ``X-Registry-Auth``."""
        if self.is_registry_token:
            return {"registrytoken": self.password}
        if self.is_identity_token:
            return {"identitytoken": self.password}
        return {"username": self.username, "password": self.password}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Where a credential was stored: ``where`` is a helper's program or the configuration's path."""

    where: str
    encrypted: bool


def find(host: str, *, on_error: Callable[[CredentialsError], None] | None = None) -> Credential | None:
    """The credential for ``host`` (``docker.io``), if any. Where a store fails, raises CredentialsError or calls ``on_error`` with it."""
    try:
        return _find_in(docker_config.load(), docker_config.file(), host) or _find_in_auth_file(host)
    except CredentialsError as error:
        if on_error is None:
            raise
        on_error(error)
        return None


def store(host: str, credential: Credential) -> Stored:
    """Store ``credential`` for ``host`` with the configured helper, else in ``config.json``. Raises CredentialsError."""
    key = _key(host)
    helper = _helper(docker_config.load(), host)
    entry: dict[str, str | None] = {"auth": None, "identitytoken": None, "username": None, "password": None}
    if helper:
        document = {"ServerURL": key, "Username": credential.username, "Secret": credential.password}
        _call(helper, "store", json.dumps(document), secret=credential.password)
        # As docker does: other programs list what a user is logged in to by it.
        docker_config.save({"auths": {key: entry}})
        return Stored(where=_program(helper), encrypted=True)
    if credential.is_identity_token:
        entry["identitytoken"] = credential.password
    user = f"{credential.username}:{'' if credential.is_identity_token else credential.password}"
    entry["auth"] = base64.b64encode(user.encode()).decode()
    docker_config.save({"auths": {key: entry}})
    return Stored(where=str(docker_config.file()), encrypted=False)


def erase(host: str) -> bool:
    """Erase the credential for ``host`` from all of docker's stores; whether there was one. Raises CredentialsError."""
    config = docker_config.load()
    entries = _entries(config, host)
    if entries:
        docker_config.save({"auths": dict.fromkeys(entries)})
    helper = _helper(config, host)
    in_helper = helper is not None and _get(helper, host) is not None
    if helper is not None and in_helper:
        _call(helper, "erase", _key(host))
    return in_helper or any(entries.values())


def _find_in(config: Mapping[str, Any], file: Path, host: str) -> Credential | None:
    helper = _helper(config, host)
    credential = _get(helper, host) if helper else None
    if credential is not None:
        return credential
    return next(filter(None, (_from_entry(file, key, entry) for key, entry in _entries(config, host).items())), None)


def auth_file() -> Path | None:
    """The ``auth.json`` of podman, buildah and skopeo (containers-auth.json(5)): ``$REGISTRY_AUTH_FILE``, else podman's, if any."""
    if name := os.environ.get("REGISTRY_AUTH_FILE"):
        return Path(name)
    runtime, config = os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("XDG_CONFIG_HOME")
    folders = (
        Path(runtime) / "containers" if runtime else Path(f"/run/containers/{os.getuid()}"),
        (Path(config) if config else Path.home() / ".config") / "containers",
    )
    return next((path for folder in folders if (path := folder / "auth.json").is_file()), None)


def _find_in_auth_file(host: str) -> Credential | None:
    path = auth_file()
    if path is None:
        return None
    config = docker_config.load_object(path, name="", login="log in again: podman login")
    # podman may store one for a namespace (quay.io/john): it is not sent for the whole registry.
    whole = {key: entry for key, entry in _section(config, "auths").items() if _address(key).partition("/")[2] in ("", "v1/", "v2/")}
    return _find_in({**config, "auths": whole}, path, host)


def _key(host: str) -> str:
    """The key of ``host`` in docker's stores: Docker Hub's is a URL, every other registry's its host."""
    return _HUB_KEY if host in _HUB_HOSTS else host


def _hosts(host: str) -> frozenset[str]:
    return _HUB_HOSTS if host in _HUB_HOSTS else frozenset({host})


def _entries(config: Mapping[str, Any], host: str) -> dict[str, dict[str, Any]]:
    """The entries of ``auths`` for ``host``, docker's own key first; older programs wrote URLs as keys."""
    entries = {
        key: entry if isinstance(entry, dict) else {}
        for key, entry in _section(config, "auths").items()
        if _address(key).partition("/")[0] in _hosts(host)
    }
    return dict(sorted(entries.items(), key=lambda item: item[0] != _key(host)))


def _address(key: str) -> str:
    return re.sub(r"^https?://", "", key)


def _from_entry(file: Path, key: str, entry: Mapping[str, Any]) -> Credential | None:
    token = _token(entry, "registrytoken")
    if token:
        if not token.isascii() or not token.isprintable():
            raise CredentialsError(f"{file} holds no token for {key!r} where it should", hint=_LOGIN)
        return Credential("", token, is_registry_token=True)
    token = _token(entry, "identitytoken")
    if token:
        return Credential(TOKEN_USER, token, account=_decode(str(entry.get("auth") or ""))[0])
    if entry.get("auth"):
        username, colon, password = _decode(str(entry["auth"]))
        if not colon:
            raise CredentialsError(f"{file} holds no user and password for {key!r} where it should", hint=_LOGIN)
        return Credential(username, password.strip("\0"))
    name, secret = entry.get("username"), entry.get("password")
    return Credential(str(name), str(secret)) if name and secret else None


def _token(entry: Mapping[str, Any], name: str) -> str:
    return str(entry.get(name) or "").strip()


def _decode(auth: str) -> tuple[str, str, str]:
    """(user name, colon, password) of ``USER:PASSWORD`` in base 64; empty where it is none. As in docker, lines may be broken."""
    packed = "".join(auth.split())
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True).decode().partition(":")
    except ValueError:
        return "", "", ""


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, dict) else {}


# --- helpers ---


def _helper(config: Mapping[str, Any], host: str) -> str | None:
    """The name of the helper that is configured for ``host``."""
    per_host = _section(config, "credHelpers")
    for key in (_key(host), *sorted(_hosts(host))):
        if per_host.get(key):
            return str(per_host[key])
    return str(config["credsStore"]) if config.get("credsStore") else None


def _program(helper: str) -> str:
    return f"docker-credential-{helper}"


def _get(helper: str, host: str) -> Credential | None:
    output = _call(helper, "get", _key(host))
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
    return Credential(username, secret) if secret else None


def _call(helper: str, verb: str, text: str, *, secret: str = "") -> str | None:
    """Call a helper; its output, None where it has no such credential."""
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
    command = [_program(helper), verb]
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
    except FileNotFoundError:
        raise _error(helper, "is not installed, or not on PATH") from None
    except OSError as error:
        raise _error(helper, f"cannot be started: {error.strerror}") from None
    with process:
        try:
            output, errors = process.communicate(text.encode(), timeout=HELPER_TIMEOUT)
        except subprocess.TimeoutExpired:
            _kill(process)
            raise _error(helper, f"did not answer within {HELPER_TIMEOUT:g} s") from None
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
        f"the credential helper {_program(helper)} {what}",
        hint=f"Install or repair {_program(helper)}, or take it out of {docker_config.file()} (credsStore, credHelpers).",
    )
