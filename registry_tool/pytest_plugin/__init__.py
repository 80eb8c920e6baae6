"""pytest fixtures for registries, images and ``verify`` (docs/pytest.md).

pytest imports this in every run where the package is installed, so each fixture imports what it needs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from registry_tool.base.errors import RegistryToolError
    from registry_tool.engine import Engine
    from registry_tool.pytest_plugin.images import ImageFactory
    from registry_tool.pytest_plugin.portable import Portable
    from registry_tool.pytest_plugin.registries import Served
    from registry_tool.verify.report.report import VerifyReport
    from registry_tool.verify.spec import VerifySpec

_ENGINE = pytest.StashKey["Engine | str"]()
"""The engine of this session, or the reason why there is none."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of this plugin."""
    group = parser.getgroup("registry-tool", "container registries and engines")
    group.addoption(
        "--registry-engine",
        metavar="CONTEXT",
        help="docker context whose engine is used; 'none' for no engine (default: the engine that docker would use)",
    )
    group.addoption(
        "--registry-image", metavar="IMAGE", help="image of local_registry (default: registry:2, or a substitute if it is unavailable)"
    )
    group.addoption(
        "--registry-require",
        action="store_true",
        help="tests that need an engine fail without one instead of being skipped (as with REGISTRY_TOOL_REQUIRE=engine)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "registry_engine: needs a container engine; skipped without one, see --registry-require")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close the engine's client."""
    engine = config.stash.get(_ENGINE, None)
    if engine is not None and not isinstance(engine, str):
        engine.close()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip or fail tests that need an engine if there is none."""
    if item.get_closest_marker("registry_engine"):
        _engine(item.config)


@pytest.fixture
def registry() -> Iterator[Served]:
    """An empty registry in this process, for one test. Needs no engine."""
    from registry_tool.pytest_plugin.registries import in_process

    with in_process() as served:
        yield served


@pytest.fixture(scope="session")
def local_registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A real registry in a container, for the session (with pytest-xdist: one for each worker)."""
    from registry_tool.base.dirs import app_dirs
    from registry_tool.base.errors import RegistryToolError
    from registry_tool.pytest_plugin.registries import in_container

    config = request.config
    worker = getattr(config, "workerinput", {}).get("workerid", "main")
    engine, scratch = _engine(config), tmp_path_factory.mktemp("local-registry")
    try:
        with in_container(engine, app_dirs(), scratch, worker=worker, image=config.getoption("--registry-image")) as served:
            yield served
    except RegistryToolError as error:
        raise _failure(error) from None


@pytest.fixture
def image_factory(request: pytest.FixtureRequest) -> ImageFactory:
    """Builds tiny images and pushes them, to ``registry`` by default. Needs no engine."""
    import hashlib

    from registry_tool.pytest_plugin.images import ImageFactory

    node: pytest.Item = request.node
    word = re.sub(r"[^a-z0-9]+", "-", node.name.lower())[:40].strip("-") or "test"
    repository = f"pytest/{word}-{hashlib.sha256(node.nodeid.encode()).hexdigest()[:8]}"
    return ImageFactory(lambda: request.getfixturevalue("registry"), repository)


@pytest.fixture
def portable(request: pytest.FixtureRequest) -> Portable:
    """Asserts that an image runs on a clean engine."""
    from registry_tool.base.dirs import app_dirs
    from registry_tool.pytest_plugin.portable import portable_for
    from registry_tool.verify.verify import DEFAULT, verify

    node: pytest.Item = request.node
    config, engine = request.config, _engine(request.config)

    def run_verify(spec: VerifySpec, on: Sequence[str]) -> VerifyReport:
        require = (DEFAULT,) if _required(config) and not on else ()
        return verify(engine, spec, on, dirs=app_dirs(), require=require, command=f"pytest {node.nodeid}")

    return portable_for(node, run_verify, lambda why: _missing(config, "an engine to verify on", why))


def _engine(config: pytest.Config) -> Engine:
    """The engine of ``--registry-engine``. Skips or fails the test if there is none."""
    if _ENGINE not in config.stash:
        config.stash[_ENGINE] = _connect(config.getoption("--registry-engine"))
    engine = config.stash[_ENGINE]
    if isinstance(engine, str):
        _missing(config, "a container engine", engine)
    return engine


def _required(config: pytest.Config) -> bool:
    words = os.environ.get("REGISTRY_TOOL_REQUIRE", "").split(",")
    return bool(config.getoption("--registry-require")) or "engine" in map(str.strip, words)


def _missing(config: pytest.Config, what: str, why: str) -> NoReturn:
    """Skip the test, or fail it with ``--registry-require``."""
    if _required(config):
        pytest.fail(f"{what} is required here and missing: {why}", pytrace=False)
    pytest.skip(f"{what} is missing: {why}")


def _connect(context: str | None) -> Engine | str:
    if context == "none":
        return "--registry-engine=none"
    from registry_tool.base.errors import RegistryToolError, Unreachable
    from registry_tool.engine import connect

    try:
        return connect(context=context)
    except Unreachable as error:
        return _words(error)
    except RegistryToolError as error:
        # A context that does not exist is an error, not a missing engine.
        raise _failure(error) from None


def _failure(error: RegistryToolError) -> BaseException:
    """The failure of a test: message and hint of ``error``, without a traceback."""
    return pytest.fail.Exception(_words(error), pytrace=False)


def _words(error: RegistryToolError) -> str:
    return "\n".join(filter(None, (error.message, error.hint, *error.excerpt)))
