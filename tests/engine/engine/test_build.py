"""Builds by a real engine: first what goes wrong, then what comes out."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from registry_tool.auth import credentials
from registry_tool.auth.credentials import Credential
from registry_tool.base.errors import BuildFailed, NotFound
from registry_tool.engine import ContainerSpec, Engine
from registry_tool.engine.build import buildkit
from registry_tool.engine.build.classic import EXCERPT_LINES
from registry_tool.engine.build.source import OUTSIDE_DOCKERFILE, DockerfileSource
from tests.support import canary
from tests.support.engine_facts import own_labels
from tests.support.requirements import missing

pytestmark = pytest.mark.engine

REAL_BUILDKIT_CLIENT = "/usr/bin/docker"

Build = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "context with space ü"
    made.mkdir()
    return made


@pytest.fixture
def build(engine: Engine, folder: Path) -> Iterator[Build]:
    """Builds a Dockerfile's text in ``folder``; the image is removed in the end."""
    made: list[str] = []

    def run(text: str, **options: Any) -> str:
        (folder / "Dockerfile").write_text(text)
        made.append(engine.build(folder, **options))
        return made[-1]

    yield run
    for image_id in made:
        try:
            engine.remove_image(image_id, force=True)
        except NotFound:
            continue


class Notes:
    """Keeps the notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self, key: str, label: str, total: int | None = None) -> None:
        return None

    def advance(self, key: str, done: int, total: int | None = None) -> None:
        return None

    def finish(self, key: str, label: str) -> None:
        return None

    def note(self, text: str) -> None:
        self.lines.append(text)


def test_missing_context_fails(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match=r"no build context .*/nowhere"):
        engine.build(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(BuildFailed, match="no build context"):
        engine.build(tmp_path / "file")


def test_missing_dockerfile_fails(engine: Engine, folder: Path) -> None:
    with pytest.raises(BuildFailed, match=r"no Dockerfile .*/Dockerfile"):
        engine.build(folder)
    with pytest.raises(BuildFailed, match=r"no Dockerfile .*/other"):
        engine.build(folder, dockerfile=DockerfileSource.on_disk(folder, folder / "other"))


def test_a_dockerfile_that_is_a_folder(engine: Engine, folder: Path) -> None:
    (folder / "Dockerfile").mkdir()
    with pytest.raises(BuildFailed, match="cannot be read"):
        engine.build(folder)


def test_syntax_error_fails(build: Build) -> None:
    with pytest.raises(BuildFailed, match=r"(?i)unknown instruction: \"?FORM"):
        build("FROM scratch\nFORM x\n")


def test_missing_base_image_fails(build: Build, unique: str) -> None:
    with pytest.raises(BuildFailed) as caught:
        build(f"FROM localhost:1/{unique}\nCMD x\n")
    assert "\n" not in caught.value.message
    assert caught.value.hint is not None
    assert "base image" in caught.value.hint


def test_a_failing_run_shows_the_end_of_its_output(build: Build, registry_image: str) -> None:
    loop = "for i in 1 2 3 4 5 6 7 8 9 10; do echo a$i; echo b$i; echo c$i; done"
    with pytest.raises(BuildFailed, match="(non-zero code:|exit status) 3") as caught:
        build(f"FROM {registry_image}\nRUN {loop}; sleep 0.5; echo the reason >&2; exit 3\n")
    assert "the reason" in caught.value.excerpt
    assert "c10" in caught.value.excerpt
    assert "a1" not in caught.value.excerpt
    assert len(caught.value.excerpt) == EXCERPT_LINES


def test_the_engine_stops_a_build_that_is_interrupted(engine: Engine, folder: Path, registry_image: str, unique: str) -> None:
    class Interrupts(Notes):
        def note(self, text: str) -> None:
            if text == unique:
                raise KeyboardInterrupt

    (folder / "Dockerfile").write_text(f"FROM {registry_image}\nLABEL run={unique}\nRUN echo {unique}; sleep 1200\n")
    try:
        engine.build(folder, observer=Interrupts())
    except KeyboardInterrupt:
        # Looked at in here, where the traceback still holds every frame: as it is where a command cleans up.
        deadline = time.monotonic() + 600
        while engine.containers(all=True, labels={"run": unique}):
            assert time.monotonic() < deadline, "the build goes on"
            time.sleep(0.1)
    else:
        pytest.fail("not interrupted")
    for image in engine.images(all=True, labels={"run": unique}):
        engine.remove_image(image.id, force=True)


def test_a_file_that_is_not_in_the_context(build: Build) -> None:
    with pytest.raises(BuildFailed, match="absent"):
        build("FROM scratch\nCOPY absent /\n")


def test_an_unknown_target(build: Build) -> None:
    with pytest.raises(BuildFailed, match="nowhere"):
        build("FROM scratch\nLABEL a=b\n", target="nowhere")


def test_an_image_with_tags_labels_and_arguments(engine: Engine, build: Build, unique: str) -> None:
    notes = Notes()
    tags = [f"{unique}:1", f"{unique}:2", f"localhost:5000/{unique}/x"]
    built = build(
        "FROM scratch\nARG WHO=nobody\nLABEL who=$WHO\n", tags=tags, labels={"run": unique}, build_args={"WHO": "me"}, observer=notes
    )
    image = engine.image(built)
    assert image is not None
    assert own_labels(image.labels) == {"run": unique, "who": "me"}
    assert sorted(image.names) == sorted([*tags[:2], f"{tags[2]}:latest"])
    assert notes.lines[0] == ("STEP 1/4: FROM scratch" if engine.is_podman else "Step 1/4 : FROM scratch")
    assert engine.images(labels={"run": unique})[0].id == built


def test_build_gets_the_proxies_of_dockers_configuration(build: Build, own_folders: Path, registry_image: str) -> None:
    (own_folders / ".docker").mkdir()
    proxies = {"default": {"httpProxy": "http://proxy.test:1", "noProxy": "localhost"}}
    (own_folders / ".docker" / "config.json").write_text(json.dumps({"proxies": proxies}))
    notes = Notes()
    build(f"FROM {registry_image}\nRUN echo $http_proxy $NO_PROXY\n", build_args={"NO_PROXY": "mine"}, no_cache=True, observer=notes)
    assert "http://proxy.test:1 mine" in notes.lines


def test_the_same_build_is_the_same_image_and_no_cache_is_another(build: Build, registry_image: str, unique: str) -> None:
    # Another run on the same engine would share the steps, and remove them.
    text = f"FROM {registry_image}\nRUN echo {unique} > /hi\n"
    first = build(text)
    assert build(text) == first
    assert build(text, no_cache=True) != first


def test_target_stops_early(engine: Engine, build: Build) -> None:
    built = engine.image(build("FROM scratch AS one\nLABEL a=1\nFROM scratch\nLABEL a=2\n", target="one"))
    assert built is not None
    assert built.labels["a"] == "1"


def test_context_arrives_unchanged(engine: Engine, build: Build, folder: Path, registry_image: str) -> None:
    """Links stay links, sockets stay away, a giant that is ignored costs nothing, extra files are there."""
    (folder / "dangling").symlink_to("nowhere")
    (folder / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "größe").write_text("x")
    with (folder / "giant").open("wb") as sparse:
        sparse.truncate(5 * 2**30)
    (folder / ".dockerignore").write_text("giant\n")
    wheels = folder.parent / "wheels"
    wheels.mkdir()
    (wheels / "a.whl").write_text("wheel\n")
    here = Path.cwd()
    os.chdir(folder)
    try:
        # Relative: a socket's whole path is too long otherwise.
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("s")
            text = f"FROM {registry_image}\nCOPY . /c/\nRUN cd /c; printf '%s\\n' *; readlink /c/dangling; /c/run.sh; cat /c/wheels/a.whl\n"
            notes = Notes()
            build(text, extra={"wheels": wheels}, observer=notes)
    finally:
        os.chdir(here)
    for line in ("nowhere", "ran", "wheel", "größe"):
        assert line in notes.lines
    assert "giant" not in notes.lines
    assert "s" not in notes.lines
    assert stat.S_ISSOCK((folder / "s").stat().st_mode)
    assert not (folder / "wheels").exists()


def test_a_dockerfile_of_another_name_and_from_elsewhere(engine: Engine, folder: Path, build: Build, unique: str) -> None:
    (folder / "sub").mkdir()
    # Another run on the same engine would share the steps, and remove them.
    (folder / "sub" / "Other").write_text(f"FROM scratch\nLABEL run={unique} from=sub\n")
    (folder.parent / "Outside").write_text(f"FROM scratch\nLABEL run={unique} from=outside\n")
    for dockerfile, label in (("sub/Other", "sub"), ("../Outside", "outside")):
        source = DockerfileSource.on_disk(folder.parent / folder.name, folder / dockerfile)
        image = engine.image(build("FROM nothing-of-this-is-read", dockerfile=source))
        assert image is not None
        assert image.labels["from"] == label
    assert not (folder / OUTSIDE_DOCKERFILE).exists()


def test_dockerfile_from_elsewhere_is_not_in_the_image(engine: Engine, folder: Path, registry_image: str, unique: str) -> None:
    (folder / "kept").write_text("x")
    source = DockerfileSource.from_stdin(f"FROM {registry_image}\nCOPY . /c/\nRUN ls -A /c > /names\nLABEL run={unique}\n".encode())
    built = engine.build(folder, dockerfile=source)
    try:
        container = engine.run(ContainerSpec(image=built, entrypoint=("cat",), command=("/names",)))
        assert engine.wait(container.id, timeout=600) == 0
        assert b"".join(content for _, content in engine.logs(container.id)) == b"kept\n"
        engine.remove(container.id, force=True)
    finally:
        engine.remove_image(built, force=True)


@pytest.mark.parametrize(("failures", "ends"), [(1, True), (2, True), (3, False)])
def test_a_cached_image_that_somebody_removes_meanwhile_is_built_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, build: Build, failures: int, ends: bool
) -> None:
    """A matter of microseconds, so the engine's words are put in its mouth."""
    gone = f"failed to get digest sha256:{'0' * 64}: open /var/lib/docker/image/x: no such file or directory"
    real = engine._client.stream
    calls: list[str] = []

    def stream(what: str, start: Callable[[Any], Any]) -> Any:
        calls.append(what)
        if len(calls) > failures:
            return real(what, start)
        return (event for event in ({"stream": "Step 1/1 : FROM scratch\n"}, {"error": gone, "errorDetail": {"message": gone}}))

    monkeypatch.setattr(engine._client, "stream", stream)
    if ends:
        assert engine.image(build("FROM scratch\nLABEL a=b\n")) is not None
        assert len(calls) == failures + 1
    else:
        with pytest.raises(BuildFailed, match="failed to get digest"):
            build("FROM scratch\nLABEL a=b\n")
        assert len(calls) == 3


