"""Places and their turn, whatever becomes of them; what is proven there is held down in the tests of the walk and of each place."""

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
from tests.support.content import Made, make_image, make_index
from tests.support.fake_environments import ENGINE, StandIn, standing_in


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return standing_in(monkeypatch)


@pytest.fixture
def image(registry: RunningRegistry) -> Made:
    return make_image(registry.port, "john/app", "1", platform="linux/amd64")


@pytest.fixture
def asked(registry: RunningRegistry, image: Made) -> VerifySpec:
    return VerifySpec(image=Reference.parse(f"{registry.host}/john/app:1", default_host=""))


def proof(asked: VerifySpec, dirs: AppDirs, *wheres: str, **more: Any) -> VerifyReport:
    return verify(ENGINE, asked, wheres, dirs=dirs, **more)


def names(certificate: VerifyReport) -> list[str]:
    return [each.where.name for each in certificate.results]


def test_one_place_after_the_other(standin: StandIn, asked: VerifySpec, dirs: AppDirs) -> None:
    certificate = proof(asked, dirs, "docker", "podman", command="regctl verify")
    assert standin.happened == ["open docker", "prove docker", "close docker", "open podman", "prove podman", "close podman"]
    assert certificate.ok
    assert names(certificate) == ["docker", "podman"]
    assert (certificate.command, certificate.notes, certificate.error) == ("regctl verify", (), None)
    assert certificate.tool.startswith("registry-tool ")
    assert all(min(each.seconds.setup, each.seconds.proof, each.seconds.end) >= 0 for each in certificate.results)
    assert VerifyReport.parse(certificate.as_bytes()).as_bytes() == certificate.as_bytes()


def test_what_the_registry_has_is_told(standin: StandIn, asked: VerifySpec, dirs: AppDirs, image: Made) -> None:
    subject = proof(asked, dirs).image
    assert subject.reference == str(asked.image)
    assert str(subject.digest) == image.digest
    assert subject.media_type == image.media_type
    assert subject.size == image.size + len(image.raw)
    assert subject.platform == "linux/amd64"
    assert subject.config == Digest.of(image.config)
    assert [layer.digest for layer in subject.layers] == list(map(Digest.of, image.layers))


def test_an_index_without_this_platform_still_has_a_digest(standin: StandIn, registry: RunningRegistry, dirs: AppDirs) -> None:
    index = make_index(registry.port, "john/far", "1", make_image(registry.port, "john/far", platform="linux/s390x"))
    subject = proof(VerifySpec(image=Reference.parse(f"{registry.host}/john/far:1", default_host="")), dirs).image
    assert str(subject.digest) == index.digest
    assert (subject.size, subject.config, subject.layers) == (None, None, ())


def test_with_no_place_named_it_is_docker(standin: StandIn, asked: VerifySpec, dirs: AppDirs) -> None:
    certificate = proof(asked, dirs)
    assert names(certificate) == ["docker"]
    assert certificate.notes == ()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (EnvironmentUnavailable("too old", hint="Do."), "too old"),
        (ProvisionFailed("no", hint="Do."), "docker cannot be had: no"),
    ],
)
def test_where_docker_cannot_be_had_the_present_engine_is_taken_and_that_is_said(
    standin: StandIn, asked: VerifySpec, dirs: AppDirs, error: RegistryToolError, said: str
) -> None:
    standin.missing["docker"] = error
    certificate = proof(asked, dirs)
    assert certificate.ok
    assert names(certificate) == ["here"]
    assert certificate.notes == (f"not on a clean docker: {said}; on the current engine instead, which verifies the least",)


def test_where_docker_is_required_that_is_red(standin: StandIn, asked: VerifySpec, dirs: AppDirs) -> None:
    standin.missing["docker"] = EnvironmentUnavailable("docker cannot be had: no", hint="Do.")
    certificate = proof(asked, dirs, require=["docker"])
    assert not certificate.ok
    assert names(certificate) == ["here"], "what can be proven is"
    assert certificate.error is not None
    assert (certificate.error.code, certificate.error.exit_code, certificate.error.hint) == ("proof-failed", 1, "Do.")


def test_a_place_that_was_asked_for_and_cannot_be_had(standin: StandIn, asked: VerifySpec, dirs: AppDirs) -> None:
    standin.missing["docker"] = Conflict("something is in the way", hint="Move it.")
    certificate = proof(asked, dirs, "docker", "podman", require=["docker"])
    assert names(certificate) == ["podman"], "the other has its turn"
    assert certificate.error is not None
    assert (certificate.error.code, certificate.error.exit_code) == ("no-place", 3)
    assert (certificate.error.message, certificate.error.hint) == ("docker cannot be had: something is in the way", "Move it.")


def test_neither_docker_nor_here(standin: StandIn, asked: VerifySpec, dirs: AppDirs) -> None:
    standin.missing = {"docker": EnvironmentUnavailable("no docker"), "here": Conflict("not here")}
    certificate = proof(asked, dirs)
    assert (certificate.ok, certificate.results) == (False, ())
    assert certificate.error is not None
    assert certificate.error.exit_code == 3


