"""``portable``: the spec it makes of its arguments, its failures, and the report it keeps. The reports here are made up."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timezone

import pytest

from registry_tool.base.errors import InvalidReference, UsageError
from registry_tool.oci.digest import Digest
from registry_tool.pytest_plugin.images import ImageFactory
from registry_tool.pytest_plugin.portable import PROPERTY, NotPortable, Portable, portable_for
from registry_tool.pytest_plugin.registries import in_process
from registry_tool.verify.report.report import Failure, ImageRecord, VerifyReport
from registry_tool.verify.result import Check, EnvironmentInfo, EnvironmentResult
from registry_tool.verify.spec import Exec, Exit, Http, Log, Tcp, VerifySpec

NAME = "localhost:5000/john/app:1"
STARTS = Check(name="starts", ok=True, detail="as root: /run")
UNTOLD = Check(name="alone", ok=None, detail="not asked for")
RED = Check(name="listens", ok=False, detail="nothing listens on 80", hint="Does it listen on 8080?", excerpt=("listening on 8080",))


def made(*points: Check, error: Failure | None = None, notes: tuple[str, ...] = ()) -> VerifyReport:
    where = EnvironmentInfo(kind="docker", name="docker", engine="Docker 28", kernel="6.1", platform="linux/amd64", clean=True)
    verified = (EnvironmentResult(environment=where, checks=points),) if points else ()
    subject, when = ImageRecord(reference=NAME), datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    return VerifyReport(image=subject, created=when, tool="0", command="pytest", results=verified, error=error, notes=notes)


class Recorder:
    """Returns ``report``, and records the specs."""

    def __init__(self, report: VerifyReport) -> None:
        self.report = report
        self.specs: list[tuple[VerifySpec, Sequence[str]]] = []
        self.kept: list[VerifyReport] = []

    @property
    def portable(self) -> Portable:
        return Portable(verify=self._verify, keep=self.kept.append, missing=pytest.skip)

    def _verify(self, spec: VerifySpec, on: Sequence[str]) -> VerifyReport:
        self.specs.append((spec, on))
        return self.report


# What is red.


def test_failed_check_is_the_message() -> None:
    recorder = Recorder(made(STARTS, RED, UNTOLD, notes=("not on a clean docker: none here",)))
    with pytest.raises(NotPortable) as caught:
        recorder.portable(NAME)
    assert str(caught.value).splitlines() == [
        f"{NAME} is not verified",
        "docker: listens: nothing listens on 80",
        "  | listening on 8080",
        "  hint: Does it listen on 8080?",
        "not on a clean docker: none here",
    ]
    assert isinstance(caught.value, AssertionError)
    assert recorder.kept == [recorder.report], "a red one is kept, too"


def test_error_is_the_message() -> None:
    error = Failure(code="registry-error", message="the registry went away", hint="Look.", excerpt=("panic: no",))
    with pytest.raises(NotPortable) as caught:
        Recorder(made(error=error)).portable(NAME)
    assert str(caught.value).splitlines()[1:] == ["the registry went away", "  | panic: no", "  hint: Look."]


def test_unavailable_engine_is_missing_and_no_failure() -> None:
    error = Failure(code="no-place", message="podman is not available: no packages", hint="Install it.")
    with pytest.raises(pytest.skip.Exception, match="podman is not available: no packages\nInstall it.\nnot here, either"):
        Recorder(made(STARTS, error=error, notes=("not here, either",))).portable(NAME, on=["docker", "podman"])
    with pytest.raises(NotPortable, match="nothing listens on 80"):
        Recorder(made(RED, error=error)).portable(NAME, on=["docker", "podman"])


def test_report_without_results_is_a_failure() -> None:
    with pytest.raises(NotPortable, match="not verified"):
        Recorder(made()).portable(NAME)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"status": 200}, "need http"),
        ({"text": "Hello"}, "need http"),
        ({"json": {"a": 1}}, "need http"),
        ({"within": 1.0}, "need http"),
        ({"http": "80"}, "is not a page"),
        ({"tcp": "80"}, "not a pair of ports"),
        ({"exec": ""}, "empty"),
        ({"log": ""}, "every log"),
        ({"exit_code": 256}, "exit code"),
        ({"timeout": 0}, "time for the probes"),
        ({"http": "4000:80/", "tcp": "4000:81"}, "published for both"),
        ({"env": {"A=B": "1"}}, "name of a variable"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_started(arguments: dict[str, object], word: str) -> None:
    recorder = Recorder(made(STARTS))
    call: Callable[..., VerifyReport] = recorder.portable
    with pytest.raises(UsageError, match=word):
        call(NAME, **arguments)
    assert recorder.specs == []


@pytest.mark.parametrize("name", ["john/app:1", "app"])
def test_name_without_registry_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not a full name"):
        Recorder(made(STARTS)).portable(name)


def test_invalid_name_and_digest_are_refused() -> None:
    with pytest.raises(InvalidReference):
        Recorder(made(STARTS)).portable("localhost:5000/John")
    with pytest.raises(UsageError, match="expect: not 64 lower-case"):
        Recorder(made(STARTS)).portable(NAME, expect="sha256:1")


# The spec.


def test_all_arguments_reach_the_spec() -> None:
    recorder = Recorder(made(STARTS))
    digest = f"sha256:{'1' * 64}"
    more = Tcp(published=4001, container=81)
    report = recorder.portable(
        NAME,
        on=["docker", "podman"],
        http="4000:80/page",
        status=200,
        text=["Hello", "Visits"],
        json={"visits": 1, "name": "john", "open": True},
        within=2.0,
        tcp="4002:82",
        exec="cat /etc/motd",
        log="ready",
        exit_code=0,
        probes=[more],
        expect=digest,
        env={"NAME": "you"},
        timeout=5.0,
        stop_within=3.0,
        redis=True,
    )
    assert report is recorder.report
    [(spec, on)] = recorder.specs
    assert on == ("docker", "podman")
    values = (("visits", "1"), ("name", "john"), ("open", "true"))
    assert spec.probes == (
        Http(published=4000, container=80, path="/page", status=200, text=("Hello", "Visits"), json=values, within=2.0),
        Tcp(published=4002, container=82),
        Exec(command=("cat", "/etc/motd")),
        Log(text="ready"),
        Exit(code=0),
        more,
    )
    assert (str(spec.image), str(spec.expect), spec.environment) == (NAME, digest, {"NAME": "you"})
    assert (spec.timeout, spec.stop_within, spec.redis) == (5.0, 3.0, True)


def test_defaults_of_the_spec() -> None:
    recorder = Recorder(made(STARTS))
    recorder.portable("localhost:5000/john/app", on="here", text=(), http="4000:80/")
    [(spec, on)] = recorder.specs
    assert on == ("here",)
    assert spec == VerifySpec(image=spec.image, probes=(Http(published=4000, container=80),))
    assert spec.image.tag == "latest"


def test_digest_of_a_factory_image_is_expected() -> None:
    recorder = Recorder(made(STARTS))
    with in_process() as served:
        image = ImageFactory(lambda: served, "pytest/here")()
        other = f"sha256:{'2' * 64}"
        recorder.portable(image)
        recorder.portable(image, expect=other)
        recorder.portable(image.pinned)
    assert [spec.expected for spec, _ in recorder.specs] == [Digest.parse(image.digest), Digest.parse(other), Digest.parse(image.digest)]
    assert str(recorder.specs[0][0].image) == image.reference


# What is kept.


def test_report_is_kept_with_the_test(request: pytest.FixtureRequest) -> None:
    node: pytest.Item = request.node
    report = made(STARTS, UNTOLD)
    portable_for(node, lambda spec, on: report, pytest.skip)(NAME)
    kept = [value for name, value in node.user_properties if name == PROPERTY]
    assert [VerifyReport.parse(str(value).encode()) for value in kept] == [report]
    assert json.loads(str(kept[0]))["digest"] == str(report.digest)
    sections = [text for _, name, text in node._report_sections if name == "certificate"]
    assert sections == ["docker: starts ok: as root: /run\ndocker: alone -: not asked for"]
