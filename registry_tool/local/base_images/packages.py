"""The last source: a base image from packages of the distribution this runs on.

``mmdebstrap`` downloads and unpacks them by apt, and installs nothing, so it needs no root, and the engine may be of another
architecture (:mod:`registry_tool.local.base_images.rootfs` does the rest). It writes below the given folder alone.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tarfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from registry_tool.base.errors import ProvisionFailed
from registry_tool.base.progress import Observer
from registry_tool.engine import Platform
from registry_tool.local.base_images import rootfs
from registry_tool.local.base_images.recipes import Base

TOOL = "mmdebstrap"
_EXCERPT_LINES = 12
_REASON_LENGTH = 200
TERMINATION_TIMEOUT = 3.0  # seconds between SIGTERM and SIGKILL
# Debian's names where they differ from those of an image index.
_ARCHITECTURES = {"386": "i386", "arm/v5": "armel", "arm/v6": "armel", "arm": "armhf", "ppc64le": "ppc64el", "mips64le": "mips64el"}
_APT_SOURCES = ("sources.list", "sources.list.d/debian.sources", "sources.list.d/ubuntu.sources")
_UNITS = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Debian, Ubuntu, or a derivative; ``suite`` is its (or its parent's) code name."""

    name: str
    suite: str
    components: tuple[str, ...] = ("main",)

    @classmethod
    def current(cls, etc: Path = Path("/etc")) -> Distribution | None:
        """The one this runs on; None for others."""
        try:
            lines = (etc / "os-release").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return None
        fields = {key: value.strip("\"'") for key, _, value in (line.partition("=") for line in lines)}
        if suite := fields.get("UBUNTU_CODENAME"):
            return cls(name="Ubuntu", suite=suite, components=("main", "universe"))
        suite = fields.get("DEBIAN_CODENAME") or (fields.get("VERSION_CODENAME") if fields.get("ID") == "debian" else None)
        return cls(name="Debian", suite=suite) if suite else None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltRootfs:
    """``tar`` is a root file system; ``versions`` is package -> version."""

    tar: Path
    versions: Mapping[str, str]
    distribution: Distribution


def build(base: Base, platform: Platform, folder: Path, observer: Observer) -> BuiltRootfs:
    """Make ``base``'s root file system in ``folder``. Raises ProvisionFailed: "the base image … is not available: …, and MESSAGE"."""
    distribution, tool = _requirements(platform)
    observer.start(base.role, f"Unpacking {distribution.name} packages for {base.local_name}")
    try:
        built = _build(tool, base, distribution, _architecture(platform), folder, observer)
    except (OSError, tarfile.TarError) as error:
        # A full disk, most of the time.
        raise ProvisionFailed(f"building it from packages fails ({error})", hint=f"Look at the space in {folder.parent}.") from error
    observer.finish(base.role, f"Built {base.local_name} from {distribution.name} {distribution.suite}")
    return built


def _build(tool: str, base: Base, distribution: Distribution, architecture: str, folder: Path, observer: Observer) -> BuiltRootfs:
    unpacked, target = folder / "packages.tar", folder / "rootfs.tar"
    output = _ToolOutput(base.role, observer)
    # This machine's mirror need not have packages of another architecture.
    sources = _apt_sources(Path("/etc/apt")) if architecture == _host_architecture() else ()
    command = [tool, *_options(base, distribution, architecture, folder), distribution.suite, str(unpacked), *sources]
    if _run(command, folder, output.add) != 0:
        raise ProvisionFailed(
            f"building it from packages fails ({output.reason})",
            hint=f"Look whether `apt-get update` works here; it is the same way to {distribution.name}'s packages.",
            excerpt=tuple(output.lines),
        )
    rootfs.write(unpacked, target, base.recipe)
    unpacked.unlink()
    return BuiltRootfs(
        tar=target, versions={name: output.versions.get(name, "") for name in base.recipe.labelled_packages}, distribution=distribution
    )


def _requirements(platform: Platform) -> tuple[Distribution, str]:
    """The distribution and the tool. Raises ProvisionFailed where one is missing."""
    if platform.os != "linux":
        raise ProvisionFailed(f"packages make Linux images, and the engine runs {platform}")
    distribution = Distribution.current()
    if distribution is None:
        raise ProvisionFailed("building it from packages needs a Debian or an Ubuntu")
    tool = shutil.which(TOOL)
    if tool is None:
        raise ProvisionFailed(f"building it from packages needs {TOOL}", hint=f"sudo apt-get install {TOOL}")
    if shutil.which("apt-get") is None:
        raise ProvisionFailed("building it from packages needs apt-get")
    return distribution, tool


