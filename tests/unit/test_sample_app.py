"""The sample app: the page, and the program that serves it, as the process that it is."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from sample_app import app as sample
from tests.support.requirements import free_port, missing

APP = Path(sample.__file__)
DISABLED = "<b>Visits:</b> <i>cannot connect to Redis, counter disabled</i>"
IN_TIME = 20.0
"""Seconds. A page takes three at most; forty that wait for Redis one after the other take forty, on any machine."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    body: str
    seconds: float

    @property
    def visits(self) -> int | None:
        result = re.search(r"<b>Visits:</b> (\d+)$", self.body)
        return int(result[1]) if result else None


@dataclass(frozen=True, kw_only=True)
class Running:
    """The app as a process that serves."""

    process: subprocess.Popen[str]
    line: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def port(self) -> int:
        result = re.fullmatch(r" \* Running on http://0\.0\.0\.0:(\d+)/ \(Press CTRL\+C to quit\)\n", self.line)
        assert result, self.line
        return int(result[1])

    def page(self) -> Answer:
        began = time.monotonic()
        with urllib.request.urlopen(self.url, timeout=100) as response:
            body = response.read().decode()
        return Answer(body=body, seconds=time.monotonic() - began)

    def pages(self, number: int, *, threads: int) -> list[Answer]:
        with ThreadPoolExecutor(threads) as pool:
            return [received.result() for received in [pool.submit(self.page) for _ in range(number)]]

    def status(self, field: str) -> str:
        """A line of the kernel's about the process: Uid, Groups, Threads."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith(f"{field}:"))


def environment(**variables: object) -> dict[str, str]:
    """A small one, as a container has."""
    return {"PATH": os.environ["PATH"], **{name: str(value) for name, value in variables.items()}}


@contextmanager
def running(*before: str, program: Path = APP, **variables: object) -> Iterator[Running]:
    """``before``: a program that starts the app. Without ``PORT``, a free one is taken."""
    process = subprocess.Popen(
        [*before, sys.executable, str(program)],
        env=environment(**{"PORT": 0, "REDIS_HOST": "127.0.0.1", "REDIS_PORT": free_port(), **variables}),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield Running(process=process, line=process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def refused(*before: str, **variables: object) -> tuple[int, str]:
    """The app where it cannot start: its exit code and what it says."""
    done = subprocess.run(
        [*before, sys.executable, str(APP)], env=environment(**variables), capture_output=True, text=True, timeout=100, check=False
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


@contextmanager
def mute_redis() -> Iterator[int]:
    """A port where the kernel takes connections and nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield listener.getsockname()[1]


# The page


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    """The page without a Redis."""
    monkeypatch.setattr(sample, "counter", sample.Counter("127.0.0.1", free_port()))
    return sample.app.test_client()


def test_the_page_is_the_tutorials(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME", "World")
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.content_type == "text/html; charset=utf-8"
    assert answer.text == f"<h3>Hello World!</h3><b>Hostname:</b> {socket.gethostname()}<br/>{DISABLED}"


def test_without_a_name_the_world_is_greeted(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAME", raising=False)
    assert "<h3>Hello world!</h3>" in client.get("/").text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ('Tom & "Jerry\'s"', "Tom &amp; &#34;Jerry&#39;s&#34;"),
        ("{hostname} %s {0}", "{hostname} %s {0}"),
        ("世界", "世界"),
    ],
)
def test_the_name_is_text_never_markup(client: FlaskClient, monkeypatch: pytest.MonkeyPatch, name: str, shown: str) -> None:
    monkeypatch.setenv("NAME", name)
    assert f"<h3>Hello {shown}!</h3>" in client.get("/").text


def test_there_is_one_page_and_it_is_read_only(client: FlaskClient) -> None:
    assert client.head("/").status_code == 200
    assert client.post("/").status_code == 405
    assert client.get("/favicon.ico").status_code == 404


# The counter


def test_no_redis_is_said_at_once_until_the_next_attempt() -> None:
    counter = sample.Counter("127.0.0.1", free_port())
    began = time.monotonic()
    assert [counter.visit() for _ in range(50)] == [None] * 50
    assert time.monotonic() - began < IN_TIME


