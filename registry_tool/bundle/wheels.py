"""This tool and its dependencies as wheels, for the Pythons of machines without an index."""

from __future__ import annotations

import ast
import base64
import hashlib
import importlib.metadata
import io
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import registry_tool
from registry_tool.base import files, resources
from registry_tool.base.errors import RegistryToolError, UsageError
from registry_tool.base.progress import SILENT, Observer
from registry_tool.local.base_images.archive import work_folder
from registry_tool.local.base_images.wheelhouse import find_pip, run_pip

DISTRIBUTION = "registry-tool"
OLDEST = (3, 10)
"""The oldest Python that this tool runs on."""
_PYTHON = re.compile(r"3\.[0-9]{1,2}")
_ENTRY = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?: *; *(?P<marker>[^\\]+))?")
_GLIBC = ("2_17", "2_24", "2_27", "2_28", "2_31")
"""Of the oldest systems: what was built for these runs on newer ones."""
_PLATFORMS = {
    "linux/amd64": ("x86_64", "linux"),
    "linux/arm64": ("aarch64", "linux"),
    "linux/ppc64le": ("ppc64le", "linux"),
    "linux/s390x": ("s390x", "linux"),
    "darwin/amd64": ("x86_64", "darwin"),
    "darwin/arm64": ("arm64", "darwin"),
}
_TIME = (1980, 1, 1, 0, 0, 0)


def check_python(python: str) -> str:
    """Return ``3.11`` where it can be asked for. Raises UsageError."""
    if not _PYTHON.fullmatch(python) or tuple(map(int, python.split("."))) < OLDEST:
        raise UsageError(f"{python[:40]!r} is not a Python that this tool runs on", hint="It looks like 3.11, and 3.10 is the oldest.")
    return python


def check_platform(platform: str) -> str:
    """Return ``linux/amd64`` where there are wheels for it. Raises UsageError."""
    if platform not in _PLATFORMS:
        raise UsageError(f"there are no wheels for {platform}", hint=f"There are for: {', '.join(_PLATFORMS)}.")
    return platform


def tool_wheel() -> tuple[str, bytes]:
    """This installation as a wheel: its name and its bytes, which are the same for the same files. Raises RegistryToolError."""
    try:
        installed = importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        raise RegistryToolError(f"{DISTRIBUTION} is not installed here: its metadata is missing", hint="Try: make setup") from None
    version = registry_tool.__version__
    name = f"{DISTRIBUTION.replace('-', '_')}-{version}"
    members = dict(_package_files())
    for document in ("METADATA", "entry_points.txt", "licenses/LICENSE"):
        if text := installed.read_text(document):
            members[f"{name}.dist-info/{document}"] = text.encode()
    members[f"{name}.dist-info/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: registry-tool\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = f"{name}.dist-info/RECORD"
    lines = [f"{path},sha256={_record_hash(content)},{len(content)}\n" for path, content in sorted(members.items())]
    members[record] = "".join([*lines, f"{record},,\n"]).encode()
    packed = io.BytesIO()
    # Not compressed: two versions of zlib give different bytes.
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for path, content in sorted(members.items()):
            member = zipfile.ZipInfo(path, _TIME)
            member.external_attr = 0o100644 << 16
            archive.writestr(member, content)
    return f"{name}-py3-none-any.whl", packed.getvalue()


def dependency_wheels(python: str, platform: str, cache: Path, observer: Observer = SILENT) -> Path:
    """A folder below ``cache`` with the wheels of all dependencies, in the versions of the lock. Raises RegistryToolError, OSError."""
    requirements = locked_requirements(python, platform)
    key = hashlib.sha256(f"{python}\n{platform}\n{requirements}".encode()).hexdigest()[:32]
    wheelhouse = cache / "wheels"
    folder = wheelhouse / f"tool-{key}"
    waiting = "another process is fetching the wheels; waiting for it"
    with files.lock(folder.with_suffix(".lock"), waiting=lambda: observer.note(waiting)):
        if folder.is_dir():
            return folder
        pip = find_pip()
        if pip is None:
            raise RegistryToolError("there is no pip here to fetch wheels with", hint="Install pip, or leave the tool out: --no-tool")
        with work_folder(wheelhouse, folder.name) as part:
            file = part / "requirements.txt"
            file.write_text(requirements)
            reason = run_pip([*pip, *_pip_arguments(python, platform, file)], part, observer)
            if reason is not None:
                message = f"the wheels for Python {python} on {platform} cannot be fetched: {reason}"
                raise RegistryToolError(message, hint="Run it with a network once, or leave the tool out: --no-tool")
            (part / "wheels").rename(folder)
    return folder


def locked_requirements(python: str, platform: str) -> str:
    """The lines of the lock for this tool's dependencies on a Python and a platform, with their hashes. Raises UsageError."""
    machine, system = _PLATFORMS[check_platform(platform)]
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "platform_machine": machine,
        "sys_platform": system,
        "platform_system": system.capitalize(),
        "os_name": "posix",
    }
    needed = _needed()
    blocks = re.split(r"\n(?=[A-Za-z0-9])", resources.lock_file().read_text(encoding="utf-8"))
    chosen = []
    for block in blocks:
        entry = _ENTRY.match(block)
        if entry is not None and _normalized(entry["name"]) in needed and applies(entry["marker"] or "", environment):
            hashes = re.findall(r"--hash=sha256:[0-9a-f]{64}", block)
            chosen.append(" ".join([f"{entry['name']}=={entry['version']}", *hashes]) + "\n")
    return "".join(chosen)


