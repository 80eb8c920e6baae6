"""The page of Docker's "Get Started, Part 2": says hello, tells the container's name, and counts its visits in Redis."""

from __future__ import annotations

import os
import signal

if __name__ == "__main__":
    # Before the slow imports: in a container this is process 1, which ignores these signals until told what to do.
    # Ending at once loses nothing, and waits for no page that hangs on Redis.
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: os._exit(0))

import socket
import sys
import threading
import time

from flask import Flask
from markupsafe import Markup
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from waitress.server import create_server

PATIENCE = 1.5  # seconds that a page waits for a connection to Redis …
ANSWER = 1.0  # … and then for Redis: 2.5 in all, so that no page takes 3
PAUSE = 1.0  # seconds from one failed attempt to connect to the next
ATTEMPTS = 4  # at most, at the same time
NOBODY = 65534

HTML = Markup("<h3>Hello {name}!</h3><b>Hostname:</b> {hostname}<br/><b>Visits:</b> {visits}")
DISABLED = Markup("<i>cannot connect to Redis, counter disabled</i>")

app = Flask(__name__)


class Counter:
    """Counts in Redis, and keeps nobody waiting where there is none.

    No time-out bounds the look-up of a name: two dead name servers hold it for a minute. So threads in the background
    connect, a few at most, and pages wait for them as long as ``PATIENCE`` says. Once that is over, and after a failure,
    pages are told at once, until the next attempt. A connection that comes late is used by the pages that follow.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._redis: Redis | None = None
        self._attempts = 0
        self._wait_until = self._pause_until = 0.0
        self._changed = threading.Condition()

    def visit(self) -> int | None:
        """Count one visit: how many there were, this one included, or None where Redis does not answer in time."""
        redis = self._connected()
        if redis is None:
            return None
        try:
            return redis.incr("counter")
        except RedisError as error:
            app.logger.warning("no response from Redis: %s", error)
            with self._changed:
                if self._redis is redis:
                    self._redis = None
                self._pause()
            return None

    def _connected(self) -> Redis | None:
        with self._changed:
            now = time.monotonic()
            if self._redis is None and now >= self._pause_until and self._attempts < ATTEMPTS:
                threading.Thread(target=self._attempt, daemon=True).start()
                self._attempts += 1
                self._wait_until = now + PATIENCE
                self._pause_until = self._wait_until + PAUSE
            while self._redis is None and (left := self._wait_until - time.monotonic()) > 0:
                self._changed.wait(left)
            return self._redis

    def _attempt(self) -> None:
        redis = None
        try:
            redis = connect(self._host, self._port)
        except (OSError, UnicodeError) as error:  # UnicodeError: what is no host name at all
            app.logger.warning("no Redis at %s:%s: %s", self._host, self._port, error)
        with self._changed:
            self._attempts -= 1
            if redis is not None:
                self._redis = redis
            else:
                self._pause()
            self._changed.notify_all()

    def _pause(self) -> None:
        self._wait_until = time.monotonic()
        self._pause_until = self._wait_until + PAUSE


def connect(host: str, port: int) -> Redis:
    """A client of what listens there, by its address: it never looks the name up again.

    It repeats nothing (redis-py would, ten times): an INCR that got lost on its way back would count twice.
    """
    with socket.create_connection((host, port), timeout=ANSWER) as trial:
        address = trial.getpeername()[0]
    # Protocol 2 is every Redis's, and has no hand-shake.
    return Redis(address, port, protocol=2, socket_connect_timeout=ANSWER, socket_timeout=ANSWER, retry=Retry(NoBackoff(), 0))


def port_from(variable: str, default: int) -> int:
    """The port in an environment variable. Kubernetes sets REDIS_PORT to tcp://HOST:PORT where a service is called redis."""
    text = os.getenv(variable) or str(default)
    number = text.rpartition(":")[2] if text.startswith("tcp://") else text
    if not (number.isascii() and number.isdigit() and int(number) <= 65535):
        print(f"{variable} is {text!r}, and should be a number from 0 to 65535", file=sys.stderr)
        sys.exit(2)
    return int(number)


counter = Counter(os.getenv("REDIS_HOST") or "redis", port_from("REDIS_PORT", 6379))


@app.route("/")
def hello() -> str:
    visits = counter.visit()
    return HTML.format(
        name=os.getenv("NAME", "world"),  # what is not Markup is escaped
        hostname=socket.gethostname(),
        visits=DISABLED if visits is None else visits,
    )


def give_up_root() -> None:
    """Become nobody, by number: the image may have no such name. Where this is not root there is nothing to give up."""
    if os.geteuid() != 0:
        return
    try:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    except OSError as error:  # a root that may not change users (--cap-drop ALL) is no root to be afraid of
        print(f"still root: {error.strerror}", file=sys.stderr)


def main() -> None:
    port = port_from("PORT", 80)
    try:
        listener = socket.create_server(("0.0.0.0", port))  # IPv4, which is what engines forward published ports to
    except OSError as error:
        sys.exit(f"cannot listen on port {port}: {os.strerror(error.errno or 0)}. PORT names another.")
    server = create_server(app, sockets=[listener])
    give_up_root()
    print(f" * Running on http://0.0.0.0:{listener.getsockname()[1]}/ (Press CTRL+C to quit)", flush=True)
    server.run()


if __name__ == "__main__":
    main()
