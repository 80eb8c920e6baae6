"""The site of ``make docs``: it has every page in both languages, fetches nothing, and a link that leads nowhere is an error."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.documents import DOCUMENTS
from tests.support.paths import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("docs-site"),
    pytest.mark.skipif(find_spec("sphinx") is None, reason="no Sphinx: make setup-release"),
]


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """The command of ``make docs``."""
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ndocs:")[2]
    [line] = [line for line in recipe.partition("\n\n")[0].splitlines() if "-m sphinx" in line]
    words = {"$(python)": sys.executable, "build/docs": str(target)}
    command = [words.get(word, word) for word in line.strip().removeprefix("@").split()]
    return subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def test_site_has_every_document_and_its_first_page_leads_to_the_readme(site: Path) -> None:
    assert [path for path in DOCUMENTS if not (site / path.relative_to(ROOT).with_suffix(".html")).exists()] == []
    assert 'url=README.html"' in (site / "index.html").read_text(encoding="utf-8")
    menu = (site / "README.html").read_text(encoding="utf-8")
    for page in ("README.zh.html", "docs/tutorial.en.html", "docs/tutorial.zh.html", "docs/cli.html", "docs/api.html"):
        assert f'href="{page}"' in menu, page


def test_site_has_the_names_of_the_library(site: Path) -> None:
    page = (site / "docs/api.html").read_text(encoding="utf-8")
    for name in ("targets.registry.Registry.open", "content.delete.plan", "base.errors.NotFound", "pytest_plugin.images.ImageFactory"):
        assert f'id="registry_tool.{name}"' in page, name


def test_site_fetches_nothing_from_elsewhere(site: Path) -> None:
    fetched = re.compile(
        r'<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)="(?:https?:)?//|url\(["\']?(?:https?:)?//|@import', re.IGNORECASE
    )
    pages = [path for pattern in ("*.html", "*.css") for path in site.rglob(pattern)]
    assert len(pages) > 10
    assert [path.name for path in pages if fetched.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("link", ["verify.md#nowhere", "#nowhere", "nothing.md", "../nothing.txt"])
def test_link_that_leads_nowhere_is_an_error(tmp_path: Path, link: str) -> None:
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs/conf.py", tmp_path / "docs")
    (tmp_path / "docs/verify.md").write_text("# Somewhere\n", encoding="utf-8")
    (tmp_path / "docs/index.md").write_text(f"# Pages\n\n[a link]({link})\n\n```{{toctree}}\nverify\n```\n", encoding="utf-8")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode == 1, done.stderr
    assert link.rpartition("#")[2] in done.stderr
