"""Who may call whom, and who may know which library: the picture of docs/architecture.md, held down."""

from __future__ import annotations

import ast
import functools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = ROOT / "registry_tool"
MODULES = sorted(PACKAGE.rglob("*.py"))

ROOMS_OF = {
    "backports": {"base"},
    "bcrypt": {"local"},
    "click": {"cli"},
    "cryptography": {"base"},
    "cyclonedx": {"bundle"},
    "docker": {"engine"},
    "isal": {"base"},
    "packageurl": {"bundle"},
    "pytest": {"pytest_plugin"},
    "requests": {"transport"},
    "rich": {"cli"},
    "tomli": {"base"},
    "urllib3": {"engine", "transport"},  # the SDK lets its errors through; transport stands on its connections
    "yaml": {"base"},
}
"""Library -> the rooms that may import it. What is not here may be imported nowhere."""

DISTRIBUTIONS = {"backports": "backports-zstd", "cyclonedx": "cyclonedx-python-lib", "packageurl": "packageurl-python", "yaml": "pyyaml"}
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


BREACHES = (
    ("oci/digest.py", "from registry_tool.oci.reference import Reference", "registry_tool.oci.digest -> registry_tool.oci.reference"),
    ("local/wrong.py", "import registry_tool.demo", "registry_tool.local.wrong -> registry_tool.demo"),
    ("demo/wrong.py", "import docker", "registry_tool.demo.wrong -> docker"),
    ("engine/wrong.py", "import requests", "registry_tool.engine.wrong -> requests"),
    ("demo/wrong.py", "import rich.table", "registry_tool.demo.wrong -> rich"),
    ("cli/wrong.py", "import pytest", "registry_tool.cli.wrong -> pytest"),
    ("cli/wrong.py", "import registry_tool.pytest_plugin", "registry_tool.cli.wrong -> registry_tool.pytest_plugin"),
    ("cli/wrong.py", "import flask", "registry_tool.cli.wrong -> flask"),
    ("cli/wrong.py", "import yaml", "registry_tool.cli.wrong -> yaml"),
    ("local/wrong.py", "import cryptography.x509", "registry_tool.local.wrong -> cryptography"),
    ("base/wrong.py", "import cryptography.x509", "registry_tool.base.wrong -> cryptography"),
    ("shed.py", "", "registry_tool.shed"),
)
"""Module, a line that it must not have, and what the linter says of it."""


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-logo", "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=600
    )


def test_imports_only_go_down() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


def test_each_clause_of_the_contract_can_be_broken(tmp_path: Path) -> None:
    """A contract that cannot be broken says nothing: break each clause once, in a copy."""
    shutil.copytree(PACKAGE, tmp_path / "registry_tool", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for module, line, _ in BREACHES:
        with (tmp_path / "registry_tool" / module).open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert [line or module for module, line, word in BREACHES if word not in done.stdout] == [], done.stdout


def test_a_module_knows_only_the_libraries_of_its_room() -> None:
    assert [
        f"{module}:{line} imports {name}"
        for module in MODULES
        for name, line in imports(module)
        if name not in STANDARD and name != "registry_tool" and room(module) not in ROOMS_OF.get(name, set())
    ] == []


def test_nothing_below_cli_prints_reads_arguments_or_exits() -> None:
    forbidden = {"print", "input", "sys.argv", "sys.exit", "os._exit", "exit", "quit", "sys.stdout", "sys.stderr", "sys.stdin"}
    below = [module for module in MODULES if room(module) not in {"cli", "__main__"}]
    assert [f"{module}:{line} {name}" for module in below for name, line in names(module) if name in forbidden] == []


def test_a_name_says_what_the_thing_is() -> None:
    assert [path for path in PACKAGE.rglob("*") if path.stem in NOT_NAMES] == []


def test_no_class_name_stands_twice() -> None:
    modules: dict[str, list[str]] = {}
    for module in MODULES:
        for node in nodes(module):
            if isinstance(node, ast.ClassDef):
                modules.setdefault(node.name, []).append(str(module.relative_to(PACKAGE)))
    assert {name: paths for name, paths in modules.items() if len(paths) > 1} == {}


def test_every_public_method_is_documented_where_it_is_declared() -> None:
    """Ruff sees to modules, classes and functions; what implements an interface, or overrides a library's method, repeats nothing."""
    classes = [node for module in MODULES for node in nodes(module) if isinstance(node, ast.ClassDef)]
    methods = [
        (owner, item)
        for owner in classes
        if owner.name[0] != "_"
        for item in owner.body
        if isinstance(item, ast.FunctionDef) and item.name[0] != "_"
    ]
    documented = {item.name for _, item in methods if ast.get_docstring(item)}
    ours = {owner.name for owner in classes if not any(isinstance(base, ast.Attribute) for base in owner.bases)}
    ours |= {"Exception", "NamedTuple", "Protocol"}
    missing = [
        f"{owner.name}.{item.name}"
        for owner, item in methods
        if item.name not in documented and not any(isinstance(base, ast.Attribute) or ast.unparse(base) not in ours for base in owner.bases)
    ]
    assert missing == []


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
    stated = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8").lower()
    missing = [text for text in wanted if f"| `{text.partition('>')[0].strip().lower()}`" not in stated]
    assert missing == []
