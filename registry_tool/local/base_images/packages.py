"""The last rung: a base image from the packages of the distribution this runs on.

``mmdebstrap`` asks apt for them and unpacks them; nothing is installed, so nobody has to be root and the engine may be of
another architecture than this machine (:mod:`registry_tool.local.base_images.rootfs` does what is left to do). It writes below the
folder it is given and nowhere else.
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
_EXCERPT = 12
_REASON = 200
GRACE = 3.0
"""Seconds that a tool which is told to end may clean up for."""
# Debian's names where they are not the image index's.
_ARCHITECTURES = {"386": "i386", "arm/v5": "armel", "arm/v6": "armel", "arm": "armhf", "ppc64le": "ppc64el", "mips64le": "mips64el"}
_SOURCES = ("sources.list", "sources.list.d/debian.sources", "sources.list.d/ubuntu.sources")
_UNITS = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A Debian, an Ubuntu, or something made of one; ``suite`` is its (or its parent's) code name."""

    name: str
    suite: str
    components: tuple[str, ...] = ("main",)

    @classmethod
    def here(cls, etc: Path = Path("/etc")) -> Distribution | None:
        """The one this runs on; None where it is none of them."""
        try:
            lines = (etc / "os-release").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return None
        said = {key: value.strip("\"'") for key, _, value in (line.partition("=") for line in lines)}
        if suite := said.get("UBUNTU_CODENAME"):
            return cls(name="Ubuntu", suite=suite, components=("main", "universe"))
        suite = said.get("DEBIAN_CODENAME") or (said.get("VERSION_CODENAME") if said.get("ID") == "debian" else None)
        return cls(name="Debian", suite=suite) if suite else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """``tar`` is a root file system; ``versions`` says from which packages, name -> version."""

    tar: Path
    versions: Mapping[str, str]
    distribution: Distribution


def build(base: Base, platform: Platform, folder: Path, observer: Observer) -> Built:
    """Make the root file system of ``base`` in ``folder``, for an engine of ``platform``.

    Raises ProvisionFailed (its message is the end of a sentence: why this rung does not hold), OSError.
    """
    distribution, tool = _wanted(platform)
    observer.start(base.role, f"Unpacking {distribution.name} packages for {base.own}")
    try:
        built = _build(tool, base, distribution, _architecture(platform), folder, observer)
    except (OSError, tarfile.TarError) as error:
        # A full disk, most of the time.
        raise ProvisionFailed(f"building it from packages fails ({error})", hint=f"Look at the space in {folder.parent}.") from error
    observer.finish(base.role, f"Built {base.own} from {distribution.name} {distribution.suite}")
    return built


def _build(tool: str, base: Base, distribution: Distribution, architecture: str, folder: Path, observer: Observer) -> Built:
    unpacked, target = folder / "packages.tar", folder / "rootfs.tar"
    lines = _Lines(base.role, observer)
    # Of another architecture's packages, the near mirror need not have any.
    sources = _sources(Path("/etc/apt")) if architecture == _own_architecture() else ()
    command = [tool, *_options(base, distribution, architecture, folder), distribution.suite, str(unpacked), *sources]
    if _run(command, folder, lines.take) != 0:
        raise ProvisionFailed(
            f"building it from packages fails ({lines.reason})",
            hint=f"Look whether `apt-get update` works here; it is the same way to {distribution.name}'s packages.",
            excerpt=tuple(lines.last),
        )
    rootfs.write(unpacked, target, base.recipe)
    unpacked.unlink()
    return Built(tar=target, versions={name: lines.versions.get(name, "") for name in base.recipe.named}, distribution=distribution)


def _wanted(platform: Platform) -> tuple[Distribution, str]:
    """What this rung stands on, or the word that it is missing."""
    if platform.os != "linux":
        raise ProvisionFailed(f"packages make Linux images, and the engine runs {platform}")
    distribution = Distribution.here()
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
        # Its own check is about packages' scripts that would run on this machine: none do.
        "--skip=check/chrootless",
        "--format=tar",
        f"--architectures={architecture}",
        f"--components={','.join(distribution.components)}",
        f"--include={','.join(base.recipe.packages)}",
        f"--aptopt={settings}",
        # The packages' files are gone when it ends, and with them their versions.
        '--extract-hook=ls -1 "$1"/var/cache/apt/archives',
    ]


def _sources(apt: Path) -> Iterator[str]:
    """The distribution's own sources as this machine has them (a near mirror); not what else it takes packages from."""
    for name in _SOURCES:
        try:
            text = (apt / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if re.search(r"^(deb\s|Types:)", text, re.MULTILINE) and not re.search(r"^deb\s+cdrom:", text, re.MULTILINE):
            yield str(apt / name)


def _apt_settings() -> list[str]:
    """How this machine's apt reaches its sources (proxies, what it checks), with time-outs that somebody waits for."""
    said = _output("apt-config", "dump").splitlines()
    ways = [line for line in said if re.match(r'Acquire::(https?|Check-[\w-]+)(::[\w-]+)* "[^"]', line)]
    return [*ways, 'Acquire::http::Timeout "10";', 'Acquire::https::Timeout "10";', 'Acquire::Retries "1";', 'Acquire::Languages "none";']


def _own_architecture() -> str:
    return _output("dpkg", "--print-architecture").strip()


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _run(command: list[str], folder: Path, take: Callable[[str], None]) -> int:
    """Run ``command``, hand on each line that it prints; returns its status. It has ended when this is left, however it is left."""
    environment = {**os.environ, "TMPDIR": str(folder), "LC_ALL": "C.UTF-8", "RES_OPTIONS": "timeout:2 attempts:1"}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
        errors="replace",
        # A group of its own: Ctrl-C goes to us, and we end all of it.
        start_new_session=True,
    ) as process:
        try:
            for line in process.stdout or ():
                take(line)
            return process.wait()
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and everything it started: it gets a moment to clean up behind itself."""
    for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, None)):
        if process.poll() is not None:
            return
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=patience)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


class _Lines:
    """What the tool says while it works: how far it is, from which packages, and why it failed."""

    def __init__(self, key: str, observer: Observer) -> None:
        self._key = key
        self._observer = observer
        self._total: int | None = None
        self._done = 0
        self._error = ""
        self.last: deque[str] = deque(maxlen=_EXCERPT)
        self.versions: dict[str, str] = {}

    def take(self, line: str) -> None:
        line = line.rstrip()
        if package := re.fullmatch(r"([a-z0-9][a-z0-9+.-]+)_(\S+)_[a-z0-9-]+\.deb", line):
            self.versions[package[1]] = unquote(package[2])
        elif wanted := re.match(r"Need to get ([\d.,]+) (\w+) of archives", line):
            self._total, self._done = _bytes(wanted[1], wanted[2]), 0
        elif got := re.match(r"Get:\d+ .*\[([\d.,]+) (\w+)\]$", line):
            self._done += _bytes(got[1], got[2])
            self._observer.advance(self._key, self._done, self._total)
        elif line and not line.startswith("I: "):
            self.last.append(line)
            self._error = self._error or (line if line.startswith("E: ") else "")

    @property
    def reason(self) -> str:
        """The first word of apt or the tool about an error, on one line and not a long one."""
        line = self._error or next(iter(self.last), f"{TOOL} said nothing")
        return " ".join(line.removeprefix("E: ").split())[:_REASON]


def _bytes(number: str, unit: str) -> int:
    return int(float(number.replace(",", "")) * _UNITS.get(unit, 1))
