from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

PACKAGE = """
from registry_tool.base.deferred import deferred
__getattr__ = deferred(__name__, {"work": f"{__name__}.heavy"})
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A package whose name ``work`` is deferred."""
    folder = tmp_path / "package_of_test_deferred"
    folder.mkdir()
    (folder / "__init__.py").write_text(PACKAGE, encoding="utf-8")
    (folder / "heavy.py").write_text("def work(): return 7\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield __import__(folder.name)
    for name in [name for name in sys.modules if name.startswith(folder.name)]:
        del sys.modules[name]


def test_module_of_a_deferred_name_is_imported_on_first_access(package: ModuleType) -> None:
    assert f"{package.__name__}.heavy" not in sys.modules
    assert package.work() == 7
    assert package.work is sys.modules[f"{package.__name__}.heavy"].work
    assert "work" in vars(package)


def test_unknown_name_of_a_package_with_deferred_names_is_an_attribute_error(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match="module 'package_of_test_deferred' has no attribute 'rest'"):
        package.rest  # noqa: B018 - access is enough