def test_credentials_for_base_images_are_sent(engine: Engine, monkeypatch: pytest.MonkeyPatch, build: Build) -> None:
    calls: list[str] = []
    sent: list[Mapping[str, Any]] = []

    def find(host: str, **options: Any) -> Credential | None:
        calls.append(host)
        return Credential("me", canary.password()) if host == "localhost:1" else None

    real = engine._client.api._set_auth_headers

    def set_auth_headers(headers: dict[str, Any]) -> None:
        sent.append(dict(engine._client.api.registry_config))
        real(headers)

    monkeypatch.setattr(credentials, "find", find)
    monkeypatch.setattr(engine._client.api, "_set_auth_headers", set_auth_headers)
    with pytest.raises(BuildFailed):
        build("ARG BASE=localhost:1/a\nFROM scratch AS nothing\nFROM $BASE\n")
    assert calls == ["localhost:1"]
    assert sent == [{"localhost:1": {"username": "me", "password": canary.password()}}]


@pytest.fixture
def docker_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a ``docker`` of the test's own first on the PATH."""

    def put(script: str) -> None:
        program = tmp_path / "bin" / "docker"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    return put


by_buildkit = pytest.mark.docker_only("its own builder does what needs BuildKit with docker")
BUILDKIT = "# syntax=docker/dockerfile:1\nFROM scratch\nLABEL a=b\n"


