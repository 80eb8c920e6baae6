"""Checks of stored credentials: docker's configuration, its helpers, and what is stored for the registries."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from registry_tool.auth import credential_helpers, credentials, docker_config
from registry_tool.base.errors import CredentialsError, RegistryToolError
from registry_tool.doctor.diagnosis import Observation, combined, ok, warning, wrong
from registry_tool.doctor.surroundings import CheckedRegistry, Surroundings

_USUAL_HOST = "localhost:5000"


def stored_credentials(surroundings: Surroundings) -> Observation:
    """Whether each configured store can be read, and has what the registries ask for."""
    try:
        config = docker_config.load()
    except CredentialsError as error:
        return wrong(error.message, error.hint or "Repair it.")
    helpers = _helpers(config)
    observed = [_helper(name, members) for name, members in helpers.items()]
    observed += [_entry(key) for key, entry in _section(config, "auths").items() if isinstance(entry, dict) and entry.get("auth")]
    observed += [_of_registry(each) for each in _registries(surroundings)]
    observed.append(_mode(config))
    seen = ", ".join(map(credential_helpers.program, helpers)) or "no helper"
    return combined(observed) if any(each.state != "ok" for each in observed) else ok(f"{docker_config.file()}: {seen}")


def _helpers(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """Helper -> the members of the configuration that name it: ``credsStore``, ``credHelpers.HOST``."""
    named: dict[str, list[str]] = {}
    if isinstance(config.get("credsStore"), str) and config["credsStore"]:
        named[config["credsStore"]] = ["credsStore"]
    for host, helper in _section(config, "credHelpers").items():
        if isinstance(helper, str) and helper:
            named.setdefault(helper, []).append(host)
    return named


def _helper(name: str, members: list[str]) -> Observation:
    program = credential_helpers.program(name)
    if shutil.which(program) is None:
        where = ", ".join("credsStore" if member == "credsStore" else f"credHelpers {member}" for member in members)
        return wrong(
            f"the credential helper {program} is not installed, and {docker_config.file()} names it ({where})",
            "Install it, or take it out of that file: regctl doctor --fix credentials does, and then log in again.",
            mend=partial(_take_out, name),
        )
    try:
        credential_helpers.call(name, "list", "")
    except CredentialsError as error:
        return wrong(error.message, error.hint or f"Repair {program}.")
    return ok(program)


def _take_out(name: str) -> None:
    """Remove a helper from docker's configuration, wherever it is named."""
    config = docker_config.load()
    hosts = {host: None for host, helper in _section(config, "credHelpers").items() if helper == name}
    changes: dict[str, Any] = {"credHelpers": hosts} if hosts else {}
    if config.get("credsStore") == name:
        changes["credsStore"] = None
    docker_config.save(changes)


def _entry(key: str) -> Observation:
    host = key.partition("://")[2] or key
    try:
        credentials.find("docker.io" if "docker.io" in host else host.partition("/")[0])
    except RegistryToolError as error:
        return wrong(error.message, error.hint or "Log in again: regctl login")
    return ok(host)


def _of_registry(registry: CheckedRegistry) -> Observation:
    """The stores that are asked for ``registry``; one that requires a login needs an answer."""
    try:
        credential = credentials.find(registry.host)
    except RegistryToolError as error:
        return wrong(error.message, error.hint or "Log in again: regctl login")
    user = registry.local.user if registry.local is not None else None
    if user is not None and credential is None:
        return warning(f"{registry.host} requires a login, and no credentials are stored for it", f"regctl login {registry.host} -u {user}")
    return ok(registry.host)


def _registries(surroundings: Surroundings) -> tuple[CheckedRegistry, ...]:
    try:
        registries = surroundings.registries
    except RegistryToolError:
        registries = ()
    return registries or (CheckedRegistry(host=_USUAL_HOST),)


def _mode(config: Mapping[str, Any]) -> Observation:
    """Whether others can read passwords that no helper encrypts."""
    path = docker_config.file()
    has_passwords = any(isinstance(entry, dict) and any(entry.values()) for entry in _section(config, "auths").values())
    if has_passwords and path.stat().st_mode & 0o077:
        return warning(f"{path} has passwords, and others may read it", f"chmod 600 {path}", mend=partial(_restrict, path))
    return ok(str(path))


def _restrict(path: Path) -> None:
    path.chmod(0o600)


def _section(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = config.get(name)
    return section if isinstance(section, dict) else {}
