"""A folder of wheels for a build: fetched here, for the engine's platform and the base image's Python.

Inside a build there may be no network, or one whose certificates only this machine trusts. And the wheels that fit this
machine's Python are not the ones that the image needs: so the image is asked what it takes, and pip is told.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry_tool.base import dirs, files, labels
from registry_tool.base.errors import EngineError
from registry_tool.base.progress import SILENT, Observer
from registry_tool.engine import ContainerSpec, Engine

PATIENCE = 10.0
"""Seconds in which nothing arrives, after which the network counts as dead."""

_ASKING = 60.0
_PROBE = "registry-tool-python"
# pip knows which wheels its Python takes; there is no shorter way that is right for glibc, musl and every machine.
_QUESTION = """
import json, sys
from pip._vendor.packaging.tags import interpreter_name, sys_tags
mine = interpreter_name() + "%d%d" % sys.version_info[:2]
tags = [tag for tag in sys_tags() if tag.interpreter == mine and tag.abi == mine]
print(json.dumps({"implementation": interpreter_name(), "version": "%d.%d.%d" % sys.version_info[:3],
                  "abi": mine, "platforms": [tag.platform for tag in tags]}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """The Python of an image, as wheels see it. ``platforms`` are all that it takes, the best first."""

    implementation: str
    version: str
    abi: str
    platforms: tuple[str, ...]

    @classmethod
    def parse(cls, text: str | bytes) -> Interpreter:
        """Read what the image answered. Raises ValueError."""
        said: Any = json.loads(text)
        try:
            found = cls(implementation=said["implementation"], version=said["version"], abi=said["abi"], platforms=tuple(said["platforms"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a Python's description: {text!r}") from error
        if not found.platforms:
            raise ValueError(f"a Python that takes no wheels: {text!r}")
        return found

    def to_json(self) -> bytes:
        return json.dumps(
            {"implementation": self.implementation, "version": self.version, "abi": self.abi, "platforms": list(self.platforms)}
        ).encode()

    def options(self) -> list[str]:
        """How pip is told about it."""
        options = ["--implementation", self.implementation, "--python-version", self.version]
        for abi in (self.abi, "abi3", "none"):
            options += ["--abi", abi]
        for platform in (*self.platforms, "any"):
            options += ["--platform", platform]
        return options


def wheels(engine: Engine, base_image: str, base_id: str, requirements: Path, cache: Path, observer: Observer = SILENT) -> Path | None:
    """A folder of the wheels that ``requirements`` (all of them, pinned) names, fit for ``base_image``; kept below ``cache``.

    ``base_id`` is that image's id, by which what it said of its Python is known again.

    None, and a note that says why, where they cannot be had: the build then asks an index itself. Raises Unreachable
    (the engine is gone), OSError.
    """
    shelf = cache / "wheels"
    try:
        interpreter = _interpreter(engine, base_image, base_id, shelf)
    except (EngineError, ValueError) as error:
        observer.note(f"no wheels fetched: {base_image} does not say which it takes ({error})")
        return None
    folder = shelf / _key(requirements, interpreter)
    if folder.is_dir():
        return folder
    pip = _pip()
    if pip is None:
        observer.note("no wheels fetched: there is no pip here; the build asks an index")
        return None
    waiting = "another process is fetching the wheels; waiting for it"
    with files.lock(folder.with_suffix(".lock"), waiting=lambda: observer.note(waiting)):
        if folder.is_dir():
            return folder
        for left in shelf.glob(f".{folder.name}.*.part"):
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(dir=shelf, prefix=f".{folder.name}.", suffix=".part") as part:
            reason = _fetch([*pip, *_download(interpreter, requirements)], Path(part), observer)
            if reason is not None:
                observer.note(f"no wheels fetched: {reason}; the build asks an index")
                return None
            (Path(part) / "wheels").rename(folder)
    return folder


def _interpreter(engine: Engine, base_image: str, base_id: str, shelf: Path) -> Interpreter:
    """Ask the image for its Python, in a container that is thrown away; once for each image."""
    which = base_id.rpartition(":")[2][:32]
    known = shelf / f"python-{which}.json"
    with files.lock(known.with_suffix(".lock")):
        try:
            return Interpreter.parse(known.read_bytes())
        except (FileNotFoundError, ValueError):
            found = Interpreter.parse(_ask(engine, base_image, name=f"{_PROBE}-{which[:12]}-{dirs.owner_id(shelf)}"))
        files.atomic_write(known, found.to_json())
        return found


def _ask(engine: Engine, base_image: str, *, name: str) -> bytes:
    """``name`` is the container's; what a killed process left under it is removed."""
    spec = ContainerSpec(
        image=base_image,
        name=name,
        entrypoint=("python3",),
        command=("-c", _QUESTION),
        labels={labels.ROLE: labels.ROLE_PROBE},
        network="none",
    )
    engine.remove(name, force=True, missing_ok=True)
    container = engine.run(spec)
    try:
        status = engine.wait(container.id, timeout=_ASKING)
        said = list(engine.logs(container.id))
    finally:
        engine.remove(container.id, force=True)
    if status != 0:
        lines = b"".join(chunk for _, chunk in said).decode(errors="replace").strip().splitlines()
        raise EngineError(lines[-1] if lines else f"its Python ended with {status}")
    return b"".join(chunk for stream, chunk in said if stream == "stdout")


def _key(requirements: Path, interpreter: Interpreter) -> str:
    known = hashlib.sha256(requirements.read_bytes() + b"\0" + interpreter.to_json())
    return known.hexdigest()[:32]


def _pip() -> list[str] | None:
    """Any pip does, whatever its own Python: it is told everything that depends on one."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip3") or shutil.which("pip")
    return [found] if found else None


def _download(interpreter: Interpreter, requirements: Path) -> list[str]:
    return [
        *("download", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"),
        *("--retries", "1", "--timeout", "5", "--no-deps", "--only-binary", ":all:"),
        *interpreter.options(),
        *("--requirement", str(requirements)),
    ]


def _fetch(command: Sequence[str], part: Path, observer: Observer) -> str | None:
    """Run pip; None where it did it, otherwise why not. It is ended where nothing arrives for :data:`PATIENCE` seconds."""
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
            arrived = _while_it_moves(process, part, observer)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if not arrived:
        return f"nothing arrived for {PATIENCE:.0f} s"
    if process.returncode != 0:
        text = log.read_text(errors="replace")
        if "Retrying (" in text:
            return "no index answers"
        errors = [line for line in text.splitlines() if line.startswith("ERROR: ")]
        return errors[-1].removeprefix("ERROR: ") if errors else f"pip ended with {process.returncode}"
    observer.finish("wheels", f"Fetched {len(list(wheels.iterdir()))} wheels")
    return None


def _while_it_moves(process: subprocess.Popen[bytes], part: Path, observer: Observer) -> bool:
    last, since = -1, time.monotonic()
    while process.poll() is None:
        size = _size(part)
        if size != last:
            last, since = size, time.monotonic()
            observer.advance("wheels", size)
        elif time.monotonic() - since > PATIENCE:
            return False
        time.sleep(0.1)
    return True


def _size(folder: Path) -> int:
    """The bytes of all files below ``folder``. pip takes folders away while we look; what is gone has none."""
    size = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += Path(path, name).stat().st_size
    return size