def test_a_host_that_is_no_name_is_no_redis() -> None:
    assert sample.Counter("a..b", 6379).visit() is None
    assert sample.Counter("x" * 70, 6379).visit() is None


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Every attempt to connect hangs until the event is set: what dead name servers do, also where no root can make some.

    With pauses so short that attempts would pile up, were they not counted.
    """
    answer = threading.Event()

    def connect(host: str, port: int) -> Redis:
        answer.wait(100)
        raise OSError("no such name")

    monkeypatch.setattr(sample, "connect", connect)
    monkeypatch.setattr(sample, "PATIENCE", 0.05)
    monkeypatch.setattr(sample, "PAUSE", 0.01)
    yield answer
    answer.set()


def attempts() -> int:
    return sum("_attempt" in thread.name for thread in threading.enumerate())


def test_attempts_that_hang_do_not_pile_up(hanging: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    before = attempts()
    counter = sample.Counter("redis", 6379)
    most = 0
    for _ in range(200):
        assert counter.visit() is None
        most = max(most, attempts() - before)
        time.sleep(0.005)
    assert most == sample.ATTEMPTS
    hanging.set()
    eventually(lambda: attempts() == before)
    monkeypatch.setattr(sample, "connect", lambda host, port: Seven())
    eventually(lambda: counter.visit() == 7)  # the attempts that ended made room for new ones


class Seven:
    """A Redis that is past its look-up."""

    def incr(self, key: str) -> int:
        return 7


def test_a_connection_that_comes_late_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    monkeypatch.setattr(sample, "PATIENCE", 0.05)
    monkeypatch.setattr(sample, "connect", lambda host, port: answer.wait(100) and Seven())
    counter = sample.Counter("redis", 6379)
    assert counter.visit() is None
    answer.set()
    eventually(lambda: counter.visit() == 7)


def eventually(holds: Callable[[], bool], within: float = 600.0) -> None:
    end = time.monotonic() + within
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


# What the environment says


@pytest.mark.parametrize(
    ("text", "port"), [(None, 6379), ("", 6379), ("0", 0), ("6380", 6380), ("65535", 65535), ("tcp://10.96.0.7:6379", 6379)]
)
def test_a_port_is_read(monkeypatch: pytest.MonkeyPatch, text: str | None, port: int) -> None:
    monkeypatch.delenv("REDIS_PORT", raising=False)
    if text is not None:
        monkeypatch.setenv("REDIS_PORT", text)
    assert sample.port_from("REDIS_PORT", 6379) == port


@pytest.mark.parametrize("text", ["eighty", "-1", "65536", "70000", "8O", "80 81", "٤", "1e3", "tcp://redis", "tcp://10.96.0.7:x"])
@pytest.mark.parametrize("variable", ["PORT", "REDIS_PORT"])
def test_what_is_no_port_ends_it_with_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(SystemExit) as ended:
        sample.port_from(variable, 80)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"{variable} is {text!r}, and should be a number from 0 to 65535\n"


# The program


@pytest.mark.parametrize("variable", ["PORT", "REDIS_PORT"])
def test_the_program_ends_with_2_where_a_port_is_no_number(variable: str) -> None:
    code, message = refused(**{variable: "http"})
    assert (code, message) == (2, f"{variable} is 'http', and should be a number from 0 to 65535\n")


def test_the_program_ends_with_1_where_its_port_is_taken() -> None:
    with socket.create_server(("0.0.0.0", 0)) as holder:
        port = holder.getsockname()[1]
        code, message = refused(PORT=port)
    assert (code, message) == (1, f"cannot listen on port {port}: Address already in use. PORT names another.\n")


def test_the_program_ends_with_1_where_it_may_not_have_port_80() -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 80:
        pytest.skip("anybody may have port 80 here")
    before = [needed("setpriv"), "--bounding-set=-net_bind_service"] if os.geteuid() == 0 else []
    code, message = refused(*before)
    assert (code, message) == (1, "cannot listen on port 80: Permission denied. PORT names another.\n")


def needed(program: str) -> str:
    result = shutil.which(program)
    if result is None:
        missing("root", f"{program} is not installed")
    return result


def test_it_says_where_it_serves_before_anybody_asks() -> None:
    with running(NAME="World") as app:  # reads the line from a pipe: unbuffered
        assert app.page().body.startswith("<h3>Hello World!</h3>")


def test_it_gives_up_root() -> None:
    if os.geteuid() != 0:
        missing("root", "only root can give it up")
    with running(needed("setpriv"), "--groups=4,24") as app:
        assert app.status("Uid").split() == ["65534"] * 4
        assert app.status("Gid").split() == ["65534"] * 4
        assert app.status("Groups") == ""
        assert int(app.status("CapEff"), 16) == 0
        assert DISABLED in app.page().body


def test_a_root_that_may_not_change_users_serves_too(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        missing("root", "only root can be kept from giving it up")
    with running(needed("setpriv"), "--bounding-set=-setuid,-setgid") as app:
        assert app.status("Uid").split() == ["0"] * 4
        assert DISABLED in app.page().body


@pytest.fixture
def patient(tmp_path: Path) -> Path:
    """The app, but for how long it waits for Redis: on a busy machine one that runs may not answer in time."""
    path = tmp_path / "app.py"
    text, changes = re.subn(r"^(PATIENCE|ANSWER) = [0-9.]+ ", r"\1 = 100.0 ", APP.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert changes == 2
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_while_pages_wait_for_redis(ending: signal.Signals, patient: Path) -> None:
    with mute_redis() as port, running(program=patient, REDIS_PORT=port) as app, ThreadPoolExecutor(8) as pool:
        received = [pool.submit(app.page) for _ in range(8)]
        time.sleep(0.3)
        assert not any(page.done() for page in received)
        app.process.send_signal(ending)
        assert app.process.wait(timeout=60) == 0, "pages wait for a hundred seconds"
        for page in received:
            assert isinstance(page.exception(), OSError)


def test_a_page_waits_less_than_three_seconds() -> None:
    assert sample.PATIENCE + sample.ANSWER < 3


def test_a_mute_redis_keeps_no_page_waiting() -> None:
    with mute_redis() as port, running(REDIS_PORT=port) as app:
        answers = app.pages(40, threads=40)
        assert all(DISABLED in answer.body for answer in answers)
        assert max(answer.seconds for answer in answers) < IN_TIME


def test_without_redis_forty_pages_at_once_are_in_time() -> None:
    with running() as app:
        answers = app.pages(40, threads=40)
        assert all(DISABLED in answer.body for answer in answers)
        assert max(answer.seconds for answer in answers) < IN_TIME


NOWHERE = """
set -e
ip link set lo up
ip link add nowhere type veth peer name nobody
ip address add 198.51.100.2/24 dev nowhere
ip link set nowhere up
ip link set nobody up
ip neigh add 198.51.100.1 lladdr 02:00:00:00:00:01 dev nowhere
ip route add default via 198.51.100.1
mount --bind "$1" /etc/resolv.conf
shift
exec "$@"
"""

ASK = """
import json, sys, time, urllib.request
from concurrent.futures import ThreadPoolExecutor
def page(_):
    began = time.monotonic()
    body = urllib.request.urlopen(sys.argv[1], timeout=600).read().decode()
    return body, time.monotonic() - began