@by_buildkit
def test_buildkit_is_refused_where_there_is_no_buildx(docker_on_path: Callable[[str], None], build: Build) -> None:
    docker_on_path("echo \"docker: 'buildx' is not a docker command.\" >&2; exit 1")
    with pytest.raises(BuildFailed, match=r"needs BuildKit .# syntax=docker/dockerfile:1.*buildx") as caught:
        build(BUILDKIT)
    assert caught.value.hint is not None
    assert "buildx" in caught.value.hint


def test_no_docker_program_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert buildkit.available() is None


def test_a_docker_program_that_hangs(docker_on_path: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buildkit, "_PROBE_TIMEOUT", 0.2)
    docker_on_path("exec sleep 30")
    assert buildkit.available() is None


@by_buildkit
def test_a_buildx_that_fails(docker_on_path: Callable[[str], None], build: Build) -> None:
    docker_on_path('[ "$2" = version ] && exit 0; echo "#5 oh no"; echo "ERROR: failed to solve: it broke" >&2; exit 1')
    with pytest.raises(BuildFailed, match="failed to solve: it broke") as caught:
        build(BUILDKIT)
    assert "#5 oh no" in caught.value.excerpt


@by_buildkit
def test_buildx_failure_without_output(docker_on_path: Callable[[str], None], build: Build) -> None:
    docker_on_path('[ "$2" = version ] && exit 0; exit 17')
    with pytest.raises(BuildFailed, match="exit code 17"):
        build(BUILDKIT)
    docker_on_path("exit 0")
    with pytest.raises(BuildFailed, match="without an image"):
        build(BUILDKIT)


