"""Builds that need BuildKit: run by docker's client, since the engine offers it over gRPC only."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from registry_tool.base import files
from registry_tool.base.errors import BuildFailed, RegistryToolError
from registry_tool.engine.endpoint import Endpoint
from registry_tool.engine.streams import BuildLog

_PROBE_TIMEOUT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What a builder gets besides the context; ``dockerfile`` is its path inside the context."""

    dockerfile: str
    tags: tuple[str, ...] = ()
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    no_cache: bool = False
    pull: bool = False
    platform: str | None = None


def build(endpoint: Endpoint, options: BuildOptions, tar: Iterator[bytes], log: BuildLog, *, reason: str) -> None:
    """Run ``docker buildx build --load``, needed for ``reason``, on ``tar``; output goes to ``log``. Raises BuildFailed without buildx."""
    docker = available()
    if docker is None:
        raise BuildFailed(
            f"this Dockerfile needs BuildKit ({reason}), and `docker buildx` is not there",
            hint="Install docker's buildx plugin, or write the Dockerfile without it.",
        )
    with files.temporary_folder() as folder:
        id_file = folder / "id"
        environment = _environment(endpoint)
        code, errors = _run([docker, *_arguments(options, id_file, environment)], environment, tar, log)
        log.close()
        if code:
            log.error = log.error or (errors[-1] if errors else f"docker buildx build ended with exit code {code}")
        elif id_file.is_file():
            log.image_id = id_file.read_text().strip()


def available() -> str | None:
    """The path of a ``docker`` that has buildx; None where there is none."""
    docker = shutil.which("docker")
    if docker is None:
        return None
    try:
        result = subprocess.run([docker, "buildx", "version"], capture_output=True, timeout=_PROBE_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return docker if result.returncode == 0 else None


def _arguments(options: BuildOptions, id_file: Path, environment: Mapping[str, str]) -> list[str]:
    arguments = ["buildx", "build", "--load", "--progress", "plain", "--iidfile", str(id_file), "--file", options.dockerfile]
    for tag in options.tags:
        arguments += ["--tag", tag]
    for key, value in options.build_args.items():
        # What a person keeps in the environment is shown to nobody who lists processes.
        arguments += ["--build-arg", key if environment.get(key) == value else f"{key}={value}"]
    for key, value in options.labels.items():
        arguments += ["--label", f"{key}={value}"]
    if options.target:
        arguments += ["--target", options.target]
    if options.platform:
        arguments += ["--platform", options.platform]
    if options.no_cache:
        arguments.append("--no-cache")
    if options.pull:
        arguments.append("--pull")
    return [*arguments, "-"]


def _environment(endpoint: Endpoint) -> dict[str, str]:
    """Environment in which the client uses the engine at ``endpoint``."""
    environment = {key: value for key, value in os.environ.items() if key not in ("DOCKER_CONTEXT", "BUILDX_BUILDER")}
    environment["DOCKER_HOST"] = endpoint.url
    if endpoint.tls is not None and endpoint.tls.ca is not None:
        environment["DOCKER_CERT_PATH"] = str(endpoint.tls.ca.parent)
        environment["DOCKER_TLS_VERIFY"] = "1" if endpoint.tls.verify else ""
    return environment


def _run(command: list[str], environment: dict[str, str], tar: Iterator[bytes], log: BuildLog) -> tuple[int, list[str]]:
    """The exit code, and the errors among what it printed; the rest goes to ``log``."""
    errors: list[str] = []
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        stdin, stdout = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
        failures: list[RegistryToolError] = []
        feeder = threading.Thread(target=_feed, args=(stdin, tar, failures), daemon=True)
        feeder.start()
        try:
            for line in stdout:
                text = line.decode("utf-8", "replace")
                if text.startswith(("ERROR: ", "error: ")):
                    errors.append(text.partition(": ")[2].strip())
                else:
                    log.add({"stream": text})
        except BaseException:
            process.kill()
            raise
        feeder.join()
    if failures:
        raise failures[0]
    return process.returncode, errors


def _feed(stdin: IO[bytes], tar: Iterator[bytes], failures: list[RegistryToolError]) -> None:
    try:
        with stdin:
            for chunk in tar:
                stdin.write(chunk)
    except BrokenPipeError:
        # The build ended before it read everything: its output says why.
        return
    except RegistryToolError as error:
        failures.append(error)
