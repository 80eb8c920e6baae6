"""Wheels for a build without a network, downloaded here by pip for the tags that the base image's Python reports."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from registry_tool.base import dirs, files, labels, units
from registry_tool.base.errors import EngineError
from registry_tool.base.progress import SILENT, Observer
from registry_tool.engine import ContainerSpec, Engine
from registry_tool.local.base_images.archive import work_folder

IDLE_TIMEOUT = 10.0  # seconds without new data after which the download is given up

_PROBE_TIMEOUT = 60.0
_PROBE = "registry-tool-python"
# pip knows the tags of its Python, for glibc, musl and every architecture.
_SCRIPT = """
import json, sys
from pip._vendor.packaging.tags import interpreter_name, sys_tags
mine = interpreter_name() + "%d%d" % sys.version_info[:2]
tags = [tag for tag in sys_tags() if tag.interpreter == mine and tag.abi == mine]
print(json.dumps({"implementation": interpreter_name(), "version": "%d.%d.%d" % sys.version_info[:3],
                  "abi": mine, "platforms": [tag.platform for tag in tags]}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """The tags of an image's Python. ``platforms`` are all that fit, the best first."""

    implementation: str
    version: str
    abi: str
    platforms: tuple[str, ...]

    @classmethod
    def parse(cls, text: str | bytes) -> Interpreter:
        """Parse the output of :data:`_SCRIPT`. Raises ValueError."""
        document: Any = json.loads(text)
        try:
            members = {name: document[name] for name in ("implementation", "version", "abi")}
            interpreter = cls(**members, platforms=tuple(document["platforms"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a Python's description: {text!r}") from error
        if not interpreter.platforms:
            raise ValueError(f"a Python that takes no wheels: {text!r}")
        return interpreter

    def to_json(self) -> bytes:
        """The form that :meth:`parse` reads."""
        return json.dumps(asdict(self)).encode()

    def options(self) -> list[str]:
        """Options of pip for it."""
        options = ["--implementation", self.implementation, "--python-version", self.version]
        for abi in (self.abi, "abi3", "none"):
            options += ["--abi", abi]
        for platform in (*self.platforms, "any"):
            options += ["--platform", platform]
        return options


def wheels(engine: Engine, base_image: str, base_id: str, requirements: Path, cache: Path, observer: Observer = SILENT) -> Path | None:
    """A folder below ``cache`` with the wheels of ``requirements`` (complete and pinned) for ``base_image``, whose id is ``base_id``.

    None, and a note with the reason, where they cannot be downloaded: the build then uses an index itself. Raises Unreachable (the
    engine is gone), OSError.
    """
    wheelhouse = cache / "wheels"
    try:
        interpreter = _interpreter(engine, base_image, base_id, wheelhouse)
    except (EngineError, ValueError) as error:
        observer.note(f"no wheels fetched: {base_image} does not report which it takes ({error})")
        return None
    folder = wheelhouse / _key(requirements, interpreter)
    if folder.is_dir():
        return folder
    pip = find_pip()
    if pip is None:
        observer.note("no wheels fetched: there is no pip here; the build uses an index")
        return None
    waiting = "another process is fetching the wheels; waiting for it"
    with files.lock(folder.with_suffix(".lock"), waiting=lambda: observer.note(waiting)):
        if folder.is_dir():
            return folder
        with work_folder(wheelhouse, folder.name) as part:
            reason = run_pip([*pip, *_pip_arguments(interpreter, requirements)], part, observer)
            if reason is not None:
                observer.note(f"no wheels fetched: {reason}; the build uses an index")
                return None
            (part / "wheels").rename(folder)
    return folder


def _interpreter(engine: Engine, base_image: str, base_id: str, wheelhouse: Path) -> Interpreter:
    """The image's Python, reported by a temporary container; once for each image."""
    which = base_id.rpartition(":")[2][:32]
    known = wheelhouse / f"python-{which}.json"
    with files.lock(known.with_suffix(".lock")):
        try:
            return Interpreter.parse(known.read_bytes())
        except (FileNotFoundError, ValueError):
            interpreter = Interpreter.parse(_run_probe(engine, base_image, name=f"{_PROBE}-{which[:12]}-{dirs.owner_id(wheelhouse)}"))
        files.atomic_write(known, interpreter.to_json())
        return interpreter


def _run_probe(engine: Engine, base_image: str, *, name: str) -> bytes:
    """The script's output in a container ``name``; one that a killed process left is removed."""
    spec = ContainerSpec(
        image=base_image,
        name=name,
        entrypoint=("python3",),
        command=("-c", _SCRIPT),
        labels={labels.ROLE: labels.ROLE_PROBE},
        network="none",
    )
    engine.remove(name, force=True, missing_ok=True)
    container = engine.run(spec)
    try:
        status = engine.wait(container.id, timeout=_PROBE_TIMEOUT)
        output = list(engine.logs(container.id))
    finally:
        engine.remove(container.id, force=True)
    if status != 0:
        lines = b"".join(chunk for _, chunk in output).decode(errors="replace").strip().splitlines()
        raise EngineError(lines[-1] if lines else f"its Python ended with {status}")
    return b"".join(chunk for stream, chunk in output if stream == "stdout")


def _key(requirements: Path, interpreter: Interpreter) -> str:
    digest = hashlib.sha256(requirements.read_bytes() + b"\0" + interpreter.to_json())
    return digest.hexdigest()[:32]


def find_pip() -> list[str] | None:
    """The command of any pip: its options say everything that depends on a Python."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    pip = shutil.which("pip3") or shutil.which("pip")
    return [pip] if pip else None


def _pip_arguments(interpreter: Interpreter, requirements: Path) -> list[str]:
    return [
        *("download", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"),
        *("--retries", "1", "--timeout", "5", "--no-deps", "--only-binary", ":all:"),
        *interpreter.options(),
        *("--requirement", str(requirements)),
    ]


def run_pip(command: Sequence[str], part: Path, observer: Observer) -> str | None:
    """Run pip; returns why it failed, or None. It is killed where nothing arrives for :data:`IDLE_TIMEOUT` seconds."""
    wheels, temporary, log = part / "wheels", part / "tmp", part / "log"
    wheels.mkdir()
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "RES_OPTIONS": "timeout:2 attempts:1"}
    observer.start("wheels", "Fetching wheels")
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--dest", str(wheels)], stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, env=environment
        )
        try:
            completed = _wait_while_active(process, part, observer)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if not completed:
        return f"nothing arrived for {IDLE_TIMEOUT:.0f} s"
    if process.returncode != 0:
        text = log.read_text(errors="replace")
        if "Retrying (" in text:
            return "no index answers"
        errors = [line for line in text.splitlines() if line.startswith("ERROR: ")]
        return errors[-1].removeprefix("ERROR: ") if errors else f"pip ended with {process.returncode}"
    observer.finish("wheels", f"Fetched {units.count(len(list(wheels.iterdir())), 'wheel')}")
    return None


def _wait_while_active(process: subprocess.Popen[bytes], part: Path, observer: Observer) -> bool:
    last, since = -1, time.monotonic()
    while process.poll() is None:
        size = _size(part)
        if size != last:
            last, since = size, time.monotonic()
            observer.advance("wheels", size)
        elif time.monotonic() - since > IDLE_TIMEOUT:
            return False
        time.sleep(0.1)
    return True


def _size(folder: Path) -> int:
    """Bytes of all files below ``folder``, which pip may remove meanwhile."""
    size = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += Path(path, name).stat().st_size
    return size
