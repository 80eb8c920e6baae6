"""A proxy before a registry that has the faults it is told to have, and counts what is asked on it.

A stand-in (``tests/support/fake_server.py``) whose answers are the registry's own, which a fault may change, cut off or hold back.
It stands before the real registry as well as ours::

    with faulty_proxy(registry.port) as proxy:
        proxy.upon(cut_after(10), path=r"/blobs/", times=1)
        ...  # ask proxy.host
        assert proxy.count("GET", r"/blobs/") == 2
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from tests.support.fake_server import JSON, Asked, Reply, standing_in

Ask = Callable[[Asked], Reply]
Fault = Callable[[Asked, Ask], Reply]
"""Gets the request, and what asks the registry; gives what is answered."""

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "date", "server"}
_CODES = {401: "UNAUTHORIZED", 403: "DENIED", 404: "NAME_UNKNOWN", 405: "UNSUPPORTED", 429: "TOOMANYREQUESTS"}


@dataclass
class _Rule:
    fault: Fault
    method: re.Pattern[str]
    path: re.Pattern[str]
    after: int
    times: int | None

    def takes(self, asked: Asked) -> bool:
        """Whether this request is its; counts it."""
        if not (self.method.fullmatch(asked.method) and self.path.search(asked.path)):
            return False
        if self.after:
            self.after -= 1
            return False
        if self.times is not None:
            if not self.times:
                return False
            self.times -= 1
        return True


@dataclass
class FaultyProxy:
    """Ask ``host`` (``127.0.0.1:PORT``). The first rule that takes a request decides; without one it passes."""

    target: int
    host: str = ""
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    """Everything that was asked, in order."""
    _rules: list[_Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def upon(self, fault: Fault, *, method: str = ".*", path: str = "", after: int = 0, times: int | None = None) -> None:
        """Have ``fault`` on requests whose method and path (with the query) match, ``times`` in a row, ``after`` so many that pass."""
        with self._lock:
            self._rules.append(_Rule(fault, re.compile(method), re.compile(path), after, times))

    def mend(self) -> None:
        """Have no faults any more, and forget what was asked."""
        with self._lock:
            self._rules.clear()
            self.asked.clear()

    def requests(self) -> Counter[tuple[str, str, str]]:
        """How often each (method, path, range) was asked; the range is empty where there was none."""
        with self._lock:
            return Counter((asked.method, asked.path, asked.headers.get("range", "")) for asked in self.asked)

    def twice(self) -> list[tuple[str, str, str]]:
        """What was asked more than once."""
        return sorted(request for request, count in self.requests().items() if count > 1)

    def count(self, method: str = ".*", path: str = "") -> int:
        """How many requests match."""
        return sum(n for (m, p, _), n in self.requests().items() if re.fullmatch(method, m) and re.search(path, p))

    def answer(self, asked: Asked) -> Reply:
        with self._lock:
            self.asked.append(asked)
            fault = next((rule.fault for rule in self._rules if rule.takes(asked)), None)
        return fault(asked, self.pass_on) if fault else self.pass_on(asked)

    def pass_on(self, asked: Asked) -> Reply:
        """Ask the registry."""
        connection = http.client.HTTPConnection("127.0.0.1", self.target, timeout=600)
        try:
            connection.request(asked.method, asked.path, body=asked.body, headers=_passed(asked.headers))
            got = connection.getresponse()
            headers = {name: value for name, value in got.getheaders() if name.lower() not in _HOP_BY_HOP}
            try:
                return Reply(status=got.status, headers=headers, body=got.read())
            except http.client.IncompleteRead as error:
                return Reply(status=got.status, headers=headers, body=error.partial)
        finally:
            connection.close()


@contextmanager
def faulty_proxy(target: int) -> Iterator[FaultyProxy]:
    """A proxy before the registry on port ``target`` of loopback, for the block."""
    proxy = FaultyProxy(target)
    with standing_in(proxy.answer) as stand_in:
        proxy.host, proxy.port = stand_in.host, stand_in.port
        yield proxy


def _passed(headers: Mapping[str, str]) -> dict[str, str]:
    """What goes on to the registry: it is asked by our own name, and its URLs lead back here. The body is whole by now."""
    dropped = _HOP_BY_HOP | {"content-length", "expect"}
    return {name: value for name, value in headers.items() if name not in dropped}


# --- faults ---


def cut_after(count: int) -> Fault:
    """The answer breaks off after ``count`` bytes of its body."""
    return lambda asked, ask: replace(ask(asked), cut=count)


def stall_after(count: int) -> Fault:
    """Nothing comes after ``count`` bytes of the answer's body, and the connection stays."""
    return lambda asked, ask: replace(ask(asked), stall=count)


