"""Uploads: whole, in pieces, in the wrong order, broken off."""

from __future__ import annotations

import http.client
import re
import socket

import pytest

from tests.contract.client import NOBODY, OCTETS, Client, digest_of

CONTENT = b"0123456789" * 100
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
UNKNOWN = (404, ["BLOB_UPLOAD_UNKNOWN"])
INVALID = (404, ["BLOB_UPLOAD_INVALID"])


def test_post_starts_an_upload(client: Client, unique: str) -> None:
    got = client.ask("POST", f"{unique}/blobs/uploads/")

    upload = got.headers["docker-upload-uuid"]
    assert UUID.fullmatch(upload)
    assert (got.status, got.headers["range"], got.headers["content-length"], got.body) == (202, "0-0", "0", b"")
    assert client.follow(got).startswith(f"{unique}/blobs/uploads/{upload}?_state=")


def test_started_upload_makes_no_repository(client: Client, unique: str) -> None:
    client.begin(unique)

    assert client.ask("GET", f"{unique}/tags/list").error == (404, ["NAME_UNKNOWN"])
    assert client.ask("GET", f"_catalog?last={unique[:-1]}").document["repositories"].count(unique) == 0


def test_upload_in_one_put(client: Client, unique: str) -> None:
    got = client.ask("PUT", f"{client.begin(unique)}&digest={digest_of(CONTENT)}", CONTENT, **OCTETS)

    assert (got.status, got.body, got.headers["content-length"]) == (201, b"", "0")
    assert (client.follow(got), got.headers["docker-content-digest"]) == (f"{unique}/blobs/{digest_of(CONTENT)}", digest_of(CONTENT))
    assert client.ask("GET", f"{unique}/blobs/{digest_of(CONTENT)}").body == CONTENT


def test_upload_of_an_empty_blob(client: Client, unique: str) -> None:
    assert client.ask("PUT", f"{client.begin(unique)}&digest={digest_of(b'')}").status == 201
    assert client.ask("GET", f"{unique}/blobs/{digest_of(b'')}").headers["content-length"] == "0"


def test_digest_in_the_post_is_ignored(client: Client, unique: str) -> None:
    got = client.ask("POST", f"{unique}/blobs/uploads/?digest={digest_of(CONTENT)}", CONTENT, **OCTETS)

    assert (got.status, got.headers["range"]) == (202, "0-0")
    assert client.ask("HEAD", f"{unique}/blobs/{digest_of(CONTENT)}").status == 404


def test_upload_in_chunks(client: Client, unique: str) -> None:
    begun = client.begin(unique)

    first = client.ask("PATCH", begun, CONTENT[:400], Content_Range="0-399", **OCTETS)
    assert (first.status, first.headers["range"], first.headers["content-length"]) == (202, "0-399", "0")
    assert first.headers["docker-upload-uuid"] in begun
    second = client.ask("PATCH", client.follow(first), CONTENT[400:700])
    assert second.headers["range"] == "0-699"
    last = client.ask("PUT", f"{client.follow(second)}&digest={digest_of(CONTENT)}", CONTENT[700:])

    assert last.status == 201
    assert client.ask("GET", f"{unique}/blobs/{digest_of(CONTENT)}").body == CONTENT


def test_upload_in_chunks_with_an_empty_put(client: Client, unique: str) -> None:
    got = client.ask("PATCH", client.begin(unique), CONTENT)

    assert client.ask("PUT", f"{client.follow(got)}&digest={digest_of(CONTENT)}").status == 201
    assert client.ask("HEAD", f"{unique}/blobs/{digest_of(CONTENT)}").headers["content-length"] == "1000"


def test_upload_with_chunked_encoding(client: Client, unique: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=600)
    try:
        connection.request("PATCH", f"/v2/{client.begin(unique)}", body=iter([CONTENT[:1], CONTENT[1:999], CONTENT[999:]]))
        got = connection.getresponse()
        got.read()
        assert (got.status, got.getheader("Range")) == (202, "0-999")
        # The connection is good for another request: the chunks were read to their end.
        location = str(got.getheader("Location"))
        connection.request("PUT", f"{location.partition(str(client.port))[2]}&digest={digest_of(CONTENT)}")
        assert connection.getresponse().status == 201
    finally:
        connection.close()


def test_upload_with_expect_100_continue(client: Client, unique: str) -> None:
    head = f"PATCH /v2/{client.begin(unique)} HTTP/1.1\r\nHost: here\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    with socket.create_connection(("127.0.0.1", client.port), timeout=600) as connection:
        connection.sendall(head.encode())
        assert _head(connection).startswith(b"HTTP/1.1 100 Continue\r\n")
        connection.sendall(b"abc")
        assert _head(connection).startswith(b"HTTP/1.1 202 Accepted\r\n")