@by_buildkit
def test_a_context_that_cannot_be_read_for_buildx(
    docker_on_path: Callable[[str], None], build: Build, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    docker_on_path('[ "$2" = version ] && exit 0; cat > /dev/null')
    (folder / "gone").touch()
    real = Path.open

    def opened(self: Path, *arguments: Any, **options: Any) -> Any:
        if self.name == "gone":
            raise PermissionError(13, "Permission denied")
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(BuildFailed, match="gone: Permission denied"):
        build(BUILDKIT)


@pytest.fixture
def buildkit_client(docker_on_path: Callable[[str], None]) -> None:
    """``docker buildx`` as an older client has it inside: the real BuildKit of the engine, behind another spelling."""
    if not os.access(REAL_BUILDKIT_CLIENT, os.X_OK):
        pytest.skip(f"no {REAL_BUILDKIT_CLIENT}")
    if buildkit.available() is None:
        done = subprocess.run(
            [REAL_BUILDKIT_CLIENT, "build", "-"], input=b"", capture_output=True, check=False, env={**os.environ, "DOCKER_BUILDKIT": "1"}
        )
        if b"buildx component is missing" in done.stderr:
            missing("buildkit", "this docker has no BuildKit inside and no buildx plugin")
        docker_on_path(
            f'[ "$2" = version ] && exit 0\nshift 2; [ "$1" = --load ] && shift\nDOCKER_BUILDKIT=1 exec {REAL_BUILDKIT_CLIENT} build "$@"'
        )


@pytest.mark.usefixtures("buildkit_client")
def test_a_build_by_buildkit(engine: Engine, build: Build, folder: Path, registry_image: str, unique: str) -> None:
    (folder / "wheels.txt").write_text("x")
    wheel = folder.parent / "a.whl"
    wheel.write_text("wheel")
    text = f"FROM {registry_image}\nARG WHO\nRUN --mount=type=cache,target=/cached echo $WHO > /who\nCOPY . /c/\n"
    built = build(text, tags=[f"{unique}:1"], build_args={"WHO": "me"}, labels={"run": unique}, extra={"deep/a.whl": wheel})
    image = engine.image(f"{unique}:1")
    assert image is not None
    assert (image.id, image.labels["run"]) == (built, unique)
    made = engine.create(ContainerSpec(image=built))
    try:
        assert engine.get_file(made.id, "/who") == b"me\n"
        assert engine.get_file(made.id, "/c/deep/a.whl") == b"wheel"
    finally:
        engine.remove(made.id)


@pytest.mark.usefixtures("buildkit_client")
def test_a_failing_run_by_buildkit(build: Build, registry_image: str) -> None:
    with pytest.raises(BuildFailed) as caught:
        build(f"FROM {registry_image}\nRUN --mount=type=cache,target=/cached echo the reason; exit 3\n")
    assert any("the reason" in line for line in caught.value.excerpt)


@by_buildkit
def test_buildx_gets_engine_and_all_options(
    engine: Engine, docker_on_path: Callable[[str], None], build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_on_path(f'[ "$2" = version ] && exit 0\ncat > /dev/null; echo "$DOCKER_HOST $DOCKER_CONTEXT|$@" > {tmp_path}/arguments; exit 1')
    monkeypatch.setenv("DOCKER_CONTEXT", "another")
    with pytest.raises(BuildFailed):
        build(
            BUILDKIT, tags=["a:1"], build_args={"K": "v w"}, labels={"l": "m"}, target="t", platform="linux/amd64", no_cache=True, pull=True
        )
    arguments = (tmp_path / "arguments").read_text().strip()
    assert arguments.startswith(f"{engine.endpoint.url} |buildx build --load --progress plain --iidfile ")
    wanted: Sequence[str] = ("--file Dockerfile", "--tag a:1", "--build-arg K=v w", "--label l=m", "--target t", "--platform linux/amd64")
    for words in (*wanted, "--no-cache", "--pull"):
        assert words in arguments
    assert arguments.endswith(" -")
