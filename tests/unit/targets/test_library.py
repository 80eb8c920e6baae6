"""The program as a library: what ``docs/library.md`` says to type works, and importing it costs nothing before it is used."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

import registry_tool
from registry_tool.server import run_registry
from tests.support.content import OCI_IMAGE, layer, make_image, put_manifest
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "library.md"


def test_examples_of_the_library_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = layer(b"hello")
    with run_registry() as server:
        image = make_image(server.port, "john/get-started", "part2", content, labels={"greeting": "hello"})
        put_manifest(server.port, "john/get-started", "latest", image.raw, OCI_IMAGE)
        # An empty line ends what is expected; a fence would be taken for more of it.
        text = re.sub(r"^```.*$", "", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
        page = doctest.DocTestParser().get_doctest(text, {"host": server.host}, PAGE.name, str(PAGE), 0)
        output: list[str] = []
        result = doctest.DocTestRunner().run(page, out=output.append)
    assert result.failed == 0, "".join(output)
    assert result.attempted >= 10
    assert (tmp_path / "layer.tar.gz").read_bytes() == content
    assert server.errors == []


def test_package_imports_the_registry_on_first_access() -> None:
    code = (
        "import sys, registry_tool; before = {'requests', 'registry_tool.targets.registry'} & set(sys.modules); "
        "from registry_tool import Registry; "
        "sys.exit(str(before) if before or Registry is not sys.modules['registry_tool.targets.registry'].Registry else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr


def test_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'registry_tool' has no attribute 'Nothing'"):
        registry_tool.Nothing  # noqa: B018 - access is enough
    assert not hasattr(registry_tool, "Repository")