with ThreadPoolExecutor(40) as pool:
    print(json.dumps(list(pool.map(page, range(int(sys.argv[2]))))))
"""


@pytest.mark.slow
def test_dead_name_servers_keep_no_page_waiting(tmp_path: Path) -> None:
    """Two name servers that swallow every packet, two search domains: the C library's look-up takes a minute here."""
    if os.geteuid() != 0:
        missing("root", "a network of the test's own needs root")
    unshare, nsenter = needed("unshare"), needed("nsenter")
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch a.example b.example\n")
    with running(unshare, "--mount", "--net", "sh", "-c", NOWHERE, "sh", str(resolv), REDIS_HOST="redis", REDIS_PORT=6379) as app:
        inside = [nsenter, "--net", f"--target={app.process.pid}", sys.executable, "-c", ASK, app.url]
        for _ in range(4):
            done = subprocess.run([*inside, "80"], env=environment(), capture_output=True, text=True, timeout=600, check=True)
            answers = [Answer(body=body, seconds=seconds) for body, seconds in json.loads(done.stdout)]
            assert all(DISABLED in answer.body for answer in answers)
            assert max(answer.seconds for answer in answers) < IN_TIME
            time.sleep(sample.PAUSE)
        assert int(app.status("Threads")) <= 5 + sample.ATTEMPTS  # the server's, and the attempts that hang
        app.process.terminate()
        assert app.process.wait(timeout=30) == 0, "a look-up takes a minute"


