"""Who may call whom, and who may know which library: the picture of docs/architecture.md, held down."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = ROOT / "registry_tool"
MODULES = sorted(PACKAGE.rglob("*.py"))

ROOMS_OF = {
    "backports": {"content"},
    "bcrypt": {"local"},
    "click": {"cli"},
    "docker": {"engine"},
    "pytest": {"pytest_plugin"},
    "requests": {"transport"},
    "rich": {"cli"},
    "tomli": {"verify"},
    "urllib3": {"engine", "transport"},  # the SDK lets its errors through; transport stands on its connections
    "yaml": {"verify"},
}
"""Library -> the rooms that may import it. What is not here may be imported nowhere."""

DISTRIBUTIONS = {"backports": "backports-zstd", "yaml": "pyyaml"}
"""What a library is called where it is installed from, where that is not what it is imported by."""

STANDARD = sys.stdlib_module_names | {"compression", "tomllib"}
"""The standard library, of later Pythons too."""

NOT_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}


def room(module: Path) -> str:
    """``engine`` for registry_tool/engine/images.py, ``transport`` for registry_tool/transport/pool.py."""
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def nodes(module: Path) -> tuple[ast.AST, ...]:
    """All of a module's syntax."""
    return tuple(ast.walk(ast.parse(module.read_text(encoding="utf-8"))))


def imports(module: Path) -> Iterator[tuple[str, int]]:
    """Top names of what a module imports, anywhere in it, with the line."""
    for node in nodes(module):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0], node.lineno


def names(module: Path) -> Iterator[tuple[str, int]]:
    """Dotted names that a module uses (``sys.exit``, ``print``), with the line."""
    for node in nodes(module):
        if isinstance(node, ast.Name):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}", node.lineno


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-logo", "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=100
    )


def test_imports_only_go_down() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "word"),
    [
        ("oci/digest.py", "from registry_tool.oci.reference import Reference", "registry_tool.oci.digest -> registry_tool.oci.reference"),
        ("local/wrong.py", "import registry_tool.demo", "registry_tool.local.wrong -> registry_tool.demo"),
        ("demo/wrong.py", "import docker", "registry_tool.demo.wrong -> docker"),
        ("engine/wrong.py", "import requests", "registry_tool.engine.wrong -> requests"),
        ("demo/wrong.py", "import rich.table", "registry_tool.demo.wrong -> rich"),
        ("cli/wrong.py", "import pytest", "registry_tool.cli.wrong -> pytest"),
        ("cli/wrong.py", "import registry_tool.pytest_plugin", "registry_tool.cli.wrong -> registry_tool.pytest_plugin"),
        ("cli/wrong.py", "import flask", "registry_tool.cli.wrong -> flask"),
        ("cli/wrong.py", "import yaml", "registry_tool.cli.wrong -> yaml"),
        ("shed.py", "", "registry_tool.shed"),
    ],
)
def test_the_contract_notices(tmp_path: Path, module: str, line: str, word: str) -> None:
    """A contract that cannot be broken says nothing: break each clause once, in a copy."""
    for source in MODULES:
        copy = tmp_path / source.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8"), encoding="utf-8")
    with (tmp_path / "registry_tool" / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert word in done.stdout


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_knows_only_the_libraries_of_its_room(module: Path) -> None:
    for name, line in imports(module):
        if name in STANDARD or name == "registry_tool":
            continue
        assert room(module) in ROOMS_OF.get(name, set()), f"{module}:{line} imports {name}"


@pytest.mark.parametrize(
    "module", [path for path in MODULES if room(path) not in {"cli", "__main__"}], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_nothing_below_cli_prints_reads_arguments_or_exits(module: Path) -> None:
    forbidden = {"print", "input", "sys.argv", "sys.exit", "os._exit", "exit", "quit", "sys.stdout", "sys.stderr", "sys.stdin"}
    used = [f"{module}:{line} {name}" for name, line in names(module) if name in forbidden]
    assert used == []


def test_a_name_says_what_the_thing_is() -> None:
    assert [path for path in PACKAGE.rglob("*") if path.stem in NOT_NAMES] == []


def test_no_class_name_stands_twice() -> None:
    modules: dict[str, list[str]] = {}
    for module in MODULES:
        for node in nodes(module):
            if isinstance(node, ast.ClassDef):
                modules.setdefault(node.name, []).append(str(module.relative_to(PACKAGE)))
    assert {name: paths for name, paths in modules.items() if len(paths) > 1} == {}


def test_top_of_the_package_has_only_rooms() -> None:
    """A wheel has ``_shipped`` beside them: what the package needs of the repository's other files."""
    top = {path.name for path in PACKAGE.iterdir() if path.name not in {"__pycache__", "_shipped"}}
    assert {name for name in top if "." in name} == {"__init__.py", "__main__.py", "py.typed"}
    rooms = {name for name in top if "." not in name}
    assert [name for name in rooms if not (PACKAGE / name / "__init__.py").is_file()] == []


def test_every_library_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = [text for texts in project["optional-dependencies"].values() for text in texts]
    declared = {text.partition(">")[0].strip().lower() for text in (*project["dependencies"], *extra)}
    assert declared == {DISTRIBUTIONS.get(name, name) for name in ROOMS_OF}


def test_every_dependency_has_its_line_in_the_docs() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*document["project"]["dependencies"], *(item for item in document["dependency-groups"]["dev"] if isinstance(item, str))]
    wanted += document["dependency-groups"]["build"]
    wanted += [item for item in document["dependency-groups"]["release"] if isinstance(item, str)]
    told = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8").lower()
    missing = [text for text in wanted if f"| `{text.partition('>')[0].strip().lower()}`" not in told]
    assert missing == []