def applies(marker: str, environment: Mapping[str, str]) -> bool:
    """Whether an environment marker holds (dependency-specifiers, as uv writes them). Raises ValueError for what is no marker."""
    if not marker.strip():
        return True
    try:
        return bool(_evaluate(ast.parse(marker.strip(), mode="eval").body, environment))
    except (SyntaxError, KeyError) as error:
        raise ValueError(f"not a marker: {marker[:80]!r}") from error


# --- inside ---


def _evaluate(node: ast.expr, environment: Mapping[str, str]) -> Any:
    if isinstance(node, ast.BoolOp):
        values = [bool(_evaluate(value, environment)) for value in node.values]
        return all(values) if isinstance(node.op, ast.And) else any(values)
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        left, right = (_evaluate(side, environment) for side in (node.left, node.comparators[0]))
        if any(isinstance(side, ast.Name) and side.id.startswith("python") for side in (node.left, node.comparators[0])):
            left, right = _version(left), _version(right)
        operator = type(node.ops[0])
        return {
            ast.Eq: left == right,
            ast.NotEq: left != right,
            ast.Lt: left < right,
            ast.LtE: left <= right,
            ast.Gt: left > right,
            ast.GtE: left >= right,
        }[operator]
    if isinstance(node, ast.Name):
        return environment[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise ValueError("not a marker")


def _version(text: str) -> tuple[int, ...]:
    numbers = [int(part) for part in text.split(".")]
    return tuple([*numbers, 0, 0][:3])


def _needed() -> frozenset[str]:
    """Names of all dependencies, those of dependencies, too; of what is not installed here nothing else is needed."""
    names: set[str] = set()
    waiting = [DISTRIBUTION]
    while waiting:
        try:
            requirements = importlib.metadata.requires(waiting.pop()) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for text in requirements:
            match = re.match(r"[A-Za-z0-9._-]+", text)
            name = _normalized(match[0]) if match and "extra ==" not in text else None
            if name is not None and name not in names:
                names.add(name)
                waiting.append(name)
    return frozenset(names)


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _package_files() -> Iterator[tuple[str, bytes]]:
    """The package's files, and those beside it, as they are in a wheel."""
    package = Path(registry_tool.__file__).parent
    for path in package.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"registry_tool/{path.relative_to(package).as_posix()}", path.read_bytes()
    if not (package / "_shipped").is_dir():
        sample = resources.sample_app()
        for name, content in sample_files():
            yield f"registry_tool/_shipped/{sample.name}/{name}", content
        yield f"registry_tool/_shipped/{resources.compose_file().name}", resources.compose_file().read_bytes()
        yield f"registry_tool/_shipped/requirements/{resources.lock_file().name}", resources.lock_file().read_bytes()


def sample_files() -> Iterator[tuple[str, bytes]]:
    """The files of the sample app, without wheels that somebody put there."""
    for path in sorted(resources.sample_app().iterdir()):
        if path.is_file():
            yield path.name, path.read_bytes()


def _record_hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _pip_arguments(python: str, platform: str, requirements: Path) -> list[str]:
    machine, system = _PLATFORMS[platform]
    if system == "linux":
        platforms = [f"manylinux_{glibc}_{machine}" for glibc in reversed(_GLIBC)] + [f"manylinux2014_{machine}"]
    else:
        platforms = [f"macosx_{major}_{minor}_{each}" for major, minor in ((11, 0), (10, 13), (10, 9)) for each in (machine, "universal2")]
    abi = f"cp{python.replace('.', '')}"
    return [
        *("download", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"),
        *("--retries", "1", "--timeout", "10", "--no-deps", "--only-binary", ":all:"),
        *("--implementation", "cp", "--python-version", python),
        *(word for each in (abi, "abi3", "none") for word in ("--abi", each)),
        *(word for each in (*platforms, "any") for word in ("--platform", each)),
        *("--requirement", str(requirements)),
    ]


def copy_wheels(source: Path, destination: Path) -> None:
    """Copy wheels to a folder that the build of the sample app reads, all or none of them. Raises OSError."""
    if destination.is_dir():
        return
    with work_folder(destination.parent, destination.name) as part:
        shutil.copytree(source, part / "wheels")
        (part / "wheels").rename(destination)
