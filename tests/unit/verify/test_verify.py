"""The environments of a verification, whatever becomes of each; the checks are tested elsewhere."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from registry_tool.base.codec import rfc3339
from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import (
    Conflict,
    EngineError,
    EnvironmentUnavailable,
    NotFound,
    ProvisionFailed,
    RegistryToolError,
    UsageError,
)
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import Reference
from registry_tool.server import RunningRegistry
from registry_tool.verify import verify as module
from registry_tool.verify.report.report import VerifyReport
from registry_tool.verify.result import Check, EnvironmentInfo, EnvironmentResult
from registry_tool.verify.spec import VerifySpec
from registry_tool.verify.verify import verify
from tests.support.content import PushedManifest, make_image, make_index
from tests.support.fake_environments import ENGINE, FakeEnvironments, install_fake_environments


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeEnvironments:
    return install_fake_environments(monkeypatch)


@pytest.fixture
def image(registry: RunningRegistry) -> PushedManifest:
    return make_image(registry.port, "john/app", "1", platform="linux/amd64")


@pytest.fixture
def spec(registry: RunningRegistry, image: PushedManifest) -> VerifySpec:
    return VerifySpec(image=Reference.parse(f"{registry.host}/john/app:1", default_host=""))


def run(spec: VerifySpec, dirs: AppDirs, *environments: str, **more: Any) -> VerifyReport:
    return verify(ENGINE, spec, environments, dirs=dirs, **more)


def names(report: VerifyReport) -> list[str]:
    return [each.environment.name for each in report.results]


def test_environments_are_used_one_after_the_other(fake: FakeEnvironments, spec: VerifySpec, dirs: AppDirs) -> None:
    report = run(spec, dirs, "docker", "podman", command="regctl verify")
    assert fake.events == ["open docker", "prove docker", "close docker", "open podman", "prove podman", "close podman"]
    assert report.ok
    assert names(report) == ["docker", "podman"]
    assert (report.command, report.notes, report.error) == ("regctl verify", (), None)
    assert report.tool.startswith("registry-tool ")
    assert all(min(each.seconds.setup, each.seconds.checks, each.seconds.teardown) >= 0 for each in report.results)
    assert VerifyReport.parse(report.as_bytes()).as_bytes() == report.as_bytes()


def test_report_has_the_registrys_image(fake: FakeEnvironments, spec: VerifySpec, dirs: AppDirs, image: PushedManifest) -> None:
    subject = run(spec, dirs).image
    assert subject.reference == str(spec.image)
    assert str(subject.digest) == image.digest
    assert subject.media_type == image.media_type
    assert subject.size == image.size + len(image.raw)
    assert subject.platform == "linux/amd64"
    assert subject.config == Digest.of(image.config)
    assert [layer.digest for layer in subject.layers] == list(map(Digest.of, image.layers))


def test_index_without_the_platform_is_recorded_by_its_digest(fake: FakeEnvironments, registry: RunningRegistry, dirs: AppDirs) -> None:
    index = make_index(registry.port, "john/far", "1", make_image(registry.port, "john/far", platform="linux/s390x"))
    subject = run(VerifySpec(image=Reference.parse(f"{registry.host}/john/far:1", default_host="")), dirs).image
    assert str(subject.digest) == index.digest
    assert (subject.size, subject.config, subject.layers) == (None, None, ())


def test_default_environment_is_docker(fake: FakeEnvironments, spec: VerifySpec, dirs: AppDirs) -> None:
    report = run(spec, dirs)
    assert names(report) == ["docker"]
    assert report.notes == ()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (EnvironmentUnavailable("too old", hint="Do."), "too old"),
        (ProvisionFailed("no", hint="Do."), "docker is not available: no"),
    ],
)
def test_unavailable_default_falls_back_to_the_current_engine_with_a_note(
    fake: FakeEnvironments, spec: VerifySpec, dirs: AppDirs, error: RegistryToolError, message: str
) -> None:
    fake.missing["docker"] = error
    report = run(spec, dirs)
    assert report.ok
    assert names(report) == ["here"]
    assert report.notes == (f"not on a clean docker: {message}; on the current engine instead, which verifies the least",)


def test_required_docker_that_is_unavailable_is_a_failure(fake: FakeEnvironments, spec: VerifySpec, dirs: AppDirs) -> None:
    fake.missing["docker"] = EnvironmentUnavailable("docker is not available: no", hint="Do.")
    report = run(spec, dirs, require=["docker"])
    assert not report.ok
    assert names(report) == ["here"], "the others are verified all the same"
    assert report.error is not None
    assert (report.error.code, report.error.exit_code, report.error.hint) == ("proof-failed", 1, "Do.")


def test_requested_environment_that_is_unavailable_is_an_error(fake: FakeEnvironments, spec: VerifySpec, dirs: AppDirs) -> None:
    fake.missing["docker"] = Conflict("something is in the way", hint="Move it.")
    report = run(spec, dirs, "docker", "podman", require=["docker"])
    assert names(report) == ["podman"], "the other has its turn"
    assert report.error is not None
    assert (report.error.code, report.error.exit_code) == ("no-place", 3)
    assert (report.error.message, report.error.hint) == ("docker is not available: something is in the way", "Move it.")


def test_neither_docker_nor_the_current_engine_is_an_error(fake: FakeEnvironments, spec: VerifySpec, dirs: AppDirs) -> None:
    fake.missing = {"docker": EnvironmentUnavailable("no docker"), "here": Conflict("not here")}
    report = run(spec, dirs)
    assert (report.ok, report.results) == (False, ())
    assert report.error is not None
    assert report.error.exit_code == 3


def test_error_in_one_environment_keeps_the_results_of_the_others(fake: FakeEnvironments, spec: VerifySpec, dirs: AppDirs) -> None:
    fake.broken["docker"] = EngineError("it died")
    report = run(spec, dirs, "docker", "podman")
    assert names(report) == ["podman"]
    assert report.error is not None
    assert (report.error.code, report.error.message) == ("engine-error", "it died")
    assert "close docker" in fake.events


def test_environment_that_cannot_be_removed_keeps_its_result(fake: FakeEnvironments, spec: VerifySpec, dirs: AppDirs) -> None:
    fake.stuck["docker"] = EngineError("it stays")
    report = run(spec, dirs, "docker")
    assert names(report) == ["docker"]
    assert not report.ok
    assert report.error is not None
    assert report.error.message == "it stays"


def test_missing_name_starts_no_engine(fake: FakeEnvironments, spec: VerifySpec, dirs: AppDirs) -> None:
    report = run(replace(spec, image=replace(spec.image, tag="none")), dirs, "docker")
    assert fake.events == []
    assert report.error is not None
    assert (report.error.code, report.error.exit_code, report.image.digest) == ("not-found", 1, None)


def test_unreachable_registry_is_an_error(fake: FakeEnvironments, spec: VerifySpec, dirs: AppDirs) -> None:
    report = run(replace(spec, image=replace(spec.image, host="127.0.0.1:1")), dirs, "docker")
    assert report.error is not None
    assert report.error.exit_code == 3


@pytest.mark.parametrize(
    ("environments", "require", "word"),
    [
        (("nowhere",), (), "not an environment"),
        (("docker", "docker"), (), "named twice"),
        (("podman",), ("docker",), "docker is required, and is not among: podman"),
        ((), ("podman",), "podman is required, and is not among: docker"),
    ],
)
def test_wrong_environments_are_refused_before_anything_starts(
    fake: FakeEnvironments, spec: VerifySpec, dirs: AppDirs, environments: tuple[str, ...], require: tuple[str, ...], word: str
) -> None:
    with pytest.raises(UsageError, match=word):
        run(spec, dirs, *environments, require=require)
    assert fake.events == []


def test_usage_error_of_an_environment_stays_one(fake: FakeEnvironments, spec: VerifySpec, dirs: AppDirs) -> None:
    fake.missing["docker"] = UsageError("no such context")
    with pytest.raises(UsageError, match="no such context"):
        run(spec, dirs, "docker")


def test_missing_compose_file_is_not_found(fake: FakeEnvironments, spec: VerifySpec, dirs: AppDirs) -> None:
    with pytest.raises(NotFound):
        run(replace(spec, stack=dirs.state / "none.yml"), dirs)
    assert fake.events == []


def test_interruption_closes_the_environment(
    fake: FakeEnvironments, spec: VerifySpec, dirs: AppDirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: Any, **more: Any) -> EnvironmentResult:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run_checks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(spec, dirs, "docker", "podman")
    assert fake.events == ["open docker", "close docker"]


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (datetime(1969, 12, 31, 23, 59, 59, tzinfo=timezone.utc), "1969-12-31T23:59:59Z"),
        (datetime(2107, 2, 7, tzinfo=timezone.utc), "2107-02-07T00:00:00Z"),
        (datetime(900, 1, 1, tzinfo=timezone.utc), "0900-01-01T00:00:00Z"),
    ],
)
def test_odd_clock_gives_an_odd_date(
    fake: FakeEnvironments, spec: VerifySpec, dirs: AppDirs, monkeypatch: pytest.MonkeyPatch, moment: datetime, written: str
) -> None:
    class Broken(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # called with UTC only
            return moment

    monkeypatch.setattr(module, "datetime", Broken)
    report = run(spec, dirs, "docker")
    assert (report.ok, rfc3339(report.created)) == (True, written)
    assert VerifyReport.parse(report.as_bytes()).as_bytes() == report.as_bytes()


def test_listener_is_called_in_order(fake: FakeEnvironments, spec: VerifySpec, dirs: AppDirs) -> None:
    events: list[str] = []

    class Recorder:
        def environment_opening(self, name: str) -> None:
            events.append(f"opening {name}")

        def environment_ready(self, info: EnvironmentInfo, setup: float) -> None:
            events.append(f"ready {info.name}")

        def check_finished(self, check: Check) -> None:
            events.append(check.name)

        def environment_finished(self, result: EnvironmentResult) -> None:
            events.append(f"over {result.environment.name}")

    fake.missing["podman"] = EnvironmentUnavailable("no")
    run(spec, dirs, "docker", "podman", listener=Recorder())
    assert events == ["opening docker", "ready docker", "resolves", "over docker", "opening podman"]