def _architecture(platform: Platform) -> str:
    full = "/".join(part for part in (platform.architecture, platform.variant) if part)
    return _ARCHITECTURES.get(full) or _ARCHITECTURES.get(platform.architecture, platform.architecture)


def _options(base: Base, distribution: Distribution, architecture: str, folder: Path) -> list[str]:
    settings = folder / "apt.conf"
    settings.write_text("".join(f"{line}\n" for line in _apt_settings()), encoding="utf-8")
    return [
        "--verbose",
        "--variant=extract",
        "--mode=chrootless",
        # The check is about packages' scripts that would run on this machine: none do.
        "--skip=check/chrootless",
        "--format=tar",
        f"--architectures={architecture}",
        f"--components={','.join(distribution.components)}",
        f"--include={','.join(base.recipe.packages)}",
        f"--aptopt={settings}",
        # The packages' file names have their versions, and are gone when it ends.
        '--extract-hook=ls -1 "$1"/var/cache/apt/archives',
    ]


def _apt_sources(apt: Path) -> Iterator[str]:
    """This machine's apt sources of the distribution itself (its mirror), without others."""
    for name in _APT_SOURCES:
        try:
            text = (apt / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if re.search(r"^(deb\s|Types:)", text, re.MULTILINE) and not re.search(r"^deb\s+cdrom:", text, re.MULTILINE):
            yield str(apt / name)


def _apt_settings() -> list[str]:
    """This machine's settings of apt for access to its sources (proxies, checks), with short time-outs."""
    lines = _output("apt-config", "dump").splitlines()
    access = [line for line in lines if re.match(r'Acquire::(https?|Check-[\w-]+)(::[\w-]+)* "[^"]', line)]
    return [*access, 'Acquire::http::Timeout "10";', 'Acquire::https::Timeout "10";', 'Acquire::Retries "1";', 'Acquire::Languages "none";']


def _host_architecture() -> str:
    return _output("dpkg", "--print-architecture").strip()


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _run(command: list[str], folder: Path, take: Callable[[str], None]) -> int:
    """Run ``command`` and pass each line of its output to ``take``; returns its status. However this ends, the command has ended."""
    environment = {**os.environ, "TMPDIR": str(folder), "LC_ALL": "C.UTF-8", "RES_OPTIONS": "timeout:2 attempts:1"}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
        errors="replace",
        # A process group of its own: Ctrl-C goes to this process, which terminates all of it.
        start_new_session=True,
    ) as process:
        try:
            for line in process.stdout or ():
                take(line)
            return process.wait()
        finally:
            _terminate(process)


def _terminate(process: subprocess.Popen[str]) -> None:
    """Terminate a process and everything it started."""
    for number, timeout in ((signal.SIGTERM, TERMINATION_TIMEOUT), (signal.SIGKILL, None)):
        if process.poll() is not None:
            return
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=timeout)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


class _ToolOutput:
    """Parser of the tool's output: progress, versions of packages, and the reason of a failure."""

    def __init__(self, key: str, observer: Observer) -> None:
        self._key = key
        self._observer = observer
        self._total: int | None = None
        self._done = 0
        self._error = ""
        self.lines: deque[str] = deque(maxlen=_EXCERPT_LINES)
        self.versions: dict[str, str] = {}

    def add(self, line: str) -> None:
        """Take the next line."""
        line = line.rstrip()
        if package := re.fullmatch(r"([a-z0-9][a-z0-9+.-]+)_(\S+)_[a-z0-9-]+\.deb", line):
            self.versions[package[1]] = unquote(package[2])
        elif wanted := re.match(r"Need to get ([\d.,]+) (\w+) of archives", line):
            self._total, self._done = _parse_size(wanted[1], wanted[2]), 0
        elif got := re.match(r"Get:\d+ .*\[([\d.,]+) (\w+)\]$", line):
            self._done += _parse_size(got[1], got[2])
            self._observer.advance(self._key, self._done, self._total)
        elif line and not line.startswith("I: "):
            self.lines.append(line)
            self._error = self._error or (line if line.startswith("E: ") else "")

    @property
    def reason(self) -> str:
        """The first error of apt or the tool, as one short line."""
        line = self._error or next(iter(self.lines), f"{TOOL} printed nothing")
        return " ".join(line.removeprefix("E: ").split())[:_REASON_LENGTH]


def _parse_size(number: str, unit: str) -> int:
    return int(float(number.replace(",", "")) * _UNITS.get(unit, 1))