# With a real Redis


@dataclass(kw_only=True)
class RedisServer:
    """redis-server on a port of its own. What it counted survives its restart."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = {"port": self.port, "bind": "127.0.0.1", "dir": self.folder, "save": "", "appendonly": "yes", "appendfsync": "always"}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self.process = subprocess.Popen(["redis-server", *words], stdout=subprocess.DEVNULL)
        eventually(self._answers)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(timeout=600)
            self.process = None

    def counted(self) -> tuple[int, int]:
        """The counter, and how many commands made it."""
        with Redis(port=self.port, socket_timeout=60) as client:
            calls = sum(stat["calls"] for name, stat in client.info("commandstats").items() if name.startswith("cmdstat_incr"))
            return int(client.get("counter") or 0), calls

    def _answers(self) -> bool:
        with Redis(port=self.port, socket_timeout=60, retry=Retry(NoBackoff(), 0)) as client:
            try:
                return bool(client.ping())
            except RedisError:
                return False


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        missing("redis", "redis-server is not installed")
    server = RedisServer(folder=tmp_path, port=free_port())
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.mark.redis
def test_visits_are_counted(redis_server: RedisServer, patient: Path) -> None:
    with running(program=patient, REDIS_PORT=redis_server.port) as app:
        assert [app.page().visits for _ in range(3)] == [1, 2, 3]
    assert redis_server.counted() == (3, 3)


@pytest.mark.redis
def test_redis_is_found_by_name(redis_server: RedisServer, patient: Path) -> None:
    with running(program=patient, REDIS_HOST="localhost", REDIS_PORT=f"tcp://192.0.2.7:{redis_server.port}") as app:
        assert [app.page().visits for _ in range(2)] == [1, 2]


@pytest.mark.redis
def test_three_hundred_pages_from_four_threads_are_three_hundred_visits(redis_server: RedisServer, patient: Path) -> None:
    with running(program=patient, REDIS_PORT=redis_server.port) as app:
        visits = [answer.visits for answer in app.pages(300, threads=4)]
    assert sorted(visit or 0 for visit in visits) == list(range(1, 301))
    assert redis_server.counted() == (300, 300)
    with Redis(port=redis_server.port) as client:
        assert client.info("stats")["total_connections_received"] < 30  # connections are used again


@pytest.mark.redis
def test_counting_goes_on_when_redis_is_back(redis_server: RedisServer, patient: Path) -> None:
    with running(program=patient, REDIS_PORT=redis_server.port) as app:
        assert [app.page().visits for _ in range(3)] == [1, 2, 3]
        redis_server.stop()
        answers = app.pages(40, threads=40)
        assert all(DISABLED in answer.body for answer in answers)
        assert max(answer.seconds for answer in answers) < IN_TIME
        redis_server.start()
        eventually(lambda: app.page().visits == 4)
        assert app.page().visits == 5
    assert redis_server.counted()[0] == 5


@pytest.mark.redis
def test_a_redis_that_was_restarted_between_two_visits_is_no_matter(redis_server: RedisServer, patient: Path) -> None:
    with running(program=patient, REDIS_PORT=redis_server.port) as app:
        assert app.page().visits == 1
        redis_server.stop()
        redis_server.start()
        assert app.page().visits == 2


@pytest.mark.redis
def test_a_redis_that_stalls_keeps_no_page_waiting(redis_server: RedisServer) -> None:
    with running(REDIS_PORT=redis_server.port) as app:
        assert app.page().visits == 1
        assert redis_server.process is not None
        redis_server.process.send_signal(signal.SIGSTOP)
        answers = app.pages(40, threads=40)
        assert all(DISABLED in answer.body for answer in answers)
        assert max(answer.seconds for answer in answers) < IN_TIME
        redis_server.process.send_signal(signal.SIGCONT)
        eventually(lambda: app.page().visits is not None)


@pytest.mark.redis
def test_a_counter_that_is_no_number_is_not_counted(redis_server: RedisServer) -> None:
    with Redis(port=redis_server.port) as client:
        client.set("counter", "many")
    with running(REDIS_PORT=redis_server.port) as app:
        assert DISABLED in app.page().body