def test_a_proof_that_breaks_off_keeps_the_others(standin: StandIn, asked: VerifySpec, dirs: AppDirs) -> None:
    standin.broken["docker"] = EngineError("it died")
    certificate = proof(asked, dirs, "docker", "podman")
    assert names(certificate) == ["podman"]
    assert certificate.error is not None
    assert (certificate.error.code, certificate.error.message) == ("engine-error", "it died")
    assert "close docker" in standin.happened


def test_a_place_that_does_not_go_away_keeps_its_points(standin: StandIn, asked: VerifySpec, dirs: AppDirs) -> None:
    standin.stuck["docker"] = EngineError("it stays")
    certificate = proof(asked, dirs, "docker")
    assert names(certificate) == ["docker"]
    assert not certificate.ok
    assert certificate.error is not None
    assert certificate.error.message == "it stays"


def test_a_name_that_is_not_there_starts_no_engine(standin: StandIn, asked: VerifySpec, dirs: AppDirs) -> None:
    certificate = proof(replace(asked, image=replace(asked.image, tag="none")), dirs, "docker")
    assert standin.happened == []
    assert certificate.error is not None
    assert (certificate.error.code, certificate.error.exit_code, certificate.image.digest) == ("not-found", 1, None)


def test_a_registry_that_does_not_answer(standin: StandIn, asked: VerifySpec, dirs: AppDirs) -> None:
    certificate = proof(replace(asked, image=replace(asked.image, host="127.0.0.1:1")), dirs, "docker")
    assert certificate.error is not None
    assert certificate.error.exit_code == 3


@pytest.mark.parametrize(
    ("wheres", "require", "word"),
    [
        (("nowhere",), (), "not an environment"),
        (("docker", "docker"), (), "named twice"),
        (("podman",), ("docker",), "docker is required, and is not among: podman"),
        ((), ("podman",), "podman is required, and is not among: docker"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_tried(
    standin: StandIn, asked: VerifySpec, dirs: AppDirs, wheres: tuple[str, ...], require: tuple[str, ...], word: str
) -> None:
    with pytest.raises(UsageError, match=word):
        proof(asked, dirs, *wheres, require=require)
    assert standin.happened == []


def test_a_wrong_command_stays_one_though_a_place_finds_it(standin: StandIn, asked: VerifySpec, dirs: AppDirs) -> None:
    standin.missing["docker"] = UsageError("no such context")
    with pytest.raises(UsageError, match="no such context"):
        proof(asked, dirs, "docker")


def test_a_compose_file_that_is_not_there(standin: StandIn, asked: VerifySpec, dirs: AppDirs) -> None:
    with pytest.raises(NotFound):
        proof(replace(asked, stack=dirs.state / "none.yml"), dirs)
    assert standin.happened == []


def test_an_interruption_closes_the_place(standin: StandIn, asked: VerifySpec, dirs: AppDirs, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: Any, **more: Any) -> EnvironmentResult:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run_checks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        proof(asked, dirs, "docker", "podman")
    assert standin.happened == ["open docker", "close docker"]


@pytest.mark.parametrize(
    ("moment", "told"),
    [
        (datetime(1969, 12, 31, 23, 59, 59, tzinfo=timezone.utc), "1969-12-31T23:59:59Z"),
        (datetime(2107, 2, 7, tzinfo=timezone.utc), "2107-02-07T00:00:00Z"),
        (datetime(900, 1, 1, tzinfo=timezone.utc), "0900-01-01T00:00:00Z"),
    ],
)
def test_a_broken_clock_makes_an_odd_date_and_no_more(
    standin: StandIn, asked: VerifySpec, dirs: AppDirs, monkeypatch: pytest.MonkeyPatch, moment: datetime, told: str
) -> None:
    class Broken(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # asked for UTC only
            return moment

    monkeypatch.setattr(module, "datetime", Broken)
    made = proof(asked, dirs, "docker")
    assert (made.ok, rfc3339(made.created)) == (True, told)
    assert VerifyReport.parse(made.as_bytes()).as_bytes() == made.as_bytes()


def test_the_watcher_is_told_in_order(standin: StandIn, asked: VerifySpec, dirs: AppDirs) -> None:
    told: list[str] = []

    class Watching:
        def environment_opening(self, name: str) -> None:
            told.append(f"opening {name}")

        def environment_ready(self, where: EnvironmentInfo, setup: float) -> None:
            told.append(f"ready {where.name}")

        def check_finished(self, point: Check) -> None:
            told.append(point.name)

        def environment_finished(self, proven: EnvironmentResult) -> None:
            told.append(f"over {proven.where.name}")

    standin.missing["podman"] = EnvironmentUnavailable("no")
    proof(asked, dirs, "docker", "podman", listener=Watching())
    assert told == ["opening docker", "ready docker", "resolves", "over docker", "opening podman"]
