"""The faulty proxy has the faults it is told to have, and no others, before either registry."""

from __future__ import annotations

import http.client
import json

import pytest

from tests.support import faulty_proxy
from tests.support.content import ACCEPT, layer, make_blob, make_image, sha256
from tests.support.faulty_proxy import FaultyProxy
from tests.support.registry_over_http import ask

CONTENT = b"0123456789" * 100


@pytest.fixture
def blob(proxy: FaultyProxy, unique: str) -> str:
    """Where :data:`CONTENT` is."""
    path = f"/v2/{unique}/blobs/{make_blob(proxy.port, unique, CONTENT)}"
    proxy.reset()
    return path


def broken(proxy: FaultyProxy, path: str) -> bytes:
    """What came of an answer that breaks off."""
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(proxy.port, "GET", path)
    return bytes(caught.value.partial)


def test_without_a_fault_everything_passes(proxy: FaultyProxy, unique: str) -> None:
    made = make_image(proxy.port, unique, "tag", layer(b"one"), layer(b"two"))

    status, headers, body = ask(proxy.port, "GET", f"/v2/{unique}/manifests/tag", headers={"Accept": ACCEPT})
    head = ask(proxy.port, "HEAD", f"/v2/{unique}/manifests/tag", headers={"Accept": ACCEPT})

    assert (status, headers["docker-content-digest"], body) == (200, made.digest, made.raw)
    assert (head[0], head[1]["content-length"], head[2]) == (200, str(len(made.raw)), b"")
    direct = ask(proxy.target, "GET", f"/v2/{unique}/manifests/tag", headers={"Accept": ACCEPT})
    assert {name for name in direct[1] if name != "date"} <= set(headers)


def test_urls_lead_back_through_the_line(proxy: FaultyProxy, unique: str) -> None:
    _, headers, _ = ask(proxy.port, "POST", f"/v2/{unique}/blobs/uploads/")

    assert headers["location"].startswith(f"http://127.0.0.1:{proxy.port}/")


def test_a_body_in_chunks_passes(proxy: FaultyProxy, unique: str) -> None:
    _, headers, _ = ask(proxy.port, "POST", f"/v2/{unique}/blobs/uploads/")
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
    try:
        connection.request("PATCH", headers["location"].partition(str(proxy.port))[2], body=iter([b"abc", b"de"]))
        assert connection.getresponse().getheader("Range") == "0-4"
    finally:
        connection.close()


def test_what_was_asked_is_counted_with_its_range(proxy: FaultyProxy, blob: str) -> None:
    ask(proxy.port, "GET", blob, headers={"Range": "bytes=1-2"})
    ask(proxy.port, "GET", blob)
    ask(proxy.port, "HEAD", blob)
    ask(proxy.port, "GET", blob)

    assert proxy.request_counts() == {("GET", blob, "bytes=1-2"): 1, ("GET", blob, ""): 2, ("HEAD", blob, ""): 1}
    assert proxy.repeated() == [("GET", blob, "")]
    assert (proxy.count(), proxy.count("GET"), proxy.count("HEAD", r"/blobs/"), proxy.count(path="/manifests/")) == (4, 3, 1, 0)


def test_a_cut_answer(proxy: FaultyProxy, blob: str) -> None:
    proxy.inject(faulty_proxy.cut_after(10), path="/blobs/", times=1)

    assert broken(proxy, blob) == CONTENT[:10]
    assert ask(proxy.port, "GET", blob)[2] == CONTENT


def test_a_stalled_answer(proxy: FaultyProxy, blob: str) -> None:
    proxy.inject(faulty_proxy.stall_after(10))
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
    try:
        connection.request("GET", blob)
        answer = connection.getresponse()
        assert (answer.getheader("Content-Length"), answer.read(10)) == ("1000", CONTENT[:10])
        connection.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            answer.read(1)
    finally:
        connection.close()


