"""``portable`` on real places, with an image that is at hand wherever there is a registry: the registry's own."""

from __future__ import annotations

import hashlib
import json
import os
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from registry_tool.base.dirs import AppDirs
from registry_tool.engine import Engine
from registry_tool.pytest_plugin.portable import PROPERTY
from registry_tool.verify.report.report import VerifyReport
from tests.unit.pytest_plugin.test_plugin import no_other_plugin, parallel, run

pytestmark = [pytest.mark.engine, pytest.mark.slow]
pytest_plugins = ["pytester"]
__all__ = ["no_other_plugin"]

PUSHED = """
    import subprocess
    import sys

    import pytest

    def regctl(*arguments):
        subprocess.run([sys.executable, "-m", "registry_tool", *arguments], check=True)

    @pytest.fixture(scope="session")
    def pushed(local_registry):
        name = f"{local_registry.host}/somebodys/registry:1"
        regctl("tag", BASE, name)
        regctl("push", name)
        yield name
        regctl("rmi", name)
"""


@pytest.fixture
def inner(pytester: pytest.Pytester, session_dirs: AppDirs, registry_image: str, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Where inner runs are, with ``pushed``: the name of an image that is in their ``local_registry``."""
    (pytester.path / "cache").mkdir()
    (pytester.path / "cache/registry-tool").symlink_to(session_dirs.cache)
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.path / "state"))
    pytester.makeconftest(PUSHED.replace("BASE", repr(registry_image)))
    return pytester


def certificates(pytester: pytest.Pytester) -> dict[str, VerifyReport]:
    """Test -> its certificate, out of the report."""
    report = ET.parse(pytester.path / "report.xml")  # noqa: S314 - our own
    return {
        case.get("name", ""): VerifyReport.parse(kept.get("value", "").encode())
        for case in report.iter("testcase")
        for kept in case.iter("property")
        if kept.get("name") == PROPERTY
    }


def red(certificate: VerifyReport) -> list[str]:
    return [point.name for verified in certificate.results for point in verified.checks if point.ok is False]


def test_failed_check_fails_the_test_and_a_passed_report_is_in_junit(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        def test_red(pushed, portable):
            portable(pushed, http="4000:5000/v2/", status=418, timeout=10)

        def test_green(pushed, portable):
            certificate = portable(pushed, http="4000:5000/v2/", status=200)
            assert [proven.environment.name for proven in certificate.results] == ["docker"]
        """
    )
    result = run(inner, "--registry-require", "--junit-xml=report.xml", timeout=600)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E   *NotPortable: localhost:*/somebodys/registry:1 is not verified", "E   *docker: probes: *"])
    assert "portable.py" not in result.stdout.str(), "the line that fails is the test's own"
    kept = certificates(inner)
    assert red(kept["test_red"]) == ["probes"]
    assert kept["test_green"].ok
    assert "test_green" in kept["test_green"].command


def test_missing_image_is_a_failure(inner: pytest.Pytester) -> None:
    inner.makepyfile("def test_none(registry, portable):\n    portable(f'{registry.host}/no/such:1', on='here')\n")
    result = run(inner, timeout=600)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E   *NotPortable: 127.0.0.1:*/no/such:1 is not verified"])


@pytest.mark.parametrize("required", [False, True], ids=["", "required"])
def test_unavailable_engine_is_skipped_or_fails(inner: pytest.Pytester, required: bool) -> None:
    meta = Path(os.environ["DOCKER_CONFIG"]) / "contexts" / "meta" / hashlib.sha256(b"gone").hexdigest() / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": "gone", "Endpoints": {"docker": {"Host": f"unix://{inner.path}/nobody.sock"}}}))
    inner.makepyfile("def test_elsewhere(image_factory, portable):\n    portable(image_factory(), on='context:gone')\n")
    result = run(inner, "-rs", *(["--registry-require"] if required else []), timeout=600)
    assert result.parseoutcomes() == ({"failed": 1} if required else {"skipped": 1})
    word = "an engine to verify on is required here and missing: " if required else "an engine to verify on is missing: "
    result.stdout.fnmatch_lines([f"*{word}*nobody.sock*"])


def test_missing_context_is_no_unavailable_engine(inner: pytest.Pytester) -> None:
    inner.makepyfile("def test_elsewhere(image_factory, portable):\n    portable(image_factory(), on='context:no-such-context')\n")
    result = run(inner, timeout=600)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E   *UsageError: *no-such-context*"])


@pytest.mark.soak
def test_two_workers_verify_in_parallel(inner: pytest.Pytester, engine: Engine) -> None:
    body = """
        def test_here(pushed, portable):
            portable(pushed, on="docker", http="4000:5000/v2/", status=200)
        """
    inner.makepyfile(test_one=body, test_two=body)
    parallel(inner, "--registry-require").assert_outcomes(passed=2)
    assert not [name for image in engine.images() for name in image.names if "/somebodys/registry" in name]
