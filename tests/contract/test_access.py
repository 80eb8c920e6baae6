"""Who may do what: with a password, without deletion, read only."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.contract.client import NOBODY, Client
from tests.contract.conftest import PASSWORD, READ_ONLY, REALM, USER, WITH_PASSWORD, WITHOUT_DELETE, Setting, basic
from tests.support.content import OCI_IMAGE


@pytest.fixture
def closed(of: Callable[[Setting], Client]) -> Client:
    return of(WITH_PASSWORD)


def needs(*actions: tuple[str, str]) -> list[dict[str, str]]:
    return [{"Type": "repository", "Class": "", "Name": name, "Action": action} for name, action in actions]


@pytest.mark.parametrize(
    ("method", "path", "detail"),
    [
        ("GET", "", None),
        ("GET", "_catalog", [{"Type": "registry", "Class": "", "Name": "catalog", "Action": "*"}]),
        ("GET", "a/b/tags/list", needs(("a/b", "pull"))),
        ("GET", "a/b/manifests/tag", needs(("a/b", "pull"))),
        ("GET", f"a/b/blobs/{NOBODY}", needs(("a/b", "pull"))),
        ("PUT", "a/b/manifests/tag", needs(("a/b", "pull"), ("a/b", "push"))),
        ("POST", "a/b/blobs/uploads/", needs(("a/b", "pull"), ("a/b", "push"))),
        ("POST", f"a/b/blobs/uploads/?mount={NOBODY}&from=c/d", needs(("a/b", "pull"), ("a/b", "push"), ("c/d", "pull"))),
        ("DELETE", "a/b/manifests/tag", needs(("a/b", "delete"))),
    ],
)
def test_no_authorization_is_challenged(closed: Client, method: str, path: str, detail: object) -> None:
    got = closed.ask(method, path)

    assert got.status == 401
    assert got.document == {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required", "detail": detail}]}
    assert got.headers["www-authenticate"] == f'Basic realm="{REALM}"'
    assert got.headers["content-type"] == "application/json; charset=utf-8"
    assert got.headers["docker-distribution-api-version"] == "registry/2.0"


def test_head_is_refused_without_a_body(closed: Client) -> None:
    got = closed.ask("HEAD", "a/b/manifests/tag")

    assert (got.status, got.body, got.headers["www-authenticate"]) == (401, b"", f'Basic realm="{REALM}"')


@pytest.mark.parametrize(
    "said", [basic(USER, "wrong"), basic("somebody", PASSWORD), basic(USER, ""), "Bearer token", "Basic rubbish", "Basic"]
)
def test_wrong_password_is_refused(closed: Client, said: str) -> None:
    assert closed.ask("GET", "", Authorization=said).error == (401, ["UNAUTHORIZED"])


def test_right_password_is_accepted(closed: Client, unique: str) -> None:
    right = basic(USER, PASSWORD)

    assert closed.ask("GET", "", Authorization=right).status == 200
    assert closed.ask("GET", f"{unique}/tags/list", Authorization=right).error == (404, ["NAME_UNKNOWN"])
    assert closed.ask("POST", f"{unique}/blobs/uploads/", Authorization=right).status == 202


def test_unknown_path_needs_no_password(closed: Client) -> None:
    assert closed.ask("GET", "Upper/tags/list").status == 404


@pytest.mark.parametrize("path", [f"blobs/{NOBODY}", f"manifests/{NOBODY}", "manifests/tag"])
def test_deletion_off_is_unsupported(of: Callable[[Setting], Client], unique: str, path: str) -> None:
    got = of(WITHOUT_DELETE).ask("DELETE", f"{unique}/{path}")

    assert got.status == 405
    assert got.document == {"errors": [{"code": "UNSUPPORTED", "message": "The operation is unsupported."}]}


@pytest.mark.parametrize("path", [f"blobs/{NOBODY}", f"manifests/{NOBODY}"])
def test_deletion_on_of_an_absent_digest_is_unknown(client: Client, unique: str, path: str) -> None:
    assert client.ask("DELETE", f"{unique}/{path}").status == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "blobs/uploads/"), ("PUT", "manifests/tag"), ("DELETE", f"manifests/{NOBODY}"), ("DELETE", f"blobs/{NOBODY}")],
)
def test_read_only_refuses_writes(of: Callable[[Setting], Client], unique: str, method: str, path: str) -> None:
    got = of(READ_ONLY).ask(method, f"{unique}/{path}", b"{}" if method == "PUT" else b"", Content_Type=OCI_IMAGE)

    assert (got.status, got.headers["allow"], got.body) == (405, "GET, HEAD", b"Method not allowed\n")


def test_read_only_allows_reads(of: Callable[[Setting], Client], unique: str) -> None:
    client = of(READ_ONLY)

    assert client.ask("GET", "").status == 200
    assert client.ask("GET", "_catalog?n=1").status == 200
    assert client.ask("GET", f"{unique}/tags/list").error == (404, ["NAME_UNKNOWN"])