def test_a_trickling_answer_is_whole(proxy: FaultyProxy, blob: str) -> None:
    proxy.inject(faulty_proxy.trickle(0.0001))

    assert ask(proxy.port, "GET", blob)[2] == CONTENT


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_another_answer_instead_so_many_times_in_a_row(proxy: FaultyProxy, blob: str, status: int) -> None:
    proxy.inject(faulty_proxy.respond_with(status, Retry_After="1"), times=2)

    got = [ask(proxy.port, "GET", blob) for _ in range(3)]

    assert [answer[0] for answer in got] == [status, status, 200]
    assert got[0][1]["retry-after"] == "1"
    assert json.loads(got[0][2])["errors"][0]["code"]


def test_a_fault_after_so_many_that_pass_on_one_method_and_path(proxy: FaultyProxy, blob: str) -> None:
    proxy.inject(faulty_proxy.respond_with(500), method="GET", path=r"/blobs/", after=1, times=1)

    statuses = [ask(proxy.port, method, path)[0] for method, path in [("HEAD", blob), ("GET", "/v2/")] + [("GET", blob)] * 3]

    assert statuses == [200, 200, 200, 500, 200]


def test_a_hang_up_reaches_no_registry_and_a_lost_answer_does(proxy: FaultyProxy, unique: str, blob: str) -> None:
    for fault in (faulty_proxy.close_connection, faulty_proxy.lose_response):
        proxy.inject(fault, method="DELETE", times=1)
        with pytest.raises(http.client.RemoteDisconnected):
            ask(proxy.port, "DELETE", blob)
        expected = 200 if fault is faulty_proxy.close_connection else 404
        assert ask(proxy.port, "HEAD", blob)[0] == expected


def test_a_request_cut_within_its_body(proxy: FaultyProxy, unique: str) -> None:
    _, headers, _ = ask(proxy.port, "POST", f"/v2/{unique}/blobs/uploads/")
    path = headers["location"].partition(str(proxy.port))[2]
    proxy.inject(faulty_proxy.cut_request_after(proxy, 5), method="PATCH", times=1)

    with pytest.raises(http.client.RemoteDisconnected):
        ask(proxy.port, "PATCH", path, body=CONTENT)

    # The upload is lost: that is how the registry tells that it saw a part of the body only.
    assert ask(proxy.port, "GET", path)[0] == 404


def test_a_wrong_digest(proxy: FaultyProxy, blob: str) -> None:
    proxy.inject(faulty_proxy.wrong_digest)

    _, headers, body = ask(proxy.port, "GET", blob)

    assert (headers["docker-content-digest"] == sha256(CONTENT), body) == (False, CONTENT)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_length_that_is_too_small(proxy: FaultyProxy, blob: str, method: str) -> None:
    proxy.inject(faulty_proxy.wrong_length(-10))

    _, headers, body = ask(proxy.port, method, blob)

    assert (headers["content-length"], body) == ("990", CONTENT[:990] if method == "GET" else b"")


def test_a_length_that_is_too_large(proxy: FaultyProxy, blob: str) -> None:
    proxy.inject(faulty_proxy.wrong_length(10))

    assert broken(proxy, blob) == CONTENT


def test_a_flipped_byte(proxy: FaultyProxy, blob: str) -> None:
    proxy.inject(faulty_proxy.flipped_byte(3))

    assert ask(proxy.port, "GET", blob)[2] == CONTENT[:3] + bytes([CONTENT[3] ^ 0xFF]) + CONTENT[4:]


def test_pages_without_end(proxy: FaultyProxy, unique: str) -> None:
    make_image(proxy.port, unique, "tag")
    proxy.inject(faulty_proxy.endless_link, path="/tags/list")
    observed, following = [], f"/v2/{unique}/tags/list"

    for _ in range(5):
        _, headers, body = ask(proxy.port, "GET", following)
        assert json.loads(body)["tags"] == ["tag"]
        following = headers["link"].removeprefix("<").removesuffix('>; rel="next"')
        observed.append(following)

    assert len(set(observed)) == 5


def test_mended_it_has_no_faults_and_no_memory(proxy: FaultyProxy, blob: str) -> None:
    proxy.inject(faulty_proxy.respond_with(500))
    assert ask(proxy.port, "GET", blob)[0] == 500

    proxy.reset()

    assert (proxy.count(), ask(proxy.port, "GET", blob)[0]) == (0, 200)
