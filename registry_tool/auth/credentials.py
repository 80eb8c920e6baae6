"""User names and passwords for registries, where docker keeps them.

The stores, of which the first with a credential is used:

1. the file that ``$REGISTRY_AUTH_FILE`` names (containers-auth.json(5)),
2. ``$DOCKER_AUTH_CONFIG``, a configuration's content (docker's command line reference, "Environment variables"),
3. docker's ``config.json``,
4. podman's ``auth.json``, where ``$REGISTRY_AUTH_FILE`` is not set.

Only docker's is written to. In each: an entry of ``auths`` for the repository or a part of its path, then the helper that
``credHelpers`` names for the host, the helper that ``credsStore`` names for all (docker's command line reference,
"Credential stores"), and the entry of ``auths`` for the host. An entry for a part of the registry is not sent for the
rest of it.

No secret is in a repr, a message, an argument of a program or a log.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from registry_tool.auth import docker_config
from registry_tool.base.errors import CredentialsError, UsageError

TOKEN_USER = "<token>"  # noqa: S105
"""The user name under which docker stores an identity token instead of a password."""

_HUB_KEY = "https://index.docker.io/v1/"
_HUB_HOSTS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_LOGIN = "Log in again: regctl login"
_PODMAN_LOGIN = "log in again: podman login"
_VARIABLE = "DOCKER_AUTH_CONFIG"
_WHOLE_REGISTRY = ("", "v1", "v2")


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


def check_credential(credential: Credential) -> None:
    """Raise UsageError where ``credential`` cannot be one that a person has."""
    if not credential.password or not (credential.username or credential.is_registry_token):
        raise UsageError("a login needs a user name and a password", hint="regctl login -u NAME asks for the password.")
    if ":" in credential.username:
        # RFC 7617: the first colon ends the user name.
        raise UsageError(f"a user name cannot contain ':': {credential.username!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Where a credential was stored: ``where`` is a helper's program or the configuration's path."""

    where: str
    encrypted: bool


def find(
    host: str, *, repository: str = "", auth_file: Path | None = None, on_error: Callable[[CredentialsError], None] | None = None
) -> Credential | None:
    """The credential for ``host`` (``docker.io``), or for its ``repository``, if any; in ``auth_file`` alone where it is given.

    Where there is none and a store fails, raises CredentialsError or calls ``on_error`` with it. Raises UsageError where
    ``auth_file`` is not there.
    """
    try:
        return HostCredentials(host, auth_file=auth_file).find(repository)
    except CredentialsError as error:
        if on_error is None:
            raise
        on_error(error)
        return None


class HostCredentials:
    """The credentials for one host and its repositories. Each store is read, and each helper called, when it is first needed, and once.

    ``auth_file`` is read instead of all other stores. Raises UsageError where it is not there.
    """

    def __init__(self, host: str, *, auth_file: Path | None = None) -> None:
        if auth_file is not None and not auth_file.exists():
            raise UsageError(f"no such file: {auth_file}", hint="It is podman's auth.json or docker's config.json.")
        self._host = host
        self._auth_file = auth_file
        self._stores: list[_Store | CredentialsError] = []
        self._unread = self._open()

    def find(self, repository: str = "") -> Credential | None:
        """The credential for ``repository``; without one, for requests about the whole registry. Raises CredentialsError."""
        failure: CredentialsError | None = None
        for store in self._all():
            try:
                if isinstance(store, CredentialsError):
                    raise store
                credential = store.find(repository)
            except CredentialsError as error:
                failure = failure or error
            else:
                if credential is not None:
                    return credential
        if failure is not None:
            raise failure
        return None

    def named(self) -> Iterator[tuple[str, _Store]]:
        """The stores that environment variables name, with the variable's name."""
        for variable, store in zip(("REGISTRY_AUTH_FILE", _VARIABLE), self._of_variables(), strict=True):
            if isinstance(store, _Store):
                yield variable, store

    def _all(self) -> Iterator[_Store | CredentialsError]:
        yield from self._stores
        for store in self._unread:
            self._stores.append(store)
            yield store

    def _open(self) -> Iterator[_Store | CredentialsError]:
        if (named := self._auth_file) is not None:
            yield self._read(str(named), lambda: docker_config.load_object(named, name="", login=_PODMAN_LOGIN))
            return
        file, variable = self._of_variables()
        yield from filter(None, (file, variable))
        yield self._read(str(docker_config.file()), docker_config.load)
        path = auth_file() if file is None else None
        if path is not None:
            yield self._read(str(path), lambda: docker_config.load_object(path, name="", login=_PODMAN_LOGIN))

    def _of_variables(self) -> tuple[_Store | CredentialsError | None, _Store | CredentialsError | None]:
        """What ``$REGISTRY_AUTH_FILE`` names, and what ``$DOCKER_AUTH_CONFIG`` holds."""
        path, text = os.environ.get("REGISTRY_AUTH_FILE"), os.environ.get(_VARIABLE, "").strip()
        file = self._read(path, lambda: docker_config.load_object(Path(str(path)), name="", login=_PODMAN_LOGIN)) if path else None
        hint = f"Repair or unset {_VARIABLE}."
        return file, self._read(_VARIABLE, lambda: docker_config.parse_object(text.encode(), _VARIABLE, hint=hint)) if text else None

    def _read(self, name: str, load: Callable[[], dict[str, Any]]) -> _Store | CredentialsError:
        try:
            return _Store(name, load(), self._host)
        except CredentialsError as error:
            return error


