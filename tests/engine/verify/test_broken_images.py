"""Images that run nowhere else, and images that do harm: each fails one check, the right one, with a hint."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import pytest

from registry_tool.base.dirs import AppDirs
from registry_tool.engine import Engine
from registry_tool.verify.checks.run import run_checks
from registry_tool.verify.environments.environment import Environment
from registry_tool.verify.result import CHECKS, EnvironmentResult
from registry_tool.verify.spec import Exec, Exit, Http, Limits, Log, VerifySpec
from tests.support import broken_images as images
from tests.support.broken_images import Base, Pushed
from tests.support.damage import Damageable
from tests.support.verify_images import check_named, empty, failed, opened, reference

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PAGE = Http(published=4000, container=80, text=("Hello World!",))
SOON: Mapping[str, object] = {"timeout": 10.0}
"""Where what is waited for does not come, while a busy machine starts the program. Elsewhere it does come, however busy that is."""


@dataclass(frozen=True, kw_only=True)
class Broken:
    """``make`` pushes it under a tag. ``check`` is to fail, with this detail and this hint."""

    make: Callable[[Damageable, Base, str], Pushed]
    check: str
    detail: str
    hint: str
    more: Mapping[str, object] | None = None


def _program(text: str, **more: object) -> Callable[[Damageable, Base, str], Pushed]:
    return lambda stock, base, tag: images.push_program(stock.port, tag, base, text, **more)  # type: ignore[arg-type]


def _wrong_machine(stock: Damageable, base: Base, tag: str) -> Pushed:
    files = {"app": images.other_machine()}
    return images.push(stock.port, tag, None, files, command=("/app",), expose=(80,), architecture=images.OTHERS)


def _no_library(stock: Damageable, base: Base, tag: str) -> Pushed:
    files = {"app.py": images.SERVER + "serve()", base.library: None}
    return images.push(stock.port, tag, base, files, command=("python3", "/app.py"), expose=(80,))


def _crlf(stock: Damageable, base: Base, tag: str) -> Pushed:
    files = {"app.py": images.SERVER + "serve()", "start.sh": "#!/bin/sh\r\nexec python3 /app.py\r\n"}
    return images.push(stock.port, tag, base, files, entrypoint=("/start.sh",), expose=(80,))


def _damaged(stock: Damageable, base: Base, tag: str) -> Pushed:
    pushed = images.push_program(stock.port, tag, base, f"serve()  # {tag}")
    stock.flip(pushed.own, at=len(pushed.own) // 2)
    return pushed


TWELVE: Mapping[str, Broken] = {
    "wrong-port": Broken(
        make=_program("serve(8080)"),
        check="listens",
        detail="nothing listens on 80/tcp, which it exposes; it listens on 8080",
        hint="the same port",
        more=SOON,
    ),
    "bind-mount": Broken(
        make=_program("open('/data/settings.json')\nserve()"),
        check="starts",
        detail="it exited with code 1",
        hint="/data/settings.json, which is not in the image",
    ),
    "internet": Broken(
        make=_program("import socket\nsocket.create_connection(('192.0.2.1', 80), timeout=2)\nserve()"),
        check="starts",
        detail="it exited with code 1",
        hint="needs the network",
    ),
    "architecture": Broken(make=_wrong_machine, check="platform", detail=f"it is for linux/{images.OTHERS}", hint="--platform"),
    "library": Broken(make=_no_library, check="starts", detail="with code 127", hint=r"lib\S+ is not in the image"),
    "capability": Broken(
        make=_program("import socket\nsocket.sethostname('other')\nserve()"),
        check="starts",
        detail="it exited with code 1",
        hint="a privilege that containers do not have",
    ),
    "crlf": Broken(make=_crlf, check="starts", detail="no such file or directory|it exited", hint=r"/start.sh has lines that end in CR LF"),
    "sigterm": Broken(
        make=_program("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nserve()"),
        check="ends",
        detail="did not end within 1 s of SIGTERM",
        hint="Process 1",
        more={"stop_within": 1.0},
    ),
    "layer": Broken(make=_damaged, check="fetched", detail="the pull of .* failed", hint="damaged .see: regctl check .*Push it again"),
    "once": Broken(
        make=_program("page = lambda asked, path: 'Hello World!' if asked == 1 else 'Goodbye.'\nserve()"),
        check="probes",
        detail="it held once, and then no more: 'Hello World!' is not in the response: 'Goodbye.'",
        hint="Request the page",
    ),
}
"""Ten of the twelve; what was moved, and what was not pushed, need two images each."""

HARMFUL: Mapping[str, Broken] = {
    "loopback": Broken(make=_program("serve(80, '127.0.0.1')"), check="listens", detail="on its loopback only", hint="0.0.0.0", more=SOON),
    "memory": Broken(
        make=_program("hoard = []\nwhile True: hoard.append(bytearray(b'x') * (8 << 20))"),
        check="starts",
        detail="more memory than 67.1MB",
        hint="or have it take less",
        more={"limits": Limits(memory=64 << 20)},
    ),
    "prints": Broken(
        make=_program("while True: print('never ' * 1000)"),
        check="listens",
        detail="nothing listens on 80/tcp",
        hint="the same port",
        more={"limits": Limits(log=1 << 20), **SOON},
    ),
    "forks": Broken(
        make=_program("import time\nwhile True:\n    if not os.fork(): time.sleep(1000)"),
        check="starts",
        detail="it exited with code 1",
        hint="more processes or threads",
        more={"limits": Limits(processes=32)},
    ),
    "fills": Broken(
        make=_program("file = open('/big', 'wb')\nwhile True: file.write(bytes(1 << 20))"),
        check="starts",
        detail="it exited with code 1|it wrote more than 33.6MB",
        hint="ata in a volume",
        more={"limits": Limits(disk=32 << 20), "timeout": 8.0},
    ),
    "many-files": Broken(
        make=_program(
            "import time\nfor number in range(10000):\n    open(f'/big-{number}', 'wb').write(bytes(1 << 20))\n    time.sleep(0.01)"
        ),
        check="starts",
        detail="it wrote more than 33.6MB",
        hint="ata in a volume",
        more={"limits": Limits(disk=32 << 20), "timeout": 8.0},
    ),
    "silent": Broken(
        make=_program("import socket, time\ns = socket.create_server(('0.0.0.0', 80))\ntime.sleep(1000)"),
        check="probes",
        detail="http 4000:80/: no response within",
        hint="Request the page",
        more=SOON,
    ),
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("docker", marks=pytest.mark.docker_proof),
        pytest.param("podman", marks=[pytest.mark.podman_proof, pytest.mark.soak]),
        pytest.param("here", marks=pytest.mark.soak),
    ],
)
def at(
    request: pytest.FixtureRequest, session_engine: Engine, session_dirs: AppDirs, stock: Damageable
) -> Iterator[Callable[[str], Environment]]:
    """Gives the environment for an image. A clean docker is opened once, and is empty for each; podman keeps what it has unpacked."""
    kind = str(request.param)
    if kind == "docker":
        with opened(session_engine, kind, f"localhost:{stock.port}/any:1", session_dirs) as environment:

            def emptied(name: str) -> Environment:
                empty(environment)
                return environment

            yield emptied
        return
    with _Each(session_engine, session_dirs, kind) as each:
        yield each.open


class _Each:
    """A environment that is opened for one image after the other."""

    def __init__(self, engine: Engine, dirs: AppDirs, kind: str) -> None:
        self._engine, self._dirs, self._kind = engine, dirs, kind
        self._now: Iterator[Environment] | None = None

    def open(self, name: str) -> Environment:
        self._close()
        self._now = self._opened(name)
        return next(self._now)

    def _opened(self, name: str) -> Iterator[Environment]:
        with opened(self._engine, self._kind, name, self._dirs) as environment:
            yield environment

    def _close(self) -> None:
        if self._now is not None:
            assert next(self._now, None) is None
            self._now = None

    def __enter__(self) -> _Each:
        return self

    def __exit__(self, *details: object) -> None:
        self._close()


def _spec(name: str, more: Mapping[str, object] | None = None) -> VerifySpec:
    members: dict[str, object] = {"image": reference(name), "probes": (PAGE,), "timeout": 60.0, **(more or {})}
    return VerifySpec(**members)  # type: ignore[arg-type]


def _fails_only(result: EnvironmentResult, name: str, detail: str, hint: str) -> None:
    """This check alone fails; ``detail`` and ``hint`` are regular expressions."""
    assert failed(result) == [name], [(each.name, each.ok, each.detail, each.excerpt) for each in result.checks]
    actual = check_named(result, name)
    assert re.search(detail, actual.detail), actual.detail
    assert actual.hint is not None
    assert re.search(hint, actual.hint), (actual.hint, actual.excerpt)
    assert [each.name for each in result.checks] == [name for name in CHECKS if name != "stack"]


@pytest.mark.parametrize("name", TWELVE)
def test_broken_image_fails_the_check_of_its_defect_alone(
    name: str, at: Callable[[str], Environment], stock: Damageable, base: Base, engine: Engine, dirs: AppDirs, unique: str
) -> None:
    broken = TWELVE[name]
    pushed = broken.make(stock, base, unique)
    result = run_checks(at(pushed.name), _spec(pushed.name, broken.more), current=engine, dirs=dirs)
    _fails_only(result, broken.check, broken.detail, broken.hint)


def test_tag_that_moved_after_the_push_fails_resolves(
    at: Callable[[str], Environment], stock: Damageable, base: Base, engine: Engine, dirs: AppDirs
) -> None:
    meant = images.push_program(stock.port, "moved", base, "serve()  # as it was meant")
    now = images.push_program(stock.port, "moved", base, "serve()  # somebody else's")
    result = run_checks(at(now.name), _spec(now.name, {"expect": meant.digest}), current=engine, dirs=dirs)
    _fails_only(result, "resolves", f"resolves to {now.digest}, and {meant.digest} was", "pushed to that name")
    assert check_named(result, "probes").ok


def test_local_image_that_was_not_pushed_fails_resolves(
    at: Callable[[str], Environment], stock: Damageable, base: Base, engine: Engine, dirs: AppDirs, tiny_image: Callable[..., str]
) -> None:
    pushed = images.push_program(stock.port, "unpushed", base, "serve()")
    built = tiny_image(pushed.name)
    result = run_checks(at(pushed.name), _spec(pushed.name), current=engine, dirs=dirs)
    _fails_only(result, "resolves", "the current engine has another image", "Push what was built")
    left = engine.image(pushed.name)
    assert left is not None
    assert left.id == built, "what was not pushed is still there"


@pytest.mark.soak
@pytest.mark.parametrize("name", HARMFUL)
def test_harmful_image_is_kept_within_its_limits(
    name: str, at: Callable[[str], Environment], stock: Damageable, base: Base, engine: Engine, dirs: AppDirs
) -> None:
    broken = HARMFUL[name]
    pushed = broken.make(stock, base, name)
    environment = at(pushed.name)
    began = time.monotonic()
    result = run_checks(environment, _spec(pushed.name, broken.more), current=engine, dirs=dirs)
    _fails_only(result, broken.check, broken.detail, broken.hint)
    assert time.monotonic() - began < 600, "it ends"
    assert environment.engine.containers(all=True, labels=environment.labels()) == (), "and leaves nothing that runs"


def test_program_that_ends_needs_an_exit_probe(
    at: Callable[[str], Environment], stock: Damageable, base: Base, engine: Engine, dirs: AppDirs
) -> None:
    pushed = images.push_program(stock.port, "job", base, "print('done')\nsys.exit(3)", expose=())
    spec = VerifySpec(image=reference(pushed.name), probes=(Log(text="done"), Exit(code=3)), timeout=60.0)
    result = run_checks(at(pushed.name), spec, current=engine, dirs=dirs)
    assert failed(result) == []
    assert check_named(result, "ends").detail == "it exited with code 3"
    result = run_checks(at(pushed.name), replace(spec, probes=(Exit(code=0),)), current=engine, dirs=dirs)
    assert failed(result) == ["probes"]
    assert "it ended with code 3" in check_named(result, "probes").detail
    result = run_checks(at(pushed.name), replace(spec, probes=(Exec(command=("true",)), Exit(code=3))), current=engine, dirs=dirs)
    assert failed(result) in ([], ["probes"]), "whether it was still there for the command is a matter of moments"
    assert check_named(result, "probes").ok is not None, "what was asked for either held, or did not"
