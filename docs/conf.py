"""Settings of Sphinx: ``make docs`` builds the site from the folder above, so that README and docs link to each other as they lie."""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx

from registry_tool import __version__

project = "registry-tool"
version = release = __version__
root_doc = "docs/index"
include_patterns = ["*.md", "docs/*.md", "docs/*.rst", "examples/README.md", "examples/*/README.md", "sample_app/README.md"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

# Strict: `-W` makes an error of a link that leads nowhere, also to a heading, and of a name that is not there.
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_member_order = "bysource"

# Nothing is fetched, neither here nor by whoever looks at it.
html_theme = "alabaster"
html_theme_options = {"description": "A local registry and image lifecycle manager", "page_width": "1100px", "font_size": "16px"}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
html_show_sphinx = False
html_copy_source = False


def _lead_in(app: Sphinx, failure: Exception | None) -> None:
    """Lead from the site's first address to its first page, which is README."""
    if failure is None:
        page = '<!doctype html><meta http-equiv="refresh" content="0; url=README.html"><a href="README.html">registry-tool</a>'
        Path(app.outdir, "index.html").write_text(f"{page}\n", encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("build-finished", _lead_in)
