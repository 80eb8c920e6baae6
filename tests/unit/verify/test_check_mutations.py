"""Every check of an image can fail: a good image passes all, and each change of it fails the check that is about it, and no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import CommandNotFound, EngineError, EnvironmentUnavailable, NotFound, PullFailed
from registry_tool.engine import ContainerSpec, Engine, Image, Platform
from registry_tool.engine.values import Privileges
from registry_tool.oci import config as configs
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import Reference
from registry_tool.verify.checks import container_run, pull_checks
from registry_tool.verify.checks import run as runs
from registry_tool.verify.environments.environment import Traffic
from registry_tool.verify.remote_image import RemoteImage
from registry_tool.verify.result import CHECKS, EnvironmentResult
from registry_tool.verify.spec import Exec, Exit, Http, Limits, Log, Tcp, VerifySpec
from tests.support import content
from tests.support.fake_containers import PLATFORM, FakeContainers, FakeEnvironment, Program
from tests.support.verify_images import check_named, failed

NAME = Reference.parse("localhost:5000/john/app:1", default_host="")
LAYERS = (content.layer(b"one"), content.layer(b"two"))
OTHER = Digest.of(b"other")
PAGE = Http(published=4000, container=80, text=("Hello World!",))


def _manifest(raw: bytes) -> manifests.Manifest:
    return manifests.image(
        Descriptor(media_type=manifests.OCI_CONFIG, digest=Digest.of(raw), size=len(raw)),
        [Descriptor(media_type="application/vnd.oci.image.layer.v1.tar+gzip", digest=Digest.of(one), size=len(one)) for one in LAYERS],
    )


RAW = content.config(LAYERS)
MANIFEST = _manifest(RAW)
CONFIG = replace(configs.parse_config(RAW), exposed=("80/tcp",), cmd=("python", "app.py"))
IMAGE = Image(
    id=str(Digest.of(RAW)),
    digests=(f"{NAME.repository}@{MANIFEST.digest}",),
    layers=tuple(map(str, CONFIG.diff_ids)),
    platform=PLATFORM,
)


@dataclass(kw_only=True)
class Subject:
    """An image, its registry, its engine, and what is verified of it: good, until a test changes it."""

    remote: RemoteImage = field(
        default_factory=lambda: RemoteImage(name=NAME, root=MANIFEST, image=MANIFEST, config=CONFIG, platforms=("linux/amd64",))
    )
    missing: bool = False
    program: Program = field(default_factory=Program)
    image: Image = IMAGE
    engine: FakeContainers = field(default_factory=FakeContainers)
    traffic: Traffic | None = None
    isolated: bool = True
    kept: str | None = None
    spec: VerifySpec = field(
        default_factory=lambda: VerifySpec(image=NAME, expect=MANIFEST.digest, probes=(PAGE,), timeout=60.0, stop_within=60.0)
    )

    def verify(self, monkeypatch: pytest.MonkeyPatch, dirs: AppDirs) -> EnvironmentResult:
        def resolved(*_: object) -> RemoteImage:
            if self.missing:
                raise NotFound("there is no such name")
            return self.remote

        monkeypatch.setattr(runs, "resolve", resolved)
        monkeypatch.setattr(container_run, "IDLE", 0.1)
        monkeypatch.setattr(container_run, "DISK_INTERVAL", 0.0)
        self.engine.pulled = self.engine.pulled or self.image
        self.engine.programs = lambda spec: self.program
        environment = FakeEnvironment(
            engine=self.engine, counted=self.traffic or Traffic(down=self.remote.size), isolated=self.isolated, kept=self.kept
        )
        engine = cast(Engine, self.engine)
        return runs.run_checks(environment, self.spec, current=engine, dirs=dirs, registry=cast(Any, _NoRegistry()))


class _NoRegistry:
    def repository(self, path: str) -> Any:
        raise NotFound("there is nothing")


def _exposing(*ports: str) -> Callable[[Subject], None]:
    def change(subject: Subject) -> None:
        subject.remote = replace(subject.remote, config=replace(CONFIG, exposed=ports))

    return change


def _config(**members: Any) -> Callable[[Subject], None]:
    def change(subject: Subject) -> None:
        subject.remote = replace(subject.remote, config=replace(CONFIG, **members))

    return change


def _program(**members: Any) -> Callable[[Subject], None]:
    def change(subject: Subject) -> None:
        subject.program = Program(**members)

    return change


def _spec(**members: Any) -> Callable[[Subject], None]:
    def change(subject: Subject) -> None:
        subject.spec = replace(subject.spec, **members)

    return change


def _image(**members: Any) -> Callable[[Subject], None]:
    def change(subject: Subject) -> None:
        subject.image = replace(subject.image, **members)

    return change


def _healthcheck(subject: Subject) -> None:
    subject.engine.health_commands[f"{NAME.repository}:{NAME.tag}@{MANIFEST.digest}"] = ("/bin/sh", "-c", "look")
    subject.engine.health_commands[str(subject.remote.by_digest)] = ("/bin/sh", "-c", "look")


def _set(name: str, value: object) -> Callable[[Subject], None]:
    return lambda subject: setattr(subject, name, value)


def _engine(name: str, value: object) -> Callable[[Subject], None]:
    return lambda subject: setattr(subject.engine, name, value)


def _only_the_program(spec: ContainerSpec) -> EngineError:
    return CommandNotFound(f"exec: {(spec.entrypoint or ('/app',))[0]}: no such file or directory")


def _only_the_user(spec: ContainerSpec) -> EngineError | None:
    return _only_the_program(spec) if spec.user == "0" else EngineError("unable to find user app: no matching entries in passwd file")


GREEN: dict[str, tuple[Callable[[Subject], None], ...]] = {
    "as it is": (),
    "a job": (_exposing(), _program(ends=0), _spec(probes=(Exit(code=0),))),
    "health check that succeeds": (_healthcheck,),
    "no program that tells where it listens": (_program(cat=False),),
    "every kind of probe": (_spec(probes=(PAGE, Tcp(published=4001, container=80), Exec(command=("look",)), Log(text="serving"))),),
}

RED: dict[str, tuple[str, str, tuple[Callable[[Subject], None], ...]]] = {
    # What is changed: the check, a part of its detail, the change.
    "no such name": ("resolves", "there is no such name", (_set("missing", True),)),
    "moved name": ("resolves", "was expected", (_spec(expect=OTHER),)),
    "engine had an image": ("clean", "the engine had 1 image", (_engine("known", {"other": Image(id="other")}),)),
    "pull fails": ("fetched", "the pull failed", (_engine("pull_error", PullFailed("the pull failed")),)),
    "nothing was fetched": ("fetched", "too little", (_set("traffic", Traffic(down=1)),)),
    "too much was fetched": ("fetched", "too much", (_set("traffic", Traffic(down=10**9)),)),
    "other digest reported": ("digest", str(OTHER), (_engine("pull_digest", OTHER),)),
    "no digest kept": ("digest", "keeps none", (_image(digests=()),)),
    "other layers": ("content", "0 of 2 layers", (_image(layers=("a", "b")),)),
    "no layers": ("content", "0 of 2 layers", (_image(layers=()),)),
    "other config": ("content", "another config", (_image(id=str(OTHER)),)),
    "config without layers": (
        "content",
        "the config names 0 layers, and the manifest 2",
        (lambda subject: _set("remote", replace(subject.remote, config=replace(CONFIG, diff_ids=())))(subject), _image(layers=())),
    ),
    "other platform": ("platform", "it is for linux/s390x", (_image(platform=Platform.parse("linux/s390x")),)),
    "no such program": ("starts", "exec: /app: no such file or directory", (_engine("refuse", _only_the_program),)),
    "no such user": ("starts", "unable to find user", (_engine("refuse", _only_the_user),)),
    "no such folder": ("starts", "chdir to cwd", (_engine("refuse", lambda spec: EngineError("runc: chdir to cwd (/nowhere)")),)),
    "ends at once": ("starts", "exited with code 1", (_program(ends=1),)),
    "ends well, and exposes a port": ("starts", "with code 0", (_program(ends=0), _spec(probes=()))),
    "ends well, and has a page to show": ("starts", "with code 0", (_exposing(), _program(ends=0))),
    "ends well, and has a health check": ("starts", "with code 0", (_exposing(), _program(ends=0), _spec(probes=()), _healthcheck)),
    "ends later": ("starts", "with code 1", (_program(then_ends=3),)),
    "killed for memory, as the code that is wanted": (
        "starts",
        "more memory",
        (_exposing(), _program(ends=137, out_of_memory=True), _spec(probes=(Exit(code=137),))),
    ),
    "a process killed for memory": ("starts", "more memory", (_program(out_of_memory=True),)),
    "killed for its disk, as the code that is wanted": (
        "starts",
        "wrote more than",
        (_exposing(), _program(written=10**6), _spec(probes=(Exit(code=137),), limits=Limits(disk=1000))),
    ),
    "other port": ("listens", "nothing listens on 80/tcp", (_program(listens=frozenset({8080})),)),
    "loopback": ("listens", "loopback", (_program(listens=frozenset(), loopback=frozenset({80})),)),
    "one of two ports": ("listens", "nothing listens on 81/tcp", (_exposing("80/tcp", "81/tcp"),)),
    "other text": ("probes", "is not in the response", (_program(page=lambda path: (200, "Goodbye")),)),
    "other status": ("probes", "the status is 500", (_program(page=lambda path: (500, "Hello World!")),)),
    "other path": ("probes", "the status is 404", (_spec(probes=(PAGE, replace(PAGE, path="/other"))),)),
    "other JSON": ("probes", "not JSON", (_spec(probes=(replace(PAGE, text=(), json=(("a", "1"),)),)),)),
    "connections that the engine takes": (
        "probes",
        "nothing listens in the container",
        (_exposing(), _program(listens=frozenset(), accepts=True), _spec(probes=(Tcp(published=4000, container=80),))),
    ),
    "connections that the engine takes, seen from outside": (
        "probes",
        "no connection stays open",
        (_exposing(), _program(listens=frozenset(), accepts=True, cat=False), _spec(probes=(Tcp(published=4000, container=80),))),
    ),
    "exposed port on which the engine takes connections": (
        "listens",
        "nothing listens on 81/tcp",
        (_exposing("80/tcp", "81/tcp"), _program(accepts=True, cat=False)),
    ),
    "port that is not published": ("probes", "refused", (_exposing(), _program(listens=frozenset()), _spec(probes=(PAGE,)))),
    "command fails": ("probes", "it ended with code 3", (_program(health=3), _spec(probes=(Exec(command=("look",)),)))),
    "text missing in the log": ("probes", "it is not in the log", (_spec(probes=(Log(text="ready"),)),)),
    "other exit code": ("probes", "it ended with code 3", (_exposing(), _program(ends=3), _spec(probes=(Exit(code=0),)))),
    "goes on instead of ending": ("probes", "it is still running", (_spec(probes=(Exit(code=0),)),)),
    "health check fails": ("probes", "it ended with code 1", (_healthcheck, _program(health=1))),
    "ignores its signal": ("ends", "was killed", (_program(ignores_signals=True),)),
    "privileged": ("alone", "all privileges", (_program(privileges=Privileges(privileged=True)),)),
    "capability": ("alone", "the capability SYS_ADMIN", (_program(privileges=Privileges(capabilities=("SYS_ADMIN",))),)),
    "mount": ("alone", "/data, mounted", (_program(privileges=Privileges(binds=("/data",))),)),
    "network of the machine": ("alone", "the machine's network", (_program(privileges=Privileges(network="host")),)),
}


@pytest.mark.parametrize("name", GREEN)
def test_good_image_passes(name: str, monkeypatch: pytest.MonkeyPatch, dirs: AppDirs) -> None:
    subject = Subject()
    for change in GREEN[name]:
        change(subject)
    result = subject.verify(monkeypatch, dirs)
    assert failed(result) == [], result
    assert result.ok
    if name != "a job":
        assert {check.ok for check in result.checks} == {True}, result


@pytest.mark.parametrize("name", RED)
def test_changed_image_fails_the_check_that_is_about_it(name: str, monkeypatch: pytest.MonkeyPatch, dirs: AppDirs) -> None:
    check, detail, changes = RED[name]
    subject = Subject()
    for change in (_spec(timeout=1.0, stop_within=1.0), *changes):
        change(subject)
    result = subject.verify(monkeypatch, dirs)
    assert failed(result) == [check], [(each.name, each.ok, each.detail) for each in result.checks]
    assert detail in check_named(result, check).detail
    assert not result.ok
    assert subject.engine.running == {}, "its container is removed"


def test_hint_of_a_failed_page_has_its_own_ports_and_path(monkeypatch: pytest.MonkeyPatch, dirs: AppDirs) -> None:
    subject = Subject(program=Program(page=lambda path: (500, "no")))
    probe = replace(PAGE, published=8123, path="/status?a=1&b=2")
    _spec(probes=(probe,), timeout=1.0)(subject)
    hint = check_named(subject.verify(monkeypatch, dirs), "probes").hint
    assert hint == (
        f"Request the page as the probe does: regctl run -d -p 8123:80 {NAME}, then: curl 'http://localhost:8123/status?a=1&b=2'"
    )


def test_every_check_of_an_image_is_among_those_that_can_fail() -> None:
    assert {check for check, _, _ in RED.values()} == set(CHECKS) - {"stack"}


def test_result_without_a_check_that_passed_is_not_ok(monkeypatch: pytest.MonkeyPatch, dirs: AppDirs) -> None:
    result = Subject().verify(monkeypatch, dirs)
    assert not replace(result, checks=()).ok
    assert not replace(result, checks=tuple(replace(check, ok=None) for check in result.checks)).ok


@pytest.mark.parametrize(
    "message",
    [
        "netavark: nftables error: unable to execute nft: No such file or directory (os error 2)",
        "failed to set up container networking: iptables: no chain by that name",
        "could not find a working conmon binary",
    ],
)
def test_failure_of_the_engines_own_parts_is_the_environments(message: str, monkeypatch: pytest.MonkeyPatch, dirs: AppDirs) -> None:
    subject = Subject()
    subject.engine.refuse = lambda spec: CommandNotFound(message)
    with pytest.raises(EnvironmentUnavailable, match="starts no container, of whatever image: ") as caught:
        subject.verify(monkeypatch, dirs)
    assert message in caught.value.message
    assert caught.value.exit_code == 3
    assert subject.engine.running == {}


def test_image_that_stays_on_the_engine_is_read_from_the_registry(monkeypatch: pytest.MonkeyPatch, dirs: AppDirs) -> None:
    monkeypatch.setattr(pull_checks, "read_blobs", lambda registry, remote: None)
    subject = Subject(kept="friendlyhello is the same image")
    subject.engine.known["friendlyhello"] = IMAGE
    result = subject.verify(monkeypatch, dirs)
    assert result.ok
    assert {check.name: check.ok for check in result.checks if check.ok is not True} == {"clean": None, "fetched": None}
    assert check_named(result, "clean").detail.endswith("and it stays there: friendlyhello is the same image")
    assert check_named(result, "fetched").unchecked == ("whether the engine can download it: it had it",)


def test_image_that_stays_on_the_engine_and_is_damaged_in_the_registry_fails(monkeypatch: pytest.MonkeyPatch, dirs: AppDirs) -> None:
    result = Subject(kept="friendlyhello is the same image").verify(monkeypatch, dirs)
    assert failed(result) == ["fetched"]
    assert check_named(result, "fetched").detail == "there is nothing"


def test_foreign_server_on_the_port_of_an_ended_container_is_not_probed(monkeypatch: pytest.MonkeyPatch, dirs: AppDirs) -> None:
    subject = Subject(program=Program(ends=1))

    def foreign(port: int) -> None:
        raise AssertionError("whoever listens there now is somebody else")

    monkeypatch.setattr(subject.engine, "connect", foreign)
    assert failed(subject.verify(monkeypatch, dirs)) == ["starts"]


@pytest.mark.parametrize(
    ("changes", "check", "unchecked"),
    [
        ((_exposing("80/tcp", "53/udp", "8000-8010/tcp"),), "listens", ("53/udp: ", "8000-8010/tcp: ")),
        ((_exposing("53/udp"), _spec(probes=())), "listens", ("53/udp: ",)),
        ((_config(stop_signal="SIGKILL"),), "ends", ("whether it ends by itself: ",)),
        ((_exposing(), _spec(probes=())), "starts", ("what it does: no probe, no EXPOSE and no HEALTHCHECK says",)),
        ((_exposing(), _program(ends=0), _spec(probes=(Exit(code=0),)), _healthcheck), "probes", ("the image's health check: ",)),
    ],
)
def test_check_says_what_it_did_not_look_at(
    changes: tuple[Callable[[Subject], None], ...],
    check: str,
    unchecked: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    dirs: AppDirs,
) -> None:
    subject = Subject()
    for change in changes:
        change(subject)
    result = subject.verify(monkeypatch, dirs)
    assert failed(result) == []
    actual = check_named(result, check).unchecked
    assert len(actual) == len(unchecked)
    assert all(text.startswith(start) for text, start in zip(actual, unchecked, strict=True)), actual
