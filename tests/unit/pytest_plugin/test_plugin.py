"""The pytest plugin in runs of its own: what is skipped, what fails, what is there, alone and with pytest-xdist."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from registry_tool.base import resources
from tests.support.documents import blocks
from tests.support.paths import ROOT

pytest_plugins = ["pytester"]

PLUGIN = ("-p", "registry_tool.pytest_plugin", "-p", "no:cacheprovider", "-W", "error")
NEEDS_ENGINE = """
import pytest

@pytest.mark.registry_engine
def test_marked():
    pass

def test_container(local_registry):
    pass

def test_none(registry):
    pass
"""


@pytest.fixture(autouse=True)
def no_other_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed beside it must not matter; the plugin is named, so that it is this checkout's."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run_in_process(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    """A run in this process, where neither what is imported nor what outlives it is the question."""
    return pytester.runpytest_inprocess(*PLUGIN, *options)


def run(pytester: pytest.Pytester, *options: str, timeout: float = 600) -> pytest.RunResult:
    """A run in a process of its own."""
    return pytester.runpytest_subprocess(*PLUGIN, *options, timeout=timeout)


def parallel(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    """The same with two workers, which have the tests of a file each."""
    return run(pytester, "-p", "xdist", "-n", "2", "--dist", "loadfile", *options)


# Where there is no engine.


@pytest.mark.parametrize("option", ["--registry-engine=none", "-v"])
def test_tests_with_engine_are_skipped_with_the_reason(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{pytester.path}/nobody.sock")
    pytester.makepyfile(NEEDS_ENGINE)
    result = run_in_process(pytester, "-rs", option)
    result.assert_outcomes(passed=1, skipped=2)
    reason = "--registry-engine=none" if option != "-v" else f"no container engine found: there is no unix://{pytester.path}/nobody.sock"
    assert result.stdout.str().count(f"a container engine is missing: {reason}") >= 1


@pytest.mark.parametrize("how", ["option", "environment"])
def test_required_engine_that_is_missing_is_a_failure(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "environment":
        monkeypatch.setenv("REGISTRY_TOOL_REQUIRE", "podman, engine")
    pytester.makepyfile(NEEDS_ENGINE)
    result = run_in_process(pytester, "--registry-engine=none", *(["--registry-require"] if how == "option" else []))
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["a container engine is required here and missing: --registry-engine=none"])


def test_requiring_the_engine_requires_nothing_else(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_TOOL_REQUIRE", "podman,docker-engine")
    pytester.makepyfile(NEEDS_ENGINE)
    run_in_process(pytester, "--registry-engine=none").assert_outcomes(passed=1, skipped=2)


def test_missing_context_is_an_error(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(NEEDS_ENGINE)
    result = run_in_process(pytester, "--registry-engine=no-such-context")
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["*no-such-context*"])


# What is there without one.


def test_each_test_has_an_empty_registry(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        seen = set()

        @pytest.mark.parametrize("turn", [1, 2])
        def test_it_is_empty(registry, image_factory, turn):
            assert list(registry.client.catalog()) == []
            image = image_factory({"greeting": "hello"}, name="john/app:1")
            assert image.reference == f"{registry.host}/john/app:1"
            assert registry.client.repository("john/app").tags() == ("1",)
            seen.add(image.digest)

        def test_the_bytes_are_the_same():
            assert len(seen) == 1
        """
    )
    run_in_process(pytester, "--registry-engine=none", "--strict-markers").assert_outcomes(passed=3)


def test_own_fixture_of_the_same_name_takes_precedence(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("import pytest\n\n@pytest.fixture\ndef registry():\n    return 'mine'\n")
    pytester.makepyfile("def test_mine(registry):\n    assert registry == 'mine'\n")
    run_in_process(pytester).assert_outcomes(passed=1)


def test_unused_plugin_imports_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os
        import sys
        from pathlib import Path

        def test_nothing():
            loaded = {name for name in sys.modules if name.startswith("registry_tool")}
            assert loaded == {"registry_tool", "registry_tool.pytest_plugin"}
            assert not {"docker", "requests", "urllib3", "rich", "click"} & set(sys.modules)
            assert not Path(os.environ["XDG_STATE_HOME"]).exists()
        """
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(pytester.path / "state"))
        run(pytester).assert_outcomes(passed=1)


def test_in_process_registry_imports_no_engine_library(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_registry(registry):
            assert not {"docker", "requests", "urllib3"} & set(sys.modules)
        """
    )
    run(pytester).assert_outcomes(passed=1)


def test_fixtures_options_and_marker_are_in_pytests_help(pytester: pytest.Pytester) -> None:
    # In this process, the module `portable` may have taken the place of the fixture in its package.
    results = (run_in_process(pytester, "--markers"), run_in_process(pytester, "--help"), run(pytester, "--fixtures"))
    text = "".join(result.stdout.str() for result in results)
    for word in ("@pytest.mark.registry_engine: ", "--registry-engine=", "--registry-image=", "--registry-require"):
        assert word in text, word
    for fixture in ("registry", "local_registry", "image_factory", "portable"):
        assert re.search(rf"^{fixture}\b.* -- .*pytest_plugin", text, re.MULTILINE), fixture


def test_example_of_the_docs_runs(pytester: pytest.Pytester) -> None:
    written(pytester)
    run_in_process(pytester, "--registry-engine=none").assert_outcomes(passed=2, skipped=2)


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_example_of_the_docs_runs_with_an_engine(pytester: pytest.Pytester, kept_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "cache"))
    (pytester.path / "cache").mkdir()
    (pytester.path / "cache/registry-tool").symlink_to(kept_cache)
    shutil.copytree(resources.sample_app(), pytester.path / "sample_app", ignore=shutil.ignore_patterns("wheels", "__pycache__"))
    written(pytester)
    run(pytester, "--registry-require", timeout=280).assert_outcomes(passed=4)


def written(pytester: pytest.Pytester) -> None:
    """The test file of docs/pytest.md, where whoever reads it has regctl on their path."""
    [page] = blocks(ROOT / "docs" / "pytest.md", "python")
    (pytester.path / "test_release.py").write_text(page, encoding="utf-8")
    pytester._monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


# With pytest-xdist.


def test_workers_share_nothing_in_the_process_and_skip_as_one_process_does(pytester: pytest.Pytester) -> None:
    body = (
        NEEDS_ENGINE
        + """
import os

@pytest.mark.parametrize("turn", [1, 2, 3])
def test_it_is_empty(registry, image_factory, turn, record_property):
    assert os.environ["PYTEST_XDIST_WORKER"] in ("gw0", "gw1")
    assert list(registry.client.catalog()) == []
    image = image_factory()
    record_property("image", image.reference.partition("/")[2])
"""
    )
    pytester.makepyfile(test_one=body, test_two=body)
    result = parallel(pytester, "--registry-engine=none", "--junit-xml=report.xml")
    result.assert_outcomes(passed=6 + 2, skipped=4)
    names = re.findall(r'name="image" value="([^"]+)"', (pytester.path / "report.xml").read_text(encoding="utf-8"))
    assert len(set(names)) == 6, "each test's images have names of their own, in whichever worker it is"


def test_workers_fail_as_one_process_does(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_one=NEEDS_ENGINE, test_two=NEEDS_ENGINE)
    parallel(pytester, "--registry-engine=none", "--registry-require").assert_outcomes(passed=2, errors=4)
