from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

from registry_tool.base.errors import EngineNotFound
from registry_tool.verify.report.compare import compare
from registry_tool.verify.report.report import Failure, LayerRecord, VerifyReport
from registry_tool.verify.result import Durations, PulledImage
from tests.support.reports import DOCKER, GREEN, NAME, PODMAN, SUBJECT, check, digest, failing, result


def changes(now: VerifyReport, before: VerifyReport = GREEN) -> list[tuple[str, str, str | None, str | None]]:
    return [(change.where, change.what, change.before, change.now) for change in compare(before, now).changes]


def test_check_that_failed_or_passes_again_is_a_change() -> None:
    before = replace(GREEN, results=(result(DOCKER, check("resolves"), check("probes")), GREEN.results[1]))
    assert changes(failing(), before) == [("certificate", "ok", "ok", "red"), ("docker", "probes", "ok", "red")]
    assert changes(before, failing()) == [("certificate", "ok", "red", "ok"), ("docker", "probes", "red", "ok")]


def test_new_and_undecided_checks_are_changes() -> None:
    before = replace(GREEN, results=(result(DOCKER, check("resolves")),))
    now = replace(GREEN, results=(result(DOCKER, check("resolves", None), check("stack")),))
    assert changes(now, before) == [("docker", "resolves", "ok", "not told"), ("docker", "stack", None, "ok")]


def test_image_digest_size_platform_and_layers_are_compared() -> None:
    layers = (*SUBJECT.layers, LayerRecord(digest=digest("new"), media_type="x", size=1))
    now = replace(GREEN, image=replace(SUBJECT, digest=digest("other"), size=1001, platform="linux/arm64", layers=layers))
    assert changes(now) == [
        ("image", "digest", str(digest("manifest")), str(digest("other"))),
        ("image", "size", "1000 bytes", "1001 bytes"),
        ("image", "platform", "linux/amd64", "linux/arm64"),
        ("image", "layer", None, str(digest("new"))),
    ]


def test_engine_kernel_and_cleanness_are_compared() -> None:
    newer = replace(DOCKER, engine="Docker 29.0.0", kernel="6.12.0", clean=False)
    assert changes(replace(GREEN, results=(replace(GREEN.results[0], environment=newer), GREEN.results[1]))) == [
        ("docker", "engine", "Docker 28.2.2", "Docker 29.0.0"),
        ("docker", "kernel", "6.1.0", "6.12.0"),
        ("docker", "clean", "yes", "no"),
    ]


def test_user_and_command_of_the_container_are_compared() -> None:
    def started(user: str, *command: str) -> VerifyReport:
        return replace(GREEN, results=(result(PODMAN, check("starts", evidence={"user": user, "command": list(command), "id": user * 2})),))

    assert changes(started("root", "sh", "x y"), started("app", "python")) == [
        ("podman", "starts: user", "app", "root"),
        ("podman", "starts: command", "python", "sh 'x y'"),
    ]


def test_pulled_digests_are_compared() -> None:
    pulled = (PulledImage(reference=NAME, digest=digest("x")), PulledImage(reference="redis", digest=digest("y")))
    now = replace(GREEN, results=(replace(GREEN.results[0], pulled=pulled), GREEN.results[1]))
    assert changes(now) == [
        ("docker", f"pulled {NAME}", str(digest("manifest")), str(digest("x"))),
        ("docker", "pulled redis", None, str(digest("y"))),
    ]


def test_missing_environment_and_other_command_are_changes() -> None:
    now = replace(GREEN, results=GREEN.results[:1], command="regctl verify", error=Failure.of(EngineNotFound("no podman")))
    assert changes(now) == [
        ("certificate", "ok", "ok", "red"),
        ("certificate", "command", GREEN.command, "regctl verify"),
        ("certificate", "error", None, "engine-not-found"),
        ("podman", "place", "Podman 4.3.1", None),
    ]


def test_times_and_durations_are_not_compared() -> None:
    slower = replace(
        GREEN.results[0],
        seconds=Durations(setup=100.0, checks=100.0, teardown=100.0),
        checks=tuple(replace(each, seconds=9.0) for each in GREEN.results[0].checks),
    )
    assert changes(replace(GREEN, created=datetime(2027, 1, 31, tzinfo=timezone.utc), results=(slower, GREEN.results[1]))) == []
