"""The specification's end-1, and what distribution says to what it does not know."""

from __future__ import annotations

import pytest

from tests.contract.client import NOBODY, Client
from tests.support.registry_over_http import ask


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_v2_answers_with_the_api_version(client: Client, method: str) -> None:
    got = client.ask(method, "")

    assert (got.status, got.body) == (200, b"{}" if method == "GET" else b"")
    assert got.headers["docker-distribution-api-version"] == "registry/2.0"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert (got.headers["content-type"], got.headers["content-length"]) == ("application/json; charset=utf-8", "2")


def test_errors_have_the_api_version(client: Client) -> None:
    got = client.ask("GET", "no/such/manifests/latest")

    assert got.headers["docker-distribution-api-version"] == "registry/2.0"
    assert got.headers["content-type"] == "application/json; charset=utf-8"
    assert got.document == {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown", "detail": {"Tag": "latest"}}]}


@pytest.mark.parametrize(
    "path",
    [
        "nothing",
        "Upper/tags/list",
        "-x/tags/list",
        "a_/tags/list",
        "a..b/tags/list",
        "a___b/tags/list",
        f"no/referrers/{NOBODY}",
        "no/blobs/no-digest",
        "no/manifests/.hidden",
        f"no/manifests/{'t' * 129}",
        "no/manifests/",
    ],
)
def test_unknown_path_is_404_in_plain_text(client: Client, path: str) -> None:
    got = client.ask("GET", path)

    assert (got.status, got.body) == (404, b"404 page not found\n")
    assert got.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("name", ["a__b", "a---b", "a.b/c-d/e_f", "tags/list", "a/manifests"])
def test_odd_names_are_accepted(client: Client, name: str) -> None:
    got = client.ask("GET", f"{name}/tags/list")

    assert got.error == (404, ["NAME_UNKNOWN"])
    assert got.document["errors"][0]["detail"] == {"name": name}


def test_too_long_name_is_a_server_error(client: Client) -> None:
    got = client.ask("GET", f"{'a' * 256}/tags/list")

    assert got.error == (500, ["UNKNOWN"])
    assert got.document["errors"][0]["detail"] == {"Name": "a" * 256, "Reason": {}}


@pytest.mark.parametrize("digest", ["sha256:00", "sha256:" + "g" * 64])
def test_invalid_digest_of_a_blob_is_digest_invalid(client: Client, digest: str) -> None:
    assert client.ask("GET", f"no/blobs/{digest}").error == (400, ["DIGEST_INVALID"])


@pytest.mark.parametrize("digest", ["sha256:00", "md5:" + "0" * 32, "sha256:" + "A" * 64])
def test_invalid_digest_of_a_manifest_is_a_server_error(client: Client, digest: str) -> None:
    assert client.ask("GET", f"no/manifests/{digest}").error == (500, ["UNKNOWN"])


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("HEAD", "no/tags/list", "GET"),
        ("POST", "no/tags/list", "GET"),
        ("HEAD", "_catalog", "GET"),
        ("PATCH", "no/manifests/latest", "DELETE, GET, HEAD, PUT"),
        ("POST", f"no/blobs/{NOBODY}", "DELETE, GET, HEAD"),
    ],
)
def test_other_methods_are_405(client: Client, method: str, path: str, allowed: str) -> None:
    got = client.ask(method, path)

    assert (got.status, got.headers["allow"]) == (405, allowed)
    assert got.body == (b"" if method == "HEAD" else b"Method not allowed\n")


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        ("/v2", "/v2/"),
        ("/v2//_catalog?n=1", "/v2/_catalog?n=1"),
        ("/v2/x/../_catalog", "/v2/_catalog"),
        ("/v2/_catalog/", "/v2/_catalog"),
        ("/v2/no/tags/list/", "/v2/no/tags/list"),
    ],
)
def test_wrong_slashes_are_redirected(client: Client, asked: str, there: str) -> None:
    status, headers, _ = ask(client.port, "GET", asked)

    assert (status, headers["location"]) == (301, there)