class _Store:
    """What one configuration (a file, or a variable's content) has for one host; ``name`` is for messages."""

    def __init__(self, name: str, config: Mapping[str, Any], host: str) -> None:
        self._name = name
        self._config = config
        self._host = host
        entries = _entries(config, host)
        self._whole = {key: entry for key, entry in entries.items() if _path(key) in _WHOLE_REGISTRY}
        self._namespaces = {_path(key): key for key in entries if key not in self._whole}
        self._all = entries

    def find(self, repository: str) -> Credential | None:
        """The credential of the longest key that ``repository`` lies in. Raises CredentialsError."""
        parts = repository.split("/")
        for length in range(len(parts), 0, -1):
            key = self._namespaces.get("/".join(parts[:length]))
            if key is not None and (credential := _from_entry(self._name, key, self._all[key])) is not None:
                return credential
        if isinstance(self._of_host, CredentialsError):
            raise self._of_host
        return self._of_host

    @cached_property
    def _of_host(self) -> Credential | CredentialsError | None:
        # A failure is kept, too: a helper that hangs is not called for each repository.
        failure: CredentialsError | None = None
        helper = _helper(self._config, self._host)
        try:
            if helper is not None and (credential := _from_helper(helper, self._host)) is not None:
                return credential
        except CredentialsError as error:
            failure = error
        try:
            entries = (_from_entry(self._name, key, entry) for key, entry in self._whole.items())
            return next(filter(None, entries), None) or failure
        except CredentialsError as error:
            return failure or error


def store(host: str, credential: Credential) -> Stored:
    """Store ``credential`` for ``host`` with the configured helper, else in ``config.json``. Raises CredentialsError."""
    key = _key(host)
    helper = _helper(docker_config.load(), host)
    entry: dict[str, str | None] = {"auth": None, "identitytoken": None, "username": None, "password": None}
    if helper:
        document = {"ServerURL": key, "Username": credential.username, "Secret": credential.password}
        from registry_tool.auth import credential_helpers  # noqa: PLC0415 - starts programs, which takes long to import

        credential_helpers.call(helper, "store", json.dumps(document), secret=credential.password)
        # As docker does: other programs list what a user is logged in to by it.
        docker_config.save({"auths": {key: entry}})
        return Stored(where=credential_helpers.program(helper), encrypted=True)
    if credential.is_identity_token:
        entry["identitytoken"] = credential.password
    user = f"{credential.username}:{'' if credential.is_identity_token else credential.password}"
    entry["auth"] = base64.b64encode(user.encode()).decode()
    docker_config.save({"auths": {key: entry}})
    return Stored(where=str(docker_config.file()), encrypted=False)


def variable_with_other(host: str, credential: Credential) -> str | None:
    """The environment variable, if any, whose credentials for ``host`` go before the stored ``credential``."""
    for name, store in HostCredentials(host).named():
        with suppress(CredentialsError):
            other = store.find("")
            if other is not None:
                return name if other != credential else None
    return None


def erase(host: str) -> bool:
    """Erase the credential for ``host`` from all of docker's stores; whether there was one. Raises CredentialsError."""
    config = docker_config.load()
    entries = {key: entry for key, entry in _entries(config, host).items() if _path(key) in _WHOLE_REGISTRY}
    if entries:
        docker_config.save({"auths": dict.fromkeys(entries)})
    helper = _helper(config, host)
    in_helper = helper is not None and _from_helper(helper, host) is not None
    if helper is not None and in_helper:
        from registry_tool.auth import credential_helpers  # noqa: PLC0415 - starts programs, which takes long to import

        credential_helpers.call(helper, "erase", _key(host))
    return in_helper or any(entries.values())


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


def _path(key: str) -> str:
    """The part of a registry that a key of ``auths`` is for: ``john`` of ``quay.io/john``."""
    return _address(key).partition("/")[2].strip("/")


def _from_helper(helper: str, host: str) -> Credential | None:
    from registry_tool.auth import credential_helpers  # noqa: PLC0415 - starts programs, which takes long to import

    stored = credential_helpers.get(helper, _key(host))
    return Credential(*stored) if stored is not None else None


def _from_entry(file: str, key: str, entry: Mapping[str, Any]) -> Credential | None:
    token = _token(entry, "registrytoken")
    if token:
        if not token.isascii() or not token.isprintable():
            raise CredentialsError(f"{file} has no valid token for {key!r}", hint=_LOGIN)
        return Credential("", token, is_registry_token=True)
    token = _token(entry, "identitytoken")
    if token:
        return Credential(TOKEN_USER, token, account=_decode(str(entry.get("auth") or ""))[0])
    if entry.get("auth"):
        username, colon, password = _decode(str(entry["auth"]))
        if not colon:
            raise CredentialsError(f"{file} has no valid user name and password for {key!r}", hint=_LOGIN)
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


def _helper(config: Mapping[str, Any], host: str) -> str | None:
    """The name of the helper that is configured for ``host``."""
    per_host = _section(config, "credHelpers")
    for key in (_key(host), *sorted(_hosts(host))):
        if per_host.get(key):
            return str(per_host[key])
    return str(config["credsStore"]) if config.get("credsStore") else None