def _head(connection: socket.socket) -> bytes:
    """The next status line with its headers, in however many pieces they come."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = connection.recv(1)
        assert piece, head
        head += piece
    return head


def test_chunks_out_of_order_are_appended(client: Client, unique: str) -> None:
    first = client.ask("PATCH", client.begin(unique), CONTENT[:100], Content_Range="0-99", **OCTETS)

    second = client.ask("PATCH", client.follow(first), CONTENT[500:600], Content_Range="500-599", **OCTETS)

    assert (second.status, second.headers["range"]) == (202, "0-199")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_upload_status(client: Client, unique: str, method: str) -> None:
    begun = client.begin(unique)
    assert (client.ask(method, begun).status, client.ask(method, begun).headers["range"]) == (204, "0-0")
    further = client.follow(client.ask("PATCH", begun, b"a"))
    assert client.ask(method, further).headers["range"] == "0-0"
    further = client.follow(client.ask("PATCH", further, b"b"))

    got = client.ask(method, further)

    assert (got.status, got.headers["range"], got.body) == (204, "0-1", b"")
    assert got.headers["docker-upload-uuid"] in further
    assert "content-length" not in got.headers


def test_outdated_location_is_refused_without_harm(client: Client, unique: str) -> None:
    begun = client.begin(unique)
    further = client.follow(client.ask("PATCH", begun, b"abc"))

    assert client.ask("PATCH", begun, b"again").error == INVALID

    assert client.ask("GET", further).headers["range"] == "0-2"
    assert client.ask("GET", begun).error == INVALID


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_location_is_valid_once(client: Client, unique: str, method: str) -> None:
    finish = f"{client.begin(unique)}&digest={digest_of(CONTENT)}"
    assert client.ask("PUT", finish, CONTENT).status == 201

    assert client.ask(method, finish, b"x" if method in ("PATCH", "PUT") else b"").error == UNKNOWN


def test_upload_can_be_cancelled(client: Client, unique: str) -> None:
    begun = client.begin(unique)

    got = client.ask("DELETE", begun)

    assert (got.status, got.body, got.headers["docker-upload-uuid"] in begun) == (204, b"", True)
    assert [client.ask(method, begun).error for method in ("GET", "PATCH", "DELETE")] == [UNKNOWN] * 3


@pytest.mark.parametrize("state", ["", "?_state=garbage", "?_state=" + "A" * 200])
def test_location_without_state_is_refused_without_harm(client: Client, unique: str, state: str) -> None:
    begun = client.begin(unique)

    assert client.ask("PATCH", begun.partition("?")[0] + state, b"x").error == INVALID

    assert client.ask("GET", begun).status == 204


def test_location_of_another_upload_or_repository_is_refused(client: Client, unique: str) -> None:
    begun, other = client.begin(unique), client.begin(unique)

    assert client.ask("GET", f"{begun.partition('?')[0]}?{other.partition('?')[2]}").error == INVALID
    assert client.ask("GET", begun.replace(unique, f"{unique}/other")).error == INVALID


@pytest.mark.parametrize(
    ("query", "detail"),
    [("", "digest missing"), ("&digest=rubbish", "digest parsing failed"), ("&digest=sha256:0", "digest parsing failed")],
)
def test_put_needs_a_digest(client: Client, unique: str, query: str, detail: str) -> None:
    begun = client.begin(unique)

    got = client.ask("PUT", begun + query, CONTENT)

    assert got.error == (400, ["DIGEST_INVALID"])
    assert got.document["errors"][0]["detail"] == detail
    assert client.ask("GET", begun).status == 204


def test_wrong_digest_stores_nothing(client: Client, unique: str) -> None:
    got = client.ask("PUT", f"{client.begin(unique)}&digest={NOBODY}", CONTENT)

    assert got.document == {
        "errors": [
            {
                "code": "DIGEST_INVALID",
                "message": "provided digest did not match uploaded content",
                "detail": {"Digest": NOBODY, "Reason": {}},
            }
        ]
    }
    assert got.status == 400
    assert {client.ask("HEAD", f"{unique}/blobs/{digest}").status for digest in (NOBODY, digest_of(CONTENT))} == {404}


def test_wrong_digest_invalidates_the_location_only_with_a_body(client: Client, unique: str) -> None:
    begun = client.begin(unique)
    assert client.ask("PUT", f"{begun}&digest={NOBODY}", b"abc").status == 400
    assert client.ask("GET", begun).error == INVALID

    further = client.follow(client.ask("PATCH", client.begin(unique), b"abc"))
    assert client.ask("PUT", f"{further}&digest={NOBODY}").status == 400
    assert client.ask("PUT", f"{further}&digest={digest_of(b'abc')}").status == 201


def test_chunk_of_another_type_is_a_server_error(client: Client, unique: str) -> None:
    begun = client.begin(unique)

    assert client.ask("PATCH", begun, b"abc", Content_Type="text/plain").error == (500, ["UNKNOWN"])

    assert client.ask("GET", begun).headers["range"] == "0-0"


def test_upload_cut_off_within_a_chunk_is_lost(client: Client, unique: str) -> None:
    further = client.follow(client.ask("PATCH", client.begin(unique), b"whole"))
    with socket.create_connection(("127.0.0.1", client.port), timeout=600) as connection:
        connection.sendall(f"PATCH /v2/{further} HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\npart".encode())
        connection.shutdown(socket.SHUT_WR)
        # The server is done with it when it hangs up, or says so.
        while connection.recv(65536):
            pass

    assert client.ask("GET", further).error == INVALID
    assert client.ask("PATCH", further, b"part").error == INVALID


def test_malformed_chunked_encoding_is_refused(client: Client, unique: str) -> None:
    head = f"PATCH /v2/{client.begin(unique)} HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", client.port), timeout=600) as connection:
        connection.sendall(head.encode() + b"3\r\nabc\r\nzz\r\n")
        message = b""
        while piece := connection.recv(65536):
            message += piece

    assert message.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"invalid byte in chunk length" in message


def test_location_has_the_requested_host(client: Client, unique: str) -> None:
    def location(**headers: str) -> str:
        return client.ask("POST", f"{unique}/blobs/uploads/", b"", **headers).headers["location"].partition("/v2/")[0]

    assert location(Host="registry.example:5000") == "http://registry.example:5000"
    assert location(X_Forwarded_Proto="https", X_Forwarded_Host="example.com") == "https://example.com"
    assert location(Forwarded="for=192.0.2.1;host=example.org;proto=https") == "https://example.org"


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_uploads_without_id_are_unknown(client: Client, unique: str, method: str) -> None:
    assert client.ask(method, f"{unique}/blobs/uploads/").error == UNKNOWN
