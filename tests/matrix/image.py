"""The image of a suite: Debian's packages of its engines, its Python and what the tests use, unpacked by mmdebstrap."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import tempfile

from tests.matrix.commands import Failed, Unavailable, run, say, succeeds
from tests.matrix.rows import PACKAGES

LABEL = "io.registry-tool-matrix"
"""On everything that the matrix makes. Not one of the tool's labels: its commands would take these things for their own."""
REPOSITORY = "localhost/registry-tool-matrix"
_DEBIAN = "http://deb.debian.org/debian/"
_TRIES = 2  # a mirror may be in the middle of an update
_TIMEOUT = 900


def ensure(suite: str) -> str:
    """The name of ``suite``'s image, which is made where it is not there. Raises Failed, Unavailable."""
    name = f"{REPOSITORY}:{suite}-{_recipe_digest()}"
    if succeeds("docker", "image", "inspect", name):
        return name
    if shutil.which("mmdebstrap") is None:
        raise Unavailable("mmdebstrap is not installed: sudo apt-get install mmdebstrap")
    for left in range(_TRIES - 1, -1, -1):
        say(f"{suite}: unpacking Debian's packages (a minute or two) …")
        try:
            _build(suite, name)
        except Failed as error:
            if not left:
                raise Unavailable(f"Debian {suite}'s packages cannot be had: {error}") from error
        else:
            break
    for old in run("docker", "images", "--filter", f"label={LABEL}={suite}", "--format", "{{.Repository}}:{{.Tag}}").split():
        if old != name:
            succeeds("docker", "rmi", old)
    return name


def _build(suite: str, name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="matrix-") as folder:
        tar = f"{folder}/rootfs.tar"
        run("env", f"TMPDIR={folder}", "mmdebstrap", *_options(suite), suite, tar, _mirror(), timeout=_TIMEOUT)
        run("docker", "import", "--change", f"LABEL {LABEL}={suite}", tar, name)


def _options(suite: str) -> list[str]:
    settings = [*_apt_settings(), 'Acquire::Retries "3"', 'Acquire::Languages "none"', 'APT::Install-Recommends "false"']
    if suite == "sid":  # the mirror may be a copy of some day, whose date has expired
        settings.append('Acquire::Check-Valid-Until "false"')
    return [
        "--variant=apt",
        f"--include={','.join(PACKAGES)}",
        *(f"--aptopt={setting}" for setting in settings),
        *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale")),
    ]


def _apt_settings() -> list[str]:
    """This machine's settings of apt for proxies and checks."""
    try:
        lines = run("apt-config", "dump").splitlines()
    except Failed:
        return []
    return [line.rstrip(";") for line in lines if re.match(r'Acquire::(https?|Check-[\w-]+)(::[\w-]+)* "[^"]', line)]


def _mirror() -> str:
    """This machine's mirror of Debian, which has the other suites too."""
    try:
        lines = run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian").split()
        lines += run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages").split()
    except Failed:
        return _DEBIAN
    return next((line for line in lines if re.search(r"/debian/?$", line)), _DEBIAN)


def _recipe_digest() -> str:
    return hashlib.sha256(shlex.join([*PACKAGES, *_options("")]).encode()).hexdigest()[:10]


def remove() -> None:
    """Remove all images and the cache of wheels."""
    for image in run("docker", "images", "--quiet", "--filter", f"label={LABEL}").split():
        run("docker", "rmi", "--force", image)
    for volume in run("docker", "volume", "ls", "--quiet", "--filter", f"label={LABEL}").split():
        run("docker", "volume", "rm", volume)