def trickle(seconds: float) -> Fault:
    """The answer's body comes byte by byte, with pauses."""
    return lambda asked, ask: replace(ask(asked), trickle=seconds)


def hang_up(asked: Asked, ask: Ask) -> Reply:
    """The registry is not asked, and the connection is cut."""
    return Reply(hang_up=True)


def lose_answer(asked: Asked, ask: Ask) -> Reply:
    """The registry does what it was asked, and the connection is cut before it can say so."""
    ask(asked)
    return Reply(hang_up=True)


def cut_request_after(proxy: FaultyProxy, count: int) -> Fault:
    """The registry sees the connection cut after ``count`` bytes of the request's body; so does the client."""

    def fault(asked: Asked, ask: Ask) -> Reply:
        head = [f"{asked.method} {asked.path} HTTP/1.1", *(f"{name}: {value}" for name, value in _passed(asked.headers).items())]
        head.append(f"Content-Length: {len(asked.body)}")
        with socket.create_connection(("127.0.0.1", proxy.target), timeout=600) as connection:
            connection.sendall("\r\n".join([*head, "", ""]).encode() + asked.body[:count])
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):  # until it has noticed
                pass
        return Reply(hang_up=True)

    return fault


# --- faults of the registry ---


def instead(status: int, **headers: str) -> Fault:
    """The registry is not asked: an error document with ``status``. ``retry_after`` is the header Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps({"errors": [{"code": _CODES.get(status, "UNKNOWN"), "message": f"a made-up {status}"}]}).encode()
    return lambda asked, ask: Reply(status=status, headers={"Content-Type": JSON, **named}, body=body)


def with_header(name: str, value: str) -> Fault:
    """The registry's answer with another header; an empty ``value`` takes it away."""

    def fault(asked: Asked, ask: Ask) -> Reply:
        answer = ask(asked)
        headers = {known: said for known, said in answer.headers.items() if known.lower() != name.lower()}
        return replace(answer, headers=headers | ({name: value} if value else {}))

    return fault


def wrong_digest(asked: Asked, ask: Ask) -> Reply:
    """A Docker-Content-Digest that is not the content's."""
    return with_header("Docker-Content-Digest", f"sha256:{'0' * 64}")(asked, ask)


def wrong_length(by: int) -> Fault:
    """A Content-Length that is ``by`` bytes more, or less, than what comes."""

    def fault(asked: Asked, ask: Ask) -> Reply:
        answer = ask(asked)
        length = {name.lower(): value for name, value in answer.headers.items()}.get("content-length", len(answer.body))
        return with_header("Content-Length", str(int(length) + by))(asked, lambda _: answer)

    return fault


def flipped_byte(at: int) -> Fault:
    """One byte of the body is another one."""

    def fault(asked: Asked, ask: Ask) -> Reply:
        answer = ask(asked)
        body = bytearray(answer.body)
        body[at] ^= 0xFF
        return replace(answer, body=bytes(body))

    return fault


def endless_link(asked: Asked, ask: Ask) -> Reply:
    """There is always a next page, each time at another address, and it is always the same."""
    path, _, query = asked.path.partition("?")
    match = re.search(r"page=(\d+)", query)
    number = int(match[1]) + 1 if match else 2
    answer = ask(replace(asked, path=path))
    return with_header("Link", f'<{path}?page={number}>; rel="next"')(asked, lambda _: answer)
