"""Registries and images as pytest fixtures, and the proof as an assertion; ``docs/pytest.md`` shows their use.

pytest imports this in every run where the package is installed: whatever takes time is imported by the fixture that needs it.
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
"""The engine of this run, or why there is none; looked for once."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("registry-tool", "container registries and engines")
    group.addoption(
        "--registry-engine",
        metavar="CONTEXT",
        help="the docker context whose engine is used; 'none' for no engine at all (default: the one that docker would use)",
    )
    group.addoption(
        "--registry-image", metavar="IMAGE", help="what local_registry runs (default: registry:2, or a stand-in where it cannot be had)"
    )
    group.addoption(
        "--registry-require",
        action="store_true",
        help="tests that need an engine fail where there is none, instead of being skipped (as REGISTRY_TOOL_REQUIRE=engine does)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "registry_engine: needs a container engine; skipped where there is none, see --registry-require")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let the engine go."""
    engine = config.stash.get(_ENGINE, None)
    if engine is not None and not isinstance(engine, str):
        engine.close()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Keep what needs an engine from being tried without one."""
    if item.get_closest_marker("registry_engine"):
        _engine(item.config)


@pytest.fixture
def registry() -> Iterator[Served]:
    """An empty registry in this process, for the test alone. Needs no engine."""
    from registry_tool.pytest_plugin.registries import in_process

    with in_process() as served:
        yield served


@pytest.fixture(scope="session")
def local_registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A real registry in a container, for the whole run of this process (with pytest-xdist: one for each worker)."""
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
    """Makes tiny images and pushes them, to ``registry`` unless another one is named. Needs no engine."""
    import hashlib

    from registry_tool.pytest_plugin.images import ImageFactory

    node: pytest.Item = request.node
    word = re.sub(r"[^a-z0-9]+", "-", node.name.lower())[:40].strip("-") or "test"
    own = f"pytest/{word}-{hashlib.sha256(node.nodeid.encode()).hexdigest()[:8]}"
    return ImageFactory(lambda: request.getfixturevalue("registry"), own)


@pytest.fixture
def portable(request: pytest.FixtureRequest) -> Portable:
    """Asserts that an image runs on an engine that has never seen it."""
    from registry_tool.base.dirs import app_dirs
    from registry_tool.pytest_plugin.portable import portable_for
    from registry_tool.verify.verify import DEFAULT, verify

    node: pytest.Item = request.node
    config, engine = request.config, _engine(request.config)

    def prove(asked: VerifySpec, on: Sequence[str]) -> VerifyReport:
        require = (DEFAULT,) if _required(config) and not on else ()
        return verify(engine, asked, on, dirs=app_dirs(), require=require, command=f"pytest {node.nodeid}")

    return portable_for(node, prove, lambda why: _missing(config, "an engine to verify on", why))


def _engine(config: pytest.Config) -> Engine:
    """The engine that was asked for. Skips the test where there is none, or fails it."""
    if _ENGINE not in config.stash:
        config.stash[_ENGINE] = _look(config.getoption("--registry-engine"))
    found = config.stash[_ENGINE]
    if isinstance(found, str):
        _missing(config, "a container engine", found)
    return found


def _required(config: pytest.Config) -> bool:
    words = os.environ.get("REGISTRY_TOOL_REQUIRE", "").split(",")
    return bool(config.getoption("--registry-require")) or "engine" in map(str.strip, words)


def _missing(config: pytest.Config, what: str, why: str) -> NoReturn:
    """Skip the test for a person; fail it where nothing may be skipped."""
    if _required(config):
        pytest.fail(f"{what} is required here and missing: {why}", pytrace=False)
    pytest.skip(f"{what} is missing: {why}")


def _look(asked: str | None) -> Engine | str:
    if asked == "none":
        return "--registry-engine=none"
    from registry_tool.base.errors import RegistryToolError, Unreachable
    from registry_tool.engine import connect

    try:
        return connect(context=asked)
    except Unreachable as error:
        return _words(error)
    except RegistryToolError as error:
        # A context that is not there is no missing engine: nothing may be skipped for a slip of the pen.
        raise _failure(error) from None


def _failure(error: RegistryToolError) -> BaseException:
    """What a test fails with: what happened and what to do, without our own code below it."""
    return pytest.fail.Exception(_words(error), pytrace=False)


def _words(error: RegistryToolError) -> str:
    return "\n".join(filter(None, (error.message, error.hint, *error.excerpt)))
